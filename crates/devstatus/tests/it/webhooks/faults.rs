//! Endpoints that fail in every way, and a service that is killed: nothing is lost, nothing comes out of order, and what comes
//! again has the same id.
//!
//! `TEST_LONG=1` kills the service a hundred times.

use std::collections::{BTreeMap, BTreeSet};

use testkit::mosquitto::Mosquitto;
use testkit::service::Signal;
use testkit::status::Device;

use super::receiver::{Delivery, Receiver, Reply, verify};
use super::{OF_STATES, OTHER_PUMP, PRIVATE, PUMP, VALVE, launch, summaries};

/// What is left if each id counts once.
pub fn once(deliveries: &[Delivery]) -> Vec<Delivery> {
    let mut seen = BTreeSet::new();
    deliveries.iter().filter(|delivery| seen.insert(delivery.id.clone())).cloned().collect()
}

#[test]
fn a_message_that_was_not_taken_comes_again_until_it_is() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, number| match number {
        0 => Reply::CutInHead,
        1 => Reply::Status(500),
        2 => Reply::With(429, "Retry-After: 1\r\n"),
        3 => Reply::With(307, "Location: /elsewhere\r\n"),
        4 => Reply::CutInBody,
        _ => Reply::Status(201),
    });
    let service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2)), (PUMP, PUMP.connect(3))]);
    let taken = receiver.wait_for_taken(3);
    let connected = "device.connected p-1 00:01";
    let deliveries = receiver.deliveries();
    verify(&deliveries);
    assert_eq!(
        summaries(&deliveries),
        [vec![connected; 5], vec!["device.disconnected p-1 00:02", "device.connected p-1 00:03"]].concat()
    );
    // Success counts with its head, so what was cut off after that does not come again.
    assert_eq!(summaries(&taken), [connected, "device.disconnected p-1 00:02", "device.connected p-1 00:03"]);
    let first: BTreeSet<_> = deliveries[..5].iter().map(|delivery| (&delivery.id, &delivery.body)).collect();
    assert_eq!(first.len(), 1, "every attempt has the same id and body");
    assert!(
        deliveries.iter().all(|delivery| !delivery.path.contains("elsewhere")),
        "a redirect is not followed"
    );
    service
        .wait_until("the log says so", || !service.log_lines(&["a webhook is delivered again"]).is_empty());
    for why in ["it answers 500", "it answers 429", "it cannot be reached", "it answers 307"] {
        assert!(!service.log_lines(&["a webhook is not delivered", why]).is_empty(), "{why}");
    }
}

#[test]
fn an_endpoint_that_never_answers_is_tried_again_and_holds_up_no_other() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let silent = Receiver::start(|_, number| if number == 0 { Reply::Held } else { Reply::Status(200) });
    let other = Receiver::start(|_, _| Reply::Status(200));
    let second = format!(
        "{PRIVATE}\n[[webhook]]\nname = \"other\"\nurl = \"{}\"\nsecret_file = \"hook.secret\"\nallow_private = true\n{OF_STATES}",
        other.url()
    );
    let service = launch(&broker, directory.path(), &silent.url(), &second).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2))]);
    silent.wait_for(1);
    assert_eq!(other.wait_for_taken(2).len(), 2);
    assert_eq!(silent.taken(), []);
    let deliveries = silent.wait_for(3);
    assert_eq!(deliveries[0].id, deliveries[1].id);
    let ids = |deliveries: &[Delivery]| deliveries.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&silent.wait_for_taken(2)), ids(&other.taken()));
    silent.release();
    drop(service);
}

#[test]
fn an_endpoint_that_is_gone_is_left_alone_until_it_has_another_url() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(410));
    let service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let disabled = "devstatus_webhook_disabled{endpoint=\"ops\"} 1";
    service.wait_until("it is disabled", || service.get("/metrics").text().contains(disabled));
    service.terminate();
    let service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    service.wait_until("it still is", || service.get("/metrics").text().contains(disabled));
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    service.wait_until("the change is kept", || {
        let history = service.get("/api/v1/devices/pump/p-1/history").json();
        history["events"].as_array().is_some_and(|all| all.len() == 2)
    });
    assert_eq!(receiver.deliveries().len(), 1);
    service.terminate();
    receiver.set_script(|_, _| Reply::Status(200));
    let service =
        launch(&broker, directory.path(), &receiver.url().replace("hook?", "new?"), PRIVATE).start_ready();
    let taken = receiver.wait_for_taken(2);
    assert_eq!(summaries(&taken), ["device.connected p-1 00:01", "device.disconnected p-1 00:02"]);
    drop(service);
}

fn rounds() -> u32 {
    if std::env::var_os("TEST_LONG").is_some_and(|value| value == "1") { 100 } else { 4 }
}

#[test]
fn a_kill_between_delivery_and_answer_loses_nothing_and_changes_no_order() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let devices = [PUMP, OTHER_PUMP, VALVE];
    let mut service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    let mut expected: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for round in 0..rounds() {
        let statuses = |round: u32| {
            let at = 4 * round + 1;
            let steps = |device: Device<'static>| {
                [
                    (device, device.connect(at)),
                    (device, device.disconnect(at, at + 1)),
                    (device, device.connect(at + 2)),
                ]
            };
            devices.map(steps).concat()
        };
        // How far the endpoint comes in this round differs from round to round.
        let (before, taken) = (receiver.deliveries().len(), (round % 7) as usize);
        receiver.set_script(
            move |_, number| {
                if number < before + taken { Reply::Status(200) } else { Reply::Held }
            },
        );
        broker.retain(&statuses(round));
        for device in devices {
            let at = 4 * round + 1;
            let events = expected.entry(device.id).or_default();
            // After the first round it is connected when the next session begins.
            let first = if round == 0 { "connected" } else { "session_changed" };
            for (word, second) in [(first, at), ("disconnected", at + 1), ("connected", at + 2)] {
                events.push(format!("device.{word} {} {:02}:{:02}", device.id, second / 60, second % 60));
            }
        }
        // All of it is in the history; what was not would come again with the retained messages alone.
        service.wait_until("the changes are kept", || {
            devices.iter().all(|device| {
                let path = format!("/api/v1/devices{}/history?limit=1000", device.path());
                let kept = service.get(&path).json()["events"].as_array().map_or(0, Vec::len);
                kept >= expected[device.id].len().min(1_000)
            })
        });
        receiver.wait_for(before + taken + 1);
        service.signal(Signal::KILL);
        receiver.set_script(|_, _| Reply::Status(200));
        service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
        let number: usize = expected.values().map(Vec::len).sum();
        service.wait_until("all has been delivered", || once(&receiver.taken()).len() >= number);
    }
    let taken = receiver.taken();
    verify(&taken[taken.len().saturating_sub(20)..]);
    for device in devices {
        let of_device = once(&taken).into_iter().filter(|one| one.json()["data"]["id"] == device.id);
        assert_eq!(summaries(&of_device.collect::<Vec<_>>()), expected[device.id]);
    }
    // What was taken of a page and not kept comes again, and so does what was not answered, once in each round at least.
    assert!(taken.len() > once(&taken).len(), "some of it was taken twice");
    let deliveries = receiver.deliveries();
    assert!(
        deliveries.len() - once(&deliveries).len() >= rounds() as usize,
        "no round was without a repetition"
    );
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for delivery in receiver.deliveries() {
        bodies.entry(delivery.id.clone()).or_default().insert(delivery.summary());
    }
    assert!(bodies.values().all(|all| all.len() == 1), "one id means one event: {bodies:#?}");
    receiver.release();
}
