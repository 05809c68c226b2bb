//! What replays have shown of a broker: whether it has any, whether its answer to a PINGREQ ends them, and how long it pauses
//! in between.

use std::cell::Cell;
use std::time::Duration;

use tokio::sync::Notify;

use super::replay::{Pong, QuietInterval, Replay};

/// How many retained messages must have come before a replay shows anything of the broker.
pub const PROOF: u64 = 100;
/// Silence ends a replay once it is so many times as long as the longest pause between two of its messages.
const PAUSES: u32 = 20;
/// No shorter silence ends a replay: a packet that is lost on the way is sent again after a fifth of a second.
const SHORTEST: Duration = Duration::from_millis(250);

/// Learned from each replay that ended by silence. The replay of the live subscription is taken for over early, and watched until the
/// silence was as long as the operator has set: so one replay at least shows the broker's pauses, whatever the others take for the end.
#[derive(Debug, Default)]
pub struct BrokerBehavior {
    pong: Cell<PingBehavior>,
    /// `None`: no replay was long enough to tell.
    longest_pause: Cell<Option<Duration>>,
    live: Cell<LiveWatch>,
    live_ended: Notify,
    replays: Cell<bool>,
}

/// What a PINGRESP is on this broker. Once it has overtaken a message it is never trusted again: that it came last now and
/// then is chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PingBehavior {
    #[default]
    Nothing,
    EndMark,
    Overtakes,
}

/// How far the replay of the live subscription is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LiveWatch {
    /// There is none, or its end has been seen.
    #[default]
    Ended,
    Watched {
        /// What it has shown so far, once it seems to be over.
        longest_pause: Option<Duration>,
    },
}

impl LiveWatch {
    fn longest_pause(self) -> Option<Duration> {
        match self {
            LiveWatch::Ended => None,
            LiveWatch::Watched { longest_pause } => longest_pause,
        }
    }
}

/// What one replay has shown.
#[derive(Clone, Copy, Debug)]
pub struct ReplayBehavior {
    /// Messages with the retain flag.
    pub retained: u64,
    pub pong: Pong,
    /// Between two of them.
    pub longest_pause: Duration,
}

impl ReplayBehavior {
    pub fn of(replay: &Replay) -> Self {
        let (pong, longest_pause) = (replay.pong_shown(), replay.longest_pause());
        Self { retained: replay.retained, pong, longest_pause }
    }
}

impl BrokerBehavior {
    /// Whether a PINGRESP marks the end of a replay.
    pub fn pong_is_end_mark(&self) -> bool {
        self.pong.get() == PingBehavior::EndMark
    }

    /// How long silence has to last; `full` is the time where nothing is known.
    pub fn quiet_interval(&self, full: Duration) -> QuietInterval {
        let longest_pause = self.longest_pause.get().max(self.live.get().longest_pause());
        let needed = longest_pause.map_or(full, silence_after).min(full);
        let behind_pong = if longest_pause.is_some() { self.behind_pong(needed) } else { full };
        QuietInterval { needed, behind_pong, ..QuietInterval::full(full) }
    }

    /// The same for the live subscription, whose end is watched for longer. Where nothing is known, its own pauses tell. If less than
    /// `lowest_limit` comes, the silence proves the population, and is waited for in full.
    pub fn live_quiet_interval(&self, full: Duration, lowest_limit: Option<u64>) -> QuietInterval {
        let needed = self.longest_pause.get().map_or(SHORTEST, silence_after).min(full);
        let least_retained = lowest_limit.unwrap_or(PROOF).max(PROOF);
        QuietInterval { needed, behind_pong: self.behind_pong(needed), full, least_retained }
    }

    fn behind_pong(&self, needed: Duration) -> Duration {
        match self.pong.get() {
            PingBehavior::Nothing | PingBehavior::EndMark => SHORTEST.min(needed),
            PingBehavior::Overtakes => needed,
        }
    }

    /// The silence that has to end a reading if its end is to prove something; `None` if only one as long as the operator has set
    /// can, because no replay has been seen to its end.
    pub fn early_silence(&self, full: Duration) -> Option<Duration> {
        let is_known = self.longest_pause.get().is_some() && self.live.get() == LiveWatch::Ended;
        is_known.then(|| self.quiet_interval(full).needed)
    }

    /// The live subscription has been made.
    pub fn live_begins(&self) {
        self.live.set(LiveWatch::Watched { longest_pause: None });
    }

    /// Its replay seems to be over. It is watched still, and this is said again of each message that comes all the same. A
    /// subscription that is to bring nothing retained is not watched.
    pub fn live_seems_over(&self, longest_pause: Duration) {
        if self.live.get() != LiveWatch::Ended {
            self.live.set(LiveWatch::Watched { longest_pause: Some(longest_pause) });
        }
    }

    /// Its replay is over: nothing came for as long as the operator has set.
    pub fn live_is_over(&self, observed: ReplayBehavior) {
        self.learn(observed);
        self.live_is_gone();
    }

    /// It ended with its connection, at the latest.
    pub fn live_is_gone(&self) {
        self.live.set(LiveWatch::Ended);
        self.live_ended.notify_waiters();
    }

    /// Waits until the end of its replay has been seen.
    pub async fn live_seen(&self) {
        let ended = self.live_ended.notified();
        if self.live.get() != LiveWatch::Ended {
            ended.await;
        }
    }

