//! All that changes the file, in the one connection that does: batches, pruning, forgetting. Called by the store's own
//! thread.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::encoding::{self, Columns, Damaged};
use super::file::{self, Unusable};
use crate::encoding::Parts;
use crate::{Batch, REPEATS_WITHIN, Retention, StoreError, StoredDevice};
use formats::iot_platform;
use presence::history::Event;
use presence::{Belief, Claim, DeviceName, Statement, UnixSeconds};

/// Events that one statement of a pruning visits: some tens of milliseconds, in which no batch is written.
const PRUNED_AT_ONCE: u64 = 20_000;

/// Events beside the number of new ones that one pruning visits, so that it comes round when nothing is new, too.
const PRUNED_BESIDES: u64 = 50_000;

/// The connection that writes.
pub struct Writing {
    connection: Connection,
    retention: Retention,
    counters: Counters,
    /// Close codes whose words are kept.
    reasons: HashSet<u16>,
    /// Up to which event the last pruning has come.
    pruned_to: u64,
    /// The newest event at the last pruning.
    pruned_at: u64,
}

#[derive(Clone, Copy)]
struct Counters {
    changed: u64,
    sequence: u64,
}

/// Why something was not written.
#[derive(Debug)]
pub enum WriteError {
    /// What stands in the file makes no sense.
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
struct News<'a> {
    devices: Vec<&'a StoredDevice>,
    events: Vec<&'a Event>,
}

/// What the file holds of one device.
#[derive(Default)]
struct Kept {
    row: Option<i64>,
    belief: Belief,
    heard_at: u32,
    newest_event: Option<u64>,
    events: u64,
}

impl Writing {
    pub fn open(path: &Path, retention: Retention) -> Result<Self, Unusable> {
        let connection = file::open(path)?;
        let mut writing = Self {
            connection,
            retention,
            counters: Counters { changed: 0, sequence: 0 },
            reasons: HashSet::new(),
            pruned_to: 0,
            pruned_at: 0,
        };
        match writing.read_counters() {
            Ok(()) => Ok(writing),
            Err(WriteError::Damaged) => Err(Unusable::Damaged("its counters cannot be read".to_owned())),
            Err(WriteError::Failed(error)) => {
                Err(Unusable::Refused(StoreError::Open { path: path.to_owned(), why: error.to_string() }))
            }
        }
    }

