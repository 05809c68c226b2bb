//! Alert rules while the service runs: what is announced, once, with one id, whatever happens to broker, service and store.

mod contacts;
mod failures;
mod outages;
mod outputs;
mod shared;
mod steered;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;
use testkit::{PATIENCE, poll};

use crate::webhooks::receiver::{Delivery, Receiver, Reply, SECRET, verify};

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const OTHER_PUMP: Device<'_> = Device { kind: "pump", id: "q-2" };
const VALVE: Device<'_> = Device { kind: "valve", id: "v-3" };

/// A rule that fires two seconds after a device has gone.
const OFFLINE: &str = "[[rule]]\nname = \"offline\"\nkind = \"offline_for\"\nfor = \"2s\"\ngroup_by = \"device\"\n\
                       group_wait = \"0s\"\ngroup_interval = \"0s\"\nwebhooks = [\"ops\"]\n";

/// An endpoint that receives alerts alone, and rules.
fn settings(url: &str, rules: &str) -> String {
    format!(
        "startup_grace = \"1s\"\n[[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"hook.secret\"\n\
         allow_private = true\nselector = {{ type = \"none\" }}\n{rules}"
    )
}

fn launch_on(store: &str, broker: &Mosquitto, settings: &str) -> Launch {
    Launch::to(&broker.url())
        .file("hook.secret", &format!("{SECRET}\n"))
        .file("devstatus.toml", settings)
        .arguments(&["-c", "devstatus.toml"])
        .on_store(store)
}

/// The settings file in the directory of the store.
fn write(directory: &Path, settings: &str) {
    std::fs::write(directory.join("devstatus.toml"), settings).expect("a file can be written");
}

fn launch(directory: &Path, broker: &Mosquitto, settings: &str) -> Launch {
    launch_on(&format!("sqlite:{}/store.db", directory.display()), broker, settings)
}

/// Type, rule, group and numbers, shortly.
fn summary(delivery: &Delivery) -> String {
    let body = delivery.json();
    let data = &body["data"];
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (firing, resolved) = (&data["firing_total"], &data["resolved_total"]);
    format!("{} {} {} {firing}/{resolved}", word(&body["type"]), word(&data["rule"]), word(&data["group"]))
}

fn summaries(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(summary).collect()
}

/// What was said about alerts, once there is so much of it. A message that comes again with its id, because an instance was killed
/// before it could keep that it was accepted, counts once. Where the history has not everything, endpoints also hear of gaps.
fn announced(receiver: &Receiver, number: usize) -> Vec<String> {
    let said = || {
        let (mut ids, mut said) = (BTreeSet::new(), Vec::new());
        for delivery in receiver.deliveries() {
            let summary = summary(&delivery);
            if summary.starts_with("alert.") && ids.insert(delivery.id) {
                said.push(summary);
            }
        }
        said
    };
    let all = poll(PATIENCE, || Some(said()).filter(|said| said.len() >= number));
    all.unwrap_or_else(|| panic!("{number} of {:?}", said()))
}

/// What a stream shows next about alerts, shortly.
fn next_alert(stream: &mut EventStream) -> String {
    // A sign of life has no name.
    let event = stream.find(|event| !event.name.is_empty()).expect("the stream goes on");
    let word = |key: &str| event.data[key].as_str().unwrap_or_default().to_owned();
    match &*event.name {
        "alerts_complete" => format!("{} groups", event.data["groups"]),
        "alert" => {
            format!("{} {} {} {}", word("status"), word("rule"), word("group"), event.data["firing_total"])
        }
        name => name.to_owned(),
    }
}

/// Waits until the fleet is observed and the grace is over: until a device that stays away would be announced.
fn wait_until_evaluated(service: &Service) {
    let line = "\ndevstatus_alerts_evaluating 1\n";
    service.wait_until("the rules are evaluated", || service.get("/metrics").text().contains(line));
}

