//! Edge nodes of Sparkplug against a model that knows the truth, and the rows of the truth table.

use formats::order::{AliveRule, Resolution, UNKNOWN_SESSION};
use formats::{Event, EventKind, Session, UnixNanos};
use proptest::prelude::*;

use crate::instance::{HOUR, Instance, MINUTE, SECOND, START, event, live, retained};

const MILLIS: i64 = 1_000_000;

fn birth(number: u64, time: i64) -> Event<'static> {
    event(EventKind::Connect, Session::Matched { birth: Some(number), sequence: Some(0) }, Some(START + time))
}

fn death(number: u64) -> Event<'static> {
    event(EventKind::Disconnect, Session::Matched { birth: Some(number), sequence: None }, None)
}

#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a test holds a few of them")]
enum Message {
    Event(Event<'static>),
    /// Says when it was sent, by the clock of the node.
    Data(i64),
}

/// One session of a node.
#[derive(Clone, Debug)]
struct Plan {
    /// How long the node was away before.
    gap: i64,
    /// How its clock is set at the beginning, beside the true time.
    clock: i64,
    /// When it is asked for a rebirth, and when it sends data, after the session began.
    rebirths: Vec<i64>,
    data: Vec<i64>,
    length: i64,
    /// How much each of its messages is delayed, in turn.
    delays: Vec<i64>,
    birth_arrives: bool,
    death_arrives: bool,
    dies_twice: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let times = |from| prop::collection::vec(from * SECOND..50 * SECOND, 0..3);
    let clock =
        prop_oneof![3 => Just(0), 1 => Just(-HOUR), 1 => Just(-START + HOUR), 1 => Just(-20 * MINUTE)];
    (
        // Data after a birth, which a birth by a clock that was set back needs.
        (12 * SECOND..HOUR, clock, times(1), times(5), MINUTE..2 * HOUR),
        prop::collection::vec(0..4 * SECOND, 4),
        (prop::bool::weighted(0.8), prop::bool::weighted(0.8), any::<bool>()),
    )
        .prop_map(
            |((gap, clock, rebirths, data, length), delays, (birth_arrives, death_arrives, dies_twice))| {
                Plan { gap, clock, rebirths, data, length, delays, birth_arrives, death_arrives, dies_twice }
            },
        )
}

/// The messages in the order in which they arrive, each with the time of its receipt. Of the last session the birth and
/// the death arrive.
fn history(plans: &[Plan], first_number: u64, is_constant: bool, is_open: bool) -> Vec<(i64, Message)> {
    let mut messages = Vec::new();
    let mut time = START;
    for (at, plan) in plans.iter().enumerate() {
        let is_last = at + 1 == plans.len();
        let number = if is_constant { first_number } else { (first_number + at as u64) % 256 };
        // What a node that always sends one number means is told by the order alone.
        let delay = |number: usize| if is_constant { 0 } else { plan.delays[number % plan.delays.len()] };
        time += plan.gap;
        let node_time = |time: i64| time + plan.clock - START;
        if plan.birth_arrives || is_last {
            messages.push((time + delay(0), Message::Event(birth(number, node_time(time)))));
        }
        for (nth, after) in plan.rebirths.iter().enumerate() {
            let message = Message::Event(birth(number, node_time(time + after)));
            messages.push((time + after + delay(nth + 1), message));
        }
        for (nth, after) in plan.data.iter().enumerate() {
            messages.push((time + after + delay(nth + 2), Message::Data(node_time(time + after))));
        }
        time += plan.length;
        let has_ended = !is_last || !is_open;
        if has_ended && (plan.death_arrives || is_last) {
            for nth in 0..1 + usize::from(plan.dies_twice) {
                messages.push((time + delay(nth + 3), Message::Event(death(number))));
            }
        }
    }
    messages.sort_by_key(|(received, _message)| *received);
    messages
}

proptest! {
    /// Messages are overtaken by seconds, repeated and lost, and the node's clock is set back and forth.
    #[test]
    fn nodes_end_in_the_truth(
        plans in prop::collection::vec(plan(), 1..7),
        first_number in 250..260_u64,
        is_constant in any::<bool>(),
        is_open in any::<bool>(),
    ) {
        let mut instance = Instance::default();
        let messages = history(&plans, first_number, is_constant, is_open);
        for (received, message) in &messages {
            match message {
                Message::Event(event) => instance.take(event, live(*received)),
                Message::Data(time) => {
                    let rule = AliveRule::Matched(Some(UnixNanos(START + time)));
                    instance.take_alive(rule, live(*received), None)
                }
            };
        }
        prop_assert_eq!(instance.is_connected(), Some(is_open), "{:#?}", messages);
    }
}

/// Takes the events in order, a minute apart; says what became of the last, and whether the node is connected then.
fn last(events: &[Event<'static>]) -> (Resolution, Option<bool>) {
    let mut instance = Instance::default();
    let mut resolution = Resolution::Record;
    for (event, received) in events.iter().zip((0..).map(|minutes| START + minutes * MINUTE)) {
        resolution = instance.take(event, live(received));
    }
    (resolution, instance.is_connected())
}

#[test]
fn decides_the_rows_of_the_table() {
    let is = |events: &[Event<'static>], is_connected| assert_eq!(last(events).1, Some(is_connected));
    is(&[birth(7, 0)], true);
    is(&[death(7)], false);
    is(&[birth(7, 0), death(7)], false);
    assert_eq!(last(&[birth(7, 0), death(7), death(7)]), (Resolution::Confirm, Some(false)));
    // The late will of an earlier connection.
    assert_eq!(last(&[birth(7, 0), death(6)]), (Resolution::Late, Some(true)));
    // A new session, and a late birth.
    is(&[birth(7, 0), birth(8, SECOND)], true);
    is(&[birth(7, 0), death(7), birth(8, SECOND)], true);
    is(&[birth(7, 0), birth(8, SECOND), death(7)], true);
    is(&[birth(255, 0), death(255), birth(0, SECOND)], true);
    // The clock of the node was set back.
    is(&[birth(8, 0), death(8), birth(9, -HOUR)], true);
    is(&[birth(8, 0), death(8), birth(9, -HOUR), death(9)], false);
    is(&[birth(8, 0), death(8), birth(9, -HOUR), birth(9, -HOUR + SECOND), death(9)], false);
    // A node that keeps no number always sends the same.
    is(&[birth(0, 0), death(0), birth(0, MINUTE)], true);
    is(&[death(0), birth(0, MINUTE)], true);
    // Numbers beyond 255, and none at all.
    is(&[birth(u64::MAX, 0), death(u64::MAX)], false);
    let none = |kind| event(kind, Session::Matched { birth: None, sequence: None }, None);
    is(&[none(EventKind::Connect), none(EventKind::Disconnect)], false);
}

#[test]
fn late_births_differ_from_new_ones_by_their_arrival() {
    let mut instance = Instance::default();
    instance.take(&birth(8, 2 * SECOND), live(START + 2 * SECOND));
    assert_eq!(instance.take(&birth(7, SECOND), live(START + 3 * SECOND)), Resolution::Late);
    // The clock of the node was set back, by a second alone.
    instance.take(&birth(9, SECOND), live(START + MINUTE));
    instance.take(&death(8), live(START + 2 * MINUTE));
    assert_eq!(instance.is_connected(), Some(true));
    // A birth that was asked for, and sent just before the death.
    let died = START + HOUR;
    instance.take(&death(9), live(died));
    assert_eq!(instance.take(&birth(9, HOUR - SECOND), live(died + SECOND)), Resolution::Late);
    // A node without storage that is back at once.
    instance.take(&birth(9, HOUR + SECOND), live(died + 2 * SECOND));
    assert_eq!(instance.is_connected(), Some(true));
}

#[test]
fn a_rebirth_leaves_the_time_alone() {
    let mut instance = Instance::default();
    instance.take(&birth(7, 0), live(START));
    assert!(matches!(instance.take(&birth(7, MINUTE), live(START + MINUTE)), Resolution::Renew(_)));
    let held = instance.held().unwrap().key;
    assert_eq!(held.time.0, START, "it has been connected since the first birth");
    assert_eq!(held.session.0, START + MINUTE, "its devices must be born after the second");
    assert_eq!(instance.take(&birth(7, MINUTE), live(START + HOUR)), Resolution::Confirm);
}

#[test]
fn a_death_happens_when_it_is_received() {
    let mut instance = Instance::default();
    instance.take(&death(7), live(START));
    assert_eq!(instance.held().unwrap().key.session, UNKNOWN_SESSION);
    instance.take(&birth(8, MINUTE), live(START + MINUTE));
    instance.take(&death(8), live(START + HOUR));
    let held = instance.held().unwrap().key;
    assert_eq!((held.session.0, held.time.0), (START + MINUTE, START + HOUR));
}

#[test]
fn data_connects_but_not_right_after_a_death() {
    let mut instance = Instance::default();
    let alive =
        |instance: &mut Instance, delivery| instance.take_alive(AliveRule::Matched(None), delivery, None);
    assert!(matches!(alive(&mut instance, live(START)), Resolution::Apply(_)));
    instance.take(&birth(7, 0), live(START));
    instance.take(&death(7), live(START + MINUTE));
    let overtaken = live(START + MINUTE + SECOND);
    assert_eq!(alive(&mut instance, overtaken), Resolution::Late);
    assert_eq!(alive(&mut instance, retained(START, START + HOUR)), Resolution::Late);
    assert_eq!(instance.is_connected(), Some(false));
    assert!(matches!(alive(&mut instance, live(START + HOUR)), Resolution::Apply(_)));
    assert_eq!(instance.is_connected(), Some(true));
    // The next death has no birth to match, and any ends it.
    instance.take(&death(9), live(START + 2 * HOUR));
    assert_eq!(instance.is_connected(), Some(false));
}

#[test]
fn data_after_a_death_is_of_another_session_whose_birth_may_come_late() {
    let mut instance = Instance::default();
    let data = |instance: &mut Instance, time: i64| {
        let rule = AliveRule::Matched(Some(UnixNanos(START + time)));
        instance.take_alive(rule, live(START + time), None)
    };
    instance.take(&birth(7, 0), live(START));
    instance.take(&death(7), live(START + MINUTE));
    data(&mut instance, HOUR);
    let inferred = instance.held().unwrap().key;
    assert_eq!(inferred.session.0, START + HOUR, "later than each device that was born before");
    let overtaken = birth(8, HOUR - SECOND);
    assert!(matches!(instance.take(&overtaken, live(START + HOUR + SECOND)), Resolution::Renew(_)));
    assert_eq!(instance.take(&overtaken, live(START + HOUR + 2 * SECOND)), Resolution::Confirm);
    let born = instance.held().unwrap().key;
    assert_eq!((born.session.0, born.time), (inferred.session.0 + 1, inferred.time));
    assert_eq!(instance.take(&death(7), live(START + HOUR + MINUTE)), Resolution::Late);
    instance.take(&death(8), live(START + 2 * HOUR));
    assert_eq!(instance.is_connected(), Some(false));
    // One that the broker has retained may be of any session.
    data(&mut instance, 3 * HOUR);
    let at = START + 3 * HOUR + SECOND;
    assert_eq!(instance.take(&birth(9, 2 * HOUR), retained(at, at)), Resolution::Late);
}

/// Some brokers retain births: such a birth says that there is a node, not that its clock was set back.
#[test]
fn a_retained_birth_ends_nothing_that_is_newer() {
    let mut instance = Instance::default();
    instance.take(&birth(8, 0), live(START));
    let old = birth(7, -24 * HOUR);
    assert_eq!(instance.take(&old, retained(START + HOUR, START + HOUR)), Resolution::Late);
    instance.take(&death(8), live(START + 2 * HOUR));
    let again = birth(8, 0);
    assert_eq!(instance.take(&again, retained(START + 3 * HOUR, START + 3 * HOUR)), Resolution::Late);
    assert_eq!(instance.is_connected(), Some(false));
    let missed = birth(9, 2 * HOUR + MILLIS);
    instance.take(&missed, retained(START + 3 * HOUR, START + 3 * HOUR));
    assert_eq!(instance.is_connected(), Some(true));
}
