//! `GET /metrics`: Prometheus's own parser reads it, what it reads is what `docs/metrics.md` lists, and it says how the
//! service is.

use std::collections::BTreeSet;

use serde_json::Value;

use testkit::mosquitto::Mosquitto;
use testkit::peers;
use testkit::service::{Launch, Service};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "serial-4711" };

/// Name, kind and labels of a metric.
type Described = (String, String, BTreeSet<String>);

/// Each row of the documented table.
fn documented() -> BTreeSet<Described> {
    let rows = include_str!("../../../../docs/metrics.md").lines().filter(|line| line.starts_with("| `"));
    let row = |row: &str| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let labels = cells[3].split(',').map(|label| label.trim().to_owned());
        (cells[1].clone(), cells[2].clone(), labels.filter(|label| !label.is_empty()).collect())
    };
    rows.map(row).collect()
}

/// What Prometheus's parser reads: every family.
fn scraped(service: &Service) -> Vec<Value> {
    let openmetrics = [("Accept", "application/openmetrics-text;version=1.0.0")];
    let text = service.request_with("GET", "/metrics", &openmetrics).text().to_owned();
    let families = peers::run("read_metrics.py", &text);
    families.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// What only sources other than the platform's, or several of them, have; `several_brokers` and `sources` look at them.
const OF_OTHER_SOURCES: [&str; 2] = ["devstatus_source_broker_clients", "devstatus_source_connected"];

#[test]
fn scraped_and_documented_metrics_agree_and_no_label_holds_a_device() {
    let broker = Mosquitto::start();
    // Nobody listens at the endpoint, which the metrics of webhooks name.
    let webhook = "[[webhook]]\nname = \"ops\"\nurl = \"http://127.0.0.1:9/\"\nsecret_file = \"hook.secret\"\nallow_private = true\n\
                   [[rule]]\nname = \"offline\"\nkind = \"offline_for\"\nfor = \"1h\"\nwebhooks = [\"ops\"]\n";
    let service = Launch::to(&broker.url())
        .file("devstatus.toml", webhook)
        .file("hook.secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
        .arguments(&["-c", "devstatus.toml"])
        .start();
    service.wait_until_ready();
    // Alerts are counted from the first second on.
    service
        .wait_until("rules are evaluated", || service.get("/metrics").text().contains("devstatus_alerts{"));
    let mut publisher = broker.publisher();
    // Names with a label appear with their first sample.
    publisher.publish(&VALVE.topic(), "no status");
    publisher.publish(&VALVE.topic(), VALVE.connect(1).replace("\"Connect\"", "\"FailedConnect\""));
    publisher.publish(&VALVE.topic(), VALVE.connect(1).replace("\"Connect\"", "\"Info\""));
    publisher.publish(&VALVE.topic(), VALVE.disconnect(1, 2).replace("2026-", "soon-"));
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.retain(&VALVE.topic(), VALVE.disconnect(1, 2));
    publisher.flush();
    service.wait_for_answer(&VALVE.path(), &VALVE.disconnect(1, 2));
    service.get("/valve/serial-4711/nothing/here");
    service.get(&format!("/api/v1/devices{}", VALVE.path()));

    let families = scraped(&service);
    let described = |family: &Value| (text(&family["name"]), text(&family["kind"]), texts(&family["labels"]));
    let names: BTreeSet<Described> = families.iter().map(described).collect();
    let documented = documented();
    let undocumented: Vec<_> = names.difference(&documented).collect();
    let is_here = |(name, ..): &&Described| !OF_OTHER_SOURCES.contains(&name.as_str());
    let unscraped: Vec<_> = documented.difference(&names).filter(is_here).collect();
    assert!(
        undocumented.is_empty() && unscraped.is_empty(),
        "not in the table: {undocumented:?}\nonly in the table: {unscraped:?}"
    );
    for family in &families {
        assert!(!text(&family["help"]).is_empty(), "{family}");
        for value in texts(&family["values"]) {
            // One metric is by type, with a bound on the types; none is by device.
            let is_by_type = family["name"] == "devstatus_type_devices";
            assert!(!value.contains("4711"), "a device in a label: {family}");
            assert!(is_by_type || !value.contains("valve"), "a type in a label: {family}");
        }
    }
}

#[test]
fn the_gauges_say_how_the_service_is() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.retain(&VALVE.topic(), VALVE.disconnect(1, 2));
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    service.get("/pump/1");
    service.get("/nowhere");
    let scraped = service.get("/metrics").text().to_owned();
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "devstatus_devices{status=\"connected\"} 1",
        "devstatus_devices{status=\"disconnected\"} 1",
        "devstatus_population_state{state=\"complete\"} 1",
        "devstatus_population_state{state=\"incomplete\"} 0",
        "devstatus_store_failing 0",
        "devstatus_broker_connected 1",
        "devstatus_stale 0",
        "devstatus_backlog_waiting_bytes 0",
        "devstatus_http_request_duration_seconds_count{route=\"/{type}/{id}\",status=\"200\"} 1",
        "devstatus_http_request_duration_seconds_count{route=\"unmatched\",status=\"404\"} 1",
        &format!("devstatus_build_info{{version=\"{version}\"}} 1"),
    ] {
        assert!(scraped.lines().any(|found| found == line), "{line} in:\n{scraped}");
    }
    drop(broker);
    service.wait_until("the statuses are called stale", || {
        service.get("/metrics").text().lines().any(|line| line == "devstatus_stale 1")
    });
}
