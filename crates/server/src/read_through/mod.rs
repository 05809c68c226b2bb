//! Reads from the store what the registry does not hold, where it holds only some of the devices: which devices are asked for,
//! and by whom, until one reading answers all of them. Where and how the store keeps them is not known here.
//!
//! ```text
//! requests -names-> [gathered while a reading is under way] -a batch-> store
//!     ^---- answers: what is kept, merged with what is held ----'   `-> backlog -> ingest -> registry
//! ```
//!
//! A request that comes after a reading has begun waits for the next one, so no answer is older than its question. A device
//! is in one reading at a time, so no answer is older than one that was given before.

mod catalog;
mod list;
#[cfg(test)]
mod tests;

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::freshness::RoundNumber;
use crate::metrics::Metrics;
use crate::registry::{Arrival, DeviceRegistry, Provenance, Snapshot};
use crate::sync::backlog::{Backlog, FetchedState};
use presence::{Device, DeviceName, DeviceState};
use store::{ReadDevices, StoredDevice};

pub use self::catalog::StoreCatalog;
use self::list::CachedTotals;
pub use self::list::FleetTotals;

/// Devices of one reading: as many as a lookup may name, a few milliseconds of any store.
const NAMES_MAX: usize = 1_000;

/// Readings under way at once: while one is on its way back, the store works at the other.
const READS_MAX: usize = 2;

/// Devices that may wait for a reading; whoever asks for more is told to come again.
const WAITING_MAX: usize = 65_536;

/// A reading that takes longer has failed: whoever waits for it is told so rather than kept.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Batches on their way into the registry. What is read while the decoder has so many to take is not held, which costs another
/// reading if it is asked for again.
const REMEMBERED_MAX: usize = 16;

/// What is known of a device, from the store and from memory.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedDevice {
    pub name: DeviceName,
    pub state: DeviceState,
    pub arrival: Arrival,
}

impl FetchedDevice {
    /// `None` if the state consists of nothing.
    pub fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of_state(self.name.clone(), &self.state, self.arrival)
    }
}

/// The store cannot be read at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreUnavailable;

type FetchResult = Result<Option<Arc<FetchedDevice>>, StoreUnavailable>;

/// Asks the store for any number of requests at once.
pub struct ReadThrough {
    devices: Arc<dyn ReadDevices>,
    registry: Arc<DeviceRegistry>,
    /// Gone once the program stops: what is read then need not be held.
    backlog: Weak<Backlog>,
    metrics: Metrics,
    asked: Mutex<ReadQueue>,
    remembered: Arc<Semaphore>,
    failing: AtomicBool,
    /// Locked while it is counted, so that it is counted once.
    counted: tokio::sync::Mutex<Option<CachedTotals>>,
}

/// What no reading has begun for.
#[derive(Default)]
struct ReadQueue {
    waiting: HashMap<DeviceName, Vec<oneshot::Sender<FetchResult>>>,
    order: VecDeque<DeviceName>,
    /// Readings under way.
    reads: usize,
    /// The devices that they ask for: none of them is in two readings at once, which might answer in the other order.
    under_way: HashSet<DeviceName>,
}

/// A device and those who wait for it.
type PendingFetch = (DeviceName, Vec<oneshot::Sender<FetchResult>>);

impl ReadQueue {
    fn add(&mut self, name: DeviceName) -> oneshot::Receiver<FetchResult> {
        let (sender, answer) = oneshot::channel();
        match self.waiting.entry(name) {
            Entry::Occupied(mut others) => others.get_mut().push(sender),
            Entry::Vacant(first) => {
                self.order.push_back(first.key().clone());
                first.insert(vec![sender]);
            }
        }
        answer
    }

    /// Who has waited longest; without those who have gone meanwhile, and without the devices that are being read. The
    /// reading that ends with those takes them up again.
    fn next_batch(&mut self) -> Vec<PendingFetch> {
        let (mut batch, mut deferred) = (Vec::new(), Vec::new());
        while batch.len() < NAMES_MAX
            && let Some(name) = self.order.pop_front()
        {
            if self.under_way.contains(&name) {
                deferred.push(name);
                continue;
            }
            let waiting = self.waiting.remove_entry(&name);
            batch.extend(waiting.filter(|(_, senders)| senders.iter().any(|sender| !sender.is_closed())));
        }
        for name in deferred.into_iter().rev() {
            self.order.push_front(name);
        }
        self.under_way.extend(batch.iter().map(|(name, _)| name.clone()));
        batch
    }

    /// Notes that a reading has answered.
    fn end_reading(&mut self, names: &[DeviceName]) {
        for name in names {
            self.under_way.remove(name);
        }
    }
}

impl ReadThrough {
    pub fn new(
        devices: Arc<dyn ReadDevices>,
        registry: Arc<DeviceRegistry>,
        backlog: Weak<Backlog>,
        metrics: Metrics,
    ) -> Self {
        let remembered = Arc::new(Semaphore::new(REMEMBERED_MAX));
        let (asked, failing, counted) = Default::default();
        Self { devices, registry, backlog, metrics, asked, remembered, failing, counted }
    }

