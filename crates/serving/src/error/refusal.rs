//! Why a request is not answered, whatever it asks for: no key, too much, too often, too slow. Each is an
//! error like any other (`error`).

use std::borrow::Cow;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};

use super::problem::ProblemKind;

/// What every resource can refuse a request for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestRefusal {
    /// No key, or one that is none (any more).
    Unauthorized,
    /// The key has other scopes.
    Forbidden {
        scope: &'static str,
    },
    /// Without a key, this is open to nobody.
    KeyNeeded {
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
    /// An internal error.
    Internal,
}

impl RequestRefusal {
    pub fn kind(&self) -> ProblemKind {
        match self {
            RequestRefusal::Unauthorized => ProblemKind::Unauthorized,
            RequestRefusal::Forbidden { .. } => ProblemKind::Forbidden,
            RequestRefusal::KeyNeeded { .. } => ProblemKind::KeyNeeded,
            RequestRefusal::BadHost => ProblemKind::BadHost,
            RequestRefusal::OtherHost => ProblemKind::OtherHost,
            RequestRefusal::CrossOrigin => ProblemKind::CrossOrigin,
            RequestRefusal::TooManyRequests { .. } => ProblemKind::TooManyRequests,
            RequestRefusal::UrlTooLong => ProblemKind::UrlTooLong,
            RequestRefusal::HeadersTooLarge => ProblemKind::HeadersTooLarge,
            RequestRefusal::BodyTooLarge => ProblemKind::BodyTooLarge,
            RequestRefusal::BrokenBody => ProblemKind::BrokenBody,
            RequestRefusal::SlowRequest => ProblemKind::SlowRequest,
            RequestRefusal::TooManyConnections => ProblemKind::TooManyConnections,
            RequestRefusal::Overloaded => ProblemKind::Overloaded,
            RequestRefusal::Internal => ProblemKind::Internal,
        }
    }

    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            RequestRefusal::Unauthorized => {
                "Send a key that is in force, as Basic user and password or as Bearer id.secret.".into()
            }
            RequestRefusal::Forbidden { scope } => format!("The key needs the scope {scope}.").into(),
            RequestRefusal::KeyNeeded { scope } => {
                format!("It needs an API key with the scope {scope}, which devstatus keys create makes.").into()
            }
            RequestRefusal::BadHost => {
                "An HTTP/1.1 request has one Host, a name or address and perhaps a port, and a request target that \
                 names a host names the same."
                    .into()
            }
            RequestRefusal::OtherHost => {
                "Without API keys only localhost and loopback addresses are answered, and the hosts of \
                 --allowed-host."
                    .into()
            }
            RequestRefusal::CrossOrigin => "--cors-origin names the pages that may send this.".into(),
            RequestRefusal::TooManyRequests { .. } => "The header retry-after says how many seconds to wait.".into(),
            RequestRefusal::UrlTooLong => "Path and query together may have 8192 bytes.".into(),
            RequestRefusal::HeadersTooLarge => "The headers together may have 16384 bytes.".into(),
            RequestRefusal::BodyTooLarge => "The body may have 1048576 bytes.".into(),
            RequestRefusal::BrokenBody => "The body breaks off, or is not encoded as the headers say.".into(),
            RequestRefusal::SlowRequest => "The body has to arrive within ten seconds.".into(),
            RequestRefusal::TooManyConnections => {
                "Close connections that are not needed, or have --connections-max raised. Ask again.".into()
            }
            RequestRefusal::Overloaded => {
                "Too many large requests or answers are on their way. Read faster, or ask for less at once. Ask again."
                    .into()
            }
            RequestRefusal::Internal => {
                "The request is not the cause. The log of the service says more.".into()
            }
        }
    }

    pub fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            RequestRefusal::Unauthorized => {
                for challenge in
                    [r#"Basic realm="devstatus", charset="UTF-8""#, r#"Bearer realm="devstatus""#]
                {
                    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
                }
            }
            RequestRefusal::TooManyRequests { wait } => {
                let seconds = wait.as_millis().div_ceil(1_000).max(1);
                let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
                headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            RequestRefusal::Forbidden { .. }
            | RequestRefusal::KeyNeeded { .. }
            | RequestRefusal::BadHost
            | RequestRefusal::OtherHost
            | RequestRefusal::CrossOrigin
            | RequestRefusal::UrlTooLong
            | RequestRefusal::HeadersTooLarge
            | RequestRefusal::BodyTooLarge
            | RequestRefusal::BrokenBody
            | RequestRefusal::SlowRequest
            | RequestRefusal::TooManyConnections
            | RequestRefusal::Overloaded
            | RequestRefusal::Internal => {}
        }
    }
}
