//! How many sessions begin and end in a minute: a slot for each of the last seconds, counted as the events come.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use presence::{EventKind, UnixSeconds};

/// Sessions of one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMinute {
    pub connects: u64,
    /// Takeovers are ends of sessions, too.
    pub disconnects: u64,
}

const MINUTE_S: u32 = 60;
/// The second that is on is no part of the minute before it.
const SLOTS: usize = 64;

#[derive(Default)]
struct SecondCount {
    /// Which second is counted here.
    second: AtomicU32,
    connects: AtomicU64,
    disconnects: AtomicU64,
}

/// Counted by one thread, read by any.
pub(super) struct Rates([SecondCount; SLOTS]);

impl Default for Rates {
    fn default() -> Self {
        Self(std::array::from_fn(|_| SecondCount::default()))
    }
}

impl Rates {
    pub fn count(&self, kind: EventKind, at: UnixSeconds) {
        let slot = &self.0[at.0 as usize % SLOTS];
        if slot.second.load(Ordering::Relaxed) != at.0 {
            slot.connects.store(0, Ordering::Relaxed);
            slot.disconnects.store(0, Ordering::Relaxed);
            slot.second.store(at.0, Ordering::Relaxed);
        }
        match kind {
            EventKind::Connect => slot.connects.fetch_add(1, Ordering::Relaxed),
            EventKind::Disconnect | EventKind::Takeover => slot.disconnects.fetch_add(1, Ordering::Relaxed),
            EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => 0,
        };
    }

    /// What was counted in the sixty seconds before this one.
    pub fn per_minute(&self, now: UnixSeconds) -> PerMinute {
        let minute = now.0.saturating_sub(MINUTE_S)..now.0;
        let mut sum = PerMinute::default();
        for slot in self.0.iter().filter(|slot| minute.contains(&slot.second.load(Ordering::Relaxed))) {
            sum.connects += slot.connects.load(Ordering::Relaxed);
            sum.disconnects += slot.disconnects.load(Ordering::Relaxed);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_the_sixty_seconds_before() {
        let rates = Rates::default();
        for second in 100..200 {
            rates.count(EventKind::Connect, UnixSeconds(second));
            rates.count(EventKind::Connect, UnixSeconds(second));
            rates.count(EventKind::Disconnect, UnixSeconds(second));
            rates.count(EventKind::Refusal, UnixSeconds(second));
        }
        rates.count(EventKind::Takeover, UnixSeconds(150));
        let at = |second| rates.per_minute(UnixSeconds(second));
        assert_eq!(at(200), PerMinute { connects: 120, disconnects: 61 });
        assert_eq!(at(230), PerMinute { connects: 60, disconnects: 30 });
        assert_eq!(at(260), PerMinute::default());
    }
}
