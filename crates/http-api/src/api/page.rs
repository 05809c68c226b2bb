//! `GET /`: a few plain lines for a person who opened the address in a browser.

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Html;

use crate::context::Context;

/// Its own style, and nothing else: no script, no frame, no form.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A page for people
#[utoipa::path(
    get,
    path = "/",
    tag = "service",
    responses((status = 200, description = "Name, version and health of the service", body = String, content_type = "text/html"))
)]
pub async fn page(State(context): State<Context>) -> ([(HeaderName, HeaderValue); 1], Html<String>) {
    let totals = context.map.totals();
    let state = context.health.state();
    let complaints: String =
        context.health.missing().iter().map(|why| format!("<p>{}</p>", escaped(why))).collect();
    let page = Html(format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>devstatus</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}}</style>\n\
         <h1>devstatus</h1>\n\
         <p>Which devices of organization <b>{organization}</b> are connected, and why the others are not.</p>\n\
         <p>{total} devices {known}: {connected} connected, {disconnected} disconnected. \
         Broker: {broker}. Population: {population}.</p>\n{complaints}\
         <p>Ask for a device at <code>/{{type}}/{{id}}</code>, for all at \
         <a href=\"/api/v1/summary\"><code>/api/v1/summary</code></a>, for this service at \
         <a href=\"/readyz\"><code>/readyz</code></a> and <a href=\"/metrics\"><code>/metrics</code></a>.</p>\n</html>\n",
        organization = escaped(&context.organization),
        total = totals.total(),
        known = if context.map.is_limited() { "held in memory" } else { "known" },
        connected = totals.connected,
        disconnected = totals.disconnected,
        broker = state.broker.word(),
        population = state.population.word(),
    ));
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], page)
}

/// Text as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
