//! Writing: merging a batch in one transaction, pruning.
//!
//! The common state, one beginning or one end, is merged by the one statement of `merge.sql`. It leaves the rare ones
//! locked, which are merged here by the rule of `presence` itself and written before the same commit: at no time can another
//! instance see or write between. All lock the devices in the order of their names, so none waits for another in a circle.

use std::borrow::Cow;
use std::collections::BTreeMap;

use deadpool_postgres::{GenericClient, Object, Transaction};
use futures_util::future::try_join3;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::columns::{self, DeviceColumns, DeviceUpdate, EventColumns};
use super::failed;
use super::statements::Statements;
use super::tombstones::{self, Tombstone};
use crate::type_names::TypeNames;
use crate::{Batch, ForgottenDevices, StoreError, StoredDevice};
use presence::{DeviceName, UnixSeconds};

/// Events that one step of a pruning drops: some tens of milliseconds, in which no batch is written.
const EXPIRED_AT_ONCE: i64 = 5_000;

/// Who writes where.
pub struct MergeTarget<'a> {
    pub statements: &'a Statements,
    /// The counter shard whose numbers this instance takes.
    pub counter_shard: i16,
    /// Who is told of a change.
    pub channel: &'a str,
}

/// The result of the one statement.
struct MergeOutcome {
    /// The number of the newest change of the counter shard.
    counter: i64,
    /// Devices that have changed.
    settled: i64,
    types: Vec<String>,
    ids: Vec<String>,
}

/// Merges a batch, but for what it says about the earlier states of devices that were forgotten meanwhile.
pub async fn upsert(client: &mut Object, place: &MergeTarget<'_>, batch: &Batch) -> Result<(), StoreError> {
    let (mut batch, mut left_out) = (Cow::Borrowed(batch), Vec::new());
    loop {
        let forgotten = try_upsert(client, place, &batch, &left_out).await?;
        if forgotten.is_empty() {
            return Ok(());
        }
        let without =
            batch.without(&ForgottenDevices::new(forgotten.iter().map(|tombstone| &tombstone.device)));
        batch = Cow::Owned(without);
        left_out.extend(forgotten);
    }
}

/// Merges a batch, unless it is based on earlier states of forgotten devices: then nothing is written, and their tombstones are
/// returned. Those in `left_out` have been taken into account.
async fn try_upsert(
    client: &mut Object,
    place: &MergeTarget<'_>,
    batch: &Batch,
    left_out: &[Tombstone],
) -> Result<Vec<Tombstone>, StoreError> {
    let said = columns::said(batch);
    let events = EventColumns::of(&batch.events);
    let statements = place.statements;
    let transaction = client.transaction().await.map_err(failed)?;
    // All of them before any is used: what follows is sent at once, in this order, and the answers are waited for together, since
    // each may take milliseconds on a machine that is busy.
    let merging = transaction.prepare_cached(&statements.merge).await.map_err(failed)?;
    let looking = transaction.prepare_cached(&statements.tombstones).await.map_err(failed)?;
    let adding = transaction.prepare_cached(&statements.add_events).await.map_err(failed)?;
    let merged =
        async { if said.is_empty() { Ok(()) } else { merge(&transaction, place, &merging, &said).await } };
    // After the merge, which has locked this instance's counter: forgetting a device locks all of the counters, so it has
    // either committed and is seen here, or waits for this transaction and deletes what it has written.
    let forgotten = async {
        let Some(based_on) = &batch.based_on else { return Ok(Vec::new()) };
        tombstones::later_than(&transaction, &looking, based_on).await
    };
    let added = async {
        if events.is_empty() {
            return Ok(0);
        }
        transaction.execute(&adding, &events.parameters()).await.map_err(failed)
    };
    let ((), mut later, _events) = try_join3(merged, forgotten, added).await?;
    later.retain(|one| {
        said.contains_key(&(&*one.device.name.device_type, &*one.device.name.id)) && !left_out.contains(one)
    });
    if !later.is_empty() {
        transaction.rollback().await.map_err(failed)?;
        return Ok(later);
    }
    if batch.events_lost {
        // The last lock that is taken, as pruning takes it last.
        transaction.execute(&place.statements.lose_events, &[]).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Vec::new())
}

