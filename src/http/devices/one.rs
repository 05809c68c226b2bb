//! `GET /api/v1/devices/{type}/{id}`: all that is known of one device.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::view::{DeviceView, Viewer};
use crate::http::Context;
use crate::http::device_path::DevicePath;
use crate::http::error::{Error, Problem};
use crate::http::parameters::NoParameters;

/// What is known of a device
///
/// Always 200 for a name that a device can have: of one that was never heard of the status is `never_connected`, or
/// `unknown` while not every retained status has been read.
#[utoipa::path(
    get,
    path = "/api/v1/devices/{type}/{id}",
    operation_id = "device",
    tag = "devices",
    params(DevicePath),
    responses(
        (status = 200, description = "The device's status and what it rests on", body = DeviceView),
        DevicePath,
        (
            status = 503,
            description = "The device is not held in memory, and the store cannot be read at present",
            body = Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn one(
    State(context): State<Context>,
    path: DevicePath,
    _: NoParameters,
) -> Result<Response, Error> {
    let device = path.possible_device()?;
    let viewer = Viewer::of(&context);
    let known = context.snapshot(device).await?;
    Ok(match known {
        Some(snapshot) => Json(viewer.view(&snapshot, &snapshot.message())).into_response(),
        None => Json(viewer.unheard_of(device)).into_response(),
    })
}
