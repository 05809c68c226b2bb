//! Which resources there are, what each needs, and what stands around all of them.

use std::sync::Arc;

use axum::body::Bytes;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Extension, Router};
use server::access::Scope;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::{
    alerts, described, device, devices, events, health, metrics, page, population, rules, series, session,
    silences, summary, types, webhooks,
};
use crate::context::Context;
use crate::{openapi, platform};
use serving::middleware::guard::{self, Guard};
use serving::middleware::surround::surrounded;

/// No device is named here, so no scope is needed. Those who restart the process or send it requests have no key.
fn open() -> OpenApiRouter<Context> {
    OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz)).routes(routes!(
        session::log_in,
        session::session,
        session::log_out
    ))
}

/// The root: browsers get the page, which holds no data, without a key; text needs the scope `read`.
fn root(guard: &Arc<Guard>) -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(page::text))
        .route_layer(from_fn_with_state((Arc::clone(guard), Scope::Read), guard::authorize))
        .route_layer(from_fn(page::for_browsers))
}

/// What needs the scope `read`.
fn readable() -> OpenApiRouter<Context> {
    OpenApiRouter::new()
        .routes(routes!(metrics::metrics))
        .routes(routes!(summary::summary))
        .routes(routes!(population::population))
        .routes(routes!(series::series))
        .routes(routes!(types::types))
        .routes(routes!(alerts::list))
        .routes(routes!(silences::list))
        .routes(routes!(rules::list))
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
    OpenApiRouter::new()
        .routes(routes!(devices::forget))
        .routes(routes!(alerts::acknowledge, alerts::end_acknowledgement))
        .routes(routes!(silences::silence))
        .routes(routes!(silences::end))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::enable))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(webhooks::rotate))
}

/// All resources, and the document about them.
pub fn resources(guard: &Arc<Guard>) -> (Router<Context>, OpenApi) {
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
        .merge(root(guard))
        .merge(open().layer(Extension(Arc::clone(guard))))
        .split_for_parts();
    let document = described::complete(document);
    let text = Bytes::from(openapi::text(&document));
    let served = get(move || openapi::answer(text)).route_layer(need(Scope::Read));
    (router.route("/openapi.json", served).route(page::ASSETS, get(page::asset)), document)
}

/// Answers every request.
pub fn router(context: Context, guard: Arc<Guard>, cors_origins: &[String]) -> Router {
    let (resources, _document) = resources(&guard);
    let requests = context.requests.clone();
    surrounded(resources.with_state(context), requests, guard, cors_origins)
}
