//! `GET /api/v1/devices`: the devices that a filter admits, in order: a page of JSON, or all of them as a stream.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;

use crate::describe::{self, ToSchema};
use formats::held::UnpackedDetails;
use http_views::context::Context;
use http_views::devices::format::ListFormat;
use http_views::devices::view::{DeviceView, Viewer};
use http_views::devices::view_json::DEVICE_BYTES;
use http_views::devices::{cursor, filter};
use http_views::parameters::Parameters;
use http_views::stale;
use presence::query::{Query, Sort, SortBy};
use serving::error::Error;
use serving::network::room::STREAM_PART_BYTES;

/// Devices of a page if nothing is asked for, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What a page takes beside its devices.
const PAGE_BYTES: usize = 512;

/// Devices that a page takes out of the map without a pause.
const PAGE_AT_ONCE: usize = 128;
/// A page whose messages are together longer ends early, with a cursor.
const PAGE_MAX_BYTES: usize = 4 << 20;

/// Devices that a stream takes out of the map at once, at first and at most. Usually that is some 150 kilobytes of text, which is
/// what a slow reader costs; where messages are long, it takes fewer.
const STREAM_AT_ONCE_FIRST: usize = 16;
const STREAM_AT_ONCE: usize = 256;

const KNOWN: &[&str] =
    &filter::selectors_and::<15>(&["since", "until", "sort", "limit", "cursor", "spreadsheet"]);

/// Part of a list.
#[derive(Serialize, ToSchema)]
#[schema(as = DevicePage)]
#[cfg_attr(not(test), expect(dead_code, reason = "it is there for the OpenAPI document"))]
pub struct PageView<'a> {
    pub devices: Vec<DeviceView<'a>>,
    /// What to give as `cursor` for what follows; `null` if nothing does.
    pub next_cursor: Option<String>,
}

/// Devices, filtered and in order
///
/// Only devices that a message was about are listed. A device that does not change while the pages are read is neither
/// skipped nor repeated. With `Accept: text/csv` or `application/x-ndjson` the whole list is streamed, and `limit` and
/// `cursor` are not taken.
#[describe::path(
    get,
    path = "/api/v1/devices",
    operation_id = "devices",
    tag = "devices",
    params(
        crate::api::described::FilterParameters,
        ("since" = Option<String>, Query, description = "With a status decided then or later (RFC 3339)"),
        ("until" = Option<String>, Query, description = "With a status decided before (RFC 3339)"),
        ("sort" = Option<String>, Query, description = "`id`: by type, then id, the default; `since`: by the time of the status; `-id`, `-since`: from the end"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 1000, description = "Devices of a page; 100 by default"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before; everything else must be the same"),
        ("spreadsheet" = Option<bool>, Query, description = "With `text/csv`: an apostrophe before what a spreadsheet would take for a formula")
    ),
    responses(
        (
            status = 200,
            description = "A page, or the whole list",
            content((PageView = "application/json"), (String = "text/csv"), (DeviceView = "application/x-ndjson"))
        ),
        (
            status = 406,
            description = "None of the accepted media types is available",
            body = serving::error::Problem,
            content_type = "application/problem+json"
        )
    )
)]
pub async fn list(
    State(context): State<Context>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let parameters = Parameters::read(query.as_deref(), KNOWN)?;
    let format = ListFormat::of(&headers).ok_or(Error::NotAcceptable)?;
    let filter = filter::read(&parameters, &context)?;
    let sort = sort(&parameters)?;
    let limit = parameters.parse("limit", format!("a number from 1 to {LIMIT_MAX}"), |text| {
        filter::number(text).filter(|limit| (1..=LIMIT_MAX).contains(limit))
    })?;
    let expected = "next_cursor of an answer to the same query";
    let after = parameters.parse("cursor", expected, |text| cursor::read(text, &filter, sort))?;
    let for_spreadsheet = parameters.parse("spreadsheet", "true or false", |text| text.parse().ok())?;
    let format = match (format, for_spreadsheet.unwrap_or(false)) {
        (ListFormat::Csv, true) => ListFormat::CsvForSpreadsheet,
        (ListFormat::Json | ListFormat::NdJson, true) => {
            return Err(Error::bad_parameter("spreadsheet", "left out where text/csv is not asked for"));
        }
        (format, _) => format,
    };
    if format == ListFormat::Json {
        let query = Query { filter, sort, after, limit: limit.unwrap_or(LIMIT) };
        return page(&context, &query).await;
    }
    for (name, given) in [("limit", limit.is_some()), ("cursor", after.is_some())] {
        if given {
            return Err(Error::bad_parameter(name, "left out where the whole list is streamed"));
        }
    }
    let limit = context.listed_at_once(sort, STREAM_AT_ONCE);
    let first = limit.min(STREAM_AT_ONCE_FIRST);
    let query = Query { filter, sort, after: None, limit: first };
    let mut headers =
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()))]);
    if context.health.freshness().is_any_stale() {
        stale::mark(&mut headers, &context.health);
    }
    Ok((headers, streamed(context, query, format, limit)).into_response())
}

