//! `GET /api/v1/types`: the device types by name, and how many devices of each there are: all of them, where there are no
//! more than a page holds.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;

use crate::describe::{self, ToSchema};
use http_views::context::Context;
use http_views::devices::{cursor, filter};
use http_views::known::TotalsQuery;
use http_views::parameters::Parameters;
use presence::Moment;
use presence::query::{Filter, Position, Sort, SortBy};
use server::registry::Totals;
use serving::error::Error;

/// Types of a page if nothing is asked for, and at most: half a megabyte of text. An organization has a few dozen.
const TYPES_MAX: usize = 10_000;

const KNOWN: &[&str] = &["limit", "cursor"];

#[derive(Serialize, ToSchema)]
pub struct Types {
    /// How many types there are, on this page or not.
    types_total: usize,
    /// By name.
    types: Vec<TypeTotals>,
    /// What to give as `cursor` for what follows; `null` if nothing does.
    next_cursor: Option<String>,
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

impl From<(Arc<str>, Totals)> for TypeTotals {
    fn from((device_type, totals): (Arc<str>, Totals)) -> Self {
        Self {
            device_type: device_type.to_string(),
            total: totals.total(),
            connected: totals.connected,
            disconnected: totals.disconnected,
        }
    }
}

/// Device types
#[describe::path(
    get,
    path = "/api/v1/types",
    tag = "fleet",
    params(
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 10000, description = "Types of a page; 10,000 by default"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")
    ),
    responses(
        (status = 200, description = "The types by name, with their totals", body = Types)
    )
)]
pub async fn types(State(context): State<Context>, RawQuery(query): RawQuery) -> Result<Json<Types>, Error> {
    let parameters = Parameters::read(query.as_deref(), KNOWN)?;
    let limit = parameters.parse("limit", format!("a number from 1 to {TYPES_MAX}"), |text| {
        filter::number(text).filter(|limit| (1..=TYPES_MAX).contains(limit))
    })?;
    // The cursor of a list of all devices by type.
    let (filter, sort) = (Filter::default(), Sort { by: SortBy::Id, descending: false });
    let after = parameters.parse("cursor", "next_cursor of an answer of this resource", |text| {
        cursor::read(text, &filter, sort)
    })?;
    let after = after.map(|position| position.device_type);
    let query = TotalsQuery { after, types_max: limit.unwrap_or(TYPES_MAX), close_codes_max: 0 };
    let page = context.totals(&query).await?;
    let last = page.types.last().filter(|_| page.more).map(|(device_type, _)| Position {
        device_type: device_type.to_string(),
        id: String::new(),
        time: Moment::UNKNOWN,
    });
    Ok(Json(Types {
        types_total: page.types_total,
        types: page.types.into_iter().map(TypeTotals::from).collect(),
        next_cursor: last.map(|position| cursor::write(&position, &filter, sort)),
    }))
}
