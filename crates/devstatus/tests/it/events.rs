//! Live changes over HTTP: what is sent to whom, and how a stream goes on where another ended. Many readers, and snapshots
//! under load, are in `events_load`.

use std::io::Read;

use serde_json::json;

use testkit::closing_broker::{ClosingBroker, Script};
use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, mentions};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const OTHER_PUMP: Device<'_> = Device { kind: "pump", id: "q-2" };
const VALVE: Device<'_> = Device { kind: "valve", id: "p-3" };
const FAN: Device<'_> = Device { kind: "fan", id: "f-4" };

/// A service that has read everything, and its broker.
fn ready(arguments: &[&str]) -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).arguments(arguments).start_ready();
    (broker, service)
}

fn wait_until_changed(service: &Service, changes: u64) {
    let line = format!("devstatus_changes_total {changes}\n");
    service.wait_until(&format!("{changes} changes"), || service.get("/metrics").text().contains(&line));
}

#[test]
fn a_change_shows_the_device_as_the_resource_of_the_device_does() {
    let (broker, service) = ready(&[]);
    let mut stream = EventStream::open(service.address(), "");
    broker.publish(&[(PUMP, PUMP.connect(1)), (PUMP, PUMP.disconnect(1, 2))]);
    let first = stream.expect("change");
    assert_eq!(first.data["previous_status"], json!(null));
    let mut second = stream.expect("change");
    assert_eq!(second.data["previous_status"], json!("connected"));
    assert_eq!(second.data["status"], json!("disconnected"));
    assert!(second.id.is_some() && second.id != first.id);
    second.data.as_object_mut().unwrap().remove("previous_status");
    assert_eq!(second.data, service.get("/api/v1/devices/pump/p-1").json());
    // What is known changes nothing, and a new session of a connected device does.
    broker.publish(&[(PUMP, PUMP.disconnect(1, 2)), (PUMP, PUMP.connect(5)), (PUMP, PUMP.connect(6))]);
    let since = [stream.expect("change"), stream.expect("change")].map(|event| event.data["since"].clone());
    assert_eq!(since, [json!("2026-11-23T17:00:05.186Z"), json!("2026-11-23T17:00:06.186Z")]);
}

