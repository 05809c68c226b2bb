//! What is deleted for being old, and what is written meanwhile.

use super::*;
use crate::feed::RemovalReason;

#[tokio::test]
async fn changes_are_written_while_a_pruning_goes_on() {
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let (written, mut batches) = mpsc::unbounded_channel();
    let inner = MemoryStore::new(Retention { per_device: 9 });
    let before = move |batch: &Batch| {
        let _ = written.send(batch.devices.len());
        Ok(())
    };
    let store = Arc::new(Hooked { inner, before, is_pruning_endless: true });
    let settings = StoreSettings { flush_interval: Duration::from_millis(1), ..StoreSettings::memory() };
    let writer = Writer { settings, ..writer(&registry, store) };
    let expired = writer.metrics.store.events_expired.clone();
    let stop = CancellationToken::new();
    let changes = async {
        for at in 1..=3 {
            let before = expired.get();
            change(&registry, at);
            assert_eq!(batches.recv().await, Some(1));
            while expired.get() == before {
                tokio::task::yield_now().await;
            }
        }
        stop.cancel();
    };
    tokio::join!(writer.run(Handle::current(), stop.clone()), changes);
}

#[tokio::test]
async fn all_devices_that_are_disconnected_for_too_long_are_deleted_in_the_store() {
    const DEVICES: usize = 2_500;
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let store = hooked(|_| Ok(()));
    let settings = StoreSettings { forget_after: Some(Duration::from_secs(1)), ..StoreSettings::memory() };
    let writer = Writer { settings, ..writer(&registry, Arc::clone(&store) as Arc<dyn Store>) };
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    for id in (0..DEVICES).map(|id| id.to_string()) {
        let event = PresenceEvent { kind: EventKind::Disconnect, ..connected(1) };
        registry.apply(Device { device_type: "t", id: &id }, event, arrival);
    }
    happen(&writer, "here", 1);
    writer.flush(&CancellationToken::new()).await;
    assert_eq!(inner(&*store).await.len(), DEVICES + 1);

    let mut reader = writer.feed.follow_internally();
    // Nothing is old before it is known how late it is.
    writer.begin_maintenance(Some(UnixSeconds(1_000))).await;
    writer.begin_tidying().await;
    while writer.maintenance.has_work() {
        writer.go_on_tidying().await;
    }
    let left = inner(&*store).await;
    assert_eq!((left.len(), &*left[0]), (1, "here"));
    assert_eq!(writer.metrics.store.devices_forgotten.get(), DEVICES as u64);
    // Alert rules and republishing are told of each, or they would go on with it.
    let mut expired = 0;
    loop {
        let batch = reader.take().expect("the buffer has room for all");
        if batch.changes().is_empty() {
            break;
        }
        expired +=
            batch.changes().iter().filter(|change| change.removal == Some(RemovalReason::Expired)).count();
    }
    assert_eq!(expired, DEVICES);
}
