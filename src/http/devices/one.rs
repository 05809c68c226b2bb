//! `GET /api/v1/devices/{type}/{id}`: all that is known of one device.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::view::{DeviceView, Viewer};
use crate::decode::Device;
use crate::http::Context;
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
    params(
        ("type" = String, Path, description = "The device's type"),
        ("id" = String, Path, description = "The device's id")
    ),
    responses(
        (status = 200, description = "The device's status and what it rests on", body = DeviceView),
        (
            status = 400,
            description = "Type or id is not UTF-8, or a parameter is given, and there is none",
            body = Problem,
            content_type = "application/problem+json"
        ),
        (
            status = 404,
            description = "Type or id cannot be a device's",
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
pub async fn one(
    State(context): State<Context>,
    path: Result<Path<(String, String)>, PathRejection>,
    _: NoParameters,
) -> Result<Response, Error> {
    let Path((device_type, id)) = path.map_err(|_| Error::BadPath)?;
    let device = Device { device_type: &device_type, id: &id };
    if !device.is_possible() {
        return Err(Error::NotFound);
    }
    let known = context.snapshot(device).await?;
    let viewer = Viewer::of(&context);
    Ok(match known {
        Some(snapshot) => Json(viewer.view(&snapshot, &snapshot.message())).into_response(),
        None => Json(viewer.unheard_of(device)).into_response(),
    })
}
