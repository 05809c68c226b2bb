//! Contact policies: what is expected of a device is shown beside its status, everywhere, and selects devices.

use serde_json::{Value, json};
use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

use super::{OTHER_PUMP, PUMP, VALVE};

const METER: Device<'_> = Device { kind: "meter", id: "m-1" };
const PHONE: Device<'_> = Device { kind: "phone", id: "f-1" };

const CONTACTS: &str = "[[contact]]\npolicy = \"periodic\"\nevery = \"1h\"\ngrace = \"10m\"\nselector = { type = \"meter\" }\n\
                        [[contact]]\npolicy = \"ephemeral\"\nselector = { type = [\"phone\", \"tablet\"] }\n";

fn expectation(service: &Service, path: &str) -> Value {
    service.get(&format!("/api/v1/devices/{path}")).json()["expectation"].clone()
}

/// The ids in a list.
fn ids(service: &Service, query: &str) -> Vec<String> {
    let list = service.get(&format!("/api/v1/devices?{query}")).json();
    let devices = list["devices"].as_array().unwrap_or_else(|| panic!("{query}: {list}"));
    devices.iter().map(|device| device["id"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_device_is_as_its_contact_policy_expects_or_not() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[PUMP, OTHER_PUMP, VALVE, METER, PHONE].map(|device| (device, device.connect(1))));
    broker.retain(&[OTHER_PUMP, METER, PHONE].map(|device| (device, device.disconnect(1, 2))));
    let file = directory.path().join("devstatus.toml");
    std::fs::write(&file, CONTACTS).unwrap();
    let launch = Launch::to(&broker.url()).arguments(&["-c", file.to_str().expect("a path is UTF-8")]);
    let service = launch.start_ready();
    for (path, expected) in [
        ("pump/p-1", "met"),
        ("pump/q-2", "overdue"),
        ("meter/m-1", "overdue"),
        ("phone/f-1", "none"),
        ("pump/none", "unseen"),
        ("tablet/none", "none"),
    ] {
        assert_eq!(expectation(&service, path), json!(expected), "{path}");
    }
    for (query, expected) in [
        ("expectation=met", &["p-1", "v-3"][..]),
        ("expectation=overdue", &["m-1", "q-2"]),
        ("expectation=overdue&expectation=none&sort=-id", &["q-2", "f-1", "m-1"]),
        ("expectation=overdue&type=pump&status=disconnected", &["q-2"]),
        ("expectation=overdue&status=connected", &[]),
    ] {
        assert_eq!(ids(&service, query), expected, "{query}");
    }
    assert_eq!(service.get("/api/v1/devices?expectation=late").status, 400);
    let first = service.get("/api/v1/devices?expectation=overdue&limit=1").json();
    let cursor = first["next_cursor"].as_str().expect("there is one more");
    assert_eq!(ids(&service, &format!("expectation=overdue&cursor={cursor}")), ["q-2"]);
    let list = service.request_with("GET", "/api/v1/devices?type=phone", &[("accept", "text/csv")]);
    let lines: Vec<_> = list.text().lines().collect();
    assert!(lines[0].ends_with(",expectation") && lines[1].ends_with(",none"), "{lines:?}");

    let mut stream = EventStream::open(service.address(), "expectation=overdue");
    broker.retain(&[PHONE, PUMP].map(|device| (device, device.disconnect(3, 4))));
    let change = stream.find(|event| event.name == "change").expect("the stream goes on");
    assert_eq!((&change.data["id"], &change.data["expectation"]), (&json!("p-1"), &json!("overdue")));

    let shown = service.get("/api/v1/rules").json();
    assert_eq!((&shown["evaluation"], &shown["contacts"][0]["every"]), (&json!("off"), &json!("1h")));
    std::fs::write(&file, "").unwrap();
    service.wait_until("there are no policies", || expectation(&service, "pump/p-1").is_null());
}
