//! The headers that say that an answer may be out of date, and for how long it may have been.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use server::health::Health;

/// `true`: the link to the broker was lost, and what is answered has not been confirmed since.
const STALE: HeaderName = HeaderName::from_static("devstatus-stale");
/// How long ago the link was lost, if there ever was one.
const STALE_SECONDS: HeaderName = HeaderName::from_static("devstatus-stale-seconds");

/// Marks an answer that may be out of date.
pub fn mark(headers: &mut HeaderMap, health: &Health) {
    headers.insert(STALE, HeaderValue::from_static("true"));
    if let Some(seconds) = health.stale_seconds() {
        headers.insert(STALE_SECONDS, HeaderValue::from(seconds));
    }
}
