//! No device is written before its events: wherever the process is killed between two transactions, the history tells of every
//! status that the store has.

use std::collections::HashSet;
use std::sync::OnceLock;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// One change of a device: which, and when.
type SeenEvents = HashSet<(String, i64)>;

/// What changes while batches are written: the registry, the queue of events, and how far they are.
struct Fleet {
    registry: Arc<DeviceRegistry>,
    events: Arc<EventQueue>,
    devices: usize,
    changes: AtomicUsize,
}

impl Fleet {
    fn change(&self, number: usize) {
        for _ in 0..number {
            let change = self.changes.fetch_add(1, Ordering::Relaxed);
            let id = (change % self.devices).to_string();
            let device = Device { device_type: "t", id: &id };
            let event = connected(change as i128 + 1);
            self.events.push(device, event.clone(), UnixSeconds(1));
            let arrival =
                Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
            self.registry.apply(device, event, arrival);
        }
    }
}

/// What the store has after each transaction.
#[derive(Default)]
struct Written {
    events: SeenEvents,
    devices: SeenEvents,
    /// The first device that came before its event.
    too_early: Option<(String, i64)>,
    /// How many batches had been written when the first devices were.
    batches_before_devices: usize,
    batches: usize,
}

impl Written {
    fn add(&mut self, batch: &Batch) {
        self.batches += 1;
        for entry in &batch.events {
            self.events.insert((entry.id.to_string(), entry.event.time.nanos().unwrap()));
        }
        for device in &batch.devices {
            let time = device.state.resolve().unwrap().event.time.nanos().unwrap();
            let change = (device.name.id.to_string(), time);
            if !self.events.contains(&change) {
                self.too_early.get_or_insert_with(|| change.clone());
            }
            self.devices.insert(change);
        }
        if self.devices.is_empty() {
            self.batches_before_devices += 1;
        }
    }
}

/// Writes what has changed first; with each batch that is written, the next part of the fleet changes.
async fn flush_all(devices: usize, first: usize, then: Vec<usize>, peers: PeerHealth) -> (Written, Writer) {
    let fleet: Arc<OnceLock<Fleet>> = Arc::default();
    let written = Arc::new(Mutex::new(Written::default()));
    let (changing, noted, then) = (Arc::clone(&fleet), Arc::clone(&written), Mutex::new(then.into_iter()));
    let store = hooked(move |batch| {
        noted.lock().add(batch);
        let next = then.lock().next();
        changing.get().unwrap().change(next.unwrap_or(0));
        Ok(())
    });
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let writer = writer(&registry, store);
    writer.health.set_peer_health(peers);
    let events = Arc::clone(&writer.events);
    assert!(fleet.set(Fleet { registry, events, devices, changes: AtomicUsize::new(0) }).is_ok());
    fleet.get().unwrap().change(first);
    // What changes while the last batch is written waits for the next flush.
    while writer.registry.dirty_waiting() + writer.events.len() > 0 {
        writer.flush(&CancellationToken::new()).await;
    }
    let written = std::mem::take(&mut *written.lock());
    (written, writer)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_between_two_transactions_leaves_no_device_without_its_event(
        devices in 1usize..9_000,
        first in 0usize..15_000,
        then in vec(0usize..6_000, 0..5),
        is_shared in any::<bool>(),
    ) {
        let peers = if is_shared { PeerHealth::Broken } else { PeerHealth::Off };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let all = first + then.iter().sum::<usize>();
        let (written, writer) = runtime.block_on(flush_all(devices, first, then, peers));
        prop_assert_eq!(&written.too_early, &None);
        prop_assert_eq!(writer.metrics.store.events_dropped.get(), 0);
        // Nothing waits for ever, and nothing is left out.
        prop_assert!(writer.order.lock().deferred() == 0);
        let changed = all.min(devices);
        let newest = (all - changed..all).map(|change| ((change % devices).to_string(), change as i64 + 1));
        for change in newest {
            prop_assert!(written.events.contains(&change) && written.devices.contains(&change), "{:?}", change);
        }
    }
}

