//! Lists against what the records themselves say: whatever happened before, in whatever parts they are read, and while
//! other things happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use formats::held;
use presence::payload::Payload;
use presence::query::{Filter, Position, Query, Sort, SortBy, Traits};
use presence::{DeviceState, Moment};

const TYPES: [&str; 3] = ["a", "b", "b+"];

/// Ids that share a beginning, ids that do not, ids that are beginnings of others, and some of other scripts.
fn id(number: u16) -> String {
    match number % 8 {
        0 => format!("{number}"),
        1 => "unit-0000000".to_owned() + &"0".repeat(usize::from(number / 8 % 20)),
        2 => format!("ünit-{number}"),
        _ => format!("unit-{number:05}"),
    }
}

fn event(kind: EventKind, time: i64, address: u8) -> PresenceEvent {
    let moment = Moment::from_nanos(i128::from(time));
    let close_code = [0, 91, 160, 92][time as usize % 4];
    let address = match address {
        0 => "2001:db8::7".to_owned(),
        low => format!("192.0.2.{low}"),
    };
    let message = format!(r#"{{"Action":"Connect","Time":"","ClientAddr":"{address}","Port":1883}}"#);
    let payload = Payload::pack(message.as_bytes());
    PresenceEvent { kind, session: moment, time: moment, close_code, payload }
}

#[derive(Clone, Debug)]
enum Step {
    Apply {
        kind: usize,
        number: u16,
        connects: bool,
        time: i64,
        address: u8,
    },
    Restore {
        kind: usize,
        number: u16,
        time: i64,
    },
    Forget {
        before: i64,
    },
    /// Whoever reads has new devices put in order.
    Read,
}

fn step() -> impl Strategy<Value = Step> {
    let apply = (0..TYPES.len(), 0u16..400, any::<bool>(), 0i64..40, 0u8..4).prop_map(
        |(kind, number, connects, time, address)| Step::Apply { kind, number, connects, time, address },
    );
    let restore = (0..TYPES.len(), 0u16..400, 0i64..40).prop_map(|(kind, number, time)| Step::Restore {
        kind,
        number,
        time,
    });
    prop_oneof![
        40 => apply,
        10 => restore,
        1 => (0i64..20).prop_map(|before| Step::Forget { before }),
        2 => Just(Step::Read),
    ]
}

fn query() -> impl Strategy<Value = Query> {
    let types = prop::collection::vec(prop::sample::select(&TYPES[..]).prop_map(str::to_owned), 0..3);
    let prefixes = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec(
            prop::sample::select(&["u", "unit-", "unit-00", "unit-000000000", "ü", "1", "zz"][..]).prop_map(str::to_owned),
            1..3,
        ),
    ];
    let status =
        prop::option::weighted(0.3, prop_oneof![Just(Status::Connected), Just(Status::Disconnected)]);
    let codes = prop::sample::subsequence(vec![0u16, 91, 160, 7], 1..3);
    let codes = prop_oneof![4 => Just(Vec::new()), 1 => codes];
    let networks = vec!["192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "10.0.0.0/8"];
    let networks = prop_oneof![4 => Just(Vec::new()), 1 => prop::sample::subsequence(networks, 1..3)];
    let time =
        || prop::option::weighted(0.2, (0i64..40).prop_map(|time| Moment::from_nanos(i128::from(time))));
    let sort = (any::<bool>(), any::<bool>());
    let causes = prop::sample::subsequence(vec!["timeout", "connection", "tls"], 0..3);
    let causes = prop_oneof![4 => Just(Vec::new()), 1 => causes];
    (types, prefixes, (status, codes, causes, networks), (time(), time()), sort, 1usize..60).prop_map(
        |(
            types,
            id_prefixes,
            (status, close_codes, causes, networks),
            (since, until),
            (by_id, descending),
            limit,
        )| {
            let addresses = networks.iter().map(|text| text.parse().unwrap()).collect();
            Query {
                filter: Filter {
                    sources: Vec::new(),
                    types,
                    ids: Vec::new(),
                    id_prefixes,
                    status,
                    close_codes,
                    causes,
                    addresses,
                    since,
                    until,
                    expectation: None,
                },
                sort: Sort { by: if by_id { SortBy::Id } else { SortBy::Since }, descending },
                after: None,
                limit,
            }
        },
    )
}

fn position(snapshot: &Snapshot) -> Position {
    let (device_type, id) = (snapshot.device_type.to_string(), snapshot.id.to_string());
    Position { device_type, id, time: snapshot.event.time }
}

/// The whole list, read part by part.
fn listed(registry: &DeviceRegistry, mut query: Query) -> Vec<Position> {
    let mut all = Vec::new();
    loop {
        let page = registry.list(&query);
        assert!(page.devices.len() <= query.limit);
        assert!(
            page.next.is_none() || page.devices.len() == query.limit,
            "a short part that is not the last"
        );
        all.extend(page.devices.iter().map(position));
        query.after = page.next;
        if query.after.is_none() {
            return all;
        }
    }
}

/// The same from the records, one by one.
fn expected(registry: &DeviceRegistry, query: &Query) -> Vec<Position> {
    let mut all = Vec::new();
    for device_type in TYPES {
        for id in (0..400).map(id).collect::<BTreeSet<_>>() {
            let Some(snapshot) = registry.read(Device { device_type, id: &id }, Snapshot::of) else {
                continue;
            };
            let message = snapshot.event.payload.unpack();
            let address = held::details(&message).address.map(|text| text.parse().unwrap());
            let traits = Traits {
                source: "iot-platform",
                device_type,
                id: &id,
                status: snapshot.status,
                close_code: Some(snapshot.event.close_code),
                cause: (snapshot.status == Status::Disconnected)
                    .then(|| held::close_code::cause_class(snapshot.event.close_code)),
                address,
                time: snapshot.event.time,
            };
            if query.filter.admits(&traits) {
                all.push(position(&snapshot));
            }
        }
    }
    all.sort_by(|one, other| query.sort.compare(one, other));
    all
}

fn take(registry: &DeviceRegistry, step: Step, query: &Query) {
    match step {
        Step::Apply { kind, number, connects, time, address } => {
            let event_kind = if connects { EventKind::Connect } else { EventKind::Disconnect };
            let device = Device { device_type: TYPES[kind], id: &id(number) };
            let arrival =
                Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
            registry.apply(device, event(event_kind, time, address), arrival);
        }
        Step::Restore { kind, number, time } => {
            let mut state = DeviceState::default();
            state.apply(event(EventKind::Disconnect, time, 1));
            registry.restore(Device { device_type: TYPES[kind], id: &id(number) }, state, UnixSeconds(1));
        }
        Step::Forget { before } => registry.forget(before, |_| ()),
        Step::Read => drop(listed(registry, Query { limit: 50, ..query.clone() })),
    }
}

proptest! {
    #[test]
    fn each_page_is_what_the_records_say_whatever_has_changed_since_the_one_before(
        steps in prop::collection::vec(step(), 0..300),
        queries in prop::collection::vec(query(), 1..4),
        turns in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(step(), 0..3)), 0..40),
        merged_types in prop_oneof![Just(types::MERGED_TYPES_MAX), Just(0), Just(1)],
    ) {
        let registry = DeviceRegistry { types: TypeDirectory::merging(merged_types), ..DeviceRegistry::default() };
        let mut queries: Vec<Query> = queries.into_iter().map(|query| Query { limit: query.limit / 8 + 1, ..query }).collect();
        for step in steps {
            take(&registry, step, &queries[0]);
        }
        for (which, steps) in turns {
            let which = which.index(queries.len());
            let query = &mut queries[which];
            let mut expected = expected(&registry, query);
            expected.retain(|position| query.after.as_ref().is_none_or(|after| query.sort.compare(position, after).is_gt()));
            let next = (expected.len() > query.limit).then(|| expected[query.limit - 1].clone());
            expected.truncate(query.limit);
            let page = registry.list(query);
            prop_assert_eq!(page.devices.iter().map(position).collect::<Vec<_>>(), expected, "{:?}", query);
            prop_assert_eq!(&page.next, &next, "{:?}", query);
            query.after = next;
            for step in steps {
                take(&registry, step, &queries[0]);
            }
        }
    }

    #[test]
    fn a_list_read_in_pages_equals_the_records(
        steps in prop::collection::vec(step(), 0..500),
        queries in prop::collection::vec(query(), 1..8),
        merged_types in prop_oneof![Just(types::MERGED_TYPES_MAX), Just(0), Just(1)],
    ) {
        let registry = DeviceRegistry { types: TypeDirectory::merging(merged_types), ..DeviceRegistry::default() };
        for step in steps {
            take(&registry, step, &queries[0]);
        }
        for query in queries {
            let expected = expected(&registry, &query);
            prop_assert_eq!(listed(&registry, query.clone()), expected, "{:?}", query);
        }
        let mut codes = BTreeMap::new();
        let off = Filter { status: Some(Status::Disconnected), ..Filter::default() };
        let all = Query { filter: off, sort: Sort { by: SortBy::Id, descending: false }, after: None, limit: 5_000 };
        for snapshot in registry.list(&all).devices {
            *codes.entry(snapshot.event.close_code).or_default() += 1;
        }
        prop_assert_eq!(registry.top_close_codes(10).into_iter().collect::<BTreeMap<u16, u64>>(), codes);
    }
}

