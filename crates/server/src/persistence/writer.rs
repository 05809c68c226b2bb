//! Writes behind: takes what has changed out of the registry and gives it to the store, in batches, soon after the change. A store
//! that is slow or away holds up nobody: the changed devices wait in the registry, each once, however often they change.

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::batches::{NextBatch, WriteOrder, WrittenBatch};
use super::maintenance::Maintenance;
use super::pace::{DECODER_FIRST_BYTES, FlushPace, Followers, LOOK};
use super::refused::{self, RefusedDevices};
use crate::feed::Feed;
use crate::feed::resume::CommitWatermark;
use crate::health::{Health, PeerHealth, StoreHealth};
use crate::history::EventQueue;
use crate::metrics::Metrics;
use crate::pending_ack::{PendingAck, PendingAcks};
use crate::registry::{DeviceRegistry, Record};
use crate::removal::Removal;
use crate::series::Recorder;
use crate::sync::Leadership;
use presence::DeviceName;
use presence::history::HistoryPosition;
use store::settings::StoreSettings;
use store::{Batch, Store, StoreError, StoredDevice};
use system::backoff::Backoff;

/// After a refusal the next attempt waits this long, then twice as long, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// A store that is back is noticed within this time.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A batch that takes longer is shown as a failure, while it is still waited for.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// How long the writer waits for the position of the newest event. Without it, a stream that resumes from the history shows
/// some events again.
const NEWEST_TIMEOUT: Duration = Duration::from_millis(500);

/// The least time between two such questions where several write. A stream that resumes elsewhere is shown some of the events
/// of this time again.
const WATERMARK_INTERVAL: Duration = Duration::from_millis(100);

/// Devices that are checked after a flush if more are held than may be: a millisecond or so.
const EVICTION_CHECKS: usize = 16_384;

/// The least time between two log lines about devices that the store refuses.
const REFUSED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How often what is too old is dropped.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(10);

/// What the writer takes from and shows its state to.
pub struct Writer {
    pub registry: Arc<DeviceRegistry>,
    pub events: Arc<EventQueue>,
    /// For what is applied and must be written before it is acknowledged.
    pub pending_acks: Arc<PendingAcks>,
    pub store: Arc<dyn Store>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
    pub feed: Arc<Feed>,
    pub settings: StoreSettings,
    /// Devices that an administrator wants to be forgotten.
    pub removals: mpsc::Receiver<Removal>,
    /// Who reads what the broker has retained.
    pub leadership: Arc<Leadership>,
    /// What `health` shows while all is well.
    pub good: StoreHealth,
    /// How far the history was found to follow.
    pub commit_watermark: Mutex<CommitWatermark>,
    pub maintenance: Maintenance,
    /// The devices that the store refuses to keep.
    pub refused: Mutex<RefusalLog>,
    /// Which batch comes next.
    pub order: Mutex<WriteOrder>,
}

/// The devices that the store refuses to keep, and what the log has said of them.
#[derive(Default)]
pub struct RefusalLog {
    devices: RefusedDevices,
    logged_at: Option<Instant>,
    /// Refusals since then.
    unlogged: u64,
}

/// A part of a batch that the store refuses for what it is.
struct Rejection {
    part: Arc<Batch>,
    reason: String,
}

/// A device that is tried again; no batch, if nobody knows it any more.
struct RefusedDevice {
    name: DeviceName,
    batch: Option<Batch>,
}

/// Pending acks, and how far the writer must have come before they are given back.
struct DueAcks {
    pending_acks: VecDeque<PendingAck>,
    devices: u64,
    events: u64,
}

impl Writer {
    /// Records the series in the same store.
    pub fn recorder(&self) -> Recorder {
        Recorder {
            registry: Arc::clone(&self.registry),
            health: Arc::clone(&self.health),
            store: Arc::clone(&self.store),
            metrics: self.metrics.clone(),
        }
    }

