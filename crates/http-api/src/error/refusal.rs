//! Why a request is not answered, whatever it asks for: no key, too much, too often, too slow. What they come to is an
//! error like any other (`error`).

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Kind, kind};

/// What every resource can refuse a request for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No key, or one that is none (any more).
    Unauthorized,
    /// The key is good for other things.
    Forbidden {
        scope: &'static str,
    },
    /// The `Host` is missing, given twice, malformed, or contradicts the request target.
    BadHost,
    /// The host is none that is answered without a key.
    OtherHost,
    /// A web page of another origin asks for a change.
    CrossOrigin,
    TooManyRequests {
        /// How long it will be refused.
        wait: Duration,
    },
    UrlTooLong,
    HeadersTooLarge,
    BodyTooLarge,
    /// The body breaks off, or is not coded as it says.
    BrokenBody,
    /// The body does not arrive.
    SlowRequest,
    /// All connections that may be open are being answered, and this one came in a place that is kept for health checks.
    TooManyConnections,
    /// All memory for bodies is taken.
    Overloaded,
    /// A fault of the service.
    Fault,
}

impl Refusal {
    pub fn kind(&self) -> Kind {
        match self {
            Refusal::Unauthorized => {
                kind(StatusCode::UNAUTHORIZED, "unauthorized", "The request needs an API key")
            }
            Refusal::Forbidden { .. } => {
                kind(StatusCode::FORBIDDEN, "forbidden", "The API key is not good for this")
            }
            Refusal::BadHost => {
                kind(StatusCode::BAD_REQUEST, "bad-host", "The request does not name one host")
            }
            Refusal::OtherHost => {
                kind(StatusCode::MISDIRECTED_REQUEST, "other-host", "The request names another host")
            }
            Refusal::CrossOrigin => {
                kind(StatusCode::FORBIDDEN, "cross-origin", "A page of another origin may change nothing")
            }
            Refusal::TooManyRequests { .. } => {
                kind(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", "There are too many requests")
            }
            Refusal::UrlTooLong => kind(StatusCode::URI_TOO_LONG, "url-too-long", "The URL is too long"),
            Refusal::HeadersTooLarge => kind(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers-too-large",
                "The headers are too large",
            ),
            Refusal::BodyTooLarge => {
                kind(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large")
            }
            Refusal::BrokenBody => kind(StatusCode::BAD_REQUEST, "broken-body", "The body cannot be read"),
            Refusal::SlowRequest => {
                kind(StatusCode::REQUEST_TIMEOUT, "slow-request", "The request took too long")
            }
            Refusal::TooManyConnections => kind(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-many-connections",
                "As many connections are being answered as may be",
            ),
            Refusal::Overloaded => {
                kind(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "There is no memory for this at present")
            }
            Refusal::Fault => {
                kind(StatusCode::INTERNAL_SERVER_ERROR, "fault", "The service has made a mistake")
            }
        }
    }

    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Refusal::Unauthorized => {
                "Send a key that is in force, as Basic user and password or as Bearer id.secret.".into()
            }
            Refusal::Forbidden { scope } => format!("The key needs the scope {scope}.").into(),
            Refusal::BadHost => {
                "An HTTP/1.1 request has one Host, a name or address and perhaps a port, and a request target that \
                 names a host names the same."
                    .into()
            }
            Refusal::OtherHost => {
                "Without API keys only localhost and loopback addresses are answered, and the hosts of \
                 --allowed-host."
                    .into()
            }
            Refusal::CrossOrigin => "--cors-origin names the pages that may send this.".into(),
            Refusal::TooManyRequests { .. } => "The header retry-after says how many seconds to wait.".into(),
            Refusal::UrlTooLong => "Path and query together may have 8192 bytes.".into(),
            Refusal::HeadersTooLarge => "The headers together may have 16384 bytes.".into(),
            Refusal::BodyTooLarge => "The body may have 1048576 bytes.".into(),
            Refusal::BrokenBody => "The body breaks off, or is not encoded as the headers say.".into(),
            Refusal::SlowRequest => "The body has to arrive within ten seconds.".into(),
            Refusal::TooManyConnections => {
                "Close connections that are not needed, or have --connections-max raised. Ask again.".into()
            }
            Refusal::Overloaded => {
                "Too many large requests or answers are on their way. Read faster, or ask for less at once. Ask again."
                    .into()
            }
            Refusal::Fault => {
                "This is not the fault of the request. The log of the service says more.".into()
            }
        }
    }

    pub fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Refusal::Unauthorized => {
                for challenge in
                    [r#"Basic realm="devstatus", charset="UTF-8""#, r#"Bearer realm="devstatus""#]
                {
                    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            Refusal::TooManyRequests { wait } => {
                let seconds = wait.as_millis().div_ceil(1_000).max(1);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            Refusal::Forbidden { .. }
            | Refusal::BadHost
            | Refusal::OtherHost
            | Refusal::CrossOrigin
            | Refusal::UrlTooLong
            | Refusal::HeadersTooLarge
            | Refusal::BodyTooLarge
            | Refusal::BrokenBody
            | Refusal::SlowRequest
            | Refusal::TooManyConnections
            | Refusal::Overloaded
            | Refusal::Fault => {}
        }
    }
}