    /// Whether it was seen to answer subscriptions by what is retained, since the link was lost the last time.
    pub fn replays(&self) -> bool {
        self.replays.get()
    }

    /// Notes how a subscription to these filters was answered. What is retained for a topic that is named in full shows nothing
    /// of filters with wildcards: RabbitMQ 3 answers only the former.
    pub fn note_answer(&self, filters: &[String], retained: u64) {
        if shows_replay(filters, retained) {
            self.note_replay();
        }
    }

    pub fn note_replay(&self) {
        self.replays.set(true);
    }

    /// The link was lost: another broker may answer at the same address.
    pub fn forget_replays(&self) {
        self.replays.set(false);
    }

    pub fn learn(&self, observed: ReplayBehavior) {
        let ReplayBehavior { retained, pong, longest_pause } = observed;
        match pong {
            Pong::Overtook => self.pong.set(PingBehavior::Overtakes),
            Pong::After(before) => {
                if retained >= PROOF && before == retained && self.pong.get() == PingBehavior::Nothing {
                    self.pong.set(PingBehavior::EndMark);
                }
            }
            Pong::Awaited => {}
        }
        let before = self.longest_pause.get();
        if retained >= PROOF || before.is_some_and(|before| before < longest_pause) {
            self.longest_pause.set(before.max(Some(longest_pause)));
        }
    }
}

/// Whether so many retained messages, in answer to these filters, can be told to have answered one with wildcards, if there is
/// one: a topic that is named in full brings one at most.
pub fn shows_replay<'a>(filters: impl IntoIterator<Item = &'a String>, retained: u64) -> bool {
    let (wild, named): (Vec<_>, Vec<_>) = filters.into_iter().partition(|filter| filter.contains(['+', '#']));
    let explained = if wild.is_empty() { 0 } else { named.len() as u64 };
    retained > explained
}

/// What silence ends a replay in which pauses are so long.
pub fn silence_after(pause: Duration) -> Duration {
    (pause * PAUSES).max(SHORTEST)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const FULL: Duration = Duration::from_secs(2);

    fn observed(retained: u64, pong: Pong, longest_pause_ms: u64) -> ReplayBehavior {
        ReplayBehavior { retained, pong, longest_pause: Duration::from_millis(longest_pause_ms) }
    }

    #[test]
    fn only_what_answers_wildcards_shows_that_they_are_answered() {
        let filters = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (names, retained, shows) in [
            (&["tele/+/LWT"][..], 0, false),
            (&["tele/+/LWT"], 1, true),
            (&["tele/+/LWT", "bridge/state"], 1, false),
            (&["homie/#", "bridge/state"], 2, true),
            (&["bridge/state", "other/state"], 1, true),
            (&["bridge/state", "other/state"], 0, false),
        ] {
            let behavior = BrokerBehavior::default();
            behavior.note_answer(&filters(names), retained);
            assert_eq!(behavior.replays(), shows, "{names:?}: {retained}");
            behavior.forget_replays();
            assert!(!behavior.replays());
        }
    }

    #[test]
    fn a_subscription_that_is_to_bring_nothing_retained_is_not_waited_for() {
        let behavior = BrokerBehavior::default();
        // Mosquitto sends what is retained to shared subscriptions, too.
        behavior.live_seems_over(Duration::ZERO);
        assert!(behavior.live_seen().now_or_never().is_some());
        behavior.live_begins();
        behavior.live_seems_over(Duration::ZERO);
        assert!(behavior.live_seen().now_or_never().is_none());
        behavior.live_is_gone();
        assert!(behavior.live_seen().now_or_never().is_some());
    }

    #[test]
    fn a_pong_that_has_overtaken_once_is_never_trusted() {
        let behavior = BrokerBehavior::default();
        behavior.learn(observed(PROOF - 1, Pong::After(PROOF - 1), 0));
        assert!(!behavior.pong_is_end_mark(), "too few to tell");
        behavior.learn(observed(PROOF, Pong::After(PROOF), 0));
        assert!(behavior.pong_is_end_mark());
        behavior.learn(observed(PROOF, Pong::Overtook, 0));
        behavior.learn(observed(PROOF, Pong::After(PROOF), 0));
        assert!(!behavior.pong_is_end_mark(), "that it came last this time is chance");
    }

    #[test]
    fn silence_is_waited_for_as_long_as_the_broker_pauses() {
        let behavior = BrokerBehavior::default();
        let needed = |behavior: &BrokerBehavior| behavior.quiet_interval(FULL).needed;
        behavior.learn(observed(PROOF - 1, Pong::Overtook, 1));
        assert_eq!(needed(&behavior), FULL, "too few to tell");
        behavior.learn(observed(PROOF, Pong::Overtook, 1));
        assert_eq!(needed(&behavior), SHORTEST);
        behavior.learn(observed(3, Pong::Overtook, 30));
        assert_eq!(needed(&behavior), Duration::from_millis(600), "a few messages can show a longer pause");
        behavior.learn(observed(PROOF, Pong::Overtook, 2));
        assert_eq!(needed(&behavior), Duration::from_millis(600));
        behavior.learn(observed(PROOF, Pong::Overtook, 5_000));
        assert_eq!(behavior.quiet_interval(FULL), QuietInterval::full(FULL));
        assert_eq!(behavior.quiet_interval(Duration::from_millis(9)).needed, Duration::from_millis(9));
    }
}