    /// What is known of a device; `None`: nothing is.
    pub async fn read(self: &Arc<Self>, device: Device<'_>) -> FetchResult {
        Ok(self.read_all(vec![DeviceName::of(device)]).await?.pop().flatten())
    }

    /// The same for many devices, in their order.
    pub async fn read_all(
        self: &Arc<Self>,
        names: Vec<DeviceName>,
    ) -> Result<Vec<Option<Arc<FetchedDevice>>>, StoreUnavailable> {
        let (answers, begin) = {
            let mut asked = self.asked.lock();
            if asked.waiting.len() + names.len() > WAITING_MAX {
                return Err(StoreUnavailable);
            }
            self.metrics.read_through.misses.inc_by(names.len() as u64);
            let answers: Vec<_> = names.into_iter().map(|name| asked.add(name)).collect();
            let begin = asked.reads < READS_MAX && !answers.is_empty();
            asked.reads += usize::from(begin);
            (answers, begin)
        };
        if begin {
            tokio::spawn(Arc::clone(self).read_while_asked());
        }
        let mut known = Vec::with_capacity(answers.len());
        for answer in answers {
            known.push(answer.await.unwrap_or(Err(StoreUnavailable))?);
        }
        Ok(known)
    }

    async fn read_while_asked(self: Arc<Self>) {
        loop {
            let batch = {
                let mut asked = self.asked.lock();
                let batch = asked.next_batch();
                if batch.is_empty() {
                    asked.reads -= 1;
                    return;
                }
                batch
            };
            let names: Vec<DeviceName> = batch.iter().map(|(name, _)| name.clone()).collect();
            // If it fails, those who wait are told so, as their senders are dropped; the next reading goes on.
            if AssertUnwindSafe(self.answer(batch)).catch_unwind().await.is_err() {
                self.metrics.read_through.read_failures.inc();
            }
            self.asked.lock().end_reading(&names);
        }
    }

    async fn answer(&self, batch: Vec<PendingFetch>) {
        let names: Vec<DeviceName> = batch.iter().map(|(name, _)| name.clone()).collect();
        // Before the store is read.
        let seen: Vec<_> = names.iter().map(|name| self.registry.seen(name.device())).collect();
        let Ok(kept) = self.kept(names).await else {
            for sender in batch.into_iter().flat_map(|(_, senders)| senders) {
                // Whoever asked may have gone.
                let _ = sender.send(Err(StoreUnavailable));
            }
            return;
        };
        let mut kept: HashMap<DeviceName, StoredDevice> =
            kept.into_iter().map(|device| (device.name.clone(), device)).collect();
        let mut remembered = Vec::with_capacity(batch.len());
        for ((name, senders), seen) in batch.into_iter().zip(seen) {
            let kept = kept.remove(&name).map(|device| (device.state, device.received_at));
            let known = self.with_what_is_held(&name, kept.clone()).map(Arc::new);
            for sender in senders {
                let _ = sender.send(Ok(known.clone()));
            }
            remembered.push(FetchedState { name, kept, seen });
        }
        if let Ok(permit) = Arc::clone(&self.remembered).try_acquire_owned()
            && let Some(backlog) = self.backlog.upgrade()
        {
            backlog.remember(remembered, permit);
        }
    }

    /// One reading, counted and bounded.
    async fn kept(&self, names: Vec<DeviceName>) -> Result<Vec<StoredDevice>, StoreUnavailable> {
        let metrics = &self.metrics.read_through;
        metrics.reads.inc();
        metrics.read_devices.observe(names.len() as f64);
        let error = match timeout(READ_TIMEOUT, self.devices.read(names)).await {
            Ok(Ok(kept)) => {
                self.failing.store(false, Ordering::Relaxed);
                return Ok(kept);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer for {} s", READ_TIMEOUT.as_secs()),
        };
        metrics.read_failures.inc();
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error,
                "the store cannot be read at present: requests for devices outside memory fail"
            );
        }
        Err(StoreUnavailable)
    }

    /// What is kept of a device and what is held of it come to one state: what has changed may not be written yet.
    fn with_what_is_held(
        &self,
        name: &DeviceName,
        kept: Option<(DeviceState, presence::UnixSeconds)>,
    ) -> Option<FetchedDevice> {
        let held = self.registry.read(name.device(), |record| {
            let arrival = Arrival {
                provenance: record.reception.provenance,
                at: record.reception.received_at,
                round: record.freshness_round(),
            };
            (record.state.clone(), arrival)
        });
        let (state, arrival) = match (kept, held) {
            (None, None) => return None,
            (Some((state, at)), None) => {
                (state, Arrival { provenance: Provenance::Restored, at, round: RoundNumber::NONE })
            }
            (None, Some(held)) => held,
            (Some((mut state, kept_at)), Some((held, arrival))) => {
                let provenance = if state.merge(held) { arrival.provenance } else { Provenance::Restored };
                (state, Arrival { provenance, at: kept_at.max(arrival.at), ..arrival })
            }
        };
        Some(FetchedDevice { name: name.clone(), state, arrival })
    }
}
