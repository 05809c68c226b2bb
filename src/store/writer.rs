//! Writes behind: takes what has changed out of the map and gives it to the store, in batches, soon after the change. A store
//! that is slow or away holds up nobody: the changed devices wait in the map, each once, however often they change.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::horizon::Horizon;
use super::settings::StoreSettings;
use super::upkeep::Upkeep;
use super::{Batch, DeviceName, Store, StoreError, StoredDevice};
use crate::feed::Feed;
use crate::health::{Following, Health, Keeping};
use crate::history::EventQueue;
use crate::map::{DeviceMap, Record};
use crate::metrics::Metrics;
use crate::receipt::{Receipt, Receipts};
use crate::source::Lead;

/// Devices, and as many events, in one batch: some thirty milliseconds of an embedded store, so that what changes meanwhile
/// waits no longer than the flush interval.
const BATCH_MAX: usize = 4_096;

/// After a refusal the next attempt waits this long, then twice as long, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// A store that is back is noticed within this time.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A batch that takes longer is shown as a failure, while it is still waited for.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How long the writing may wait to hear where the newest event stands. Without it, a stream that goes on from the history
/// later is only told some events again.
const NEWEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Devices looked at after a flush if more are held than may be: a millisecond or so.
const EVICTION_LOOKS: usize = 16_384;

/// How often what is too old is dropped.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(10);

/// What the writer takes from and shows its state to.
pub struct Writer {
    pub map: Arc<DeviceMap>,
    pub events: Arc<EventQueue>,
    /// For what is applied and must be written before it is acknowledged.
    pub receipts: Arc<Receipts>,
    pub store: Arc<dyn Store>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
    pub feed: Arc<Feed>,
    pub settings: StoreSettings,
    /// Who reads what the broker has retained.
    pub lead: Arc<Lead>,
    /// What `health` shows while all is well.
    pub good: Keeping,
    /// How far the history was found to follow.
    pub horizon: Mutex<Horizon>,
    pub upkeep: Upkeep,
}

/// What is written next.
struct Taken {
    batch: Batch,
    /// It holds everything that waited.
    is_all: bool,
}

/// Receipts, and how far the writing must have come for them to be given.
struct Owed {
    receipts: VecDeque<Receipt>,
    devices: u64,
    events: u64,
}

