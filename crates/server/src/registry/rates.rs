//! How many sessions begin and end in a minute: a slot for each of the last seconds, counted as the events come.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use formats::Cause;
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
pub(super) struct Rates {
    seconds: [SecondCount; SLOTS],
    /// Ends of sessions since the start, by the place of the cause.
    disconnects: [AtomicU64; Cause::PLACES],
}

impl Default for Rates {
    fn default() -> Self {
        let disconnects = std::array::from_fn(|_| AtomicU64::new(0));
        Self { seconds: std::array::from_fn(|_| SecondCount::default()), disconnects }
    }
}

impl Rates {
    /// Counts an event; `cause` is the place of its cause, if it is an end.
    pub fn count(&self, kind: EventKind, cause: usize, at: UnixSeconds) {
        let slot = &self.seconds[at.0 as usize % SLOTS];
        if slot.second.load(Ordering::Relaxed) != at.0 {
            slot.connects.store(0, Ordering::Relaxed);
            slot.disconnects.store(0, Ordering::Relaxed);
            slot.second.store(at.0, Ordering::Relaxed);
        }
        match kind {
            EventKind::Connect => slot.connects.fetch_add(1, Ordering::Relaxed),
            EventKind::Disconnect | EventKind::Takeover => {
                self.disconnects[cause].fetch_add(1, Ordering::Relaxed);
                slot.disconnects.fetch_add(1, Ordering::Relaxed)
            }
            EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => 0,
        };
    }

    /// Ends of sessions since the start, by the word for their cause.
    pub fn disconnects_by_cause(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Cause::words().zip(self.disconnects.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// What was counted in the sixty seconds before this one.
    pub fn per_minute(&self, now: UnixSeconds) -> PerMinute {
        let minute = now.0.saturating_sub(MINUTE_S)..now.0;
        let mut sum = PerMinute::default();
        for slot in self.seconds.iter().filter(|slot| minute.contains(&slot.second.load(Ordering::Relaxed))) {
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
            rates.count(EventKind::Connect, 0, UnixSeconds(second));
            rates.count(EventKind::Connect, 0, UnixSeconds(second));
            rates.count(EventKind::Disconnect, Cause::place(Some(Cause::Connection)), UnixSeconds(second));
            rates.count(EventKind::Refusal, 0, UnixSeconds(second));
        }
        rates.count(EventKind::Takeover, Cause::place(Some(Cause::Takeover)), UnixSeconds(150));
        rates.count(EventKind::Disconnect, Cause::place(None), UnixSeconds(150));
        let by_cause: Vec<_> = rates.disconnects_by_cause().filter(|(_, count)| *count > 0).collect();
        assert_eq!(by_cause, [("connection", 100), ("takeover", 1), ("unknown", 1)]);
        let at = |second| rates.per_minute(UnixSeconds(second));
        assert_eq!(at(200), PerMinute { connects: 120, disconnects: 62 });
        assert_eq!(at(230), PerMinute { connects: 60, disconnects: 30 });
        assert_eq!(at(260), PerMinute::default());
    }
}
