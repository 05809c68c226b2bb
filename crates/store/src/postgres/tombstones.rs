//! Deleting devices: those that have expired, and those that are forgotten, of which a tombstone remains.

use deadpool_postgres::{GenericClient, Object};
use tokio_postgres::{Row, Statement};

use super::columns;
use super::failed;
use super::merge::MergeTarget;
use super::read;
use super::statements::Statements;
use crate::type_names::TypeNames;
use crate::{ChangeCursor, ForgottenDevice, StoreError, TOMBSTONES_MAX};
use presence::{DeviceName, UnixSeconds};

/// A forgotten device, and which change of which counter shard that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub device: ForgottenDevice,
    pub counter_shard: i16,
    pub changed: i64,
}

/// Every tombstone.
pub async fn all(client: &Object, statements: &Statements) -> Result<Vec<Tombstone>, StoreError> {
    let select = client.prepare_cached(&statements.tombstones).await.map_err(failed)?;
    later_than(client, &select, &ChangeCursor::BEGINNING).await
}

/// The tombstones after a cursor, by the prepared statement.
pub async fn later_than(
    client: &impl GenericClient,
    statement: &Statement,
    cursor: &ChangeCursor,
) -> Result<Vec<Tombstone>, StoreError> {
    let rows = client.query(statement, &[&read::numbers(cursor)]).await.map_err(failed)?;
    let mut names = TypeNames::default();
    rows.iter().map(|row| tombstone(row, &mut names)).collect()
}

/// The tombstone in a row.
pub fn tombstone(row: &Row, names: &mut TypeNames) -> Result<Tombstone, StoreError> {
    let id = columns::column::<&str>(row, "id")?.into();
    let name = DeviceName { device_type: names.shared(columns::column(row, "type")?), id };
    let at = u32::try_from(columns::column::<i64>(row, "forgotten_at")?).unwrap_or(0);
    Ok(Tombstone {
        device: ForgottenDevice { name, at: UnixSeconds(at) },
        counter_shard: columns::column(row, "counter_shard")?,
        changed: columns::column(row, "changed")?,
    })
}

/// Deletes a device, and leaves a tombstone.
pub async fn forget(
    client: &mut Object,
    place: &MergeTarget<'_>,
    device: &ForgottenDevice,
) -> Result<(), StoreError> {
    let statements = place.statements;
    let (device_type, id, at) = (&*device.name.device_type, &*device.name.id, i64::from(device.at.0));
    if columns::refusal(device_type, id).is_some() {
        // It was never written.
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    // A statement of its own: the next one then sees whatever was written before all counters were locked.
    transaction.batch_execute(&statements.lock_counters).await.map_err(failed)?;
    let forget = transaction.prepare_cached(&statements.forget).await.map_err(failed)?;
    transaction.execute(&forget, &[&place.counter_shard, &device_type, &id, &at]).await.map_err(failed)?;
    let most = i64::try_from(TOMBSTONES_MAX).unwrap_or(i64::MAX);
    transaction.execute(&statements.prune_tombstones, &[&most]).await.map_err(failed)?;
    transaction.execute("SELECT pg_notify($1, '')", &[&place.channel]).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// Deletes those of the devices that have been disconnected since before the moment.
pub async fn expire(
    client: &Object,
    statements: &Statements,
    names: &[DeviceName],
    before_nanos: i64,
) -> Result<(), StoreError> {
    let (types, ids): (Vec<&str>, Vec<&str>) =
        names.iter().map(|name| (&*name.device_type, &*name.id)).unzip();
    let delete = client.prepare_cached(&statements.expire).await.map_err(failed)?;
    client.execute(&delete, &[&types, &ids, &before_nanos]).await.map_err(failed)?;
    Ok(())
}
