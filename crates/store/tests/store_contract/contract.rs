//! The contract: each function holds one promise against any place.

use std::collections::BTreeMap;
use std::sync::Arc;

use presence::payload::Payload;
use presence::query::{Page, Scan, Sort, SortBy};
use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, Status, UnixSeconds};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use store::{ChangeCursor, StoreError, StoredDevice};

use crate::fixture::{Fixture, device, devices, event, name, session, wait};
use crate::forget::{
    a_device_is_forgotten_whatever_its_status, only_devices_that_are_still_disconnected_expire,
};
use crate::history::{
    a_failed_login_of_a_known_device_is_stored_and_changes_no_state,
    a_repeated_event_is_stored_once_and_one_that_changes_nothing_is_stored_too,
    events_that_were_too_old_for_a_moment_are_shown_again_unless_they_were_deleted,
    history_is_paged_newest_first_and_ends_at_the_limit, pruning_drops_only_events_received_before_the_time,
    the_retention_time_is_stored_and_may_be_set_back,
};
use crate::places::Place;
use crate::series::{
    a_row_of_the_series_is_written_once_or_replaced, rows_of_the_series_are_dropped_in_the_order_of_writing,
};

/// A promise and its name.
pub type Promise = (&'static str, fn(&dyn Place));

macro_rules! promises {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name)),*] };
}

/// All of them.
pub const CONTRACT: &[Promise] = promises![
    the_stored_state_is_the_merge_of_all_writes,
    of_simultaneous_sessions_the_one_that_was_not_taken_over_decides,
    many_devices_are_loaded_by_several_threads_each_once,
    those_that_are_asked_for_by_name_are_given_as_they_are,
    totals_count_each_device_once_as_it_is_now,
    a_list_neither_skips_nor_repeats_whatever_the_order_the_filter_and_the_size_of_a_page,
    a_change_between_two_pages_moves_nobody_else,
    changes_since_a_cursor_are_complete_and_exact,
    history_is_paged_newest_first_and_ends_at_the_limit,
    a_repeated_event_is_stored_once_and_one_that_changes_nothing_is_stored_too,
    a_failed_login_of_a_known_device_is_stored_and_changes_no_state,
    known_devices_and_new_ones_may_be_in_one_batch,
    pruning_drops_only_events_received_before_the_time,
    the_retention_time_is_stored_and_may_be_set_back,
    events_that_were_too_old_for_a_moment_are_shown_again_unless_they_were_deleted,
    only_devices_that_are_still_disconnected_expire,
    a_device_is_forgotten_whatever_its_status,
    a_row_of_the_series_is_written_once_or_replaced,
    rows_of_the_series_are_dropped_in_the_order_of_writing,
    a_store_is_an_object_that_any_thread_may_use,
];

/// Few moments and codes, so that ties of every kind are common; devices with odd names among them.
fn any_step() -> impl Strategy<Value = (usize, PresenceEvent, u32)> {
    let kind = prop_oneof![
        Just(EventKind::Request),
        Just(EventKind::Connect),
        Just(EventKind::Takeover),
        Just(EventKind::Refusal),
        Just(EventKind::Disconnect),
    ];
    // A nanosecond and a second apart, and a little more.
    let nanos = prop::sample::select(vec![0, 1, 1_000_000_000, 1_000_000_001, 3_000_000_000, i128::MAX]);
    let moment = prop_oneof![Just(Moment::UNKNOWN), nanos.prop_map(Moment::from_nanos)];
    let payload = prop::collection::vec(any::<u8>(), 0..3);
    (0usize..3, kind, moment.clone(), moment, 0u16..2, payload, 1u32..4).prop_map(
        |(device, kind, session, time, close_code, payload, received_at)| {
            let payload = Payload::pack(&payload);
            (device, PresenceEvent { kind, session, time, close_code, payload }, received_at)
        },
    )
}

const IDS: [&str; 3] = ["plain", "ünï'\"%_ ", "\u{1}\u{10ffff}"];

