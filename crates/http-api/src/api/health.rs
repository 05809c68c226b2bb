//! `GET /livez` and `GET /readyz`: for those who restart the process and those who send it requests.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;

use crate::describe::{self, ToSchema};
use http_views::context::Context;
use server::health::{LinkHealth, PopulationState};
use serving::middleware::guard::Guard;

#[derive(Serialize, ToSchema)]
pub struct Liveness {
    live: bool,
}

#[derive(Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    broker: &'static str,
    population: &'static str,
    /// Whether changes outlive the process: `off`, `good` or `failing`.
    store: &'static str,
    /// Answers may be out of date: the broker is out of reach, or was and not every device has been heard of since.
    stale: bool,
    /// The SHA-256 of the keys file whose keys are in force; absent: no keys are in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_file_sha256: Option<String>,
    /// Where several brokers are read: each source.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sources: Vec<SourceReadiness>,
    /// One sentence for each thing that is not as it should be.
    missing: Vec<String>,
}

/// How one of several sources is.
#[derive(Serialize, ToSchema)]
pub struct SourceReadiness {
    #[schema(example = "plant")]
    name: String,
    ready: bool,
    broker: &'static str,
    population: &'static str,
    /// Answers about its devices may be out of date.
    stale: bool,
}

impl SourceReadiness {
    fn of(link: &LinkHealth) -> Self {
        let state = link.health.state();
        Self {
            name: link.name.to_string(),
            ready: link.health.missing().is_empty(),
            broker: state.broker.word(),
            population: state.population.word(),
            stale: link.health.freshness().is_any_stale(),
        }
    }
}

/// Whether the process runs
#[describe::path(
    get,
    path = "/livez",
    tag = "service",
    responses((status = 200, description = "It runs and answers", body = Liveness))
)]
pub async fn livez() -> Json<Liveness> {
    Json(Liveness { live: true })
}

/// Whether requests should be sent here
///
/// 200 only while the broker link and the population are good and nothing is stale; the body says what is missing. After the
/// link was lost it is 503 until the retained statuses have been read again.
#[describe::path(
    get,
    path = "/readyz",
    tag = "service",
    responses(
        (status = 200, description = "Broker link and population are good, and nothing is stale", body = Readiness),
        (status = 503, description = "Something is missing", body = Readiness)
    )
)]
pub async fn readyz(
    State(context): State<Context>,
    Extension(guard): Extension<Arc<Guard>>,
) -> (StatusCode, Json<Readiness>) {
    let state = context.health.state();
    let mut missing = context.health.missing();
    let ready = missing.is_empty();
    // A store that fails changes no answer, so it is shown but takes no instance out of service: with a store that is
    // shared that would be all of them at once.
    missing.extend(state.store.complaint());
    missing.extend(state.unreplayed_complaint());
    // Named as long as it is likely, also in the moments in which this client has its turn.
    missing.extend(state.rival);
    missing.extend(state.refused_by_store);
    missing.extend(state.republish);
    // A population that is proven needs no counters.
    missing.extend(state.hidden_counters.filter(|_| state.population != PopulationState::Complete));
    let failing = context.alerts.failing();
    if !failing.is_empty() {
        let names: Vec<_> = failing.iter().map(|name| &**name).collect();
        missing.push(format!("Notifications about alerts do not reach {}.", names.join(", ")));
    }
    let keys_file_sha256 = guard.keys_file_sha256().map(|digest| digest.to_string());
    let (broker, population, store) = (state.broker.word(), state.population.word(), state.store.word());
    let stale = context.health.freshness().is_any_stale();
    let sources = context.health.links().iter().map(SourceReadiness::of).collect();
    let readiness = Readiness { ready, broker, population, store, stale, keys_file_sha256, sources, missing };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}
