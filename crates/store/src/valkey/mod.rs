//! The store in a Valkey or Redis, one server or a cluster: an in-memory grid that any number of instances share.
//!
//! A batch is no transaction here, as its devices are on many nodes: each device is one step, and a batch that has failed
//! half-way is written again whole, which changes nothing where it was written already.
//!
//! What a node has acknowledged it may lose, if it dies before its replica has it. Then the changes of the bucket are other
//! ones than those that were seen or acknowledged, which the next look for changes finds and calls a gap; whoever follows
//! the changes then writes everything again that the registry holds.

mod buckets;
mod check;
mod connection;
mod deliveries;
mod encoding;
mod node;
mod position;
mod read;
mod series;
mod topology;
mod write;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use self::buckets::{Bucket, BucketKeys};
use self::connection::{Call, ClusterConnection};
use self::position::ChangeTracker;
use self::read::OwnChanges;
use super::settings::{Address, StoreServer};
use super::{
    Batch, ChangeCursor, Changes, DeliveryLease, DeliveryState, ForgottenDevice, Instance, LoadSink,
    PruneStep, ReadDevices, ReadHistory, Retention, Store, StoreError, StoredDevice,
};
use crate::totals;
use presence::history::HistoryRow;
use presence::query::{Page, Scan, Total};
use presence::{DeviceName, UnixSeconds};

mod scripts {
    use std::sync::LazyLock;

    use super::connection::ScriptSource;

    pub static MERGE: LazyLock<ScriptSource> = LazyLock::new(|| ScriptSource::new(include_str!("merge.lua")));
    pub static CHANGES: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("changes.lua")));
    pub static LIST: LazyLock<ScriptSource> = LazyLock::new(|| ScriptSource::new(include_str!("list.lua")));
    pub static EXPIRE: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("expire.lua")));
    pub static FORGET: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("forget.lua")));
    pub static PRUNE: LazyLock<ScriptSource> = LazyLock::new(|| ScriptSource::new(include_str!("prune.lua")));
    pub static HEARTBEAT: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("heartbeat.lua")));
    pub static WRITE_SERIES: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("write_series.lua")));
    pub static LEASE_DELIVERIES: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("lease_deliveries.lua")));
    pub static SET_DELIVERY_STATE: LazyLock<ScriptSource> =
        LazyLock::new(|| ScriptSource::new(include_str!("set_delivery_state.lua")));
}

/// What the keys and their contents look like; another number with the first version that reads them otherwise.
const FORMAT: i64 = 1;

/// A poll that begins this long after one of all buckets asks all of them again, whatever notifications name: a notification
/// may be lost with a connection.
const POLL_ALL_INTERVAL: Duration = Duration::from_millis(400);

/// A grid, connected for as long as this lives.
pub struct ValkeyStore {
    grid: Grid,
    /// Events received before are not shown, pruned yet or not.
    received_since: AtomicU32,
    polled_at: Mutex<Option<Instant>>,
    polled_all_at: Mutex<Option<Instant>>,
    listening: AbortHandle,
}

impl Drop for ValkeyStore {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What reading and writing share.
struct Grid {
    connection: Arc<ClusterConnection>,
    keys: BucketKeys,
    retention: Retention,
    tracker: Arc<Mutex<ChangeTracker>>,
    change_notified: Arc<Notify>,
    /// Tells our own messages from those of others.
    sender: u64,
}

impl ValkeyStore {
    /// Connects; `prefix` begins all keys.
    pub async fn open(
        server: &StoreServer,
        ca_file: Option<&Path>,
        prefix: &str,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        let (tracker, change_notified): (Arc<Mutex<ChangeTracker>>, Arc<Notify>) = Default::default();
        let connection = Arc::new(ClusterConnection::open(server, ca_file).await?);
        let (keys, sender) = (BucketKeys::new(prefix), rand::random());
        let grid = Grid { connection, keys, retention, tracker, change_notified, sender };
        grid.check_servers(server).await?;
        grid.check_format().await?;
        let listening = tokio::spawn(grid.listen()).abort_handle();
        let (received_since, polled_at, polled_all_at) = Default::default();
        Ok(Self { grid, received_since, polled_at, polled_all_at, listening })
    }