/// Whatever the order, the repetition and the split into batches, the same is kept: the merge of all of it.
pub fn the_stored_state_is_the_merge_of_all_writes(place: &dyn Place) {
    let steps = prop::collection::vec(any_step(), 1..20);
    let order = prop::collection::vec(any::<Index>(), 30);
    let config =
        ProptestConfig { cases: place.cases(), failure_persistence: None, ..ProptestConfig::default() };
    let put = TestRunner::new(config).run(&(steps, order, any::<u64>()), |(steps, order, cuts)| {
        put_in_some_order(place, &steps, &order, cuts);
        Ok(())
    });
    put.unwrap_or_else(|failure| panic!("{place:?}: {failure}"));
}

fn put_in_some_order(place: &dyn Place, steps: &[(usize, PresenceEvent, u32)], order: &[Index], cuts: u64) {
    let mut expected: BTreeMap<DeviceName, (DeviceState, UnixSeconds)> = BTreeMap::new();
    for (id, event, received_at) in steps {
        let entry = expected.entry(name(IDS[*id])).or_insert((DeviceState::default(), UnixSeconds(0)));
        entry.0.apply(event.clone());
        entry.1 = entry.1.max(UnixSeconds(*received_at));
    }
    let mut fixture = Fixture::new(place);
    let mut batch = Vec::new();
    let shuffled = order.iter().map(|index| index.get(steps)).chain(steps);
    for (at, (id, event, received_at)) in shuffled.enumerate() {
        batch.push(device(IDS[*id], [event.clone()], *received_at));
        if cuts >> (at % 64) & 1 == 1 {
            fixture.put(devices(std::mem::take(&mut batch)));
        }
    }
    fixture.put(devices(batch));
    assert_eq!(&fixture.all(), &expected);
    // A state as a whole changes nothing either.
    let again = expected.iter().map(|(name, (state, received_at))| StoredDevice {
        name: name.clone(),
        state: state.clone(),
        received_at: *received_at,
    });
    fixture.put(devices(again.collect()));
    fixture.reopen();
    assert_eq!(&fixture.all(), &expected, "opened again");
}

/// Sessions of one device that begin a millisecond apart: each row's messages in every order, one a batch.
pub fn of_simultaneous_sessions_the_one_that_was_not_taken_over_decides(place: &dyn Place) {
    use EventKind::{Connect, Disconnect, Takeover};
    // The earlier session is 0, the later one 1.
    let rows: [(&[(EventKind, i128)], Status); 7] = [
        (&[(Connect, 1), (Takeover, 1), (Connect, 0), (Disconnect, 0)], Status::Disconnected),
        (&[(Connect, 1), (Takeover, 1), (Connect, 0)], Status::Connected),
        (&[(Connect, 1), (Takeover, 1)], Status::Connected),
        (&[(Takeover, 1), (Disconnect, 0)], Status::Disconnected),
        (&[(Connect, 1), (Takeover, 1), (Disconnect, 0)], Status::Disconnected),
        (&[(Connect, 0), (Takeover, 0), (Connect, 1)], Status::Connected),
        (&[(Connect, 0), (Takeover, 0), (Disconnect, 0)], Status::Disconnected),
    ];
    let mut fixture = Fixture::new(place);
    let (mut batches, mut expected) = (vec![Vec::new(); 4], Vec::new());
    for (row, (messages, status)) in rows.iter().enumerate() {
        for (number, order) in orders(messages.to_vec()).into_iter().enumerate() {
            let id = format!("row {row}, order {number}");
            for (batch, (kind, after_ms)) in batches.iter_mut().zip(order) {
                let begun = Moment::from_nanos(session(5).nanos().unwrap() as i128 + after_ms * 1_000_000);
                let reported = PresenceEvent { session: begun, time: begun, ..event(kind, 5, 5) };
                batch.push(device(&id, [reported], 1));
            }
            expected.push((name(&id), *status));
        }
    }
    for batch in &batches {
        fixture.put(devices(batch.clone()));
    }
    let holds = |fixture: &Fixture<'_>| {
        let all = fixture.all();
        for (name, status) in &expected {
            let resolved = all[name].0.resolve().unwrap();
            assert_eq!(resolved.status, *status, "{place:?}: {name:?}");
        }
        let disconnected = Scan { status: Some(Status::Disconnected), ..everything() };
        let listed = pages(fixture, &disconnected).len();
        let number = expected.iter().filter(|(_, status)| *status == Status::Disconnected).count();
        assert_eq!(listed, number, "{place:?}: the column for the status says the same");
    };
    holds(&fixture);
    // Again, the last ones first.
    for batch in batches.into_iter().rev() {
        fixture.put(devices(batch));
    }
    fixture.reopen();
    holds(&fixture);
}

