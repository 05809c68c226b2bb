//! `GET /api/v1/types`: the device types, and how many devices of each there are.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::parameters::NoParameters;
use crate::context::Context;
use crate::error::Error;
use server::registry::Totals;

/// More types are not listed; an organization has a few dozen.
const TYPES_MAX: usize = 10_000;

#[derive(Serialize, ToSchema)]
pub struct Types {
    types_total: usize,
    /// The first 10,000 by name.
    types: Vec<TypeTotals>,
}

/// How many devices of a type there are.
#[derive(Serialize, ToSchema)]
pub struct TypeTotals {
    #[serde(rename = "type")]
    device_type: String,
    total: u64,
    connected: u64,
    disconnected: u64,
}

/// Device types
#[utoipa::path(
    get,
    path = "/api/v1/types",
    tag = "fleet",
    responses(
        (status = 200, description = "Every type, with its totals", body = Types)
    )
)]
pub async fn types(State(context): State<Context>, _: NoParameters) -> Result<Json<Types>, Error> {
    let totals = context.totals(0).await?;
    let (types_total, types) = shown(totals.types, TYPES_MAX);
    Ok(Json(Types { types_total, types }))
}

/// How many types there are, and the totals of the first so many by name.
pub fn shown(totals: Vec<(String, Totals)>, most: usize) -> (usize, Vec<TypeTotals>) {
    let shown = |(device_type, totals): (String, Totals)| TypeTotals {
        device_type,
        total: totals.total(),
        connected: totals.connected,
        disconnected: totals.disconnected,
    };
    (totals.len(), totals.into_iter().take(most).map(shown).collect())
}