#[test]
fn a_stream_shows_matching_changes_in_order() {
    let (broker, service) = ready(&[]);
    let statuses = [
        (PUMP, PUMP.connect(1)),
        (VALVE, VALVE.connect(2)),
        (OTHER_PUMP, OTHER_PUMP.connect(3).replace("198.51.100.7", "192.0.2.9")),
        (PUMP, PUMP.disconnect(1, 4)),
        (VALVE, VALVE.disconnect(2, 5).replace(r#""CloseCode":91"#, r#""CloseCode":160"#)),
    ];
    let wanted: [(&str, &[usize]); 11] = [
        ("", &[0, 1, 2, 3, 4]),
        ("type=pump", &[0, 2, 3]),
        ("type=pump&type=valve", &[0, 1, 2, 3, 4]),
        ("status=disconnected", &[3, 4]),
        ("close_code=160", &[4]),
        ("address=198.51.100.0/24", &[0, 1, 3, 4]),
        ("id_prefix=p-", &[0, 1, 3, 4]),
        ("type=pump&status=connected&id_prefix=q", &[2]),
        ("id=q-2&id=p-3", &[1, 2, 4]),
        ("close_code=160&close_code=91&id_prefix=p-1&id_prefix=q", &[3]),
        ("type=fan", &[]),
    ];
    let mut streams: Vec<_> =
        wanted.iter().map(|(query, _)| EventStream::open(service.address(), query)).collect();
    broker.publish(&statuses);
    // All of them want this one, so nothing else was on its way before it.
    let end = Device::new("fan", "p-q");
    let mut all = EventStream::open(service.address(), "type=fan");
    let order = ["pump/p-1", "valve/p-3", "pump/q-2", "pump/p-1", "valve/p-3"];
    wait_until_changed(&service, 5);
    broker.publish(&[(end, end.connect(9))]);
    all.expect("change");
    for (stream, (query, wanted)) in streams.iter_mut().zip(wanted) {
        let seen = stream.changes(wanted.len());
        for (seen, wanted) in seen.iter().zip(wanted) {
            assert!(seen.starts_with(order[*wanted]), "{query}: {seen}");
        }
        if query.is_empty() || query == "type=fan" {
            assert!(stream.changes(1)[0].starts_with("fan/p-q"), "{query}");
        }
    }
}

#[test]
fn invalid_stream_parameters_are_refused_by_name() {
    let (_broker, service) = ready(&[]);
    for (query, name) in [
        ("snapshot=yes", "snapshot"),
        ("status=on", "status"),
        ("address=1.2.3.4/40", "address"),
        ("sort=id", "sort"),
        ("close_code=a", "close_code"),
    ] {
        let refusal = EventStream::ask(service.address(), query, None).err().expect("it is refused");
        assert_eq!((refusal.status, &refusal.json()["parameter"]), (400, &json!(name)), "{query}");
    }
}

#[test]
fn one_stream_too_many_is_refused_until_another_has_ended() {
    let (broker, service) = ready(&["--streams-max", "1"]);
    let stream = EventStream::open(service.address(), "");
    let refusal = EventStream::ask(service.address(), "", None).err().expect("it is refused");
    assert_eq!((refusal.status, refusal.header("retry-after").is_some()), (503, true));
    assert_eq!(refusal.json()["type"], json!("urn:devstatus:problem:too-many-streams"));
    let refused = "devstatus_streams_refused_total{reason=\"too_many\"} 2\n";
    assert!(service.get("/metrics").text().contains(refused));
    drop(stream);
    service.wait_until("there is room again", || {
        broker.publish(&[(PUMP, PUMP.connect(1))]);
        EventStream::ask(service.address(), "", None).is_ok()
    });
}

#[test]
fn a_stream_resumes_after_the_last_received_event() {
    let (broker, service) = ready(&[]);
    let mut stream = EventStream::open(service.address(), "type=pump");
    broker.publish(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1)), (PUMP, PUMP.connect(2))]);
    let seen = stream.changes(2);
    let after = stream.last_event_id.clone();
    drop(stream);
    broker.publish(&[(PUMP, PUMP.connect(3)), (PUMP, PUMP.connect(4))]);
    wait_until_changed(&service, 5);
    let mut resumed = EventStream::resume(service.address(), "type=pump", after.as_deref());
    let missed = resumed.changes(2);
    assert!(missed[0].ends_with("03.186Z") && missed[1].ends_with("04.186Z"), "{missed:?}");
    broker.publish(&[(PUMP, PUMP.connect(5))]);
    assert!(resumed.changes(1)[0].ends_with("05.186Z"));
    // From before the first change of this process.
    let mut again =
        EventStream::resume(service.address(), "type=pump", Some(&first_id(after.as_deref().unwrap())));
    assert_eq!(again.changes(1), seen[..1]);
}

/// The id that comes before the first change of the process that gave the other.
fn first_id(id: &str) -> String {
    let (epoch, _) = id.split_once('-').expect("an id has parts");
    format!("{epoch}-0")
}

fn wait_until_kept(service: &Service, events: u64) {
    let line = format!("devstatus_store_events_written_total {events}\n");
    service.wait_until("the events are kept", || service.get("/metrics").text().contains(&line));
}

#[test]
fn a_late_end_of_an_earlier_session_is_not_shown_by_a_stream_that_resumes() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let flags = ["--store", &store, "--flush-interval-ms", "20"];
    let (broker, service) = ready(&flags);
    let mut stream = EventStream::open(service.address(), "");
    broker.publish(&[(VALVE, VALVE.connect(1)), (VALVE, VALVE.connect(4))]);
    stream.changes(2);
    wait_until_kept(&service, 2);
    // So that the id is of a place after both.
    broker.publish(&[(FAN, FAN.connect(5))]);
    stream.changes(1);
    let id = stream.last_event_id.clone();
    drop(stream);
    broker.publish(&[(VALVE, VALVE.disconnect(1, 6))]);
    wait_until_kept(&service, 4);
    assert_eq!(service.terminate().status.code(), Some(0));

    let again = Launch::to(&broker.url()).arguments(&flags).start_ready();
    let mut resumed = EventStream::resume(again.address(), "", id.as_deref());
    broker.publish(&[(PUMP, PUMP.connect(7))]);
    let mut missed = resumed.changes(1);
    while missed.last().is_none_or(|last| !last.starts_with("pump")) {
        missed.extend(resumed.changes(1));
    }
    assert!(missed.iter().all(|change| !change.starts_with("valve/p-3 disconnected")), "{missed:?}");
    assert_eq!(again.get("/api/v1/devices/valve/p-3").json()["status"], json!("connected"));
    assert!(again.get("/metrics").text().contains("devstatus_stream_gaps_total 0\n"));
}

