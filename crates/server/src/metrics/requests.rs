//! How long requests take, by route.

use std::sync::OnceLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a lookup on an idle machine to a client's usual patience.
const SECONDS: [f64; 12] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// A route is the path as the API documents it, so there are as many as there are resources.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabel {
    route: String,
    status: u64,
}

/// Cloning shares them.
#[derive(Clone)]
pub struct RequestMetrics {
    duration: Family<RouteLabel, Histogram, fn() -> Histogram>,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self { duration: Family::new_with_constructor(|| Histogram::new(SECONDS)) }
    }
}

impl RequestMetrics {
    /// Counts one request; `route` must not be what the client sent.
    pub fn answered(&self, route: &str, status: u16, took: Duration) {
        let label = RouteLabel { route: route.to_owned(), status: u64::from(status) };
        self.duration.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// The same of one route.
    pub fn of_route(&self, route: &'static str) -> RouteMetrics {
        RouteMetrics { requests: self.clone(), route, ok: OnceLock::new() }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "http_request_duration",
            "Time from the head of a request to the beginning of its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
    }
}

/// How long the requests of one route take. What nearly all of them answer is found without a search.
pub struct RouteMetrics {
    requests: RequestMetrics,
    route: &'static str,
    /// The histogram of status 200, once there was one.
    ok: OnceLock<Histogram>,
}

impl RouteMetrics {
    /// Counts one request.
    pub fn answered(&self, status: u16, took: Duration) {
        if status != 200 {
            return self.requests.answered(self.route, status, took);
        }
        let histogram = self.ok.get_or_init(|| {
            let label = RouteLabel { route: self.route.to_owned(), status: 200 };
            self.requests.duration.get_or_create_owned(&label)
        });
        histogram.observe(took.as_secs_f64());
    }
}
