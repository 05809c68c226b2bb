//! The store in a PostgreSQL database, or what speaks its protocol, shared by any number of instances and readable with SQL.
//!
//! The statements stand in files of their own, in `sql`. Each is right whatever other instances do at the same moment; what
//! they rely on is said there. Of a connection nothing is expected: after any error it is given up and another one made.

mod check;
mod columns;
mod connect;
mod deliveries;
mod listener;
mod merge;
mod migrate;
mod order;
mod prune_candidates;
mod read;
mod series;
mod start;
mod statements;
mod tls;
mod tombstones;

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_postgres::{GenericClient, Object, Pool, PoolError};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use rand::RngExt;
use tokio::time::timeout;

use self::listener::ChangeListener;
use self::merge::MergeTarget;
use self::prune_candidates::PruneCandidates;
use self::read::{COUNTER_SHARDS, Window};
use self::statements::Statements;
use super::settings::{StoreServer, StoreSettings};
use super::{
    Batch, ChangeCursor, Changes, DeliveryLease, DeliveryState, ForgottenDevice, Instance, LoadSink,
    PruneStep, ReadDevices, ReadHistory, Retention, Store, StoreError, StoredDevice,
};
use presence::history::{EventPage, HistoryPosition, HistoryRow};
use presence::query::{Page, Scan, Total};
use presence::{Device, DeviceName, UnixSeconds};
use system::sentence;

/// A statement that takes longer has failed: the connection may be dead without anyone having closed it. Loading everything
/// is bounded by nothing but its progress.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(20);

/// The expression for what changes with each failover and restoring; not every server that speaks the protocol has it.
const TIMELINE: &str = "left(pg_walfile_name(pg_current_wal_lsn()), 8)";
const NO_TIMELINE: &str = "NULL::text";

/// Tells one server and its replicas from all others.
const CLUSTER: &str = "(SELECT system_identifier FROM pg_control_system())";
/// Some hosts do not allow that.
const NO_CLUSTER: &str = "current_database()";

/// One schema of one database.
pub struct PostgresStore {
    pool: Pool,
    change_notified: ChangeListener,
    statements: Statements,
    schema: String,
    /// In which of the counter shards this instance writes: any, as long as not all take the same one.
    counter_shard: i16,
    retention: Retention,
    /// Events received before are not shown, pruned yet or not.
    received_since: AtomicU32,
    prune_candidates: Mutex<PruneCandidates>,
    timeline: Mutex<Option<String>>,
}

impl PostgresStore {
    /// Connects, and makes the schema or brings it to the form of this version.
    pub async fn open(
        server: &StoreServer,
        settings: &StoreSettings,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        let config = connect::config(server);
        let encryption = connect::encryption(server, settings)?;
        let pool = connect::pool(config.clone(), encryption.clone())?;
        let cannot = |why: String| StoreError::Connect { server: server.to_string(), why };
        let mut client =
            start::first_connection(&pool, &config, encryption.as_ref()).await.map_err(cannot)?;
        check::check(&pool).await.map_err(cannot)?;
        let schema = settings.schema.clone();
        migrate::migrate(&mut client, &schema).await.map_err(|error| match error {
            StoreError::Write(why) | StoreError::Refused(why) => cannot(why),
            other => other,
        })?;
        let timeline = first_supported(&client, [TIMELINE, NO_TIMELINE]).await;
        let cluster = first_supported(&client, [CLUSTER, NO_CLUSTER]).await;
        let statements = Statements::new(&schema, timeline, cluster);
        order::renew(&mut client, &statements).await?;
        Ok(Self {
            pool,
            change_notified: ChangeListener::new(config, encryption, &schema),
            statements,
            schema,
            counter_shard: rand::rng().random_range(0..COUNTER_SHARDS as i16),
            retention,
            received_since: AtomicU32::new(0),
            prune_candidates: Mutex::new(PruneCandidates::new(retention.per_device)),
            timeline: Mutex::default(),
        })
    }

    async fn client(&self) -> Result<PooledConnection, StoreError> {
        match self.pool.get().await {
            Ok(client) => Ok(PooledConnection(Some(client))),
            Err(error) => Err(StoreError::Write(no_connection(&error))),
        }
    }

    fn per_device(&self) -> i64 {
        i64::try_from(self.retention.per_device).unwrap_or(i64::MAX)
    }

