//! What is read of other instances, and when it counts as read.

use std::thread;

use super::*;
use crate::feed::settings::FeedSettings;
use crate::health::ReadyOn;
use crate::sync::backlog::{Item, Pending, backlog};
use presence::payload::Payload;
use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};
use store::memory::MemoryStore;
use store::{Batch, Retention, StoredDevice};

struct Fixture {
    peers: Peers,
    pending: Pending,
}

impl Fixture {
    fn new() -> Self {
        let metrics = Metrics::default();
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let (backlog, pending) = backlog(1 << 20, metrics.clone());
        let peers = Peers {
            store: Arc::new(MemoryStore::new(Retention { per_device: 1 })),
            backlog,
            registry: Arc::default(),
            feed: Arc::new(Feed::new(FeedSettings::default(), Arc::clone(&health), metrics.clone())),
            health,
            metrics,
            leadership: Arc::new(Leadership::of_one()),
        };
        Self { peers, pending }
    }

    /// Another instance writes so many devices.
    async fn write(&self, devices: usize) {
        let at = Moment::from_nanos(1);
        let payload = Payload::pack(b"{}");
        let event = PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
        let mut state = DeviceState::default();
        state.apply(event);
        let device = |n: usize| StoredDevice {
            name: DeviceName { device_type: "t".into(), id: n.to_string().into() },
            state: state.clone(),
            received_at: UnixSeconds(1),
        };
        let batch = Batch { devices: (0..devices).map(device).collect(), ..Batch::default() };
        self.peers.store.upsert(Arc::new(batch)).await.unwrap();
    }
}

#[tokio::test]
async fn all_that_changed_is_handed_over_part_by_part_and_the_cursor_follows() {
    let Fixture { peers, pending } = {
        let fixture = Fixture::new();
        fixture.write(2 * PAGE + 1).await;
        fixture
    };
    // Stands for `ingest`, and ends with the peers.
    let taking = thread::spawn(move || {
        let mut parts = Vec::new();
        while let Some(item) = pending.next() {
            if let Item::PeerUpdates { changes, done } = item {
                parts.push(changes.devices.len());
                done.send(()).unwrap();
            }
        }
        parts
    });
    let mut cursor = ChangeCursor::BEGINNING;
    assert!(peers.catch_up(&mut cursor).await.is_ok());
    assert_eq!(cursor, peers.store.cursor().await.unwrap());
    assert!(peers.catch_up(&mut cursor).await.is_ok());
    drop(peers);
    assert_eq!(taking.join().unwrap(), [PAGE, PAGE, 1], "and nothing twice");
}

#[tokio::test]
async fn the_cursor_stays_where_it_is_until_what_was_read_is_in_the_map() {
    let fixture = Fixture::new();
    fixture.write(1).await;
    let Fixture { peers, pending } = fixture;
    // The decoder stops before it takes anything.
    let stopping = thread::spawn(move || drop(pending.next()));
    let mut cursor = ChangeCursor::BEGINNING;
    assert!(matches!(peers.catch_up(&mut cursor).await, Err(PollError::Stopping)));
    assert_eq!(cursor, ChangeCursor::BEGINNING);
    stopping.join().unwrap();
}
