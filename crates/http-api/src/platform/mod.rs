//! `/api/v0002`: what the platform's own later API says of connections, for the clients that were written against it. Only
//! what it has in common with this service is here: the state of devices and gateways.

mod query;
mod state;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use serde::Serialize;

use self::query::{KNOWN, StatesQuery};
use self::state::{ClientId, ClientState};
use crate::describe::{self, ToSchema};
use formats::held;
use http_views::context::Context;
use http_views::parameters::NoParameters;
use http_views::stale;
use serving::error::Error;

#[cfg(test)]
pub use query::SortKey;

/// Devices that are looked at in one go; between two of them other requests have their turn.
const SCANNED_AT_ONCE: usize = 1_000;

/// Part of a list of clients.
#[derive(Serialize, ToSchema)]
pub struct ClientStates {
    results: Vec<ClientState>,
    /// What the next part is asked for with; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    bookmark: Option<String>,
}

/// The state of a client, as the platform's API has it
///
/// The id is the MQTT client id, `d:{organization}:{type}:{id}` or `g:…` of a gateway.
#[describe::path(
    get,
    path = "/api/v0002/clientconnectionstates/{clientId}",
    operation_id = "client_connection_state",
    tag = "platform",
    params(("clientId" = String, Path, description = "The MQTT client id")),
    responses(
        (status = 200, description = "The connection state of the client", body = ClientState),
        (status = 404, description = "No message was ever about this client", body = serving::middleware::platform_form::PlatformError),
        (status = 503, description = "Not every retained status has been read yet, or the store cannot be read", body = serving::middleware::platform_form::PlatformError)
    )
)]
pub async fn one(
    State(context): State<Context>,
    path: Result<Path<String>, PathRejection>,
    _none: NoParameters,
) -> Result<(HeaderMap, Json<ClientState>), Error> {
    let Path(client_id) = path.map_err(|_| Error::BadPath)?;
    let device = ClientId::parse(&client_id, &context.organization).ok_or(Error::NotFound)?.device;
    let freshness = context.health.freshness();
    match context.snapshot(device).await? {
        Some(snapshot) => {
            let mut headers = HeaderMap::new();
            if freshness.is_stale(held::source(&snapshot.event.payload), snapshot.received_in) {
                stale::mark(&mut headers, &context.health);
            }
            let state = ClientState::of(&snapshot, &context.organization);
            // Of a gateway there is no device with its names, and the other way round.
            if state.id == client_id { Ok((headers, Json(state))) } else { Err(Error::NotFound) }
        }
        None if !context.health.populated() => Err(Error::NotPopulated),
        None => Err(Error::NotFound),
    }
}

/// The states of all clients, as the platform's API lists them
#[describe::path(
    get,
    path = "/api/v0002/clientconnectionstates",
    operation_id = "client_connection_states",
    tag = "platform",
    params(
        ("deviceType" = Option<String>, Query, description = "The device's type"),
        ("deviceId" = Option<String>, Query, description = "The device's id"),
        (
            "connectionStatus" = Option<query::ConnectionStatus>, Query,
            description = "Whether the client is connected"
        ),
        (
            "connectedAfter" = Option<String>, Query,
            description = "The last connect is known and later than this time (ISO 8601)"
        ),
        (
            "_limit" = Option<u32>, Query, minimum = 1, maximum = 100,
            description = "At most so many results, by default 25"
        ),
        ("_bookmark" = Option<String>, Query, description = "The bookmark of the part before"),
        (
            "_sort" = Option<query::SortKey>, Query,
            description = "By id or by the time of the last activity; a minus turns the order round"
        )
    ),
    responses(
        (status = 200, description = "Part of the list", body = ClientStates)
    )
)]
pub async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<ClientStates>), Error> {
    let asked = StatesQuery::read(query.as_deref(), KNOWN)?;
    let mut headers = HeaderMap::new();
    if context.health.freshness().is_any_stale() {
        stale::mark(&mut headers, &context.health);
    }
    let mut results = Vec::new();
    let mut query = asked.first();
    loop {
        // Without a filter of its own each device is a result.
        query.limit = if asked.passes_over() { SCANNED_AT_ONCE } else { asked.limit - results.len() };
        let page = context.list(&query).await?;
        for snapshot in page.devices.iter().filter(|snapshot| asked.admits(snapshot)) {
            results.push(ClientState::of(snapshot, &context.organization));
            if results.len() == asked.limit {
                let is_last =
                    page.next.is_none() && std::ptr::eq(snapshot, page.devices.last().unwrap_or(snapshot));
                let bookmark = (!is_last).then(|| asked.bookmark(snapshot));
                return Ok((headers, Json(ClientStates { results, bookmark })));
            }
        }
        let Some(next) = page.next else {
            return Ok((headers, Json(ClientStates { results, bookmark: None })));
        };
        query.after = Some(next);
        tokio::task::yield_now().await;
    }
}
