//! The stored states of deliveries to other systems, and which instance holds the lease of each.

use std::time::Duration;

use deadpool_postgres::Object;

use super::columns::column;
use super::failed;
use super::statements::with_schema;
use crate::{DeliveryLease, DeliveryState, StoreError};

/// The statements for one schema.
pub struct DeliveryStatements {
    states: String,
    states_of: String,
    held_lease: String,
    set_state: String,
    drop_state: String,
    lease: String,
    shorten_leases: String,
    end_leases: String,
}

impl DeliveryStatements {
    pub fn new(schema: &str) -> Self {
        let sql = |text: &str| with_schema(text, schema);
        Self {
            states: sql("SELECT name, state FROM {schema}.webhook ORDER BY name"),
            states_of: sql("SELECT name, state FROM {schema}.webhook WHERE name = ANY($1::text[])"),
            // Whoever takes the lease over waits until the state is set.
            held_lease: sql("SELECT FROM {schema}.webhook_lease
                 WHERE endpoint = $1 AND holder = $2 AND expires >= clock_timestamp() FOR SHARE"),
            set_state: sql("INSERT INTO {schema}.webhook (name, state) VALUES ($1, $2)
                 ON CONFLICT (name) DO UPDATE SET state = excluded.state"),
            drop_state: sql("DELETE FROM {schema}.webhook WHERE name = $1"),
            lease: sql(include_str!("sql/lease_deliveries.sql")),
            // If the database's clock was set back, the lease of an instance that has died would last until the clock is where it was.
            shorten_leases: sql(
                "UPDATE {schema}.webhook_lease SET expires = clock_timestamp() + make_interval(secs => $2)
                 WHERE holder <> $1 AND expires > clock_timestamp() + make_interval(secs => $2)",
            ),
            end_leases: sql(
                "DELETE FROM {schema}.webhook_lease WHERE holder = $1 AND endpoint = ANY($2::text[])",
            ),
        }
    }
}

/// What is kept under these names; `None`: under all.
pub async fn states(
    client: &Object,
    statements: &DeliveryStatements,
    names: Option<&[String]>,
) -> Result<Vec<DeliveryState>, StoreError> {
    let rows = match names {
        Some(names) => {
            let select = client.prepare_cached(&statements.states_of).await.map_err(failed)?;
            client.query(&select, &[&names]).await.map_err(failed)?
        }
        None => {
            let select = client.prepare_cached(&statements.states).await.map_err(failed)?;
            client.query(&select, &[]).await.map_err(failed)?
        }
    };
    rows.iter()
        .map(|row| {
            let (name, state): (String, String) = (column(row, "name")?, column(row, "state")?);
            Ok(DeliveryState { name: name.into(), state: state.into() })
        })
        .collect()
}

/// Sets or drops a state, if the lease holds meanwhile; says whether it does.
pub async fn set_state(
    client: &mut Object,
    statements: &DeliveryStatements,
    lease: &DeliveryLease,
    (name, state): (&str, Option<&str>),
) -> Result<bool, StoreError> {
    let transaction = client.transaction().await.map_err(failed)?;
    let held = transaction.prepare_cached(&statements.held_lease).await.map_err(failed)?;
    let is_held =
        transaction.query_opt(&held, &[&&*lease.endpoint, &&*lease.holder]).await.map_err(failed)?.is_some();
    if is_held {
        match state {
            Some(state) => {
                let set = transaction.prepare_cached(&statements.set_state).await.map_err(failed)?;
                transaction.execute(&set, &[&name, &state]).await.map_err(failed)?
            }
            None => {
                let drop = transaction.prepare_cached(&statements.drop_state).await.map_err(failed)?;
                transaction.execute(&drop, &[&name]).await.map_err(failed)?
            }
        };
    }
    transaction.commit().await.map_err(failed)?;
    Ok(is_held)
}

/// Takes, renews or, with no time at all, gives leases back.
pub async fn lease(
    client: &Object,
    statements: &DeliveryStatements,
    (holder, endpoints): (&str, &[String]),
    lasts: Duration,
) -> Result<Vec<String>, StoreError> {
    if lasts.is_zero() {
        let end = client.prepare_cached(&statements.end_leases).await.map_err(failed)?;
        client.execute(&end, &[&holder, &endpoints]).await.map_err(failed)?;
        return Ok(Vec::new());
    }
    let shorten = client.prepare_cached(&statements.shorten_leases).await.map_err(failed)?;
    client.execute(&shorten, &[&holder, &lasts.as_secs_f64()]).await.map_err(failed)?;
    let lease = client.prepare_cached(&statements.lease).await.map_err(failed)?;
    let rows = client.query(&lease, &[&holder, &endpoints, &lasts.as_secs_f64()]).await.map_err(failed)?;
    rows.iter().map(|row| column(row, "endpoint")).collect()
}
