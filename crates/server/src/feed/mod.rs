//! The live changes: `ingest` publishes each change of a device's state, in order, into a buffer; any number of readers follow
//! it. There is no queue for each reader, so one that stalls costs nobody anything: it falls behind and is ended. What a
//! change looks like to clients is not known here; how a stream goes on that was broken off is decided in [`resume`].
//!
//! ```text
//! ingest -publish-> ChangeBuffer <-after a position- ChangeReader
//!            `-> notification -at most every PACE_MIN-> all readers
//! ```
//!
//! A change is published while the shard of its device is locked. So a reader that takes a device from the registry and the
//! [`Feed::head`] under one lock has seen exactly the changes of this device up to it.

mod buffer;
mod failed_logins;
mod log;
mod reader;
pub mod resume;
pub mod settings;
mod walk;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use self::buffer::Behind;
use self::buffer::ChangeBuffer;
pub use self::failed_logins::{FAILED_LOGINS_MAX, FailedLogins};
pub use self::log::{FeedHold, FeedPage};
pub use self::reader::{ChangeBatch, ChangeReader, SHOWN_AT_ONCE};
use self::reader::{ReaderKind, Subscription};
use self::resume::WatermarkTracker;
use self::settings::FeedSettings;
pub use self::walk::{FleetWalk, names_of_part};
use crate::clock;
use crate::freshness::FreshnessBySource;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::registry::{Record, Snapshot};
use presence::Status;
use presence::history::HistoryPosition;
use presence::query::{Filter, Traits};

/// Readers are woken at most once in this time: what comes meanwhile goes out in one piece.
const PACE_MIN: Duration = Duration::from_millis(4);
/// The longest time between two wakes while changes come. A thousand readers cost fifty thousand writes a second at this pace.
const PACE_MAX: Duration = Duration::from_millis(20);
/// So much longer is the time for each change that was given to each reader the last time.
const PACE_OF_DELIVERY: Duration = Duration::from_micros(100);

/// The time until readers are woken again who have been given so many changes.
fn pace(changes: u64, readers: usize) -> Duration {
    let deliveries = changes.saturating_mul(readers as u64);
    let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
    PACE_OF_DELIVERY.saturating_mul(deliveries).clamp(PACE_MIN, PACE_MAX)
}

/// How long streams have for a clean end before their connections are cut.
const ENDING: Duration = Duration::from_millis(250);

/// What the change buffer may take, about.
const BUFFER_MAX_BYTES: usize = 96 << 20;

/// Changes that are held while no stream is open: enough to resume one that broke a moment ago.
const UNFOLLOWED_MAX: usize = 2_048;

/// Disconnects that all streams together may hold back until they have settled, about 500 bytes each. A stream that finds no room
/// reads on once some are decided.
const UNDECIDED_MAX: usize = 200_000;

/// How many may go through all devices at once; further ones wait. Each holds the names of a part of them.
const WALKS_MAX: usize = 16;

/// Why a device is held no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalReason {
    /// An administrator had it forgotten, or its source has removed it.
    Forgotten,
    /// It was disconnected for longer than devices are kept. To the clients of streams that is no change.
    Expired,
}

/// One change of a device's state.
#[derive(Debug)]
pub struct Change {
    /// Rises by one from change to change of this process.
    pub sequence: u64,
    /// The device as it was then.
    pub snapshot: Snapshot,
    /// The status before; `None`: nothing was known of the device.
    pub previous: Option<Status>,
    /// The device is held no longer; the snapshot shows it as it was before.
    pub removal: Option<RemovalReason>,
    /// Whether the history contains it.
    pub in_history: bool,
    /// The devices had been found by then.
    pub is_populated: bool,
    /// A position up to which the history contains no change that was published later; `None` while that is not known, or
    /// while the population is read for the first time.
    pub watermark: Option<HistoryPosition>,
    address: OnceLock<Option<IpAddr>>,
    cause: OnceLock<Option<&'static str>>,
    shown: SharedText,
}

