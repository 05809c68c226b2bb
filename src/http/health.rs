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
    /// One sentence for each thing that keeps the service from being ready.
    missing: Vec<String>,
}

/// The process runs and answers.
pub async fn livez() -> Json<Liveness> {
    Json(Liveness { live: true })
}

/// 200 only while the broker link and the population are good; the body says what is missing.
pub async fn readyz(State(context): State<Context>) -> (StatusCode, Json<Readiness>) {
    let state = context.health.state();
    let missing = context.health.missing();
    let ready = missing.is_empty();
    let readiness =
        Readiness { ready, broker: state.broker.word(), population: state.population.word(), missing };
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(readiness))
}
