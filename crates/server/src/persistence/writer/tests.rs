//! How changes and events are put into batches, and what becomes of those that a store does not take.

mod order;
mod removal;
mod tidying;

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;

use super::*;
use crate::feed::settings::FeedSettings;
use crate::freshness::RoundNumber;
use crate::health::ReadyOn;
use crate::persistence::batches::{BATCH_MAX, BATCH_MAX_BYTES};
use crate::registry::{Arrival, Provenance};
use presence::history::{EventPage, HistoryEvent, HistoryPosition, HistoryRow};
use presence::payload::Payload;
use presence::query::{Page, Scan, Total};
use presence::{Device, EventKind, Moment, PresenceEvent, UnixSeconds};
use store::memory::MemoryStore;
use store::{
    ChangeCursor, Changes, ForgottenDevice, IfExists, KeepSeries, LoadSink, PAGE_MAX, PruneStep, ReadDevices,
    ReadHistory, Retention, SeriesRange, SeriesRow,
};

/// A store in memory, and what is done before each batch reaches it.
struct Hooked<F> {
    inner: MemoryStore,
    before: F,
    /// There is always more that is too old.
    is_pruning_endless: bool,
}

fn hooked<F: Fn(&Batch) -> Result<(), StoreError> + Send + Sync>(before: F) -> Arc<Hooked<F>> {
    let inner = MemoryStore::new(Retention { per_device: 9 });
    Arc::new(Hooked { inner, before, is_pruning_endless: false })
}

fn connected(nanos: i128) -> PresenceEvent {
    let at = Moment::from_nanos(nanos);
    PresenceEvent {
        kind: EventKind::Connect,
        session: at,
        time: at,
        close_code: 0,
        payload: Payload::pack(b"{}"),
    }
}

fn change(registry: &DeviceRegistry, nanos: i128) {
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    registry.apply(Device { device_type: "t", id: "a" }, connected(nanos), arrival);
}

impl<F: Send + Sync> ReadDevices for Hooked<F> {
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        self.inner.read(names)
    }
    fn list(&self, scan: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>> {
        self.inner.list(scan)
    }
    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        self.inner.totals()
    }
}

impl<F: Send + Sync> ReadHistory for Hooked<F> {
    fn history(
        &self,
        name: DeviceName,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        self.inner.history(name, before, limit)
    }
    fn events(
        &self,
        after: HistoryPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        self.inner.events(after, limit)
    }
}

impl<F: Send + Sync> KeepSeries for Hooked<F> {
    fn write_series(
        &self,
        row: SeriesRow,
        if_exists: IfExists,
        rows_max: u32,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.inner.write_series(row, if_exists, rows_max)
    }
    fn series(&self, range: SeriesRange) -> BoxFuture<'_, Result<Vec<SeriesRow>, StoreError>> {
        self.inner.series(range)
    }
}

impl<F: Fn(&Batch) -> Result<(), StoreError> + Send + Sync> Store for Hooked<F> {
    fn upsert(&self, batch: Arc<Batch>) -> BoxFuture<'_, Result<(), StoreError>> {
        match (self.before)(&batch) {
            Ok(()) => self.inner.upsert(batch),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
    fn load(&self, sink: Arc<dyn LoadSink>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.load(sink)
    }
    fn changes(&self, since: ChangeCursor, limit: usize) -> BoxFuture<'_, Result<Changes, StoreError>> {
        self.inner.changes(since, limit)
    }
    fn cursor(&self) -> BoxFuture<'_, Result<ChangeCursor, StoreError>> {
        self.inner.cursor()
    }
    fn prune(&self, received_before: UnixSeconds) -> BoxFuture<'_, Result<PruneStep, StoreError>> {
        if self.is_pruning_endless {
            return Box::pin(std::future::ready(Ok(PruneStep { expired: 1, is_all: false })));
        }
        self.inner.prune(received_before)
    }
    fn expire(&self, names: Vec<DeviceName>, before: i64) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.expire(names, before)
    }
    fn forget(&self, device: ForgottenDevice) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.forget(device)
    }
}

