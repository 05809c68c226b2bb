//! One replay of retained messages: when it is over, and what it amounted to. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::backlog::PassId;
use super::broker_behavior::{PROOF, silence_after};

/// Watches one replay from its SUBSCRIBE to its end.
///
/// No broker says when the replay is over. On some the answer to a PINGREQ sent after the SUBSCRIBE comes behind the last
/// retained message; on the platform it overtakes them. So the end is a quiet interval, unless the answer has proven to be
/// an end mark on this broker. A link that stands still is quiet, too, so the broker must answer a PINGREQ after the quiet
/// interval before the replay counts as over.
#[derive(Debug)]
pub struct Replay {
    pub pass: PassId,
    /// When it was asked for.
    pub started: Instant,
    quiet: QuietInterval,
    /// Whether a PINGRESP can be taken for the end.
    trust_pong: bool,
    accepted: bool,
    pong: Pong,
    silence: QuietBroker,
    expected: Option<u64>,
    last_retained_at: Instant,
    longest_pause: Duration,
    /// Messages with the retain flag so far.
    pub retained: u64,
    /// Something could not be handed over to the decoder.
    pub lost: bool,
    /// Its end has been reported, and it is watched for longer.
    is_reported: bool,
}

/// How long silence has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuietInterval {
    /// As the broker was seen to send; longer once this replay pauses for longer.
    pub needed: Duration,
    /// Where the answer to a PINGREQ came behind everything, as on a broker that answers in order: that a long pause follows just then
    /// is unlikely.
    pub behind_pong: Duration,
    /// As the operator has set it: it is never longer.
    pub full: Duration,
    /// As long as fewer have come, only `full` ends the replay: how long a broker takes to begin says nothing of how it goes on.
    pub least_retained: u64,
}

impl QuietInterval {
    pub fn full(full: Duration) -> Self {
        Self { needed: full, behind_pong: full, full, least_retained: 1 }
    }
}

/// Whether the broker was there while nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuietBroker {
    Unexplained,
    /// It was asked.
    Asked,
    Answered,
}

/// What follows from [`Replay::over_at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStep {
    /// The replay is over.
    Over,
    /// The broker must be sent a PINGREQ, and its answer tells.
    Ping,
}

/// What the PINGRESP has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pong {
    Awaited,
    /// Came after this many retained messages, and none has come since.
    After(u64),
    /// Retained messages came behind it: it is no end mark on this broker.
    Overtook,
}

impl Replay {
    pub fn new(pass: PassId, quiet: QuietInterval, trust_pong: bool, now: Instant) -> Self {
        Self {
            pass,
            started: now,
            quiet,
            trust_pong,
            accepted: false,
            pong: Pong::Awaited,
            silence: QuietBroker::Unexplained,
            expected: None,
            last_retained_at: now,
            longest_pause: Duration::ZERO,
            retained: 0,
            lost: false,
            is_reported: false,
        }
    }

    /// The SUBACK came: the subscription holds.
    pub fn accept(&mut self, now: Instant) {
        self.accepted = true;
        self.last_retained_at = now;
    }

    /// Whether the SUBACK has come.
    pub fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// No more than this many retained messages can come: one for each topic asked for by name.
    pub fn expect(&mut self, retained: u64) {
        self.expected = Some(retained);
    }

    /// A PINGRESP came; so many PINGREQs are still unanswered.
    pub fn pong(&mut self, unanswered: usize) {
        if self.pong == Pong::Awaited {
            self.pong = Pong::After(self.retained);
        }
        if self.silence == QuietBroker::Asked && unanswered == 0 {
            self.silence = QuietBroker::Answered;
        }
    }

    /// Counts messages with the retain flag.
    pub fn received(&mut self, retained: u64, now: Instant) {
        if retained == 0 {
            return;
        }
        if let Pong::After(_) = self.pong {
            self.pong = Pong::Overtook;
        }
        if self.retained > 0 {
            self.longest_pause = self.longest_pause.max(now - self.last_retained_at);
            self.quiet.needed = self.quiet.needed.max(silence_after(self.longest_pause)).min(self.quiet.full);
        }
        self.retained += retained;
        self.last_retained_at = now;
        self.silence = QuietBroker::Unexplained;
    }

