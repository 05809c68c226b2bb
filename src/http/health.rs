//! `GET /livez` and `GET /readyz`: for those who restart the process and those who send it requests.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::Context;

#[derive(Serialize)]
pub struct Liveness {
    live: bool,
}

#[derive(Serialize)]
pub struct Readiness {
    ready: bool,
    broker: &'static str,
    population: &'static str,
    /// Whether changes outlive the process: `off`, `good` or `failing`.
    store: &'static str,
    /// One sentence for each thing that is not as it should be.
    missing: Vec<String>,
}

/// The process runs and answers.
pub async fn livez() -> Json<Liveness> {
    Json(Liveness { live: true })
}

/// 200 only while the broker link and the population are good; the body says what is missing.
pub async fn readyz(State(context): State<Context>) -> (StatusCode, Json<Readiness>) {
    let state = context.health.state();
    let mut missing = context.health.missing();
    let ready = missing.is_empty();
    // A store that fails changes no answer, so it is shown but takes no instance out of service: with a store that is
    // shared that would be all of them at once.
    missing.extend(state.store.complaint());
    let (broker, population, store) = (state.broker.word(), state.population.word(), state.store.word());
    let readiness = Readiness { ready, broker, population, store, missing };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}
