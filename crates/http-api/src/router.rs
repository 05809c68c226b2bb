//! Which resources there are, what each needs, and what stands around all of them.

use std::sync::Arc;

use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Extension, Router};
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

/// No device is named here, so no scope is needed. Those who restart the process or send it requests have no key.
fn open() -> Resources {
    let session = get(session::session).post(session::log_in).delete(session::log_out);
    vec![("/livez", get(health::livez)), ("/readyz", get(health::readyz)), ("/api/v1/session", session)]
}

/// The root: browsers get the page, which holds no data, without a key; text needs the scope `read`.
fn root() -> Resources {
    vec![("/", get(page::text))]
}

/// What needs the scope `read`.
fn readable() -> Resources {
    vec![
        ("/metrics", get(metrics::metrics)),
        ("/api/v1/summary", get(summary::summary)),
        ("/api/v1/population", get(population::population)),
        ("/api/v1/series", get(series::series)),
        ("/api/v1/types", get(types::types)),
        ("/api/v1/alerts", get(alerts::list)),
        ("/api/v1/silences", get(silences::list)),
        ("/api/v1/rules", get(rules::list)),
        ("/api/v1/devices", get(devices::list::list)),
        ("/api/v1/devices/{type}/{id}", get(devices::one::one)),
        ("/api/v1/devices/{type}/{id}/history", get(devices::history::history)),
        ("/{type}/{id}", get(device::last_message)),
        ("/api/v0002/clientconnectionstates", get(platform::list)),
        ("/api/v0002/clientconnectionstates/{clientId}", get(platform::one)),
    ]
}

/// The same with a body.
fn readable_with_body() -> Resources {
    vec![("/api/v1/devices:lookup", post(devices::lookup::lookup))]
}

/// What needs the scope `events`.
fn followable() -> Resources {
    vec![("/api/v1/events", get(events::events))]
}

/// What needs the scope `admin`.
fn administrable() -> Resources {
    let acknowledgement = post(alerts::acknowledge).delete(alerts::end_acknowledgement);
    vec![
        ("/api/v1/devices/{type}/{id}", delete(devices::one::forget)),
        ("/api/v1/alerts/acknowledgement", acknowledgement),
        ("/api/v1/silences", post(silences::silence)),
        ("/api/v1/silences/{id}", delete(silences::end)),
        ("/api/v1/webhooks", get(webhooks::list)),
        ("/api/v1/webhooks/{name}/deliveries", get(webhooks::deliveries)),
        ("/api/v1/webhooks/{name}/test", post(webhooks::test)),
        ("/api/v1/webhooks/{name}/enable", post(webhooks::enable)),
        ("/api/v1/webhooks/{name}/redeliver", post(webhooks::redeliver)),
        ("/api/v1/webhooks/{name}/secret", post(webhooks::rotate)),
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
    let document = Router::new().route("/openapi.json", get(openapi::answer));
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
        .route(page::ASSETS, get(page::asset))
}

/// Answers every request.
pub fn router(context: Context, guard: Arc<Guard>, cors_origins: &[String]) -> Router {
    let requests = context.requests.clone();
    surrounded(resources(&guard).with_state(context), requests, guard, cors_origins)
}
