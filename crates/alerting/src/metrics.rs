//! What is counted of alerts. The labels are names of rules and endpoints in the settings, of which there are few.

use alerts::AlertTotals;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Cloning shares them.
#[derive(Clone, Debug, Default)]
pub struct AlertMetrics {
    alerts: Family<AlertLabels, Gauge>,
    notifications: Family<NotificationLabels, Counter>,
    pub dropped: Counter,
    pub evaluating: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct AlertLabels {
    rule: String,
    state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct NotificationLabels {
    endpoint: String,
    outcome: &'static str,
}

/// The counters of one endpoint.
#[derive(Clone, Debug)]
pub struct NotificationMetrics {
    pub delivered: Counter,
    pub failed: Counter,
    pub given_up: Counter,
}

impl AlertMetrics {
    /// Registers everything under `devstatus_alert…`.
    pub fn register(&self, registry: &mut Registry) {
        let r = registry.sub_registry_with_prefix("devstatus");
        r.register("alerts", "Alerts by rule and state, where rules are evaluated", self.alerts.clone());
        r.register(
            "alert_notifications",
            "Attempts to send a notification about alerts, by outcome",
            self.notifications.clone(),
        );
        r.register(
            "alert_notifications_dropped",
            "Notifications that were dropped, because too many waited",
            self.dropped.clone(),
        );
        r.register(
            "alerts_evaluating",
            "1 if this instance evaluates the alert rules",
            self.evaluating.clone(),
        );
    }

    /// Those of one endpoint, there from the start.
    pub fn of(&self, endpoint: &str) -> NotificationMetrics {
        let counter = |outcome| {
            let labels = NotificationLabels { endpoint: endpoint.to_owned(), outcome };
            self.notifications.get_or_create(&labels).clone()
        };
        NotificationMetrics {
            delivered: counter("delivered"),
            failed: counter("failed"),
            given_up: counter("given_up"),
        }
    }

    pub fn show<'a>(&self, totals: impl Iterator<Item = AlertTotals<'a>>) {
        for AlertTotals { rule, pending, firing } in totals {
            for (state, number) in [("pending", pending), ("firing", firing)] {
                let labels = AlertLabels { rule: rule.to_string(), state };
                self.alerts.get_or_create(&labels).set(i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
    }

    /// Nothing is evaluated here from now on, or by other rules.
    pub fn clear(&self) {
        self.alerts.clear();
    }
}
