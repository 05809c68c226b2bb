//! All that changes the grid: batches, pruning, deleting devices. Each bucket is asked by itself, all at once; the client library
//! sends what goes to one node over one connection.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use redis::{RedisError, Value};

use super::buckets::{BUCKETS, Bucket, joined};
use super::connection::Call;
use super::encoding::{self, Damaged, Tombstone};
use super::position::{BucketPosition, BucketPositions};
use super::{Grid, scripts};
use crate::{Batch, ForgottenDevice, PruneStep, REPEATS_WITHIN, StoreError, TOMBSTONES_MAX};
use presence::history::HistoryEvent;
use presence::{Device, DeviceName, DeviceState, UnixSeconds};

/// Devices in one call: a server does nothing else meanwhile, some milliseconds at most.
const DEVICES_AT_ONCE: usize = 128;
/// Events in one call, for the same reason.
const EVENTS_AT_ONCE: usize = 1_024;

/// The name of the key.
const RETENTION_TIME: &str = "retention_time";

/// Why something was not written.
#[derive(Debug)]
pub enum WriteError {
    Failed(RedisError),
    /// What is kept of a device cannot be merged with what is new.
    Refused(String),
    /// An answer that makes no sense, or a record that no devstatus wrote.
    Damaged,
}

impl From<RedisError> for WriteError {
    fn from(error: RedisError) -> Self {
        Self::Failed(error)
    }
}

impl From<Damaged> for WriteError {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<WriteError> for StoreError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Failed(error) if is_refusal(&error) => Self::Refused(error.to_string()),
            WriteError::Failed(error) => Self::Write(error.to_string()),
            WriteError::Refused(why) => Self::Refused(why),
            WriteError::Damaged => Self::Write(
                "the store holds what no devstatus wrote: give it a --store-schema of its own".to_owned(),
            ),
        }
    }
}

/// All that one batch says.
type Buckets<'a> = BTreeMap<Bucket, BTreeMap<Vec<u8>, PendingWrite<'a>>>;

/// All that one batch says of one device.
pub(super) struct PendingWrite<'a> {
    state: DeviceState,
    received_at: UnixSeconds,
    events: Vec<&'a HistoryEvent>,
    /// The record that this one replaces, once the two were merged here; before, empty.
    replaces: Vec<u8>,
    /// The sequence of the change that it is based on; `None`: it counts whatever was forgotten.
    based_on: Option<u64>,
}

impl PendingWrite<'_> {
    /// Merges what is kept into what is new, for a further attempt.
    fn merge_with(&mut self, kept: &[u8]) -> Result<(), WriteError> {
        // A record that makes no sense keeps its own device from being written, and no other.
        let (state, received_at) = encoding::state(kept).map_err(|Damaged| {
            WriteError::Refused("the stored record of the device is invalid".to_owned())
        })?;
        self.state.merge(state);
        self.received_at = self.received_at.max(received_at);
        self.replaces = kept.to_vec();
        Ok(())
    }

    /// Leaves only what was received after the device was forgotten.
    fn forget(&mut self, tombstone: Tombstone) {
        self.events.retain(|event| event.received_at > tombstone.at);
        self.state = DeviceState::default();
        for event in &self.events {
            self.state.apply(event.event.clone());
        }
        self.received_at = self.events.iter().map(|event| event.received_at).max().unwrap_or(UnixSeconds(0));
        self.replaces = Vec::new();
        self.based_on = Some(tombstone.sequence);
    }
}

/// Where what is said of a device is gathered.
fn news<'a, 'b>(buckets: &'b mut Buckets<'a>, device: Device<'_>) -> &'b mut PendingWrite<'a> {
    let name = joined(device);
    buckets.entry(Bucket::of(&name)).or_default().entry(name).or_insert_with(|| PendingWrite {
        state: DeviceState::default(),
        received_at: UnixSeconds(0),
        events: Vec::new(),
        replaces: Vec::new(),
        based_on: None,
    })
}

