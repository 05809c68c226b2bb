//! All that reads the file: loading everything with several threads, pages, changes, history. Called by the store's reading
//! thread, so that a long batch delays no reader.

use std::collections::HashSet;
use std::num::NonZero;
use std::path::Path;
use std::thread;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::write::{WriteError, signed};
use super::{encoding, file};
use crate::type_names::TypeNames;
use crate::{ChangeCursor, Changes, LoadSink, PAGE_MAX, StoredDevice};
use presence::history;
use presence::history::{EventPage, HistoryPosition, StoredEvent};
use presence::query::{Page, Position, Scan, SortBy, Total};
use presence::{DeviceName, Status, UnixSeconds};

/// Devices that are handed over at once while loading.
const LOADED_AT_ONCE: usize = 16_384;
/// More threads read no faster from one disk.
const LOAD_THREADS_MAX: usize = 4;
/// Fewer devices than this are loaded sooner by one thread.
const LOADED_BY_ONE: i64 = 50_000;
/// No device takes less of the file.
const DEVICE_MIN_BYTES: i64 = 32;

/// The columns that [`device`] reads.
const COLUMNS: &str = "type, id, received_at, kind, session, time, close_code, payload, others";

/// Gives every device to the sink.
pub fn load(path: &Path, sink: &dyn LoadSink) -> Result<(), WriteError> {
    let connection = file::open_to_read(path)?;
    let (first, last, bytes): (i64, i64, i64) = connection.query_row(
        "SELECT coalesce((SELECT min(row) FROM device), 0), coalesce((SELECT max(row) FROM device), -1), page_count * page_size
         FROM pragma_page_count, pragma_page_size",
        (),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let rows = last.saturating_sub(first).saturating_add(1);
    // Where devices come and go, most rows are gone.
    sink.expect(usize::try_from(rows.min(bytes / DEVICE_MIN_BYTES)).unwrap_or(0));
    let most = thread::available_parallelism().map_or(1, NonZero::get).min(LOAD_THREADS_MAX);
    let threads = if rows < LOADED_BY_ONE { 1 } else { most as i64 };
    let each = rows / threads + 1;
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                let from = first + part * each;
                scope.spawn(move || load_part(path, from, from + each, sink))
            })
            .collect();
        parts.into_iter().try_for_each(|part| part.join().unwrap_or(Err(WriteError::Damaged)))
    })
}

fn load_part(path: &Path, from: i64, to: i64, sink: &dyn LoadSink) -> Result<(), WriteError> {
    let connection = file::open_to_read(path)?;
    let mut select =
        connection.prepare(&format!("SELECT {COLUMNS} FROM device WHERE row >= ?1 AND row < ?2"))?;
    let mut rows = select.query(params![from, to])?;
    let mut names = TypeNames::default();
    let mut devices = Vec::with_capacity(LOADED_AT_ONCE);
    while let Some(row) = rows.next()? {
        devices.push(device(row, &mut names)?);
        if devices.len() == LOADED_AT_ONCE {
            sink.take(std::mem::replace(&mut devices, Vec::with_capacity(LOADED_AT_ONCE)));
        }
    }
    sink.take(devices);
    Ok(())
}

fn device(row: &Row<'_>, names: &mut TypeNames) -> Result<StoredDevice, WriteError> {
    let text = |at: usize| row.get_ref(at)?.as_str().map_err(|_| WriteError::Damaged);
    let name = DeviceName { device_type: names.shared(text(0)?), id: text(1)?.into() };
    let received_at = UnixSeconds(row.get::<_, u32>(2).map_err(|_| WriteError::Damaged)?);
    Ok(StoredDevice { name, received_at, state: encoding::state(row, 3)? })
}

fn devices(connection: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<StoredDevice>, WriteError> {
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params_from_iter(values))?;
    let (mut names, mut found) = (TypeNames::default(), Vec::new());
    while let Some(row) = rows.next()? {
        found.push(device(row, &mut names)?);
    }
    Ok(found)
}

/// The devices of these names, each once: one look into the index for each.
pub fn named(connection: &Connection, mut names: Vec<DeviceName>) -> Result<Vec<StoredDevice>, WriteError> {
    names.sort_unstable();
    names.dedup();
    // All of one moment.
    let transaction = connection.unchecked_transaction()?;
    let mut select =
        transaction.prepare_cached(&format!("SELECT {COLUMNS} FROM device WHERE type = ?1 AND id = ?2"))?;
    let (mut type_names, mut found) = (TypeNames::default(), Vec::new());
    for name in names {
        let mut rows = select.query(params![&*name.device_type, &*name.id])?;
        if let Some(row) = rows.next()? {
            found.push(device(row, &mut type_names)?);
        }
    }
    Ok(found)
}