#[test]
fn a_device_that_stays_away_is_announced_once_and_resolved_with_the_same_key() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1)), (OTHER_PUMP, OTHER_PUMP.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(204));
    let service = launch(directory.path(), &broker, &settings(&receiver.url(), OFFLINE)).start_ready();
    wait_until_evaluated(&service);
    let mut stream = EventStream::open(service.address(), "alerts=true&type=none");
    assert_eq!(next_alert(&mut stream), "0 groups");
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.disconnect(1, 2)), (OTHER_PUMP, OTHER_PUMP.connect(3))]);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let event = stream.find(|event| event.name == "alert").expect("the stream goes on");
    let expected = json!({
        "rule": "offline", "kind": "offline_for", "group": "pump/p-1", "status": "firing", "key": event.data["key"],
        "firing": [{"device": {"type": "pump", "id": "p-1"}, "since": "2026-11-23T17:00:02.186Z"}], "firing_total": 1,
        "acknowledged_until": null, "list": "/api/v1/alerts?rule=offline&group=pump%2Fp%2D1"
    });
    assert_eq!((event.data, event.id), (expected, None));
    let deliveries = receiver.wait_for(1);
    assert_eq!(summaries(&deliveries), ["alert.firing offline pump/p-1 1/0"]);
    let fired = deliveries[0].json();
    assert_eq!(fired["data"]["firing"][0]["device"], json!({"type": "pump", "id": "p-1"}));
    assert_eq!(fired["data"]["firing"][0]["since"], json!("2026-11-23T17:00:02.186Z"));
    broker.retain(&[(PUMP, PUMP.connect(4))]);
    assert_eq!(next_alert(&mut stream), "resolved offline pump/p-1 0");
    let deliveries = receiver.wait_for(2);
    verify(&deliveries);
    assert_eq!(summaries(&deliveries[1..]), ["alert.resolved offline pump/p-1 0/1"]);
    assert_eq!(deliveries[1].json()["data"]["key"], fired["data"]["key"]);
    assert_ne!(deliveries[0].id, deliveries[1].id);
    let metrics = service.get("/metrics").text().to_owned();
    let line = "devstatus_alert_notifications_total{endpoint=\"ops\",outcome=\"delivered\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("devstatus_alerts{rule=\"offline\",state=\"firing\"} 0"), "{metrics}");
    assert_eq!(service.log_lines(&["not evaluated"]), Vec::<String>::new());
}

#[test]
fn a_kill_between_delivery_and_answer_repeats_the_id_and_a_restart_announces_nothing_again() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Held);
    let start = || launch(directory.path(), &broker, &settings(&receiver.url(), OFFLINE)).start_ready();
    let service = start();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    receiver.wait_for(1);
    service.signal(Signal::KILL);
    receiver.set_script(|_, _| Reply::Status(200));
    let service = start();
    let deliveries = receiver.wait_for(2);
    assert_eq!(deliveries[0].id, deliveries[1].id);
    assert_eq!(deliveries[0].body, deliveries[1].body);
    wait_until_evaluated(&service);
    // Another device fires by the same rule, and the first one is not announced again beside it.
    broker.retain(&[(VALVE, VALVE.connect(2)), (VALVE, VALVE.disconnect(2, 3))]);
    receiver.wait_for(3);
    service.terminate();
    let service = start();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.connect(5))]);
    let deliveries = receiver.wait_for(4);
    verify(&deliveries);
    assert_eq!(
        summaries(&deliveries[2..]),
        ["alert.firing offline valve/v-3 1/0", "alert.resolved offline pump/p-1 0/1"]
    );
    assert_eq!(deliveries[3].json()["data"]["key"], deliveries[0].json()["data"]["key"]);
    receiver.release();
    drop(service);
}

#[test]
fn rules_are_read_again_when_the_file_changes_and_a_fault_leaves_them_as_they_are() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let tanks = OFFLINE.replace("kind", "selector = { type = \"tank\" }\nkind");
    let (file, secret) = (directory.path().join("devstatus.toml"), directory.path().join("hook.secret"));
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let settings = |rules: &str| {
        settings(&receiver.url(), rules).replace("hook.secret", secret.to_str().expect("a path is UTF-8"))
    };
    write(directory.path(), &settings(&tanks));
    let store = format!("sqlite:{}/store.db", directory.path().display());
    let launch = Launch::to(&broker.url()).on_store(&store);
    let service = launch.arguments(&["-c", file.to_str().expect("a path is UTF-8")]).start_ready();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let bad = OFFLINE.replace("for = \"2s\"", "for = \"soon\"");
    write(directory.path(), &settings(&bad));
    let words = ["stay as they were", "devstatus.toml", "line 11", "rule.for", "a time"];
    service.wait_until("the fault is logged", || !service.log_lines(&words).is_empty());
    assert_eq!(receiver.deliveries(), []);
    write(directory.path(), &settings(OFFLINE));
    assert_eq!(summaries(&receiver.wait_for(1)), ["alert.firing offline pump/p-1 1/0"]);
    assert!(!service.log_lines(&["the alert rules in the settings have changed"]).is_empty());
}
