//! What a store that several instances share promises besides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use presence::payload::Payload;
use presence::{DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};
use proptest::test_runner::{RngAlgorithm, TestRng};
use store::{ChangeCursor, Instance, Store, StoredDevice};

use crate::fixture::{Fixture, device, devices, event, events, history_event, name, session, wait};
use crate::forget::{
    a_state_from_before_is_not_written_after_a_device_was_forgotten,
    an_event_from_after_a_device_was_forgotten_counts, no_write_slips_past_a_forgetting,
};
use crate::places::Place;

/// Longer than anything takes that is waited for here.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A number below the bound.
fn below(rng: &mut TestRng, bound: u64) -> u64 {
    use proptest::prelude::Rng;
    rng.next_u64() % bound
}

/// Few moments, so that ties of every kind are common.
fn any_event(rng: &mut TestRng) -> PresenceEvent {
    let kinds = [
        EventKind::Request,
        EventKind::Connect,
        EventKind::Takeover,
        EventKind::Refusal,
        EventKind::Disconnect,
    ];
    let kind = kinds[below(rng, 5) as usize];
    // Some within a second of each other, some not.
    let mut moment = || Moment::from_nanos(i128::from(below(rng, 6)) * 700_000_000);
    let (session, time) = (moment(), moment());
    let payload = Payload::pack(&[below(rng, 4) as u8]);
    PresenceEvent { kind, session, time, close_code: below(rng, 2) as u16, payload }
}

/// Three instances write the same few devices at once, one event or several at a time.
pub fn concurrent_writes_of_one_device_are_merged(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let ids = ["a", "b", "c", "d"];
    let mut expected: BTreeMap<&str, DeviceState> = BTreeMap::new();
    let mut writers = Vec::new();
    for writer in 0..3 {
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[writer + 1; 32]);
        let batches = (0..60).map(|_| {
            let mut one = |rng: &mut TestRng| {
                let id = ids[below(rng, 4) as usize];
                let events: Vec<_> = (0..=below(rng, 2)).map(|_| any_event(rng)).collect();
                for reported in &events {
                    expected.entry(id).or_default().apply(reported.clone());
                }
                device(id, events, 1)
            };
            (0..=below(&mut rng, 3)).map(|_| one(&mut rng)).collect()
        });
        let batches: Vec<Vec<StoredDevice>> = batches.collect();
        writers.push((fixture.another(), batches));
    }
    std::thread::scope(|scope| {
        for (store, batches) in writers {
            scope.spawn(move || {
                for batch in batches {
                    wait(store.upsert(Arc::new(devices(batch)))).unwrap();
                }
            });
        }
    });
    let all = fixture.all();
    for id in ids {
        assert_eq!(all[&name(id)].0, expected[id], "{place:?}: {id}");
    }
}

/// An event that several instances hear is kept once.
pub fn an_event_received_by_several_instances_is_stored_once(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let stores: Vec<_> = (0..3).map(|_| fixture.another()).collect();
    std::thread::scope(|scope| {
        for store in stores {
            scope.spawn(move || {
                for at in 0..4 {
                    let received = history_event("a", event(EventKind::Connect, at, at), 1);
                    wait(store.upsert(Arc::new(events(vec![received])))).unwrap();
                }
            });
        }
    });
    let rows = fixture.history("a", None, 10);
    assert_eq!(rows.len(), 4, "{place:?}: {rows:?}");
}

/// The ids of all that changed after the mark.
fn read_on(store: &dyn Store, cursor: &mut ChangeCursor, limit: usize) -> Vec<StoredDevice> {
    let mut found = Vec::new();
    loop {
        let changes = wait(store.changes(cursor.clone(), limit)).unwrap();
        found.extend(changes.devices);
        if std::mem::replace(cursor, changes.cursor) == *cursor {
            return found;
        }
    }
}

/// Who follows the changes from the notification alone ends up with what the store holds.
pub fn a_change_of_another_instance_sends_a_notification(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (reader, writer) = (fixture.shared(), fixture.another());
    let mut cursor = wait(reader.cursor()).unwrap();
    let mut known: BTreeMap<String, (DeviceState, UnixSeconds)> = BTreeMap::new();
    for round in 0..5 {
        let many: Vec<_> =
            (0..300).map(|n| device(&format!("{n}"), [event(EventKind::Connect, round, n)], 1)).collect();
        wait(writer.upsert(Arc::new(devices(many)))).unwrap();
        while known.len() < 300
            || known.values().any(|known| known.0.resolve().unwrap().event.session != session(round))
        {
            let notified = async { tokio::time::timeout(PATIENCE, reader.change_notified()).await };
            assert!(wait(notified).is_ok(), "{place:?}: a notification comes in round {round}");
            for one in read_on(&*reader, &mut cursor, 100) {
                known.insert(one.name.id.to_string(), (one.state, one.received_at));
            }
        }
    }
}

