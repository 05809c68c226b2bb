//! Deleting devices: those that have been disconnected for too long, and any that an administrator names.

use std::sync::Arc;

use presence::{EventKind, Moment, PresenceEvent, Status, UnixSeconds};
use store::{Batch, ChangeCursor, Changes, ForgottenDevice, Store, StoredDevice};

use crate::fixture::{Fixture, device, devices, event, events, history_event, name, wait};
use crate::places::Place;

fn forgotten(id: &str, at: u32) -> ForgottenDevice {
    ForgottenDevice { name: name(id), at: UnixSeconds(at) }
}

pub fn only_devices_that_are_still_disconnected_expire(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(devices(vec![
        device("gone", [event(EventKind::Disconnect, 1, 9)], 1),
        device("back", [event(EventKind::Disconnect, 1, 9), event(EventKind::Connect, 10, 10)], 1),
        device("later", [event(EventKind::Disconnect, 1, 10)], 1),
        device("unknown", [PresenceEvent { time: Moment::UNKNOWN, ..event(EventKind::Disconnect, 1, 1) }], 1),
    ]));
    let names = ["gone", "back", "later", "unknown", "absent"].map(name).to_vec();
    wait(fixture.store().expire(names, 10)).unwrap();
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["back", "later", "unknown"].map(Box::<str>::from), "{place:?}");
    // Who comes back begins a new history.
    fixture.put(events(vec![history_event("gone", event(EventKind::Connect, 20, 20), 1)]));
    assert_eq!(fixture.history("gone", None, 10).len(), 1, "{place:?}");
}

pub fn a_device_is_forgotten_whatever_its_status(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let ahead = 4_000_000_000_000_000_000;
    fixture.put(devices(vec![
        device("ahead", [event(EventKind::Connect, ahead, ahead)], 1),
        device("refused", [event(EventKind::Connect, 1, 1), event(EventKind::Refusal, 2, 2)], 1),
        device("other", [event(EventKind::Connect, 1, 1)], 1),
    ]));
    fixture.put(events(vec![history_event("ahead", event(EventKind::Connect, ahead, ahead), 1)]));
    for id in ["ahead", "refused", "absent"] {
        wait(fixture.store().forget(forgotten(id, 1))).unwrap();
    }
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["other"].map(Box::<str>::from), "{place:?}");
    assert_eq!(fixture.history("ahead", None, 10), [], "{place:?}");
    // What is older than the session that was forgotten counts again.
    fixture.put(devices(vec![device("ahead", [event(EventKind::Disconnect, 5, 6)], 2)]));
    let state = &fixture.all()[&name("ahead")].0;
    assert_eq!(state.resolve().map(|resolved| resolved.status), Some(Status::Disconnected), "{place:?}");
}

/// When the device is forgotten in these tests; what was received by then is old.
const FORGOTTEN_AT: u32 = 100;

fn stuck() -> PresenceEvent {
    event(EventKind::Connect, 400_000_000, 1)
}

/// What an instance writes that has dropped what was forgotten up to the cursor.
fn put_on(store: &dyn Store, based_on: &ChangeCursor, batch: Batch) {
    let based_on = Some(based_on.clone());
    wait(store.upsert(Arc::new(Batch { based_on, ..batch }))).unwrap();
}

fn read_on(store: &dyn Store, cursor: &mut ChangeCursor) -> Changes {
    let mut all =
        Changes { forgotten: Vec::new(), devices: Vec::new(), cursor: cursor.clone(), is_all: true };
    loop {
        let changes = wait(store.changes(cursor.clone(), 10)).unwrap();
        all.forgotten.extend(changes.forgotten);
        all.devices.extend(changes.devices);
        if std::mem::replace(cursor, changes.cursor) == *cursor {
            return Changes { cursor: cursor.clone(), ..all };
        }
    }
}

