//! What is counted of the devices that are read from the store because the registry does not hold them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// From one device to a full batch.
const READ_DEVICES: [f64; 7] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0];

/// Cloning shares them.
#[derive(Clone)]
pub struct ReadThroughMetrics {
    /// Devices that were asked for and not held.
    pub misses: Counter,
    /// Readings, each of many devices.
    pub reads: Counter,
    /// Devices per read.
    pub read_devices: Histogram,
    /// Readings that came to nothing.
    pub read_failures: Counter,
}

impl Default for ReadThroughMetrics {
    fn default() -> Self {
        Self {
            misses: Counter::default(),
            reads: Counter::default(),
            read_devices: Histogram::new(READ_DEVICES),
            read_failures: Counter::default(),
        }
    }
}

impl ReadThroughMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "map_misses",
            "Requests for a device that memory did not hold",
            self.misses.clone(),
        );
        registry.register("store_reads", "Reads of devices that memory did not hold", self.reads.clone());
        registry.register("store_read_devices", "Devices per read", self.read_devices.clone());
        registry.register(
            "store_read_failures",
            "Reads that the store did not answer",
            self.read_failures.clone(),
        );
    }
}
