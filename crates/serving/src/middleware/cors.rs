//! Which web pages may read the answers: those of the origins that the operator has named, and no others.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::CorsLayer;

/// How long a browser may remember what it was told of an origin; browsers take no more than some hours.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// What a page may read of an answer beside its body.
const EXPOSED: [HeaderName; 4] = [
    HeaderName::from_static("devstatus-status"),
    HeaderName::from_static("devstatus-population"),
    HeaderName::from_static("devstatus-stale"),
    header::RETRY_AFTER,
];

/// Answers preflights and names the origin in answers to those that are listed. A page sends its key itself: what the
/// browser may have stored for this service is not sent along.
pub fn layer(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    CorsLayer::new()
        .allow_origin(origins.collect::<Vec<_>>())
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            header::AUTHORIZATION,
            header::ACCEPT,
            header::CONTENT_TYPE,
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE)
}
