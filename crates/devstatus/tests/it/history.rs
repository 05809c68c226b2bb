//! `GET /api/v1/devices/{type}/{id}/history`: what happened, newest first, and the totals.

use serde_json::{Value, json};

use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, Signal};
use testkit::status::{Ago, Device};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const PATH: &str = "/api/v1/devices/pump/1/history";

fn events(service: &Service, query: &str) -> Value {
    service.get(&format!("{PATH}{query}")).json()
}

fn words(history: &Value) -> Vec<&str> {
    let events = history["events"].as_array().expect("a list");
    events.iter().map(|entry| entry["event"].as_str().expect("a word")).collect()
}

#[test]
fn the_history_is_newest_first_has_totals_and_survives_a_restart() {
    let (directory, broker) = (tempfile::tempdir().unwrap(), Mosquitto::start());
    let store = format!("sqlite:{}/store.db", directory.path().display());
    let flags = ["--store", &store, "--flush-interval-ms", "20"];
    let service = Launch::to(&broker.url()).arguments(&flags).start();
    service.wait_until_ready();
    let ago = Ago { now_ms: system::clock::now_millis() };
    let mut publisher = broker.publisher();
    let failed = ago.connect(PUMP, 1_500).replace("\"Connect\"", "\"FailedConnect\"").replace(":0,", ":180,");
    for message in [
        ago.connect(PUMP, 10_000),
        ago.disconnect(PUMP, 10_000, 9_000, 91),
        ago.connect(PUMP, 2_000),
        failed,
        // Another connection took over; its Connect comes late.
        ago.disconnect(PUMP, 2_000, 1_000, 288),
        ago.connect(PUMP, 1_000),
    ] {
        publisher.publish(&PUMP.topic(), message);
    }
    publisher.flush();
    let newest_first = ["connect", "takeover", "failed_login", "connect", "disconnect", "connect"];
    service.wait_until("all is kept", || words(&events(&service, "")) == newest_first);
    let history = events(&service, "");
    assert_eq!(
        (&history["type"], &history["id"], &history["next"]),
        (&json!("pump"), &json!("1"), &Value::Null)
    );
    let ended = &history["events"][4];
    for (field, expected) in [
        ("time", json!(ago.seconds(9_000))),
        ("connect_time", json!(ago.seconds(10_000))),
        ("duration_s", json!(1_000.0)),
        ("close_code", json!(91)),
        ("cause_class", json!("connection")),
        ("reason", json!("The connection was closed by the client.")),
        ("address", json!("198.51.100.7")),
        ("read_bytes", json!(75)),
        ("read_messages", json!(1)),
        ("write_bytes", json!(8)),
        ("write_messages", json!(0)),
    ] {
        assert_eq!(ended[field], expected, "{field} of {ended}");
    }
    assert_eq!(
        (&history["events"][2]["close_code"], &history["events"][2]["duration_s"]),
        (&json!(180), &Value::Null)
    );
    assert_eq!(history["events"][0]["close_code"], Value::Null, "a connect is no end");
    let totals = &history["totals"];
    assert_eq!((&totals["connects"], &totals["flaps_last_hour"]), (&json!(3), &json!(1)), "{totals}");
    assert_eq!(totals["longest_offline_s"], json!(7_000.0), "{totals}");
    // 1,000 s, then from 2,000 s ago until now; the machine may be slow.
    let percent = totals["connected_percent"].as_f64().unwrap();
    assert!((29.9..32.0).contains(&percent), "{totals}");

    service.signal(Signal::KILL);
    let again = Launch::to(&broker.url()).arguments(&flags).start();
    assert_eq!(events(&again, "")["events"], history["events"]);
    let mut paged = Vec::new();
    let mut page = events(&again, "?limit=4");
    while let Some(next) = page["next"].as_u64() {
        paged.extend(page["events"].as_array().unwrap().clone());
        page = events(&again, &format!("?limit=4&before={next}"));
    }
    paged.extend(page["events"].as_array().unwrap().clone());
    assert_eq!(json!(paged), history["events"]);
    assert_eq!(events(&again, "?limit=1")["totals"]["connects"], json!(3), "over all, not over the page");
}

#[test]
fn a_device_without_events_has_totals_if_anything_is_known_of_it() {
    let ago = Ago { now_ms: system::clock::now_millis() };
    let broker = Mosquitto::start().retaining([(PUMP, ago.connect(PUMP, 3_600))]);
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let history = events(&service, "");
    assert_eq!((&history["events"], &history["next"]), (&json!([]), &Value::Null));
    assert_eq!(history["totals"]["connected_percent"], json!(100.0), "{history}");
    let nobody = service.get("/api/v1/devices/pump/nobody/history").json();
    assert_eq!((&nobody["events"], &nobody["totals"]), (&json!([]), &Value::Null));
    assert_eq!(service.get("/api/v1/devices/pump/a%07b/history").status, 404);
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?before=-1", "?limit=1&limit=2"] {
        assert_eq!(service.get(&format!("{PATH}{query}")).status, 400, "{query}");
    }
}
