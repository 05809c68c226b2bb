//! What a batch says, merged into what the file holds of each device.

use std::borrow::Cow;
use std::collections::HashSet;

use rusqlite::{CachedStatement, Transaction, params};

use super::encoding::{self, EventColumns};
use super::write::{ChangeCounters, WriteError, signed, unsigned};
use crate::encoding::Parts;
use crate::{Batch, REPEATS_WITHIN, StoredDevice};
use formats::held;
use presence::history::HistoryEvent;
use presence::{DeviceState, EventKind, PresenceEvent};

/// What a batch says of a device.
#[derive(Clone, Copy)]
enum DeviceWrite<'a> {
    Event(&'a HistoryEvent),
    State(&'a StoredDevice),
}

impl<'a> DeviceWrite<'a> {
    fn name(self) -> (&'a str, &'a str) {
        match self {
            Self::Event(entry) => (&entry.device_type, &entry.id),
            Self::State(device) => (&device.name.device_type, &device.name.id),
        }
    }
}

/// All that a batch says, by the names of the devices: neighbours are on the same pages of the file. Of each, the events come first.
fn by_name(batch: &Batch) -> Vec<DeviceWrite<'_>> {
    let events = batch.events.iter().map(DeviceWrite::Event);
    let mut all: Vec<_> = events.chain(batch.devices.iter().map(DeviceWrite::State)).collect();
    // A broker sends them in about this order.
    all.sort_by(|one, other| one.name().cmp(&other.name()));
    all
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

/// A close code and the words for it.
type Reason = (u16, String);

/// What became of the news of a device.
enum MergeOutcome {
    /// Written, or nothing new; with the words for a close code that has none yet.
    Done(Option<Reason>),
    /// It was taken for a new one, which it is not, or may not be.
    MayBeKnown,
}

/// Merges a batch; returns the close codes whose words have been added to those that are known.
pub(super) fn merge_batch(
    transaction: &Transaction<'_>,
    batch: &Batch,
    counters: &mut ChangeCounters,
    known: &HashSet<u16>,
) -> Result<Vec<u16>, WriteError> {
    let (mut statements, mut added) = (MergeStatements::prepare(transaction)?, Vec::new());
    for news in by_name(batch).chunk_by(|one, other| one.name() == other.name()) {
        let Some(name) = news.first().map(|write| write.name()) else { continue };
        if let Some((code, text)) = statements.merge(name, news, counters, known)? {
            transaction
                .prepare_cached("INSERT OR IGNORE INTO reason VALUES (?1, ?2)")?
                .execute(params![code, text])?;
            added.push(code);
        }
    }
    Ok(added)
}

/// The statements that are run for each device of a batch.
struct MergeStatements<'t> {
    select: CachedStatement<'t>,
    insert: CachedStatement<'t>,
    update: CachedStatement<'t>,
    select_event: CachedStatement<'t>,
    insert_event: CachedStatement<'t>,
    /// The device before was new to the file. Mostly the next one is, too, and is inserted without a look: in a population, and
    /// hardly ever later.
    was_new: bool,
}

