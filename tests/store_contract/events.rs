//! The events of all devices in one order, as a stream that goes on from an earlier one reads them.

use devstatus::clock::UnixSeconds;
use devstatus::history::{EventPage, KeptEvent};
use devstatus::presence::Claim;

use crate::contract::Promise;
use crate::fixture::{Fixture, device, devices, event, events, statement, wait};
use crate::places::Place;

fn events_after(fixture: &Fixture<'_>, after: u64, limit: usize) -> EventPage {
    wait(fixture.store().events(after, limit)).unwrap().expect("the store orders its events")
}

pub fn the_events_of_all_devices_can_be_followed_from_any_point(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    assert_eq!(events_after(&fixture, 0, 10), EventPage::default(), "{place:?}");
    for at in 0..3 {
        fixture
            .put(events(["a", "b", "c"].map(|id| event(id, statement(Claim::Connect, at, at), 1)).to_vec()));
    }
    fixture.put(devices(vec![device("d", [statement(Claim::Connect, 1, 1)], 1)]));
    fixture.reopen();
    let all = events_after(&fixture, 0, 100);
    assert_eq!((all.events.len(), all.incomplete), (9, false), "{place:?}");
    assert_eq!(all.newest, all.events.last().unwrap().row.sequence, "{place:?}");
    let mut followed = Vec::new();
    loop {
        let after = followed.last().map_or(0, |event: &KeptEvent| event.row.sequence);
        let page = events_after(&fixture, after, 4);
        if page.events.is_empty() {
            break;
        }
        followed.extend(page.events);
    }
    assert_eq!(followed, all.events, "{place:?}");
    // Per device they are in the order in which they came.
    for id in ["a", "b", "c"] {
        let of_one: Vec<_> = followed.iter().filter(|event| &*event.id == id).collect();
        let history = fixture.history(id, None, 10);
        assert!(of_one.iter().map(|event| &event.row).eq(history.iter().rev()), "{place:?} {id}");
    }
    // What comes later comes behind, and nothing else does.
    fixture.put(events(vec![event("a", statement(Claim::Disconnect, 2, 9), 2)]));
    let later = events_after(&fixture, all.newest, 100);
    assert_eq!((later.events.len(), later.incomplete), (1, false), "{place:?}");
    assert_eq!(events_after(&fixture, u64::MAX, 1).newest, later.newest, "{place:?}");
}

pub fn whoever_follows_the_events_is_told_what_was_dropped_since(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(events(vec![event("a", statement(Claim::Connect, 1, 1), 10)]));
    let seen = events_after(&fixture, 0, 10).newest;
    for at in 2..5 {
        fixture.put(events(vec![event("a", statement(Claim::Connect, at, at), at as u32 * 10)]));
    }
    assert!(!events_after(&fixture, seen, 10).incomplete, "{place:?}");
    wait(fixture.store().prune(UnixSeconds(30))).unwrap();
    let page = events_after(&fixture, seen, 10);
    assert_eq!((page.events.len(), page.incomplete), (2, true), "{place:?}");
    let newer = page.events[0].row.sequence;
    assert!(!events_after(&fixture, newer, 10).incomplete, "{place:?}: all after it are there");
    assert!(
        events_after(&fixture, page.newest + 1, 10).incomplete,
        "{place:?}: seen in no store of this kind"
    );
}

/// Of stores that can give the events of all devices in their order.
pub const ORDERED_EVENTS: &[Promise] = &[
    (
        "the_events_of_all_devices_can_be_followed_from_any_point",
        the_events_of_all_devices_can_be_followed_from_any_point,
    ),
    (
        "whoever_follows_the_events_is_told_what_was_dropped_since",
        whoever_follows_the_events_is_told_what_was_dropped_since,
    ),
];
