//! The store in a Valkey or Redis, one server or a cluster: an in-memory grid that any number of instances share.
//!
//! A batch is no transaction here, as its devices are on many nodes: each device is one step, and a batch that has failed
//! half-way is written again whole, which changes nothing where it was written already.
//!
//! What a node has acknowledged it may lose, if it dies before its replica has it. Then the changes of the bucket are other
//! ones than those that were seen or acknowledged, which the next look for changes finds and calls a gap; whoever follows
//! the changes then writes everything again that the map holds.

mod buckets;
mod check;
mod connection;
mod encoding;
mod node;
mod position;
mod read;
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

use self::buckets::{Bucket, Keys};
use self::connection::{Call, Connection};
use self::position::Sight;
use super::settings::{Address, Server};
use super::{
    Batch, Changes, Instance, LoadSink, Mark, Page, Query, Retention, Store, StoreError, StoredDevice,
};
use presence::history::Row;
use presence::{DeviceName, UnixSeconds};

mod scripts {
    use std::sync::LazyLock;

    use super::connection::Source;

    pub static MERGE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("merge.lua")));
    pub static CHANGES: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("changes.lua")));
    pub static LIST: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("list.lua")));
    pub static FORGET: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("forget.lua")));
    pub static PRUNE: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("prune.lua")));
    pub static ATTEND: LazyLock<Source> = LazyLock::new(|| Source::new(include_str!("attend.lua")));
}

/// What the keys and their contents look like; another number with the first version that reads them otherwise.
const FORMAT: i64 = 1;

/// Without the bell every bucket is looked at so often: messages may be lost with a connection, and the truth is in the
/// changes themselves.
const LOOK_AT_ALL_INTERVAL: Duration = Duration::from_millis(400);

/// The bell rings so long after a look at the earliest: a look asks each bucket that has changed, which under load are all, so
/// many looks would cost the grid more than the changes do.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// A grid, connected for as long as this lives.
pub struct ValkeyStore {
    grid: Grid,
    /// Events heard before are not shown, pruned yet or not.
    heard_since: AtomicU32,
    looked_at: Mutex<Option<Instant>>,
    looked_at_all: Mutex<Option<Instant>>,
    listening: AbortHandle,
}

impl Drop for ValkeyStore {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// What reading and writing share.
struct Grid {
    connection: Arc<Connection>,
    keys: Keys,
    retention: Retention,
    sight: Arc<Mutex<Sight>>,
    bell: Arc<Notify>,
    /// Tells our own messages from those of others.
    sender: u64,
}

impl ValkeyStore {
    /// Connects; `prefix` begins all keys.
    pub async fn open(
        server: &Server,
        ca_file: Option<&Path>,
        prefix: &str,
        retention: Retention,
    ) -> Result<Self, StoreError> {
        let (sight, bell): (Arc<Mutex<Sight>>, Arc<Notify>) = Default::default();
        let connection = Arc::new(Connection::open(server, ca_file).await?);
        let (keys, sender) = (Keys::new(prefix), rand::random());
        let grid = Grid { connection, keys, retention, sight, bell, sender };
        grid.check_servers(server).await?;
        grid.check_format().await?;
        let listening = tokio::spawn(grid.listen()).abort_handle();
        let (heard_since, looked_at, looked_at_all) = Default::default();
        Ok(Self { grid, heard_since, looked_at, looked_at_all, listening })
    }

    fn begin_look(&self) {
        let (now, mut looked_at_all) = (Instant::now(), self.looked_at_all.lock());
        *self.looked_at.lock() = Some(now);
        if looked_at_all.is_none_or(|at| at + LOOK_AT_ALL_INTERVAL <= now) {
            *looked_at_all = Some(now);
            self.grid.sight.lock().ring_all();
        }
    }
}

/// Whether a message says that others have changed something.
fn hear(push: &PushInfo, own: u64, sight: &mut Sight) -> bool {
    match push.kind {
        PushKind::Message | PushKind::SMessage => {}
        // What was said while nobody listened is lost.
        PushKind::Subscribe | PushKind::SSubscribe => {
            sight.ring_all();
            return true;
        }
        _ => return false,
    }
    let Some(Value::BulkString(message)) = push.data.last() else { return false };
    let Some((sender, buckets)) = message.split_first_chunk() else { return false };
    if u64::from_be_bytes(*sender) == own {
        return false;
    }
    buckets.iter().for_each(|number| sight.ring(Bucket::from(*number)));
    true
}

impl Grid {
    /// Hears what others have changed, for ever.
    fn listen(&self) -> impl Future<Output = ()> + use<> {
        let (sight, bell, sender) = (Arc::clone(&self.sight), Arc::clone(&self.bell), self.sender);
        let listener = Arc::new(move |push: PushInfo| {
            if hear(&push, sender, &mut sight.lock()) {
                bell.notify_one();
            }
        });
        let (connection, slot) = (Arc::clone(&self.connection), self.keys.slot_of_all());
        let channel = self.keys.of_all("bell");
        async move { connection.listen(slot, &channel, listener).await }
    }

