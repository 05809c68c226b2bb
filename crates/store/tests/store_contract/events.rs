//! The events of all devices in one order, as a stream that goes on from an earlier one reads them.

use presence::history::{EventPage, HistoryEvent, HistoryPosition, StoredEvent};
use presence::{EventKind, UnixSeconds};
use std::sync::Arc;

use store::{Batch, ForgottenDevice, Store};

use crate::contract::Promise;
use crate::fixture::{Fixture, device, devices, event, events, history_event, name, wait};
use crate::places::{Place, Sqlite};
use testkit::{PATIENCE, poll};

const BEGINNING: HistoryPosition = HistoryPosition::BEGINNING;

/// Events after a position, as far as they are in order by now.
pub fn page(store: &dyn Store, after: HistoryPosition, limit: usize) -> EventPage {
    wait(store.events(after, limit)).unwrap().expect("the store orders its events")
}

/// The same once everything that was put before is in order: a server has transactions of its own now and then.
pub fn events_after(store: &dyn Store, after: HistoryPosition, limit: usize) -> EventPage {
    let begun = page(store, BEGINNING, 0).begun;
    let settled = || (page(store, BEGINNING, 0).newest >= begun).then_some(());
    poll(PATIENCE, settled).expect("what was under way comes to an end");
    page(store, after, limit)
}

/// Reads on page by page to the end, and gives everything that came, and where the end is.
pub fn follow(
    store: &dyn Store,
    mut after: HistoryPosition,
    limit: usize,
) -> (Vec<StoredEvent>, HistoryPosition) {
    let mut followed = Vec::new();
    loop {
        let page = page(store, after, limit);
        assert!(!page.incomplete);
        followed.extend(page.events);
        if page.reached <= after || page.reached >= page.newest {
            return (followed, page.reached);
        }
        after = page.reached;
    }
}

/// What an event is, without where it is.
pub fn reported(entry: &StoredEvent) -> (String, u64) {
    (entry.id.to_string(), entry.row.sequence)
}

/// Nine events of three devices, put in three steps. One of the devices was new.
fn put_nine(fixture: &Fixture<'_>) {
    for at in 0..3 {
        let entry = |id| HistoryEvent {
            is_first_seen: at == 0 && id == "a",
            ..history_event(id, event(EventKind::Connect, at, at), 1)
        };
        fixture.put(events(["a", "b", "c"].map(entry).to_vec()));
    }
}

pub fn the_events_of_all_devices_can_be_followed_from_any_point(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    let none = events_after(fixture.store(), BEGINNING, 10);
    assert_eq!((none.events.len(), none.incomplete), (0, false), "{place:?}");
    put_nine(&fixture);
    fixture.put(devices(vec![device("d", [event(EventKind::Connect, 1, 1)], 1)]));
    fixture.reopen();
    let all = events_after(fixture.store(), BEGINNING, 100);
    assert_eq!((all.events.len(), all.incomplete), (9, false), "{place:?}");
    assert_eq!((all.reached, all.begun >= all.newest), (all.newest, true), "{place:?}");
    let (followed, _) = follow(fixture.store(), BEGINNING, 2);
    assert_eq!(
        followed.iter().map(reported).collect::<Vec<_>>(),
        all.events.iter().map(reported).collect::<Vec<_>>()
    );
    // Per device they are in the order in which they came.
    for id in ["a", "b", "c"] {
        let of_one: Vec<_> = followed.iter().filter(|entry| &*entry.id == id).collect();
        let history = fixture.history(id, None, 10);
        assert!(of_one.iter().map(|entry| &entry.row).eq(history.iter().rev()), "{place:?} {id}");
    }
    let first_seen: Vec<_> = all.events.iter().filter(|entry| entry.row.is_first_seen).collect();
    assert!(first_seen.len() == 1 && &*first_seen[0].id == "a", "{place:?}: {first_seen:?}");
    // What comes later comes behind, and nothing else does.
    fixture.put(events(vec![history_event("a", event(EventKind::Disconnect, 2, 9), 2)]));
    let later = events_after(fixture.store(), all.newest, 100);
    assert_eq!((later.events.len(), later.incomplete), (1, false), "{place:?}");
    let newest = events_after(fixture.store(), BEGINNING, 0);
    assert_eq!((newest.events, newest.newest >= later.newest), (Vec::new(), true), "{place:?}");
}

