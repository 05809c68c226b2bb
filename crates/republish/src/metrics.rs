//! What is counted of the republishing of statuses.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct RepublishMetrics {
    pub published: Counter,
    pub failed: Counter,
    pub in_flight: Gauge,
    pub link_up: Gauge,
}

impl RepublishMetrics {
    /// Registers everything under `devstatus_republish_…`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("devstatus_republish");
        r.register("published", "Messages that the broker has acknowledged", self.published.clone());
        r.register(
            "failed",
            "Messages that the broker has refused, or not acknowledged when the link was lost",
            self.failed.clone(),
        );
        r.register("in_flight", "Messages that the broker has not acknowledged yet", self.in_flight.clone());
        r.register("link_up", "1 while this instance is connected to republish", self.link_up.clone());
    }
}
