//! Since when the link to the broker is down, and which answers may be out of date because of it. Readers look at atomics
//! only; changes are made under a lock, one after the other. Pure but for that: the time is an argument.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::freshness::{Freshness, RoundNumber};

/// The source looks at the link every second. If it has not for so long, the process or its thread stood still, for instance
/// because it was stopped or the machine slept, and nobody knows whether the broker is still there. A machine that is merely
/// busy lets a thread wait for a second or two.
const UNWATCHED_AFTER: Duration = Duration::from_secs(5);

/// [`LinkFreshness::checked_at_ms`] before the source has looked at a link for the first time.
const NEVER: u64 = u64::MAX;

/// What follows from the state of the link for the answers.
#[derive(Debug)]
pub(super) struct LinkFreshness {
    /// A [`Freshness`], packed by [`pack`].
    state: AtomicU64,
    /// The link may be dead: nothing has come for too long.
    doubted: AtomicBool,
    /// When the source last looked at the link, in milliseconds since the machine started.
    checked_at_ms: AtomicU64,
    /// When the link was lost, in time since the machine started, for as long as answers may be out of date. `None` if they
    /// are not, and before the first link.
    lost_at: Mutex<Option<Duration>>,
}

impl Default for LinkFreshness {
    /// As if a link had been lost: what a store has kept is old until the broker confirms it.
    fn default() -> Self {
        Self {
            state: AtomicU64::new(pack(Freshness::Unconfirmed)),
            doubted: AtomicBool::new(false),
            checked_at_ms: AtomicU64::new(NEVER),
            lost_at: Mutex::default(),
        }
    }
}

impl LinkFreshness {
    /// Which answers may be out of date now.
    pub fn freshness(&self, now: Duration) -> Freshness {
        // In the opposite order of the writes: a reader that looks at the link after a pause doubts it first.
        let checked_at_ms = self.checked_at_ms.load(Ordering::Acquire);
        let unwatched = checked_at_ms != NEVER && is_unwatched(checked_at_ms, now);
        if unwatched || self.doubted.load(Ordering::Acquire) {
            return Freshness::Unconfirmed;
        }
        unpack(self.state.load(Ordering::Acquire))
    }

    /// When the link was lost, as long as answers may be out of date because of it.
    pub fn lost_at(&self, now: Duration) -> Option<Duration> {
        let checked_at_ms = self.checked_at_ms.load(Ordering::Acquire);
        let unwatched = checked_at_ms != NEVER && is_unwatched(checked_at_ms, now);
        (*self.lost_at.lock()).or(unwatched.then_some(Duration::from_millis(checked_at_ms)))
    }

    /// The link is down. `since`: the last sign of life of the broker.
    pub fn lose(&self, since: Duration) {
        let mut lost_at = self.lost_at.lock();
        let before = unpack(self.state.swap(pack(Freshness::Unconfirmed), Ordering::AcqRel));
        self.checked_at_ms.store(NEVER, Ordering::Release);
        self.doubted.store(false, Ordering::Release);
        match before {
            // Before the first link nothing was lost.
            Freshness::Unconfirmed => {}
            // What was not heard of yet is out of date since the earlier loss.
            Freshness::Current | Freshness::ReadingAgain { .. } => {
                lost_at.get_or_insert(since);
            }
        }
    }

    /// The link is there again.
    pub fn restore(&self) {
        let _lost_at = self.lost_at.lock();
        if unpack(self.state.load(Ordering::Acquire)) == Freshness::Unconfirmed {
            let again = Freshness::ReadingAgain { from: RoundNumber::NONE, now: RoundNumber::NONE };
            self.state.store(pack(again), Ordering::Release);
        }
    }

    /// A round begins. What is heard of from now on came over the link that there is.
    pub fn round_begun(&self, number: RoundNumber) {
        let _lost_at = self.lost_at.lock();
        let begun = match unpack(self.state.load(Ordering::Acquire)) {
            Freshness::ReadingAgain { from: RoundNumber::NONE, .. } => {
                Freshness::ReadingAgain { from: number, now: number }
            }
            Freshness::ReadingAgain { from, .. } => Freshness::ReadingAgain { from, now: number },
            same @ (Freshness::Current | Freshness::Unconfirmed) => same,
        };
        self.state.store(pack(begun), Ordering::Release);
    }