/// Without the notification, too: looking again is enough.
pub fn a_poll_finds_the_changes_of_other_instances(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (reader, writer) = (fixture.shared(), fixture.another());
    let mut cursor = wait(reader.cursor()).unwrap();
    assert!(read_on(&*reader, &mut cursor, 10).is_empty(), "{place:?}");
    wait(writer.upsert(Arc::new(devices(vec![device("a", [event(EventKind::Connect, 1, 1)], 1)])))).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while read_on(&*reader, &mut cursor, 10).is_empty() {
        assert!(std::time::Instant::now() < deadline, "{place:?}: the change is found");
    }
}

/// Those that attend are known in the order in which they came, until they leave or their time is over.
pub fn those_who_live_are_known_in_the_order_of_their_coming(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let store = fixture.store();
    let long = PATIENCE * 10;
    let heartbeat = |id: &str, lives_for: Duration| -> Vec<String> {
        let instance = Instance { id: id.into(), note: format!("note of {id}").into() };
        let live_members = wait(store.heartbeat(instance, lives_for)).unwrap();
        live_members
            .iter()
            .for_each(|one| assert_eq!(*one.note, *format!("note of {}", one.id), "{place:?}"));
        live_members.into_iter().map(|one| one.id.into()).collect()
    };
    // On a busy machine its time is over before the answer is made.
    let with_c = heartbeat("c", Duration::from_millis(1));
    assert!(with_c == ["c"] || with_c.is_empty(), "{place:?}: {with_c:?}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while heartbeat("b", long) != ["b"] {
        assert!(std::time::Instant::now() < deadline, "{place:?}: the time of c is over");
    }
    assert_eq!(heartbeat("a", long), ["b", "a"], "{place:?}");
    assert_eq!(heartbeat("b", long), ["b", "a"], "{place:?}");
    assert_eq!(heartbeat("b", Duration::ZERO), ["a"], "{place:?}");
    assert_eq!(heartbeat("b", long), ["a", "b"], "{place:?}: whoever comes again is the youngest");
}

/// A lease that lasts longer than leases do is one of before the store's clock was set back: its instance may be dead.
pub fn a_clock_of_the_store_that_is_set_back_keeps_nobody_alive(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let store = fixture.store();
    let heartbeat = |id: &str, lives_for: Duration| {
        let live_members =
            wait(store.heartbeat(Instance { id: id.into(), note: "".into() }, lives_for)).unwrap();
        live_members.iter().map(|one| one.id.to_string()).collect::<Vec<_>>()
    };
    heartbeat("dead", PATIENCE * 10);
    let deadline = std::time::Instant::now() + PATIENCE;
    while heartbeat("b", Duration::from_millis(100)).contains(&"dead".to_owned()) {
        assert!(std::time::Instant::now() < deadline, "{place:?}: it is known to be dead");
    }
}

/// What is believed does not depend on whose clock is wrong; of two times of hearing, the later is kept.
pub fn clocks_of_instances_decide_nothing(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (slow, fast) = (fixture.shared(), fixture.another());
    let (minutes, truth) = (600, event(EventKind::Disconnect, 5, 9));
    let put = |store: &Arc<dyn Store>, id: &str, reported, at| {
        wait(store.upsert(Arc::new(devices(vec![device(id, [reported], at)])))).unwrap();
    };
    put(&slow, "a", event(EventKind::Connect, 5, 5), 1_000 + minutes);
    put(&fast, "a", truth.clone(), 1_000);
    put(&fast, "b", truth.clone(), 1_000 + minutes);
    put(&slow, "b", event(EventKind::Connect, 5, 5), 1_000);
    for id in ["a", "b"] {
        let (state, received_at) = &fixture.all()[&name(id)];
        assert_eq!(state.resolve().unwrap().event, &truth, "{place:?}: {id}");
        assert_eq!(*received_at, UnixSeconds(1_000 + minutes), "{place:?}: {id}");
    }
}

/// All of them.
pub const SHARED: &[crate::contract::Promise] = &[
    ("concurrent_writes_of_one_device_are_merged", concurrent_writes_of_one_device_are_merged),
    ("clocks_of_instances_decide_nothing", clocks_of_instances_decide_nothing),
    (
        "an_event_received_by_several_instances_is_stored_once",
        an_event_received_by_several_instances_is_stored_once,
    ),
    ("a_change_of_another_instance_sends_a_notification", a_change_of_another_instance_sends_a_notification),
    ("a_poll_finds_the_changes_of_other_instances", a_poll_finds_the_changes_of_other_instances),
    (
        "a_state_from_before_is_not_written_after_a_device_was_forgotten",
        a_state_from_before_is_not_written_after_a_device_was_forgotten,
    ),
    ("an_event_from_after_a_device_was_forgotten_counts", an_event_from_after_a_device_was_forgotten_counts),
    ("no_write_slips_past_a_forgetting", no_write_slips_past_a_forgetting),
    (
        "those_who_live_are_known_in_the_order_of_their_coming",
        those_who_live_are_known_in_the_order_of_their_coming,
    ),
    (
        "a_clock_of_the_store_that_is_set_back_keeps_nobody_alive",
        a_clock_of_the_store_that_is_set_back_keeps_nobody_alive,
    ),
];