#[test]
fn changes_missed_over_a_restart_come_from_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let flags = ["--store", &store, "--flush-interval-ms", "20"];
    let (broker, service) = ready(&flags);
    broker.publish(&[(VALVE, VALVE.connect(1))]);
    wait_until_kept(&service, 1);
    let mut stream = EventStream::open(service.address(), "");
    broker.publish(&[(PUMP, PUMP.connect(2))]);
    let seen = stream.changes(1);
    let id = stream.last_event_id.clone();
    drop(stream);
    broker.publish(&[
        (PUMP, PUMP.disconnect(2, 3)),
        (PUMP, PUMP.connect(4)),
        (VALVE, VALVE.disconnect(1, 5)),
    ]);
    wait_until_kept(&service, 5);
    assert_eq!(service.terminate().status.code(), Some(0));
    // Nobody hears of this one live: the broker tells the next process that it is connected.
    let mut publisher = broker.publisher();
    publisher.retain(&FAN.topic(), FAN.connect(7));
    publisher.flush();

    let again = Launch::to(&broker.url()).arguments(&flags).start();
    again.wait_until_ready();
    let mut resumed = EventStream::resume(again.address(), "", id.as_deref());
    broker.publish(&[(PUMP, PUMP.connect(6))]);
    let mut missed = Vec::new();
    while missed.last().is_none_or(|last: &String| !last.ends_with("06.186Z")) {
        missed.extend(resumed.changes(1));
    }
    // What had just been sent may come again, and what was seen before that does not.
    missed.retain(|change| *change != seen[0]);
    let of =
        |device: &str| missed.iter().filter(|change| change.starts_with(device)).cloned().collect::<Vec<_>>();
    assert_eq!(
        of("pump"),
        [
            "pump/p-1 disconnected 2026-11-23T17:00:03.186Z",
            "pump/p-1 connected 2026-11-23T17:00:04.186Z",
            "pump/p-1 connected 2026-11-23T17:00:06.186Z",
        ]
    );
    assert_eq!(of("valve"), ["valve/p-3 disconnected 2026-11-23T17:00:05.186Z"]);
    assert_eq!(of("fan"), ["fan/f-4 connected 2026-11-23T17:00:07.186Z"]);
    assert!(again.get("/metrics").text().contains("devstatus_stream_gaps_total 0\n"));
    // And from an event of the history on.
    let (_, order) = id.as_deref().and_then(|id| id.rsplit_once('-')).expect("an id has parts");
    let mut third = EventStream::resume(again.address(), "type=valve", Some(&format!("0-0-1-{order}")));
    assert!(third.changes(1)[0].starts_with("valve/p-3 disconnected"));
}

#[test]
fn a_new_store_does_not_take_an_id_of_another_for_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let start = |file: &str, broker: &Mosquitto| {
        let store = format!("sqlite:{}", directory.path().join(file).display());
        let service =
            Launch::to(&broker.url()).arguments(&["--store", &store, "--flush-interval-ms", "20"]).start();
        service.wait_until_ready();
        service
    };
    let kept = |service: &Service, events: u64| {
        let line = format!("devstatus_store_events_written_total {events}\n");
        service.wait_until("the events are kept", || service.get("/metrics").text().contains(&line));
    };
    let broker = Mosquitto::start();
    let service = start("first.db", &broker);
    broker.publish(&[(VALVE, VALVE.connect(1))]);
    kept(&service, 1);
    let mut stream = EventStream::open(service.address(), "");
    broker.publish(&[(PUMP, PUMP.connect(2))]);
    stream.expect("change");
    let id = stream.last_event_id.clone();
    assert_eq!(id.as_deref().map(|id| id.split('-').count()), Some(4), "it has a position in the history");
    drop(stream);
    assert_eq!(service.terminate().status.code(), Some(0));

    // The other store has the same numbers, and more.
    let service = start("second.db", &broker);
    broker.publish(&[1, 2, 3, 4].map(|at| (FAN, FAN.connect(at))));
    kept(&service, 4);
    let mut resumed = EventStream::resume(service.address(), "", id.as_deref());
    assert_eq!(resumed.expect("gap").data, json!({ "reason": "dropped" }));
}