    /// A round has ended that read everything, as far as is known. It settles what it has not heard of, if it began after
    /// the link was lost.
    pub fn round_ended(&self, number: RoundNumber) {
        self.settle(|freshness| match freshness {
            Freshness::ReadingAgain { from, now } => number.is_between(from, now),
            Freshness::Current | Freshness::Unconfirmed => false,
        });
    }

    /// Others have read everything again, and all of it is here.
    pub fn others_have_read(&self) {
        self.settle(|freshness| match freshness {
            Freshness::ReadingAgain { .. } => true,
            Freshness::Current | Freshness::Unconfirmed => false,
        });
    }

    fn settle(&self, is_settled: impl FnOnce(Freshness) -> bool) {
        let mut lost_at = self.lost_at.lock();
        if is_settled(unpack(self.state.load(Ordering::Acquire))) {
            self.state.store(pack(Freshness::Current), Ordering::Release);
            if !self.doubted.load(Ordering::Acquire) {
                *lost_at = None;
            }
        }
    }

    /// The source looks at the link. Returns since when nobody had, if that is too long ago.
    pub fn check(&self, now: Duration) -> Option<Duration> {
        let checked_at_ms = self.checked_at_ms.load(Ordering::Acquire);
        let unwatched = checked_at_ms != NEVER && is_unwatched(checked_at_ms, now);
        let unwatched_since = unwatched.then_some(Duration::from_millis(checked_at_ms));
        if let Some(since) = unwatched_since {
            self.doubt(since);
        }
        self.checked_at_ms.store(millis(now), Ordering::Release);
        unwatched_since
    }

    /// The link may be dead: the broker has given no sign of life since then.
    pub fn doubt(&self, since: Duration) {
        let mut lost_at = self.lost_at.lock();
        self.doubted.store(true, Ordering::Release);
        lost_at.get_or_insert(since);
    }

    /// The broker has given a sign of life: nothing was lost.
    pub fn trust(&self) {
        let mut lost_at = self.lost_at.lock();
        self.doubted.store(false, Ordering::Release);
        if unpack(self.state.load(Ordering::Acquire)) == Freshness::Current {
            *lost_at = None;
        }
    }
}

fn is_unwatched(checked_at_ms: u64, now: Duration) -> bool {
    millis(now).saturating_sub(checked_at_ms) >= millis(UNWATCHED_AFTER)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(NEVER - 1)
}

const KIND_BITS: u32 = 32;

/// All of it in one value, so that a reader needs no lock to see it whole.
fn pack(freshness: Freshness) -> u64 {
    match freshness {
        Freshness::Current => 0,
        Freshness::Unconfirmed => 1 << KIND_BITS,
        Freshness::ReadingAgain { from, now } => {
            2 << KIND_BITS | u64::from(from.to_bits()) << 16 | u64::from(now.to_bits())
        }
    }
}