impl Change {
    /// What a filter looks at. Address and cause may have to be read out of the message, so they are found once, and if
    /// somebody wants them.
    pub fn traits(&self, filter: &Filter) -> Traits<'_> {
        let address = || *self.address.get_or_init(|| self.snapshot.address());
        let cause = || *self.cause.get_or_init(|| self.snapshot.cause_class());
        let address = if filter.addresses.is_empty() { None } else { address() };
        self.snapshot.traits_with(address, if filter.causes.is_empty() { None } else { cause() })
    }

    /// As a text that the first reader makes and all share who call the same answers stale.
    pub fn shown(&self, freshness: &FreshnessBySource, show: impl FnOnce(&Change) -> Bytes) -> Bytes {
        self.shown.get(freshness, || show(self))
    }
}

/// A text that many want, made once.
#[derive(Debug, Default)]
struct SharedText(OnceLock<(FreshnessBySource, Bytes)>);

impl SharedText {
    /// The text if it was made when the same answers were stale, else another that is not shared.
    fn get(&self, freshness: &FreshnessBySource, make: impl FnOnce() -> Bytes) -> Bytes {
        match self.0.get() {
            Some((then, text)) if then == freshness => text.clone(),
            Some(_) => make(),
            None => {
                let text = make();
                // If another reader was quicker, its text is kept.
                let _ = self.0.set((freshness.clone(), text.clone()));
                text
            }
        }
    }
}

/// The change buffer and the streams that read it.
pub struct Feed {
    settings: FeedSettings,
    health: Arc<Health>,
    metrics: Metrics,
    /// Tells this process's sequences from those of another.
    epoch: u64,
    buffer: RwLock<ChangeBuffer>,
    /// The sequence of the newest change; beside the buffer for those who hold the lock of a shard.
    head: AtomicU64,
    watermark: Mutex<WatermarkTracker>,
    subscriptions: Mutex<HashMap<u64, Arc<Subscription>>>,
    followers: AtomicUsize,
    change_notification: Notify,
    heads: watch::Sender<u64>,
    history_grown: watch::Sender<()>,
    /// The batch that most readers want next, all of them the same.
    latest_batch: Mutex<Option<Arc<ChangeBatch>>>,
    ending: CancellationToken,
    /// Failed logins of devices, which are no changes of theirs.
    pub failed_logins: FailedLogins,
    /// Who may go through all devices.
    walks: Arc<Semaphore>,
    /// Room for disconnects that are held back.
    undecided: Arc<Semaphore>,
}

impl Feed {
    pub fn new(settings: FeedSettings, health: Arc<Health>, metrics: Metrics) -> Self {
        Self {
            settings,
            health,
            metrics,
            epoch: u64::try_from(clock::now_millis()).unwrap_or(0),
            buffer: RwLock::default(),
            head: AtomicU64::new(0),
            watermark: Mutex::default(),
            subscriptions: Mutex::default(),
            followers: AtomicUsize::new(0),
            change_notification: Notify::new(),
            heads: watch::Sender::new(0),
            history_grown: watch::Sender::new(()),
            latest_batch: Mutex::default(),
            ending: CancellationToken::new(),
            failed_logins: FailedLogins::default(),
            walks: Arc::new(Semaphore::new(WALKS_MAX)),
            undecided: Arc::new(Semaphore::new(UNDECIDED_MAX)),
        }
    }

    /// Adds a change; `record` is the device as it is now, and its shard is locked.
    pub fn publish(&self, record: &Record<'_>, previous: Option<Status>, in_history: bool) {
        self.add(|| Snapshot::of(record), previous, in_history, None);
    }

    /// Adds that a device is held no longer; `record` is the device as it was, and its shard is locked. No history tells that a device
    /// was forgotten; one that has expired is no change to clients, so none that resumes a stream misses it.
    pub fn publish_removal(&self, record: &Record<'_>, reason: RemovalReason) {
        let in_history = reason == RemovalReason::Expired;
        self.add(|| Snapshot::of(record), Some(record.resolve().status), in_history, Some(reason));
    }

