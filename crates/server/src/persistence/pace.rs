//! How soon the writer writes what has changed. A file is written at a steady pace. Where other instances wait for what is written,
//! the pace follows the load: a store that takes a batch at once is given the next one soon. Pure: time is an argument.

use std::time::Duration;

/// The shortest time from the end of a flush to the next one.
const SHORTEST: Duration = Duration::from_millis(10);
/// How often it is looked whether something has changed since, and whether the decoder still goes first.
pub(super) const LOOK: Duration = Duration::from_millis(5);
/// The writer waits as long as the last flush took, so that the store has time for others. If it waited three times as long, the
/// flushes would grow at 10,000 changes a second, until they came no more often than the flush interval asks.
/// After a flush of fewer rows than these it waits less, in proportion: the store has little work with them, and the flush takes its
/// time because it waits for a disk and a network.
const FULL_PAUSE_ROWS: u32 = 256;

/// While more bytes of packets wait for the decoder, it goes first: it takes some tenth of a second for them.
pub(super) const DECODER_FIRST_BYTES: i64 = 8 << 20;

/// Who waits for what the writer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Followers {
    None,
    /// Other instances.
    Instances,
}

/// The time between flushes.
#[derive(Clone, Copy, Debug)]
pub(super) struct FlushPace {
    /// However slow the store is.
    longest: Duration,
    last_took: Duration,
    last_rows: u32,
}

impl FlushPace {
    pub fn new(flush_interval: Duration) -> Self {
        // Half, because a change may come just after a flush has begun, and writing takes its time.
        Self { longest: flush_interval / 2, last_took: Duration::ZERO, last_rows: 0 }
    }

    /// A flush of so many devices, or of so many events where those were more, has ended.
    pub fn flushed(&mut self, took: Duration, rows: u64) {
        self.last_took = took;
        self.last_rows = u32::try_from(rows).unwrap_or(u32::MAX).min(FULL_PAUSE_ROWS);
    }

    /// How long to wait before looking whether a flush is due. The last one ended so long ago.
    pub fn look_after(&self, followers: Followers, ended: Duration) -> Duration {
        let left = self.pause(followers).saturating_sub(ended);
        match followers {
            Followers::None => self.longest,
            Followers::Instances if left.is_zero() => LOOK.min(self.longest),
            Followers::Instances => left,
        }
    }

    /// From the end of the last flush to the next one, if something has changed.
    fn pause(&self, followers: Followers) -> Duration {
        match followers {
            Followers::None => self.longest,
            Followers::Instances => {
                let pause = self.last_took * self.last_rows / FULL_PAUSE_ROWS;
                pause.max(SHORTEST).min(self.longest)
            }
        }
    }

    /// How long the decoder may go first between two batches, so that one of them is written in each flush interval. Other
    /// instances do not wait for our decoder.
    pub fn decoder_first(&self, followers: Followers) -> Duration {
        match followers {
            Followers::None => self.longest,
            Followers::Instances => Duration::ZERO,
        }
    }

    /// Whether it is time for a flush. `waits`: something has changed since the last one, which ended so long ago.
    pub fn is_due(&self, followers: Followers, waits: bool, ended: Duration) -> bool {
        ended >= if waits { self.pause(followers) } else { self.longest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(100);

    #[test]
    fn a_file_is_written_at_a_steady_pace() {
        let mut pace = FlushPace::new(LONGEST * 2);
        pace.flushed(Duration::from_millis(1), 1);
        assert_eq!(pace.look_after(Followers::None, Duration::ZERO), LONGEST);
        assert!(!pace.is_due(Followers::None, true, LONGEST / 2));
        assert!(pace.is_due(Followers::None, false, LONGEST));
        assert_eq!(pace.decoder_first(Followers::None), LONGEST);
    }

    #[test]
    fn other_instances_wait_the_less_the_faster_the_store_is() {
        let mut pace = FlushPace::new(LONGEST * 2);
        for (took_ms, pause_ms) in [(0, 10), (3, 10), (24, 24), (90, 90), (120, 100), (5_000, 100)] {
            pace.flushed(Duration::from_millis(took_ms), 1_000);
            let pause = Duration::from_millis(pause_ms);
            assert!(pace.is_due(Followers::Instances, true, pause), "{took_ms}");
            assert!(!pace.is_due(Followers::Instances, true, pause - Duration::from_millis(1)), "{took_ms}");
            assert_eq!(
                pace.look_after(Followers::Instances, Duration::from_millis(4)),
                pause - Duration::from_millis(4)
            );
            assert_eq!(pace.look_after(Followers::Instances, pause), LOOK);
            assert!(!pace.is_due(Followers::Instances, false, LONGEST - Duration::from_millis(1)));
            assert!(
                pace.is_due(Followers::Instances, false, LONGEST),
                "what is too old is dropped all the same"
            );
        }
        for (devices, pause_ms) in [(0, 10), (16, 10), (128, 45), (256, 90), (100_000, 90)] {
            pace.flushed(Duration::from_millis(90), devices);
            assert_eq!(pace.pause(Followers::Instances), Duration::from_millis(pause_ms), "{devices}");
        }
        assert_eq!(pace.decoder_first(Followers::Instances), Duration::ZERO);
        assert_eq!(FlushPace::new(LOOK).look_after(Followers::Instances, LONGEST), LOOK / 2);
    }
}
