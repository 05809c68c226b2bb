//! Which resources there are, what each needs, and what stands around all of them.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Router};
use futures_util::future::BoxFuture;
use server::access::Scope;

use crate::api::{
    alerts, device, devices, events, health, metrics, page, population, rules, series, session, silences,
    summary, types, webhooks,
};
use crate::{openapi, platform};
use http_views::context::Context;
use serving::middleware::guard::{self, Guard};
use serving::middleware::surround::surrounded;

/// The resources that need the same, with their paths.
type Resources = Vec<(&'static str, MethodRouter<Context>)>;

/// Every handler as the router knows it.
type AnyHandler = fn(State<Context>, Request) -> BoxFuture<'static, Response>;

/// A handler as one type for all: what axum makes of a handler's type, a third of what a change of a handler would build, is
/// compiled once and not for each.
macro_rules! any {
    ($handler:path) => {{
        let handler: AnyHandler =
            |State(context), request| Box::pin(Handler::call($handler, request, context));
        handler
    }};
}

/// No device is named here, so no scope is needed. Those who restart the process or send it requests have no key.
fn open() -> Resources {
    let session = get(any!(session::session)).post(any!(session::log_in)).delete(any!(session::log_out));
    vec![
        ("/livez", get(any!(health::livez))),
        ("/readyz", get(any!(health::readyz))),
        ("/api/v1/session", session),
    ]
}

/// The root: browsers get the page, which holds no data, without a key; text needs the scope `read`.
fn root() -> Resources {
    vec![("/", get(any!(page::text)))]
}

/// What needs the scope `read`.
fn readable() -> Resources {
    vec![
        ("/metrics", get(any!(metrics::metrics))),
        ("/api/v1/summary", get(any!(summary::summary))),
        ("/api/v1/population", get(any!(population::population))),
        ("/api/v1/series", get(any!(series::series))),
        ("/api/v1/types", get(any!(types::types))),
        ("/api/v1/alerts", get(any!(alerts::list))),
        ("/api/v1/silences", get(any!(silences::list))),
        ("/api/v1/rules", get(any!(rules::list))),
        ("/api/v1/devices", get(any!(devices::list::list))),
        ("/api/v1/devices/{type}/{id}", get(any!(devices::one::one))),
        ("/api/v1/devices/{type}/{id}/history", get(any!(devices::history::history))),
        ("/{type}/{id}", get(any!(device::last_message))),
        ("/api/v0002/clientconnectionstates", get(any!(platform::list))),
        ("/api/v0002/clientconnectionstates/{clientId}", get(any!(platform::one))),
    ]
}

/// The same with a body.
fn readable_with_body() -> Resources {
    vec![("/api/v1/devices:lookup", post(any!(devices::lookup::lookup)))]
}

/// What needs the scope `events`.
fn followable() -> Resources {
    vec![("/api/v1/events", get(any!(events::events)))]
}

/// What needs the scope `admin`.
fn administrable() -> Resources {
    let acknowledgement = post(any!(alerts::acknowledge)).delete(any!(alerts::end_acknowledgement));
    vec![
        ("/api/v1/devices/{type}/{id}", delete(any!(devices::one::forget))),
        ("/api/v1/alerts/acknowledgement", acknowledgement),
        ("/api/v1/silences", post(any!(silences::silence))),
        ("/api/v1/silences/{id}", delete(any!(silences::end))),
        ("/api/v1/webhooks", get(any!(webhooks::list))),
        ("/api/v1/webhooks/{name}/deliveries", get(any!(webhooks::deliveries))),
        ("/api/v1/webhooks/{name}/test", post(any!(webhooks::test))),
        ("/api/v1/webhooks/{name}/enable", post(any!(webhooks::enable))),
        ("/api/v1/webhooks/{name}/redeliver", post(any!(webhooks::redeliver))),
        ("/api/v1/webhooks/{name}/secret", post(any!(webhooks::rotate))),
    ]
}

fn routed(resources: Resources) -> Router<Context> {
    resources.into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods))
}

/// The paths of all resources that the OpenAPI document describes.
#[cfg(test)]
pub fn paths() -> std::collections::BTreeSet<&'static str> {
    let groups = [open(), root(), readable(), readable_with_body(), followable(), administrable()];
    groups.into_iter().flatten().map(|(path, _methods)| path).collect()
}

/// All resources.
pub fn resources(guard: &Arc<Guard>) -> Router<Context> {
    let need = |scope| from_fn_with_state((Arc::clone(guard), scope), guard::authorize);
    let document = Router::new().route("/openapi.json", get(any!(openapi::answer)));
    Router::new()
        .merge(routed(readable()).merge(document).route_layer(need(Scope::Read)))
        .merge(
            routed(readable_with_body())
                .route_layer(from_fn_with_state(Arc::clone(guard), guard::with_body))
                .route_layer(need(Scope::Read)),
        )
        .merge(routed(followable()).route_layer(need(Scope::Events)))
        .merge(routed(administrable()).route_layer(need(Scope::Admin)))
        .merge(routed(root()).route_layer(need(Scope::Read)).route_layer(from_fn(page::for_browsers)))
        .merge(routed(open()).layer(Extension(Arc::clone(guard))))
        .route(page::ASSETS, get(any!(page::asset)))
}

/// Answers every request.
pub fn router(context: Context, guard: Arc<Guard>, cors_origins: &[String]) -> Router {
    let requests = context.requests.clone();
    surrounded(resources(&guard).with_state(context), requests, guard, cors_origins)
}
