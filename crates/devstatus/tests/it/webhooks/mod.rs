//! Webhooks: what an endpoint is sent, and that it is sent everything in order, whatever the endpoint and the service do.

mod faults;
mod killed;
mod occurrences;
mod outage;
pub mod receiver;
mod rotation;
mod selected;
mod shared;
mod steered;
mod valkey;
mod wire;

use std::path::Path;

use serde_json::json;

use testkit::mosquitto::Mosquitto;
use testkit::service::Launch;
use testkit::status::Device;

use receiver::{Receiver, Reply, SECRET, verify};

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const OTHER_PUMP: Device<'_> = Device { kind: "pump", id: "q-2" };
const VALVE: Device<'_> = Device { kind: "valve", id: "v-3" };

/// A service on a store in that directory with one webhook, whose table has these lines besides.
fn launch(broker: &Mosquitto, directory: &Path, url: &str, lines: &str) -> Launch {
    let store = format!("sqlite:{}/store.db", directory.display());
    launch_on(&store, broker, url, lines)
}

fn launch_on(store: &str, broker: &Mosquitto, url: &str, lines: &str) -> Launch {
    let own = lines.split("[[webhook]]").next().unwrap_or_default();
    let events = if own.contains("events = ") { "" } else { OF_STATES };
    Launch::to(&broker.url())
        .file("hook.secret", &format!("{SECRET}\n"))
        .file(
            "devstatus.toml",
            &format!(
                "[[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\n{events}\n{lines}\n"
            ),
        )
        .arguments(&["-c", "devstatus.toml"])
        .on_store(store)
}

/// The events that are about the state of a device. An endpoint of these tests receives no others, unless its lines choose.
const OF_STATES: &str =
    "events = [\"device.connected\", \"device.disconnected\", \"device.session_changed\"]";

const PRIVATE: &str = "allow_private = true";

fn summaries(deliveries: &[receiver::Delivery]) -> Vec<String> {
    deliveries.iter().map(receiver::Delivery::summary).collect()
}

#[test]
fn a_change_is_signed_and_shows_the_device_as_the_api_does() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(VALVE, VALVE.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(204));
    let service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(2))]);
    receiver.wait_for(1);
    broker.retain(&[(PUMP, PUMP.disconnect(2, 3))]);
    let deliveries = receiver.wait_for(2);
    verify(&deliveries);
    // The valve was found, and not seen to connect.
    assert_eq!(summaries(&deliveries), ["device.connected p-1 00:02", "device.disconnected p-1 00:03"]);
    assert_eq!(deliveries[0].path, "POST /hook?token=a%20b HTTP/1.1");
    assert_eq!(deliveries[0].content_type, "application/json");
    let body = deliveries[1].json();
    assert_eq!(body["timestamp"], json!("2026-11-23T17:00:03.186Z"));
    let mut shown = service.get("/api/v1/devices/pump/p-1").json();
    shown["previous_status"] = json!("connected");
    assert_eq!(body["data"], shown);
    let metrics = service.get("/metrics").text().to_owned();
    let line = "devstatus_webhook_attempts_total{endpoint=\"ops\",outcome=\"delivered\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    assert!(!service.log().contains("token=a"), "a URL may hold a token:\n{}", service.log());
}

#[test]
fn an_endpoint_hears_of_what_it_has_chosen() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let lines = format!(
        "{PRIVATE}\nevents = [\"device.disconnected\"]\n\
         selector = {{ type = [\"pump\", \"fan\"], id_prefix = \"p-\", cause = \"connection\" }}"
    );
    let service = launch(&broker, directory.path(), &receiver.url(), &lines).start_ready();
    broker.retain(&[
        (PUMP, PUMP.connect(1)),
        (OTHER_PUMP, OTHER_PUMP.disconnect(1, 2)),
        (VALVE, VALVE.disconnect(1, 3)),
        (PUMP, PUMP.disconnect(1, 4).replace("\"CloseCode\":91", "\"CloseCode\":160")),
        (PUMP, PUMP.connect(5)),
        (PUMP, PUMP.disconnect(5, 6)),
    ]);
    let deliveries = receiver.wait_for(1);
    assert_eq!(summaries(&deliveries), ["device.disconnected p-1 00:06"]);
    drop(service);
}

#[test]
fn two_secrets_make_two_signatures() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";
    let launch = launch(&broker, directory.path(), &receiver.url(), PRIVATE);
    let service = launch.file("hook.secret", &format!("{new}\n{SECRET}\n")).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    // A receiver with the old secret accepts it, too.
    verify(&receiver.wait_for(1));
    drop(service);
}

#[test]
fn what_a_memory_store_has_not_seen_is_a_gap() {
    let broker = Mosquitto::start();
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let service = launch_on("memory:", &broker, &receiver.url(), PRIVATE).start_ready();
    assert_eq!(summaries(&receiver.wait_for(1)), ["fleet.gap not_logged"]);
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let deliveries = receiver.wait_for(2);
    verify(&deliveries);
    assert_eq!(deliveries[1].summary(), "device.connected p-1 00:01");
    drop(service);
}

#[test]
fn what_the_history_has_lost_is_a_gap() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let start = || launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    let service = start();
    broker.retain(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2)), (VALVE, VALVE.connect(3))]);
    receiver.wait_for(1);
    service.wait_until("the events are kept", || {
        service.get("/api/v1/devices/valve/v-3/history").json()["events"]
            .as_array()
            .is_some_and(|all| all.len() == 1)
    });
    service.terminate();
    let file = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    file.execute("DELETE FROM event", ()).unwrap();
    drop(file);
    receiver.set_script(|_, _| Reply::Status(200));
    let service = start();
    receiver.wait_for_taken(1);
    broker.retain(&[(PUMP, PUMP.connect(4))]);
    let taken = receiver.wait_for_taken(2);
    verify(&taken);
    assert_eq!(summaries(&taken), ["fleet.gap dropped", "device.connected p-1 00:04"]);
    drop(service);
}

#[test]
fn a_private_address_is_reached_only_if_that_is_allowed() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    // A name, so that the address is known only when it is resolved.
    let url = format!("https://localhost:{}/", receiver.port());
    let service = launch(&broker, directory.path(), &url, "").start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    service.wait_until("it is refused", || !service.log_lines(&["leads to no public address"]).is_empty());
    assert_eq!(receiver.deliveries(), []);
    assert!(service.get("/metrics").text().contains("devstatus_webhook_failing{endpoint=\"ops\"} 1"));
    assert_eq!(service.get("/readyz").status, 200, "an endpoint is no reason to send requests elsewhere");
}
