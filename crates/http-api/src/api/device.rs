//! `GET /{type}/{id}`: the deciding message of one device, as the platform sent it, or that it never connected.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use serde::Serialize;

use super::device_path::DevicePath;
use crate::describe::{self, ToSchema};
use formats::catalog::IOT_PLATFORM;
use formats::status;
use http_views::context::Context;
use http_views::stale;
use presence::payload::Payload;
use presence::{Device, DeviceState, Status};
use server::freshness::{FreshnessBySource, RoundNumber};
use serving::error::Error;

/// What the deciding message means. It matters where the message alone misleads: a Disconnect with close code 288
/// says that another connection took over, so the device is connected.
const STATUS: HeaderName = HeaderName::from_static("devstatus-status");
/// How sure it is that every retained status has been read.
const POPULATION: HeaderName = HeaderName::from_static("devstatus-population");

/// First parts of paths that are not for devices here: our own API, of which there may be later versions, and what RFC 8615
/// reserves. Devices of such a type are found under `/api/v1/devices`.
const RESERVED: [&str; 2] = ["api", ".well-known"];

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

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
/// As the platform sent it, byte for byte. Of another source: what its message says, as `ClientID`, `Action`, `Time`, and where
/// known `ClientAddr`, `Reason`, `Protocol` and `ConnectTime`. The header `devstatus-status` says what it means, `devstatus-stale` that it
/// may be out of date. Query parameters are passed over.
#[describe::path(
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
                ("devstatus-stale" = String, description = "true: the status may be out of date; docs/api.md lists the reasons"),
                ("devstatus-stale-seconds" = String, description = "How long ago the link was lost, if there ever was one"),
            )
        ),
        DevicePath,
        (
            status = 503,
            description = "Too early to say that the device never connected, or the store that knows cannot be read",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn last_message(State(context): State<Context>, path: DevicePath) -> Result<Response, Error> {
    let device = path.possible_device(&context)?;
    if is_reserved(device) {
        return Err(Error::NotFound);
    }
    // Before the device is read, or a status that is read again in between would be shown as current.
    let freshness = context.health.freshness();
    let found = context.state(device, LastMessage::of).await?.flatten();
    answer(&context, device, &freshness, found).map(|response| response.map(Body::from))
}

/// Whether the path of the device is one of those that are not for devices here.
pub fn is_reserved(device: Device<'_>) -> bool {
    RESERVED.contains(&device.device_type)
}

/// The deciding message of a device, as an answer needs it.
pub struct LastMessage {
    /// The source of the device; `None`: the IoT platform.
    pub source: Option<Box<str>>,
    pub status: Status,
    pub message: Vec<u8>,
    pub received_in: RoundNumber,
}

impl LastMessage {
    /// `None`: no message decides.
    pub fn of(state: &DeviceState, received_in: RoundNumber) -> Option<Self> {
        let resolved = state.resolve()?;
        let payload = &resolved.event.payload;
        let source = payload.source().map(Box::from);
        Some(Self { source, status: resolved.status, message: shown(payload), received_in })
    }

    /// Whether the answer may be out of date.
    pub fn is_stale(&self, freshness: &FreshnessBySource) -> bool {
        freshness.is_stale(self.source.as_deref().unwrap_or(IOT_PLATFORM), self.received_in)
    }
}

/// The answer about a device; the freshness is that of before the device was read.
pub fn answer(
    context: &Context,
    device: Device<'_>,
    freshness: &FreshnessBySource,
    found: Option<LastMessage>,
) -> Result<Response<Bytes>, Error> {
    let (mut response, is_stale) = match found {
        Some(found) => {
            let is_stale = found.is_stale(freshness);
            let LastMessage { status, message, .. } = found;
            let mut response = Response::new(Bytes::from(message));
            response.headers_mut().insert(header::CONTENT_TYPE, JSON);
            response.headers_mut().insert(STATUS, word(status));
            (response, is_stale)
        }
        None if !context.health.populated() => return Err(Error::NotPopulated),
        None => {
            let is_stale = freshness.is_any_stale() || context.may_be_unreported(device);
            (never_connected(context, device), is_stale)
        }
    };
    if is_stale {
        stale::mark(response.headers_mut(), &context.health);
    }
    Ok(response)
}

/// The message as the IoT platform sent it; of another source what it says, in the platform's words.
fn shown(message: &Payload) -> Vec<u8> {
    let bytes = message.document();
    match message.source().and_then(|_| status::read(&bytes)) {
        Some(status) => status.public(),
        None => bytes,
    }
}

fn never_connected(context: &Context, device: Device<'_>) -> Response<Bytes> {
    let client_id = context.client_id(device);
    let body = serde_json::to_vec(&NeverConnected { action: "Never Connected", client_id });
    let mut response = Response::new(Bytes::from(body.expect("two texts are JSON")));
    let population = HeaderValue::from_static(context.health.state().population.word());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(STATUS, HeaderValue::from_static("never_connected"));
    headers.insert(POPULATION, population);
    response
}

fn word(status: Status) -> HeaderValue {
    HeaderValue::from_static(match status {
        Status::Connected => "connected",
        Status::Disconnected => "disconnected",
    })
}
