//! The HTTP side: one file for each resource, one for connections, one for errors. Reads the map, never writes it.

mod api;
mod error;
mod middleware;
mod platform;
mod refusal;
mod serving;
pub mod settings;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Extension, Router};
use prometheus_client::registry::Registry;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use server::access::Scope;
use server::feed::Feed;
use server::health::Health;
use server::history::ReadHistory;
use server::metrics::RequestMetrics;
use server::read_through::Recall;
use server::registry::DeviceMap;
use server::removal::RemovalQueue;

pub use self::api::gauges::Gauges;
use self::api::{
    described, device, devices, events, health, metrics, openapi, page, population, summary, types,
};
use self::middleware::guard::{self, Guard};
use self::middleware::{cors, timing};
pub use self::serving::front::{Front, FrontError};

#[cfg(test)]
mod tests;

/// What the answers are made from.
#[derive(Clone)]
pub struct Context {
    pub map: Arc<DeviceMap>,
    /// For what the map does not hold; `None`: it holds all devices.
    pub recall: Option<Arc<Recall>>,
    pub health: Arc<Health>,
    pub registry: Arc<Registry>,
    pub requests: RequestMetrics,
    /// How many retained messages brokers are known to send to one subscription.
    pub replay_limits: Arc<[u64]>,
    /// Stands in the client id of a device that was never heard of.
    pub organization: Arc<str>,
    pub history: Arc<dyn ReadHistory>,
    pub feed: Arc<Feed>,
    /// Where the wish to forget a device goes.
    pub removals: RemovalQueue,
    /// How long an event is kept.
    pub history_kept: Duration,
}

/// Answered without a key: those who restart the process or send it requests have none, and no device is named.
fn open() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz))
}

/// What needs the scope `read`.
fn readable() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(page::page))
        .routes(routes!(metrics::metrics))
        .routes(routes!(summary::summary))
        .routes(routes!(population::population))
        .routes(routes!(types::types))
        .routes(routes!(devices::list))
        .routes(routes!(devices::one))
        .routes(routes!(devices::history))
        .routes(routes!(device::last_message))
        .routes(routes!(platform::list))
        .routes(routes!(platform::one))
}

/// The same with a body.
fn readable_with_body() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(devices::lookup))
}

/// What needs the scope `events`.
fn followable() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(events::events))
}

/// What needs the scope `admin`.
fn administrable() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(devices::forget))
}

/// All resources, and the document about them.
fn resources(guard: &Arc<Guard>) -> (Router<Context>, OpenApi) {
    let need = |scope| from_fn_with_state((Arc::clone(guard), scope), guard::authorize);
    let (router, document) = OpenApiRouter::with_openapi(openapi::head())
        .merge(readable().route_layer(need(Scope::Read)))
        .merge(
            readable_with_body()
                .route_layer(from_fn_with_state(Arc::clone(guard), guard::with_body))
                .route_layer(need(Scope::Read)),
        )
        .merge(followable().route_layer(need(Scope::Events)))
        .merge(administrable().route_layer(need(Scope::Admin)))
        .merge(open().layer(Extension(Arc::clone(guard))))
        .split_for_parts();
    let document = described::complete(document);
    let text = Bytes::from(openapi::text(&document));
    let served = get(move || openapi::answer(text)).route_layer(need(Scope::Read));
    (router.route("/openapi.json", served), document)
}

/// Answers every request.
fn router(context: Context, guard: Arc<Guard>, cors_origins: &[String]) -> Router {
    let (resources, _document) = resources(&guard);
    surrounded(resources, context, guard, cors_origins)
}

/// The resources with what stands around all of them.
fn surrounded(
    resources: Router<Context>,
    context: Context,
    guard: Arc<Guard>,
    cors_origins: &[String],
) -> Router {
    let router = resources
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::other_method)
        .layer(from_fn_with_state(context.requests.clone(), timing::time))
        .with_state(context);
    let router = if cors_origins.is_empty() { router } else { router.layer(cors::layer(cors_origins)) };
    router.layer(from_fn_with_state(guard, guard::shield))
}
