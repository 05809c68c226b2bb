//! The HTTP side: one file for each resource, one for connections, one for errors. Reads the map, never writes it.

mod cut;
mod device;
mod devices;
mod error;
mod events;
mod gauges;
mod health;
mod metrics;
mod openapi;
mod page;
mod parameters;
mod population;
mod server;
pub mod settings;
mod summary;
mod timing;
mod types;

use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Router, middleware};
use prometheus_client::registry::Registry;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::feed::Feed;
use crate::health::Health;
use crate::history::ReadHistory;
use crate::map::DeviceMap;
use crate::metrics::RequestMetrics;

pub use gauges::Gauges;
pub use server::serve;

/// What the answers are made from.
#[derive(Clone)]
pub struct Context {
    pub map: Arc<DeviceMap>,
    pub health: Arc<Health>,
    pub registry: Arc<Registry>,
    pub requests: RequestMetrics,
    /// How many retained messages brokers are known to send to one subscription.
    pub replay_limits: Arc<[u64]>,
    /// Stands in the client id of a device that was never heard of.
    pub organization: Arc<str>,
    pub history: Arc<dyn ReadHistory>,
    pub feed: Arc<Feed>,
    /// How long an event is kept.
    pub history_kept: Duration,
}

/// All resources, and the document about them.
fn resources() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(page::page))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(summary::summary))
        .routes(routes!(population::population))
        .routes(routes!(types::types))
        .routes(routes!(devices::list))
        .routes(routes!(devices::lookup))
        .routes(routes!(devices::one))
        .routes(routes!(events::events))
        .routes(routes!(devices::history))
        .routes(routes!(device::last_message))
}

/// Answers every request.
pub fn router(context: Context) -> Router {
    let (router, document) = resources().split_for_parts();
    let document: Arc<str> = openapi::text(&document).into();
    router
        .route("/openapi.json", get(move || openapi::answer(document)))
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(middleware::from_fn_with_state(context.requests.clone(), timing::time))
        .with_state(context)
}