    fn read_counters(&mut self) -> Result<(), WriteError> {
        let counters = self.connection.query_row("SELECT changed, sequence FROM counter", (), |row| {
            Ok(Counters { changed: unsigned(row, 0)?, sequence: unsigned(row, 1)? })
        });
        self.counters = counters.optional()?.ok_or(WriteError::Damaged)?;
        self.pruned_at = self.counters.sequence;
        let mut reasons = self.connection.prepare("SELECT close_code FROM reason")?;
        self.reasons = reasons.query_map((), |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Merges a batch in one transaction.
    pub fn upsert(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut news: BTreeMap<(&str, &str), News<'_>> = BTreeMap::new();
        for device in &batch.devices {
            news.entry((&device.name.device_type, &device.name.id)).or_default().devices.push(device);
        }
        for event in &batch.events {
            news.entry((&event.device_type, &event.id)).or_default().events.push(event);
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
            let statement = merge(&transaction, *name, news, &mut counters)?;
            if let Some((code, text)) = statement.and_then(|statement| reason(&statement, &self.reasons)) {
                transaction
                    .prepare_cached("INSERT OR IGNORE INTO reason VALUES (?1, ?2)")?
                    .execute(params![code, text])?;
                reasons.push(code);
            }
        }
        transaction
            .prepare_cached("UPDATE counter SET changed = ?1, sequence = ?2")?
            .execute(params![signed(counters.changed), signed(counters.sequence)])?;
        transaction.commit()?;
        self.counters = counters;
        self.reasons.extend(reasons);
        Ok(())
    }

    /// Drops events heard before that time, and those beyond the number that a device may have as far as it comes: it
    /// visits twice as many as are new, so that the file stays bounded whatever comes.
    /// Returns how many were dropped because of that time.
    pub fn prune(&mut self, heard_before: UnixSeconds) -> Result<u64, WriteError> {
        let delete_expired = "DELETE FROM event WHERE heard_at < ?1 AND sequence <= (SELECT sequence FROM event ORDER BY sequence LIMIT 1) + ?2";
        let mut expired = 0;
        loop {
            let mut delete = self.connection.prepare_cached(delete_expired)?;
            let deleted = delete.execute(params![heard_before.0, signed(PRUNED_AT_ONCE)])?;
            expired += deleted as u64;
            if deleted == 0 {
                break;
            }
        }
        let newest = self.counters.sequence;
        let mut left = (newest - self.pruned_at) * 2 + PRUNED_BESIDES;
        self.pruned_at = newest;
        while left > 0 {
            let to = self.pruned_to + PRUNED_AT_ONCE.min(left);
            self.connection
                .prepare_cached(
                    "DELETE FROM event WHERE sequence > ?1 AND sequence <= ?2 AND number <= coalesce(
                     (SELECT events FROM device WHERE row = event.device) - ?3, number)",
                )?
                .execute(params![
                    signed(self.pruned_to),
                    signed(to),
                    signed(self.retention.per_device as u64)
                ])?;
            left -= to - self.pruned_to;
            self.pruned_to = to;
            if to >= newest {
                self.pruned_to = 0;
                break;
            }
        }
        Ok(expired)
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

    /// Drops devices that are disconnected since before the moment, or all of these.
    pub fn forget(&mut self, names: &[DeviceName], before_nanos: Option<i64>) -> Result<(), WriteError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for name in names {
            transaction
                .prepare_cached(
                    "DELETE FROM device WHERE type = ?1 AND id = ?2 AND (?3 IS NULL OR (NOT connected AND time < ?3))",
                )?
                .execute(params![&*name.device_type, &*name.id, before_nanos])?;
        }
        Ok(transaction.commit()?)
    }
}

/// Merges what is new about one device; returns the deciding statement if the belief has grown.
fn merge(
    transaction: &Transaction<'_>,
    name: (&str, &str),
    news: &News<'_>,
    counters: &mut Counters,
) -> Result<Option<Statement>, WriteError> {
    let mut kept = kept(transaction, name)?.unwrap_or_default();
    let mut grown = false;
    let mut heard_at = kept.heard_at;
    let mut fresh: Vec<&Event> = Vec::new();
    for &event in &news.events {
        // What changes the belief was never merged before, so it needs no search.
        let taught = kept.belief.apply(event.statement.clone());
        grown |= taught;
        heard_at = heard_at.max(event.heard_at.0);
        if taught || !is_repeated(transaction, kept.newest_event, &fresh, &event.statement)? {
            fresh.push(event);
        }
    }
    for device in &news.devices {
        grown |= kept.belief.merge(device.belief.clone());
        heard_at = heard_at.max(device.heard_at.0);
    }
    if !grown && heard_at == kept.heard_at && fresh.is_empty() {
        return Ok(None);
    }
    kept.heard_at = heard_at;
    if kept.belief == Belief::default() {
        // Only failed logins, of a device that is not known.
        return Ok(None);
    }
    counters.changed += 1;
    write_device(transaction, name, &mut kept, fresh.len() as u64, counters)?;
    write_events(transaction, &kept, &fresh, counters)?;
    Ok(kept.belief.verdict().filter(|_| grown).map(|verdict| verdict.statement.clone()))
}

fn kept(transaction: &Transaction<'_>, (device_type, id): (&str, &str)) -> Result<Option<Kept>, WriteError> {
    let mut select = transaction.prepare_cached(
        "SELECT row, heard_at, newest_event, events, claim, session, time, close_code, payload, others
         FROM device WHERE type = ?1 AND id = ?2",
    )?;
    let mut rows = select.query(params![device_type, id])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Kept {
        row: Some(row.get(0)?),
        heard_at: row.get(1)?,
        newest_event: row.get::<_, Option<i64>>(2)?.and_then(|sequence| u64::try_from(sequence).ok()),
        events: unsigned(row, 3)?,
        belief: encoding::belief(row, 4)?,
    }))
}