    fn add(
        &self,
        snapshot: impl Fn() -> Snapshot,
        previous: Option<Status>,
        in_history: bool,
        removal: Option<RemovalReason>,
    ) {
        // Before the lock of the buffer is taken, for which readers wait.
        let is_populated = self.is_populated();
        let followed = self.followers.load(Ordering::SeqCst) > 0;
        let most = self.settings.stream_lag_max as usize;
        let most = if followed { most } else { most.min(UNFOLLOWED_MAX) };
        // Of a population, more than is held is found within milliseconds, so that no stream could go on with what is held.
        let is_one_of_many =
            !followed && !is_populated && previous.is_none() && !in_history && self.head() >= most as u64;
        let early = (!is_one_of_many).then(|| (snapshot(), self.watermark_of_next()));
        let mut buffer = self.buffer.write();
        let sequence = buffer.next();
        // Under the lock of the buffer, so that it never goes back: decoder and writer publish.
        self.head.store(sequence, Ordering::SeqCst);
        // A reader is counted before it looks at the head, so either it sees this change or is seen here.
        let is_left_out = is_one_of_many && self.followers.load(Ordering::SeqCst) == 0 && buffer.leave_out();
        if !is_left_out {
            let (snapshot, watermark) = early.unwrap_or_else(|| (snapshot(), None));
            let change = Change {
                sequence,
                snapshot,
                previous,
                removal,
                in_history,
                is_populated,
                watermark,
                address: OnceLock::new(),
                cause: OnceLock::new(),
                shown: SharedText::default(),
            };
            buffer.push(change, if is_one_of_many { 1 } else { most }, BUFFER_MAX_BYTES);
        }
        drop(buffer);
        self.metrics.feed.changes.inc();
        if followed || self.followers.load(Ordering::SeqCst) > 0 {
            self.change_notification.notify_one();
        }
    }

    /// The sequence of the newest change; 0 before the first.
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::SeqCst)
    }

    /// Counts a stream that could not show everything.
    pub fn note_gap(&self) {
        self.metrics.feed.gaps.inc();
    }

    /// Whether the devices have been found: what is new from now on is news.
    pub fn is_populated(&self) -> bool {
        self.health.populated()
    }

    /// Since when everything that the broker sends has been received; `None` while it may not be.
    pub fn link_since(&self) -> Option<Instant> {
        self.health.link_since()
    }

    /// A stream that goes through all devices, to follow them from then on, takes one of these meanwhile.
    pub fn walks(&self) -> &Arc<Semaphore> {
        &self.walks
    }

    /// A stream takes one of these for each disconnect that it holds back.
    pub fn undecided(&self) -> &Arc<Semaphore> {
        &self.undecided
    }

    /// Wakes the readers until shutdown, ends those that are too far behind, and at last all.
    pub async fn wake_readers(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = self.change_notification.notified() => {}
                () = shutdown.cancelled() => break,
            }
            let head = self.head();
            let before = self.heads.send_replace(head);
            self.end_the_slow();
            sleep(pace(head.saturating_sub(before), self.followers.load(Ordering::SeqCst))).await;
        }
        self.ending.cancel();
        sleep(ENDING).await;
        for subscription in self.subscriptions.lock().values() {
            subscription.cut.cancel();
        }
    }

    /// How many changes the slowest reader is behind.
    pub fn lag(&self) -> u64 {
        let head = self.head();
        let subscriptions = self.subscriptions.lock();
        let streams = subscriptions.values().filter(|subscription| subscription.kind == ReaderKind::Stream);
        let slowest = streams.map(|subscription| subscription.position()).min();
        head.saturating_sub(slowest.unwrap_or(head))
    }

    /// A reader that does not even ask for the next changes can only be ended with its connection.
    fn end_the_slow(&self) {
        // No reader is ahead of the newest change, so the oldest decides. The buffer is free while streams are woken.
        let reached = self.buffer.read().reached();
        let subscriptions = self.subscriptions.lock();
        for subscription in subscriptions.values().filter(|subscription| subscription.position() < reached) {
            if subscription.kind == ReaderKind::Stream && subscription.note_slow() {
                self.metrics.feed.refused("slow");
                subscription.cut.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests;
