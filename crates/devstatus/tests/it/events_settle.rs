//! `settle=`: streams that show a disconnect once it has lasted.

use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "p-3" };
const FAN: Device<'_> = Device { kind: "fan", id: "f-4" };

fn summary(device: Device<'_>, status: &str, second: u32) -> String {
    format!("{}/{} {status} 2026-11-23T17:00:{second:02}.186Z", device.kind, device.id)
}

#[test]
fn a_stream_shows_a_disconnect_that_lasts_and_not_one_that_a_connect_ends() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start_ready();
    let mut stream = EventStream::open(service.address(), "settle=5s");
    let mut of_connects = EventStream::open(service.address(), "settle=5s&status=connected");
    let mut snapshot = EventStream::open(service.address(), "settle=5s&snapshot=true");
    snapshot.expect("snapshot_complete");
    let statuses = [
        (PUMP, PUMP.connect(1)),
        (VALVE, VALVE.connect(2)),
        (PUMP, PUMP.disconnect(1, 3)),
        (PUMP, PUMP.connect(4)),
        (VALVE, VALVE.disconnect(2, 5)),
        (FAN, FAN.connect(6)),
    ];
    broker.publish(&statuses);
    let connects =
        [summary(PUMP, "connected", 1), summary(VALVE, "connected", 2), summary(FAN, "connected", 6)];
    assert_eq!(of_connects.changes(3), connects);
    let all = [connects.as_slice(), &[summary(VALVE, "disconnected", 5)]].concat();
    assert_eq!(stream.changes(4), all);
    assert_eq!(snapshot.changes(4), all);
    // What has been shown is not held back any more.
    broker.publish(&[(VALVE, VALVE.connect(7))]);
    assert_eq!(stream.changes(1), [summary(VALVE, "connected", 7)]);
    for refused in ["settle=61m", "settle=5", "settle=5s&settle=6s"] {
        assert!(EventStream::ask(service.address(), refused, None).is_err(), "{refused}");
    }
}

#[test]
fn a_client_that_comes_back_misses_no_disconnect_that_was_held_back() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let store = format!("sqlite:{}/store.db", directory.path().display());
    let start = || Launch::to(&broker.url()).on_store(&store).start_ready();
    let service = start();
    let mut stream = EventStream::open(service.address(), "settle=1h");
    broker.publish(&[(PUMP, PUMP.connect(1))]);
    stream.expect("change");
    // So that the ids name a place in the history.
    service.wait_until("the event is kept", || {
        service.get("/metrics").text().contains("devstatus_store_events_written_total 1\n")
    });
    broker.publish(&[(PUMP, PUMP.disconnect(1, 2)), (FAN, FAN.connect(3))]);
    assert_eq!(stream.changes(1), [summary(FAN, "connected", 3)]);
    let id = stream.last_event_id.clone();
    let shown_again = |service: &Service| {
        let mut resumed = EventStream::resume(service.address(), "settle=1s", id.as_deref());
        let wanted = summary(PUMP, "disconnected", 2);
        let mut shown = resumed.changes(2);
        while !shown.contains(&wanted) {
            shown.extend(resumed.changes(1));
        }
        assert!(shown.contains(&summary(FAN, "connected", 3)), "{shown:?}");
    };
    shown_again(&service);
    service.wait_until("all events are kept", || {
        service.get("/metrics").text().contains("devstatus_store_events_written_total 3\n")
    });
    assert_eq!(service.terminate().status.code(), Some(0));
    shown_again(&start());
}
