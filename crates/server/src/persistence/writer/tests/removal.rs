//! What a device that is forgotten leaves behind.

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::*;
use crate::removal::Removal;
use formats::order::{Key, Shown};
use formats::{DeviceName as FormatName, Event, EventKind as FormatKind, Session, UnixNanos, status};

const DEVICE: Device<'static> = Device { device_type: "t", id: "a" };

/// What is held of a device that its source has removed.
fn removed() -> PresenceEvent {
    let event = Event {
        device: FormatName { device_type: "t".into(), id: "a".into() },
        kind: FormatKind::Disconnect,
        session: Session::Arrival,
        time: None,
        cause: None,
        reason: Some(status::REMOVED.into()),
        address: None,
        protocol: None,
        parent: None,
    };
    let shown = Shown::from(Key { session: UnixNanos(2), kind: FormatKind::Disconnect, time: UnixNanos(2) });
    let payload = status::pack("p", &event, &shown, b"").payload;
    PresenceEvent { kind: EventKind::Disconnect, payload, ..connected(2) }
}

#[tokio::test]
async fn what_came_of_a_device_between_the_flush_and_its_removal_does_not_bring_it_back() {
    for is_asked_for in [true, false] {
        let store = Arc::new(MemoryStore::new(Retention { per_device: 9 }));
        let registry = Arc::new(DeviceRegistry::tracking_changes());
        let (writer, stop) =
            (writer(&registry, Arc::clone(&store) as Arc<dyn Store>), CancellationToken::new());
        happen(&writer, "a", 1);
        happen(&writer, "b", 1);
        writer.flush(&stop).await;
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        registry.apply(DEVICE, removed(), arrival);
        writer.events.push(DEVICE, removed(), UnixSeconds(1));
        happen(&writer, "b", 2);
        if is_asked_for {
            let (done, _outcome) = oneshot::channel();
            let removal = Removal { device_type: "t".to_owned(), id: "a".to_owned(), done };
            writer.remove(removal, &Handle::current()).await;
        } else {
            registry.note_removed(DEVICE);
            writer.forget_removed().await;
        }
        assert_eq!(registry.held(), 1);
        writer.flush(&stop).await;
        assert_eq!(inner(&*store).await, ["b"], "asked for: {is_asked_for}");
        assert_eq!(writer.metrics.store.events_written.get(), 3);
    }
}

#[tokio::test]
async fn devices_that_were_removed_just_before_a_stop_are_forgotten() {
    let store = Arc::new(MemoryStore::new(Retention { per_device: 9 }));
    let registry = Arc::new(DeviceRegistry::tracking_changes());
    let writer = writer(&registry, Arc::clone(&store) as Arc<dyn Store>);
    happen(&writer, "b", 1);
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    // More than are forgotten at once.
    for number in 0..600 {
        let device = Device { device_type: "t", id: &format!("removed-{number}") };
        registry.apply(device, removed(), arrival);
        registry.note_removed(device);
    }
    let stop = CancellationToken::new();
    stop.cancel();
    writer.run(Handle::current(), stop).await;
    assert_eq!(inner(&*store).await, ["b"]);
}
