//! Errors as the platform's API has them: `{"message": …, "exception": {"id": …, "properties": […]}}`. Whatever is refused
//! below its path, and by whom, gets this form in one place.

use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, header};
use axum::response::Response;
#[cfg(not(feature = "testing"))]
use openapi_stubs::ToSchema;
use serde::Serialize;
#[cfg(feature = "testing")]
use utoipa::ToSchema;

use crate::error::Error;

/// What the paths of this API begin with.
pub const ROOT: &str = "/api/v0002/";

/// An error as the platform writes it.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientError)]
pub struct PlatformError {
    /// What is wrong with this very request, in a sentence.
    message: String,
    exception: Exception,
}

#[derive(Serialize, ToSchema)]
pub struct Exception {
    /// Names the kind of error; the last part of the `type` that other resources answer.
    #[schema(example = "bad-parameter")]
    id: String,
    /// What it is about: the parameter that is refused.
    properties: Vec<String>,
}

impl From<&Error> for PlatformError {
    fn from(error: &Error) -> Self {
        let id = error.kind().name().to_owned();
        let properties = error.parameter().into_iter().collect();
        Self { message: error.detail().into_owned(), exception: Exception { id, properties } }
    }
}

/// The answer itself, or, of an error, the same in the platform's form. Status and headers stay.
pub fn in_platform_form(mut response: Response) -> Response {
    let Some(error) = response.extensions_mut().remove::<Error>() else { return response };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.remove(header::CONTENT_LENGTH);
    // An answer to HEAD has no body.
    if !response.body().is_end_stream() {
        let text = serde_json::to_vec(&PlatformError::from(&error)).expect("texts are JSON");
        *response.body_mut() = Body::from(text);
    }
    response
}