fn connect(registry: &DeviceRegistry, id: &str, time: i64) {
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    registry.apply(Device { device_type: "a", id }, event(EventKind::Connect, time, 1), arrival);
}

#[test]
fn thousands_of_devices_come_in_order_however_they_came_in() {
    let registry = DeviceRegistry::default();
    // Multiplying by an odd number visits every number once.
    let mut ids: Vec<String> =
        (0..20_000u32).map(|n| format!("unit-{:08}", n.wrapping_mul(7_919) % 20_000)).collect();
    ids.push("another".to_owned());
    ids.push("zebra".to_owned());
    for id in &ids {
        connect(&registry, id, 5);
    }
    ids.sort();
    for by in [SortBy::Id, SortBy::Since] {
        let sort = Sort { by, descending: false };
        let all = listed(&registry, Query { filter: Filter::default(), sort, after: None, limit: 999 });
        assert!(all.iter().map(|position| &position.id).eq(&ids), "{by:?}");
    }
}

#[test]
fn a_device_that_does_not_change_is_neither_skipped_nor_repeated_while_others_come_change_and_go() {
    let registry = DeviceRegistry::default();
    let quiet: Vec<String> = (0..3_000).map(|n| format!("unit-{n:05}-quiet")).collect();
    for (time, id) in (1_000..).zip(&quiet) {
        connect(&registry, id, time);
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = 1u64;
            let mut time = 0;
            while !done.load(Ordering::Relaxed) {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                time += 1;
                let id = format!("unit-{:05}-busy", (random >> 33) % 3_000);
                let kind = if random >> 63 == 0 { EventKind::Connect } else { EventKind::Disconnect };
                let arrival =
                    Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
                registry.apply(Device { device_type: "a", id: &id }, event(kind, time, 1), arrival);
                if time % 1_000 == 0 {
                    registry.forget(time - 500, |_| ());
                }
            }
        });
        for round in 0..40 {
            let by = if round % 2 == 0 { SortBy::Id } else { SortBy::Since };
            let sort = Sort { by, descending: round % 4 > 1 };
            let query = Query { filter: Filter::default(), sort, after: None, limit: 7 + round * 13 };
            let mut all = listed(&registry, query);
            assert!(by == SortBy::Since || all.is_sorted_by(|a, b| sort.compare(a, b).is_lt()));
            all.retain(|position| position.id.ends_with("-quiet"));
            let mut ids: Vec<&String> = all.iter().map(|position| &position.id).collect();
            if sort.descending {
                ids.reverse();
            }
            assert!(ids.iter().copied().eq(&quiet), "round {round}, {sort:?}: {} of them", ids.len());
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_message_queued_before_a_round_is_not_counted_in_it() {
    let registry = DeviceRegistry::default();
    let device = Device { device_type: "a", id: "1" };
    let note_received = |round, time| {
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round };
        registry.apply(device, event(EventKind::Connect, time, 1), arrival);
        (registry.read(device, |record| record.reception.received_in).unwrap(), registry.received_in_round())
    };
    let first = registry.begin_round();
    assert_eq!(note_received(first, 1), (first, 1));
    // The link is lost; what had come over it is applied after the next one has begun.
    let second = registry.begin_round();
    assert_eq!(note_received(first, 2), (first, 0));
    // A message that may have waited at the broker tells nothing of now.
    assert_eq!(note_received(RoundNumber::NONE, 3), (first, 0));
    assert_eq!(note_received(second, 3), (second, 1));
}