    /// Writes until `stop`, then what is left; the caller bounds how long that may take.
    /// Answers that can be given only later wait on the runtime of `answers`, which outlives the writer.
    pub async fn run(mut self, answers: Handle, stop: CancellationToken) {
        self.health.set_store(self.good.clone());
        let mut pace = FlushPace::new(self.settings.flush_interval);
        let mut flushed_at = Instant::now();
        let mut maintenance_due = Instant::now();
        while !stop.is_cancelled() {
            let followers = self.followers();
            let removal = tokio::select! {
                () = sleep(pace.look_after(followers, flushed_at.elapsed())) => {
                    if !pace.is_due(followers, self.has_waiting(), flushed_at.elapsed()) {
                        continue;
                    }
                    None
                }
                () = self.pending_acks.wait() => None,
                () = stop.cancelled() => None,
                removal = self.removals.recv(), if !self.removals.is_closed() => removal,
            };
            let (began_at, before) = (Instant::now(), self.written());
            self.flush(&stop).await;
            flushed_at = Instant::now();
            let after = self.written();
            pace.flushed(flushed_at - began_at, (after.0 - before.0).max(after.1 - before.1));
            if let Some(removal) = removal {
                self.remove(removal, &answers).await;
            }
            self.forget_removed().await;
            self.registry.evict_surplus(EVICTION_CHECKS);
            if Instant::now() >= maintenance_due && !stop.is_cancelled() {
                self.retry_refused(Instant::now(), &stop).await;
                self.begin_tidying().await;
                maintenance_due = Instant::now() + MAINTENANCE_INTERVAL;
            }
            if !stop.is_cancelled() {
                self.go_on_tidying().await;
            }
        }
        self.flush(&stop).await;
        // The next start does not know which devices wait to be forgotten.
        while self.forget_removed().await {}
    }

    fn followers(&self) -> Followers {
        match self.health.peer_health() {
            PeerHealth::Off => Followers::None,
            PeerHealth::Current { .. } | PeerHealth::Broken => Followers::Instances,
        }
    }

    /// How many devices and how many events were written so far.
    fn written(&self) -> (u64, u64) {
        (self.metrics.store.devices_written.get(), self.metrics.store.events_written.get())
    }

    fn has_waiting(&self) -> bool {
        self.registry.dirty_waiting() > 0 || !self.events.is_empty() || self.order.lock().deferred() > 0
    }

    /// Writes everything that waits now. What comes while a batch is written waits for the next flush, unless the batch did not
    /// hold everything: written at once, the changes of some milliseconds would make a batch of their own, again and again,
    /// and a device that changes often would be written as often. After a refusal everything is caught up at once.
    async fn flush(&self, stop: &CancellationToken) {
        let mut due = VecDeque::new();
        loop {
            due.extend(self.due());
            // Before the events are taken: those of all changes up to here are in the queue by now.
            let published = self.feed.head();
            let NextBatch { batch, is_all } = self.next_batch();
            self.show_waiting(&batch);
            let all_written = batch.is_empty() && self.order.lock().deferred() == 0;
            let written = self.write(batch, stop).await;
            while let Some(due) = due.pop_front_if(|due: &mut DueAcks| all_written || self.has_reached(due)) {
                due.pending_acks.into_iter().for_each(PendingAck::give);
            }
            if all_written {
                // Others may have written what is published here.
                if !self.feed.is_followed_to(published) {
                    self.note_watermark(published).await;
                }
                return;
            }
            if is_all && self.asks_for_watermark() {
                self.note_watermark(published).await;
            }
            let has_failed = written.has_failed;
            written.drop_in_turns();
            if is_all && due.is_empty() && !has_failed && !stop.is_cancelled() {
                return;
            }
            if due.is_empty() {
                self.let_decoder_go_first(stop).await;
            }
        }
    }

    /// Leaves the processor to a decoder that is far behind, for a bounded time: a packet that waits there takes many times the
    /// memory of a changed device that waits here.
    async fn let_decoder_go_first(&self, stop: &CancellationToken) {
        let longest = FlushPace::new(self.settings.flush_interval).decoder_first(self.followers());
        let deadline = Instant::now() + longest;
        while self.metrics.backlog_waiting_bytes.get() > DECODER_FIRST_BYTES
            && !stop.is_cancelled()
            && Instant::now() < deadline
        {
            sleep(LOOK).await;
        }
    }

    /// Where other instances wait for what is written, flushes follow each other too quickly to ask after each of them.
    fn asks_for_watermark(&self) -> bool {
        let interval = match self.followers() {
            Followers::None => Duration::ZERO,
            Followers::Instances => WATERMARK_INTERVAL,
        };
        self.commit_watermark.lock().ask(Instant::now().into_std(), interval)
    }

    /// Sets the feed's history watermark, if the store can say so at once: all changes up to that one are written.
    pub async fn note_watermark(&self, changes: u64) {
        if self.health.peer_health() == PeerHealth::Broken {
            return;
        }
        let asked = timeout(NEWEST_TIMEOUT, self.store.events(HistoryPosition::BEGINNING, 0)).await;
        let Ok(Ok(Some(page))) = asked else { return };
        let found = self.commit_watermark.lock().find(changes, &page);
        if let Some(watermark) = found {
            self.feed.note_watermark(watermark, Instant::now().into_std());
        }
    }

