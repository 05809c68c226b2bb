//! AWS IoT against a model: versions that start again after an hour, times that are good to two minutes only.

use formats::order::Resolution;
use formats::{Event, EventKind, Session};
use proptest::prelude::*;

use crate::instance::{HOUR, Instance, MINUTE, SECOND, START, event, live};

/// How a session begins after the one before.
#[derive(Clone, Copy, Debug)]
enum Gap {
    /// It takes the client id over.
    Takeover,
    /// Within the hour.
    Short(i64),
    /// After it: versions start again.
    Long(i64),
}

#[derive(Clone, Debug)]
struct Plan {
    gap: Gap,
    /// Versions may be skipped.
    skip: u64,
    length: i64,
    /// How wrong the times of the beginning and the end are.
    errors: [i64; 2],
    /// Whether the messages about its beginning and its end arrive.
    arrives: [bool; 2],
}

fn plans() -> impl Strategy<Value = (Vec<Plan>, bool)> {
    let gap = prop_oneof![
        Just(Gap::Takeover),
        (0..59 * MINUTE).prop_map(Gap::Short),
        (HOUR + SECOND..9 * HOUR).prop_map(Gap::Long),
    ];
    let error = || -2 * MINUTE..=2 * MINUTE;
    let length = prop_oneof![0..10 * SECOND, 0..5 * HOUR];
    let plan =
        (gap, 0..3_u64, length, [error(), error()], [prop::bool::weighted(0.8), prop::bool::weighted(0.8)])
            .prop_map(|(gap, skip, length, errors, arrives)| Plan { gap, skip, length, errors, arrives });
    (prop::collection::vec(plan, 1..9), any::<bool>())
}

/// The messages of a history that arrive, and whether the device is connected according to them: `None` if they do not
/// tell.
fn history((plans, is_open): (Vec<Plan>, bool)) -> (Vec<Event<'static>>, Option<bool>) {
    let (mut messages, mut expected) = (Vec::new(), None);
    let (mut time, mut version) = (START, 0);
    for (number, plan) in plans.iter().enumerate() {
        match plan.gap {
            Gap::Takeover => version += 1 + plan.skip,
            Gap::Short(gap) => {
                time += gap;
                version += 1 + plan.skip;
            }
            Gap::Long(gap) => {
                time += gap;
                version = plan.skip / 2;
            }
        }
        let session = || Session::Versioned { version, session: format!("s{number}").into() };
        let begun = event(EventKind::Connect, session(), Some(time + plan.errors[0]));
        time += plan.length;
        let is_taken_over = plans.get(number + 1).is_some_and(|next| matches!(next.gap, Gap::Takeover));
        let end = if is_taken_over { EventKind::Takeover } else { EventKind::Disconnect };
        let ended = event(end, session(), Some(time + plan.errors[1]));
        let has_ended = number + 1 < plans.len() || !is_open;
        if plan.arrives[0] {
            messages.push(begun);
            expected = Some(true);
        }
        if has_ended && plan.arrives[1] {
            messages.push(ended);
            expected = Some(is_taken_over);
        }
    }
    (messages, expected)
}

fn received(at: usize) -> i64 {
    START + 200 * HOUR + i64::try_from(at).expect("few events") * SECOND
}

proptest! {
    /// Whatever is lost, repeated or late by any time: the newest session of which anything arrived decides, and the end
    /// beats the beginning.
    #[test]
    fn any_order_gives_the_truth(
        (messages, expected) in plans().prop_map(history).prop_flat_map(|(messages, expected)| {
            let twice = [messages.clone(), messages].concat();
            (Just(twice).prop_shuffle(), Just(expected))
        }),
    ) {
        let mut instance = Instance::default();
        for (at, message) in messages.iter().enumerate() {
            instance.take(message, live(received(at)));
        }
        prop_assert_eq!(instance.is_connected(), expected, "{}", messages.iter().map(brief).collect::<String>());
    }
}

/// A message in the least that a failure needs to show.
fn brief(message: &Event<'static>) -> String {
    let Session::Versioned { version, session } = &message.session else { return String::new() };
    let minutes = message.time.map(|time| (time.0 - START) / MINUTE);
    format!("{session} v{version} {:?} at {minutes:?}\n", message.kind)
}