    fn merge_target(&self) -> MergeTarget<'_> {
        MergeTarget { statements: &self.statements, counter_shard: self.counter_shard, channel: &self.schema }
    }

    async fn merge(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut client = self.client().await?;
        let merged = merge::upsert(&mut client, &self.merge_target(), batch).await;
        client.served(merged)?;
        let names = batch
            .events
            .iter()
            .map(|event| DeviceName { device_type: Arc::clone(&event.device_type), id: event.id.clone() });
        self.prune_candidates.lock().note(names);
        Ok(())
    }

    async fn poll(&self, since: ChangeCursor, limit: usize) -> Result<Changes, StoreError> {
        let client = self.client().await?;
        let polled = read::changes(&client, &self.statements, &since, limit).await;
        let polled = client.served(polled)?;
        let before = std::mem::replace(&mut *self.timeline.lock(), polled.timeline.clone());
        if before.is_some() && before != polled.timeline {
            return Err(StoreError::Gap("another server has taken over".to_owned()));
        }
        Ok(polled.changes)
    }

    /// One step of a pruning: first what is too old, then what devices with new events have beyond their number.
    async fn prune_some(&self, received_before: UnixSeconds) -> Result<PruneStep, StoreError> {
        let client = self.client().await?;
        let expired = merge::prune_expired(&client, &self.statements, received_before).await;
        let expired = client.served(expired)?;
        if expired > 0 {
            return Ok(PruneStep { expired, is_all: false });
        }
        let client = self.client().await?;
        let names = self.prune_candidates.lock().take();
        let pruned = merge::prune_beyond(&client, &self.statements, &names, self.per_device()).await;
        let pruned = client.served(pruned);
        let mut candidates = self.prune_candidates.lock();
        if pruned.is_err() {
            candidates.put_back(names);
        }
        pruned.map(|()| PruneStep { expired, is_all: candidates.is_over() })
    }

    async fn say_alive(&self, instance: Instance, lives_for: Duration) -> Result<Vec<Instance>, StoreError> {
        let mut client = self.client().await?;
        let live_members = heartbeat(&mut client, &self.statements, &instance, lives_for).await;
        client.served(live_members)
    }
}

/// One instance at a time, so that all agree on who came first.
async fn heartbeat(
    client: &mut Object,
    statements: &Statements,
    instance: &Instance,
    lives_for: Duration,
) -> Result<Vec<Instance>, StoreError> {
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.batch_execute(&statements.lock_instances).await.map_err(failed)?;
    let (id, note) = (&*instance.id, &*instance.note);
    let gone = if lives_for.is_zero() { id } else { "" };
    if !lives_for.is_zero() {
        let heartbeat = transaction.prepare_cached(&statements.heartbeat).await.map_err(failed)?;
        transaction.execute(&heartbeat, &[&id, &note, &lives_for.as_secs_f64()]).await.map_err(failed)?;
    }
    let leave = transaction.prepare_cached(&statements.leave).await.map_err(failed)?;
    transaction.execute(&leave, &[&gone]).await.map_err(failed)?;
    let select = transaction.prepare_cached(&statements.instances).await.map_err(failed)?;
    let rows = transaction.query(&select, &[]).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    rows.iter()
        .map(|row| {
            let (id, note): (String, String) = (columns::column(row, "id")?, columns::column(row, "note")?);
            Ok(Instance { id: id.into(), note: note.into() })
        })
        .collect()
}

/// Of two expressions the first, unless the server refuses it.
async fn first_supported(client: &Object, [wanted, instead]: [&'static str; 2]) -> &'static str {
    match client.query_one(&format!("SELECT {wanted}"), &[]).await {
        Ok(_) => wanted,
        Err(_) => instead,
    }
}

/// A connection that goes back to the pool only if what was done over it was done: after an error, and if it was waited
/// for in vain, it is given up.
struct PooledConnection(Option<Object>);

impl PooledConnection {
    fn served<T>(mut self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if done.is_ok() {
            drop(self.0.take());
        }
        done
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

impl Deref for PooledConnection {
    type Target = Object;

    fn deref(&self) -> &Object {
        self.0.as_ref().expect("it is held until it is dropped")
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut Object {
        self.0.as_mut().expect("it is held until it is dropped")
    }
}

/// Classes of SQLSTATE that are about what was written: data, constraints, triggers, what somebody raised, limits of a row.
const REFUSED_CLASSES: [&str; 8] = ["22", "23", "27", "38", "39", "44", "54", "P0"];
/// A prepared statement is there already, or is gone: somebody else uses the same session.
const FOREIGN_STATEMENTS: [&str; 2] = ["42P05", "26000"];

/// Why the pool has no connection to give, in the words of the database or of the way to it.
fn no_connection(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => sentence(error),
        PoolError::Timeout(_) => "no connection to the database was free or made in time".to_owned(),
        other => sentence(other),
    }
}

/// What the database or the way to it says.
fn failed(error: tokio_postgres::Error) -> StoreError {
    let code = error.code().map(|state| state.code().to_owned()).unwrap_or_default();
    let why = sentence(&error);
    if REFUSED_CLASSES.iter().any(|class| code.starts_with(class)) {
        StoreError::Refused(why)
    } else if FOREIGN_STATEMENTS.contains(&&*code) {
        StoreError::Write(format!("{why}: {}", check::SESSIONS_SHARED))
    } else {
        StoreError::Write(why)
    }
}

/// Boxes what is done, and bounds it. What is broken off takes its connection with it.
fn bounded<'a, T: Send + 'a>(
    done: impl Future<Output = Result<T, StoreError>> + Send + 'a,
) -> BoxFuture<'a, Result<T, StoreError>> {
    Box::pin(async move {
        timeout(STATEMENT_TIMEOUT, done).await.unwrap_or_else(|_| {
            let seconds = STATEMENT_TIMEOUT.as_secs();
            Err(StoreError::Write(format!("the database has not answered for {seconds} s")))
        })
    })
}

impl ReadDevices for PostgresStore {
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = read::named(&client, &self.statements, &names).await;
            client.served(done)
        })
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = read::totals(&client, &self.statements).await;
            client.served(done)
        })
    }

    fn list(&self, scan: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = read::list(&client, &self.schema, &scan).await;
            client.served(done)
        })
    }
}

