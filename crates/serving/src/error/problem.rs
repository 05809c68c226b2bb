//! The kinds of problems: status, type and title of each, in one table. Which error is of which kind is known to `error`.

use axum::http::StatusCode;

/// Makes the enum, and what is said of each variant, of one table, so that none can be forgotten.
macro_rules! problems {
    ($($kind:ident: $status:ident, $name:literal, $title:literal;)*) => {
        /// What a kind of problem comes to, whichever request had it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ProblemKind {
            $($kind),*
        }

        impl ProblemKind {
            #[cfg(test)]
            pub const ALL: &[ProblemKind] = &[$(ProblemKind::$kind),*];

            pub fn status(self) -> StatusCode {
                match self {
                    $(ProblemKind::$kind => StatusCode::$status),*
                }
            }

            /// The last part of the type: it never changes.
            pub fn name(self) -> &'static str {
                match self {
                    $(ProblemKind::$kind => $name),*
                }
            }

            pub fn title(self) -> &'static str {
                match self {
                    $(ProblemKind::$kind => $title),*
                }
            }
        }
    };
}

problems! {
    NotFound: NOT_FOUND, "not-found", "There is nothing at this path";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method-not-allowed", "The resource does not have this method";
    BadPath: BAD_REQUEST, "bad-path", "The path cannot be read";
    NotPopulated: SERVICE_UNAVAILABLE, "not-populated", "Not every retained status has been read yet";
    TooManyStreams: SERVICE_UNAVAILABLE, "too-many-streams", "As many streams are open as may be";
    HistoryUnavailable: SERVICE_UNAVAILABLE, "history-unavailable", "The history cannot be read at present";
    StoreUnavailable: SERVICE_UNAVAILABLE, "store-unavailable", "The store cannot be read at present";
    NotWithMapLimit: NOT_IMPLEMENTED, "not-with-map-limit", "This instance holds only some of the devices";
    AlertsElsewhere: SERVICE_UNAVAILABLE, "alerts-elsewhere", "This instance does not evaluate the alert rules at present";
    AlertsOff: CONFLICT, "alerts-off", "No alert rules are evaluated";
    TooManySilences: CONFLICT, "too-many-silences", "There are as many silences as may be";
    WebhookBusy: SERVICE_UNAVAILABLE, "webhook-busy", "Nobody delivers to this webhook here at present";
    WebhookSecret: CONFLICT, "webhook-secret", "No secret is made for this webhook";
    UnknownParameter: BAD_REQUEST, "unknown-parameter", "The resource has no such parameter";
    RepeatedParameter: BAD_REQUEST, "repeated-parameter", "A parameter is given twice";
    BadParameter: BAD_REQUEST, "bad-parameter", "A parameter has no such value";
    NotAcceptable: NOT_ACCEPTABLE, "not-acceptable", "No accepted media type can be given";
    UnsupportedMediaType: UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body is of no media type that is taken here";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large";
    BadBody: BAD_REQUEST, "bad-body", "The body cannot be taken";
    Unauthorized: UNAUTHORIZED, "unauthorized", "The request needs an API key";
    Forbidden: FORBIDDEN, "forbidden", "The API key is not good for this";
    KeyNeeded: FORBIDDEN, "key-needed", "Nobody may do this without an API key";
    BadHost: BAD_REQUEST, "bad-host", "The request does not name one host";
    OtherHost: MISDIRECTED_REQUEST, "other-host", "The request names another host";
    CrossOrigin: FORBIDDEN, "cross-origin", "A page of another origin may change nothing";
    TooManyRequests: TOO_MANY_REQUESTS, "too-many-requests", "There are too many requests";
    UrlTooLong: URI_TOO_LONG, "url-too-long", "The URL is too long";
    HeadersTooLarge: REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", "The headers are too large";
    BrokenBody: BAD_REQUEST, "broken-body", "The body cannot be read";
    SlowRequest: REQUEST_TIMEOUT, "slow-request", "The request took too long";
    TooManyConnections: SERVICE_UNAVAILABLE, "too-many-connections", "As many connections are being answered as may be";
    Overloaded: SERVICE_UNAVAILABLE, "overloaded", "There is no memory for this at present";
    Internal: INTERNAL_SERVER_ERROR, "fault", "The service has made a mistake";
}