    /// Refuses servers that would lose what they are given, or take nothing.
    async fn check_servers(&self, server: &Server) -> Result<(), StoreError> {
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

    /// Rings for the buckets, here and at all other instances. A message that is lost delays, nothing more.
    async fn tell(&self, changed: &[Bucket]) {
        if changed.is_empty() {
            return;
        }
        let mut message = self.sender.to_be_bytes().to_vec();
        {
            let mut sight = self.sight.lock();
            for bucket in changed {
                sight.ring(*bucket);
                message.push(bucket.number());
            }
        }
        if let Err(error) =
            self.connection.publish(self.keys.slot_of_all(), &self.keys.of_all("bell"), &message).await
        {
            tracing::debug!(%error, "other instances were not told of a change and find it by themselves");
        }
    }

    async fn attend(&self, instance: &Instance, lives_for: Duration) -> redis::RedisResult<Vec<Instance>> {
        let mut call = Call::default();
        for key in ["until", "joined", "notes"] {
            call.key(self.keys.of_all(key));
        }
        call.argument(instance.id.as_bytes()).argument(instance.note.as_bytes());
        call.argument(lives_for.as_millis().to_string());
        let living: Vec<(String, String)> =
            self.connection.run(self.keys.slot_of_all(), &scripts::ATTEND, &call).await?;
        Ok(living.into_iter().map(|(id, note)| Instance { id: id.into(), note: note.into() }).collect())
    }
}

impl Store for ValkeyStore {
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.upsert(&batch).await?) })
    }

    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.load(sink).await?) })
    }

    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        Box::pin(async move { Ok(self.grid.named(&names).await?) })
    }

    fn list(&self, query: Query) -> BoxFuture<'_, Result<Page, StoreError>> {
        Box::pin(async move { Ok(self.grid.list(&query).await?) })
    }

    fn changes(&self, since: Mark, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
        Box::pin(async move {
            self.begin_look();
            Ok(self.grid.changes(&since, limit).await?)
        })
    }

    fn mark(&self) -> BoxFuture<'_, Result<Mark, StoreError>> {
        Box::pin(async move { Ok(self.grid.mark().await?) })
    }

    fn bell(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.grid.bell.notified().await;
            let looked_at = *self.looked_at.lock();
            if let Some(looked_at) = looked_at {
                sleep_until(looked_at + LOOK_PAUSE).await;
            }
        })
    }

    fn attend(
        &self,
        instance: Instance,
        lives_for: Duration,
    ) -> BoxFuture<'_, Result<Vec<Instance>, StoreError>> {
        Box::pin(async move {
            let living = self.grid.attend(&instance, lives_for).await;
            living.map_err(|error| StoreError::Write(error.to_string()))
        })
    }

    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        let heard_since = UnixSeconds(self.heard_since.load(Ordering::Relaxed));
        Box::pin(async move { Ok(self.grid.history(&name, before, limit, heard_since).await?) })
    }

    fn prune(&self, heard_before: UnixSeconds) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.heard_since.store(heard_before.0, Ordering::Relaxed);
        Box::pin(async move { Ok(self.grid.prune(heard_before).await?) })
    }

    fn retention_time(&self) -> BoxFuture<'_, Result<Option<UnixSeconds>, StoreError>> {
        Box::pin(async move { Ok(self.grid.retention_time().await?) })
    }

    fn set_retention_time(&self, time: UnixSeconds) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.set_retention_time(time).await?) })
    }

    fn forget(
        &self,
        names: Vec<DeviceName>,
        before_nanos: Option<i64>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.grid.forget(&names, before_nanos).await?) })
    }
}
