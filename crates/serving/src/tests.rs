//! A server of a few resources of its own, with everything around them. Its parts are for the tests of other files.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use prometheus_client::registry::Registry;

use crate::middleware::guard::{Guard, authorize};
use crate::middleware::surround;
use server::access::Scope;
use server::http_settings::HttpSettings;
use server::metrics::Metrics;

use crate::testing::has_metric_line;
pub use crate::testing::{PATIENCE, ask};

/// What stands around the resources, and what is counted.
pub struct Fixture {
    pub metrics: Metrics,
    registry: Registry,
    guard: Arc<Guard>,
}

impl Fixture {
    pub fn new(settings: &HttpSettings) -> Self {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let guard = Arc::new(Guard::new(settings, metrics.http.clone()));
        Self { metrics, registry, guard }
    }

    /// `/livez` for everybody, two resources for those who may read, and some more.
    pub fn router(&self, more: Router) -> Router {
        let guard = Arc::clone(&self.guard);
        let readable = Router::new()
            .route("/api/v1/types", get("types"))
            .route("/pump/1", get("a pump"))
            .route_layer(from_fn_with_state((Arc::clone(&guard), Scope::Read), authorize));
        let resources = Router::new().route("/livez", get("alive")).merge(readable).merge(more);
        surround::surrounded(resources, self.metrics.requests.clone(), guard, &[])
    }

    /// Whether this line is among the metrics.
    pub fn counts(&self, line: &str) -> bool {
        has_metric_line(&self.registry, line)
    }
}