impl Writer {
    /// Writes until `stop`, then what is left; whoever calls bounds how long that may take.
    pub async fn run(self, stop: CancellationToken) {
        self.health.set_store(self.good.clone());
        // Half, as a change may come just after a look, and the writing itself takes its time.
        let pause = self.settings.flush_interval / 2;
        let mut upkeep_due = Instant::now();
        while !stop.is_cancelled() {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.receipts.wait() => {}
                () = stop.cancelled() => {}
            }
            self.flush(&stop).await;
            self.map.evict_surplus(EVICTION_LOOKS);
            if Instant::now() >= upkeep_due && !stop.is_cancelled() {
                self.tidy().await;
                upkeep_due = Instant::now() + UPKEEP_INTERVAL;
            }
        }
        self.flush(&stop).await;
    }

    /// Writes everything that waits now. What comes while a batch is written waits for the next flush, unless the batch did not
    /// hold everything: written at once, the changes of some milliseconds would make a batch of their own, again and again,
    /// and a device that changes often would be written as often. After a refusal everything is caught up at once.
    async fn flush(&self, stop: &CancellationToken) {
        let mut owed = VecDeque::new();
        loop {
            owed.extend(self.owed());
            // Before the events are taken: those of all changes up to here are in the queue by now.
            let published = self.feed.head();
            let Taken { batch, is_all } = self.next_batch();
            if batch.events_lost {
                self.feed.note_lost();
            }
            self.show_waiting(&batch);
            let all_written = batch == Batch::default();
            let was_refused = !all_written && self.write(Arc::new(batch), stop).await;
            while let Some(owed) = owed.pop_front_if(|owed: &mut Owed| all_written || self.has_reached(owed))
            {
                owed.receipts.into_iter().for_each(Receipt::give);
            }
            if all_written {
                // Others may have written what is published here.
                if self.feed.kept().is_none_or(|kept| kept.changes < published) {
                    self.note_kept(published).await;
                }
                return;
            }
            if is_all {
                self.note_kept(published).await;
            }
            if is_all && owed.is_empty() && !was_refused && !stop.is_cancelled() {
                return;
            }
        }
    }

    /// Tells the feed how far the history follows, if the store can say so at once: all changes up to that one are written.
    pub async fn note_kept(&self, changes: u64) {
        if self.health.following() == Following::Broken {
            return;
        }
        let asked = timeout(NEWEST_TIMEOUT, self.store.events(u64::MAX, 0)).await;
        let Ok(Ok(Some(page))) = asked else { return };
        let found = self.horizon.lock().find(changes, &page);
        if let Some(kept) = found {
            self.feed.note_kept(kept, Instant::now().into_std());
        }
    }

    /// What must be written for the receipts that wait: everything that waits now.
    fn owed(&self) -> Option<Owed> {
        let receipts = self.receipts.take();
        let (devices, events) = (self.map.dirty_mark(), self.events.mark());
        (!receipts.is_empty()).then_some(Owed { receipts, devices, events })
    }

    /// Whether what has been taken so far, all of which is written, holds what is owed for.
    fn has_reached(&self, owed: &Owed) -> bool {
        self.map.dirty_emptied() >= owed.devices && self.events.gone() >= owed.events
    }

    /// In a store that others read, no device comes before its events: who is told of its change would believe that the
    /// history tells of that by then. So while more events wait than a batch holds, they go alone; each is evidence, too.
    fn next_batch(&self) -> Taken {
        let all_events_fit = self.events.len() <= BATCH_MAX;
        let is_shared = self.health.following() != Following::Off;
        let mut devices = Vec::new();
        if all_events_fit || !is_shared {
            self.map.take_dirty(BATCH_MAX, |record| devices.push(stored(record)));
        }
        // After the devices: those that led to what they are now are in the queue. Those that came meanwhile are few.
        let mut events = self.events.take(if all_events_fit { usize::MAX } else { BATCH_MAX });
        self.upkeep.date(&mut events);
        let is_all = all_events_fit && devices.len() < BATCH_MAX;
        let events_lost = self.events.take_overflowed();
        Taken { batch: Batch { devices, events, events_lost }, is_all }
    }

    /// What is being written waits, too: it may be refused.
    fn show_waiting(&self, batch: &Batch) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.store.devices_waiting.set(gauge(self.map.dirty_waiting() + batch.devices.len()));
        self.metrics.store.events_waiting.set(gauge(self.events.len() + batch.events.len()));
    }

    /// Tries until the store has taken the batch; says whether it was refused meanwhile.
    async fn write(&self, batch: Arc<Batch>, stop: &CancellationToken) -> bool {
        let mut pause = RETRY_MIN;
        let mut failing = false;
        loop {
            let started = Instant::now();
            match self.attempt(&batch).await {
                Ok(()) => {
                    let metrics = &self.metrics.store;
                    metrics.flush_duration.observe(started.elapsed().as_secs_f64());
                    metrics.devices_written.inc_by(batch.devices.len() as u64);
                    metrics.events_written.inc_by(batch.events.len() as u64);
                    self.map.written(batch.devices.iter().map(|device| device.name.device()));
                    break;
                }
                Err(error) => {
                    self.metrics.store.failures.inc();
                    if !failing {
                        tracing::error!(%error, "the store takes nothing at present; changes wait in memory");
                    }
                    failing = true;
                    let begun_anew = matches!(error, StoreError::BegunAnew { .. });
                    self.health.set_store(Keeping::Failing(error.to_string()));
                    if begun_anew {
                        self.map.mark_all_dirty();
                        self.read_again();
                        continue;
                    }
                }
            }
            self.show_waiting(&batch);
            tokio::select! {
                () = sleep(pause) => {}
                // The last attempts come quickly: there is not much time left.
                () = stop.cancelled(), if pause > RETRY_MIN => pause = RETRY_MIN,
            }
            pause = (pause * 2).min(if stop.is_cancelled() { RETRY_MIN } else { RETRY_MAX });
        }
        if failing {
            tracing::info!("the store takes changes again");
        }
        self.health.set_store(self.good.clone());
        failing
    }

    /// What only the store held is lost with it: the broker is asked for it again.
    fn read_again(&self) {
        if self.map.is_limited() {
            self.health.unpopulate();
            self.lead.ask_again();
        }
    }

    /// One attempt. However long it takes, it is not given up, because it may still succeed.
    async fn attempt(&self, batch: &Arc<Batch>) -> Result<(), StoreError> {
        let mut upsert = self.store.upsert(Arc::clone(batch));
        if let Ok(done) = timeout(SLOW_AFTER, &mut upsert).await {
            return done;
        }
        tracing::warn!("the store is slow; changes wait in memory");
        let slow = format!("the store has not taken a batch for {} s", SLOW_AFTER.as_secs());
        self.health.set_store(Keeping::Failing(slow));
        upsert.await
    }
}

