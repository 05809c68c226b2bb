//! Brings a schema to the form of this version, whichever of several instances comes first.

use deadpool_postgres::{GenericClient, Object};

use super::failed;
use super::statements::with_schema;
use crate::StoreError;

/// Each step leads from the version of its position to the next. A step that was released is never changed.
const STEPS: &[&str] = &[
    include_str!("sql/schema_1.sql"),
    include_str!("sql/schema_2.sql"),
    include_str!("sql/schema_3.sql"),
    include_str!("sql/schema_4.sql"),
    include_str!("sql/schema_5.sql"),
    include_str!("sql/schema_6.sql"),
    include_str!("sql/schema_7.sql"),
    include_str!("sql/schema_8.sql"),
    include_str!("sql/schema_9.sql"),
];

/// Takes every step that is missing, all or none.
pub async fn migrate(client: &mut Object, schema: &str) -> Result<(), StoreError> {
    let known = STEPS.len() as i64;
    // Without any lock first: this is how nearly every start goes, and it needs no right to create anything.
    if version(&*client, schema).await? == Some(known) {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(failed)?;
    // The same number for the same schema, in every version.
    let lock = "SELECT pg_advisory_xact_lock(hashtext('devstatus'), hashtext($1))";
    transaction.execute(lock, &[&schema]).await.map_err(failed)?;
    let found = version(&transaction, schema).await?;
    if let Some(found) = found.filter(|found| *found > known) {
        return Err(StoreError::NewerSchema { schema: schema.to_owned(), found, known });
    }
    if found.is_none() {
        let make = with_schema(include_str!("sql/schema_0.sql"), schema);
        transaction.batch_execute(&make).await.map_err(failed)?;
    }
    let from = usize::try_from(found.unwrap_or(0)).unwrap_or(0);
    for step in STEPS.iter().skip(from) {
        transaction.batch_execute(&with_schema(step, schema)).await.map_err(failed)?;
    }
    let set = with_schema("UPDATE {schema}.version SET version = $1", schema);
    transaction.execute(&set, &[&known]).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// The version of the schema; `None` if it holds nothing of ours.
async fn version(client: &impl GenericClient, schema: &str) -> Result<Option<i64>, StoreError> {
    // From the catalogue's table: what looks names up in the server's cache, as to_regclass does, may not yet see what another
    // instance has made while this one waited for the lock.
    let exists =
        "SELECT count(*) > 0 FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = 'version'";
    let exists = client.query_one(exists, &[&schema]).await.map_err(failed)?;
    if !exists.try_get::<_, bool>(0).map_err(failed)? {
        return Ok(None);
    }
    let select = with_schema("SELECT version FROM {schema}.version", schema);
    let row = client.query_one(&select, &[]).await.map_err(failed)?;
    row.try_get(0).map(Some).map_err(failed)
}