async fn page(context: &Context, query: &Query) -> Result<Response, Error> {
    let viewer = Viewer::of(context);
    let mut text = Vec::with_capacity(PAGE_BYTES);
    text.extend_from_slice(b"{\"devices\":[");
    let (mut written, mut bytes) = (0, 0);
    let mut details = UnpackedDetails::default();
    let mut part = query.clone();
    let next = loop {
        part.limit = query.limit - written;
        if context.read_through.is_none() {
            part.limit = part.limit.min(PAGE_AT_ONCE);
        }
        let found = context.list(&part).await?;
        // Much room is made at once, because it is too large to be moved again and again while it grows.
        text.reserve(found.devices.len() * DEVICE_BYTES);
        for device in &found.devices {
            if written > 0 {
                text.push(b',');
            }
            details = details.replaced_by(&device.event.payload);
            viewer.view(device, &details).write(&mut text);
            bytes += details.bytes();
            written += 1;
        }
        if found.next.is_none() || written >= query.limit || bytes > PAGE_MAX_BYTES {
            break found.next;
        }
        part.after = found.next;
        tokio::task::yield_now().await;
    };
    text.extend_from_slice(b"],\"next_cursor\":");
    let next_cursor = next.map(|position| cursor::write(&position, &query.filter, query.sort));
    serde_json::to_writer(&mut text, &next_cursor).expect("a text is JSON, and a Vec takes it");
    text.push(b'}');
    let mut answer = ([(header::CONTENT_TYPE, ListFormat::Json.content_type())], text).into_response();
    // A device that has changed meanwhile may be missing, so what is shown does not tell whether the list is stale.
    if viewer.freshness().is_any_stale() {
        stale::mark(answer.headers_mut(), &context.health);
    }
    Ok(answer)
}

fn sort(parameters: &Parameters) -> Result<Sort, Error> {
    let sort = parameters.parse("sort", "id, -id, since or -since", |text| {
        let (name, descending) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
        let by = match name {
            "id" => SortBy::Id,
            "since" => SortBy::Since,
            _ => return None,
        };
        Some(Sort { by, descending })
    })?;
    Ok(sort.unwrap_or(Sort { by: SortBy::Id, descending: false }))
}

/// What a stream still has to send.
struct Rest {
    context: Context,
    /// `None`: everything is sent.
    query: Option<Query>,
    head: &'static str,
}

/// The whole list, taken out of the map part by part as the client reads.
fn streamed(context: Context, query: Query, format: ListFormat, at_once: usize) -> Body {
    let rest = Rest { context, query: Some(query), head: format.head() };
    let format = Arc::new(format);
    Body::from_stream(stream::unfold(rest, move |mut rest| {
        let format = Arc::clone(&format);
        async move {
            let mut query = rest.query.take()?;
            let viewer = Viewer::of(&rest.context);
            let Ok(page) = rest.context.list(&query).await else {
                // The list ends in the middle, which nobody takes for its end.
                return Some((Err(io::Error::other("the store cannot be read")), rest));
            };
            let mut text = std::mem::take(&mut rest.head).as_bytes().to_vec();
            let mut details = UnpackedDetails::default();
            for device in &page.devices {
                details = details.replaced_by(&device.event.payload);
                format.write(&viewer.view(device, &details), &mut text);
            }
            if page.next.is_some() {
                query.after = page.next;
                query.limit = match text.len() {
                    ..STREAM_PART_BYTES => (query.limit * 2).min(at_once),
                    _ => (query.limit / 2).max(1),
                };
                rest.query = Some(query);
            }
            Some((Ok(Bytes::from(text)), rest))
        }
    }))
}
