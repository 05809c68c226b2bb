//! Every answer that is not what was asked for, in one form: problem details (RFC 9457). What can go wrong is one enum;
//! `problem` says which kind of problem each is.

mod problem;
pub mod refusal;

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
#[cfg(not(feature = "testing"))]
use openapi_stubs::ToSchema;
use serde::Serialize;
#[cfg(feature = "testing")]
use utoipa::ToSchema;

use self::problem::ProblemKind;
use self::refusal::RequestRefusal;
use alerting::desk::EvaluatorUnavailable;
use server::read_through::StoreUnavailable;
use webhooks::RotationRefusal;

/// How long a client should wait while something is not there yet or not there at present.
const RETRY_AFTER_S: u64 = 2;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// More of a name that a client sent is not repeated to it.
const ECHO_MAX_CHARS: usize = 80;

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    NotFound,
    MethodNotAllowed,
    /// A path segment that is not UTF-8 once decoded.
    BadPath,
    /// The device is not known yet, and it is too early to say that it never connected.
    NotPopulated,
    /// As many streams are open as may be.
    TooManyStreams,
    /// The store does not give the history of the device at present.
    HistoryUnavailable,
    /// The device is not held in memory, and the store cannot be read at present.
    StoreUnavailable,
    /// No webhook has the name.
    UnknownWebhook,
    /// No message that is known and can be sent again has the id.
    UnknownDeadLetter,
    /// Too many orders wait for the webhook, or another instance delivers to it.
    WebhookBusy,
    /// No secret is made for the webhook.
    WebhookSecret(RotationRefusal),
    /// Another instance evaluates the alert rules, or nobody does yet.
    AlertsElsewhere,
    /// There are no alert rules, or they cannot be evaluated.
    AlertsOff,
    /// There are as many silences as may be.
    TooManySilences,
    /// What goes through all devices in memory is not to be had where only some are there.
    NotWithMapLimit,
    /// Refused before it was looked at what is asked for.
    Refused(RequestRefusal),
    /// The query holds a parameter that the resource does not have.
    UnknownParameter {
        name: String,
        known: &'static [&'static str],
    },
    /// The query holds a parameter twice that counts once.
    RepeatedParameter {
        name: &'static str,
    },
    /// The value of a parameter is none that it can have.
    BadParameter {
        name: &'static str,
        expected: Cow<'static, str>,
    },
    /// None of the media types that the client accepts can be given.
    NotAcceptable,
    /// The body is said to be something else than JSON, or nothing.
    UnsupportedMediaType,
    BodyTooLarge {
        max: usize,
    },
    /// The body is not what the resource takes.
    BadBody {
        why: String,
    },
}

/// An error as a client reads it (RFC 9457).
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem for programs; one for each, and it never changes.
    #[serde(rename = "type")]
    #[schema(example = "urn:devstatus:problem:bad-parameter")]
    kind: String,
    /// What the kind of problem is, for people.
    title: &'static str,
    /// The status code of the answer.
    #[schema(example = 400)]
    status: u16,
    /// What is wrong with this very request, in a sentence.
    detail: Cow<'static, str>,
    /// The query parameter that is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<String>,
    /// The parameters that the resource has, if one is refused that it has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<&'static [&'static str]>,
}

impl From<StoreUnavailable> for Error {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Error::StoreUnavailable
    }
}

impl From<EvaluatorUnavailable> for Error {
    fn from(unavailable: EvaluatorUnavailable) -> Self {
        match unavailable {
            EvaluatorUnavailable::Off => Error::AlertsOff,
            EvaluatorUnavailable::NotHere => Error::AlertsElsewhere,
        }
    }
}

impl Error {
    pub fn bad_parameter(name: &'static str, expected: impl Into<Cow<'static, str>>) -> Self {
        Error::BadParameter { name, expected: expected.into() }
    }

    pub fn kind(&self) -> ProblemKind {
        match self {
            Error::NotFound | Error::UnknownWebhook | Error::UnknownDeadLetter => ProblemKind::NotFound,
            Error::MethodNotAllowed => ProblemKind::MethodNotAllowed,
            Error::BadPath => ProblemKind::BadPath,
            Error::NotPopulated => ProblemKind::NotPopulated,
            Error::TooManyStreams => ProblemKind::TooManyStreams,
            Error::HistoryUnavailable => ProblemKind::HistoryUnavailable,
            Error::StoreUnavailable => ProblemKind::StoreUnavailable,
            Error::WebhookBusy => ProblemKind::WebhookBusy,
            Error::WebhookSecret(_) => ProblemKind::WebhookSecret,
            Error::AlertsElsewhere => ProblemKind::AlertsElsewhere,
            Error::AlertsOff => ProblemKind::AlertsOff,
            Error::TooManySilences => ProblemKind::TooManySilences,
            Error::NotWithMapLimit => ProblemKind::NotWithMapLimit,
            Error::Refused(refusal) => refusal.kind(),
            Error::UnknownParameter { .. } => ProblemKind::UnknownParameter,
            Error::RepeatedParameter { .. } => ProblemKind::RepeatedParameter,
            Error::BadParameter { .. } => ProblemKind::BadParameter,
            Error::NotAcceptable => ProblemKind::NotAcceptable,
            Error::UnsupportedMediaType => ProblemKind::UnsupportedMediaType,
            Error::BodyTooLarge { .. } => ProblemKind::BodyTooLarge,
            Error::BadBody { .. } => ProblemKind::BadBody,
        }
    }