impl ReadHistory for PostgresStore {
    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        let received_since = i64::from(self.received_since.load(Ordering::Relaxed));
        let window = Window { before, limit, per_device: self.per_device(), received_since };
        bounded(async move {
            let client = self.client().await?;
            let done = read::history(&client, &self.statements, &name, &window).await;
            client.served(done)
        })
    }

    fn events(
        &self,
        after: HistoryPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = order::events(&client, &self.statements, after, limit).await;
            client.served(done).map(Some)
        })
    }
}

impl Store for PostgresStore {
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        bounded(async move { self.merge(&batch).await })
    }

    fn refuses(&self, device: Device<'_>) -> Option<&'static str> {
        columns::refusal(device.device_type, device.id)
    }

    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let client = self.client().await?;
            let done = read::load(&client, &self.statements, &*sink).await;
            client.served(done)
        })
    }

    fn changes(&self, since: ChangeCursor, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
        bounded(self.poll(since, limit))
    }

    fn cursor(&self) -> BoxFuture<'_, Result<ChangeCursor, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = read::cursor(&client, &self.statements).await;
            client.served(done)
        })
    }

    fn change_notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.change_notified.wait())
    }

    fn heartbeat(
        &self,
        instance: Instance,
        lives_for: Duration,
    ) -> BoxFuture<'_, Result<Vec<Instance>, StoreError>> {
        bounded(self.say_alive(instance, lives_for))
    }

    fn prune(&self, received_before: UnixSeconds) -> BoxFuture<'_, Result<PruneStep, StoreError>> {
        self.received_since.store(received_before.0, Ordering::Relaxed);
        bounded(self.prune_some(received_before))
    }

    fn retention_time(&self) -> BoxFuture<'_, Result<Option<UnixSeconds>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = merge::retention_time(&client, &self.statements).await;
            client.served(done)
        })
    }

    fn set_retention_time(&self, time: UnixSeconds) -> BoxFuture<'_, Result<(), StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = merge::set_retention_time(&client, &self.statements, time).await;
            client.served(done)
        })
    }

    fn delivery_states(&self) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = deliveries::states(&client, &self.statements.deliveries, None).await;
            client.served(done)
        })
    }

    fn delivery_states_of(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = deliveries::states(&client, &self.statements.deliveries, Some(&names)).await;
            client.served(done)
        })
    }

    fn set_delivery_state(
        &self,
        lease: &DeliveryLease,
        name: &str,
        state: Option<String>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (lease, name) = (lease.clone(), name.to_owned());
        bounded(async move {
            let mut client = self.client().await?;
            let done = deliveries::set_state(
                &mut client,
                &self.statements.deliveries,
                &lease,
                (&name, state.as_deref()),
            )
            .await;
            client.served(done)
        })
    }

    fn lease_deliveries(
        &self,
        holder: &str,
        endpoints: Vec<String>,
        lasts: Duration,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let holder = holder.to_owned();
        bounded(async move {
            let client = self.client().await?;
            let done =
                deliveries::lease(&client, &self.statements.deliveries, (&holder, &endpoints), lasts).await;
            client.served(done)
        })
    }

    fn expire(&self, names: Vec<DeviceName>, before_nanos: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let done = tombstones::expire(&client, &self.statements, &names, before_nanos).await;
            client.served(done)
        })
    }

    fn forget(&self, device: ForgottenDevice) -> BoxFuture<'_, Result<(), StoreError>> {
        bounded(async move {
            let mut client = self.client().await?;
            let done = tombstones::forget(&mut client, &self.merge_target(), &device).await;
            client.served(done)
        })
    }

    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenDevice>, StoreError>> {
        bounded(async move {
            let client = self.client().await?;
            let found = tombstones::all(&client, &self.statements).await;
            let found = client.served(found)?;
            Ok(found.into_iter().map(|tombstone| tombstone.device).collect())
        })
    }
}