/// A writer of what changes in a registry into a store.
fn writer(registry: &Arc<DeviceRegistry>, store: Arc<dyn Store>) -> Writer {
    let metrics = Metrics::default();
    let health = Arc::new(Health::new(ReadyOn::Unproven));
    Writer {
        registry: Arc::clone(registry),
        events: Arc::new(EventQueue::new(metrics.clone())),
        pending_acks: Arc::default(),
        store,
        feed: Arc::new(Feed::new(FeedSettings::default(), Arc::clone(&health), metrics.clone())),
        health,
        metrics,
        settings: StoreSettings::memory(),
        removals: crate::removal::queue().1,
        leadership: Arc::new(Leadership::of_one()),
        good: StoreHealth::Good,
        commit_watermark: Mutex::default(),
        maintenance: Maintenance::default(),
        refused: Mutex::default(),
        order: Mutex::default(),
    }
}

#[tokio::test]
async fn changes_during_a_write_wait_for_the_next_flush() {
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let batches = Arc::new(AtomicUsize::new(0));
    // Something changes whenever a batch is written.
    let (changing, counted) = (Arc::clone(&registry), Arc::clone(&batches));
    let store = hooked(move |_| {
        change(&changing, 10 + counted.fetch_add(1, Ordering::Relaxed) as i128);
        Ok(())
    });
    let writer = writer(&registry, store);
    change(&registry, 1);
    for flushes in 1..=3 {
        writer.flush(&CancellationToken::new()).await;
        assert_eq!(batches.load(Ordering::Relaxed), flushes);
        assert_eq!(registry.dirty_waiting(), 1, "the change that came meanwhile");
    }
}

#[tokio::test]
async fn a_decoder_that_is_far_behind_goes_first_between_two_batches_for_a_bounded_time() {
    let far_behind = DECODER_FIRST_BYTES + 1;
    for (flush_interval, catches_up) in
        [(Duration::from_secs(3_600), true), (Duration::from_millis(20), false)]
    {
        let registry = Arc::new(DeviceRegistry::tracking_changes());
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        for id in (0..=BATCH_MAX).map(|id| id.to_string()) {
            registry.apply(Device { device_type: "t", id: &id }, connected(1), arrival);
        }
        let (metrics, (written, mut first)) = (Metrics::default(), mpsc::unbounded_channel());
        let backlog = metrics.backlog_waiting_bytes.clone();
        backlog.set(far_behind);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (behind, seen_by_store) = (backlog.clone(), Arc::clone(&seen));
        let store = hooked(move |_| {
            seen_by_store.lock().push(behind.get());
            let _ = written.send(());
            Ok(())
        });
        let settings = StoreSettings { flush_interval, ..StoreSettings::memory() };
        let writer = Writer { metrics, settings, ..writer(&registry, store) };
        let decoder = async {
            first.recv().await;
            if catches_up {
                backlog.set(0);
            }
        };
        let stop = CancellationToken::new();
        tokio::join!(writer.flush(&stop), decoder);
        let then = if catches_up { 0 } else { far_behind };
        assert_eq!(*seen.lock(), [far_behind, then]);
        assert_eq!(registry.dirty_waiting(), 0);
    }
}

#[test]
fn long_messages_make_batches_of_a_bounded_size() {
    for shared in [false, true] {
        let registry = Arc::new(DeviceRegistry::tracking_changes());
        let writer = writer(&registry, Arc::new(MemoryStore::new(Retention { per_device: 1 })));
        writer.health.set_peer_health(if shared { PeerHealth::Broken } else { PeerHealth::Off });
        let long = PresenceEvent { payload: Payload::pack(&[b'x'; 64 << 10]), ..connected(1) };
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        for id in (0..600).map(|id| id.to_string()) {
            let device = Device { device_type: "t", id: &id };
            registry.apply(device, long.clone(), arrival);
            writer.events.push(device, long.clone(), UnixSeconds(1));
        }
        let (mut devices, mut events) = (0, 0);
        loop {
            let NextBatch { batch, is_all } = writer.next_batch();
            let of_devices: usize = batch.devices.iter().map(StoredDevice::size_bytes).sum();
            let of_events: usize = batch.events.iter().map(HistoryEvent::size_bytes).sum();
            assert!(of_devices.max(of_events) < BATCH_MAX_BYTES + (128 << 10), "{of_devices} {of_events}");
            (devices, events) = (devices + batch.devices.len(), events + batch.events.len());
            if is_all {
                break;
            }
        }
        assert_eq!((devices, events), (600, 600), "shared: {shared}");
    }
}

