//! `GET /api/v1/summary`: the fleet at a glance; the same cost for any number of devices.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::types::TypeTotals;
use crate::describe::{self, ToSchema};
use formats::held::close_code;
use http_views::context::Context;
use http_views::known::TotalsQuery;
use http_views::parameters::NoParameters;
use server::clock;
use server::registry::Totals;
use serving::error::Error;

/// More types are not listed here; `/api/v1/types` has them.
const TYPES_MAX: usize = 1_000;
/// Close codes beyond the most frequent ones are no part of a glance.
const CLOSE_CODES_MAX: usize = 10;

#[derive(Serialize, ToSchema)]
pub struct Summary {
    /// Devices that at least one message was about.
    total: u64,
    connected: u64,
    disconnected: u64,
    /// Whether every retained status has been read: `pending`, `running`, `complete`, `unproven`, `incomplete`.
    #[schema(example = "complete")]
    population: &'static str,
    /// The link to the broker: while it is not `subscribed`, statuses may be out of date.
    #[schema(example = "subscribed")]
    broker: &'static str,
    /// Whether changes outlive the process: `off`, `good` or `failing`.
    #[schema(example = "good")]
    store: &'static str,
    /// The link to the broker is down, or was and not every device has been heard of since: statuses may be out of date.
    stale: bool,
    per_minute: PerMinute,
    /// Why disconnected devices are: the ten most frequent close codes.
    top_close_codes: Vec<CloseCodeTotal>,
    /// The same by the kind of cause, of all sources, the most frequent first.
    causes: Vec<CauseTotal>,
    types_total: usize,
    /// The first 1,000 by name.
    types: Vec<TypeTotals>,
    /// Devices by source: the sources in use, and those that have devices from before, by name. Beyond 100 they are together as
    /// `other`.
    sources: Vec<SourceTotals>,
}

/// What happened in the last sixty seconds.
#[derive(Serialize, ToSchema)]
pub struct PerMinute {
    /// Sessions that began.
    connects: u64,
    /// Sessions that ended; one that was taken over has ended, too.
    disconnects: u64,
}

#[derive(Serialize, ToSchema)]
pub struct CloseCodeTotal {
    #[schema(example = 91)]
    close_code: u16,
    /// What it means.
    cause: Option<&'static str>,
    /// The kind of cause, as of a device.
    #[schema(example = "connection")]
    cause_class: &'static str,
    /// Disconnected devices that have it.
    devices: u64,
}

#[derive(Serialize, ToSchema)]
pub struct CauseTotal {
    #[schema(example = "connection")]
    cause_class: &'static str,
    /// Disconnected devices whose session ended so.
    devices: u64,
}

/// Devices of one source.
#[derive(Serialize, ToSchema)]
pub struct SourceTotals {
    /// The name that its devices show.
    #[schema(example = "north/tasmota")]
    source: String,
    total: u64,
    connected: u64,
    disconnected: u64,
}

impl From<(Arc<str>, Totals)> for SourceTotals {
    fn from((source, totals): (Arc<str>, Totals)) -> Self {
        let Totals { connected, disconnected } = totals;
        Self { source: source.to_string(), total: totals.total(), connected, disconnected }
    }
}

/// The fleet at a glance
///
/// The same cost for any number of devices.
#[describe::path(
    get,
    path = "/api/v1/summary",
    tag = "fleet",
    responses(
        (status = 200, description = "Totals, and how far they can be trusted", body = Summary)
    )
)]
pub async fn summary(State(context): State<Context>, _: NoParameters) -> Result<Json<Summary>, Error> {
    Summary::of(&context).await.map(Json)
}

/// The same as text, for who sends it by another way; `None` while the store cannot be read.
pub async fn summary_text(context: &Context) -> Option<Vec<u8>> {
    let summary = Summary::of(context).await.ok()?;
    Some(serde_json::to_vec(&summary).expect("texts and numbers are JSON"))
}

impl Summary {
    async fn of(context: &Context) -> Result<Self, Error> {
        let query = TotalsQuery { after: None, types_max: TYPES_MAX, close_codes_max: CLOSE_CODES_MAX };
        let totals = context.totals(&query).await?;
        let state = context.health.state();
        let per_minute = context.map.per_minute(clock::now());
        let causes =
            totals.causes.into_iter().map(|(cause_class, devices)| CauseTotal { cause_class, devices });
        let sources = totals.sources.into_iter().map(SourceTotals::from);
        let codes = totals.close_codes.into_iter();
        let (types_total, types) =
            (totals.types_total, totals.types.into_iter().map(TypeTotals::from).collect());
        let totals = totals.all;
        Ok(Summary {
            total: totals.total(),
            connected: totals.connected,
            disconnected: totals.disconnected,
            population: state.population.word(),
            broker: state.broker.word(),
            store: state.store.word(),
            stale: context.health.freshness().is_any_stale(),
            per_minute: PerMinute { connects: per_minute.connects, disconnects: per_minute.disconnects },
            top_close_codes: codes
                .map(|(code, devices)| CloseCodeTotal {
                    close_code: code,
                    cause: close_code::meaning(code),
                    cause_class: close_code::cause_class(code),
                    devices,
                })
                .collect(),
            causes: causes.collect(),
            types_total,
            types,
            sources: sources.collect(),
        })
    }
}
