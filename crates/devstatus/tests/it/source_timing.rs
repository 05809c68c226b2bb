//! Devices whose states are out of date although the link is good, and disconnects that are held back.

use serde_json::{Value, json};
use testkit::link::Link;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

const PROFILES: &str = r#"
quiet-interval-ms = 300
flush-interval-ms = 50

[[profile]]
name = "kept"
topic = "kept/{id}/state"
type = "kept"
connected = ["on"]
disconnected = ["off"]
stale_after = "2s"
grace = "1s"

[[profile]]
name = "passing"
topic = "passing/{id}/state"
type = "passing"
retained = false
connected = ["on"]
disconnected = ["off"]
"#;

fn launch(url: &str, store: &str) -> Launch {
    let arguments =
        ["--broker", url, "-p", "0", "-c", "devstatus.toml", "--source", "kept,passing", "--store", store];
    Launch::default().arguments(&arguments).file("devstatus.toml", PROFILES)
}

/// Its status, and whether it is out of date.
fn shown(service: &Service, path: &str) -> (Value, Value) {
    let device = service.get(&format!("/api/v1/devices/{path}")).json();
    (device["status"].clone(), device["stale"].clone())
}

#[test]
fn what_no_broker_repeats_is_stale_after_a_lost_link_and_a_restart_until_it_is_received_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let broker = Mosquitto::start();
    let link = Link::to(broker.port());
    let service = launch(&link.url(), &store).start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    for id in ["a", "b"] {
        publisher.publish(&format!("passing/{id}/state"), "on");
    }
    publisher.flush();
    let fresh = (json!("connected"), json!(false));
    let stale = (json!("connected"), json!(true));
    service.wait_until("both are there", || shown(&service, "passing/b") == fresh);
    link.cut();
    // While there is no link, everything is out of date.
    let is_link_good = || service.get("/api/v1/summary").json()["stale"] == json!(false);
    service.wait_until("the link is back", || shown(&service, "passing/a") == stale && is_link_good());
    publisher.publish("passing/a/state", "on");
    publisher.flush();
    service.wait_until("it was heard of", || shown(&service, "passing/a") == fresh);
    assert_eq!(shown(&service, "passing/b"), stale, "nobody knows what it did meanwhile");
    assert!(service.terminate().status.success());
    let service = launch(&link.url(), &store).start();
    service.wait_until_ready();
    assert_eq!((shown(&service, "passing/a"), shown(&service, "passing/b")), (stale.clone(), stale));
}

#[test]
fn a_device_is_stale_after_its_time_and_a_short_disconnect_is_no_change() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("kept/a/state", "on");
    publisher.flush();
    let service = launch(&broker.url(), "memory:").start();
    service.wait_until_ready();
    service.wait_until("two seconds are over", || {
        shown(&service, "kept/a") == (json!("connected"), json!(true))
    });
    publisher.retain("kept/a/state", "off");
    publisher.retain("kept/a/state", "on");
    publisher.flush();
    service.wait_until("it was heard of", || shown(&service, "kept/a") == (json!("connected"), json!(false)));
    let counted = r#"devstatus_source_messages_ignored_total{source="kept",reason="back_within_grace"} 1"#;
    let metrics = service.get("/metrics").text().to_owned();
    assert!(metrics.contains(counted), "{metrics}");
    publisher.retain("kept/a/state", "off");
    publisher.flush();
    service.wait_until("the grace is over", || shown(&service, "kept/a").0 == json!("disconnected"));
}