/// Refuses a batch that holds anything of a device whose id begins with `bad`, and counts the batches.
fn picky(
    batches: &Arc<AtomicUsize>,
) -> Arc<Hooked<impl Fn(&Batch) -> Result<(), StoreError> + Send + Sync + use<>>> {
    let batches = Arc::clone(batches);
    hooked(move |batch| {
        batches.fetch_add(1, Ordering::Relaxed);
        let devices = batch.devices.iter().map(|device| &*device.name.id);
        let mut ids = devices.chain(batch.events.iter().map(|entry| &*entry.id));
        if ids.any(|id| id.starts_with("bad")) {
            Err(StoreError::Refused("no such letter".to_owned()))
        } else {
            Ok(())
        }
    })
}

fn happen(writer: &Writer, id: &str, at: i128) {
    let device = Device { device_type: "t", id };
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    writer.registry.apply(device, connected(at), arrival);
    writer.events.push(device, connected(at), UnixSeconds(1));
}

async fn inner(store: &dyn Store) -> Vec<String> {
    let query = Scan {
        device_type: None,
        status: None,
        sort: presence::query::Sort { by: presence::query::SortBy::Id, descending: false },
        after: None,
        limit: PAGE_MAX,
    };
    let page = store.list(query).await.unwrap();
    page.devices.into_iter().map(|device| device.name.id.into()).collect()
}

#[tokio::test]
async fn a_device_that_the_store_refuses_keeps_no_other_back_and_is_answered_from_memory() {
    for registry in [DeviceRegistry::tracking_changes(), DeviceRegistry::holding(1)] {
        let (registry, batches) = (Arc::new(registry), Arc::default());
        let store = picky(&batches);
        let writer = writer(&registry, Arc::clone(&store) as Arc<dyn Store>);
        for n in 0..500 {
            happen(&writer, &format!("good{n:03}"), 1);
        }
        happen(&writer, "bad1", 1);
        happen(&writer, "bad2", 1);
        let (to, mut acknowledged) = tokio::sync::mpsc::unbounded_channel();
        writer.pending_acks.push(PendingAck::new(vec![7], to));
        writer.flush(&CancellationToken::new()).await;

        let expected: Vec<_> = (0..500).map(|n| format!("good{n:03}")).collect();
        assert_eq!(inner(&*store).await, expected);
        assert_eq!(acknowledged.try_recv(), Ok(vec![7]), "a refused device holds no acknowledgement back");
        assert!(batches.load(Ordering::Relaxed) < 60, "{} attempts", batches.load(Ordering::Relaxed));
        let state = writer.health.state();
        assert_eq!(state.store, StoreHealth::Good);
        let sentence = state.refused_by_store.unwrap();
        assert!(
            sentence.contains("2 of the devices, as t/bad") && sentence.contains("no such letter"),
            "{sentence}"
        );
        let metrics = &writer.metrics.store;
        let counted = (metrics.devices_refused.get(), metrics.events_refused.get(), metrics.failures.get());
        assert_eq!(counted, (2, 2, 0));
        // That events are lost goes with the next batch.
        writer.flush(&CancellationToken::new()).await;
        let page = store.events(HistoryPosition::BEGINNING, 0).await.unwrap().unwrap();
        assert!(page.newest.number > 500, "whoever reads on is told that events are missing");

        // While more devices are held than may be, the refused ones are not let go: they are nowhere else.
        registry.evict_surplus(100_000);
        for id in ["bad1", "bad2"] {
            assert!(registry.read(Device { device_type: "t", id }, |_| ()).is_some(), "{id}");
        }
    }
}