/// Every order of the items.
fn orders<T: Clone>(items: Vec<T>) -> Vec<Vec<T>> {
    if items.len() < 2 {
        return vec![items];
    }
    let with_first = |first: usize| {
        let mut rest = items.clone();
        let one = rest.remove(first);
        orders(rest).into_iter().map(move |rest| [vec![one.clone()], rest].concat()).collect::<Vec<_>>()
    };
    (0..items.len()).flat_map(with_first).collect()
}

/// All devices by id.
fn everything() -> Scan {
    let sort = Sort { by: SortBy::Id, descending: false };
    Scan { device_type: None, status: None, sort, after: None, limit: 1_000 }
}

pub fn many_devices_are_loaded_by_several_threads_each_once(place: &dyn Place) {
    let fixture = Fixture::new(place);
    for part in 0..12 {
        let some = (0..5_000).map(|n| device(&format!("{part}-{n}"), [event(EventKind::Connect, n, n)], 1));
        fixture.put(devices(some.collect()));
    }
    let all = fixture.all();
    assert_eq!(all.len(), 60_000, "{place:?}");
    let (state, _) = &all[&name("7-4999")];
    assert_eq!(state.resolve().unwrap().event, &event(EventKind::Connect, 4999, 4999));
}

pub fn those_that_are_asked_for_by_name_are_given_as_they_are(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    let read = |fixture: &Fixture, names: Vec<DeviceName>| -> BTreeMap<DeviceName, StoredDevice> {
        let read = wait(fixture.store().read(names)).unwrap();
        let number = read.len();
        let read: BTreeMap<_, _> = read.into_iter().map(|one| (one.name.clone(), one)).collect();
        assert_eq!(read.len(), number, "{place:?}: each device comes once");
        read
    };
    assert!(read(&fixture, vec![]).is_empty(), "{place:?}");
    assert!(read(&fixture, vec![name("a")]).is_empty(), "{place:?}");
    // As many as go over at once, those with odd names and of another type among them, and one of several events.
    let mut kept: Vec<_> =
        (0..2_000).map(|n| device(&n.to_string(), [event(EventKind::Connect, n, n)], 1)).collect();
    kept.extend(IDS.map(|id| device(id, [event(EventKind::Disconnect, 7, 9)], 3)));
    kept.push(device(
        "taken over",
        [event(EventKind::Disconnect, 1, 2), event(EventKind::Takeover, 5, 6)],
        2,
    ));
    let mut other = device("1", [event(EventKind::Disconnect, 4, 4)], 4);
    other.name.device_type = "other".into();
    kept.push(other);
    fixture.put(devices(kept.clone()));
    let expected: BTreeMap<_, _> = kept.into_iter().map(|one| (one.name.clone(), one)).collect();
    let mut asked: Vec<_> = expected.keys().cloned().collect();
    asked.extend([name("1"), name("absent"), name("ABSENT\0"), name("absent")]);
    assert_eq!(read(&fixture, asked.clone()), expected, "{place:?}");
    fixture.reopen();
    assert_eq!(read(&fixture, asked), expected, "{place:?}: opened again");
    // What has just been written is found.
    for at in 10..20 {
        let changed = device("1", [event(EventKind::Connect, at, at)], 5);
        fixture.put(devices(vec![changed.clone()]));
        assert_eq!(read(&fixture, vec![name("1")])[&name("1")], changed, "{place:?}");
    }
}

