//! `POST /api/v1/devices:lookup`: what is known of many devices at once, in the order in which they are asked for.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::{DeviceView, Viewer};
use crate::decode::Device;
use crate::http::Context;
use crate::http::error::{Error, Problem};
use crate::http::parameters::NoParameters;
use crate::map::Snapshot;

/// Devices of one request.
const DEVICES_MAX: usize = 1_000;
/// A thousand devices whose names are as long as a topic allows for all of them together.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Which devices are asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    #[schema(max_items = 1000)]
    devices: Vec<Name>,
}

/// The whole name of a device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceName)]
pub struct Name {
    #[serde(rename = "type")]
    #[schema(example = "elevator")]
    device_type: String,
    #[schema(example = "elevator-0049")]
    id: String,
}

/// The devices, in the order of the request.
#[derive(Serialize, ToSchema)]
pub struct LookedUp<'a> {
    devices: Vec<DeviceView<'a>>,
}

/// Many devices at once
///
/// Up to 1,000, each answered as `/api/v1/devices/{type}/{id}` does, in the order of the request.
#[utoipa::path(
    post,
    path = "/api/v1/devices:lookup",
    operation_id = "lookup",
    tag = "devices",
    request_body = Lookup,
    responses(
        (status = 200, description = "The devices, in the same order", body = LookedUp),
        (
            status = 415,
            description = "The body is not said to be JSON",
            body = Problem,
            content_type = "application/problem+json"
        ),
        (
            status = 503,
            description = "The device is not held in memory, and the store cannot be read at present",
            body = Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn lookup(
    State(context): State<Context>,
    _: NoParameters,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    if !is_json(&headers) {
        return Err(Error::UnsupportedMediaType);
    }
    // The only other thing that goes wrong with a body is that its sender breaks off, and who does reads no answer.
    let bytes =
        to_bytes(body, BODY_MAX_BYTES).await.map_err(|_| Error::BodyTooLarge { max: BODY_MAX_BYTES })?;
    let Lookup { devices } =
        serde_json::from_slice(&bytes).map_err(|error| Error::BadBody { why: error.to_string() })?;
    if devices.len() > DEVICES_MAX {
        return Err(Error::BadBody { why: format!("more than {DEVICES_MAX} devices are asked for") });
    }
    let devices: Vec<_> =
        devices.iter().map(|name| Device { device_type: &name.device_type, id: &name.id }).collect();
    if let Some(number) = devices.iter().position(|device| !device.is_possible()) {
        let why = format!("devices[{number}]: no device can have this type and id");
        return Err(Error::BadBody { why });
    }
    let viewer = Viewer::of(&context);
    let known = context.snapshots(&devices).await?.into_iter().map(|known| {
        let message = known.as_ref().map(Snapshot::message);
        known.zip(message)
    });
    let found: Vec<_> = devices.into_iter().zip(known).collect();
    let devices = found.iter().map(|(device, known)| match known {
        Some((snapshot, message)) => viewer.view(snapshot, message),
        None => viewer.unheard_of(*device),
    });
    Ok(Json(LookedUp { devices: devices.collect() }).into_response())
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}
