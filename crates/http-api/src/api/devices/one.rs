//! `GET /api/v1/devices/{type}/{id}`: all that is known of one device.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::Response;
use tokio::time::timeout;

use crate::api::device::JSON;
use crate::api::device_path::DevicePath;
use crate::describe;
use http_views::context::Context;
use http_views::devices::view::{DeviceView, MessageView, Viewer};
use http_views::parameters::NoParameters;
use presence::Device;
use server::registry::Snapshot;
use server::removal::StoreFailed;
use serving::error::Error;

/// How long a request waits for a store that is slow or away.
const FORGET_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of a device
///
/// Always 200 for a name that a device can have: of one that was never heard of the status is `never_connected`, or
/// `unknown` while not every retained status has been read.
#[describe::path(
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
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn one(
    State(context): State<Context>,
    path: DevicePath,
    _: NoParameters,
) -> Result<Response, Error> {
    let device = path.possible_device(&context)?;
    let viewer = Viewer::of(&context);
    let known = context.snapshot(device).await?;
    Ok(answer(&viewer, device, known.as_ref()).map(Body::from))
}

/// The answer about a device; the viewer is of before the device was read.
pub fn answer(viewer: &Viewer, device: Device<'_>, known: Option<&Snapshot>) -> Response<Bytes> {
    let mut body = Vec::new();
    match known {
        Some(snapshot) => {
            // The message itself is shown of other sources: the IoT platform's is at `/{type}/{id}`.
            let message = snapshot.event.payload.source().map(|_| snapshot.message());
            let details = snapshot.details();
            let message = message.as_deref().and_then(MessageView::of);
            DeviceView { message, ..viewer.view(snapshot, &details) }.write(&mut body);
        }
        None => viewer.unknown(device).write(&mut body),
    }
    let mut response = Response::new(Bytes::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Forgets a device
///
/// As if nothing had ever been heard of it: status and history are dropped, here and in the store, and streams are told. For a
/// device whose session is dated in the future, which no later message ends. A message that the broker still retains is read
/// again with the next round of the population or the next start; remove it there first.
#[describe::path(
    delete,
    path = "/api/v1/devices/{type}/{id}",
    operation_id = "forget_device",
    tag = "devices",
    params(DevicePath),
    responses(
        (status = 204, description = "The device is forgotten"),
        (
            status = 404,
            description = "Type or id is invalid, or no message of the device was ever received",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        ),
        (
            status = 503,
            description = "The store does not answer or does not drop the device; it may be asked again",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn forget(
    State(context): State<Context>,
    path: DevicePath,
    _: NoParameters,
) -> Result<StatusCode, Error> {
    let device = path.possible_device(&context)?;
    if context.snapshot(device).await?.is_none() {
        return Err(Error::NotFound);
    }
    match timeout(FORGET_TIMEOUT, context.removals.forget(device)).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(StoreFailed)) | Err(_) => Err(Error::StoreUnavailable),
    }
}
