//! The HTTP side: one file for each resource, one for connections, one for errors. Reads the map, never writes it.

mod device;
mod error;
mod gauges;
mod health;
mod metrics;
mod page;
mod population;
mod server;
pub mod settings;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prometheus_client::registry::Registry;

use crate::health::Health;
use crate::history::ReadHistory;
use crate::map::DeviceMap;

pub use gauges::Gauges;
pub use server::serve;

/// What the answers are made from.
#[derive(Clone)]
pub struct Context {
    pub map: Arc<DeviceMap>,
    pub health: Arc<Health>,
    pub registry: Arc<Registry>,
    /// How many retained messages brokers are known to send to one subscription.
    pub replay_limits: Arc<[u64]>,
    /// Stands in the client id of a device that was never heard of.
    pub organization: Arc<str>,
    pub history: Arc<dyn ReadHistory>,
    /// How long an event is kept.
    pub history_kept: Duration,
}

/// All resources.
pub fn router(context: Context) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/summary", get(summary::summary))
        .route("/api/v1/population", get(population::population))
        .route("/{type}/{id}", get(device::last_message))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .with_state(context)
}
