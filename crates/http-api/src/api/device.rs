//! `GET /{type}/{id}`: the deciding message of one device, as the platform sent it, or that it never connected.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::device_path::DevicePath;
use super::stale;
use crate::context::Context;
use crate::error::{Error, Problem};
use presence::{Device, Status};

/// What the deciding message comes to. It matters where the message alone misleads: a Disconnect with close code 288
/// says that another connection took over, so the device is connected.
const STATUS: HeaderName = HeaderName::from_static("devstatus-status");
/// How sure it is that every retained status has been read.
const POPULATION: HeaderName = HeaderName::from_static("devstatus-population");

/// First parts of paths that are not for devices here: our own API, of which there may be later versions, and what RFC 8615
/// reserves. Devices of such a type are found under `/api/v1/devices`.
const RESERVED: [&str; 2] = ["api", ".well-known"];

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer for a device that no message was ever about.
#[derive(Serialize, ToSchema)]
pub struct NeverConnected {
    #[serde(rename = "Action")]
    action: &'static str,
    #[serde(rename = "ClientID")]
    client_id: String,
}

/// The deciding message of a device
///
/// As the platform sent it, byte for byte. The header `devstatus-status` says what it comes to, `devstatus-stale` that it
/// may be out of date. Query parameters are passed over.
#[utoipa::path(
    get,
    path = "/{type}/{id}",
    tag = "devices",
    params(DevicePath),
    responses(
        (
            status = 200,
            description = "The deciding message, or that the device never connected",
            body = Object,
            headers(
                ("devstatus-status" = String, description = "connected, disconnected or never_connected"),
                ("devstatus-population" = String, description = "How complete the map is, with never_connected"),
                ("devstatus-stale" = String, description = "true: the link to the broker was lost, and nothing has been received of the device since; or the peers that receive its messages are out of reach"),
                ("devstatus-stale-seconds" = String, description = "How long ago the link was lost, if there ever was one"),
            )
        ),
        DevicePath,
        (
            status = 503,
            description = "Too early to say that the device never connected, or the store that knows cannot be read",
            body = Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn last_message(State(context): State<Context>, path: DevicePath) -> Result<Response, Error> {
    let device = path.possible_device()?;
    if RESERVED.contains(&device.device_type) {
        return Err(Error::NotFound);
    }
    // Before the device is read, or a status that is read again in between would be shown as current.
    let freshness = context.health.freshness();
    let known = context.state(device, |state, received_in| {
        let resolved = state.resolve()?;
        Some((resolved.status, resolved.event.payload.unpack(), received_in))
    });
    let (mut response, is_stale) = match known.await?.flatten() {
        Some((status, message, received_in)) => {
            let answer = ([(header::CONTENT_TYPE, JSON), (STATUS, word(status))], message).into_response();
            (answer, freshness.is_stale(received_in))
        }
        None if !context.health.populated() => return Err(Error::NotPopulated),
        None => (never_connected(&context, device), freshness.is_any_stale()),
    };
    if is_stale {
        stale::mark(response.headers_mut(), &context.health);
    }
    Ok(response)
}

fn never_connected(context: &Context, device: Device<'_>) -> Response {
    let Device { device_type, id } = device;
    let population = HeaderValue::from_static(context.health.state().population.word());
    let client_id = format!("d:{}:{device_type}:{id}", context.organization);
    let body = NeverConnected { action: "Never Connected", client_id };
    let status = HeaderValue::from_static("never_connected");
    ([(STATUS, status), (POPULATION, population)], axum::Json(body)).into_response()
}

fn word(status: Status) -> HeaderValue {
    HeaderValue::from_static(match status {
        Status::Connected => "connected",
        Status::Disconnected => "disconnected",
    })
}