    /// When [`Replay::due`] is to be asked if no retained message comes before; `None` while the broker's answer is awaited.
    pub fn over_at(&self) -> Option<Instant> {
        let wait = if self.has_end_mark() { Duration::ZERO } else { self.silence_needed() };
        let is_awaited = self.silence == QuietBroker::Asked && !self.has_end_mark();
        (self.accepted && !is_awaited).then_some(self.last_retained_at + wait)
    }

    /// What is due at [`Replay::over_at`].
    pub fn due(&mut self) -> ReplayStep {
        match self.silence {
            QuietBroker::Unexplained if !self.has_end_mark() => {
                self.silence = QuietBroker::Asked;
                ReplayStep::Ping
            }
            QuietBroker::Unexplained | QuietBroker::Asked | QuietBroker::Answered => ReplayStep::Over,
        }
    }

    fn has_end_mark(&self) -> bool {
        let ended_by_pong = self.trust_pong && matches!(self.pong, Pong::After(_));
        let all_here = self.expected.is_some_and(|expected| self.retained >= expected);
        ended_by_pong || all_here
    }

    /// The silence that ended it, if it was shorter than the operator has set: two replays that end so tell as much as one that
    /// does not.
    pub fn early_silence(&self) -> Option<Duration> {
        let is_early = !self.has_end_mark() && self.silence_needed() < self.quiet.full;
        is_early.then(|| self.silence_needed())
    }

    fn silence_needed(&self) -> Duration {
        if self.retained < self.quiet.least_retained {
            self.quiet.full
        } else if self.is_fenced() && self.retained >= PROOF {
            self.quiet.needed.min(self.quiet.behind_pong)
        } else {
            self.quiet.needed
        }
    }

    /// Whether the answer to the first PINGREQ came behind everything so far.
    pub fn is_fenced(&self) -> bool {
        self.pong == Pong::After(self.retained)
    }

    /// Its end has been reported early: from now on only silence as long as the operator has set is the end.
    pub fn watch_on(&mut self) {
        self.is_reported = true;
        self.quiet = QuietInterval::full(self.quiet.full);
        self.silence = QuietBroker::Unexplained;
    }

    pub fn is_reported(&self) -> bool {
        self.is_reported
    }

