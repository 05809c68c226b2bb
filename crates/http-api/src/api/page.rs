//! `GET /`: the web page for browsers, a few lines of text for everybody else; and the files of the page under `/assets/`.

use std::fmt::Write;

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use web_page::File;

use crate::describe;
use http_views::accept::Accept;
use http_views::context::Context;
use serving::error::Error;
use serving::network::room::Uncounted;

/// Everything comes from this service; nothing is inline, and nobody may show the page in a frame. A worker obeys the policy of
/// its own script, so the files carry it, too.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; worker-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
/// Where the files of the page are: three segments, as two are a device.
pub const ASSETS: &str = "/assets/{hash}/{name}";
/// The path holds a hash of the content.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A page for people
///
/// With `Accept: text/html`, as browsers send it, the web page, which needs no key as it holds no data; a few lines of text
/// otherwise.
#[describe::path(
    get,
    path = "/",
    operation_id = "page",
    tag = "service",
    responses((status = 200, description = "What this is and how it is", content((String = "text/plain"), (String = "text/html"))))
)]
pub async fn text(State(context): State<Context>) -> String {
    let totals = context.map.totals();
    let state = context.health.state();
    let mut text = format!(
        "devstatus: which devices of organization {organization} are connected, and why the others are not.\n\n\
         {total} devices {known}: {connected} connected, {disconnected} disconnected. Broker: {broker}. Population: {population}.\n",
        organization = context.organization,
        total = totals.total(),
        known = if context.map.is_limited() { "held in memory" } else { "known" },
        connected = totals.connected,
        disconnected = totals.disconnected,
        broker = state.broker.word(),
        population = state.population.word(),
    );
    for complaint in context.health.missing() {
        writeln!(text, "{complaint}").expect("a string takes everything");
    }
    text.push_str(
        "\nAsk for a device at /{type}/{id}, for all at /api/v1/summary, for this service at /readyz and /metrics; \
         /openapi.json lists everything. In a browser this is a page.\n",
    );
    text
}

/// Answers browsers with the page, and lets everybody else through. It comes before the check of keys: the page holds no
/// data, and says which key is missing.
pub async fn for_browsers(request: Request, next: Next) -> Response {
    let names_html = Accept::of(request.headers())
        .is_some_and(|accept| accept.quality_if_named("text/html", "").is_some_and(|quality| quality > 0));
    let mut response = if names_html && matches!(*request.method(), Method::GET | Method::HEAD) {
        let page = served(web_page::index(), request.headers());
        ([(header::CONTENT_SECURITY_POLICY, POLICY)], page).into_response()
    } else {
        next.run(request).await
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// A file that the page refers to. It is the same for everybody and needs no key.
pub async fn asset(
    Path((hash, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let file = web_page::asset(&hash, &name).ok_or(Error::NotFound)?;
    let fields = [(header::CACHE_CONTROL, FOR_EVER), (header::CONTENT_SECURITY_POLICY, POLICY)];
    Ok((fields, served(file, &headers)).into_response())
}

fn served(file: &'static File, headers: &HeaderMap) -> Response {
    let gzip = takes_gzip(headers);
    let content = Bytes::from_static(if gzip { file.gzip } else { file.content });
    let fields: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(file.media_type)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
    ];
    let encoding = gzip.then_some([(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))]);
    (fields, encoding, axum::Extension(Uncounted), content).into_response()
}

/// Whether `Accept-Encoding` names gzip, and not with `q=0`.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let is_refused =
            quality.trim().strip_prefix("q=").is_some_and(|quality| quality.parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}
