//! The events of all devices in one order, as a stream that goes on from an earlier one reads them.

use devstatus::clock::UnixSeconds;
use devstatus::history::{EventPage, KeptEvent};
use devstatus::presence::Claim;

use super::{Fixture, KINDS, Kind, device, devices, event, events, statement, wait};

/// Whether the store can give the events of all devices in their order.
fn orders_events(kind: Kind) -> bool {
    match kind {
        Kind::Memory | Kind::Sqlite => true,
    }
}

fn events_after(fixture: &Fixture, after: u64, limit: usize) -> EventPage {
    wait(fixture.store().events(after, limit)).unwrap().expect("the store orders its events")
}

#[test]
fn the_events_of_all_devices_can_be_followed_from_any_point() {
    for kind in KINDS.into_iter().filter(|kind| orders_events(*kind)) {
        let mut fixture = Fixture::new(kind);
        assert_eq!(events_after(&fixture, 0, 10), EventPage::default(), "{kind:?}");
        for at in 0..3 {
            fixture.put(events(
                ["a", "b", "c"].map(|id| event(id, statement(Claim::Connect, at, at), 1)).to_vec(),
            ));
        }
        fixture.put(devices(vec![device("d", [statement(Claim::Connect, 1, 1)], 1)]));
        fixture.reopen();
        let all = events_after(&fixture, 0, 100);
        assert_eq!((all.events.len(), all.incomplete), (9, false), "{kind:?}");
        assert_eq!(all.newest, all.events.last().unwrap().row.sequence, "{kind:?}");
        let mut followed = Vec::new();
        loop {
            let after = followed.last().map_or(0, |event: &KeptEvent| event.row.sequence);
            let page = events_after(&fixture, after, 4);
            if page.events.is_empty() {
                break;
            }
            followed.extend(page.events);
        }
        assert_eq!(followed, all.events, "{kind:?}");
        // Per device they are in the order in which they came.
        for id in ["a", "b", "c"] {
            let of_one: Vec<_> = followed.iter().filter(|event| &*event.id == id).collect();
            let history = fixture.history(id, None, 10);
            assert!(of_one.iter().map(|event| &event.row).eq(history.iter().rev()), "{kind:?} {id}");
        }
        // What comes later comes behind, and nothing else does.
        fixture.put(events(vec![event("a", statement(Claim::Disconnect, 2, 9), 2)]));
        let later = events_after(&fixture, all.newest, 100);
        assert_eq!((later.events.len(), later.incomplete), (1, false), "{kind:?}");
        assert_eq!(events_after(&fixture, u64::MAX, 1).newest, later.newest, "{kind:?}");
    }
}

#[test]
fn whoever_follows_the_events_is_told_what_was_dropped_since() {
    for kind in KINDS.into_iter().filter(|kind| orders_events(*kind)) {
        let fixture = Fixture::new(kind);
        fixture.put(events(vec![event("a", statement(Claim::Connect, 1, 1), 10)]));
        let seen = events_after(&fixture, 0, 10).newest;
        for at in 2..5 {
            fixture.put(events(vec![event("a", statement(Claim::Connect, at, at), at as u32 * 10)]));
        }
        assert!(!events_after(&fixture, seen, 10).incomplete, "{kind:?}");
        wait(fixture.store().prune(UnixSeconds(30))).unwrap();
        let page = events_after(&fixture, seen, 10);
        assert_eq!((page.events.len(), page.incomplete), (2, true), "{kind:?}");
        let newer = page.events[0].row.sequence;
        assert!(!events_after(&fixture, newer, 10).incomplete, "{kind:?}: all after it are there");
        assert!(
            events_after(&fixture, page.newest + 1, 10).incomplete,
            "{kind:?}: seen in no store of this kind"
        );
    }
}
