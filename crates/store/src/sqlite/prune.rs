//! Dropping events: those that are too old, and those beyond the number that a device may have. Bounded in time, because no batch
//! is written meanwhile.

use std::time::{Duration, Instant};

use rusqlite::params;

use super::write::{WriteError, Writing, signed};
use crate::PRUNING_TIME;
use presence::UnixSeconds;

/// Events that one statement of a pruning visits: some tens of milliseconds.
const PRUNED_AT_ONCE: u64 = 20_000;

/// Events beside the number of new ones that one pruning visits, so that it comes round when nothing is new, too.
const PRUNED_MORE: u64 = 50_000;

/// How far the events have been visited.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// Up to which event the last pruning has come.
    to: u64,
    /// The newest event at the last pruning.
    pub newest: u64,
}

impl Writing {
    /// Drops events received before that time, and those beyond the number that a device may have as far as it comes: it
    /// visits twice as many as are new, so that the file stays bounded whatever comes.
    /// Returns how many were dropped because of that time.
    pub fn prune(&mut self, received_before: UnixSeconds) -> Result<u64, WriteError> {
        let expired = self.drop_expired(received_before, PRUNING_TIME)?;
        let newest = self.counters.sequence;
        let mut left = (newest - self.pruned.newest) * 2 + PRUNED_MORE;
        self.pruned.newest = newest;
        while left > 0 {
            let to = self.pruned.to + PRUNED_AT_ONCE.min(left);
            self.connection
                .prepare_cached(
                    "DELETE FROM event WHERE sequence > ?1 AND sequence <= ?2 AND number <= coalesce(
                     (SELECT events FROM device WHERE row = event.device) - ?3, number)",
                )?
                .execute(params![
                    signed(self.pruned.to),
                    signed(to),
                    signed(self.retention.per_device as u64)
                ])?;
            left -= to - self.pruned.to;
            self.pruned.to = to;
            if to >= newest {
                self.pruned.to = 0;
                break;
            }
        }
        Ok(expired)
    }

    fn drop_expired(&mut self, received_before: UnixSeconds, time: Duration) -> Result<u64, WriteError> {
        let began_at = Instant::now();
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM event WHERE received_at < ?1 AND sequence <= (SELECT sequence FROM event ORDER BY sequence LIMIT 1) + ?2",
        )?;
        let mut expired = 0;
        loop {
            let deleted = delete.execute(params![received_before.0, signed(PRUNED_AT_ONCE)])?;
            expired += deleted as u64;
            if deleted == 0 || began_at.elapsed() >= time {
                return Ok(expired);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Retention;

    #[test]
    fn a_pruning_ends_when_its_time_is_over_and_the_next_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::File::create(&path).unwrap();
        let Ok(mut writing) = Writing::open(&path, Retention { per_device: 9 }) else { panic!("it is new") };
        let events =
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 50000)
            INSERT INTO event (sequence, device, number, kind, close_code, received_at, payload)
            SELECT n, 1, n, 1, 0, 1, x'' FROM number";
        writing.connection.execute_batch(events).unwrap();
        let first = writing.drop_expired(UnixSeconds(2), Duration::ZERO).unwrap();
        assert_eq!(first, PRUNED_AT_ONCE + 1, "one statement");
        let rest = writing.drop_expired(UnixSeconds(2), Duration::MAX).unwrap();
        assert_eq!(first + rest, 50_000);
    }
}
