//! `GET /metrics`: all counters, in the text format that the client asks for.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;

use crate::describe;
use http_views::context::Context;
use http_views::metrics_format::{MetricsFormat, text_format};
use serving::error::Error;
use serving::error::refusal::RequestRefusal;

/// Counters for Prometheus
#[describe::path(
    get,
    path = "/metrics",
    tag = "service",
    responses((
        status = 200,
        description = "OpenMetrics for a client that names it in `Accept`, else the text format 0.0.4",
        content((String = "text/plain"), (String = "application/openmetrics-text"))
    ))
)]
pub async fn metrics(State(context): State<Context>, headers: HeaderMap) -> Response {
    let format = MetricsFormat::of(&headers);
    let mut text = String::new();
    match encode(&mut text, &context.registry) {
        Ok(()) => {
            let text = match format {
                MetricsFormat::OpenMetrics => text,
                MetricsFormat::Text => text_format(&text),
            };
            ([(header::CONTENT_TYPE, format.content_type())], text).into_response()
        }
        Err(std::fmt::Error) => Error::from(RequestRefusal::Internal).into_response(),
    }
}
