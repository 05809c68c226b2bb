//! What an endpoint is not sent: changes that later ones have overtaken, and disconnects that did not last.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Service, Signal};
use testkit::status::Device;

use super::faults::once;
use super::receiver::{Delivery, Receiver, Reply, verify};
use super::{OF_STATES, OTHER_PUMP, PRIVATE, PUMP, VALVE, launch, summaries};

/// Waits until the history has so many events of a device.
fn wait_for_events(service: &Service, device: Device<'_>, number: usize) {
    let path = format!("/api/v1/devices/{}/{}/history?limit=1000", device.kind, device.id);
    service.wait_until("the events are kept", || {
        service.get(&path).json()["events"].as_array().is_some_and(|all| all.len() == number)
    });
}

/// Waits until the store has a position past a disconnect that has not settled yet.
fn wait_for_position_past_undecided(service: &Service, directory: &Path) {
    let store = rusqlite::Connection::open(directory.join("store.db")).expect("the store opens");
    let state = || store.query_row("SELECT state FROM webhook WHERE name = 'ops'", [], |row| row.get(0));
    service.wait_until("the position is saved", || {
        state().is_ok_and(|state: String| state.contains("\"undecided\":"))
    });
}

#[test]
fn after_an_outage_latest_sends_the_newest_state_of_each_device_once() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let lines = format!("{PRIVATE}\nmode = \"latest\"");
    let service = launch(&broker, directory.path(), &receiver.url(), &lines).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1)), (OTHER_PUMP, OTHER_PUMP.connect(1))]);
    // A message of each queue has failed, whatever comes now.
    receiver.wait_for(2);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2)), (VALVE, VALVE.disconnect(1, 3)), (PUMP, PUMP.connect(4))]);
    for (device, number) in [(PUMP, 3), (VALVE, 2), (OTHER_PUMP, 1)] {
        wait_for_events(&service, device, number);
    }
    receiver.set_script(|_, _| Reply::Status(200));
    let mut taken = receiver.wait_for_taken(3);
    verify(&taken);
    taken.sort_by_key(Delivery::summary);
    let newest =
        ["device.connected p-1 00:04", "device.connected q-2 00:01", "device.disconnected v-3 00:03"];
    assert_eq!(summaries(&taken), newest);
    // Whatever came in between, nothing else comes before the next change.
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.disconnect(1, 5))]);
    assert_eq!(receiver.wait_for_taken(4)[3].summary(), "device.disconnected q-2 00:05");
    let is_stale = |delivery: &Delivery| delivery.summary() == "device.disconnected p-1 00:02";
    assert!(!receiver.taken().iter().any(is_stale), "a disconnect of a device that is back");
    let overtaken = "devstatus_webhook_overtaken_total{endpoint=\"ops\"} 3";
    service.wait_until("what is left out is counted", || service.get("/metrics").text().contains(overtaken));
}

#[test]
fn a_disconnect_that_does_not_last_is_not_sent() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let lines = format!("{PRIVATE}\nsettle = \"2s\"");
    let service = launch(&broker, directory.path(), &receiver.url(), &lines).start_ready();
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    receiver.wait_for_taken(2);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2)), (VALVE, VALVE.disconnect(1, 3)), (PUMP, PUMP.connect(4))]);
    let taken = receiver.wait_for_taken(3);
    verify(&taken);
    // With the time of the disconnect, not of its confirmation.
    assert_eq!(taken[2].summary(), "device.disconnected v-3 00:03");
    broker.retain(&[(VALVE, VALVE.connect(5))]);
    assert_eq!(receiver.wait_for_taken(4)[3].summary(), "device.connected v-3 00:05");
    let of_pump = receiver.taken().iter().filter(|one| one.json()["data"]["id"] == json!(PUMP.id)).count();
    assert_eq!(of_pump, 1, "a bounce is no news");
    drop(service);
}

