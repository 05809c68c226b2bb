//! Deletes what is too old, in the registry and in the store, and says so in the log. What is old is decided by [`RetentionClock`], so
//! that a wrong wall clock deletes nothing.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::writer::Writer;
use crate::clock;
use crate::feed::RemovalReason;
use crate::retention::{ClockReading, Jump, RetentionClock};
use presence::history::HistoryEvent;
use presence::{DeviceName, UnixSeconds};
use store::PruneStep;

/// How often the retention time is written to the store and read from it. A restart loses at most so much of it, which only
/// keeps history longer.
const SHARE_INTERVAL: Duration = Duration::from_secs(60);

/// How long changes wait at most for what is deleted between two flushes, and for one more step of it.
const TIDYING_TURN: Duration = Duration::from_millis(10);

/// Devices that one step deletes: some milliseconds.
const DEVICES_AT_ONCE: usize = 1_000;

/// How often at most the log says how many events have expired: in a busy service some do at every run.
const LOG_INTERVAL: Duration = Duration::from_secs(3_600);

/// What the maintenance of the store remembers.
pub struct Maintenance {
    started: Instant,
    state: Mutex<MaintenanceState>,
}

#[derive(Default)]
struct MaintenanceState {
    clock: RetentionClock,
    shared_at: Option<Instant>,
    work: Work,
    /// Events that have expired since the log said so.
    expired: u64,
    logged_at: Option<Instant>,
}

/// What is still to be deleted in the store.
#[derive(Default)]
struct Work {
    /// Devices that have been disconnected since before the moment.
    devices: Vec<DeviceName>,
    disconnected_before_nanos: i64,
    /// Events that were received before; `None`: there is no pruning at present.
    received_before: Option<UnixSeconds>,
}

/// One step of it.
enum Step {
    Devices(Vec<DeviceName>, i64),
    Events(UnixSeconds),
}

impl Work {
    fn next(&mut self) -> Option<Step> {
        if self.devices.is_empty() {
            return self.received_before.map(Step::Events);
        }
        let names = self.devices.split_off(self.devices.len().saturating_sub(DEVICES_AT_ONCE));
        Some(Step::Devices(names, self.disconnected_before_nanos))
    }
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { started: Instant::now(), state: Mutex::default() }
    }
}

impl Maintenance {
    /// Reads both clocks.
    fn advance(&self) {
        let reading = ClockReading { wall: clock::since_1970(), monotonic: self.started.elapsed() };
        let jump = self.state.lock().clock.advance(reading);
        let (direction, by) = match jump {
            None => return,
            Some(Jump::Ahead(by)) => ("ahead", by),
            Some(Jump::Back(by)) => ("back", by),
        };
        tracing::warn!(
            direction,
            seconds = by.as_secs(),
            "the clock of this machine has jumped: expired data is deleted no faster than real time passes"
        );
    }

    /// Dates events, where the wall clock cannot have been right.
    pub fn date(&self, events: &mut [HistoryEvent]) {
        let state = self.state.lock();
        for entry in events {
            entry.received_at = state.clock.received_at(entry.received_at, entry.event.time.nanos());
        }
    }

    #[cfg(test)]
    pub fn has_work(&self) -> bool {
        let work = &self.state.lock().work;
        !work.devices.is_empty() || work.received_before.is_some()
    }

    fn expiry(&self, age: Duration) -> Option<Duration> {
        self.state.lock().clock.expiry(age)
    }

    /// Whether it is time to share the retention time.
    fn is_share_due(&self) -> bool {
        let mut state = self.state.lock();
        let due = state.shared_at.is_none_or(|at| at.elapsed() >= SHARE_INTERVAL);
        if due {
            state.shared_at = Some(Instant::now());
        }
        due
    }

    fn log_expired(&self, events: u64) {
        let mut state = self.state.lock();
        state.expired += events;
        if state.expired > 0 && state.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            state.logged_at = Some(Instant::now());
            let events = std::mem::take(&mut state.expired);
            tracing::info!(events, "deleted events that were older than --history-days");
        }
    }
}