/// How many from the end go into one call.
fn at_once(news: &[(Vec<u8>, PendingWrite<'_>)]) -> usize {
    let mut events = 0;
    let fitting = news.iter().rev().take(DEVICES_AT_ONCE).take_while(|(_, news)| {
        let fits = events < EVENTS_AT_ONCE;
        events += news.events.len();
        fits
    });
    fitting.count()
}

impl Grid {
    /// Merges a batch; each device is one step.
    pub async fn upsert(&self, batch: &Batch) -> Result<(), WriteError> {
        let mut buckets: Buckets<'_> = BTreeMap::new();
        for device in &batch.devices {
            let news = news(&mut buckets, device.name.device());
            news.state.merge(device.state.clone());
            news.received_at = news.received_at.max(device.received_at);
        }
        for entry in &batch.events {
            let news = news(&mut buckets, Device { device_type: &entry.device_type, id: &entry.id });
            news.state.apply(entry.event.clone());
            news.received_at = news.received_at.max(entry.received_at);
            news.events.push(entry);
        }
        if let Some(based_on) = &batch.based_on {
            let positions = BucketPositions::of(based_on);
            for (bucket, news) in &mut buckets {
                let sequence = positions.at(*bucket).sequence;
                news.values_mut().for_each(|news| news.based_on = Some(sequence));
            }
        }
        let merged = buckets.into_iter().map(|(bucket, news)| self.merge(bucket, news));
        let changed: Vec<Bucket> = try_join_all(merged).await?.into_iter().flatten().collect();
        self.hand_over(&changed).await;
        Ok(())
    }

    /// Merges what is new in one bucket; returns the bucket if that changed anything.
    async fn merge(
        &self,
        bucket: Bucket,
        news: BTreeMap<Vec<u8>, PendingWrite<'_>>,
    ) -> Result<Option<Bucket>, WriteError> {
        let mut left: Vec<_> = news.into_iter().collect();
        let mut changed = false;
        while !left.is_empty() {
            let mut some = left.split_off(left.len() - at_once(&left));
            let token: u64 = rand::random();
            let answer: Vec<Value> = self
                .connection
                .run(self.keys.slot(bucket), &scripts::MERGE, &self.call(bucket, token, &some))
                .await?;
            let mut answer = answer.into_iter();
            let position = answer.next().and_then(|position| BucketPosition::parse(&bytes(position)?));
            let position = position.ok_or(WriteError::Damaged)?;
            changed |= position.token == token;
            self.tracker.lock().acknowledge(bucket, position, token);
            let open: Vec<Value> = answer.collect();
            for pair in open.chunks_exact(2).rev() {
                let [Value::Int(number), found] = pair else { return Err(WriteError::Damaged) };
                let number = usize::try_from(*number).map_err(|_| WriteError::Damaged)?;
                if number >= some.len() {
                    return Err(WriteError::Damaged);
                }
                let (name, mut news) = some.swap_remove(number);
                match found {
                    Value::BulkString(kept) => news.merge_with(kept)?,
                    Value::Array(tombstone) => {
                        let [Value::BulkString(tombstone)] = &**tombstone else {
                            return Err(WriteError::Damaged);
                        };
                        news.forget(encoding::tombstone(tombstone)?);
                    }
                    _ => return Err(WriteError::Damaged),
                }
                left.push((name, news));
            }
        }
        Ok(changed.then_some(bucket))
    }

    pub(super) fn call(&self, bucket: Bucket, token: u64, news: &[(Vec<u8>, PendingWrite<'_>)]) -> Call {
        let mut call = Call::default();
        call.key(self.keys.devices(bucket)).key(self.keys.names(bucket));
        call.key(self.keys.changes(bucket)).key(self.keys.due(bucket)).key(self.keys.tombstones(bucket));
        call.argument(token.to_string()).argument(self.retention.per_device.to_string());
        call.argument(REPEATS_WITHIN.to_string());
        for (name, news) in news {
            call.argument(name.as_slice()).argument(encoding::record(&news.state, news.received_at));
            call.argument(news.replaces.as_slice());
            call.argument(news.based_on.map(|sequence| sequence.to_string()).unwrap_or_default());
            call.argument(news.events.len().to_string());
            for entry in &news.events {
                call.argument(encoding::history_event(entry));
            }
            if !news.events.is_empty() {
                call.key(self.keys.history(bucket, name));
            }
        }
        call
    }

    /// Takes one step of a pruning: drops what was received before that time, of some devices of each bucket, which names those that
    /// have anything so old.
    pub async fn prune(&self, received_before: UnixSeconds) -> Result<PruneStep, WriteError> {
        let buckets = Bucket::all().map(|bucket| self.prune_bucket(bucket, received_before));
        let steps = try_join_all(buckets).await?;
        Ok(PruneStep {
            expired: steps.iter().map(|step| step.expired).sum(),
            is_all: steps.iter().all(|step| step.is_all),
        })
    }

    async fn prune_bucket(
        &self,
        bucket: Bucket,
        received_before: UnixSeconds,
    ) -> Result<PruneStep, WriteError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(self.keys.due(bucket)).arg("-inf").arg(format!("({}", received_before.0));
        command.arg("LIMIT").arg(0).arg(DEVICES_AT_ONCE);
        let names: Vec<Vec<u8>> = self.connection.ask(self.keys.slot(bucket), &command).await?;
        let is_all = names.len() < DEVICES_AT_ONCE;
        if names.is_empty() {
            return Ok(PruneStep { expired: 0, is_all });
        }
        let mut call = Call::default();
        call.key(self.keys.due(bucket)).argument(received_before.0.to_string());
        for name in names {
            call.key(self.keys.history(bucket, &name)).argument(name);
        }
        let expired = self.connection.run::<u64>(self.keys.slot(bucket), &scripts::PRUNE, &call).await?;
        Ok(PruneStep { expired, is_all })
    }

    /// The retention time that was set last, by whichever instance.
    pub async fn retention_time(&self) -> Result<Option<UnixSeconds>, WriteError> {
        let (slot, key) = (self.keys.slot_of_all(), self.keys.of_all(RETENTION_TIME));
        let time: Option<u32> = self.connection.ask(slot, redis::cmd("GET").arg(key)).await?;
        Ok(time.map(UnixSeconds))
    }

    /// Keeps the retention time for a restart and for the other instances.
    pub async fn set_retention_time(&self, time: UnixSeconds) -> Result<(), WriteError> {
        let (slot, key) = (self.keys.slot_of_all(), self.keys.of_all(RETENTION_TIME));
        Ok(self.connection.ask(slot, redis::cmd("SET").arg(key).arg(time.0)).await?)
    }

    /// Deletes those of the devices that have been disconnected since before the moment.
    pub async fn expire(&self, names: &[DeviceName], before_nanos: i64) -> Result<(), WriteError> {
        let mut buckets: BTreeMap<Bucket, Vec<Vec<u8>>> = BTreeMap::new();
        for name in names {
            let name = joined(name.device());
            buckets.entry(Bucket::of(&name)).or_default().push(name);
        }
        let expired = buckets.iter().flat_map(|(bucket, names)| {
            names.chunks(DEVICES_AT_ONCE).map(|names| self.expire_some(*bucket, names, before_nanos))
        });
        try_join_all(expired).await?;
        Ok(())
    }

    async fn expire_some(
        &self,
        bucket: Bucket,
        names: &[Vec<u8>],
        before_nanos: i64,
    ) -> Result<(), WriteError> {
        let mut call = Call::default();
        call.key(self.keys.devices(bucket)).key(self.keys.names(bucket)).key(self.keys.due(bucket));
        let (high, low) = encoding::halves(before_nanos);
        call.argument(high.to_string()).argument(low.to_string());
        for name in names {
            call.key(self.keys.history(bucket, name)).argument(name.as_slice());
        }
        Ok(self.connection.run(self.keys.slot(bucket), &scripts::EXPIRE, &call).await?)
    }

    /// Deletes a device, and leaves a tombstone.
    pub async fn forget(&self, device: &ForgottenDevice) -> Result<(), WriteError> {
        let name = joined(device.name.device());
        let bucket = Bucket::of(&name);
        let token: u64 = rand::random();
        let mut call = Call::default();
        call.key(self.keys.devices(bucket)).key(self.keys.names(bucket)).key(self.keys.due(bucket));
        call.key(self.keys.history(bucket, &name)).key(self.keys.changes(bucket));
        call.key(self.keys.tombstones(bucket));
        call.argument(name.as_slice()).argument(token.to_string()).argument(device.at.0.to_string());
        call.argument(TOMBSTONES_MAX.div_ceil(BUCKETS).to_string());
        let position: Value = self.connection.run(self.keys.slot(bucket), &scripts::FORGET, &call).await?;
        let position = bytes(position).and_then(|position| BucketPosition::parse(&position));
        self.tracker.lock().acknowledge(bucket, position.ok_or(WriteError::Damaged)?, token);
        self.hand_over(&[bucket]).await;
        Ok(())
    }
}

/// Whether an error is about one device: a key of another kind, or a record that the script cannot read.
fn is_refusal(error: &RedisError) -> bool {
    match error.code() {
        Some("WRONGTYPE") => true,
        // What a script fails for by its own lines; what it may not do here it may do for no device.
        Some("ERR") => error.detail().is_some_and(|detail| {
            detail.contains("user_script")
                && !["permission", "can't run", "not allowed", "Unknown Redis command"]
                    .iter()
                    .any(|other| detail.contains(other))
        }),
        _ => false,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        _ => None,
    }
}
