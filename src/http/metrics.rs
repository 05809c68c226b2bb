//! `GET /metrics`: all counters, in the text format that Prometheus reads.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;

use super::Context;
use super::error::Error;
use super::refusal::Refusal;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Counters for Prometheus
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((
        status = 200,
        description = "The OpenMetrics text format",
        body = String,
        content_type = "application/openmetrics-text"
    ))
)]
pub async fn metrics(State(context): State<Context>) -> Response {
    let mut text = String::new();
    match encode(&mut text, &context.registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(std::fmt::Error) => Error::from(Refusal::Fault).into_response(),
    }
}
