//! What is counted of the store and of what waits for it.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a batch of a few devices to a disk that is nearly stuck.
const FLUSH_SECONDS: [f64; 10] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// Cloning shares them.
#[derive(Clone)]
pub struct StoreMetrics {
    /// Devices written, each time.
    pub devices_written: Counter,
    /// Events written.
    pub events_written: Counter,
    /// Events that had to give way because too many waited.
    pub events_dropped: Counter,
    /// Events deleted because they were too old.
    pub events_expired: Counter,
    /// By how many seconds everything is kept longer than asked for.
    pub retention_lag: Gauge,
    /// Devices that the store refuses to keep.
    pub devices_refused: Gauge,
    /// Events that the store refused.
    pub events_refused: Counter,
    /// Writes that the store did not take.
    pub failures: Counter,
    /// How long a batch took, in seconds.
    pub flush_duration: Histogram,
    /// Devices that have changed and are not written.
    pub devices_waiting: Gauge,
    /// Events that are not written.
    pub events_waiting: Gauge,
    /// The memory that they take.
    pub events_waiting_bytes: Gauge,
    /// Devices deleted, for whichever reason.
    pub devices_forgotten: Counter,
    /// Changes read from the store that taught something: another instance made them.
    pub peer_updates: Counter,
    /// Changes read from the store that were known already: mostly this instance made them.
    pub peer_updates_known: Counter,
    /// Looks for changes of other instances that failed; each is repeated.
    pub follow_failures: Counter,
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self {
            devices_written: Counter::default(),
            events_written: Counter::default(),
            events_dropped: Counter::default(),
            events_expired: Counter::default(),
            retention_lag: Gauge::default(),
            devices_refused: Gauge::default(),
            events_refused: Counter::default(),
            failures: Counter::default(),
            flush_duration: Histogram::new(FLUSH_SECONDS),
            devices_waiting: Gauge::default(),
            events_waiting: Gauge::default(),
            events_waiting_bytes: Gauge::default(),
            devices_forgotten: Counter::default(),
            peer_updates: Counter::default(),
            peer_updates_known: Counter::default(),
            follow_failures: Counter::default(),
        }
    }
}

impl StoreMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("store");
        r.register("devices_written", "Devices written, each time", self.devices_written.clone());
        r.register("events_written", "Events of the history written", self.events_written.clone());
        r.register(
            "events_dropped",
            "Events of the history dropped because too many waited",
            self.events_dropped.clone(),
        );
        r.register(
            "events_expired",
            "Events of the history deleted because they were older than --history-days",
            self.events_expired.clone(),
        );
        r.register_with_unit(
            "retention_lag",
            "How much longer than asked for everything is kept, because the wall clock is not trusted that far",
            Unit::Seconds,
            self.retention_lag.clone(),
        );
        r.register(
            "devices_refused",
            "Devices that the store refuses to keep while it takes others",
            self.devices_refused.clone(),
        );
        r.register(
            "events_refused",
            "Events of the history lost because the store refuses their device",
            self.events_refused.clone(),
        );
        r.register("failures", "Writes that the store did not take", self.failures.clone());
        r.register_with_unit(
            "flush_duration",
            "Time that a batch took",
            Unit::Seconds,
            self.flush_duration.clone(),
        );
        r.register(
            "devices_waiting",
            "Devices that have changed and are not written yet",
            self.devices_waiting.clone(),
        );
        r.register("events_waiting", "Events that are not written yet", self.events_waiting.clone());
        r.register(
            "events_waiting_bytes",
            "Memory of the events that wait for the next batch",
            self.events_waiting_bytes.clone(),
        );
        r.register(
            "devices_forgotten",
            "Devices deleted: too old, removed by their source, or forgotten by an administrator",
            self.devices_forgotten.clone(),
        );
        r.register(
            "peer_updates",
            "Changes of other instances read from the store",
            self.peer_updates.clone(),
        );
        r.register(
            "peer_updates_known",
            "Changes read from the store that were known already",
            self.peer_updates_known.clone(),
        );
        r.register(
            "follow_failures",
            "Failed polls for changes of other instances; each is repeated",
            self.follow_failures.clone(),
        );
    }
}
