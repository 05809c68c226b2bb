//! `GET /api/v1/summary`: how many devices there are, by status; the same cost for any number of them.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::Context;

#[derive(Serialize)]
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

pub async fn summary(State(context): State<Context>) -> Json<Summary> {
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
