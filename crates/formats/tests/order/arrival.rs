//! Last wills and mosquitto's log against models that know the truth.

use formats::order::{self, AliveRule, Delivery, Resolution, Transmission};
use formats::{Cause, Event, EventKind, Session, UnixNanos};
use proptest::prelude::*;

use crate::instance::{HOUR, Instance, MINUTE, SECOND, START, event, live, retained};

fn state(is_connected: bool) -> Event<'static> {
    let kind = if is_connected { EventKind::Connect } else { EventKind::Disconnect };
    event(kind, Session::Arrival, None)
}

/// What happens to one retained topic and to its subscriber.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(bool),
    /// The link is lost, and messages with it, until the next sync.
    LoseLink,
    /// The subscriber subscribes again: the broker replays what is retained.
    Sync,
    /// A pass on another connection reads the value, and hands it over after the next step.
    SlowPass,
    /// Our clock is set.
    SetClock(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<bool>().prop_map(Step::Publish),
        1 => Just(Step::LoseLink),
        1 => Just(Step::Sync),
        1 => Just(Step::SlowPass),
        1 => (-2 * HOUR..HOUR).prop_map(Step::SetClock),
    ];
    prop::collection::vec(step, 0..25)
}

proptest! {
    /// Once the link is up and everything was read, the state is what the broker retains; and `since` moves only when the
    /// state does.
    #[test]
    fn state_is_what_the_broker_retains(steps in steps()) {
        let mut instance = Instance::default();
        let (mut retains, mut has_link, mut now) = (None, true, START);
        // What a pass has read and not handed over, and since when it is subscribed.
        let mut pass: Option<(bool, i64)> = None;
        for step in steps.into_iter().chain([Step::Sync]) {
            now += SECOND;
            let before = instance.held().map(|held| held.key);
            let due = pass.take();
            match step {
                Step::Publish(value) => {
                    retains = Some(value);
                    if has_link {
                        instance.take(&state(value), live(now));
                    }
                }
                Step::LoseLink => has_link = false,
                Step::Sync => {
                    has_link = true;
                    if let Some(value) = retains {
                        instance.take(&state(value), retained(now, now));
                    }
                }
                Step::SlowPass if has_link => pass = retains.map(|value| (value, now)),
                Step::SlowPass => {}
                // A pass ends with the link, and reads anew after the clock was set.
                Step::SetClock(by) => now += by,
            }
            if let Some((value, subscribed)) = due
                && has_link
                && !matches!(step, Step::SetClock(_))
            {
                instance.take(&state(value), retained(subscribed, now + 1));
            }
            let after = instance.held().map(|held| held.key);
            if before.map(|key| key.kind) == after.map(|key| key.kind) {
                prop_assert_eq!(before, after, "a repetition is no event");
            }
        }
        prop_assert_eq!(instance.is_connected(), retains);
    }

    /// mosquitto writes its log in order, but lines are lost with the link: the last session is known from its own lines.
    #[test]
    fn log_of_a_broker_gives_the_truth(
        sessions in prop::collection::vec((any::<bool>(), any::<bool>(), 0..90 * SECOND), 1..9),
        is_open in any::<bool>(),
        has_ports in any::<bool>(),
    ) {
        let mut instance = Instance::default();
        let mut now = START;
        let number = sessions.len();
        for (at, (begin_arrives, end_arrives, length)) in sessions.into_iter().enumerate() {
            let is_last = at + 1 == number;
            let session = || Session::Connection(has_ports.then(|| format!("192.0.2.1:{at}").into()));
            let seconds = |time: i64| Some(time / SECOND * SECOND);
            if begin_arrives || is_last {
                instance.take(&event(EventKind::Connect, session(), seconds(now)), live(now));
                prop_assert_eq!(instance.is_connected(), Some(true));
            }
            now += length;
            // Every second session is taken over, which changes nothing until the next begins.
            let end = if at % 2 == 0 || is_last { EventKind::Disconnect } else { EventKind::Takeover };
            if !is_last && end_arrives || is_last && !is_open {
                instance.take(&event(end, session(), seconds(now)), live(now));
            }
        }
        prop_assert_eq!(instance.is_connected(), Some(is_open));
    }
}

#[test]
fn a_change_of_cause_renews_and_leaves_the_time_alone() {
    let mut instance = Instance::default();
    let asleep = Event { cause: Some(Cause::Asleep), ..state(false) };
    instance.take(&asleep, live(START));
    let since = instance.held().unwrap().key.time;
    assert_eq!(instance.take(&asleep, live(START + MINUTE)), Resolution::Confirm);
    let lost = Event { cause: Some(Cause::Connection), ..state(false) };
    assert!(matches!(instance.take(&lost, live(START + HOUR)), Resolution::Renew(_)));
    let held = instance.held().unwrap();
    assert_eq!((held.key.time, held.identity.unwrap().cause), (since, Some(Cause::Connection)));
}

