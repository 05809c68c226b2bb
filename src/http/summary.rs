//! `GET /api/v1/summary`: how many devices there are, by status; the same cost for any number of them.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Context;
use super::error::Problem;
use super::parameters::NoParameters;

#[derive(Serialize, ToSchema)]
pub struct Summary {
    /// Devices that at least one message was about.
    total: u64,
    connected: u64,
    disconnected: u64,
    /// Whether every retained status has been read: `pending`, `running`, `complete`, `unproven`, `incomplete`.
    population: &'static str,
    /// The link to the broker: while it is not `subscribed`, statuses may be out of date.
    broker: &'static str,
}

/// How many devices there are
///
/// The same cost for any number of devices.
#[utoipa::path(
    get,
    path = "/api/v1/summary",
    tag = "fleet",
    responses(
        (status = 200, description = "Totals, and how far they can be trusted", body = Summary),
        (
            status = 400,
            description = "A parameter is given, and there is none",
            body = Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn summary(State(context): State<Context>, _: NoParameters) -> Json<Summary> {
    let totals = context.map.totals();
    let state = context.health.state();
    Json(Summary {
        total: totals.total(),
        connected: totals.connected,
        disconnected: totals.disconnected,
        population: state.population.word(),
        broker: state.broker.word(),
    })
}