pub fn totals_count_each_device_once_as_it_is_now(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let totals = |fixture: &Fixture| -> BTreeMap<(String, bool, u16), u64> {
        let totals = wait(fixture.store().totals()).unwrap();
        let number = totals.len();
        let totals = totals.into_iter().map(|total| {
            let connected = total.status == Status::Connected;
            ((total.device_type, connected, total.close_code), total.devices)
        });
        let totals: BTreeMap<_, _> = totals.collect();
        assert_eq!(totals.len(), number, "{place:?}: each kind comes once");
        totals
    };
    assert!(totals(&fixture).is_empty(), "{place:?}");
    let of = |n: i128, kind| {
        // A connected device has no close code, whatever its message says.
        let reported = PresenceEvent { close_code: (n % 3) as u16, ..event(kind, n, n) };
        let mut one = device(&n.to_string(), [reported], 1);
        one.name.device_type = if n % 2 == 0 { "even".into() } else { "odd".into() };
        one
    };
    fixture.put(devices((0..60).map(|n| of(n, EventKind::Connect)).collect()));
    fixture.put(devices((0..30).map(|n| of(n, EventKind::Disconnect)).collect()));
    let mut expected = BTreeMap::new();
    for (name, even) in [("even", 0), ("odd", 1)] {
        expected.insert((name.to_owned(), true, 0), 15);
        for code in 0..3 {
            let devices = (0..30).filter(|n| n % 2 == even && n % 3 == code).count() as u64;
            expected.insert((name.to_owned(), false, code as u16), devices);
        }
    }
    assert_eq!(totals(&fixture), expected, "{place:?}");
}

