//! Messages that are no statuses change nothing, neither live nor retained, and the service goes on.

use serde_json::json;

use testkit::mosquitto::Mosquitto;
use testkit::publisher::Publisher;
use testkit::service::{Launch, Service};
use testkit::status::Device;

const KNOWN: Device<'_> = Device { kind: "pump", id: "known" };
const BROKEN: Device<'_> = Device { kind: "pump", id: "broken" };
const LAST: Device<'_> = Device { kind: "pump", id: "last" };

const DEPTH: usize = 100_000;
/// Deep enough to end many a reader's stack, in a message that is not long at all.
const SOME_DEPTH: usize = 5_000;
const LARGE_BYTES: usize = 1_000_000;
/// More than a client may want to take in one packet; MQTT 3.1.1 has no way to say so to the broker.
const HUGE_BYTES: usize = 5_000_000;

/// What is wrong with a payload, and the payload.
fn undecodable() -> Vec<(&'static str, Vec<u8>)> {
    let status = BROKEN.connect(30);
    let deep = nested(DEPTH);
    let objects = format!("{}1{}", "{\"a\":".repeat(DEPTH), "}".repeat(DEPTH));
    let with_field = |value: &str| status.replacen('{', &format!("{{\"Novel\":{value},"), 1).into_bytes();
    let mut latin1 = status.clone().into_bytes();
    latin1.splice(1..1, *b"\"Novel\":\"\xE9\",");
    vec![
        ("nothing", Vec::new()),
        ("not UTF-8", vec![0xFF, 0xFE, 0x00, 0x7B]),
        ("not UTF-8 within an object", latin1),
        ("not JSON", b"hello".to_vec()),
        ("JSON cut short", status.as_bytes()[..status.len() - 10].to_vec()),
        ("two objects", format!("{status}{status}").into_bytes()),
        ("a number", b"1".to_vec()),
        ("an array", format!("[{status}]").into_bytes()),
        ("no action", b"{}".to_vec()),
        ("an action that is no text", br#"{"Action":1,"Time":"2026-11-23T17:00:30.186Z"}"#.to_vec()),
        ("an array nested too deep", deep.clone().into_bytes()),
        ("objects nested too deep", objects.clone().into_bytes()),
        ("a field nested too deep", with_field(&deep)),
        ("a field of objects nested too deep", with_field(&objects)),
        ("a field of some thousand levels", with_field(&nested(SOME_DEPTH))),
        ("a field too large", with_field(&format!("\"{}\"", "x".repeat(LARGE_BYTES)))),
    ]
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

/// Waits until the service has read past everything published so far.
fn wait_until_read(service: &Service, publisher: &mut Publisher, at: u32) {
    publisher.publish(&LAST.topic(), LAST.connect(at));
    publisher.flush();
    service.wait_for_answer(&LAST.path(), &LAST.connect(at));
}

#[test]
fn undecodable_live_messages_change_nothing() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain(&KNOWN.topic(), KNOWN.connect(1));
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    for (at, (fault, payload)) in (1..).zip(undecodable()) {
        publisher.publish(&KNOWN.topic(), &payload);
        publisher.publish(&BROKEN.topic(), &payload);
        wait_until_read(&service, &mut publisher, at);
        assert_eq!(service.get(&KNOWN.path()).text(), KNOWN.connect(1), "{fault}");
        assert_eq!(service.get(&BROKEN.path()).text(), BROKEN.never_connected(), "{fault}");
        assert_eq!(service.get("/readyz").status, 200, "{fault}");
    }
    assert_eq!(service.get("/api/v1/summary").json()["total"], json!(2));
    let said = service.log_lines(&["warn"]);
    assert!(said.len() < undecodable().len(), "sampled, not one line per message: {said:#?}");
}

#[test]
fn undecodable_retained_messages_hide_nothing() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    let faults = undecodable();
    for (number, (_, payload)) in faults.iter().enumerate() {
        publisher.retain(&Device::new("pump", &format!("broken-{number}")).topic(), payload);
    }
    publisher.retain(&KNOWN.topic(), KNOWN.connect(1));
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_for_answer(&KNOWN.path(), &KNOWN.connect(1));
    service.wait_until_ready();
    for (number, (fault, _)) in faults.iter().enumerate() {
        let id = format!("broken-{number}");
        let device = Device::new("pump", &id);
        assert_eq!(service.get(&device.path()).text(), device.never_connected(), "{fault}");
    }
    assert_eq!(service.get("/api/v1/summary").json()["total"], json!(1));
}

#[test]
fn a_message_larger_than_any_status_hides_nothing_of_the_replay() {
    for version in ["3.1.1", "5"] {
        let broker = Mosquitto::start();
        let mut publisher = broker.publisher();
        publisher.retain(&KNOWN.topic(), KNOWN.connect(1));
        publisher.retain(&BROKEN.topic(), vec![b'x'; HUGE_BYTES]);
        publisher.retain(&LAST.topic(), LAST.connect(1));
        publisher.flush();
        let service = Launch::to(&broker.url()).arguments(&["--mqtt-version", version]).start();
        service.wait_until_ready();
        assert_eq!(service.get(&KNOWN.path()).text(), KNOWN.connect(1), "MQTT {version}");
        assert_eq!(service.get(&LAST.path()).text(), LAST.connect(1), "MQTT {version}");
        assert_eq!(service.get(&BROKEN.path()).text(), BROKEN.never_connected(), "MQTT {version}");
    }
}

#[test]
fn actions_that_are_no_status_and_foreign_actions_change_nothing() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain(&KNOWN.topic(), KNOWN.connect(1));
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    for (at, action) in (1..).zip(["FailedConnect", "Active", "Info", "Unknown", "Invented"]) {
        let payload = KNOWN.connect(30).replace("\"Connect\"", &format!("\"{action}\""));
        publisher.publish(&KNOWN.topic(), payload);
        wait_until_read(&service, &mut publisher, at);
        assert_eq!(service.get(&KNOWN.path()).text(), KNOWN.connect(1), "{action}");
    }
}
