//! Alerts in the forms of other services; Debian's Alertmanager takes them and groups them.

use parking_lot::Mutex;
use serde_json::{Value, json};
use testkit::alertmanager::Alertmanager;
use testkit::mosquitto::Mosquitto;
use testkit::{PATIENCE, poll};

use super::{OFFLINE, OTHER_PUMP, PUMP, VALVE, launch, settings, wait_until_evaluated};
use crate::webhooks::receiver::{Receiver, Reply};

#[test]
fn alertmanager_shows_what_fires_until_it_is_over() {
    let (broker, directory, manager) =
        (Mosquitto::start(), tempfile::tempdir().unwrap(), Mutex::new(Alertmanager::start()));
    broker.retain(&[PUMP, OTHER_PUMP, VALVE].map(|device| (device, device.connect(1))));
    let by_type = OFFLINE.replace("\"device\"", "\"type\"");
    let rules = format!("format = \"alertmanager\"\n{by_type}");
    let settings = settings(&manager.lock().url(), &rules).replace("secret_file = \"hook.secret\"\n", "");
    let service = launch(directory.path(), &broker, &settings).start_ready();
    wait_until_evaluated(&service);
    broker.retain(&[PUMP, OTHER_PUMP, VALVE].map(|device| (device, device.disconnect(1, 2))));
    let labels = || {
        let mut labels: Vec<_> = manager
            .lock()
            .firing()
            .iter()
            .map(|alert| (alert["labels"]["alertname"].clone(), alert["labels"]["group"].clone()))
            .map(|(name, group)| {
                format!("{} {}", name.as_str().unwrap_or_default(), group.as_str().unwrap_or_default())
            })
            .collect();
        labels.sort();
        labels
    };
    service.wait_until("both groups fire", || labels() == ["offline pump", "offline valve"]);
    let summaries: Vec<Value> =
        manager.lock().firing().iter().map(|alert| alert["annotations"]["summary"].clone()).collect();
    assert!(summaries.contains(&json!("[firing] offline, valve: valve/v-3")), "{summaries:?}");
    broker.retain(&[(VALVE, VALVE.connect(3))]);
    service.wait_until("one is over", || labels() == ["offline pump"]);
    // What fires is said again each minute, so one that has lost everything knows it again.
    manager.lock().restart();
    let knows = poll(PATIENCE * 2, || (labels() == ["offline pump"]).then_some(()));
    assert!(knows.is_some(), "Alertmanager is told again: {}", service.log());
}

#[test]
fn people_read_a_sentence_and_pagerduty_an_incident() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(202));
    let other = |name: &str, format: &str| {
        format!(
            "[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\nallow_private = true\nformat = \"{format}\"\n",
            receiver.url()
        )
    };
    let pager = other("pager", "pagerduty") + "routing_key_file = \"routing.key\"\n";
    let rules = OFFLINE.replace("[\"ops\"]", "[\"chat\", \"pager\"]");
    let settings = settings(&receiver.url(), &format!("{}{pager}{rules}", other("chat", "slack")));
    let launch = launch(directory.path(), &broker, &settings).file("routing.key", "R0-secret\n");
    let service = launch.start_ready();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let deliveries = receiver.wait_for(2);
    let bodies: Vec<Value> = deliveries.iter().map(|delivery| delivery.json()).collect();
    let text = "[firing] offline, pump/p-1: pump/p-1";
    assert!(bodies.contains(&json!({ "text": text })), "{bodies:?}");
    let incident = bodies.iter().find(|body| body["event_action"] == json!("trigger")).unwrap();
    assert_eq!(
        (&incident["routing_key"], &incident["payload"]["summary"]),
        (&json!("R0-secret"), &json!(text))
    );
    assert!(!service.log().contains("R0-secret"), "{}", service.log());
}
