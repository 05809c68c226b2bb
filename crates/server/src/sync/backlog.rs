//! The hand-over between the reader of the socket and the decoder: the reader never waits, what does not fit is counted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::freshness::RoundNumber;
use crate::metrics::Metrics;
use crate::pending_ack::PendingAck;
use crate::registry::LossCount;
use mqtt::settings::MqttVersion;
use presence::{DeviceName, DeviceState, UnixSeconds};
use store::Changes;

/// A batch of whole PUBLISH packets, as they came from one connection.
#[derive(Debug)]
pub struct PacketBatch {
    /// The link that it came over.
    pub link: LinkId,
    pub packets: Bytes,
    pub version: MqttVersion,
    /// The round of the population in which it came.
    pub round: RoundNumber,
    /// When the subscription was asked for that brought it, in milliseconds since 1970.
    pub subscribed_ms: i64,
    /// It came to a session that outlives its connection: the broker may have kept messages while there was no link.
    pub may_have_waited: bool,
    /// Which replay it belongs to, where one is counted.
    pub pass: Option<PassId>,
    /// Where messages are to be acknowledged once they are durable.
    pub pending_ack: Option<PendingAck>,
}

/// Which link of several, in the order of their sources; the only one is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LinkId(pub u16);

/// The number of one replay of retained messages; never used again in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PassId(pub u64);

/// What the decoder counted of one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages with the retain flag.
    pub retained: u64,
    /// Messages of the pass that changed the state of a device.
    pub learned: u64,
    /// Messages of the pass about devices that were not in the registry before.
    pub new_devices: u64,
    /// Messages of the pass about devices that would be forgotten again.
    pub expired: u64,
}

/// What was read of a device in a store because somebody asked for it, for the registry to hold.
#[derive(Debug)]
pub struct FetchedState {
    pub name: DeviceName,
    /// `None`: the store holds nothing of it.
    pub kept: Option<(DeviceState, UnixSeconds)>,
    /// Asked of the registry before the store was read.
    pub seen: LossCount,
}

/// One entry of the queue.
#[derive(Debug)]
pub enum Item {
    /// With the moment at which it was handed over.
    PacketBatch(PacketBatch, Instant),
    /// What other instances have changed in the store, which is in the registry when `done` is sent.
    PeerUpdates { changes: Changes, done: oneshot::Sender<()> },
    /// What was read in the store. So much of it may wait as there are permits.
    FetchedDevices { devices: Vec<FetchedState>, _permit: OwnedSemaphorePermit },
    /// Everything handed over before has been applied when the tally of the pass is sent back.
    Barrier { pass: PassId, done: oneshot::Sender<Tally> },
}

/// The end that the readers hold; cloning shares the queue.
#[derive(Clone)]
pub struct Backlog {
    queue: mpsc::Sender<Item>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
    metrics: Metrics,
}

/// The end that the decoder holds.
pub struct Pending {
    queue: mpsc::Receiver<Item>,
    bytes: Arc<AtomicUsize>,
    /// Nobody waits for the rest any more.
    abandoned: Arc<AtomicBool>,
    metrics: Metrics,
}

/// What [`Pending::next_before`] found.
pub enum NextItem {
    Item(Item),
    NoneYet,
    /// No reader is left, or nobody waits for the rest any more.
    Ended,
}

/// Whether a batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Acceptance {
    Yes,
    /// The backlog is full: the batch is lost with its pending ack, and has been counted.
    No,
}

/// Makes a queue that holds at most `max_bytes` of packets.
pub fn backlog(max_bytes: usize, metrics: Metrics) -> (Backlog, Pending) {
    let (sender, receiver) = mpsc::channel();
    let bytes = Arc::new(AtomicUsize::new(0));
    let (queue, abandoned) = (receiver, Arc::default());
    let pending = Pending { queue, bytes: Arc::clone(&bytes), abandoned, metrics: metrics.clone() };
    (Backlog { queue: sender, bytes, max_bytes, metrics }, pending)
}

impl Backlog {
    /// Hands a batch over, or drops and counts it if the limit is reached.
    pub fn offer(&self, batch: PacketBatch) -> Acceptance {
        let len = batch.packets.len();
        if self.bytes.fetch_add(len, Ordering::AcqRel) + len > self.max_bytes {
            self.bytes.fetch_sub(len, Ordering::AcqRel);
            self.metrics.backlog_dropped_bytes.inc_by(len as u64);
            return Acceptance::No;
        }
        self.metrics.bytes_received.inc_by(len as u64);
        self.metrics.backlog_waiting_bytes.inc_by(len as i64);
        // A decoder that is gone means that the program stops.
        let _ = self.queue.send(Item::PacketBatch(batch, Instant::now()));
        Acceptance::Yes
    }

