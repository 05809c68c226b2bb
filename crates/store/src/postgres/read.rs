//! Reading: everything, pages, changes, history.

use std::collections::BTreeSet;
use std::pin::pin;

use deadpool_postgres::{GenericClient, Object};
use futures_util::TryStreamExt;
use futures_util::future::try_join;
use tokio_postgres::types::ToSql;

use super::columns;
use super::failed;
use super::statements::{Statements, with_schema};
use super::tombstones;
use crate::type_names::TypeNames;
use crate::{ChangeCursor, Changes, LoadSink, PAGE_MAX, StoreError, StoredDevice};
use presence::history;
use presence::query::{Page, Scan, SortBy, Total};
use presence::{DeviceName, Status};

/// Counter shards of changes, as the schema has them.
pub const COUNTER_SHARDS: usize = 16;

/// Devices that are handed over at once while loading.
const LOADED_AT_ONCE: usize = 4_096;

/// Gives every device to the sink as they arrive, so that no more than what is handed over at once is held here.
pub async fn load(client: &Object, statements: &Statements, sink: &dyn LoadSink) -> Result<(), StoreError> {
    // What the planner believes is near enough and costs nothing; a count would read the whole table.
    let about = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)";
    let about = client.query_opt(about, &[&statements.device_table]).await.map_err(failed)?;
    let about: i64 = about.map_or(Ok(0), |row| row.try_get(0)).map_err(failed)?;
    sink.expect(usize::try_from(about).unwrap_or(0));
    let none: [&(dyn ToSql + Sync); 0] = [];
    let select = client.prepare_cached(&statements.load).await.map_err(failed)?;
    let mut rows = pin!(client.query_raw(&select, none).await.map_err(failed)?);
    let mut names = TypeNames::default();
    let mut devices = Vec::with_capacity(LOADED_AT_ONCE);
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        devices.push(columns::device(&row, &mut names)?);
        if devices.len() == LOADED_AT_ONCE {
            sink.take(std::mem::replace(&mut devices, Vec::with_capacity(LOADED_AT_ONCE)));
        }
    }
    sink.take(devices);
    Ok(())
}

/// The devices of these names, each once, by one statement.
pub async fn named(
    client: &Object,
    statements: &Statements,
    names: &[DeviceName],
) -> Result<Vec<StoredDevice>, StoreError> {
    // A text of the database cannot hold the character, so it has no such device.
    let possible = names.iter().filter(|name| !name.device_type.contains('\0') && !name.id.contains('\0'));
    let names: BTreeSet<(&str, &str)> = possible.map(|name| (&*name.device_type, &*name.id)).collect();
    let (types, ids): (Vec<&str>, Vec<&str>) = names.into_iter().unzip();
    let select = client.prepare_cached(&statements.named).await.map_err(failed)?;
    let rows = client.query(&select, &[&types, &ids]).await.map_err(failed)?;
    let mut names = TypeNames::default();
    rows.iter().map(|row| columns::device(row, &mut names)).collect()
}

/// Counts all devices.
pub async fn totals(client: &Object, statements: &Statements) -> Result<Vec<Total>, StoreError> {
    let select = client.prepare_cached(&statements.totals).await.map_err(failed)?;
    let rows = client.query(&select, &[]).await.map_err(failed)?;
    let total = |row| {
        let (connected, devices): (bool, i64) =
            (columns::column(row, "connected")?, columns::column(row, "devices")?);
        Ok(Total {
            device_type: columns::column(row, "type")?,
            status: if connected { Status::Connected } else { Status::Disconnected },
            close_code: u16::try_from(columns::column::<i32>(row, "close_code")?).unwrap_or(0),
            devices: u64::try_from(devices).unwrap_or(0),
        })
    };
    rows.iter().map(total).collect()
}

/// Part of a list.
pub async fn list(client: &Object, schema: &str, scan: &Scan) -> Result<Page<StoredDevice>, StoreError> {
    let (direction, behind) = if scan.sort.descending { ("DESC", "<") } else { ("ASC", ">") };
    let order = match scan.sort.by {
        SortBy::Id => format!("type {direction}, id {direction}"),
        SortBy::Since => format!("time {direction}, type {direction}, id {direction}"),
    };
    let after = match (scan.sort.by, &scan.after) {
        (_, None) => "true".to_owned(),
        (SortBy::Id, Some(_)) => format!("(type, id) {behind} ($4, $5)"),
        (SortBy::Since, Some(_)) => format!("(time, type, id) {behind} ($6, $4, $5)"),
    };
    let sql = format!(
        "SELECT {} FROM {{schema}}.device
         WHERE ($1::text IS NULL OR type = $1) AND ($2::boolean IS NULL OR connected = $2) AND {after}
         ORDER BY {order} LIMIT $3",
        columns::DEVICE
    );
    let limit = scan.limit.min(PAGE_MAX);
    // One more, to see whether anything follows.
    let most = limit as i64 + 1;
    let connected = scan.status.map(|status| status == Status::Connected);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&scan.device_type, &connected, &most];
    let time = scan.after.as_ref().map(|after| after.time.nanos().unwrap_or(i64::MIN));
    if let Some(after) = &scan.after {
        parameters.extend([&after.device_type as &(dyn ToSql + Sync), &after.id]);
        if scan.sort.by == SortBy::Since {
            parameters.push(&time);
        }
    }
    let select = client.prepare_cached(&with_schema(&sql, schema)).await.map_err(failed)?;
    let rows = client.query(&select, &parameters).await.map_err(failed)?;
    let mut names = TypeNames::default();
    let mut devices =
        rows.iter().map(|row| columns::device(row, &mut names)).collect::<Result<Vec<_>, _>>()?;
    let more = devices.len() > limit;
    devices.truncate(limit);
    let next = devices.last().filter(|_| more).map(StoredDevice::position);
    Ok(Page { devices, next })
}

