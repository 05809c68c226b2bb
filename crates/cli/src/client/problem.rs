//! Why there is no answer, in one sentence.

use std::io;

use serde::Deserialize;
use thiserror::Error;

use system::tls;

/// Why a service could not be asked, or did not answer.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("cannot ask {url}")]
    Unreachable { url: String, source: ureq::Error },
    #[error("cannot ask {url}: {why}")]
    Tls { url: String, why: String },
    #[error("{url} refuses: {why}")]
    Refused { url: String, status: u16, why: String },
    #[error("the endpoint has not taken the message: {0}")]
    NotTaken(String),
    #[error("the answer breaks off")]
    Broken(#[source] io::Error),
    #[error("the answer is not from devstatus: check the URL")]
    NotUnderstood,
    #[error("no certificate to trust is in {0}")]
    TrustStore(String),
    #[error("{0} is no certificate, or no key of the certificate, that the service could be shown")]
    ClientCertificate(String),
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
    #[error("the system refuses")]
    System(#[from] io::Error),
}

impl ClientError {
    /// The service was not reached. The library shows no cause of its errors by itself.
    pub(super) fn unreachable(url: &str, source: ureq::Error) -> Self {
        let why = match &source {
            ureq::Error::Rustls(error) => tls::explain(error),
            ureq::Error::Io(error) => tls::explain(error),
            _ => None,
        };
        match why {
            Some(why) => ClientError::Tls { url: url.to_owned(), why },
            None => ClientError::Unreachable { url: url.to_owned(), source },
        }
    }

    /// Whether the same may be answered a little later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            ClientError::Unreachable { .. } | ClientError::Broken(_) => true,
            ClientError::Refused { status, .. } => matches!(status, 408 | 429 | 502..=504),
            ClientError::NotUnderstood
            | ClientError::NotTaken(_)
            | ClientError::Tls { .. }
            | ClientError::TrustStore(_)
            | ClientError::ClientCertificate(_)
            | ClientError::Output(_)
            | ClientError::System(_) => false,
        }
    }
}

/// The parts of a problem (RFC 9457) that a person reads.
#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

/// What an answer other than 200 says, from the service or a proxy.
pub(super) fn why(status: u16, body: &str) -> String {
    let problem: Option<Problem> = serde_json::from_str(body).ok();
    let words: Vec<String> =
        problem.into_iter().flat_map(|problem| [problem.title, problem.detail]).flatten().collect();
    if words.is_empty() {
        return format!("status {status}");
    }
    let text = words.join(". ");
    format!("{} (status {status})", super::table::plain(text.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::why;

    #[test]
    fn a_problem_is_a_sentence_and_anything_else_its_status() {
        let body = r#"{"type":"urn:devstatus:problem:forbidden","title":"The key is not good","status":403,"detail":"It needs read."}"#;
        assert_eq!(why(403, body), "The key is not good. It needs read (status 403)");
        assert_eq!(why(502, "<html>"), "status 502");
        assert_eq!(why(404, "{}"), "status 404");
        assert_eq!(why(400, r#"{"detail":"\u001b[31m"}"#), "\\u{1b}[31m (status 400)");
    }
}
