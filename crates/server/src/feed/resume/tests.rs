//! Whatever happens in whatever order, a stream that goes on is shown every change or a gap, and its client ends with the status
//! that each device has.

mod model;

use proptest::collection::vec;
use proptest::prelude::*;

use self::model::{CLIENTS, ChangeKind, Client, DeviceChange, Step, World, step};
use super::*;
use presence::Status;

/// Steps that a stream needs to reach its end: each takes a batch or a page.
const STEPS_TO_THE_END: usize = 200;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_that_goes_on_misses_nothing_without_a_gap(steps in vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.flush(true);
        for client in 0..CLIENTS {
            for _ in 0..STEPS_TO_THE_END {
                world.read(client);
            }
            let Client { owed, states, .. } = &world.clients[client];
            prop_assert!(owed.is_empty(), "client {client} never saw {owed:?}");
            prop_assert_eq!(states, &world.registry.statuses(), "client {}", client);
        }
    }
}

/// A client that has seen a device come back after its removal, and breaks off before the replay is over, is shown the removal once
/// more, and that the device is back.
#[test]
fn a_removal_that_is_shown_again_is_not_the_last_word() {
    let mut world = World::new();
    for step in [
        Step::Change(0),
        Step::Flush { all: true },
        Step::Populate,
        Step::Read(0),
        Step::Restart,
        Step::Forget(0),
        Step::Change(0),
        Step::Flush { all: true },
        Step::Read(0),
        Step::Read(0),
        Step::Read(0),
        Step::Disconnect(0),
    ] {
        world.step(step);
    }
    assert_eq!(world.clients[0].states, world.registry.statuses());
    (0..STEPS_TO_THE_END).for_each(|_| world.read(0));
    assert_eq!(world.clients[0].states, world.registry.statuses());
}

#[test]
fn an_id_of_no_stream_is_a_gap() {
    let world = World::new();
    for id in ["", "x", "1-7", "1-7-8-9"] {
        assert!(matches!(world.feed.resume(id), Err(GapReason::UnknownId)), "{id}");
    }
    assert!(matches!(world.feed.resume("2-7"), Err(GapReason::NotLogged)), "another process, no history");
}

#[test]
fn a_replay_is_read_in_parts_and_ends_where_the_feed_goes_on() {
    let until = HistoryWatermark { changes: 3, events: HistoryPosition { order: 1, number: 5 } };
    let beginning = HistoryPosition { order: 1, number: 0 };
    let replay = || HistoryResumption {
        seen: beginning,
        unlogged_after: 0,
        after: beginning,
        until,
        events: 0,
        is_over: false,
    };
    let at = |number| HistoryPosition { order: 1, number };
    let page = |numbers: std::ops::RangeInclusive<u64>, order| {
        let (reached, newest) = (HistoryPosition { order, number: *numbers.end() }, at(9));
        let change = |number| DeviceChange {
            number,
            session: number,
            device: 1,
            status: Status::Connected,
            kind: ChangeKind::Logged,
        };
        let events = numbers.map(|number| change(number).stored(at(number))).collect();
        Some(EventPage { events, reached, newest, begun: newest, incomplete: false })
    };
    let mut resumption = replay();
    assert_eq!(resumption.take_page(page(1..=3, 1)).unwrap().len(), 3);
    assert_eq!(resumption.next_page_after(), Some(at(3)));
    let last = resumption.take_page(page(4..=9, 1)).unwrap();
    assert_eq!(last.iter().map(|event| event.position.number).collect::<Vec<_>>(), [4, 5]);
    assert_eq!((resumption.next_page_after(), resumption.then_after()), (None, 3));
    assert_eq!(replay().take_page(None).unwrap_err(), GapReason::NotLogged);
    assert_eq!(replay().take_page(page(1..=3, 2)).unwrap_err(), GapReason::Dropped, "another store");
    let incomplete = page(1..=3, 1).map(|page| EventPage { incomplete: true, ..page });
    assert_eq!(replay().take_page(incomplete).unwrap_err(), GapReason::Dropped);
}
