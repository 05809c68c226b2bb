//! All that reads the grid: everything at the start, pages, changes, history. Always from the masters, so that one who has
//! written something finds it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, stream};
use redis::RedisError;

use super::buckets::{BUCKETS, Bucket, SEPARATOR, joined, parted};
use super::connection::Call;
use super::encoding::{self, Damaged};
use super::position::{AcknowledgedChange, BucketPoll, BucketPosition, BucketPositions};
use super::{Grid, scripts};
use crate::{ChangeCursor, Changes, ForgottenDevice, LoadSink, PAGE_MAX, StoreError, StoredDevice};
use presence::history::HistoryRow;
use presence::query::{Page, Position, Scan, Sort, SortBy};
use presence::{Device, DeviceName, Status, UnixSeconds};

/// Devices that one call of a script reads: a server does nothing else meanwhile, one or two milliseconds.
const READ_AT_ONCE: usize = 1_000;
/// Buckets that are read side by side where everything is read.
const BUCKETS_AT_ONCE: usize = 16;
/// Names looked at for each page of a list that shows one status only, of which there may be few.
const FILTERED_AT_ONCE: usize = 250;

/// Why something was not read.
#[derive(Debug)]
pub enum BucketReadError {
    Failed(RedisError),
    Damaged,
    Gap,
}

impl From<RedisError> for BucketReadError {
    fn from(error: RedisError) -> Self {
        Self::Failed(error)
    }
}

impl From<Damaged> for BucketReadError {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged
    }
}

impl From<BucketReadError> for StoreError {
    fn from(error: BucketReadError) -> Self {
        match error {
            BucketReadError::Failed(error) => Self::Read(error.to_string()),
            BucketReadError::Damaged => {
                Self::Read("the store holds what no devstatus wrote: give it a --store-schema of its own".to_owned())
            }
            BucketReadError::Gap => Self::Gap(
                "a bucket of the grid is not what it was, as after a failover, or has changed too often since".to_owned(),
            ),
        }
    }
}

/// The names that a part of a bucket's list lies between, as ZRANGEBYLEX has them.
#[derive(Clone)]
struct Bounds {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Bounds {
    fn of(device_type: Option<&str>, after: Option<Device<'_>>) -> Self {
        let (mut from, mut to) = (b"-".to_vec(), b"+".to_vec());
        if let Some(device_type) = device_type {
            let begin = |sign: u8, end: u8| [&[sign], device_type.as_bytes(), &[end]].concat();
            (from, to) = (begin(b'[', SEPARATOR), begin(b'(', SEPARATOR + 1));
        }
        if let Some(after) = after {
            let after = excluded(&joined(after));
            // Who asks for one type may come from a device before it.
            if device_type.is_none() || after[1..] > from[1..] {
                from = after;
            }
        }
        Self { from, to }
    }
}

fn excluded(name: &[u8]) -> Vec<u8> {
    [b"(", name].concat()
}

/// Part of a bucket's list.
struct BucketPart {
    devices: Vec<StoredDevice>,
    /// The last name looked at; `None` if nothing follows.
    polled_at: Option<Vec<u8>>,
}

/// What to do with changes that this instance has made itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnChanges {
    Included,
    /// The caller knows them.
    LeftOut,
}

/// What changed in one bucket.
struct BucketChanges {
    reached: BucketPosition,
    /// Nothing follows.
    at_end: bool,
    forgotten: Vec<ForgottenDevice>,
    devices: Vec<StoredDevice>,
}

impl Grid {
    /// Gives every device to the sink.
    pub async fn load(&self, sink: Arc<dyn LoadSink>) -> Result<(), BucketReadError> {
        let mut command = redis::cmd("HLEN");
        let first = Bucket::from(0);
        command.arg(self.keys.devices(first));
        // The buckets are about equal.
        let in_one: usize = self.connection.ask(self.keys.slot(first), &command).await?;
        sink.expect(in_one * BUCKETS);
        let mut loads = stream::iter(Bucket::all())
            .map(|bucket| {
                let sink = Arc::clone(&sink);
                async move {
                    let mut bounds = Bounds::of(None, None);
                    loop {
                        let part = self.part(bucket, &bounds, READ_AT_ONCE, None).await?;
                        sink.take(part.devices);
                        let Some(polled_at) = part.polled_at else { return Ok(()) };
                        bounds.from = excluded(&polled_at);
                    }
                }
            })
            .buffer_unordered(BUCKETS_AT_ONCE);
        while let Some(loaded) = loads.next().await {
            loaded.map_err(|error: BucketReadError| error)?;
        }
        Ok(())
    }