#[test]
fn changes_beyond_the_buffer_come_from_the_store_and_lead_into_live_ones() {
    let (broker, service) = ready(&["--stream-lag-max", "100", "--flush-interval-ms", "20"]);
    let mut stream = EventStream::open(service.address(), "");
    broker.publish(&[(PUMP, PUMP.connect(1))]);
    stream.expect("change");
    let id = stream.last_event_id.clone();
    drop(stream);
    let connects = |range: std::ops::RangeInclusive<u32>| -> Vec<_> {
        range.map(|at| (PUMP, PUMP.connect(at))).collect()
    };
    broker.publish(&connects(2..=400));
    service.wait_until("the events are kept", || {
        service.get("/metrics").text().contains("devstatus_store_events_written_total 400\n")
    });
    let mut resumed = EventStream::resume(service.address(), "", id.as_deref());
    broker.publish(&connects(401..=420));
    let mut seen = resumed.changes(419);
    if seen[0].ends_with("00:01.186Z") {
        // It had just been sent.
        seen.remove(0);
        seen.extend(resumed.changes(1));
    }
    let expected: Vec<_> = (2..=420).map(|at| format!("{:02}:{:02}.186Z", at / 60, at % 60)).collect();
    let seen: Vec<_> = seen.iter().map(|change| change[change.len() - 10..].to_owned()).collect();
    assert_eq!(seen, expected);
}

#[test]
fn a_gap_is_said_and_a_snapshot_closes_it() {
    let (broker, service) = ready(&[]);
    broker.publish(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    wait_until_changed(&service, 2);
    for (at, id, reason) in [
        (2, "nonsense", "unknown_id"),
        // Another process's change, of which the history knows nothing.
        (3, "1-77", "not_logged"),
        // Another store's event.
        (4, "1-77-5000-ab", "dropped"),
    ] {
        let mut stream = EventStream::resume(service.address(), "", Some(id));
        assert_eq!(stream.expect("gap").data, json!({ "reason": reason }), "{id}");
        broker.publish(&[(PUMP, PUMP.connect(at))]);
        stream.expect("change");
        let mut stream = EventStream::resume(service.address(), "snapshot=true&type=pump", Some(id));
        stream.expect("gap");
        let device = stream.expect("device");
        assert_eq!(
            (&device.data["id"], device.id),
            (&json!("p-1"), None),
            "whoever breaks off now begins anew"
        );
        let complete = stream.expect("snapshot_complete");
        assert_eq!((complete.data, complete.id.is_some()), (json!({ "devices": 1 }), true));
    }
    assert!(service.get("/metrics").text().contains("devstatus_stream_gaps_total 6\n"));
}

#[test]
fn a_quiet_stream_shows_that_it_is_alive_and_where_to_go_on() {
    let (broker, service) = ready(&[]);
    let mut stream = EventStream::open(service.address(), "type=fan");
    broker.publish(&[(PUMP, PUMP.connect(1))]);
    wait_until_changed(&service, 1);
    let sign = stream.next().expect("the stream goes on");
    assert_eq!((sign.name.as_str(), stream.comments), ("", 1));
    let id = sign.id.expect("a client that wants none of the changes has missed none");
    let mut all = EventStream::resume(service.address(), "", Some(&id));
    broker.publish(&[(PUMP, PUMP.connect(2))]);
    assert!(all.changes(1)[0].ends_with("02.186Z"), "the change before is not shown again");
}

#[test]
fn a_stop_ends_the_streams_also_of_those_who_do_not_read() {
    let broker = ClosingBroker::start(Script::default());
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let mut reading = EventStream::open(service.address(), "");
    let silent = EventStream::open(service.address(), "snapshot=true").into_socket();
    let ended = service.terminate();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(!mentions(&ended.stderr, &["busy", "cut"]), "no connection had to be waited for: {ended:?}");
    assert_eq!(reading.next(), None, "a stream ends in good form");
    let mut rest = Vec::new();
    (&silent).read_to_end(&mut rest).expect("the connection is closed");
}
