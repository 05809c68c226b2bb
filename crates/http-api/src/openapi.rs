//! `GET /openapi.json`: `docs/openapi.json`, the OpenAPI 3.1 document. A test holds it equal to the one that is made from the
//! annotations of the resources (`tests::openapi`), and another to the resources that there are.

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;

use serving::network::room::Uncounted;

const TEXT: &str = include_str!("../../../docs/openapi.json");

/// The answer of `GET /openapi.json`.
pub async fn answer() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], Extension(Uncounted), Bytes::from_static(TEXT.as_bytes()))
}