async fn merge(
    transaction: &Transaction<'_>,
    place: &MergeTarget<'_>,
    statement: &Statement,
    said: &BTreeMap<(&str, &str), DeviceUpdate>,
) -> Result<(), StoreError> {
    let mut columns = DeviceColumns::default();
    for (name, said) in said {
        columns.push(*name, said);
    }
    let number = i64::try_from(columns.len()).unwrap_or(i64::MAX);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&place.counter_shard, &number];
    parameters.extend(columns.parameters());
    parameters.push(&place.channel);
    let row = transaction.query_one(statement, &parameters).await.map_err(failed)?;
    let outcome = MergeOutcome {
        counter: columns::column(&row, "counter")?,
        settled: columns::column(&row, "settled")?,
        types: columns::column(&row, "types")?,
        ids: columns::column(&row, "ids")?,
    };
    let settled = settle(transaction, place, said, &outcome).await?;
    // The statement has done so itself for those that it has settled.
    if settled > 0 && outcome.settled == 0 {
        transaction.execute("SELECT pg_notify($1, '')", &[&place.channel]).await.map_err(failed)?;
    }
    Ok(())
}

/// Merges what the statement has left, and says how many have changed.
async fn settle(
    transaction: &Transaction<'_>,
    place: &MergeTarget<'_>,
    said: &BTreeMap<(&str, &str), DeviceUpdate>,
    outcome: &MergeOutcome,
) -> Result<i64, StoreError> {
    if outcome.types.is_empty() {
        return Ok(0);
    }
    let select = transaction.prepare_cached(&place.statements.named).await.map_err(failed)?;
    let rows = transaction.query(&select, &[&outcome.types, &outcome.ids]).await.map_err(failed)?;
    let mut type_names = TypeNames::default();
    let kept: Result<Vec<_>, _> = rows.iter().map(|row| columns::device(row, &mut type_names)).collect();
    // A row that makes no sense keeps its own device from being written, and no other.
    let kept = kept.map_err(|error| StoreError::Refused(error.to_string()))?;
    let mut kept: BTreeMap<DeviceName, StoredDevice> =
        kept.into_iter().map(|kept| (kept.name.clone(), kept)).collect();
    let mut columns = DeviceColumns::default();
    let mut numbers = Vec::new();
    // The numbers were taken for the whole batch, the last one for its last device; those that are used here were not yet.
    for (number, (name, said)) in (outcome.counter - said.len() as i64 + 1..).zip(said) {
        let Some(kept) = kept.remove(&DeviceName { device_type: name.0.into(), id: name.1.into() }) else {
            continue;
        };
        let (mut state, received_at) = (kept.state, kept.received_at.0.max(said.received_at));
        if state.merge(said.state.clone()) || received_at > kept.received_at.0 {
            columns.push(*name, &DeviceUpdate { state, received_at });
            numbers.push(number);
        }
    }
    if numbers.is_empty() {
        return Ok(0);
    }
    let update = transaction.prepare_cached(&place.statements.settle).await.map_err(failed)?;
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&place.counter_shard];
    parameters.extend(columns.parameters());
    parameters.push(&numbers);
    transaction.execute(&update, &parameters).await.map_err(failed)?;
    Ok(i64::try_from(columns.len()).unwrap_or(i64::MAX))
}

/// Drops some of the events received before that time, and says how many.
pub async fn prune_expired(
    client: &Object,
    statements: &Statements,
    received_before: UnixSeconds,
) -> Result<u64, StoreError> {
    let delete = client.prepare_cached(&statements.prune_expired).await.map_err(failed)?;
    let before = i64::from(received_before.0);
    let pruned = client.query_one(&delete, &[&before, &EXPIRED_AT_ONCE]).await.map_err(failed)?;
    columns::column::<i64>(&pruned, "gone").map(i64::unsigned_abs)
}

/// Drops the events of the devices beyond the number that a device may have.
pub async fn prune_beyond(
    client: &Object,
    statements: &Statements,
    names: &[DeviceName],
    per_device: i64,
) -> Result<(), StoreError> {
    let (types, ids): (Vec<&str>, Vec<&str>) =
        names.iter().map(|name| (&*name.device_type, &*name.id)).unzip();
    let delete = client.prepare_cached(&statements.prune_beyond).await.map_err(failed)?;
    client.execute(&delete, &[&types, &ids, &per_device]).await.map_err(failed)?;
    Ok(())
}

/// The retention time that was set last, by whichever instance.
pub async fn retention_time(
    client: &Object,
    statements: &Statements,
) -> Result<Option<UnixSeconds>, StoreError> {
    let select = client.prepare_cached(&statements.retention_time).await.map_err(failed)?;
    let row = client.query_one(&select, &[]).await.map_err(failed)?;
    let time: Option<i64> = columns::column(&row, "time")?;
    Ok(time.and_then(|time| u32::try_from(time).ok()).map(UnixSeconds))
}

/// Keeps the retention time for a restart and for the other instances.
pub async fn set_retention_time(
    client: &Object,
    statements: &Statements,
    time: UnixSeconds,
) -> Result<(), StoreError> {
    let set = client.prepare_cached(&statements.set_retention_time).await.map_err(failed)?;
    client.execute(&set, &[&i64::from(time.0)]).await.map_err(failed)?;
    Ok(())
}
