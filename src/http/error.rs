//! Every answer that is not what was asked for: a status code and a small JSON object that says why.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// How long a client should wait while the retained statuses are being read.
const RETRY_AFTER_S: u64 = 2;

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    NotFound,
    MethodNotAllowed,
    /// A path segment that is not UTF-8 once decoded.
    BadPath,
    /// The device is not known yet, and it is too early to say that it never connected.
    NotPopulated,
}

#[derive(Serialize)]
struct Body {
    message: &'static str,
}

impl Error {
    fn status(self) -> StatusCode {
        match self {
            Error::NotFound => StatusCode::NOT_FOUND,
            Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Error::BadPath => StatusCode::BAD_REQUEST,
            Error::NotPopulated => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(self) -> &'static str {
        match self {
            Error::NotFound => "There is nothing at this path. A device is at /{type}/{id}.",
            Error::MethodNotAllowed => "Only GET and HEAD are answered here.",
            Error::BadPath => "Device type and id must be UTF-8, percent-encoded.",
            Error::NotPopulated => {
                "This device has not been seen, and not every retained status has been read yet. Ask again."
            }
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.status(), axum::Json(Body { message: self.message() })).into_response();
        if self == Error::NotPopulated {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}

/// Any path without a resource.
pub async fn not_found() -> Error {
    Error::NotFound
}

/// A resource asked for with a method that it does not have; the router adds `Allow`.
pub async fn method_not_allowed() -> Error {
    Error::MethodNotAllowed
}