    /// Hands over what other instances have changed and waits until it has been applied, so that their reader has one
    /// page under way at most; `None` if the program stops.
    pub async fn send_peer_updates(&self, changes: Changes) -> Option<()> {
        let (done, applied) = oneshot::channel();
        self.queue.send(Item::PeerUpdates { changes, done }).ok()?;
        applied.await.ok()
    }

    /// Hands over what was read in the store for the registry to hold, and does not wait for it.
    pub fn remember(&self, devices: Vec<FetchedState>, permit: OwnedSemaphorePermit) {
        // A decoder that is gone means that the program stops.
        let _ = self.queue.send(Item::FetchedDevices { devices, _permit: permit });
    }

    /// Waits until everything handed over so far has been applied; `None` if the program stops.
    pub async fn drained(&self, pass: PassId) -> Option<Tally> {
        let (done, tally) = oneshot::channel();
        self.queue.send(Item::Barrier { pass, done }).ok()?;
        tally.await.ok()
    }
}

/// Ends the decoder before it has applied everything. What it leaves is lost here; the broker keeps what it has retained.
pub struct Abandon(Arc<AtomicBool>);

impl Abandon {
    pub fn abandon(&self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Pending {
    /// The next item; `None` when no reader is left, or nobody waits for the rest any more.
    pub fn next(&self) -> Option<Item> {
        let item = self.queue.recv().ok()?;
        (!self.is_abandoned()).then_some(item)
    }

    /// The next item, or none at that moment.
    pub fn next_before(&self, deadline: Instant) -> NextItem {
        let wait = deadline.saturating_duration_since(Instant::now());
        match self.queue.recv_timeout(wait) {
            Ok(_) if self.is_abandoned() => NextItem::Ended,
            Ok(item) => NextItem::Item(item),
            Err(mpsc::RecvTimeoutError::Timeout) => NextItem::NoneYet,
            Err(mpsc::RecvTimeoutError::Disconnected) => NextItem::Ended,
        }
    }

    /// Whether nobody waits for the rest any more: the decoder then leaves what it has not applied of an item, too.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// For the one who stops the decoder.
    pub fn abandon(&self) -> Abandon {
        Abandon(Arc::clone(&self.abandoned))
    }

    /// Makes room again after a batch has been applied.
    pub fn applied(&self, batch: &PacketBatch, offered_at: Instant) {
        self.metrics.ingest_lag.observe(offered_at.elapsed());
        self.bytes.fetch_sub(batch.packets.len(), Ordering::AcqRel);
        self.metrics.backlog_waiting_bytes.dec_by(batch.packets.len() as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(len: usize) -> PacketBatch {
        let round = RoundNumber::NONE;
        PacketBatch {
            link: LinkId::default(),
            subscribed_ms: 0,
            packets: Bytes::from(vec![0; len]),
            version: MqttVersion::V311,
            round,
            may_have_waited: false,
            pass: None,
            pending_ack: None,
        }
    }

    #[test]
    fn waiting_batches_can_be_abandoned() {
        let (backlog, pending) = backlog(1_000, Metrics::default());
        for _ in 0..3 {
            assert_eq!(backlog.offer(batch(8)), Acceptance::Yes);
        }
        assert!(pending.next().is_some());
        pending.abandon().abandon();
        assert!(pending.next().is_none());
    }

    #[test]
    fn a_batch_that_does_not_fit_is_counted_and_capacity_returns() {
        let metrics = Metrics::default();
        let (backlog, pending) = backlog(10, metrics.clone());
        assert_eq!(backlog.offer(batch(8)), Acceptance::Yes);
        assert_eq!(backlog.offer(batch(3)), Acceptance::No);
        assert_eq!(metrics.backlog_dropped_bytes.get(), 3);
        let Some(Item::PacketBatch(first, offered_at)) = pending.next() else {
            panic!("the batch that fitted is there")
        };
        pending.applied(&first, offered_at);
        assert_eq!(metrics.backlog_waiting_bytes.get(), 0);
        assert_eq!(backlog.offer(batch(10)), Acceptance::Yes);
    }
}
