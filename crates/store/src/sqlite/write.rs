//! All that changes the file, in the one connection that does: batches, pruning, deleting devices. Called by the store's own
//! thread.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::encoding::{self, Damaged, EventColumns};
use super::file::{self, Unusable};
use super::prune::PruneProgress;
use crate::encoding::Parts;
use crate::{Batch, DeliveryState, REPEATS_WITHIN, Retention, StoreError, StoredDevice};
use formats::held;
use presence::history::HistoryEvent;
use presence::{DeviceName, DeviceState, EventKind, PresenceEvent, UnixSeconds};

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
    changed: u64,
    pub(super) sequence: u64,
    device_row: u64,
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

/// All that one batch says of one device.
#[derive(Default)]
struct DeviceWrite<'a> {
    devices: Vec<&'a StoredDevice>,
    events: Vec<&'a HistoryEvent>,
}

/// What the file holds of one device.
#[derive(Default)]
struct StoredRow {
    row: Option<i64>,
    state: DeviceState,
    received_at: u32,
    newest_event: Option<u64>,
    events: u64,
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
        let mut news: BTreeMap<(&str, &str), DeviceWrite<'_>> = BTreeMap::new();
        for device in &batch.devices {
            news.entry((&device.name.device_type, &device.name.id)).or_default().devices.push(device);
        }
        for entry in &batch.events {
            news.entry((&entry.device_type, &entry.id)).or_default().events.push(entry);
        }
        let mut counters = self.counters;
        let mut reasons = Vec::new();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if batch.events_lost {
            // It takes a place in the order, so that whoever has read up to here is told.
            counters.sequence += 1;
            transaction
                .prepare_cached("UPDATE counter SET lost = ?1")?
                .execute([signed(counters.sequence)])?;
        }
        for (name, news) in &news {
            let event = merge(&transaction, *name, news, &mut counters)?;
            if let Some((code, text)) = event.and_then(|event| reason(&event, &self.reasons)) {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO reason VALUES (?1, ?2)")?
                    .execute(params![code, text])?;
                reasons.push(code);
            }
        }
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

/// Merges what is new about one device; returns the deciding statement if the state has grown.
fn merge(
    transaction: &Transaction<'_>,
    name: (&str, &str),
    news: &DeviceWrite<'_>,
    counters: &mut ChangeCounters,
) -> Result<Option<PresenceEvent>, WriteError> {
    let mut stored = stored(transaction, name)?.unwrap_or_default();
    let mut grown = false;
    let mut received_at = stored.received_at;
    let mut fresh: Vec<&HistoryEvent> = Vec::new();
    for &entry in &news.events {
        // What changes the state was never merged before, so it needs no search.
        let changed = stored.state.apply(entry.event.clone());
        grown |= changed;
        received_at = received_at.max(entry.received_at.0);
        if changed || !is_repeated(transaction, stored.newest_event, &fresh, &entry.event)? {
            fresh.push(entry);
        }
    }
    for device in &news.devices {
        grown |= stored.state.merge(device.state.clone());
        received_at = received_at.max(device.received_at.0);
    }
    if !grown && received_at == stored.received_at && fresh.is_empty() {
        return Ok(None);
    }
    stored.received_at = received_at;
    if stored.state == DeviceState::default() {
        // Only failed logins, of a device that is not known.
        return Ok(None);
    }
    counters.changed += 1;
    write_device(transaction, name, &mut stored, fresh.len() as u64, counters)?;
    write_events(transaction, &stored, &fresh, counters)?;
    Ok(stored.state.resolve().filter(|_| grown).map(|resolved| resolved.event.clone()))
}

fn stored(
    transaction: &Transaction<'_>,
    (device_type, id): (&str, &str),
) -> Result<Option<StoredRow>, WriteError> {
    let mut select = transaction.prepare_cached(
        "SELECT row, received_at, newest_event, events, kind, session, time, close_code, payload, others
         FROM device WHERE type = ?1 AND id = ?2",
    )?;
    let mut rows = select.query(params![device_type, id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(StoredRow {
        row: Some(row.get(0)?),
        received_at: row.get(1)?,
        newest_event: row.get::<_, Option<i64>>(2)?.and_then(|sequence| u64::try_from(sequence).ok()),
        events: unsigned(row, 3)?,
        state: encoding::state(row, 4)?,
    }))
}

/// Whether the same statement is among the newest events of the device.
fn is_repeated(
    transaction: &Transaction<'_>,
    newest: Option<u64>,
    fresh: &[&HistoryEvent],
    event: &PresenceEvent,
) -> Result<bool, WriteError> {
    let mut left = REPEATS_WITHIN;
    for entry in fresh.iter().rev().take(left) {
        if entry.event == *event {
            return Ok(true);
        }
        left -= 1;
    }
    let mut select = transaction.prepare_cached(
        "SELECT previous, kind, session, time, close_code, payload FROM event WHERE sequence = ?1",
    )?;
    let mut next = newest;
    while let Some(sequence) = next.filter(|_| left > 0) {
        let mut rows = select.query([signed(sequence)])?;
        // The chain ends where it was pruned.
        let Some(row) = rows.next()? else { return Ok(false) };
        if encoding::event(row, 1)? == *event {
            return Ok(true);
        }
        next = row.get::<_, Option<i64>>(0)?.and_then(|sequence| u64::try_from(sequence).ok());
        left -= 1;
    }
    Ok(false)
}

/// Writes the device as it will be once so many events, the next ones by number, are added.
fn write_device(
    transaction: &Transaction<'_>,
    (device_type, id): (&str, &str),
    stored: &mut StoredRow,
    new_events: u64,
    counters: &mut ChangeCounters,
) -> Result<(), WriteError> {
    let Some(parts) = Parts::of(&stored.state) else { return Ok(()) };
    let newest = if new_events > 0 { Some(counters.sequence + new_events) } else { stored.newest_event };
    let deciding = EventColumns::of(&parts.deciding);
    let address = held::address(&parts.deciding.payload);
    let sql = if stored.row.is_some() {
        "UPDATE device SET connected = ?3, kind = ?4, session = ?5, time = ?6, close_code = ?7, address = ?8,
         received_at = ?9, changed = ?10, newest_event = ?11, events = ?12, payload = ?13, others = ?14, reason = ?16
         WHERE row = ?15 AND type = ?1 AND id = ?2"
    } else {
        "INSERT INTO device (type, id, connected, kind, session, time, close_code, address, received_at, changed,
         newest_event, events, payload, others, row, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
    };
    let row = *stored.row.get_or_insert_with(|| {
        counters.device_row += 1;
        signed(counters.device_row)
    });
    transaction.prepare_cached(sql)?.execute(params![
        device_type,
        id,
        parts.connected,
        deciding.kind,
        deciding.session,
        deciding.time,
        deciding.close_code,
        address,
        stored.received_at,
        signed(counters.changed),
        newest.map(signed),
        signed(stored.events + new_events),
        deciding.payload,
        parts.others,
        row,
        reason_without_code(&parts.deciding),
    ])?;
    Ok(())
}

fn write_events(
    transaction: &Transaction<'_>,
    stored: &StoredRow,
    events: &[&HistoryEvent],
    counters: &mut ChangeCounters,
) -> Result<(), WriteError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut insert = transaction
        .prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")?;
    let mut previous = stored.newest_event;
    for (number, entry) in (stored.events + 1..).zip(events) {
        counters.sequence += 1;
        let columns = EventColumns::of(&entry.event);
        insert.execute(params![
            signed(counters.sequence),
            stored.row,
            previous.map(signed),
            signed(number),
            columns.kind,
            columns.session,
            columns.time,
            columns.close_code,
            entry.received_at.0,
            columns.payload,
            entry.is_first_seen,
            reason_without_code(&entry.event),
        ])?;
        previous = Some(counters.sequence);
    }
    Ok(())
}

/// The words for a close code that has none yet.
fn reason(event: &PresenceEvent, known: &HashSet<u16>) -> Option<(u16, String)> {
    if event.payload.has_source() || known.contains(&event.close_code) {
        return None;
    }
    Some((event.close_code, reason_text(event)?))
}

/// The words for the end of a session of a source that has no close codes.
fn reason_without_code(event: &PresenceEvent) -> Option<String> {
    if event.payload.has_source() { reason_text(event) } else { None }
}

/// Why a session ended, as its message says.
fn reason_text(event: &PresenceEvent) -> Option<String> {
    if event.kind == EventKind::Connect {
        return None;
    }
    let payload = event.payload.document();
    let reason = held::summary(&payload)?.reason;
    (!reason.is_empty()).then(|| reason.into_owned())
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let signed: i64 = row.get(at)?;
    u64::try_from(signed).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, signed))
}

/// SQLite's integers are signed; no counter of ours gets so far.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