fn unpack(packed: u64) -> Freshness {
    let (from, now) = ((packed >> 16) as u16, packed as u16);
    match packed >> KIND_BITS {
        0 => Freshness::Current,
        1 => Freshness::Unconfirmed,
        _ => Freshness::ReadingAgain { from: RoundNumber::from_bits(from), now: RoundNumber::from_bits(now) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn round(bits: u16) -> RoundNumber {
        RoundNumber::from_bits(bits)
    }

    /// A link whose first round, number 1, has ended.
    fn settled() -> LinkFreshness {
        let link = LinkFreshness::default();
        link.restore();
        link.round_begun(round(1));
        link.round_ended(round(1));
        assert_eq!(link.freshness(at(1)), Freshness::Current);
        link
    }

    #[test]
    fn restored_devices_are_stale_until_the_first_round_has_ended() {
        let link = LinkFreshness::default();
        assert_eq!(link.freshness(at(0)), Freshness::Unconfirmed);
        link.restore();
        link.round_begun(round(1));
        assert!(link.freshness(at(0)).is_stale(RoundNumber::NONE));
        assert!(!link.freshness(at(0)).is_stale(round(1)));
        link.round_ended(round(1));
        assert_eq!((link.freshness(at(0)), link.lost_at(at(0))), (Freshness::Current, None));
    }

    #[test]
    fn after_a_loss_only_the_end_of_a_round_that_began_after_it_settles_all() {
        let link = settled();
        link.lose(at(10));
        assert_eq!(link.freshness(at(11)), Freshness::Unconfirmed);
        // A round that was under way when the link was lost ends late.
        link.round_ended(round(1));
        link.restore();
        link.round_ended(round(1));
        assert!(link.freshness(at(12)).is_stale(round(1)));
        link.round_begun(round(2));
        link.round_ended(round(1));
        assert!(link.freshness(at(13)).is_stale(round(1)) && !link.freshness(at(13)).is_stale(round(2)));
        assert_eq!(link.lost_at(at(13)), Some(at(10)));
        link.round_ended(round(2));
        assert_eq!((link.freshness(at(14)), link.lost_at(at(14))), (Freshness::Current, None));
    }

    #[test]
    fn a_second_link_loss_makes_confirmed_devices_stale_again() {
        let link = settled();
        link.lose(at(10));
        link.restore();
        link.round_begun(round(2));
        link.lose(at(20));
        link.restore();
        assert!(link.freshness(at(21)).is_stale(round(2)));
        link.round_begun(round(3));
        assert!(link.freshness(at(22)).is_stale(round(2)));
        link.round_ended(round(2));
        assert!(link.freshness(at(22)).is_stale(round(2)), "it began before the second loss");
        assert_eq!(link.lost_at(at(22)), Some(at(10)), "some devices were not heard of since the first");
        // A round that is broken off is followed by another; what either heard of counts.
        link.round_begun(round(4));
        assert!(!link.freshness(at(23)).is_stale(round(3)) && !link.freshness(at(23)).is_stale(round(4)));
        link.round_ended(round(4));
        assert_eq!(link.freshness(at(24)), Freshness::Current);
    }

    #[test]
    fn a_link_that_nobody_has_looked_at_is_doubted_until_the_broker_answers() {
        let link = settled();
        assert_eq!(link.check(at(100)), None);
        assert_eq!(link.freshness(at(102)), Freshness::Current);
        // The process stands still for an hour, and a request is answered before the source runs.
        assert_eq!(link.freshness(at(3_700)), Freshness::Unconfirmed);
        assert_eq!(link.lost_at(at(3_700)), Some(at(100)));
        assert_eq!(link.check(at(3_700)), Some(at(100)));
        assert_eq!(link.freshness(at(3_700)), Freshness::Unconfirmed, "nothing has come since");
        link.trust();
        assert_eq!((link.freshness(at(3_701)), link.lost_at(at(3_701))), (Freshness::Current, None));
    }

    #[test]
    fn a_dead_link_counts_as_lost_since_the_last_sign_of_life() {
        let link = settled();
        link.check(at(100));
        link.doubt(at(70));
        link.check(at(101));
        assert_eq!(link.freshness(at(101)), Freshness::Unconfirmed);
        link.lose(at(99));
        link.restore();
        assert_eq!(link.lost_at(at(110)), Some(at(70)));
        // A link that is trusted again while statuses are read again settles nothing.
        link.doubt(at(105));
        link.trust();
        assert!(link.freshness(at(110)).is_any_stale());
        assert_eq!(link.lost_at(at(110)), Some(at(70)));
    }

    #[test]
    fn others_settle_only_a_link_that_is_there() {
        let link = settled();
        link.lose(at(10));
        link.others_have_read();
        assert_eq!(link.freshness(at(11)), Freshness::Unconfirmed);
        link.restore();
        link.others_have_read();
        assert_eq!(link.freshness(at(12)), Freshness::Current);
    }

    #[test]
    fn every_state_comes_back_as_it_was_packed() {
        let again = Freshness::ReadingAgain { from: round(u16::MAX), now: round(3) };
        for freshness in [Freshness::Current, Freshness::Unconfirmed, again] {
            assert_eq!(unpack(pack(freshness)), freshness);
        }
    }
}