    /// The devices of these names, each once: one command for each bucket that has some, all of them under way at once.
    pub async fn named(&self, names: &[DeviceName]) -> Result<Vec<StoredDevice>, BucketReadError> {
        let mut buckets: BTreeMap<Bucket, BTreeSet<Vec<u8>>> = BTreeMap::new();
        for name in names {
            let name = joined(name.device());
            buckets.entry(Bucket::of(&name)).or_default().insert(name);
        }
        let reads = buckets.iter().map(|(bucket, names)| async move {
            let mut command = redis::cmd("HMGET");
            command.arg(self.keys.devices(*bucket)).arg(names);
            let records: Vec<Option<Vec<u8>>> =
                self.connection.ask(self.keys.slot(*bucket), &command).await?;
            let kept = names.iter().zip(records).filter_map(|(name, record)| Some([name.clone(), record?]));
            Ok(kept.flatten().collect::<Vec<_>>())
        });
        let found = try_join_all(reads).await.map_err(|error: BucketReadError| error)?;
        Ok(devices(&found.concat())?)
    }

    async fn part(
        &self,
        bucket: Bucket,
        bounds: &Bounds,
        most: usize,
        status: Option<Status>,
    ) -> Result<BucketPart, BucketReadError> {
        let mut call = Call::default();
        call.key(self.keys.devices(bucket)).key(self.keys.names(bucket));
        call.argument(bounds.from.as_slice()).argument(bounds.to.as_slice()).argument(most.to_string());
        call.argument(match status {
            None => "",
            Some(Status::Connected) => "1",
            Some(Status::Disconnected) => "0",
        });
        let found: Vec<Vec<u8>> = self.connection.run(self.keys.slot(bucket), &scripts::LIST, &call).await?;
        let (polled_at, found) = found.split_first().ok_or(Damaged)?;
        Ok(BucketPart {
            devices: devices(found)?,
            polled_at: (!polled_at.is_empty()).then(|| polled_at.clone()),
        })
    }

    pub async fn list(&self, scan: &Scan) -> Result<Page<StoredDevice>, BucketReadError> {
        let limit = scan.limit.min(PAGE_MAX);
        // One more, to see whether anything follows.
        let by_name = Sort { by: SortBy::Id, descending: false };
        let mut devices = if scan.sort == by_name {
            self.by_name(scan, limit + 1).await?
        } else {
            self.in_another_order(scan, limit + 1).await?
        };
        let more = devices.len() > limit;
        devices.truncate(limit);
        let next = devices.last().filter(|_| more).map(StoredDevice::position);
        Ok(Page { devices, next })
    }

    /// Merges the lists of the buckets, each read as far as the page reaches.
    async fn by_name(&self, scan: &Scan, wanted: usize) -> Result<Vec<StoredDevice>, BucketReadError> {
        let after =
            scan.after.as_ref().map(|after| Device { device_type: &after.device_type, id: &after.id });
        let bounds = Bounds::of(scan.device_type.as_deref(), after);
        let each = wanted / BUCKETS;
        // So that mostly one round is enough, though no two buckets have the same share.
        let each = if scan.status.is_some() { FILTERED_AT_ONCE } else { each + 3 * each.isqrt() + 3 };
        let mut reading: Vec<(Bucket, Bounds)> =
            Bucket::all().map(|bucket| (bucket, bounds.clone())).collect();
        let mut found: Vec<(Vec<u8>, StoredDevice)> = Vec::new();
        loop {
            let parts = reading.iter().map(|(bucket, bounds)| self.part(*bucket, bounds, each, scan.status));
            let parts = try_join_all(parts).await?;
            for ((_, bounds), part) in reading.iter_mut().zip(&parts) {
                bounds.from = part.polled_at.as_deref().map(excluded).unwrap_or_default();
            }
            found.extend(
                parts
                    .into_iter()
                    .flat_map(|part| part.devices)
                    .map(|device| (joined(device.name.device()), device)),
            );
            found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
            // A bucket that is beyond the end of the page has nothing more for it.
            let end = found.get(wanted.saturating_sub(1)).map(|(name, _)| excluded(name));
            reading.retain(|(_, bounds)| {
                !bounds.from.is_empty() && end.as_ref().is_none_or(|end| bounds.from < *end)
            });
            if reading.is_empty() {
                return Ok(found.into_iter().take(wanted).map(|(_, device)| device).collect());
            }
        }
    }