    pub fn detail(&self) -> Cow<'static, str> {
        match self {
            Error::NotFound => "A device is at /{type}/{id}; /openapi.json lists everything else.".into(),
            Error::UnknownWebhook => "No webhook has this name; /api/v1/webhooks lists them.".into(),
            Error::UnknownDeadLetter => {
                "No dead letter of the endpoint has this id, or its event is no longer in the history. The deliveries of the endpoint show its dead letters; since sends events by their time."
                    .into()
            }
            Error::MethodNotAllowed => "The header allow lists the methods that it has.".into(),
            Error::BadPath => "Device type and id must be UTF-8, percent-encoded.".into(),
            Error::NotPopulated => {
                "This device has not been seen, and not every retained status is known to have been read; /readyz says more. Ask again."
                    .into()
            }
            Error::TooManyStreams => {
                "Close a stream that is not needed, or have --streams-max raised. Ask again.".into()
            }
            Error::HistoryUnavailable => "The store does not answer; /readyz says more. Ask again.".into(),
            Error::StoreUnavailable => {
                "The answer is in the store, which does not respond; /readyz says more. Try again.".into()
            }
            Error::WebhookBusy => {
                "/api/v1/webhooks shows its state. If another instance delivers, ask that one. Try again."
                    .into()
            }
            Error::WebhookSecret(RotationRefusal::NotSigned) => {
                "It has no secret_file, so its messages are not signed.".into()
            }
            Error::WebhookSecret(RotationRefusal::NotKept) => {
                "The store does not outlive the process, so a secret would be lost with it. Change the one in the secret_file.".into()
            }
            Error::WebhookSecret(RotationRefusal::TooMany) => {
                "As many earlier secrets count as may. Wait for the end of one, or end them all with overlap=0s.".into()
            }
            Error::AlertsElsewhere => {
                "/api/v1/alerts shows where rules are evaluated. If another instance does, ask that one. Try again.".into()
            }
            Error::AlertsOff => "The settings have no [[rule]] table, or --map-limit is set.".into(),
            Error::TooManySilences => "End a silence that is not needed.".into(),
            Error::NotWithMapLimit => "Ask an instance that was started without --map-limit for this.".into(),
            Error::Refused(refusal) => refusal.detail(),
            Error::UnknownParameter { name, known } => {
                let name = shortened(name);
                match known {
                    [] => format!("The resource has no parameter, and {name} is given."),
                    known => format!("There is no parameter {name}; there are {}.", known.join(", ")),
                }
                .into()
            }
            Error::RepeatedParameter { name } => format!("{name} may be given once.").into(),
            Error::BadParameter { name, expected } => format!("{name} must be {expected}.").into(),
            Error::NotAcceptable => "There are application/json, text/csv and application/x-ndjson.".into(),
            Error::UnsupportedMediaType => "The body must be application/json.".into(),
            Error::BodyTooLarge { max } => format!("At most {max} bytes are taken.").into(),
            Error::BadBody { why } => format!("The body is not as it must be: {why}.").into(),
        }
    }

    /// The parameter that is refused.
    pub fn parameter(&self) -> Option<String> {
        let (Error::BadParameter { name, .. } | Error::RepeatedParameter { name }) = self else {
            let Error::UnknownParameter { name, .. } = self else { return None };
            return Some(shortened(name));
        };
        Some((*name).to_owned())
    }

    fn known(&self) -> Option<&'static [&'static str]> {
        let Error::UnknownParameter { known, .. } = self else { return None };
        Some(known)
    }
}

fn shortened(name: &str) -> String {
    name.chars().take(ECHO_MAX_CHARS).collect()
}

impl Error {
    /// The whole answer.
    pub fn response(&self) -> Response<Bytes> {
        let kind = self.kind();
        let status = kind.status();
        let problem = Problem {
            kind: format!("urn:devstatus:problem:{}", kind.name()),
            title: kind.title(),
            status: status.as_u16(),
            detail: self.detail(),
            parameter: self.parameter(),
            known: self.known(),
        };
        let body = serde_json::to_vec(&problem).expect("texts and numbers are JSON");
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if let Error::Refused(refusal) = self {
            refusal.add_headers(headers);
        }
        response
    }
}

impl IntoResponse for Error {
    /// The whole answer, and the error itself for those who show it in another form.
    fn into_response(self) -> Response {
        let mut response = self.response().map(Body::from);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<RequestRefusal> for Error {
    fn from(refusal: RequestRefusal) -> Self {
        Error::Refused(refusal)
    }
}

/// Any path without a resource. `OPTIONS *` asks for the whole service.
pub async fn not_found(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS && uri.path() == "*" {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Error::NotFound.into_response()
    }
}

/// A resource asked for with a method that it does not have; the router adds `Allow`. `OPTIONS` is answered with nothing
/// else: load balancers ask so whether a service is there.
pub async fn other_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        Error::MethodNotAllowed.into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Each problem and its status as documented: the first two columns of the table under the heading.
    fn documented(document: &str) -> BTreeMap<String, u16> {
        let (_, section) = document.split_once("\n## Errors\n").expect("there is such a section");
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        let cells = rows.map(|row| row.split('|').collect::<Vec<_>>());
        let names = cells.flat_map(|cells| {
            let status: u16 = cells[1].trim().parse().unwrap();
            let names = cells[0].split(", ").map(|name| name.trim_matches([' ', '`']).to_owned());
            names.map(|name| (name, status)).collect::<Vec<_>>()
        });
        names.collect()
    }

    #[test]
    fn every_problem_is_documented_and_no_other() {
        let all = ProblemKind::ALL.iter().map(|kind| (kind.name().to_owned(), kind.status().as_u16()));
        assert_eq!(documented(include_str!("../../../docs/api.md")), all.collect());
    }
}
