//! All that changes the file, in the one connection that does: batches, pruning, deleting devices. Called by the store's own
//! thread.

use std::collections::HashSet;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::encoding::Damaged;
use super::file::{self, Unusable};
use super::merge;
use super::prune::PruneProgress;
use crate::{Batch, DeliveryState, Retention, StoreError};
use presence::{DeviceName, UnixSeconds};

/// Orders of the events that are remembered, one for each start: a client that was last here before so many is told of a gap.
const ORDERS_MAX: u32 = 1_000;

/// The connection that writes.
pub struct Writing {
    pub(super) connection: Connection,
    pub(super) retention: Retention,
    pub(super) counters: ChangeCounters,
    /// Close codes whose words are kept.
    reasons: HashSet<u16>,
    pub(super) pruned: PruneProgress,
}

#[derive(Clone, Copy)]
pub(super) struct ChangeCounters {
    pub(super) changed: u64,
    pub(super) sequence: u64,
    pub(super) device_row: u64,
}

/// Why something was not written.
#[derive(Debug)]
pub enum WriteError {
    /// What is in the file makes no sense.
    Damaged,
    Failed(rusqlite::Error),
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        if file::is_damage(&error) { WriteError::Damaged } else { WriteError::Failed(error) }
    }
}

impl From<Damaged> for WriteError {
    fn from(Damaged: Damaged) -> Self {
        WriteError::Damaged
    }
}

impl Writing {
    pub fn open(path: &Path, retention: Retention) -> Result<Self, Unusable> {
        let connection = file::open(path)?;
        let mut writing = Self {
            connection,
            retention,
            counters: ChangeCounters { changed: 0, sequence: 0, device_row: 0 },
            reasons: HashSet::new(),
            pruned: PruneProgress::default(),
        };
        match writing.read_counters().and_then(|()| writing.begin_order()) {
            Ok(()) => Ok(writing),
            Err(WriteError::Damaged) => Err(Unusable::Damaged("its counters cannot be read".to_owned())),
            Err(WriteError::Failed(error)) => {
                Err(Unusable::Refused(StoreError::Open { path: path.to_owned(), why: error.to_string() }))
            }
        }
    }

    /// Begins another order of the events, as this file may be a copy of one that has gone on meanwhile.
    fn begin_order(&mut self) -> Result<(), WriteError> {
        let begun = self.connection.execute_batch(&format!(
            "BEGIN IMMEDIATE;
             INSERT INTO event_order (name, begins_after) SELECT random(), sequence FROM counter;
             DELETE FROM event_order WHERE row <= (SELECT max(row) FROM event_order) - {ORDERS_MAX};
             COMMIT;"
        ));
        match begun.map_err(WriteError::from) {
            // A disk that is full now keeps nobody from reading: the order that there is goes on.
            Err(WriteError::Failed(error)) => {
                tracing::warn!(%error, "the store cannot be written at present");
                if !self.connection.is_autocommit() {
                    self.connection.execute_batch("ROLLBACK")?;
                }
                Ok(())
            }
            done => done,
        }
    }

    fn read_counters(&mut self) -> Result<(), WriteError> {
        let counters =
            self.connection.query_row("SELECT changed, sequence, device_row FROM counter", (), |row| {
                let (changed, sequence, device_row) =
                    (unsigned(row, 0)?, unsigned(row, 1)?, unsigned(row, 2)?);
                Ok(ChangeCounters { changed, sequence, device_row })
            });
        self.counters = counters.optional()?.ok_or(WriteError::Damaged)?;
        self.pruned.newest = self.counters.sequence;
        let mut reasons = self.connection.prepare("SELECT close_code FROM reason")?;
        self.reasons = reasons.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Merges a batch in one transaction.
    pub fn upsert(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut counters = self.counters;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if batch.events_lost {
            // It takes a place in the order, so that whoever has read up to here is told.
            counters.sequence += 1;
            transaction
                .prepare_cached("UPDATE counter SET lost = ?1")?
                .execute([signed(counters.sequence)])?;
        }
        let reasons = merge::merge_batch(&transaction, batch, &mut counters, &self.reasons)?;
        transaction
            .prepare_cached("UPDATE counter SET changed = ?1, sequence = ?2, device_row = ?3")?
            .execute([counters.changed, counters.sequence, counters.device_row].map(signed))?;
        transaction.commit()?;
        self.counters = counters;
        self.reasons.extend(reasons);
        Ok(())
    }

    /// The retention time that was set last.
    pub fn retention_time(&mut self) -> Result<Option<UnixSeconds>, WriteError> {
        let time: Option<u32> =
            self.connection.query_row("SELECT retention_time FROM counter", (), |row| row.get(0))?;
        Ok(time.map(UnixSeconds))
    }

    pub fn set_retention_time(&mut self, time: UnixSeconds) -> Result<(), WriteError> {
        self.connection.prepare_cached("UPDATE counter SET retention_time = ?1")?.execute([time.0])?;
        Ok(())
    }

    /// All stored states of deliveries.
    pub fn delivery_states(&mut self) -> Result<Vec<DeliveryState>, WriteError> {
        let mut select = self.connection.prepare_cached("SELECT name, state FROM webhook ORDER BY name")?;
        let states =
            select.query_map((), |row| Ok(DeliveryState { name: row.get(0)?, state: row.get(1)? }))?;
        Ok(states.collect::<Result<_, _>>()?)
    }

    /// The same of these names alone.
    pub fn delivery_states_of(&mut self, names: &[String]) -> Result<Vec<DeliveryState>, WriteError> {
        let mut select = self.connection.prepare_cached("SELECT name, state FROM webhook WHERE name = ?1")?;
        let mut states = Vec::new();
        for name in names {
            let kept = select
                .query_map([name], |row| Ok(DeliveryState { name: row.get(0)?, state: row.get(1)? }))?;
            states.extend(kept.collect::<Result<Vec<_>, _>>()?);
        }
        Ok(states)
    }

    pub fn set_delivery_state(&mut self, name: &str, state: Option<&str>) -> Result<(), WriteError> {
        match state {
            Some(state) => self
                .connection
                .prepare_cached("INSERT OR REPLACE INTO webhook VALUES (?1, ?2)")?
                .execute([name, state])?,
            None => self.connection.prepare_cached("DELETE FROM webhook WHERE name = ?1")?.execute([name])?,
        };
        Ok(())
    }

    /// Deletes those of the devices that have been disconnected since before the moment.
    pub fn expire(&mut self, names: &[DeviceName], before_nanos: i64) -> Result<(), WriteError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for name in names {
            transaction
                .prepare_cached(
                    "DELETE FROM device WHERE type = ?1 AND id = ?2 AND NOT connected AND time < ?3",
                )?
                .execute(params![&*name.device_type, &*name.id, before_nanos])?;
        }
        Ok(transaction.commit()?)
    }

    /// Deletes a device. Nobody else writes the file, so no tombstone is needed.
    pub fn forget(&mut self, name: &DeviceName) -> Result<(), WriteError> {
        self.connection
            .prepare_cached("DELETE FROM device WHERE type = ?1 AND id = ?2")?
            .execute(params![&*name.device_type, &*name.id])?;
        Ok(())
    }
}

pub(super) fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let signed: i64 = row.get(at)?;
    u64::try_from(signed).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, signed))
}

/// SQLite's integers are signed; no counter of ours gets so far.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
