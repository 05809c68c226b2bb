//! What Home Assistant finds. The fields are those of its documentation and of its schema for MQTT devices.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use testkit::keys::{Keys, text};
use testkit::mosquitto::Mosquitto;

use super::{PUMP, VALVE, launch, retained, text_of, wait_until_online};

const TOPIC: &str = "homeassistant/device/devstatus-devstatus-pump-p_2D1/config";

/// The keys that Home Assistant knows at each place; it refuses a device with others.
const DEVICE: [&str; 3] = ["identifiers", "model", "name"];
const ORIGIN: [&str; 2] = ["name", "sw_version"];
const SHARED: [&str; 5] = ["availability", "components", "device", "origin", "qos"];
const COMPONENT: [&str; 9] = [
    "device_class",
    "json_attributes_topic",
    "name",
    "payload_off",
    "payload_on",
    "platform",
    "state_topic",
    "unique_id",
    "value_template",
];

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn a_device_is_discovered_and_removed_again() {
    let (broker, keys_file) = (Mosquitto::start(), Keys::new());
    let admin = keys_file.create("admin");
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let path = keys_file.path();
    let launch =
        launch(&broker, "home_assistant = \"homeassistant\"").arguments(&["--keys-file", text(&path)]);
    let service = launch.start();
    wait_until_online(&service, &broker);
    service.wait_until("both are discovered", || retained(&broker, "homeassistant/#").len() == 2);
    let config: Value = serde_json::from_str(&text_of(&broker, TOPIC).unwrap()).unwrap();
    assert_eq!(keys(&config), SHARED.into());
    assert_eq!((keys(&config["device"]), keys(&config["origin"])), (DEVICE.into(), ORIGIN.into()));
    let sensor = &config["components"]["connectivity"];
    assert_eq!(keys(sensor), COMPONENT.into());
    assert_eq!(
        (&sensor["platform"], &sensor["device_class"]),
        (&json!("binary_sensor"), &json!("connectivity"))
    );
    // Each topic that it names holds what it says.
    let state: Value =
        serde_json::from_str(&text_of(&broker, sensor["state_topic"].as_str().unwrap()).unwrap()).unwrap();
    assert_eq!(
        (&sensor["value_template"], &state["status"]),
        (&json!("{{ value_json.status }}"), &sensor["payload_on"])
    );
    let availability = config["availability"][0]["topic"].as_str().unwrap();
    assert_eq!(text_of(&broker, availability).as_deref(), Some("online"));

    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), "");
    publisher.flush();
    assert!(admin.ask(&service, &["forget", "pump", "p-1"]).status.success());
    service.wait_until("the device is removed", || text_of(&broker, TOPIC).is_none());
    service.wait_until("its state, too", || text_of(&broker, "devstatus/pump/p-1").is_none());
    assert_eq!(retained(&broker, "homeassistant/#").len(), 1);
}