fn stored(record: &Record) -> StoredDevice {
    let name = DeviceName { device_type: Arc::clone(record.device_type()), id: record.device().id.into() };
    StoredDevice { name, belief: record.belief.clone(), heard_at: record.heard_at }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::BoxFuture;

    use super::super::memory::MemoryStore;
    use super::super::{Changes, LoadSink, Mark, Page, Query, Retention};
    use super::*;
    use crate::clock::UnixSeconds;
    use crate::decode::Device;
    use crate::feed::settings::FeedSettings;
    use crate::freshness::RoundNumber;
    use crate::health::ReadyOn;
    use crate::history::Row;
    use crate::map::{Arrival, Evidence};
    use crate::payload::Payload;
    use crate::presence::{Claim, Moment, Statement};

    /// Something changes whenever a batch is written.
    struct Busy {
        kept: MemoryStore,
        map: Arc<DeviceMap>,
        batches: AtomicUsize,
    }

    fn connected(nanos: i128) -> Statement {
        let at = Moment::from_nanos(nanos);
        Statement {
            claim: Claim::Connect,
            session: at,
            time: at,
            close_code: 0,
            payload: Payload::pack(b"{}"),
        }
    }

    fn change(map: &DeviceMap, nanos: i128) {
        let arrival = Arrival { evidence: Evidence::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        map.apply(Device { device_type: "t", id: "a" }, connected(nanos), arrival);
    }

    impl Store for Busy {
        fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
            let batches = self.batches.fetch_add(1, Ordering::Relaxed);
            change(&self.map, 10 + batches as i128);
            self.kept.upsert(batch)
        }
        fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
            self.kept.load(sink)
        }
        fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
            self.kept.read(names)
        }
        fn list(&self, query: Query) -> BoxFuture<'_, Result<Page, StoreError>> {
            self.kept.list(query)
        }
        fn changes(&self, since: Mark, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
            self.kept.changes(since, limit)
        }
        fn history(
            &self,
            name: DeviceName,
            before: Option<u64>,
            limit: usize,
        ) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
            self.kept.history(name, before, limit)
        }
        fn mark(&self) -> BoxFuture<'_, Result<Mark, StoreError>> {
            self.kept.mark()
        }
        fn prune(&self, heard_before: UnixSeconds) -> BoxFuture<'_, Result<u64, StoreError>> {
            self.kept.prune(heard_before)
        }
        fn forget(&self, names: Vec<DeviceName>, before: i64) -> BoxFuture<'_, Result<(), StoreError>> {
            self.kept.forget(names, before)
        }
    }

    /// A writer of what changes in a map into a store.
    fn writer(map: &Arc<DeviceMap>, store: Arc<dyn Store>) -> Writer {
        let metrics = Metrics::default();
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        Writer {
            map: Arc::clone(map),
            events: Arc::new(EventQueue::new(metrics.clone())),
            receipts: Arc::default(),
            store,
            feed: Arc::new(Feed::new(FeedSettings::default(), Arc::clone(&health), metrics.clone())),
            health,
            metrics,
            settings: StoreSettings::memory(),
            lead: Arc::new(Lead::of_one()),
            good: Keeping::Good,
            horizon: Mutex::default(),
            upkeep: Upkeep::default(),
        }
    }

    #[tokio::test]
    async fn what_changes_while_a_batch_is_written_waits_for_the_next_flush() {
        let map = Arc::new(DeviceMap::tracking_changes());
        let kept = MemoryStore::new(Retention { per_device: 1 });
        let store = Arc::new(Busy { kept, map: Arc::clone(&map), batches: AtomicUsize::new(0) });
        let writer = writer(&map, Arc::clone(&store) as Arc<dyn Store>);
        change(&map, 1);
        for flushes in 1..=3 {
            writer.flush(&CancellationToken::new()).await;
            assert_eq!(store.batches.load(Ordering::Relaxed), flushes);
            assert_eq!(map.dirty_waiting(), 1, "the change that came meanwhile");
        }
    }

    #[test]
    fn others_are_told_of_no_device_before_its_events_are_kept() {
        for shared in [false, true] {
            let map = Arc::new(DeviceMap::tracking_changes());
            let writer = writer(&map, Arc::new(MemoryStore::new(Retention { per_device: 1 })));
            writer.health.set_following(if shared { Following::Broken } else { Following::Off });
            let happen = |events: usize| {
                for at in 0..events {
                    let statement = connected(at as i128);
                    writer.events.push(Device { device_type: "t", id: "a" }, statement, UnixSeconds(1));
                }
                change(&map, events as i128);
            };
            happen(BATCH_MAX + 3);
            let taken: Vec<Taken> = (0..3).map(|_| writer.next_batch()).collect();
            let sizes = taken.iter().map(|taken| (taken.batch.events.len(), taken.batch.devices.len()));
            let devices = if shared { [0, 1, 0] } else { [1, 0, 0] };
            assert!(sizes.eq([BATCH_MAX, 3, 0].into_iter().zip(devices)), "shared: {shared}");
            assert_eq!(taken.iter().map(|taken| taken.is_all).collect::<Vec<_>>(), [false, true, true]);
            happen(200_000);
            let lost: Vec<bool> = (0..2).map(|_| writer.next_batch().batch.events_lost).collect();
            assert_eq!(lost, [true, false], "with the first of those that are left");
        }
    }
}
