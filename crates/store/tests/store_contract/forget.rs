//! Forgetting devices: those that have been disconnected for too long, and any that an administrator names.

use presence::{EventKind, Moment, PresenceEvent, Status};

use crate::fixture::{Fixture, device, devices, event, events, history_event, name, wait};
use crate::places::Place;

pub fn only_devices_that_are_still_disconnected_are_forgotten(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(devices(vec![
        device("gone", [event(EventKind::Disconnect, 1, 9)], 1),
        device("back", [event(EventKind::Disconnect, 1, 9), event(EventKind::Connect, 10, 10)], 1),
        device("later", [event(EventKind::Disconnect, 1, 10)], 1),
        device("unknown", [PresenceEvent { time: Moment::UNKNOWN, ..event(EventKind::Disconnect, 1, 1) }], 1),
    ]));
    let names = ["gone", "back", "later", "unknown", "absent"].map(name).to_vec();
    wait(fixture.store().forget(names, Some(10))).unwrap();
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["back", "later", "unknown"].map(Box::<str>::from), "{place:?}");
    // Who comes back begins a new history.
    fixture.put(events(vec![history_event("gone", event(EventKind::Connect, 20, 20), 1)]));
    assert_eq!(fixture.history("gone", None, 10).len(), 1, "{place:?}");
}

pub fn without_a_moment_whatever_is_named_is_forgotten(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let ahead = 4_000_000_000_000_000_000;
    fixture.put(devices(vec![
        device("ahead", [event(EventKind::Connect, ahead, ahead)], 1),
        device("refused", [event(EventKind::Connect, 1, 1), event(EventKind::Refusal, 2, 2)], 1),
        device("other", [event(EventKind::Connect, 1, 1)], 1),
    ]));
    fixture.put(events(vec![history_event("ahead", event(EventKind::Connect, ahead, ahead), 1)]));
    wait(fixture.store().forget(["ahead", "refused", "absent"].map(name).to_vec(), None)).unwrap();
    let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
    assert_eq!(left, ["other"].map(Box::<str>::from), "{place:?}");
    assert_eq!(fixture.history("ahead", None, 10), [], "{place:?}");
    // What is older than the session that was forgotten counts again.
    fixture.put(devices(vec![device("ahead", [event(EventKind::Disconnect, 5, 6)], 2)]));
    let state = &fixture.all()[&name("ahead")].0;
    assert_eq!(state.resolve().map(|resolved| resolved.status), Some(Status::Disconnected), "{place:?}");
}