    fn begin_poll(&self) {
        let (now, mut polled_all_at) = (Instant::now(), self.polled_all_at.lock());
        *self.polled_at.lock() = Some(now);
        if polled_all_at.is_none_or(|at| at + POLL_ALL_INTERVAL <= now) {
            *polled_all_at = Some(now);
            self.grid.tracker.lock().note_all_changed();
        }
    }
}

/// Whether a message says that others have changed something.
fn note_push(push: &PushInfo, own: u64, tracker: &mut ChangeTracker) -> bool {
    match push.kind {
        PushKind::Message | PushKind::SMessage => {}
        // What was said while nobody listened is lost.
        PushKind::Subscribe | PushKind::SSubscribe => {
            tracker.note_all_changed();
            return true;
        }
        _ => return false,
    }
    let Some(Value::BulkString(message)) = push.data.last() else { return false };
    let Some((sender, buckets)) = message.split_first_chunk() else { return false };
    if u64::from_be_bytes(*sender) == own {
        return false;
    }
    buckets.iter().for_each(|number| tracker.note_changed(Bucket::from(*number)));
    true
}

impl Grid {
    /// Hears what others have changed, for ever.
    fn listen(&self) -> impl Future<Output = ()> + use<> {
        let (tracker, change_notified, sender) =
            (Arc::clone(&self.tracker), Arc::clone(&self.change_notified), self.sender);
        let listener = Arc::new(move |push: PushInfo| {
            if note_push(&push, sender, &mut tracker.lock()) {
                change_notified.notify_one();
            }
        });
        let (connection, slot) = (Arc::clone(&self.connection), self.keys.slot_of_all());
        let channel = self.keys.of_all("changed");
        async move { connection.listen(slot, &channel, listener).await }
    }

    /// Refuses servers that would lose what they are given, or take nothing.
    async fn check_servers(&self, server: &StoreServer) -> Result<(), StoreError> {
        let cannot = |why: String| StoreError::Connect { server: server.to_string(), why };
        for (Address { host, port }, info) in self.connection.infos().await {
            if let Some(fault) = check::fault(&info, self.connection.is_cluster()) {
                return Err(cannot(format!("the server {host}:{port} {fault}")));
            }
        }
        let bucket = Bucket::from(0);
        let (slot, call) = (self.keys.slot(bucket), self.call(bucket, 0, &[]));
        let tried = self.connection.run::<Value>(slot, &scripts::MERGE, &call).await;
        tried
            .map(drop)
            .map_err(|error| cannot(format!("it does not run our scripts (EVAL, EVALSHA): {error}")))
    }

    /// Refuses keys of a newer version.
    async fn check_format(&self) -> Result<(), StoreError> {
        let failed = |error: redis::RedisError| StoreError::Read(format!("cannot use the store: {error}"));
        let (slot, key) = (self.keys.slot_of_all(), self.keys.of_all("format"));
        let set = self.connection.ask::<Value>(slot, redis::cmd("SETNX").arg(&key).arg(FORMAT)).await;
        set.map_err(failed)?;
        let found: i64 = self.connection.ask(slot, redis::cmd("GET").arg(&key)).await.map_err(failed)?;
        if found > FORMAT {
            return Err(StoreError::Newer { path: key.into(), found, known: FORMAT });
        }
        Ok(())
    }

    /// Notifies of changes in the buckets, here and at all other instances. A message that is lost delays, nothing more.
    async fn hand_over(&self, changed: &[Bucket]) {
        if changed.is_empty() {
            return;
        }
        let mut message = self.sender.to_be_bytes().to_vec();
        {
            let mut tracker = self.tracker.lock();
            for bucket in changed {
                tracker.note_changed(*bucket);
                message.push(bucket.number());
            }
        }
        if let Err(error) =
            self.connection.publish(self.keys.slot_of_all(), &self.keys.of_all("changed"), &message).await
        {
            tracing::debug!(%error, "a change notification could not be sent; other instances find the change at their next poll");
        }
    }

    async fn heartbeat(&self, instance: &Instance, lives_for: Duration) -> redis::RedisResult<Vec<Instance>> {
        let mut call = Call::default();
        for key in ["until", "joined", "notes"] {
            call.key(self.keys.of_all(key));
        }
        call.argument(instance.id.as_bytes()).argument(instance.note.as_bytes());
        call.argument(lives_for.as_millis().to_string());
        let live_members: Vec<(String, String)> =
            self.connection.run(self.keys.slot_of_all(), &scripts::HEARTBEAT, &call).await?;
        Ok(live_members.into_iter().map(|(id, note)| Instance { id: id.into(), note: note.into() }).collect())
    }
}

impl ReadDevices for ValkeyStore {
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        Box::pin(async move { Ok(self.grid.named(&names).await?) })
    }

