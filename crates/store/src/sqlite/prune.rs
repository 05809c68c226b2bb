//! Dropping events, step by step: those that are too old, and those beyond the number that a device may have.

use rusqlite::params;

use super::write::{WriteError, Writing, signed};
use crate::PruneStep;
use presence::UnixSeconds;

/// Events that one step visits: some tens of milliseconds, in which no batch is written.
const PRUNED_AT_ONCE: u64 = 20_000;

/// Events beside the number of new ones that one pruning visits, so that it comes round when nothing is new, too.
const PRUNED_MORE: u64 = 50_000;

/// How far the events have been visited for those beyond the number that a device may have.
#[derive(Debug, Default)]
pub(super) struct PruneProgress {
    /// Up to which event.
    to: u64,
    /// The newest event when the last pruning began.
    pub newest: u64,
    /// How many the pruning that goes on is still to visit; 0: there is none.
    left: u64,
}

impl Writing {
    /// Takes one step of a pruning: drops events received before that time, and once there is none, some of those beyond the number
    /// that a device may have. Of these a pruning visits twice as many as are new, so that the file stays bounded whatever
    /// comes.
    pub fn prune(&mut self, received_before: UnixSeconds) -> Result<PruneStep, WriteError> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM event WHERE received_at < ?1 AND sequence <= (SELECT sequence FROM event ORDER BY sequence LIMIT 1) + ?2",
        )?;
        let expired = delete.execute(params![received_before.0, signed(PRUNED_AT_ONCE)])? as u64;
        if expired > 0 {
            return Ok(PruneStep { expired, is_all: false });
        }
        let newest = self.counters.sequence;
        if self.pruned.left == 0 {
            self.pruned.left = (newest - self.pruned.newest) * 2 + PRUNED_MORE;
            self.pruned.newest = newest;
        }
        let step = PRUNED_AT_ONCE.min(self.pruned.left);
        let to = self.pruned.to + step;
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM event WHERE sequence > ?1 AND sequence <= ?2 AND number <= coalesce(
             (SELECT events FROM device WHERE row = event.device) - ?3, number)",
        )?;
        delete.execute(params![
            signed(self.pruned.to),
            signed(to),
            signed(self.retention.per_device as u64)
        ])?;
        let has_come_round = to >= newest;
        self.pruned.to = if has_come_round { 0 } else { to };
        self.pruned.left = if has_come_round { 0 } else { self.pruned.left - step };
        Ok(PruneStep { expired, is_all: self.pruned.left == 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Retention;

    #[test]
    fn a_pruning_of_many_events_takes_several_steps() {
        const EVENTS: u64 = 50_000;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::File::create(&path).unwrap();
        let Ok(mut writing) = Writing::open(&path, Retention { per_device: 9 }) else { panic!("it is new") };
        let events =
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 50000)
            INSERT INTO event (sequence, device, number, kind, close_code, received_at, payload)
            SELECT n, 1, n, 1, 0, n > 30000, x'' FROM number";
        writing.connection.execute_batch(events).unwrap();
        writing.counters.sequence = EVENTS;
        // The first 30,000 are too old; of the others a device that nobody knows may have none.
        let mut steps = Vec::new();
        while steps.last().is_none_or(|step: &PruneStep| !step.is_all) {
            steps.push(writing.prune(UnixSeconds(1)).unwrap());
        }
        let expired: Vec<u64> = steps.iter().map(|step| step.expired).collect();
        assert_eq!(expired, [PRUNED_AT_ONCE + 1, 9_999, 0, 0, 0]);
        let left: u64 = writing
            .connection
            .query_row("SELECT count(*) FROM event", (), |row| row.get::<_, i64>(0).map(i64::unsigned_abs))
            .unwrap();
        assert_eq!(left, 0);
    }
}