/// Another instance holds the forgotten state, or has changes of it that it has not written yet.
pub fn a_state_from_before_is_not_written_after_a_device_was_forgotten(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    fixture.put(devices(vec![device("a", [stuck()], 1), device("b", [stuck()], 1)]));
    let other = fixture.another();
    let mut cursor = wait(other.cursor()).unwrap();
    let before = cursor.clone();
    wait(fixture.store().forget(forgotten("a", FORGOTTEN_AT))).unwrap();
    let old_event = history_event("a", event(EventKind::Disconnect, 2, 2), FORGOTTEN_AT);
    let old = || {
        vec![device("a", [stuck()], FORGOTTEN_AT + 9), device("b", [stuck()], 2), device("c", [stuck()], 2)]
    };
    put_on(&*other, &before, Batch { events: vec![old_event], ..devices(old()) });
    fixture.reopen();
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["b", "c"].map(Box::<str>::from), "{place:?}: the others are written");
    assert_eq!(fixture.history("a", None, 10), [], "{place:?}");
    // The other instance hears of it, and of what has changed besides.
    let changes = read_on(&*other, &mut cursor);
    assert_eq!(changes.forgotten, [forgotten("a", FORGOTTEN_AT)], "{place:?}");
    assert!(changes.devices.iter().all(|device| &*device.name.id != "a"), "{place:?}");
    assert_eq!(wait(other.forgotten()).unwrap(), [forgotten("a", FORGOTTEN_AT)], "{place:?}");
    // From then on its states are new ones.
    put_on(&*other, &cursor, devices(vec![device("a", [event(EventKind::Connect, 3, 3)], 3)]));
    assert_eq!(fixture.all()[&name("a")].0.resolve().unwrap().event.kind, EventKind::Connect, "{place:?}");
    // Forgotten once more, the same holds again.
    wait(fixture.store().forget(forgotten("a", FORGOTTEN_AT + 1))).unwrap();
    put_on(&*other, &cursor, devices(vec![device("a", [stuck()], 1)]));
    assert!(!fixture.all().contains_key(&name("a")), "{place:?}");
    assert_eq!(read_on(&*other, &mut cursor).forgotten, [forgotten("a", FORGOTTEN_AT + 1)], "{place:?}");
}

/// An event that came after the device was forgotten counts, also if the instance has not heard of that yet.
pub fn an_event_from_after_a_device_was_forgotten_counts(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(devices(vec![device("a", [stuck()], 1)]));
    let other = fixture.another();
    let mut cursor = wait(other.cursor()).unwrap();
    let before = cursor.clone();
    wait(fixture.store().forget(forgotten("a", FORGOTTEN_AT))).unwrap();
    let new = event(EventKind::Disconnect, 2, 2);
    let events = vec![history_event("a", stuck(), 50), history_event("a", new.clone(), FORGOTTEN_AT + 1)];
    // The state holds nothing of the new event, for the stuck session hides it.
    let batch = Batch { events, ..devices(vec![device("a", [stuck()], FORGOTTEN_AT + 1)]) };
    put_on(&*other, &before, batch.clone());
    // Written again, as after a lost answer, it changes nothing.
    put_on(&*other, &before, batch);
    let (state, received_at) = &fixture.all()[&name("a")];
    assert_eq!((state.resolve().unwrap().event, received_at.0), (&new, FORGOTTEN_AT + 1), "{place:?}");
    assert_eq!(fixture.history("a", None, 10).len(), 1, "{place:?}");
    // An instance that drops the device then has what it is now.
    let changes = read_on(&*other, &mut cursor);
    assert_eq!(changes.forgotten, [forgotten("a", FORGOTTEN_AT)], "{place:?}");
    let now: Vec<&StoredDevice> = changes.devices.iter().filter(|device| &*device.name.id == "a").collect();
    assert!(!now.is_empty() && now.iter().all(|device| device.state == *state), "{place:?}: {now:?}");
}

/// Instances write a device all the time while it is forgotten: none of the old states is left, whichever comes first.
pub fn no_write_slips_past_a_forgetting(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(devices(vec![device("a", [stuck()], 1)]));
    let before = wait(fixture.store().cursor()).unwrap();
    let forgetting = fixture.another();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (store, before) = (fixture.another(), &before);
            scope.spawn(move || {
                for number in 0..25 {
                    let others = (0..number % 5).map(|n| device(&format!("{writer}-{n}"), [stuck()], 1));
                    let state = device("a", [stuck(), event(EventKind::Connect, number, writer)], 2);
                    put_on(&*store, before, devices(others.chain([state]).collect()));
                }
            });
        }
        scope.spawn(move || wait(forgetting.forget(forgotten("a", FORGOTTEN_AT))).unwrap());
    });
    assert!(!fixture.all().contains_key(&name("a")), "{place:?}");
}
