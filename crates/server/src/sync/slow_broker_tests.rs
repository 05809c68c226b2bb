//! Laws of the population on brokers that send in bursts, in simulated time: however a broker pauses, what a pass proves is true.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::backlog::PassId;
use super::broker_behavior::{BrokerBehavior, ReplayBehavior};
use super::evidence::{Evidence, KnownBroker, Pass, judge};
use super::replay::{QuietInterval, Replay, ReplayStep};

/// As the operator has set it.
const FULL: Duration = Duration::from_secs(2);
/// Above what the brokers hold here, so that whatever was read to its end is proven.
const LIMITS: [u64; 1] = [1_000_000];
/// The live subscription takes its replay for over early from so many messages on.
const EARLY_FROM: u64 = 100;
/// How long the broker takes to answer a PINGREQ, which on this broker overtakes what is retained.
const ANSWER_TIME: Duration = Duration::from_millis(1);

/// Messages that come together, and how long after those before.
#[derive(Clone, Copy, Debug)]
struct Burst {
    after: Duration,
    messages: u64,
}

/// What happens to a replay, and when.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Retained,
    Step(ReplayStep),
}

/// A subscription that is answered by these bursts.
struct Subscription<'a> {
    replay: Replay,
    bursts: &'a [Burst],
    next: Instant,
    answer_at: Option<Instant>,
}

impl<'a> Subscription<'a> {
    fn new(bursts: &'a [Burst], quiet: QuietInterval, now: Instant) -> Self {
        let mut replay = Replay::new(PassId(1), quiet, false, now);
        replay.accept(now);
        // The answer to the PINGREQ that goes with the SUBSCRIBE comes before everything.
        replay.pong(0);
        let next = now + bursts.first().map_or(Duration::ZERO, |burst| burst.after);
        Self { replay, bursts, next, answer_at: None }
    }

    /// The next thing that happens; `None` once the replay is over.
    fn step(&mut self) -> (Instant, Moment) {
        let over_at = self.replay.over_at();
        let burst_at = (!self.bursts.is_empty()).then_some(self.next);
        let first = [over_at, burst_at, self.answer_at].into_iter().flatten().min().expect("it ends");
        if burst_at == Some(first) {
            self.replay.received(self.bursts[0].messages, first);
            self.bursts = &self.bursts[1..];
            self.next = first + self.bursts.first().map_or(Duration::ZERO, |burst| burst.after);
            return (first, Moment::Retained);
        }
        if self.answer_at == Some(first) {
            self.answer_at = None;
            self.replay.pong(0);
            return self.step();
        }
        let step = self.replay.due();
        if step == ReplayStep::Ping {
            self.answer_at = Some(first + ANSWER_TIME);
        }
        (first, Moment::Step(step))
    }

    /// Goes on until the replay is over.
    fn over(&mut self) -> Instant {
        loop {
            if let (at, Moment::Step(ReplayStep::Over)) = self.step() {
                return at;
            }
        }
    }

    fn pass(&self) -> Pass {
        let Replay { retained, .. } = self.replay;
        Pass { retained, early_silence: self.replay.early_silence(), ..Pass::default() }
    }
}

/// What the live subscription shows, and when.
struct Live {
    reported_at: Instant,
    reported: Pass,
    /// The longest pause so far, each time that something comes although the end was told.
    afterwards: Vec<(Instant, Duration)>,
    over_at: Instant,
    observed: ReplayBehavior,
}

fn live(bursts: &[Burst], behavior: &BrokerBehavior, start: Instant) -> Live {
    let quiet = behavior.live_quiet_interval(FULL, Some(EARLY_FROM));
    let mut subscription = Subscription::new(bursts, quiet, start);
    let reported_at = subscription.over();
    let reported = subscription.pass();
    let mut afterwards = vec![(reported_at, subscription.replay.longest_pause())];
    let mut over_at = reported_at;
    if reported.early_silence.is_some() {
        subscription.replay.watch_on();
        loop {
            match subscription.step() {
                (at, Moment::Retained) => afterwards.push((at, subscription.replay.longest_pause())),
                (_, Moment::Step(ReplayStep::Ping)) => {}
                (at, Moment::Step(ReplayStep::Over)) => {
                    over_at = at;
                    break;
                }
            }
        }
    }
    Live { reported_at, reported, afterwards, over_at, observed: ReplayBehavior::of(&subscription.replay) }
}

/// Bursts of at most so many messages, with pauses that the operator's interval outlasts.
fn bursts() -> impl Strategy<Value = Vec<Burst>> {
    let pause = prop_oneof![3 => 0_u64..20, 2 => 20_u64..400, 1 => 400_u64..1_900];
    let burst = (pause, 1_u64..200)
        .prop_map(|(after, messages)| Burst { after: Duration::from_millis(after), messages });
    proptest::collection::vec(burst, 1..12)
}

proptest! {
    /// Passes over the same filter are read one after the other from when the live subscription seems to have brought everything,
    /// as `population` does: none is called proven that has not brought everything.
    #[test]
    fn what_a_pausing_broker_is_proven_to_hold_is_all_of_it(bursts in bursts()) {
        let start = Instant::now();
        let behavior = BrokerBehavior::default();
        let held: u64 = bursts.iter().map(|burst| burst.messages).sum();
        let live = live(&bursts, &behavior, start);
        behavior.live_begins();
        let mut unseen = live.afterwards.iter().copied().collect::<std::collections::VecDeque<_>>();
        let mut is_over = false;
        let mut catch_up = |now: Instant| {
            while let Some((_, pause)) = unseen.pop_front_if(|(at, _)| *at <= now) {
                behavior.live_seems_over(pause);
            }
            if live.over_at <= now && !is_over {
                behavior.live_is_over(live.observed);
                is_over = true;
            }
        };
        let mut now = live.reported_at;
        let mut passes = vec![live.reported];
        for _ in 0..8 {
            catch_up(now);
            let broker =
                KnownBroker { limits: &LIMITS, replays: true, early_silence: behavior.early_silence(FULL) };
            match judge(&passes, broker) {
                Evidence::BelowLimits => break,
                // Nothing new comes: the end of the live subscription is waited for.
                Evidence::Repeated if now < live.over_at => {
                    now = live.over_at;
                    continue;
                }
                _ => {}
            }
            let mut subscription = Subscription::new(&bursts, behavior.quiet_interval(FULL), now);
            now = subscription.over();
            passes.push(subscription.pass());
            catch_up(now);
            behavior.learn(ReplayBehavior::of(&subscription.replay));
        }
        let broker =
            KnownBroker { limits: &LIMITS, replays: true, early_silence: behavior.early_silence(FULL) };
        prop_assert_eq!(judge(&passes, broker), Evidence::BelowLimits, "it ends: {:?}", passes);
        prop_assert_eq!(passes.last().map(|pass| pass.retained), Some(held), "{:?}", passes);
    }
}
