//! Devices that are reached through another one: gone with it, back with it, at once and for all who follow.

use serde_json::{Value, json};
use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

const BRIDGE: &str = "zigbee2mqtt/bridge/state";

fn launch(broker: &Mosquitto, source: &str, store: &str) -> Launch {
    Launch::default().arguments(&["--broker", &broker.url(), "-p", "0", "--source", source]).on_store(store)
}

fn device(service: &Service, path: &str) -> Value {
    service.get(&format!("/api/v1/devices/{path}")).json()
}

fn connected(service: &Service) -> Value {
    service.get("/api/v1/summary").json()["connected"].clone()
}

#[test]
fn the_devices_of_a_bridge_go_and_come_back_with_it_in_totals_lists_streams_and_after_a_restart() {
    const DEVICES: usize = 2_500;
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    for number in 0..DEVICES {
        publisher.retain(&format!("zigbee2mqtt/hall/{number}/availability"), r#"{"state":"online"}"#);
    }
    publisher.retain(BRIDGE, r#"{"state":"online"}"#);
    publisher.flush();
    let mut service = launch(&broker, "zigbee2mqtt", &store).start();
    service.wait_until_ready();
    assert_eq!(connected(&service), json!(DEVICES + 1));
    let mut stream = EventStream::open(service.address(), "type=zigbee&snapshot=false");
    publisher.retain(BRIDGE, r#"{"state":"offline"}"#);
    publisher.flush();
    for _ in 0..DEVICES {
        let change = stream.find(|event| event.name == "change").expect("the stream goes on").data;
        assert_eq!((&change["status"], &change["cause"]), (&json!("disconnected"), &json!("parent_offline")));
    }
    service.wait_until("the total is that of the parent's state", || connected(&service) == json!(0));
    let listed = service.get("/api/v1/devices?type=zigbee&status=connected").json();
    assert_eq!(listed["devices"], json!([]), "{listed}");
    let one = device(&service, "zigbee/hall%2F7");
    let old = service.get("/zigbee/hall%2F7").json();
    assert_eq!((&old["Action"], &old["Reason"]), (&json!("Disconnect"), &json!("parent_offline")));
    assert_eq!(one["message"]["text"], json!(r#"{"state":"online"}"#), "what it said of itself: {one}");
    let history =
        || service.get("/api/v1/devices/zigbee/hall%2F7/history").json()["events"][0]["cause"].clone();
    service.wait_until("the history has it", || history() == json!("parent_offline"));
    // What a device says meanwhile is kept for when the bridge is back.
    publisher.retain("zigbee2mqtt/hall/1/availability", r#"{"state":"offline"}"#);
    publisher.retain("zigbee2mqtt/late/availability", r#"{"state":"online"}"#);
    publisher.flush();
    let cause = |service: &Service, path: &str| device(service, path)["cause"].clone();
    service.wait_until("its own state", || cause(&service, "zigbee/hall%2F1") == json!("timeout"));
    service.wait_until("hidden", || cause(&service, "zigbee/late") == json!("parent_offline"));
    let listed = |cause: &str| {
        service.get(&format!("/api/v1/devices?cause={cause}&id_prefix=late")).json()["devices"].to_string()
    };
    assert!(
        listed("parent_offline").contains(r#""id":"late""#) && !listed("timeout").contains(r#""id":"late""#)
    );
    service.wait_until("the store has it", || service.get("/readyz").status == 200);
    assert!(service.terminate().status.success());
    service = launch(&broker, "zigbee2mqtt", &store).start();
    service.wait_until_ready();
    assert_eq!(
        (connected(&service), &device(&service, "zigbee/hall%2F7")["since"]),
        (json!(0), &one["since"])
    );
    publisher.retain(BRIDGE, r#"{"state":"online"}"#);
    publisher.flush();
    // All but the first, and with the late one and the bridge.
    service.wait_until("all are back", || connected(&service) == json!(DEVICES + 1));
    assert_eq!(device(&service, "zigbee/hall%2F1")["status"], json!("disconnected"));
}

/// A payload with a time, the session's number if it has one, and a sequence.
fn payload(millis: u64, birth: Option<u8>, sequence: u8) -> Vec<u8> {
    let mut bytes = vec![0x08];
    let mut rest = millis;
    while rest > 0x7f {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    if let Some(birth) = birth {
        bytes.extend([0x12, 0x0b, 0x0a, 5]);
        bytes.extend(b"bdSeq");
        bytes.extend([0x20, 4, 0x58, birth & 0x7f]);
    }
    bytes.extend([0x18, sequence]);
    bytes
}

#[test]
fn the_devices_of_an_edge_node_die_with_it_and_must_be_born_again() {
    let broker = Mosquitto::start();
    let service = launch(&broker, "sparkplug", "memory:").start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    let start = 1_767_225_600_000;
    let mut send = |topic: &str, payload: Vec<u8>| {
        publisher.publish(&format!("spBv1.0/plant/{topic}"), payload);
        publisher.flush();
    };
    send("NBIRTH/n1", payload(start, Some(1), 0));
    send("DBIRTH/n1/pump", payload(start + 1, None, 1));
    send("DBIRTH/n1/fan", payload(start + 2, None, 2));
    let status = |path: &str| device(&service, path)["status"].clone();
    let expect = |path: &str, expected: &str| {
        service.wait_until(&format!("{path} is {expected}"), || status(path) == json!(expected));
    };
    expect("plant/n1%2Ffan", "connected");
    send("NDEATH/n1", payload(start, Some(1), 0));
    for path in ["plant/n1", "plant/n1%2Fpump", "plant/n1%2Ffan"] {
        expect(path, "disconnected");
    }
    assert_eq!(device(&service, "plant/n1%2Fpump")["cause"], json!("parent_offline"));
    send("NBIRTH/n1", payload(start + 60_000, Some(2), 0));
    send("DBIRTH/n1/pump", payload(start + 60_001, None, 1));
    expect("plant/n1%2Fpump", "connected");
    assert_eq!(status("plant/n1%2Ffan"), json!("disconnected"), "it was not born again");
    // A rebirth on request: the devices are born again, too.
    send("NBIRTH/n1", payload(start + 70_000, Some(2), 0));
    expect("plant/n1%2Fpump", "disconnected");
    send("DBIRTH/n1/pump", payload(start + 70_001, None, 1));
    expect("plant/n1%2Fpump", "connected");
    assert_eq!(connected(&service), json!(2));
}

#[test]
fn a_device_that_its_source_removes_is_forgotten_and_can_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    for id in ["plug", "lamp"] {
        publisher.retain(&format!("zigbee2mqtt/{id}/availability"), r#"{"state":"online"}"#);
    }
    publisher.flush();
    let service = launch(&broker, "zigbee2mqtt", &store).start();
    service.wait_until_ready();
    let total = |service: &Service| service.get("/api/v1/summary").json()["total"].clone();
    assert_eq!(total(&service), json!(2));
    publisher.retain("zigbee2mqtt/plug/availability", "");
    publisher.flush();
    service.wait_until("it is forgotten", || total(&service) == json!(1));
    assert_eq!(service.get("/zigbee/plug").json()["Action"], json!("Never Connected"));
    publisher.retain("zigbee2mqtt/plug/availability", r#"{"state":"online"}"#);
    publisher.retain("zigbee2mqtt/lamp/availability", "");
    publisher.flush();
    service.wait_until("one is back", || device(&service, "zigbee/plug")["status"] == json!("connected"));
    service.wait_until("the other is forgotten", || total(&service) == json!(1));
    assert!(service.terminate().status.success());
    let service = launch(&broker, "zigbee2mqtt", &store).start();
    service.wait_until_ready();
    assert_eq!(total(&service), json!(1), "the store has forgotten it, too");
}