/// Counts all devices.
pub fn totals(connection: &Connection) -> Result<Vec<Total>, WriteError> {
    let mut select = connection.prepare_cached(
        "SELECT type, connected, CASE WHEN connected THEN 0 ELSE close_code END, count(*) FROM device GROUP BY 1, 2, 3",
    )?;
    let mut rows = select.query(())?;
    let mut totals = Vec::new();
    while let Some(row) = rows.next()? {
        totals.push(Total {
            device_type: row.get(0)?,
            status: if row.get(1)? { Status::Connected } else { Status::Disconnected },
            close_code: row.get(2)?,
            devices: row.get::<_, i64>(3)?.unsigned_abs(),
        });
    }
    Ok(totals)
}

/// Part of a list.
pub fn list(connection: &Connection, scan: &Scan) -> Result<Page<StoredDevice>, WriteError> {
    // An unknown time is the least.
    const TIME: &str = "coalesce(time, -9223372036854775807 - 1)";
    let (direction, behind) = if scan.sort.descending { ("DESC", "<") } else { ("ASC", ">") };
    let order = match scan.sort.by {
        SortBy::Id => format!("type {direction}, id {direction}"),
        SortBy::Since => format!("{TIME} {direction}, type {direction}, id {direction}"),
    };
    let after = match (scan.sort.by, &scan.after) {
        (_, None) => "1".to_owned(),
        (SortBy::Id, Some(_)) => format!("(type, id) {behind} (?4, ?5)"),
        (SortBy::Since, Some(_)) => format!("({TIME}, type, id) {behind} (?6, ?4, ?5)"),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM device WHERE (?1 IS NULL OR type = ?1) AND (?2 IS NULL OR connected = ?2) AND {after}
         ORDER BY {order} LIMIT ?3"
    );
    let limit = scan.limit.min(PAGE_MAX);
    let mut values: Vec<Value> = vec![
        scan.device_type.clone().into(),
        scan.status.map(|status| i64::from(status == Status::Connected)).into(),
        // One more, to see whether anything follows.
        (limit as i64 + 1).into(),
    ];
    if let Some(Position { device_type, id, time }) = &scan.after {
        values.extend([device_type.clone().into(), id.clone().into()]);
        if scan.sort.by == SortBy::Since {
            values.push(time.nanos().unwrap_or(i64::MIN).into());
        }
    }
    let mut devices = devices(connection, &sql, values)?;
    let more = devices.len() > limit;
    devices.truncate(limit);
    let next = devices.last().filter(|_| more).map(StoredDevice::position);
    Ok(Page { devices, next })
}

/// Whether this file gave a position: if it is a copy, before it was copied.
fn is_of_this_file(connection: &Connection, position: HistoryPosition) -> rusqlite::Result<bool> {
    if position == HistoryPosition::BEGINNING {
        return Ok(true);
    }
    let end = "SELECT (SELECT begins_after FROM event_order AS later WHERE later.row > own.row ORDER BY row LIMIT 1)
               FROM event_order AS own WHERE name = ?1";
    let order = position.order.cast_signed();
    let end: Option<Option<i64>> = connection.query_row(end, [order], |row| row.get(0)).optional()?;
    Ok(end.is_some_and(|end| end.is_none_or(|end| signed(position.number) <= end)))
}

/// What changed after the mark. Reads the whole table: no index follows the changes, as each would cost a batch as much as
/// its rows do, and with one process per file nobody asks often.
pub fn changes(connection: &Connection, since: &ChangeCursor, limit: usize) -> Result<Changes, WriteError> {
    let sql = format!("SELECT {COLUMNS}, changed FROM device WHERE changed > ?1 ORDER BY changed LIMIT ?2");
    let mut select = connection.prepare_cached(&sql)?;
    let mut rows = select.query(params![signed(since.number()), limit.min(PAGE_MAX) as i64])?;
    let mut names = TypeNames::default();
    let mut changes =
        Changes { forgotten: Vec::new(), devices: Vec::new(), cursor: since.clone(), is_all: false };
    while let Some(row) = rows.next()? {
        changes.devices.push(device(row, &mut names)?);
        let changed: i64 = row.get(9)?;
        changes.cursor = ChangeCursor::at(u64::try_from(changed).map_err(|_| WriteError::Damaged)?);
    }
    changes.is_all = changes.devices.len() < limit.min(PAGE_MAX);
    Ok(changes)
}

/// Where the newest change is.
pub fn cursor(connection: &Connection) -> Result<ChangeCursor, WriteError> {
    let changed: i64 = connection.query_row("SELECT changed FROM counter", (), |row| row.get(0))?;
    Ok(ChangeCursor::at(u64::try_from(changed).map_err(|_| WriteError::Damaged)?))
}

/// Which events are shown.
pub struct Window {
    pub before: Option<u64>,
    pub limit: usize,
    pub per_device: usize,
    pub received_since: UnixSeconds,
}