pub fn reading_on_from_an_event_returns_all_later_events(place: &dyn Place) {
    let fixture = Fixture::new(place);
    put_nine(&fixture);
    let all = events_after(fixture.store(), BEGINNING, 100);
    for (at, entry) in all.events.iter().enumerate() {
        assert!(entry.position <= all.newest, "{place:?}");
        let (rest, _) = follow(fixture.store(), entry.position, 2);
        let rest: Vec<_> = rest.iter().map(reported).collect();
        let behind: Vec<_> = all.events[at + 1..].iter().map(reported).collect();
        assert!(rest.ends_with(&behind), "{place:?}: {rest:?} after {entry:?}");
        let again = rest.len() - behind.len();
        assert!(again < 3, "{place:?}: at most those that were kept with it come again");
    }
    let last = all.events.last().unwrap();
    assert_eq!(follow(fixture.store(), last.position, 2).0, [], "{place:?}");
}

pub fn reading_on_reports_events_dropped_since(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(events(vec![history_event("a", event(EventKind::Connect, 1, 1), 10)]));
    let seen = events_after(fixture.store(), BEGINNING, 10).newest;
    for at in 2..5 {
        fixture.put(events(vec![history_event("a", event(EventKind::Connect, at, at), at as u32 * 10)]));
    }
    assert!(!events_after(fixture.store(), seen, 10).incomplete, "{place:?}");
    fixture.prune(UnixSeconds(30));
    let page = events_after(fixture.store(), seen, 10);
    assert_eq!((page.events.len(), page.incomplete), (2, true), "{place:?}");
    let newer = page.events[0].position;
    assert!(!events_after(fixture.store(), newer, 10).incomplete, "{place:?}: all after it are there");
    let beyond = HistoryPosition { number: page.begun.number + 1_000, ..page.begun };
    assert!(events_after(fixture.store(), beyond, 10).incomplete, "{place:?}: seen in no store of this kind");
    // Those beyond the number that a device may have are dropped, too.
    let newest = events_after(fixture.store(), newer, 10).newest;
    for at in 5..20 {
        fixture.put(events(vec![history_event("a", event(EventKind::Connect, at, at), at as u32 * 10)]));
    }
    fixture.prune(UnixSeconds(30));
    assert!(events_after(fixture.store(), newest, 10).incomplete, "{place:?}");
}

pub fn reading_on_reports_events_that_never_arrived(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    put_nine(&fixture);
    let seen = events_after(fixture.store(), BEGINNING, 10).newest;
    fixture.put(Batch {
        events_lost: true,
        ..events(vec![history_event("b", event(EventKind::Connect, 9, 9), 1)])
    });
    fixture.put(devices(vec![device("a", [event(EventKind::Connect, 9, 9)], 1)]));
    fixture.reopen();
    let page = events_after(fixture.store(), seen, 10);
    assert_eq!((page.events.len(), page.incomplete), (1, true), "{place:?}");
    assert!(!events_after(fixture.store(), page.newest, 10).incomplete, "{place:?}");
    let seen = page.newest;
    fixture.put(Batch { events_lost: true, ..Batch::default() });
    assert!(events_after(fixture.store(), seen, 10).incomplete, "{place:?}");
}

pub fn a_position_of_another_store_is_recognized(place: &dyn Place) {
    let (mut own, other) = (Fixture::new(place), Fixture::new(place));
    put_nine(&other);
    let elsewhere = events_after(other.store(), BEGINNING, 100);
    // There are as many events here, and more: the number alone says nothing.
    for _ in 0..2 {
        put_nine(&own);
    }
    for position in [elsewhere.newest, elsewhere.events[0].position] {
        assert!(events_after(own.store(), position, 100).incomplete, "{place:?} {position:?}");
    }
    let seen = events_after(own.store(), BEGINNING, 100).newest;
    own.reopen();
    own.put(events(vec![history_event("a", event(EventKind::Connect, 20, 20), 1)]));
    let later = events_after(own.store(), seen, 100);
    assert_eq!(
        (later.events.len(), later.incomplete),
        (1, false),
        "{place:?}: its own goes on after a restart"
    );
    assert!(!events_after(own.store(), later.newest, 100).incomplete, "{place:?}");
}