/// Whether the same statement is among the newest events of the device.
fn is_repeated(
    transaction: &Transaction<'_>,
    newest: Option<u64>,
    fresh: &[&Event],
    statement: &Statement,
) -> Result<bool, WriteError> {
    let mut left = REPEATS_WITHIN;
    for event in fresh.iter().rev().take(left) {
        if event.statement == *statement {
            return Ok(true);
        }
        left -= 1;
    }
    let mut select = transaction.prepare_cached(
        "SELECT previous, claim, session, time, close_code, payload FROM event WHERE sequence = ?1",
    )?;
    let mut next = newest;
    while let Some(sequence) = next.filter(|_| left > 0) {
        let mut rows = select.query([signed(sequence)])?;
        // The chain ends where it was pruned.
        let Some(row) = rows.next()? else { return Ok(false) };
        if encoding::statement(row, 1)? == *statement {
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
    kept: &mut Kept,
    new_events: u64,
    counters: &Counters,
) -> Result<(), WriteError> {
    let Some(parts) = Parts::of(&kept.belief) else { return Ok(()) };
    let newest = if new_events > 0 { Some(counters.sequence + new_events) } else { kept.newest_event };
    let deciding = Columns::of(&parts.deciding);
    let unpacked = parts.deciding.payload.unpack();
    let summary = iot_platform::summary(&unpacked);
    let address = summary.as_ref().map(|summary| summary.address.as_ref()).filter(|text| !text.is_empty());
    let sql = if kept.row.is_some() {
        "UPDATE device SET connected = ?3, claim = ?4, session = ?5, time = ?6, close_code = ?7, address = ?8,
         heard_at = ?9, changed = ?10, newest_event = ?11, events = ?12, payload = ?13, others = ?14
         WHERE row = ?15 AND type = ?1 AND id = ?2"
    } else {
        "INSERT INTO device (type, id, connected, claim, session, time, close_code, address, heard_at, changed,
         newest_event, events, payload, others, row)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
    };
    transaction.prepare_cached(sql)?.execute(params![
        device_type,
        id,
        parts.connected,
        deciding.claim,
        deciding.session,
        deciding.time,
        deciding.close_code,
        address,
        kept.heard_at,
        signed(counters.changed),
        newest.map(signed),
        signed(kept.events + new_events),
        deciding.payload,
        parts.others,
        kept.row,
    ])?;
    kept.row.get_or_insert_with(|| transaction.last_insert_rowid());
    Ok(())
}

fn write_events(
    transaction: &Transaction<'_>,
    kept: &Kept,
    events: &[&Event],
    counters: &mut Counters,
) -> Result<(), WriteError> {
    if events.is_empty() {
        return Ok(());
    }
    let mut insert =
        transaction.prepare_cached("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")?;
    let mut previous = kept.newest_event;
    for (number, event) in (kept.events + 1..).zip(events) {
        counters.sequence += 1;
        let columns = Columns::of(&event.statement);
        insert.execute(params![
            signed(counters.sequence),
            kept.row,
            previous.map(signed),
            signed(number),
            columns.claim,
            columns.session,
            columns.time,
            columns.close_code,
            event.heard_at.0,
            columns.payload,
        ])?;
        previous = Some(counters.sequence);
    }
    Ok(())
}

/// The words for a close code that has none yet.
fn reason(statement: &Statement, known: &HashSet<u16>) -> Option<(u16, String)> {
    if statement.claim == Claim::Connect || known.contains(&statement.close_code) {
        return None;
    }
    let payload = statement.payload.unpack();
    let reason = iot_platform::summary(&payload)?.reason;
    (!reason.is_empty()).then(|| (statement.close_code, reason.into_owned()))
}

fn unsigned(row: &Row<'_>, at: usize) -> rusqlite::Result<u64> {
    let signed: i64 = row.get(at)?;
    u64::try_from(signed).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, signed))
}

/// SQLite's integers are signed; no counter of ours gets so far.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