    /// Between two retained messages.
    pub fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// What the PINGRESP has shown.
    pub fn pong_shown(&self) -> Pong {
        self.pong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(2);

    #[test]
    fn silence_after_the_suback_ends_a_replay_and_a_retained_message_prolongs_it() {
        let start = Instant::now();
        let mut replay = Replay::new(PassId(1), QuietInterval::full(QUIET), false, start);
        replay.received(3, start);
        assert_eq!(replay.over_at(), None, "messages can come before the SUBACK, the end cannot");
        replay.accept(start);
        assert_eq!(replay.over_at(), Some(start + QUIET));
        let later = start + Duration::from_secs(1);
        replay.received(1, later);
        replay.received(0, later + QUIET);
        assert_eq!((replay.over_at(), replay.retained), (Some(later + QUIET), 4));
    }

    #[test]
    fn a_pong_ends_a_replay_only_where_it_is_trusted() {
        let start = Instant::now();
        for (trust, wait) in [(true, Duration::ZERO), (false, QUIET)] {
            let mut replay = Replay::new(PassId(1), QuietInterval::full(QUIET), trust, start);
            replay.accept(start);
            replay.received(7, start);
            replay.pong(0);
            assert_eq!((replay.over_at(), replay.pong_shown()), (Some(start + wait), Pong::After(7)));
        }
    }

    #[test]
    fn silence_ends_a_replay_only_if_the_broker_was_there_meanwhile() {
        let start = Instant::now();
        let mut replay = Replay::new(PassId(1), QuietInterval::full(QUIET), false, start);
        replay.accept(start);
        replay.received(7, start);
        assert_eq!(replay.due(), ReplayStep::Ping);
        assert_eq!(replay.over_at(), None, "the link may stand still");
        replay.pong(1);
        assert_eq!(replay.over_at(), None, "that was the answer to an earlier PINGREQ");
        // It stood still: the rest of the replay comes now, and another silence must be explained.
        replay.received(3, start + QUIET * 5);
        replay.pong(0);
        assert_eq!((replay.over_at(), replay.due()), (Some(start + QUIET * 6), ReplayStep::Ping));
        replay.pong(0);
        assert_eq!((replay.over_at(), replay.due()), (Some(start + QUIET * 6), ReplayStep::Over));
    }

    #[test]
    fn a_replay_that_pauses_is_waited_for_longer() {
        let start = Instant::now();
        let quiet = QuietInterval { needed: QUIET / 8, ..QuietInterval::full(QUIET) };
        let mut replay = Replay::new(PassId(1), quiet, false, start);
        replay.accept(start);
        assert_eq!((replay.over_at(), replay.early_silence()), (Some(start + QUIET), None));
        let begun = start + QUIET / 2;
        replay.received(1, begun);
        assert_eq!((replay.over_at(), replay.early_silence()), (Some(begun + QUIET / 8), Some(QUIET / 8)));
        let later = begun + QUIET / 40;
        replay.received(1, later);
        assert_eq!((replay.over_at(), replay.early_silence()), (Some(later + QUIET / 2), Some(QUIET / 2)));
        let much_later = later + QUIET / 8;
        replay.received(1, much_later);
        assert_eq!((replay.over_at(), replay.early_silence()), (Some(much_later + QUIET), None));
    }

    #[test]
    fn a_replay_that_seems_over_is_watched_for_as_long_as_the_operator_has_set() {
        let start = Instant::now();
        let quiet = QuietInterval { needed: QUIET / 8, least_retained: 100, ..QuietInterval::full(QUIET) };
        let mut replay = Replay::new(PassId(1), quiet, false, start);
        replay.accept(start);
        replay.received(99, start);
        assert_eq!(
            (replay.over_at(), replay.early_silence()),
            (Some(start + QUIET), None),
            "too few to tell"
        );
        replay.received(1, start);
        assert_eq!(replay.over_at(), Some(start + QUIET / 8));
        assert_eq!(replay.due(), ReplayStep::Ping);
        replay.pong(0);
        assert_eq!((replay.due(), replay.early_silence()), (ReplayStep::Over, Some(QUIET / 8)));
        replay.watch_on();
        assert_eq!((replay.over_at(), replay.early_silence()), (Some(start + QUIET), None));
        let later = start + QUIET / 2;
        replay.received(1, later);
        assert_eq!((replay.over_at(), replay.longest_pause()), (Some(later + QUIET), QUIET / 2));
        assert_eq!(replay.due(), ReplayStep::Ping, "the broker is asked again");
        replay.pong(0);
        assert_eq!((replay.due(), replay.early_silence()), (ReplayStep::Over, None));
    }

    #[test]
    fn silence_behind_the_pong_may_be_shorter() {
        let start = Instant::now();
        let quiet = QuietInterval { needed: QUIET / 2, behind_pong: QUIET / 8, ..QuietInterval::full(QUIET) };
        let mut replay = Replay::new(PassId(1), quiet, false, start);
        replay.accept(start);
        replay.received(PROOF, start);
        assert_eq!(replay.over_at(), Some(start + QUIET / 2));
        replay.pong(0);
        assert_eq!((replay.over_at(), replay.early_silence()), (Some(start + QUIET / 8), Some(QUIET / 8)));
        replay.received(1, start);
        assert_eq!(replay.over_at(), Some(start + QUIET / 2), "it was not the last");
    }

    #[test]
    fn an_overtaken_pong_does_not_end_the_replay() {
        let start = Instant::now();
        let mut replay = Replay::new(PassId(1), QuietInterval::full(QUIET), true, start);
        replay.accept(start);
        replay.pong(0);
        replay.received(1, start);
        assert_eq!((replay.pong_shown(), replay.over_at()), (Pong::Overtook, Some(start + QUIET)));
    }
}
