//! What is counted of the live changes and of those who follow them.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::ReasonLabel;

/// Cloning shares them.
#[derive(Clone, Default)]
pub struct FeedMetrics {
    /// Changes published, followed by anybody or not.
    pub changes: Counter,
    /// Streams that are open.
    pub streams: Gauge,
    /// Streams that were begun.
    pub streams_begun: Counter,
    /// Streams that the service ended, or did not begin, by reason.
    pub streams_refused: Family<ReasonLabel, Counter>,
    /// Streams that were told of a gap.
    pub gaps: Counter,
}

impl FeedMetrics {
    /// Counts a stream that was ended or refused.
    pub fn refused(&self, reason: &'static str) {
        self.streams_refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        // There from the start, so that a rate over them begins at 0.
        for reason in ["slow", "too_many"] {
            drop(self.streams_refused.get_or_create(&ReasonLabel { reason }));
        }
        registry.register("changes", "Changes of a device's state", self.changes.clone());
        registry.register("streams", "Streams of changes that are open", self.streams.clone());
        registry.register("streams_begun", "Streams of changes that were begun", self.streams_begun.clone());
        registry.register(
            "streams_refused",
            "Streams of changes that were ended or not begun, by reason",
            self.streams_refused.clone(),
        );
        registry.register("stream_gaps", "Streams of changes that received a gap event", self.gaps.clone());
    }
}
