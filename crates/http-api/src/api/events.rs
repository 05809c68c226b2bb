//! `GET /api/v1/events`: what changes, as it changes, as Server-Sent Events; first every device, or what was missed, if
//! asked for.

use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::describe;
use http_views::context::Context;
use http_views::devices::filter;
use http_views::events::{self as streams, Wish};
use http_views::parameters::Parameters;
use serving::error::Error;
use serving::network::cut::Cut;
use serving::network::room::Uncounted;

const KNOWN: &[&str] = &filter::selectors_and::<12>(&["snapshot", "settle", "alerts"]);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Proxies must neither keep a stream nor gather it.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What changes, as it changes
///
/// Server-Sent Events. `change`: the state of a device has changed; the data is the device as it was then, with its
/// `previous_status`. Of one device, changes come in their order.
///
/// `snapshot=true`: every device first, each in an event `device`, mixed with the changes of those that were shown already,
/// then `snapshot_complete`. No change is missed or comes twice.
///
/// A stream that is asked for with the `Last-Event-ID` of an earlier one goes on after that event: out of memory, or out of
/// the history that is kept, then also after a restart, and at another instance on the same PostgreSQL. Out of the history,
/// events may come again that had just been sent when the earlier stream ended. If something is missing, an event `gap` says
/// so and why, and the snapshot follows if `snapshot=true`.
///
/// With `settle`, a disconnect is shown once it has lasted that long; the devices of a snapshot are shown as they are.
///
/// With `alerts=true`, an event `alert` tells of each group of alerts that is announced, whatever the filters are: first of those
/// that fire, then `alerts_complete`, then of each that changes or is resolved. These events have no id: a stream that begins
/// again shows what fires anew.
///
/// A client that reads too slowly is disconnected; it can come back with its `Last-Event-ID`.
#[describe::path(
    get,
    path = "/api/v1/events",
    operation_id = "events",
    tag = "devices",
    params(
        crate::api::described::FilterParameters,
        ("settle" = Option<String>, Query, description = "`0s` to `1h`: a disconnect is shown once it has lasted that long, and a connect before that cancels it without an event"),
        ("snapshot" = Option<bool>, Query, description = "`true`: every device first"),
        ("alerts" = Option<bool>, Query, description = "`true`: events about alerts, too"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was received")
    ),
    responses(
        (
            status = 200,
            description = "The events, without an end. The data of each is one line of JSON: `Change`, `Device`, \
                           `SnapshotComplete`, `Gap`, `AlertGroup` or `AlertsComplete`",
            body = String,
            content_type = "text/event-stream"
        ),
        (
            status = 503,
            description = "As many streams are open as may be",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn events(
    State(context): State<Context>,
    cut: Option<Extension<Cut>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    context.all_are_held()?;
    let parameters = Parameters::read(query.as_deref(), KNOWN)?;
    let settle = parameters.parse("settle", "a time from 0s to 1h, as in 90s or 5m", streams::period)?;
    let snapshot = parameters.parse("snapshot", "true or false", |text| text.parse().ok())?;
    let alerts = parameters.parse("alerts", "true or false", |text| text.parse().ok())?;
    // What is no text is no id that was given here.
    let last_event_id =
        headers.get(LAST_EVENT_ID).map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let wish = Wish {
        filter: filter::read(&parameters, &context)?,
        settle: settle.unwrap_or_default(),
        snapshot: snapshot.unwrap_or(false),
        alerts: alerts.unwrap_or(false),
        last_event_id: last_event_id.filter(|id| !id.is_empty()),
    };
    let cut = cut.map(|Extension(Cut(cut))| cut).unwrap_or_default();
    let reader = context.feed.follow(cut).ok_or(Error::TooManyStreams)?;
    let body = streams::body(context, reader, wish);
    let headers = [
        (header::CONTENT_TYPE, EVENT_STREAM),
        (header::CACHE_CONTROL, NO_STORE),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    // All streams share the bytes of one buffer, and their number has a limit of its own.
    Ok((headers, Extension(Uncounted), body).into_response())
}
