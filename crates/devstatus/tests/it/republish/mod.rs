//! Statuses that are republished: what a broker retains at the end is the state, whatever happens to links, brokers and instances.

mod home_assistant;
mod links;
mod names;
mod settle;
mod shared;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use testkit::mosquitto::Mosquitto;
use testkit::packet::{self, PINGRESP};
use testkit::service::{Launch, Service};
use testkit::status::Device;
use testkit::subscriber::Subscriber;

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "v-2" };

/// What is retained, by topic.
type Retained = BTreeMap<String, Vec<u8>>;

/// A service that reads the broker and has this table.
fn launch(broker: &Mosquitto, table: &str) -> Launch {
    Launch::to(&broker.url()).file("devstatus.toml", &format!("[republish]\n{table}\n")).arguments(&[
        "-c",
        "devstatus.toml",
        "--quiet-interval-ms",
        "300",
    ])
}

/// What a broker retains of these topics. Mosquitto answers a PINGREQ behind all of it.
fn retained(broker: &Mosquitto, filter: &str) -> Retained {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut subscriber = Subscriber::connect(broker.port(), &format!("looks-{number}"));
    subscriber.subscribe(filter, 0);
    subscriber.ping();
    let mut retained = Retained::new();
    for packet in subscriber.by_ref().take_while(|packet| packet.kind() != PINGRESP) {
        if packet.kind() == packet::PUBLISH && packet.retain() {
            let (topic, payload) = packet::parse_publish(&packet.body).expect("a PUBLISH that can be read");
            retained.insert(topic, payload);
        }
    }
    retained
}

/// The devices among what is retained, by topic, with their status.
fn statuses(broker: &Mosquitto) -> BTreeMap<String, String> {
    let status = |payload: Vec<u8>| {
        let device: Value = serde_json::from_slice(&payload).expect("JSON");
        device["status"].as_str().expect("a status").to_owned()
    };
    retained(broker, "devstatus/+/+").into_iter().map(|(topic, payload)| (topic, status(payload))).collect()
}

/// The text that is retained for a topic.
fn text_of(broker: &Mosquitto, topic: &str) -> Option<String> {
    retained(broker, topic).remove(topic).map(|payload| String::from_utf8(payload).expect("text"))
}

fn is_online(broker: &Mosquitto) -> bool {
    text_of(broker, "devstatus/service").as_deref() == Some("online")
}

fn wait_until_online(service: &Service, broker: &Mosquitto) {
    service.wait_until("it is online", || is_online(broker));
}

/// What the API shows of a device, as far as it is republished.
fn shown(service: &Service, device: Device<'_>) -> Value {
    let mut shown = service.get(&format!("/api/v1/devices{}", device.path())).json();
    let fields = shown.as_object_mut().expect("an object");
    for field in ["provenance", "confirmed_at", "dated_ahead", "stale"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    shown
}

fn metric(service: &Service, name: &str) -> u64 {
    let metrics = service.get("/metrics");
    let line =
        metrics.text().lines().find_map(|line| line.strip_prefix(&format!("devstatus_republish_{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in {}", metrics.text())).parse().expect("a number")
}

#[test]
fn every_device_is_retained_on_the_same_broker_as_the_api_shows_it() {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(1)), (VALVE, VALVE.disconnect(1, 2))]);
    let service = launch(&broker, "").start_ready();
    wait_until_online(&service, &broker);
    for device in [PUMP, VALVE] {
        let topic = format!("devstatus{}", device.path());
        service.wait_until("it is published", || text_of(&broker, &topic).is_some());
        let published: Value = serde_json::from_str(&text_of(&broker, &topic).unwrap()).unwrap();
        assert_eq!(published, shown(&service, device));
    }
    broker.retain(&[(PUMP, PUMP.disconnect(1, 3))]);
    service
        .wait_until("the change is published", || statuses(&broker)["devstatus/pump/p-1"] == "disconnected");
    let published: Value = serde_json::from_str(&text_of(&broker, "devstatus/pump/p-1").unwrap()).unwrap();
    assert_eq!(published, shown(&service, PUMP));
    let summary =
        || text_of(&broker, "devstatus/summary").map(|text| serde_json::from_str::<Value>(&text).unwrap());
    service.wait_until("the summary is published", || {
        summary().is_some_and(|summary| (&summary["total"], &summary["connected"]) == (&json!(2), &json!(0)))
    });
    assert_eq!(summary().unwrap()["types"], service.get("/api/v1/summary").json()["types"]);
    assert_eq!((metric(&service, "link_up"), metric(&service, "failed_total")), (1, 0));
    service.wait_until("all is acknowledged", || metric(&service, "in_flight") == 0);
    assert!(metric(&service, "published_total") >= 5);
    // The topics that are republished are none that a device is found in.
    assert_eq!(service.get("/api/v1/summary").json()["total"], 2);
    service.terminate();
    assert_eq!(text_of(&broker, "devstatus/service").as_deref(), Some("offline"));
    assert_eq!(statuses(&broker).len(), 2, "what is retained stays");
}