    /// What must be written before the acks that are pending: everything that waits now.
    fn due(&self) -> Option<DueAcks> {
        let pending_acks = self.pending_acks.take();
        let (devices, events) = (self.registry.flush_epoch(), self.events.end_position());
        (!pending_acks.is_empty()).then_some(DueAcks { pending_acks, devices, events })
    }

    /// Whether what has been taken so far, all of which is written, contains what these acks wait for.
    fn has_reached(&self, due: &DueAcks) -> bool {
        let nothing_deferred = self.order.lock().deferred() == 0;
        nothing_deferred && self.registry.flushed_epoch() >= due.devices && self.events.gone() >= due.events
    }

    /// What is being written waits, too: it may be refused.
    fn show_waiting(&self, batch: &Batch) {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let devices = self.registry.dirty_waiting() + self.order.lock().deferred() + batch.devices.len();
        self.metrics.store.devices_waiting.set(gauge(devices));
        self.metrics.store.events_waiting.set(gauge(self.events.len() + batch.events.len()));
    }

    /// Tries until the store has taken the batch, but for the devices that it refuses.
    async fn write(&self, batch: Batch, stop: &CancellationToken) -> WrittenBatch {
        let mut parts = vec![self.without_refused(batch)];
        let mut written = WrittenBatch::default();
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let part = Arc::new(part);
            match self.write_part(Arc::clone(&part), stop).await {
                Ok(has_failed) => written.add(part, has_failed),
                Err(Rejection { part, reason }) => match refused::halves(&part) {
                    Some([first, second]) => parts.extend([second, first]),
                    None => self.set_aside(&part, &reason),
                },
            }
        }
        written
    }

    /// Tries until the store has taken the part or refused it; says whether it failed meanwhile.
    async fn write_part(&self, batch: Arc<Batch>, stop: &CancellationToken) -> Result<bool, Rejection> {
        let mut backoff = Backoff::between(RETRY_MIN, RETRY_MAX);
        let mut failing = false;
        loop {
            let started = Instant::now();
            match self.attempt(&batch).await {
                Ok(()) => {
                    let metrics = &self.metrics.store;
                    metrics.flush_duration.observe(started.elapsed().as_secs_f64());
                    metrics.devices_written.inc_by(batch.devices.len() as u64);
                    metrics.events_written.inc_by(batch.events.len() as u64);
                    self.registry.written(batch.devices.iter().map(|device| device.name.device()));
                    break;
                }
                Err(StoreError::Refused(reason)) => {
                    self.health.set_store(self.good.clone());
                    return Err(Rejection { part: batch, reason });
                }
                Err(error) => {
                    self.metrics.store.failures.inc();
                    if !failing {
                        tracing::error!(%error, "the store accepts no writes at present; changes wait in memory");
                    }
                    failing = true;
                    let begun_anew = matches!(error, StoreError::BegunAnew { .. });
                    self.health.set_store(StoreHealth::Failing(error.to_string()));
                    if begun_anew {
                        self.registry.mark_all_dirty();
                        self.read_again();
                        continue;
                    }
                }
            }
            self.show_waiting(&batch);
            // The last attempts come quickly: there is not much time left.
            let is_stopping = stop.is_cancelled();
            let wait = if is_stopping { RETRY_MIN } else { backoff.wait() };
            tokio::select! {
                () = sleep(wait) => {}
                () = stop.cancelled(), if !is_stopping => {}
            }
        }
        if failing {
            tracing::info!("the store accepts writes again");
        }
        self.health.set_store(self.good.clone());
        Ok(failing)
    }

    /// Takes devices that the store is known to refuse out of a batch: they would be refused again, at the cost of many
    /// attempts each time.
    fn without_refused(&self, batch: Batch) -> Batch {
        let mut never = Vec::new();
        let part = {
            let mut refused = self.refused.lock();
            let nothing_refused = refused.devices.is_empty();
            let names = batch.devices.iter().map(|device| device.name.device());
            let event_names = batch.events.iter().map(|event| event.device());
            never.extend(names.chain(event_names).filter_map(|device| {
                let reason = self.store.refuses(device)?;
                Some((DeviceName::of(device), reason))
            }));
            if nothing_refused && never.is_empty() {
                return batch;
            }
            let never: HashSet<&DeviceName> = never.iter().map(|(name, _)| name).collect();
            let refused = RefCell::new(&mut refused.devices);
            let [part, left_out] = refused::divide(&batch, |device_type, id| {
                let name = DeviceName { device_type: device_type.into(), id: id.into() };
                !refused.borrow_mut().note_change(&name) && !never.contains(&name)
            });
            self.note_lost_events(&left_out);
            part
        };
        for (name, reason) in never {
            self.note_refused(name, reason, Instant::now());
        }
        part
    }

    /// Gives up writing the one device of a part. It stays in the registry, where the flags of [`DeviceRegistry::take_dirty`] hold it.
    fn set_aside(&self, part: &Batch, reason: &str) {
        self.note_lost_events(part);
        if let Some(name) = refused::only_device(part) {
            if part.events_lost {
                self.events.note_lost();
            }
            self.note_refused(name, reason, Instant::now());
        }
    }

    fn note_lost_events(&self, batch: &Batch) {
        self.metrics.store.events_refused.inc_by(batch.events.len() as u64);
        if !batch.events.is_empty() {
            self.events.note_lost();
            self.feed.note_lost();
        }
    }

    fn note_refused(&self, name: DeviceName, reason: &str, now: Instant) {
        let mut refused = self.refused.lock();
        refused.unlogged += 1;
        if refused.logged_at.is_none_or(|at| now.duration_since(at) >= REFUSED_LOG_INTERVAL) {
            let DeviceName { device_type, id } = &name;
            let refusals = std::mem::take(&mut refused.unlogged);
            tracing::warn!(%device_type, %id, reason, refusals, "the store refuses a device, which stays in memory only");
            refused.logged_at = Some(now);
        }
        for name in refused.devices.add(name, reason, now) {
            self.registry.written([name.device()].into_iter());
        }
        self.show_refused(&refused);
    }

    fn show_refused(&self, refused: &RefusalLog) {
        let number = refused.devices.len();
        self.metrics.store.devices_refused.set(i64::try_from(number).unwrap_or(i64::MAX));
        let sentence = refused.devices.example().map(|(DeviceName { device_type, id }, reason)| {
            format!("The store refuses to keep {number} of the devices, as {device_type}/{id}: {reason}.")
        });
        self.health.set_refused_by_store(sentence);
    }

    /// Tries again some of the devices that the store refused, after the events that wait: among them may be those of these
    /// devices, which count as refused still.
    async fn retry_refused(&self, now: Instant, stop: &CancellationToken) {
        let due = self.refused.lock().devices.due(now);
        let attempts: Vec<_> = due.into_iter().map(|name| self.refused_device(name)).collect();
        if !attempts.is_empty() {
            self.flush(stop).await;
        }
        for RefusedDevice { name, batch } in attempts {
            if let Some(reason) = self.store.refuses(name.device()) {
                self.note_refused(name, reason, now);
                continue;
            }
            if let Some(batch) = batch {
                match self.store.upsert(Arc::new(batch)).await {
                    Ok(()) => {
                        self.metrics.store.devices_written.inc();
                        // A change that came since it was read was left out of its batch.
                        self.registry.mark_dirty(name.device());
                        self.registry.written([name.device()].into_iter());
                    }
                    Err(StoreError::Refused(reason)) => {
                        self.note_refused(name, &reason, now);
                        continue;
                    }
                    // The store has failed, which the next batch shows.
                    Err(_) => return,
                }
            }
            let mut refused = self.refused.lock();
            refused.devices.remove(&name);
            self.show_refused(&refused);
        }
    }

    fn refused_device(&self, name: DeviceName) -> RefusedDevice {
        let based_on = self.registry.forget_cursor.lock().clone();
        let device = self.registry.read(name.device(), stored);
        let batch = device.map(|device| Batch { devices: vec![device], based_on, ..Batch::default() });
        RefusedDevice { name, batch }
    }

    /// What only the store held is lost with it: the broker is asked for it again.
    fn read_again(&self) {
        if self.registry.is_limited() {
            self.health.unpopulate();
            self.leadership.ask_again();
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
        self.health.set_store(StoreHealth::Failing(slow));
        upsert.await
    }
}

pub(super) fn stored(record: &Record<'_>) -> StoredDevice {
    let name = DeviceName { device_type: Arc::clone(record.device_type()), id: record.device().id.into() };
    StoredDevice { name, state: record.state.clone(), received_at: record.reception.received_at }
}

#[cfg(test)]
mod tests;