#[test]
fn the_end_of_another_connection_ends_nobody() {
    let mut instance = Instance::default();
    let session = |port| Session::Connection(Some(format!("192.0.2.1:{port}").into()));
    instance.take(&event(EventKind::Connect, session(2), Some(START)), live(START));
    let late = event(EventKind::Disconnect, session(1), Some(START));
    assert_eq!(instance.take(&late, live(START + SECOND)), Resolution::Late);
    let taken = event(EventKind::Takeover, session(2), Some(START));
    assert_eq!(instance.take(&taken, live(START + SECOND)), Resolution::Record);
    let refused = event(EventKind::Refusal, Session::Connection(None), Some(START));
    assert_eq!(instance.take(&refused, live(START + SECOND)), Resolution::Record);
    assert_eq!(instance.is_connected(), Some(true));
}

/// A link was lost, and with it the beginning of the session that took over.
#[test]
fn a_beginning_that_its_own_end_has_overtaken_connects_nobody() {
    let session = || Session::Connection(Some("192.0.2.1:1".into()));
    let millis = |number: i64| START + number * 1_000_000;
    // By its own time, in milliseconds; a log tells whole seconds, in which a client may be back with the same port.
    for (began, ended, expected) in [
        (millis(5), millis(9), false),
        (millis(5), millis(5), false),
        (millis(9), millis(5), true),
        (START, START, true),
    ] {
        let mut instance = Instance::default();
        instance.take(&event(EventKind::Disconnect, session(), Some(ended)), live(START + SECOND));
        instance.take(&event(EventKind::Connect, session(), Some(began)), live(START + SECOND + 1));
        assert_eq!(instance.is_connected(), Some(expected), "{began} {ended}");
    }
}

#[test]
fn the_end_of_a_connection_whose_beginning_was_missed_is_the_end_of_the_newest() {
    let mut instance = Instance::default();
    let session = |port| Session::Connection(Some(format!("192.0.2.1:{port}").into()));
    instance.take(&event(EventKind::Connect, session(1), Some(START)), live(START));
    let subscribed = UnixNanos(START + MINUTE);
    let delivery = Delivery { received: UnixNanos(START + HOUR), origin: Transmission::Live { subscribed } };
    let refused =
        Event { cause: Some(Cause::Refused), ..event(EventKind::Disconnect, session(2), Some(START + HOUR)) };
    assert_eq!(instance.take(&refused, delivery), Resolution::Late, "a login that was refused ends nobody");
    instance.take(&event(EventKind::Disconnect, session(2), Some(START + HOUR)), delivery);
    assert_eq!(instance.is_connected(), Some(false));
}

#[test]
fn a_sign_of_life_connects_if_it_is_live() {
    let mut instance = Instance::default();
    instance.take(&state(false), live(START));
    let alive = |instance: &mut Instance, delivery| instance.take_alive(AliveRule::Arrival, delivery, None);
    assert_eq!(alive(&mut instance, retained(START, START + SECOND)), Resolution::Late);
    assert_eq!(instance.is_connected(), Some(false));
    assert!(matches!(alive(&mut instance, live(START + SECOND)), Resolution::Apply(_)));
    assert_eq!(instance.is_connected(), Some(true));
    assert_eq!(alive(&mut instance, live(START + MINUTE)), Resolution::Confirm);
}

#[test]
fn a_restart_of_the_broker_ends_what_it_knew() {
    let mut instance = Instance::default();
    let connect = event(EventKind::Connect, Session::Connection(None), Some(START));
    instance.take(&connect, live(START));
    let held = instance.held().unwrap();
    let ended = order::ended_by_restart(&held, UnixNanos(START + HOUR), UnixNanos(START + HOUR)).unwrap();
    assert_eq!((ended.kind, ended.time), (EventKind::Disconnect, UnixNanos(START + HOUR)));
    assert!(ended.session > held.key.session);
    assert_eq!(
        order::ended_by_restart(&held, UnixNanos(START), UnixNanos(START)),
        None,
        "it has connected since"
    );
    instance.take(&event(EventKind::Disconnect, Session::Connection(None), None), live(START + MINUTE));
    assert_eq!(
        order::ended_by_restart(&instance.held().unwrap(), UnixNanos(START + HOUR), UnixNanos(START + HOUR)),
        None
    );
}