    /// Goes through all devices: an index by time would cost each change as much as the change itself.
    async fn in_another_order(
        &self,
        scan: &Scan,
        wanted: usize,
    ) -> Result<Vec<StoredDevice>, BucketReadError> {
        let bounds = Bounds::of(scan.device_type.as_deref(), None);
        let mut best: BinaryHeap<Placed> = BinaryHeap::new();
        let mut reads = stream::iter(Bucket::all().map(|bucket| (bucket, Some(bounds.clone()))))
            .flat_map_unordered(BUCKETS_AT_ONCE, |(bucket, bounds)| {
                Box::pin(stream::unfold(bounds, move |bounds| async move {
                    let mut bounds = bounds?;
                    let part = self.part(bucket, &bounds, READ_AT_ONCE, scan.status).await;
                    let follows = part.as_ref().ok().and_then(|part| part.polled_at.as_deref()).map(excluded);
                    let next = follows.map(|from| {
                        bounds.from = from;
                        bounds
                    });
                    Some((part, next))
                }))
            });
        while let Some(part) = reads.next().await {
            for device in part?.devices {
                let placed = Placed { at: device.position(), sort: scan.sort, device };
                let is_behind = |after| scan.sort.compare(&placed.at, after) == Ordering::Greater;
                if scan.after.as_ref().is_none_or(is_behind) {
                    best.push(placed);
                    if best.len() > wanted {
                        best.pop();
                    }
                }
            }
        }
        Ok(best.into_sorted_vec().into_iter().map(|one| one.device).collect())
    }

    pub async fn changes(
        &self,
        since: &ChangeCursor,
        limit: usize,
        own: OwnChanges,
    ) -> Result<Changes, BucketReadError> {
        let mut positions = BucketPositions::of(since);
        let polls = self.tracker.lock().polls(&positions);
        let limit = limit.clamp(1, PAGE_MAX);
        let (mut found, mut forgotten, mut at) = (Vec::new(), Vec::new(), 0);
        let (mut is_all, mut changed) = (true, 0);
        // As many buckets at a time as there may be devices; mostly that is all of them.
        while at < polls.len() && found.len() < limit {
            let left = limit - found.len();
            let some = &polls[at..polls.len().min(at + left)];
            let most = (left / some.len()).max(1);
            let answers = try_join_all(some.iter().map(|poll| self.poll(poll, most, own))).await;
            let answers = match answers {
                Ok(answers) => answers,
                Err(error) => {
                    self.tracker.lock().note_all_changed();
                    return Err(error);
                }
            };
            for (poll, answer) in some.iter().zip(answers) {
                positions.set(poll.bucket, answer.reached);
                self.tracker.lock().note(poll.bucket, answer.reached, answer.at_end);
                is_all &= answer.at_end;
                changed += usize::from(answer.reached != poll.since);
                forgotten.extend(answer.forgotten);
                found.extend(answer.devices);
            }
            at += some.len();
        }
        let mut tracker = self.tracker.lock();
        tracker.note_poll(changed);
        polls[at..].iter().for_each(|poll| tracker.note_changed(poll.bucket));
        is_all &= at == polls.len();
        Ok(Changes { forgotten, devices: found, cursor: positions.cursor(), is_all })
    }

    async fn poll(
        &self,
        poll: &BucketPoll,
        most: usize,
        own: OwnChanges,
    ) -> Result<BucketChanges, BucketReadError> {
        let mut call = Call::default();
        call.key(self.keys.devices(poll.bucket)).key(self.keys.changes(poll.bucket));
        call.argument(poll.since.to_string()).argument(most.to_string());
        let is_left_out = |expected: &&AcknowledgedChange| expected.is_own && own == OwnChanges::LeftOut;
        let (left_out, others): (Vec<&AcknowledgedChange>, Vec<_>) =
            poll.expected.iter().partition(is_left_out);
        call.argument(left_out.len().to_string());
        for expected in left_out.iter().chain(&others) {
            call.argument(expected.position.to_string());
        }
        let found: Vec<redis::Value> =
            self.connection.run(self.keys.slot(poll.bucket), &scripts::CHANGES, &call).await?;
        let Some((head, found)) = found.split_first_chunk::<2>() else { return Err(BucketReadError::Gap) };
        let [redis::Value::BulkString(reached), redis::Value::Int(at_end)] = head else {
            return Err(BucketReadError::Damaged);
        };
        let found: Vec<Vec<u8>> =
            redis::from_redis_value(redis::Value::Array(found.to_vec())).map_err(RedisError::from)?;
        let reached = BucketPosition::parse(reached).ok_or(Damaged)?;
        // A time alone is a tombstone, and no record.
        let (tombstones, records): (Vec<_>, Vec<_>) =
            found.chunks_exact(2).partition(|pair| pair[1].len() == size_of::<u32>());
        let forgotten = tombstones.into_iter().map(|pair| {
            let at = pair[1].first_chunk().ok_or(Damaged)?;
            let at = UnixSeconds(u32::from_be_bytes(*at));
            Ok(ForgottenDevice { name: parted(&pair[0]).ok_or(Damaged)?, at })
        });
        let forgotten = forgotten.collect::<Result<_, Damaged>>()?;
        Ok(BucketChanges { reached, at_end: *at_end == 1, forgotten, devices: devices(&records.concat())? })
    }