    fn list(&self, scan: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>> {
        Box::pin(async move { Ok(self.grid.list(&scan).await?) })
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        Box::pin(totals::count(self))
    }
}

impl ReadHistory for ValkeyStore {
    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        let received_since = UnixSeconds(self.received_since.load(Ordering::Relaxed));
        Box::pin(async move { Ok(self.grid.history(&name, before, limit, received_since).await?) })
    }
}

impl Store for ValkeyStore {
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.upsert(&batch).await?) })
    }

    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.load(sink).await?) })
    }

    fn changes(&self, since: ChangeCursor, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
        Box::pin(async move {
            self.begin_poll();
            Ok(self.grid.changes(&since, limit, OwnChanges::Included).await?)
        })
    }

    fn changes_of_others(
        &self,
        since: ChangeCursor,
        limit: usize,
    ) -> BoxFuture<'_, Result<Changes, StoreError>> {
        Box::pin(async move {
            self.begin_poll();
            Ok(self.grid.changes(&since, limit, OwnChanges::LeftOut).await?)
        })
    }

    fn cursor(&self) -> BoxFuture<'_, Result<ChangeCursor, StoreError>> {
        Box::pin(async move { Ok(self.grid.cursor().await?) })
    }

    fn change_notified(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.grid.change_notified.notified().await;
            let (polled_at, pause) = (*self.polled_at.lock(), self.grid.tracker.lock().poll_pause());
            if let Some(polled_at) = polled_at {
                sleep_until(polled_at + pause).await;
            }
        })
    }

    fn heartbeat(
        &self,
        instance: Instance,
        lives_for: Duration,
    ) -> BoxFuture<'_, Result<Vec<Instance>, StoreError>> {
        Box::pin(async move {
            let live_members = self.grid.heartbeat(&instance, lives_for).await;
            live_members.map_err(|error| StoreError::Write(error.to_string()))
        })
    }

    fn prune(&self, received_before: UnixSeconds) -> BoxFuture<'_, Result<PruneStep, StoreError>> {
        self.received_since.store(received_before.0, Ordering::Relaxed);
        Box::pin(async move { Ok(self.grid.prune(received_before).await?) })
    }

    fn retention_time(&self) -> BoxFuture<'_, Result<Option<UnixSeconds>, StoreError>> {
        Box::pin(async move { Ok(self.grid.retention_time().await?) })
    }

    fn set_retention_time(&self, time: UnixSeconds) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.set_retention_time(time).await?) })
    }

    fn delivery_states(&self) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        Box::pin(async move {
            self.grid.delivery_states().await.map_err(|error| StoreError::Read(error.to_string()))
        })
    }

    fn delivery_states_of(
        &self,
        names: Vec<String>,
    ) -> BoxFuture<'_, Result<Vec<DeliveryState>, StoreError>> {
        Box::pin(async move {
            let read = self.grid.delivery_states_of(&names).await;
            read.map_err(|error| StoreError::Read(error.to_string()))
        })
    }

    fn set_delivery_state(
        &self,
        lease: &DeliveryLease,
        name: &str,
        state: Option<String>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let (lease, name) = (lease.clone(), name.to_owned());
        Box::pin(async move {
            let done = self.grid.set_delivery_state(&lease, &name, state.as_deref()).await;
            done.map_err(|error| StoreError::Write(error.to_string()))
        })
    }

    fn lease_deliveries(
        &self,
        holder: &str,
        endpoints: Vec<String>,
        lasts: Duration,
    ) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        let holder = holder.to_owned();
        Box::pin(async move {
            let done = self.grid.lease_deliveries(&holder, &endpoints, lasts).await;
            done.map_err(|error| StoreError::Write(error.to_string()))
        })
    }

    fn expire(&self, names: Vec<DeviceName>, before_nanos: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.expire(&names, before_nanos).await?) })
    }

    fn forget(&self, device: ForgottenDevice) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.forget(&device).await?) })
    }

    fn forgotten(&self) -> BoxFuture<'_, Result<Vec<ForgottenDevice>, StoreError>> {
        Box::pin(async move { Ok(self.grid.forgotten().await?) })
    }
}
