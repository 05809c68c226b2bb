//! What every store promises of the events of a device.

use presence::{EventKind, Status, UnixSeconds};

use crate::fixture::{Fixture, event, events, history_event, name, wait};
use crate::places::Place;

pub fn history_is_paged_newest_first_and_ends_at_the_limit(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    for at in 0..8 {
        fixture.put(events(vec![
            history_event("a", event(EventKind::Connect, at, at), 1),
            history_event("b", event(EventKind::Connect, at, at), 1),
        ]));
    }
    let times = |rows: &[presence::history::HistoryRow]| -> Vec<i64> {
        rows.iter().map(|row| row.event.time.nanos().unwrap()).collect()
    };
    for reopened in [false, true] {
        let first = fixture.history("a", None, 3);
        let rest = fixture.history("a", Some(first[2].sequence), 10);
        assert_eq!(times(&first), [7, 6, 5], "{place:?} reopened: {reopened}");
        assert_eq!(times(&rest), [4, 3], "{place:?} reopened: {reopened}");
        assert!(fixture.history("absent", None, 10).is_empty());
        // Pruning takes nothing that is to be kept.
        fixture.prune(UnixSeconds(1));
        fixture.reopen();
    }
    assert_eq!(fixture.all().len(), 2, "an event is evidence of its device");
}

pub fn a_repeated_event_is_stored_once_and_one_that_changes_nothing_is_stored_too(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let late = history_event("a", event(EventKind::Disconnect, 1, 2), 1);
    fixture.put(events(vec![
        history_event("a", event(EventKind::Connect, 9, 9), 1),
        late.clone(),
        late.clone(),
    ]));
    fixture.put(events(vec![late.clone()]));
    let kinds: Vec<_> = fixture.history("a", None, 10).iter().map(|row| row.event.kind).collect();
    assert_eq!(kinds, [EventKind::Disconnect, EventKind::Connect], "{place:?}");
    let state = &fixture.all()[&name("a")].0;
    assert_eq!(state.resolve().unwrap().status, Status::Connected, "{place:?}");
}

pub fn a_failed_login_of_a_known_device_is_stored_and_changes_no_state(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let failed = |id| history_event(id, event(EventKind::FailedLogin, 5, 5), 1);
    fixture.put(events(vec![failed("known"), failed("unknown")]));
    assert!(fixture.all().is_empty(), "{place:?}: a failed login makes no device");
    fixture.put(events(vec![history_event("known", event(EventKind::Connect, 1, 1), 1)]));
    fixture.put(events(vec![failed("known"), failed("unknown"), failed("known")]));
    let kinds: Vec<_> = fixture.history("known", None, 10).iter().map(|row| row.event.kind).collect();
    assert_eq!(kinds, [EventKind::FailedLogin, EventKind::Connect], "{place:?}");
    assert!(fixture.history("unknown", None, 10).is_empty(), "{place:?}");
    let all = fixture.all();
    let resolved = all[&name("known")].0.resolve().unwrap();
    assert_eq!((all.len(), resolved.event.kind), (1, EventKind::Connect), "{place:?}");
    // Behind one that is new.
    let later = |id| history_event(id, event(EventKind::FailedLogin, 6, 6), 2);
    fixture.put(events(vec![
        history_event("a", event(EventKind::Connect, 2, 2), 2),
        later("known"),
        later("unknown"),
    ]));
    assert_eq!(fixture.history("known", None, 10).len(), 3, "{place:?}");
    assert!(fixture.history("unknown", None, 10).is_empty(), "{place:?}");
    assert_eq!(fixture.all().len(), 2, "{place:?}");
}

pub fn pruning_drops_only_events_received_before_the_time(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    for (at, received_at) in [(1, 10), (2, 20), (3, 30)] {
        fixture.put(events(vec![history_event("a", event(EventKind::Connect, at, at), received_at)]));
    }
    assert_eq!(fixture.prune(UnixSeconds(20)), 1, "{place:?}");
    assert_eq!(fixture.prune(UnixSeconds(20)), 0, "{place:?}");
    let received: Vec<_> = fixture.history("a", None, 10).iter().map(|row| row.received_at.0).collect();
    assert_eq!(received, [30, 20], "{place:?}");
    fixture.reopen();
    assert_eq!(fixture.history("a", None, 10).len(), 2, "{place:?}");
    fixture.put(events(vec![history_event("a", event(EventKind::Connect, 4, 4), 40)]));
    assert_eq!(fixture.history("a", None, 10).len(), 3, "{place:?}");
}

pub fn the_retention_time_is_stored_and_may_be_set_back(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    assert_eq!(wait(fixture.store().retention_time()).unwrap(), None, "{place:?}");
    for time in [7, 4_000_000_000, 9] {
        wait(fixture.store().set_retention_time(UnixSeconds(time))).unwrap();
        fixture.reopen();
        assert_eq!(wait(fixture.store().retention_time()).unwrap(), Some(UnixSeconds(time)), "{place:?}");
    }
}

pub fn events_that_were_too_old_for_a_moment_are_shown_again_unless_they_were_deleted(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture.put(events(vec![history_event("a", event(EventKind::Connect, 1, 1), 10)]));
    // An earlier time than before: it was set back, after a clock that had been wrong for long.
    for time in [10, 5] {
        assert_eq!(fixture.prune(UnixSeconds(time)), 0, "{place:?}");
    }
    fixture.put(events(vec![history_event("a", event(EventKind::Connect, 2, 2), 6)]));
    assert_eq!(fixture.history("a", None, 10).len(), 2, "{place:?}");
}