impl<'t> MergeStatements<'t> {
    fn prepare(transaction: &'t Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            select: transaction.prepare_cached(
                "SELECT row, received_at, newest_event, events, kind, session, time, close_code, payload, others
                 FROM device WHERE type = ?1 AND id = ?2",
            )?,
            insert: transaction.prepare_cached(
                "INSERT INTO device (type, id, connected, kind, session, time, close_code, address, received_at, changed,
                 newest_event, events, payload, others, row, reason)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
                 ON CONFLICT (type, id) DO NOTHING",
            )?,
            update: transaction.prepare_cached(
                "UPDATE device SET connected = ?3, kind = ?4, session = ?5, time = ?6, close_code = ?7, address = ?8,
                 received_at = ?9, changed = ?10, newest_event = ?11, events = ?12, payload = ?13, others = ?14, reason = ?16
                 WHERE row = ?15 AND type = ?1 AND id = ?2",
            )?,
            select_event: transaction.prepare_cached(
                "SELECT previous, kind, session, time, close_code, payload FROM event WHERE sequence = ?1",
            )?,
            insert_event: transaction.prepare_cached(
                "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?,
            was_new: false,
        })
    }

    /// Merges what is new about one device.
    fn merge(
        &mut self,
        name: (&str, &str),
        news: &[DeviceWrite<'_>],
        counters: &mut ChangeCounters,
        known: &HashSet<u16>,
    ) -> Result<Option<Reason>, WriteError> {
        if self.was_new {
            let before = *counters;
            match self.merge_into(StoredRow::default(), name, news, counters, known)? {
                MergeOutcome::Done(reason) => return Ok(reason),
                MergeOutcome::MayBeKnown => *counters = before,
            }
        }
        let stored = self.stored(name)?;
        self.was_new = stored.is_none();
        match self.merge_into(stored.unwrap_or_default(), name, news, counters, known)? {
            MergeOutcome::Done(reason) => Ok(reason),
            // Only failed logins, of a device that is not known.
            MergeOutcome::MayBeKnown => Ok(None),
        }
    }

    fn merge_into(
        &mut self,
        mut stored: StoredRow,
        name: (&str, &str),
        news: &[DeviceWrite<'_>],
        counters: &mut ChangeCounters,
        known: &HashSet<u16>,
    ) -> Result<MergeOutcome, WriteError> {
        let (mut grown, mut received_at) = (false, stored.received_at);
        let mut fresh: Vec<&HistoryEvent> = Vec::new();
        // That of a new device is written as it is.
        let mut state: Cow<'_, DeviceState> = Cow::Owned(std::mem::take(&mut stored.state));
        for write in news {
            match write {
                DeviceWrite::Event(entry) => {
                    received_at = received_at.max(entry.received_at.0);
                    // What changes the state was never merged before, so it needs no search.
                    let changed = state.to_mut().apply(entry.event.clone());
                    grown |= changed;
                    if changed || !self.is_repeated(stored.newest_event, &fresh, &entry.event)? {
                        fresh.push(entry);
                    }
                }
                DeviceWrite::State(device) => {
                    received_at = received_at.max(device.received_at.0);
                    if *state == DeviceState::default() {
                        grown |= device.state != *state;
                        state = Cow::Borrowed(&device.state);
                    } else {
                        grown |= state.to_mut().merge(device.state.clone());
                    }
                }
            }
        }
        let Some(parts) = Parts::of(&state) else { return Ok(MergeOutcome::MayBeKnown) };
        if !grown && received_at == stored.received_at && fresh.is_empty() {
            return Ok(MergeOutcome::Done(None));
        }
        stored.received_at = received_at;
        counters.changed += 1;
        if !self.write_device(name, &parts, &mut stored, fresh.len() as u64, counters)? {
            return Ok(MergeOutcome::MayBeKnown);
        }
        self.write_events(&stored, &fresh, counters)?;
        Ok(MergeOutcome::Done(if grown { reason(parts.deciding, known) } else { None }))
    }

    fn stored(&mut self, (device_type, id): (&str, &str)) -> Result<Option<StoredRow>, WriteError> {
        let mut rows = self.select.query(params![device_type, id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        Ok(Some(StoredRow {
            row: Some(row.get(0)?),
            received_at: row.get(1)?,
            newest_event: row.get::<_, Option<i64>>(2)?.and_then(|sequence| u64::try_from(sequence).ok()),
            events: unsigned(row, 3)?,
            state: encoding::state(row, 4)?,
        }))
    }

    /// Whether the same event is among the newest ones of the device.
    fn is_repeated(
        &mut self,
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
        let mut next = newest;
        while let Some(sequence) = next.filter(|_| left > 0) {
            let mut rows = self.select_event.query([signed(sequence)])?;
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

    /// Writes the device as it will be once so many events, the next ones by number, are added; `false`: it was taken for a new one, and
    /// is there.
    fn write_device(
        &mut self,
        (device_type, id): (&str, &str),
        parts: &Parts<'_>,
        stored: &mut StoredRow,
        new_events: u64,
        counters: &mut ChangeCounters,
    ) -> Result<bool, WriteError> {
        let newest = if new_events > 0 { Some(counters.sequence + new_events) } else { stored.newest_event };
        let deciding = EventColumns::of(parts.deciding);
        let statement = if stored.row.is_some() { &mut self.update } else { &mut self.insert };
        let row = *stored.row.get_or_insert_with(|| {
            counters.device_row += 1;
            signed(counters.device_row)
        });
        let written = statement.execute(params![
            device_type,
            id,
            parts.connected,
            deciding.kind,
            deciding.session,
            deciding.time,
            deciding.close_code,
            held::address(&parts.deciding.payload),
            stored.received_at,
            signed(counters.changed),
            newest.map(signed),
            signed(stored.events + new_events),
            deciding.payload,
            parts.others,
            row,
            reason_without_code(parts.deciding),
        ])?;
        Ok(written > 0)
    }

    fn write_events(
        &mut self,
        stored: &StoredRow,
        events: &[&HistoryEvent],
        counters: &mut ChangeCounters,
    ) -> Result<(), WriteError> {
        let mut previous = stored.newest_event;
        for (number, entry) in (stored.events + 1..).zip(events) {
            counters.sequence += 1;
            let columns = EventColumns::of(&entry.event);
            self.insert_event.execute(params![
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