impl Writer {
    /// Goes on from the retention time in the store. A store that has none yet was last used when its newest message was received.
    pub async fn begin_maintenance(&self, newest_received_at: Option<UnixSeconds>) {
        let stored = self.store.retention_time().await.unwrap_or_else(|error| {
            self.metrics.store.failures.inc();
            tracing::warn!(%error, "cannot read the retention time from the store");
            None
        });
        self.maintenance.advance();
        if let Some(time) = stored.or(newest_received_at) {
            self.maintenance.state.lock().clock.resume(time);
        }
        self.forget();
    }

    /// Deletes what is too old here, and begins to delete it in the store.
    pub async fn begin_tidying(&self) {
        self.maintenance.advance();
        if self.maintenance.is_share_due() {
            self.share_retention_time().await;
        }
        let lag = self.maintenance.state.lock().clock.lag();
        self.metrics.store.retention_lag.set(i64::try_from(lag.as_secs()).unwrap_or(i64::MAX));
        self.forget();
        // Also where nothing is known to be old: events beyond the number of one device are deleted, too.
        let before = self.maintenance.expiry(self.settings.history).unwrap_or_default();
        let before = UnixSeconds(u32::try_from(before.as_secs()).unwrap_or(u32::MAX));
        self.maintenance.state.lock().work.received_before = Some(before);
    }

    /// Goes on deleting in the store, for as long as changes may wait for it.
    pub async fn go_on_tidying(&self) {
        let began = Instant::now();
        while began.elapsed() < TIDYING_TURN {
            let step = self.maintenance.state.lock().work.next();
            match step {
                Some(Step::Devices(names, before_nanos)) => self.delete_devices(names, before_nanos).await,
                Some(Step::Events(before)) => self.prune(before).await,
                None => return,
            }
        }
    }

    async fn delete_devices(&self, names: Vec<DeviceName>, before_nanos: i64) {
        if let Err(error) = self.store.expire(names, before_nanos).await {
            self.metrics.store.failures.inc();
            tracing::warn!(%error, "cannot delete devices that are to be forgotten");
        }
    }

    async fn prune(&self, before: UnixSeconds) {
        let is_over = match self.store.prune(before).await {
            Ok(PruneStep { expired, is_all }) => {
                self.metrics.store.events_expired.inc_by(expired);
                self.maintenance.log_expired(expired);
                is_all
            }
            Err(error) => {
                self.metrics.store.failures.inc();
                tracing::warn!(%error, "cannot delete old events");
                true
            }
        };
        if is_over {
            self.maintenance.state.lock().work.received_before = None;
        }
    }

    async fn share_retention_time(&self) {
        let shared = async {
            if let Some(stored) = self.store.retention_time().await? {
                self.maintenance.state.lock().clock.resume(stored);
            }
            let time = self.maintenance.state.lock().clock.time();
            match time {
                Some(time) => self.store.set_retention_time(time).await,
                None => Ok(()),
            }
        };
        if let Err(error) = shared.await {
            self.metrics.store.failures.inc();
            tracing::warn!(%error, "cannot keep the retention time in the store");
        }
    }

    /// Drops the devices that are disconnected for too long, and leaves them to be deleted in the store.
    ///
    /// Those that the store could not delete are dropped when they come back from it at the next start.
    fn forget(&self) {
        let Some(before) = self.settings.forget_after.and_then(|after| self.maintenance.expiry(after)) else {
            return;
        };
        let before_nanos = i64::try_from(before.as_nanos()).unwrap_or(i64::MAX);
        let mut names = Vec::new();
        self.registry.forget(before_nanos, |record| {
            names.push(DeviceName::of(record.device()));
            self.feed.publish_removal(record, RemovalReason::Expired);
        });
        if names.is_empty() {
            return;
        }
        self.metrics.store.devices_forgotten.inc_by(names.len() as u64);
        tracing::info!(
            devices = names.len(),
            "deleted devices that were disconnected for longer than --forget-after"
        );
        let work = &mut self.maintenance.state.lock().work;
        work.devices.append(&mut names);
        work.disconnected_before_nanos = before_nanos;
    }
}