#[test]
fn a_disconnect_settles_through_a_restart() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let start = |settle: &str| {
        launch(&broker, directory.path(), &receiver.url(), &format!("{PRIVATE}\nsettle = \"{settle}\""))
            .start_ready()
    };
    let service = start("1h");
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    receiver.wait_for_taken(2);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2)), (VALVE, VALVE.disconnect(1, 3))]);
    wait_for_events(&service, PUMP, 2);
    wait_for_events(&service, VALVE, 2);
    // The position goes past both. If the kill comes before that of this message is saved, it comes again with its id.
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.connect(4))]);
    receiver.wait_for_taken(3);
    wait_for_position_past_undecided(&service, directory.path());
    service.signal(Signal::KILL);
    broker.retain(&[(PUMP, PUMP.connect(5))]);
    let service = start("1h");
    wait_for_events(&service, PUMP, 3);
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.connect(6))]);
    // Of the pump nothing is said: the connect has cancelled its disconnect, of which only the history knew.
    service.wait_until("the next message comes", || once(&receiver.taken()).len() >= 4);
    assert_eq!(once(&receiver.taken())[3].summary(), "device.session_changed q-2 00:06");
    service.terminate();
    let service = start("1s");
    service.wait_until("the next message comes", || once(&receiver.taken()).len() >= 5);
    assert_eq!(once(&receiver.taken())[4].summary(), "device.disconnected v-3 00:03");
}

/// Changes while the endpoint is away.
fn changes() -> u32 {
    if std::env::var_os("TEST_LONG").is_some_and(|value| value == "1") { 100_000 } else { 5_000 }
}

#[test]
fn an_endpoint_that_was_away_hears_of_everything_or_of_what_is_now() {
    const DEVICES: u32 = 500;
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let every = Receiver::start(|_, _| Reply::Status(503));
    let latest = Receiver::start(|_, _| Reply::Status(503));
    let second = format!(
        "{PRIVATE}\n[[webhook]]\nname = \"latest\"\nurl = \"{}\"\nsecret_file = \"hook.secret\"\n\
         allow_private = true\nmode = \"latest\"\n{OF_STATES}",
        latest.url()
    );
    let service = launch(&broker, directory.path(), &every.url(), &second).start_ready();
    let names: Vec<String> = (0..DEVICES).map(|number| format!("d-{number}")).collect();
    let mut publisher = broker.publisher();
    for number in 0..changes() {
        let device = Device { kind: "pump", id: &names[(number % DEVICES) as usize] };
        let round = number / DEVICES;
        let payload = if round.is_multiple_of(2) {
            device.connect(round + 1)
        } else {
            device.disconnect(round, round + 1)
        };
        publisher.retain(&device.topic(), &payload);
    }
    publisher.flush();
    every.wait_for(1);
    latest.wait_for(1);
    for name in &names {
        wait_for_events(&service, Device { kind: "pump", id: name }, (changes() / DEVICES) as usize);
    }
    every.set_script(|_, _| Reply::Status(200));
    latest.set_script(|_, _| Reply::Status(200));
    service.wait_until("all of it comes", || every.taken().len() >= changes() as usize);
    let mut of_devices: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for delivery in every.taken() {
        let body = delivery.json();
        let (id, at) = (body["data"]["id"].as_str().unwrap(), body["timestamp"].as_str().unwrap());
        of_devices.entry(id.to_owned()).or_default().push(at.to_owned());
    }
    assert_eq!(of_devices.len(), names.len());
    for (id, times) in &of_devices {
        assert!(times.is_sorted() && times.len() == (changes() / DEVICES) as usize, "{id}: {times:?}");
    }
    let taken = latest.wait_for_taken(names.len());
    assert_eq!(taken.len(), names.len(), "each device once");
    for delivery in taken {
        let body = delivery.json();
        let id = body["data"]["id"].as_str().unwrap();
        assert_eq!(body["timestamp"].as_str(), of_devices[id].last().map(String::as_str), "{id}");
    }
}

#[test]
fn the_late_end_of_an_earlier_session_ends_no_session_that_was_only_replayed() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(5))]);
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let service = launch(&broker, directory.path(), &receiver.url(), PRIVATE).start_ready();
    // What is known of the pump is in no history. The valve was first seen to disconnect, which counts, whatever came later.
    broker.retain(&[
        (VALVE, VALVE.disconnect(1, 2)),
        (VALVE, VALVE.connect(3)),
        (PUMP, PUMP.disconnect(1, 6)),
    ]);
    wait_for_events(&service, VALVE, 2);
    wait_for_events(&service, PUMP, 1);
    receiver.set_script(|_, _| Reply::Status(200));
    let taken = receiver.wait_for_taken(2);
    assert_eq!(summaries(&taken), ["device.disconnected v-3 00:02", "device.connected v-3 00:03"]);
    broker.retain(&[(PUMP, PUMP.disconnect(5, 8))]);
    let ended = receiver.wait_for_taken(3).remove(2);
    assert_eq!(ended.summary(), "device.disconnected p-1 00:08");
    assert_eq!(ended.json()["data"]["previous_status"], json!("connected"));
}
