//! What is counted of webhooks. The labels are the names of endpoints in the settings, of which there are
//! [`crate::settings::ENDPOINTS_MAX`] at most.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct WebhookMetrics {
    attempts: Family<AttemptLabels, Counter>,
    gaps: Family<EndpointLabel, Counter>,
    overtaken: Family<EndpointLabel, Counter>,
    dead_letters: Family<EndpointLabel, Counter>,
    failing: Family<EndpointLabel, Gauge>,
    disabled: Family<EndpointLabel, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EndpointLabel {
    endpoint: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AttemptLabels {
    endpoint: String,
    outcome: &'static str,
}

/// The counters of one endpoint.
#[derive(Clone, Debug)]
pub struct EndpointMetrics {
    pub delivered: Counter,
    pub failed: Counter,
    pub gaps: Counter,
    pub overtaken: Counter,
    pub dead_letters: Counter,
    pub failing: Gauge,
    pub disabled: Gauge,
}

impl WebhookMetrics {
    /// Registers everything under `devstatus_webhook_…`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("devstatus");
        r.register(
            "webhook_attempts",
            "Attempts to deliver a message to a webhook, by outcome",
            self.attempts.clone(),
        );
        r.register(
            "webhook_gaps",
            "Gaps in the history for which an endpoint was sent fleet.gap",
            self.gaps.clone(),
        );
        r.register(
            "webhook_overtaken",
            "Changes that mode = \"latest\" left out, because a later one of the device follows",
            self.overtaken.clone(),
        );
        r.register(
            "webhook_dead_letters",
            "Messages that were given up, because the endpoint rejects them",
            self.dead_letters.clone(),
        );
        r.register("webhook_failing", "1 while the last attempt at an endpoint failed", self.failing.clone());
        r.register(
            "webhook_disabled",
            "1 if an endpoint has answered 410, or has failed for five days, and receives nothing",
            self.disabled.clone(),
        );
    }

    /// Those of one endpoint, there from the start.
    pub fn of(&self, endpoint: &str) -> EndpointMetrics {
        let label = EndpointLabel { endpoint: endpoint.to_owned() };
        let attempts = |outcome| {
            let labels = AttemptLabels { endpoint: endpoint.to_owned(), outcome };
            self.attempts.get_or_create(&labels).clone()
        };
        EndpointMetrics {
            delivered: attempts("delivered"),
            failed: attempts("failed"),
            gaps: self.gaps.get_or_create(&label).clone(),
            overtaken: self.overtaken.get_or_create(&label).clone(),
            dead_letters: self.dead_letters.get_or_create(&label).clone(),
            failing: self.failing.get_or_create(&label).clone(),
            disabled: self.disabled.get_or_create(&label).clone(),
        }
    }
}