    /// The tombstones of all buckets.
    pub async fn forgotten(&self) -> Result<Vec<ForgottenDevice>, BucketReadError> {
        let reads = Bucket::all().map(|bucket| async move {
            let mut command = redis::cmd("HGETALL");
            command.arg(self.keys.tombstones(bucket));
            let found: Vec<(Vec<u8>, Vec<u8>)> =
                self.connection.ask(self.keys.slot(bucket), &command).await?;
            let forgotten = found.iter().map(|(name, tombstone)| {
                let name = parted(name).ok_or(Damaged)?;
                Ok(ForgottenDevice { name, at: encoding::tombstone(tombstone)?.at })
            });
            Ok(forgotten.collect::<Result<Vec<_>, Damaged>>()?)
        });
        let found = try_join_all(reads).await.map_err(|error: BucketReadError| error)?;
        Ok(found.concat())
    }

    /// Where the newest change of each bucket is.
    pub async fn cursor(&self) -> Result<ChangeCursor, BucketReadError> {
        // Before reading: whatever is acknowledged from now on is expected again.
        self.tracker.lock().forget_acknowledged();
        let newest = Bucket::all().map(|bucket| async move {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.keys.changes(bucket)).arg("+").arg("-").arg("COUNT").arg(1);
            let entries: Vec<(Vec<u8>, redis::Value)> =
                self.connection.ask(self.keys.slot(bucket), &command).await?;
            match entries.first() {
                Some((position, _)) => Ok(BucketPosition::parse(position).ok_or(Damaged)?),
                None => Ok(BucketPosition::BEGINNING),
            }
        });
        let newest = try_join_all(newest).await.map_err(|error: BucketReadError| error)?;
        let mut positions = BucketPositions::of(&ChangeCursor::BEGINNING);
        for (bucket, position) in Bucket::all().zip(newest) {
            positions.set(bucket, position);
        }
        Ok(positions.cursor())
    }

    pub async fn history(
        &self,
        name: &DeviceName,
        before: Option<u64>,
        limit: usize,
        received_since: UnixSeconds,
    ) -> Result<Vec<HistoryRow>, BucketReadError> {
        let name = joined(name.device());
        let bucket = Bucket::of(&name);
        let mut command = redis::cmd("LRANGE");
        command.arg(self.keys.history(bucket, &name)).arg(0).arg(self.retention.per_device);
        let entries: Vec<Vec<u8>> = self.connection.ask(self.keys.slot(bucket), &command).await?;
        let mut rows = Vec::new();
        for entry in entries.iter().take(self.retention.per_device) {
            let row = encoding::row(entry)?;
            if before.is_none_or(|before| row.sequence < before) && row.received_at >= received_since {
                rows.push(row);
            }
            if rows.len() >= limit {
                break;
            }
        }
        Ok(rows)
    }
}

/// Ordered as the list is: the last one is the greatest.
struct Placed {
    at: Position,
    /// The same for all of them.
    sort: Sort,
    device: StoredDevice,
}

impl PartialEq for Placed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Placed {}

impl PartialOrd for Placed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Placed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.sort.compare(&self.at, &other.at)
    }
}

/// Names and records by turns, with one copy of each type's name.
fn devices(found: &[Vec<u8>]) -> Result<Vec<StoredDevice>, Damaged> {
    let mut types: BTreeSet<Arc<str>> = BTreeSet::new();
    let pairs = found.chunks_exact(2).map(|pair| {
        let mut name = parted(&pair[0]).ok_or(Damaged)?;
        match types.get(&name.device_type) {
            Some(known) => name.device_type = Arc::clone(known),
            None => {
                types.insert(Arc::clone(&name.device_type));
            }
        }
        let (state, received_at) = encoding::state(&pair[1])?;
        Ok(StoredDevice { name, state, received_at })
    });
    pairs.collect()
}
