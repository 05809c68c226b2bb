//! `POST /api/v1/devices:lookup`: what is known of many devices at once, in the order in which they are asked for.

use std::collections::{HashMap, VecDeque};
use std::io;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};

use crate::describe::{self, ToSchema};
use http_views::context::Context;
use http_views::devices::format::ListFormat;
use http_views::devices::view::{DeviceView, Viewer};
use http_views::parameters::NoParameters;
use presence::Device;
use server::registry::Snapshot;
use serving::error::Error;
use serving::network::room::STREAM_PART_BYTES;

/// Devices of one request.
const DEVICES_MAX: usize = 1_000;
/// A thousand devices whose names are as long as a topic allows for all of them together.
const BODY_MAX_BYTES: usize = 1 << 20;

/// Devices that are shown without a pause: their messages may have the greatest length.
const SHOWN_AT_ONCE: usize = 16;

/// Which devices are asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    #[schema(max_items = 1000)]
    devices: Vec<LookupName>,
}

/// The whole name of a device.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceName)]
pub struct LookupName {
    #[serde(rename = "type")]
    #[schema(example = "elevator")]
    device_type: String,
    #[schema(example = "elevator-0049")]
    id: String,
}

impl LookupName {
    fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type, id: &self.id }
    }
}

/// The devices, in the order of the request.
#[derive(Serialize, ToSchema)]
#[cfg_attr(not(test), expect(dead_code, reason = "it is there for the OpenAPI document"))]
pub struct LookedUp<'a> {
    devices: Vec<DeviceView<'a>>,
}

/// Many devices at once
///
/// Up to 1,000 different ones, each answered as `/api/v1/devices/{type}/{id}` does, in the order of the request.
#[describe::path(
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
            body = serving::error::Problem,
            content_type = "application/problem+json"
        ),
        (
            status = 503,
            description = "The device is not held in memory, and the store cannot be read at present",
            body = serving::error::Problem,
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
    check(&context, &devices)?;
    let mut answer = LookupBody { context, names: devices, written: 0, read: VecDeque::new() };
    let first = answer.part().await?;
    let headers = [(header::CONTENT_TYPE, ListFormat::Json.content_type())];
    if answer.is_complete() {
        return Ok((headers, first).into_response());
    }
    let rest = stream::unfold(Some(answer), async |rest| {
        let mut answer = rest.filter(|answer| !answer.is_complete())?;
        match answer.part().await {
            Ok(part) => Some((Ok(part), Some(answer))),
            // The answer ends in the middle, which nobody takes for its end.
            Err(_) => Some((Err(io::Error::other("the store cannot be read")), None)),
        }
    });
    Ok((headers, Body::from_stream(stream::iter([Ok(first)]).chain(rest))).into_response())
}

/// Every name must be one that a device can have, and be there once: a name costs its sender some bytes, and the answer to it
/// can be a thousand times as long.
fn check(context: &Context, names: &[LookupName]) -> Result<(), Error> {
    let mut places = HashMap::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        if !context.is_possible(name.device()) {
            let why = format!("devices[{number}]: no device can have this type and id");
            return Err(Error::BadBody { why });
        }
        if let Some(before) = places.insert((&name.device_type, &name.id), number) {
            let why = format!("devices[{number}] is the same device as devices[{before}]");
            return Err(Error::BadBody { why });
        }
    }
    Ok(())
}

/// The answer, written part by part as the client reads it.
struct LookupBody {
    context: Context,
    names: Vec<LookupName>,
    written: usize,
    /// What is known of the devices that are not written yet and have been looked up already.
    read: VecDeque<Option<Snapshot>>,
}

impl LookupBody {
    fn is_complete(&self) -> bool {
        self.written == self.names.len()
    }

    /// The next part, of some `STREAM_PART_BYTES`.
    async fn part(&mut self) -> Result<Vec<u8>, Error> {
        let mut text = if self.written == 0 { b"{\"devices\":[".to_vec() } else { Vec::new() };
        loop {
            self.read_on().await?;
            let viewer = Viewer::of(&self.context);
            for snapshot in self.read.drain(..self.read.len().min(SHOWN_AT_ONCE)) {
                if self.written > 0 {
                    text.push(b',');
                }
                let details = snapshot.as_ref().map(Snapshot::details);
                let view = match (&snapshot, &details) {
                    (Some(snapshot), Some(details)) => viewer.view(snapshot, details),
                    _ => viewer.unknown(self.names[self.written].device()),
                };
                view.write(&mut text);
                self.written += 1;
            }
            if self.is_complete() {
                text.extend_from_slice(b"]}");
                return Ok(text);
            }
            if text.len() >= STREAM_PART_BYTES {
                return Ok(text);
            }
            // Reading long messages takes its time, in which others have their turn.
            tokio::task::yield_now().await;
        }
    }

    /// Looks up the devices that come next, unless some wait. A store is asked for all of them at once: one reading costs what
    /// it costs, however many it brings, and they are a thousand short messages at most.
    async fn read_on(&mut self) -> Result<(), Error> {
        if self.read.is_empty() {
            let at_once = if self.context.read_through.is_some() { DEVICES_MAX } else { SHOWN_AT_ONCE };
            let devices: Vec<_> =
                self.names[self.written..].iter().take(at_once).map(LookupName::device).collect();
            self.read = self.context.snapshots(&devices).await?.into();
        }
        Ok(())
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|text| text.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}
