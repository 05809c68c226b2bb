//! `GET /api/v1/population`: how far the retained statuses have been read, and what speaks for it that none is missing.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::describe::{self, ToSchema};
use http_views::context::Context;
use http_views::parameters::NoParameters;
use server::health::{REPORTED_TYPES_MAX, TypeReport};

#[derive(Serialize, ToSchema)]
pub struct PopulationView {
    /// `pending`, `running`, `complete`, `unproven` or `incomplete`.
    state: &'static str,
    /// Why the latest finished round came to that; `null` before the first.
    evidence: Option<&'static str>,
    /// From which state on the service counts as ready.
    ready_on: &'static str,
    /// A further round is going on in the background.
    repairing: bool,
    /// How far the current round is.
    progress: ProgressView,
    /// How many retained messages brokers are known to send to one subscription.
    limits: Vec<u64>,
    /// Why the broker's counters of its own cannot be read as evidence, in a sentence; `null` if they can, or were not needed.
    hidden_counters: Option<String>,
    types_total: usize,
    /// The first 10,000 by name, as the latest finished round has found them.
    types: Vec<Type>,
}

#[derive(Serialize, ToSchema)]
pub struct ProgressView {
    types_done: usize,
    types_total: usize,
    /// Devices that were heard of in the round.
    replayed: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = PopulationType)]
pub struct Type {
    #[serde(rename = "type")]
    device_type: String,
    /// Devices in the map.
    known: u64,
    /// Devices that were heard of in the round.
    replayed: u64,
    evidence: Option<&'static str>,
    /// Whether the evidence is proof that no device of the type is missing.
    proven: bool,
}

/// How complete the map is
///
/// By type, and why that is believed.
#[describe::path(
    get,
    path = "/api/v1/population",
    tag = "fleet",
    responses(
        (status = 200, description = "How far the retained statuses have been read", body = PopulationView)
    )
)]
pub async fn population(State(context): State<Context>, _: NoParameters) -> Json<PopulationView> {
    let state = context.health.state();
    let replayed = context.map.received_in_round();
    let (types_total, types) = match &state.report {
        Some(report) => (report.types_total, report.types.iter().cloned().map(Type::from).collect()),
        None => {
            let counts = context.map.round_counts(context.map.round(), REPORTED_TYPES_MAX);
            (context.map.types_total(), counts.into_iter().map(Type::unread).collect())
        }
    };
    Json(PopulationView {
        state: state.population.word(),
        evidence: state.report.as_ref().map(|report| report.evidence),
        ready_on: context.health.ready_on().word(),
        repairing: state.repairing,
        progress: ProgressView {
            types_done: state.progress.types_done,
            types_total: state.progress.types_total,
            replayed,
        },
        limits: context.replay_limits.to_vec(),
        hidden_counters: state.hidden_counters,
        types_total,
        types,
    })
}

impl Type {
    fn unread(count: server::registry::RoundCount) -> Self {
        Self {
            device_type: count.device_type,
            known: count.total,
            replayed: count.received,
            evidence: None,
            proven: false,
        }
    }
}

impl From<TypeReport> for Type {
    fn from(report: TypeReport) -> Self {
        let TypeReport { device_type, known, replayed, evidence, proven } = report;
        Self { device_type, known, replayed, evidence: Some(evidence), proven }
    }
}