#[tokio::test]
async fn a_refused_device_costs_no_batch_when_it_changes_and_is_tried_again_rarely() {
    let (registry, batches) = (Arc::new(DeviceRegistry::tracking_changes()), Arc::default());
    let store = picky(&batches);
    let writer = writer(&registry, Arc::clone(&store) as Arc<dyn Store>);
    happen(&writer, "bad", 1);
    writer.flush(&CancellationToken::new()).await;
    let spent = |batches: &AtomicUsize| batches.swap(0, Ordering::Relaxed);
    spent(&batches);
    for at in 2..50 {
        happen(&writer, "bad", at);
        writer.flush(&CancellationToken::new()).await;
    }
    // Each flush says once that events are missing; none tries the device again.
    assert!(spent(&batches) <= 50);
    writer.retry_refused(Instant::now(), &CancellationToken::new()).await;
    assert_eq!(spent(&batches), 0, "it has just been tried");
    // The last note that events are missing.
    writer.flush(&CancellationToken::new()).await;
    spent(&batches);
    let later = Instant::now() + Duration::from_secs(3_601);
    writer.retry_refused(later, &CancellationToken::new()).await;
    writer.retry_refused(later, &CancellationToken::new()).await;
    assert_eq!(spent(&batches), 1, "once it may be tried again, it is, once");
    assert!(inner(&*store).await.is_empty());
}

#[tokio::test]
async fn a_device_that_is_no_longer_refused_is_written_and_no_longer_shown() {
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let mended = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let store = hooked(move |_| {
        let is_mended = is_mended.load(Ordering::Relaxed);
        is_mended.then_some(()).ok_or_else(|| StoreError::Refused("not yet".to_owned()))
    });
    let writer = writer(&registry, Arc::clone(&store) as Arc<dyn Store>);
    change(&registry, 1);
    writer.flush(&CancellationToken::new()).await;
    assert!(writer.health.state().refused_by_store.is_some());
    mended.store(true, Ordering::Relaxed);
    happen(&writer, "a", 2);
    writer.retry_refused(Instant::now() + Duration::from_secs(3_601), &CancellationToken::new()).await;
    assert_eq!(inner(&*store).await, ["a"]);
    assert_eq!(writer.events.len(), 0, "no event of the device is left that comes after it");
    assert_eq!(writer.health.state().refused_by_store, None);
    assert_eq!(writer.metrics.store.devices_refused.get(), 0);
}

#[tokio::test]
async fn a_change_that_comes_while_a_refused_device_is_tried_again_is_written() {
    for registry in [DeviceRegistry::tracking_changes(), DeviceRegistry::holding(1)] {
        let (registry, mended) = (Arc::new(registry), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let (changing, is_mended) = (Arc::clone(&registry), Arc::clone(&mended));
        let store = hooked(move |batch| {
            // While the batch of another device is written, the refused one changes once more.
            if batch.devices.iter().any(|device| &*device.name.id == "other") {
                change(&changing, 3);
            }
            let is_mended = is_mended.load(Ordering::Relaxed);
            is_mended.then_some(()).ok_or_else(|| StoreError::Refused("not yet".to_owned()))
        });
        let writer = writer(&registry, Arc::clone(&store) as Arc<dyn Store>);
        change(&registry, 1);
        writer.flush(&CancellationToken::new()).await;
        mended.store(true, Ordering::Relaxed);
        happen(&writer, "other", 1);
        let (to, _acknowledged) = mpsc::unbounded_channel();
        writer.pending_acks.push(PendingAck::new(vec![1], to));
        writer.retry_refused(Instant::now() + Duration::from_secs(3_601), &CancellationToken::new()).await;
        writer.flush(&CancellationToken::new()).await;
        let stored = store.read(vec![DeviceName { device_type: "t".into(), id: "a".into() }]).await.unwrap();
        assert_eq!(stored[0].state.resolve().unwrap().event.time, Moment::from_nanos(3));
    }
}