#[tokio::test]
async fn devices_are_written_while_more_events_come_than_a_batch_holds() {
    let storm = vec![BATCH_MAX + 100; 9];
    let (written, writer) = flush_all(10_000, 3 * BATCH_MAX, storm, PeerHealth::Off).await;
    assert_eq!((written.too_early, writer.metrics.store.events_dropped.get()), (None, 0));
    // The three batches of events that waited when the devices were taken.
    assert_eq!(written.batches_before_devices, 3, "of {}", written.batches);
}

#[tokio::test]
async fn deferred_devices_are_not_acknowledged_before_they_are_written() {
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let written = Arc::new(AtomicUsize::new(0));
    let (to, acknowledged) = tokio::sync::mpsc::unbounded_channel();
    let (counted, acknowledged) = (Arc::clone(&written), Arc::new(Mutex::new(acknowledged)));
    let asked = Arc::clone(&acknowledged);
    let store = hooked(move |batch| {
        assert!(asked.lock().try_recv().is_err(), "before everything is written");
        counted.fetch_add(batch.devices.len(), Ordering::Relaxed);
        Ok(())
    });
    let writer = writer(&registry, store);
    for id in 0..2 * BATCH_MAX {
        happen(&writer, &id.to_string(), 1);
    }
    writer.pending_acks.push(PendingAck::new(vec![7], to));
    writer.flush(&CancellationToken::new()).await;
    assert_eq!(written.load(Ordering::Relaxed), 2 * BATCH_MAX);
    assert_eq!(acknowledged.lock().try_recv(), Ok(vec![7]));
}

#[test]
fn a_device_that_waits_for_its_events_is_written_alone_and_lost_events_are_noted_once() {
    for peers in [PeerHealth::Off, PeerHealth::Broken] {
        let registry = Arc::new(DeviceRegistry::tracking_changes());
        let writer = writer(&registry, Arc::new(MemoryStore::new(Retention { per_device: 1 })));
        writer.health.set_peer_health(peers);
        let happen = |events: usize| {
            for at in 0..events {
                let event = connected(at as i128);
                writer.events.push(Device { device_type: "t", id: "a" }, event, UnixSeconds(1));
            }
            change(&registry, events as i128);
        };
        happen(BATCH_MAX + 3);
        let taken: Vec<NextBatch> = (0..4).map(|_| writer.next_batch()).collect();
        let sizes = taken.iter().map(|taken| (taken.batch.events.len(), taken.batch.devices.len()));
        assert_eq!(sizes.collect::<Vec<_>>(), [(BATCH_MAX, 0), (3, 0), (0, 1), (0, 0)]);
        assert_eq!(taken.iter().map(|taken| taken.is_all).collect::<Vec<_>>(), [false, false, false, true]);
        happen(200_000);
        let lost: Vec<bool> = (0..2).map(|_| writer.next_batch().batch.events_lost).collect();
        assert_eq!(lost, [true, false], "with the first of those that are left");
    }
}

#[test]
fn each_device_whose_events_gave_way_is_written_with_or_before_a_note_of_the_loss() {
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let writer = writer(&registry, Arc::new(MemoryStore::new(Retention { per_device: 1 })));
    writer.health.set_peer_health(PeerHealth::Broken);
    // More than may wait, of more devices than a batch holds.
    for change in 0..110_000 {
        happen(&writer, &(change % 20_000).to_string(), change);
    }
    let (mut devices, mut is_noted) = (0, false);
    loop {
        let NextBatch { batch, is_all } = writer.next_batch();
        is_noted |= batch.events_lost;
        assert!(batch.devices.is_empty() || batch.events_lost, "after {devices} devices");
        devices += batch.devices.len();
        if is_all {
            break;
        }
    }
    assert!(is_noted && devices == 20_000, "{devices}");
    happen(&writer, "1", 200_000);
    assert!(!writer.next_batch().batch.events_lost, "that is over");
}
