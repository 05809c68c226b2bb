//! Errors as the platform's API has them: `{"message": …, "exception": {"id": …, "properties": […]}}`. Whatever is refused
//! below its path, and by whom, gets this form in one place.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the paths of this API begin with.
pub const ROOT: &str = "/api/v0002/";

/// Far more than any problem takes.
const PROBLEM_MAX_BYTES: usize = 64 * 1024;

const PROBLEM_JSON: &[u8] = b"application/problem+json";

/// An error as the platform writes it.
#[derive(Serialize, ToSchema)]
pub struct ClientError {
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

/// What is taken over of a problem.
#[derive(Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    detail: String,
    parameter: Option<String>,
}

/// The answer itself, or, of a problem, the same in the platform's form. Status and headers stay.
pub async fn in_platform_form(response: Response) -> Response {
    let is_problem = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes() == PROBLEM_JSON);
    if !is_problem {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, PROBLEM_MAX_BYTES).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    let error = match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => ClientError {
            message: problem.detail,
            exception: Exception {
                id: problem.kind.rsplit(':').next().unwrap_or_default().to_owned(),
                properties: problem.parameter.into_iter().collect(),
            },
        },
        // An answer to HEAD has no body.
        Err(_) => return Response::from_parts(parts, Body::empty()),
    };
    let text = serde_json::to_vec(&error).unwrap_or_default();
    Response::from_parts(parts, Body::from(text))
}
