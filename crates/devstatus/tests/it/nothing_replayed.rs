//! A reading that brings nothing proves nothing, unless the broker was seen to replay retained messages.

use serde_json::Value;
use testkit::mosquitto::Mosquitto;
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::service::{Launch, Service};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "2" };

fn start(broker_url: &str) -> Service {
    let service = Launch::to(broker_url).arguments(&["--quiet-interval-ms", "300"]).start();
    service.wait_until_ready();
    service
}

/// State and evidence.
fn population(service: &Service) -> [Value; 2] {
    let shown = service.get("/api/v1/population").json();
    ["state", "evidence"].map(|name| shown[name].clone())
}

fn rounds(service: &Service) -> usize {
    service.log_lines(&["the retained statuses have been read"]).len()
}

#[test]
fn no_device_never_connected_where_the_broker_replays_nothing() {
    let broker = PlatformBroker::start(Limits { replays_to_wildcards: false, ..Limits::default() });
    broker.publish(&PUMP.topic(), PUMP.connect(1), true);
    let service = start(&broker.url());
    let unproven = ["unproven", "nothing_replayed"].map(Value::from);
    assert_eq!(population(&service), unproven);
    assert_eq!(service.get(&PUMP.path()).status, 503, "it is connected, and its status was never sent");
    let ready = service.get("/readyz");
    assert_eq!(ready.status, 200, "{}", ready.text());
    assert!(ready.text().contains("retained = false"), "{}", ready.text());
    service.wait_until("a round has ended", || rounds(&service) == 1);

    // Nor once a device has spoken: its status is read again only by its name.
    broker.publish(&VALVE.topic(), VALVE.connect(2), true);
    service.wait_for_answer(&VALVE.path(), &VALVE.connect(2));
    service.wait_until("it is read again", || rounds(&service) >= 2);
    assert_eq!(population(&service), unproven);
    assert_eq!(service.get(&PUMP.path()).status, 503);
    assert!(!service.get("/metrics").text().contains(r#"outcome="complete""#));
}

#[test]
fn a_new_fleet_is_known_as_soon_as_its_first_device_is_replayed() {
    let broker = PlatformBroker::start(Limits::default());
    let service = start(&broker.url());
    assert_eq!(population(&service), ["unproven", "nothing_replayed"].map(Value::from));
    assert_eq!(service.get(&PUMP.path()).status, 503);
    broker.publish(&VALVE.topic(), VALVE.connect(2), true);
    service.wait_for_answer(&PUMP.path(), &PUMP.never_connected());
    assert_eq!(population(&service)[0], "complete");
}

#[test]
fn known_devices_that_are_not_replayed_are_missing() {
    let directory = tempfile::TempDir::new().expect("a directory can be made");
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let launch = |broker: &PlatformBroker| {
        let flags = ["--quiet-interval-ms", "300", "--store", store.as_str()];
        Launch::to(&broker.url()).arguments(&flags).start()
    };
    let broker = PlatformBroker::start(Limits::default());
    broker.publish(&PUMP.topic(), PUMP.connect(1), true);
    let first = launch(&broker);
    first.wait_until_ready();
    assert!(first.terminate().status.success());

    // Another one in its place, which knows nothing of them yet.
    let broker = PlatformBroker::start(Limits::default());
    let second = launch(&broker);
    second.wait_until("something is missing", || population(&second)[0] == "incomplete");
    assert_eq!(population(&second)[1], "nothing_replayed");
    let known = second.get("/api/v1/devices/pump/1").json();
    assert_eq!((&known["status"], &known["stale"]), (&"connected".into(), &true.into()), "{known}");
    broker.publish(&VALVE.topic(), VALVE.connect(2), true);
    second.wait_until_ready();
    assert_eq!(population(&second)[0], "complete");
}

#[test]
fn an_empty_broker_that_replays_its_own_counters_is_complete() {
    let broker = Mosquitto::start();
    let service = start(&broker.url());
    service.wait_until("it is proven", || population(&service)[0] == "complete");
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.never_connected());
}