/// All pages of a list, and what is in them.
fn pages(fixture: &Fixture, query: &Scan) -> Vec<StoredDevice> {
    let (mut query, mut found) = (query.clone(), Vec::new());
    loop {
        let Page { devices, next } = wait(fixture.store().list(query.clone())).unwrap();
        assert!(devices.len() <= query.limit);
        found.extend(devices);
        match next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

pub fn a_list_neither_skips_nor_repeats_whatever_the_order_the_filter_and_the_size_of_a_page(
    place: &dyn Place,
) {
    let fixture = Fixture::new(place);
    let mut all = Vec::new();
    for n in 0..40 {
        let kind = if n % 3 == 0 { EventKind::Disconnect } else { EventKind::Connect };
        // Times with many ties; one is unknown.
        let mut reported = event(kind, 5, i128::from(n % 4));
        if n == 7 {
            reported.time = Moment::UNKNOWN;
        }
        let mut one = device(&format!("{n:02}"), [reported], 1);
        one.name.device_type = if n % 2 == 0 { "a".into() } else { "b".into() };
        all.push(one);
    }
    fixture.put(devices(all.clone()));
    let sort = |by, descending| Sort { by, descending };
    let (id, since) = (SortBy::Id, SortBy::Since);
    for (sort, device_type, status) in [
        (sort(id, false), None, None),
        (sort(id, true), None, None),
        (sort(since, true), None, None),
        (sort(since, false), None, None),
        (sort(id, false), Some("b"), None),
        (sort(id, true), Some("b"), Some(Status::Connected)),
        (sort(since, true), Some("a"), Some(Status::Disconnected)),
        (sort(since, false), Some("b"), None),
        (sort(id, false), None, Some(Status::Connected)),
        (sort(id, false), Some("absent"), None),
    ] {
        let mut expected: Vec<_> = all
            .iter()
            .filter(|one| device_type.is_none_or(|wanted| &*one.name.device_type == wanted))
            .filter(|one| status.is_none_or(|wanted| one.state.resolve().unwrap().status == wanted))
            .cloned()
            .collect();
        expected.sort_by_key(|one| {
            let time = one.position().time;
            ((sort.by == SortBy::Since).then_some(time), one.name.clone())
        });
        if sort.descending {
            expected.reverse();
        }
        for limit in [1, 7, 40, 1_000] {
            let device_type = device_type.map(str::to_owned);
            let query = Scan { device_type, status, sort, after: None, limit };
            assert_eq!(pages(&fixture, &query), expected, "{place:?} {query:?}");
        }
    }
}

pub fn a_change_between_two_pages_moves_nobody_else(place: &dyn Place) {
    let fixture = Fixture::new(place);
    fixture
        .put(devices((0..9).map(|n| device(&n.to_string(), [event(EventKind::Connect, n, n)], 1)).collect()));
    let mut query = Scan {
        device_type: None,
        status: None,
        sort: Sort { by: SortBy::Id, descending: false },
        after: None,
        limit: 4,
    };
    let first = wait(fixture.store().list(query.clone())).unwrap();
    // A device of the first page changes, one is added before and one after it.
    fixture.put(devices(
        ["0", "00", "9"].map(|id| device(id, [event(EventKind::Disconnect, 50, 50)], 2)).to_vec(),
    ));
    query.after = first.next;
    let rest: Vec<_> = pages(&fixture, &query).into_iter().map(|one| one.name.id).collect();
    assert_eq!(rest, ["4", "5", "6", "7", "8", "9"].map(Box::<str>::from), "{place:?}");
}

pub fn changes_since_a_cursor_are_complete_and_exact(place: &dyn Place) {
    let mut fixture = Fixture::new(place);
    let changes = |fixture: &Fixture, since, limit| {
        let changes = wait(fixture.store().changes(since, limit)).unwrap();
        let ids: Vec<String> = changes.devices.iter().map(|one| one.name.id.to_string()).collect();
        (ids, changes.cursor)
    };
    assert_eq!(changes(&fixture, ChangeCursor::BEGINNING, 10), (vec![], ChangeCursor::BEGINNING));
    let connect = |id: &str, at| device(id, [event(EventKind::Connect, at, at)], 1);
    fixture.put(devices(vec![connect("a", 1), connect("b", 1), connect("c", 1)]));
    // One that has written something knows it.
    fixture.reopen();
    let (mut ids, cursor) = changes(&fixture, ChangeCursor::BEGINNING, 2);
    let (rest, cursor) = changes(&fixture, cursor, 2);
    ids.extend(rest);
    // In one order where all changes stand in one; where they are spread, each part has its own.
    ids.sort();
    assert_eq!(ids, ["a", "b", "c"], "{place:?}");
    // What is known changes nothing; what is newer does, once, however often.
    fixture.put(devices(vec![connect("a", 1), connect("b", 2)]));
    fixture.put(devices(vec![connect("b", 3)]));
    fixture.reopen();
    let (ids, cursor) = changes(&fixture, cursor, 10);
    assert_eq!(ids, ["b"], "{place:?}");
    assert_eq!(changes(&fixture, cursor.clone(), 10), (vec![], cursor.clone()), "{place:?}");
    assert_eq!(wait(fixture.store().cursor()).unwrap(), cursor, "{place:?}: where the newest change stands");
}

pub fn known_devices_and_new_ones_may_be_in_one_batch(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let connect = |id: &str, at| device(id, [event(EventKind::Connect, at, at)], 1);
    fixture.put(devices(["b", "d", "e"].map(|id| connect(id, 5)).to_vec()));
    let ids = ["a", "b", "c", "d", "e", "f"];
    // Older than what is there, and then newer.
    for (at, kept) in [(1, [1, 5, 1, 5, 5, 1]), (9, [9; 6])] {
        fixture.put(devices(ids.map(|id| connect(id, at)).to_vec()));
        let all = fixture.all();
        let times = ids.map(|id| all[&name(id)].0.resolve().unwrap().event.time.nanos().unwrap());
        assert_eq!(times, kept, "{place:?}");
    }
}

pub fn a_store_is_an_object_that_any_thread_may_use(place: &dyn Place) {
    fn usable(_: impl Send + Sync) {}
    let fixture = Fixture::new(place);
    usable(fixture.shared());
    std::thread::scope(|scope| {
        for n in 0..8 {
            let fixture = &fixture;
            let store = fixture.shared();
            scope.spawn(move || {
                for at in 0..20 {
                    let batch = devices(vec![device("one", [event(EventKind::Connect, at * 8 + n, 1)], 1)]);
                    let done: Result<(), StoreError> = wait(store.upsert(Arc::new(batch)));
                    done.unwrap();
                }
            });
        }
    });
    let state = &fixture.all()[&name("one")].0;
    assert_eq!(state.resolve().unwrap().event.session, session(159), "{place:?}");
}