/// The events that are left of a device that was deleted belong to nobody, whichever devices come next.
pub fn the_events_of_a_deleted_device_are_those_of_no_other(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    let ended = |id, at| events(vec![history_event(id, event(EventKind::Disconnect, at, at), 1)]);
    fixture.put(ended("stays", 1));
    for (id, next) in [("forgotten", "first"), ("expired", "second")] {
        fixture.put(ended(id, 2));
        match id {
            "forgotten" => {
                let device = ForgottenDevice { name: name(id), at: UnixSeconds(1) };
                wait(fixture.store().forget(device)).unwrap();
            }
            _ => wait(fixture.store().expire(vec![name(id)], 3)).unwrap(),
        }
        fixture.reopen();
        fixture.put(ended(next, 9));
    }
    let all = events_after(fixture.store(), BEGINNING, 100).events;
    let mut ids: Vec<&str> = all.iter().map(|entry| &*entry.id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["first", "second", "stays"], "{place:?}");
}

pub fn a_file_that_was_restored_from_a_copy_is_recognized(place: &Sqlite) {
    let (path, copy) = (place.path("copied"), place.path("copy"));
    let put = |store: &dyn Store, from: i128| {
        for at in from..from + 3 {
            let event = history_event(&at.to_string(), event(EventKind::Connect, at, at), 1);
            wait(store.upsert(Arc::new(events(vec![event])))).unwrap();
        }
        page(store, BEGINNING, 0).newest
    };
    let before = put(&*place.open("copied"), 0);
    std::fs::copy(&path, &copy).unwrap();
    let after = put(&*place.open("copied"), 3);
    std::fs::copy(&copy, &path).unwrap();
    let restored = place.open("copied");
    for from in [10, 20, 30] {
        put(&*restored, from);
        assert!(
            page(&*restored, after, 100).incomplete,
            "its events are gone, whatever has their numbers now"
        );
        assert!(!page(&*restored, before, 100).incomplete, "the copy has all that came before it");
    }
}

/// Each start begins an order, and the oldest are forgotten.
pub fn a_file_that_is_opened_often_remembers_a_bounded_number_of_orders(place: &Sqlite) {
    const ORDERS_MAX: u32 = 1_000;
    let first = page(&*place.open("often"), BEGINNING, 0).newest;
    let file = rusqlite::Connection::open(place.path("often")).unwrap();
    let open_often = format!(
        "WITH RECURSIVE start(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM start WHERE n < {ORDERS_MAX})
         INSERT INTO event_order (name, begins_after) SELECT random(), 0 FROM start"
    );
    file.execute_batch(&open_often).unwrap();
    let store = place.open("often");
    let orders: u32 = file.query_row("SELECT count(*) FROM event_order", (), |row| row.get(0)).unwrap();
    assert_eq!(orders, ORDERS_MAX);
    assert!(page(&*store, first, 100).incomplete, "its order is forgotten");
}

/// Of stores that can give the events of all devices in their order.
pub const ORDERED_EVENTS: &[Promise] = &[
    (
        "the_events_of_all_devices_can_be_followed_from_any_point",
        the_events_of_all_devices_can_be_followed_from_any_point,
    ),
    ("reading_on_from_an_event_returns_all_later_events", reading_on_from_an_event_returns_all_later_events),
    ("reading_on_reports_events_dropped_since", reading_on_reports_events_dropped_since),
    ("a_position_of_another_store_is_recognized", a_position_of_another_store_is_recognized),
    ("reading_on_reports_events_that_never_arrived", reading_on_reports_events_that_never_arrived),
    (
        "the_events_of_a_deleted_device_are_those_of_no_other",
        the_events_of_a_deleted_device_are_those_of_no_other,
    ),
];