#[test]
fn what_is_gone_is_cleared_and_what_is_of_others_is_left() {
    let (broker, keys) = (Mosquitto::start(), testkit::keys::Keys::new());
    let admin = keys.create("admin");
    let gone = r#"{"type":"pump","id":"gone","status":"connected"}"#;
    let mut publisher = broker.publisher();
    publisher.retain("devstatus/pump/gone", gone);
    // Neither is one of ours.
    publisher.retain("devstatus/pump/other", r#"{"type":"pump","id":"gone"}"#);
    publisher.retain("devstatus/pump/text", "text");
    publisher.flush();
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let keys_file = testkit::keys::text(&keys.path()).to_owned();
    let service = launch(&broker, "").arguments(&["--keys-file", &keys_file]).start();
    service.wait_until("what is gone is cleared", || text_of(&broker, "devstatus/pump/gone").is_none());
    let topics = || retained(&broker, "devstatus/+/+").into_keys().collect::<Vec<_>>();
    assert_eq!(
        topics(),
        ["devstatus/pump/other", "devstatus/pump/p-1", "devstatus/pump/text", "devstatus/valve/v-2"]
    );
    // The broker forgets the device first, as the API asks for.
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), "");
    publisher.flush();
    assert!(admin.ask(&service, &["forget", "pump", "p-1"]).status.success());
    service.wait_until("the device is cleared", || topics().len() == 3);
    assert_eq!(text_of(&broker, "devstatus/pump/p-1"), None);
}

#[test]
fn only_selected_devices_are_published() {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let service = launch(&broker, "prefix = \"site/pumps\"\nselector = { type = \"pump\" }").start_ready();
    service
        .wait_until("it is online", || text_of(&broker, "site/pumps/service").as_deref() == Some("online"));
    service.wait_until("the pump is published", || text_of(&broker, "site/pumps/pump/p-1").is_some());
    service.terminate();
    // Others are selected: what is no longer is cleared.
    let selector = "prefix = \"site/pumps\"\nselector = { type = \"valve\" }";
    let service = launch(&broker, selector).start_ready();
    service.wait_until("the pump is cleared", || {
        retained(&broker, "site/pumps/+/+").into_keys().eq(["site/pumps/valve/v-2".to_owned()])
    });
}

#[test]
fn a_source_that_would_read_what_is_republished_is_refused_at_the_start() {
    let broker = Mosquitto::start();
    let profile = "[[profile]]\nname = \"mine\"\ntopic = \"devstatus/{type}/{id}\"\nconnected = [\"on\"]\ndisconnected = [\"off\"]\n";
    let launch = |prefix: &str| {
        let text = format!("[republish]\nprefix = \"{prefix}\"\n\n{profile}");
        let flags = ["-c", "devstatus.toml", "--broker", &broker.url(), "--source", "mine", "-p", "0"];
        Launch::default().file("devstatus.toml", &text).arguments(&flags)
    };
    let ended = launch("devstatus").run();
    assert_eq!(ended.status.code(), Some(2));
    let expected = "devstatus.toml line 2, republish.prefix: expected topics that no source reads: a source reads devstatus/+/+";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    launch("other").start_ready();
}