fn message(kind: EventKind, version: u64, session: &'static str, time: i64) -> Event<'static> {
    event(kind, Session::Versioned { version, session: session.into() }, Some(START + time))
}

/// Takes the events in order; says what became of the last, and whether the device is connected then.
fn last(events: &[Event<'static>]) -> (Resolution, Option<bool>) {
    let mut instance = Instance::default();
    let mut resolution = Resolution::Record;
    for (at, event) in events.iter().enumerate() {
        resolution = instance.take(event, live(received(at)));
    }
    (resolution, instance.is_connected())
}

/// The rows of the truth table.
#[test]
fn decides_the_rows_of_the_table() {
    use EventKind::{Connect, Disconnect, Refusal, Takeover};
    let c = |version, session, time| message(Connect, version, session, time);
    let d = |version, session, time| message(Disconnect, version, session, time);
    // A disconnect of the held session ends it, in any order.
    let ended = [c(5, "a", 0), d(5, "a", MINUTE)];
    assert_eq!(last(&ended).1, Some(false));
    let [begun, end] = ended;
    assert_eq!(last(&[end, begun]), (Resolution::Late, Some(false)));
    // A higher version is newer, whatever its time says.
    assert_eq!(last(&[d(5, "a", MINUTE), c(6, "b", -MINUTE)]).1, Some(true));
    // The end of a lower version is late.
    assert_eq!(last(&[c(6, "b", 0), d(5, "a", MINUTE)]), (Resolution::Late, Some(true)));
    // A takeover alone connects; the connect of a higher version follows.
    let taken = message(Takeover, 5, "a", 0);
    assert_eq!(last(std::slice::from_ref(&taken)).1, Some(true));
    assert_eq!(last(&[taken, c(6, "b", -MINUTE), d(6, "b", MINUTE)]).1, Some(false));
    // A refused login ends nobody; of a session that had begun it is the end.
    let refused = |session| message(Refusal, 6, session, MINUTE);
    assert_eq!(last(&[c(5, "a", 0), refused("x")]).1, Some(true));
    assert_eq!(last(&[refused("x"), c(5, "a", 0)]).1, Some(true));
    assert_eq!(last(&[c(6, "b", 0), refused("b")]).1, Some(false));
    assert_eq!(last(&[c(5, "a", 0), refused("b"), c(6, "b", 0)]).1, Some(false));
    // Versions start again an hour after the end, less twice the accuracy of times.
    assert_eq!(last(&[d(5, "a", 0), c(0, "b", 57 * MINUTE)]).1, Some(true));
    assert_eq!(last(&[d(5, "a", 0), c(0, "b", 55 * MINUTE)]), (Resolution::Late, Some(false)));
    // A lower version beside a session that is on is a late duplicate, unless no late one can be of that time.
    assert_eq!(last(&[c(5, "a", 0), c(4, "b", MINUTE)]), (Resolution::Late, Some(true)));
    assert_eq!(last(&[c(5, "a", 0), c(0, "b", 3 * HOUR), d(0, "b", 4 * HOUR)]).1, Some(false));
    // Of two sessions with one version the later time counts; what is too close is left as it is.
    assert_eq!(last(&[d(0, "a", 0), c(0, "b", 2 * HOUR)]).1, Some(true));
    assert_eq!(last(&[c(0, "b", 2 * HOUR), d(0, "a", 0)]), (Resolution::Late, Some(true)));
    assert_eq!(last(&[d(0, "a", 0), c(0, "b", 3 * MINUTE)]), (Resolution::Late, Some(false)));
    // The same twice.
    assert_eq!(last(&[c(5, "a", 0), c(5, "a", 0)]), (Resolution::Confirm, Some(true)));
}

/// No message, however wrong, makes the next ones disappear.
#[test]
fn survives_versions_and_times_out_of_any_range() {
    use EventKind::{Connect, Disconnect};
    for version in [0, 1, u64::MAX] {
        for time in [i64::MIN - START.min(0), 0, i64::MAX - START] {
            let wrong = event(
                Connect,
                Session::Versioned { version, session: "wrong".into() },
                Some(time.saturating_add(START)),
            );
            let begun = message(Connect, 7, "a", 190 * HOUR);
            let ended = message(Disconnect, 7, "a", 191 * HOUR);
            let next = message(Connect, 8, "b", 191 * HOUR);
            last(&[wrong.clone(), begun.clone(), ended.clone(), next.clone()]);
            last(&[begun, wrong, ended, next]);
        }
    }
}