/// Follows the chain of a device's events from the newest.
pub fn history(
    connection: &Connection,
    name: &DeviceName,
    window: &Window,
) -> Result<Vec<history::HistoryRow>, WriteError> {
    let mut select =
        connection.prepare_cached("SELECT newest_event FROM device WHERE type = ?1 AND id = ?2")?;
    let mut rows = select.query(params![&*name.device_type, &*name.id])?;
    let mut next: Option<i64> = match rows.next()? {
        Some(row) => row.get(0)?,
        None => None,
    };
    let mut select = connection.prepare_cached(
        "SELECT previous, received_at, kind, session, time, close_code, payload, is_first_seen FROM event WHERE sequence = ?1",
    )?;
    let mut found = Vec::new();
    for _ in 0..window.per_device {
        let Some(sequence) = next.filter(|_| found.len() < window.limit) else { break };
        let mut rows = select.query([sequence])?;
        let Some(row) = rows.next()? else { break };
        next = row.get(0)?;
        let received_at = UnixSeconds(row.get(1)?);
        let sequence = u64::try_from(sequence).map_err(|_| WriteError::Damaged)?;
        if window.before.is_none_or(|before| sequence < before) && received_at >= window.received_since {
            let (event, is_first_seen) = (encoding::event(row, 2)?, row.get(7)?);
            found.push(history::HistoryRow { sequence, received_at, event, is_first_seen });
        }
    }
    Ok(found)
}

/// The events of all devices after a sequence. Those of a device that was forgotten are no longer anybody's.
pub fn events(
    connection: &Connection,
    asked_after: HistoryPosition,
    limit: usize,
) -> Result<EventPage, WriteError> {
    // All of one moment.
    let transaction = connection.unchecked_transaction()?;
    let (newest, lost, oldest): (i64, i64, Option<i64>) = transaction.query_row(
        "SELECT sequence, lost, (SELECT min(sequence) FROM event) FROM counter",
        (),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let unsigned = |number: i64| u64::try_from(number).map_err(|_| WriteError::Damaged);
    let order: i64 =
        transaction
            .query_row("SELECT name FROM event_order ORDER BY row DESC LIMIT 1", (), |row| row.get(0))?;
    let at = |number| HistoryPosition { order: order.cast_unsigned(), number };
    let (limit, after) = (limit.min(PAGE_MAX), signed(asked_after.number));
    // Those between are gone, or all are: then what the reader has seen was another file.
    let incomplete = match oldest {
        Some(oldest) => oldest > after.saturating_add(1),
        None => newest > after,
    } || lost > after
        || after > newest
        || !is_of_this_file(&transaction, asked_after)?;
    let mut page = EventPage {
        events: Vec::new(),
        reached: asked_after,
        newest: at(unsigned(newest)?),
        begun: at(unsigned(newest)?),
        incomplete,
    };
    if limit == 0 {
        return Ok(page);
    }
    let mut select = transaction.prepare_cached(
        "SELECT type, id, sequence, previous, event.received_at, event.kind, event.session, event.time, event.close_code,
         event.payload, is_first_seen FROM event JOIN device ON device.row = event.device WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut rows = select.query(params![after, limit as i64])?;
    let (mut names, mut given) = (TypeNames::default(), HashSet::new());
    while let Some(row) = rows.next()? {
        let text = |at: usize| row.get_ref(at)?.as_str().map_err(|_| WriteError::Damaged);
        let (sequence, previous): (i64, Option<i64>) = (row.get(2)?, row.get(3)?);
        // The event before it belongs here, too, and is gone.
        page.incomplete |= previous.is_some_and(|previous| previous > after && !given.contains(&previous));
        given.insert(sequence);
        let sequence = unsigned(sequence)?;
        page.events.push(StoredEvent {
            device_type: names.shared(text(0)?),
            id: text(1)?.into(),
            position: at(sequence),
            row: history::HistoryRow {
                sequence,
                received_at: UnixSeconds(row.get(4)?),
                event: encoding::event(row, 5)?,
                is_first_seen: row.get(10)?,
            },
        });
    }
    let is_all = page.events.len() < limit;
    page.reached = page.events.last().filter(|_| !is_all).map_or(page.newest, |entry| entry.position);
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::write::Writing;
    use super::*;
    use crate::Retention;

    struct Expected(AtomicUsize);

    impl LoadSink for Expected {
        fn expect(&self, devices: usize) {
            self.0.store(devices, Ordering::Relaxed);
        }

        fn take(&self, _devices: Vec<StoredDevice>) {}
    }

    #[test]
    fn a_load_expects_no_more_devices_than_the_file_has_room_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        std::fs::File::create(&path).unwrap();
        let Ok(writing) = Writing::open(&path, Retention { per_device: 9 }) else { panic!("it is new") };
        let insert = "INSERT INTO device (row, type, id, connected, kind, close_code, received_at, changed, events, payload)
            VALUES (?1, 'mug', ?1, 0, 1, 0, 1, 1, 0, x'')";
        for row in [1, 1_000_000_000] {
            writing.connection.execute(insert, [row]).unwrap();
        }
        let expected = Expected(AtomicUsize::new(0));
        // What these two say cannot be read; how many to expect is told before.
        let _ = load(&path, &expected);
        let expected = expected.0.into_inner();
        assert!((2..100_000).contains(&expected), "{expected}");
    }
}
