//! One replay of retained messages: when it is over, and what it amounted to. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

use super::backlog::PassId;

/// Watches one replay from its SUBSCRIBE to its end.
///
/// No broker says when the replay is over. On some the answer to a PINGREQ sent after the SUBSCRIBE comes behind the last
/// retained message; on the platform it overtakes them. So the end is a quiet interval, unless the answer has proven to be
/// an end mark on this broker.
#[derive(Debug)]
pub struct Replay {
    pub pass: PassId,
    /// When it was asked for.
    pub started: Instant,
    quiet_interval: Duration,
    /// Whether a PINGRESP can be taken for the end.
    trust_pong: bool,
    accepted: bool,
    pong: Pong,
    expected: Option<u64>,
    last_retained_at: Instant,
    /// Messages with the retain flag so far.
    pub retained: u64,
    /// Something could not be handed over to the decoder.
    pub lost: bool,
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
    pub fn new(pass: PassId, quiet_interval: Duration, trust_pong: bool, now: Instant) -> Self {
        Self {
            pass,
            started: now,
            quiet_interval,
            trust_pong,
            accepted: false,
            pong: Pong::Awaited,
            expected: None,
            last_retained_at: now,
            retained: 0,
            lost: false,
        }
    }

    /// The SUBACK came: the subscription holds.
    pub fn accept(&mut self, now: Instant) {
        self.accepted = true;
        self.last_retained_at = now;
    }

    /// No more than this many retained messages can come: one for each topic asked for by name.
    pub fn expect(&mut self, retained: u64) {
        self.expected = Some(retained);
    }

    pub fn pong(&mut self) {
        if self.pong == Pong::Awaited {
            self.pong = Pong::After(self.retained);
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
        self.retained += retained;
        self.last_retained_at = now;
    }

    /// When the replay counts as over if no retained message comes before; `None` while the SUBACK is awaited.
    pub fn over_at(&self) -> Option<Instant> {
        let ended_by_pong = self.trust_pong && matches!(self.pong, Pong::After(_));
        let all_here = self.expected.is_some_and(|expected| self.retained >= expected);
        let wait = if ended_by_pong || all_here { Duration::ZERO } else { self.quiet_interval };
        self.accepted.then_some(self.last_retained_at + wait)
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
        let mut replay = Replay::new(PassId(1), QUIET, false, start);
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
            let mut replay = Replay::new(PassId(1), QUIET, trust, start);
            replay.accept(start);
            replay.received(7, start);
            replay.pong();
            assert_eq!((replay.over_at(), replay.pong_shown()), (Some(start + wait), Pong::After(7)));
        }
    }

    #[test]
    fn a_pong_that_is_overtaken_is_no_end_mark() {
        let start = Instant::now();
        let mut replay = Replay::new(PassId(1), QUIET, true, start);
        replay.accept(start);
        replay.pong();
        replay.received(1, start);
        assert_eq!((replay.pong_shown(), replay.over_at()), (Pong::Overtook, Some(start + QUIET)));
    }
}