#[test]
fn rounds_of_several_links_are_counted_beside_each_other() {
    let registry = DeviceRegistry::default();
    let (north, south) = (registry.begin_round(), registry.begin_round());
    for (id, round) in [("1", north), ("2", south), ("3", north), ("1", north)] {
        let arrival = Arrival { provenance: Provenance::Retained, at: UnixSeconds(1), round };
        registry.apply(Device { device_type: "a", id }, event(EventKind::Connect, 1, 1), arrival);
    }
    assert_eq!((registry.received_in(north), registry.received_in(south)), (Some(2), Some(1)));
    registry.forget_device(Device { device_type: "a", id: "3" }, |_| ());
    assert_eq!((registry.received_in(north), registry.received_in(south)), (Some(1), Some(1)));
    for _ in 0..ROUNDS_COUNTED {
        registry.begin_round();
    }
    assert_eq!((registry.received_in(north), registry.received_in(south)), (None, None), "it is long over");
}

#[test]
fn a_disconnect_of_another_source_has_no_close_code_and_counts_for_none() {
    let registry = DeviceRegistry::default();
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let of_platform = PresenceEvent { close_code: 0, ..event(EventKind::Disconnect, 4, 1) };
    let payload =
        Payload::pack_of("tasmota", br#"{"ClientID":"2","_":{"t":1,"c":"connection","m":"Offline"}}"#);
    let of_other = PresenceEvent { payload, ..of_platform.clone() };
    registry.apply(Device { device_type: "a", id: "1" }, of_platform, arrival);
    registry.apply(Device { device_type: "a", id: "2" }, of_other, arrival);
    assert_eq!(registry.top_close_codes(9), [(0, 1)]);
    let ends: Vec<_> = registry.disconnects_by_cause().filter(|(_, ends)| *ends > 0).collect();
    assert_eq!(ends, [("ended", 1), ("connection", 1)]);
    assert_eq!(registry.disconnected_by_cause(), [("ended", 1), ("connection", 1)]);
    let filter = Filter { causes: vec!["connection"], ..Filter::default() };
    let sort = Sort { by: SortBy::Id, descending: false };
    assert_eq!(listed(&registry, Query { filter, sort, limit: 9, after: None }).len(), 1);
    let filter = Filter { close_codes: vec![0], ..Filter::default() };
    let sort = Sort { by: SortBy::Id, descending: false };
    assert_eq!(listed(&registry, Query { filter, sort, limit: 9, after: None }).len(), 1);
}