/// What a look for changes has found, beside the changes.
pub struct PolledChanges {
    pub changes: Changes,
    /// The server's timeline, if it tells one: another one after each failover and restoring.
    pub timeline: Option<String>,
}

/// What changed after the mark: at most so many devices of each counter shard.
pub async fn changes(
    client: &Object,
    statements: &Statements,
    since: &ChangeCursor,
    limit: usize,
) -> Result<PolledChanges, StoreError> {
    let numbers = numbers(since);
    let limit = limit.clamp(1, PAGE_MAX);
    let select = client.prepare_cached(&statements.changes).await.map_err(failed)?;
    let select_forgotten = client.prepare_cached(&statements.forgotten_since).await.map_err(failed)?;
    let parameters: [&(dyn ToSql + Sync); 2] = [&numbers, &(limit as i64)];
    // On one connection, so the second sees at least what the first has seen.
    let (rows, forgotten_rows) =
        try_join(client.query(&select, &parameters), client.query(&select_forgotten, &parameters[..1]))
            .await
            .map_err(failed)?;
    let (mut names, mut devices) = (TypeNames::default(), Vec::new());
    let (mut reached, mut found, mut timeline) = (numbers.clone(), [0; COUNTER_SHARDS], None);
    for row in &rows {
        let counter_shard: usize =
            columns::column::<i16>(row, "counter_shard")?.try_into().unwrap_or(COUNTER_SHARDS);
        if counter_shard >= COUNTER_SHARDS {
            continue;
        }
        if columns::column(row, "standby")? {
            return Err(StoreError::Read("the server has become a standby".to_owned()));
        }
        timeline = columns::column(row, "timeline")?;
        let newest: i64 = columns::column(row, "newest")?;
        if newest < numbers[counter_shard] {
            return Err(StoreError::Gap("the database is older than what was read from it".to_owned()));
        }
        match columns::column::<Option<i64>>(row, "changed")? {
            Some(changed) => {
                devices.push(columns::device(row, &mut names)?);
                found[counter_shard] += 1;
                // A counter shard that brought less than was asked for is read to its end.
                reached[counter_shard] = if found[counter_shard] < limit { newest } else { changed };
            }
            None => reached[counter_shard] = newest,
        }
    }
    let mut forgotten = Vec::new();
    for row in &forgotten_rows {
        let tombstone = tombstones::tombstone(row, &mut names)?;
        // A later one comes with the next page.
        let reached = usize::try_from(tombstone.counter_shard).ok().and_then(|shard| reached.get(shard));
        if reached.is_some_and(|reached| tombstone.changed <= *reached) {
            forgotten.push(tombstone.device);
            if columns::column::<Option<i16>>(row, "kind")?.is_some() {
                devices.push(columns::device(row, &mut names)?);
            }
        }
    }
    let is_all = found.iter().all(|found| *found < limit);
    let changes = Changes { forgotten, devices, cursor: cursor_at(&reached), is_all };
    Ok(PolledChanges { changes, timeline })
}

/// Where the newest change is.
pub async fn cursor(client: &Object, statements: &Statements) -> Result<ChangeCursor, StoreError> {
    let rows = client.query(&statements.cursor, &[]).await.map_err(failed)?;
    let mut numbers = [0; COUNTER_SHARDS];
    for row in &rows {
        let counter_shard =
            usize::try_from(columns::column::<i16>(row, "counter_shard")?).unwrap_or(COUNTER_SHARDS);
        if let Some(number) = numbers.get_mut(counter_shard) {
            *number = columns::column(row, "changed")?;
        }
    }
    Ok(cursor_at(&numbers))
}

/// The number of each counter shard.
pub fn numbers(cursor: &ChangeCursor) -> Vec<i64> {
    (0..COUNTER_SHARDS).map(|counter_shard| number(cursor, counter_shard)).collect()
}

fn number(cursor: &ChangeCursor, counter_shard: usize) -> i64 {
    cursor.0.get(counter_shard).and_then(|number| i64::try_from(*number).ok()).unwrap_or(0)
}

fn cursor_at(numbers: &[i64]) -> ChangeCursor {
    if numbers.iter().all(|number| *number == 0) {
        return ChangeCursor::BEGINNING;
    }
    ChangeCursor(numbers.iter().map(|number| u64::try_from(*number).unwrap_or(0)).collect())
}

/// Which events are shown.
pub struct Window {
    pub before: Option<u64>,
    pub limit: usize,
    pub per_device: i64,
    pub received_since: i64,
}

/// The newest events of a device.
pub async fn history(
    client: &Object,
    statements: &Statements,
    name: &DeviceName,
    window: &Window,
) -> Result<Vec<history::HistoryRow>, StoreError> {
    let before = window.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
    let select = client.prepare_cached(&statements.history).await.map_err(failed)?;
    let (device_type, id) = (&*name.device_type, &*name.id);
    let parameters: [&(dyn ToSql + Sync); 6] =
        [&device_type, &id, &window.per_device, &before, &window.received_since, &limit];
    let rows = client.query(&select, &parameters).await.map_err(failed)?;
    rows.iter().map(columns::history_event).collect()
}
