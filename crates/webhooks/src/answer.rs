//! What an answer of an endpoint means for the message, and when to try again.

use std::time::{Duration, UNIX_EPOCH};

/// The first wait after a failure: an endpoint that restarts is back within seconds.
pub const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest wait: an endpoint that was repaired hears of what it missed within minutes.
pub const RETRY_LONGEST: Duration = Duration::from_secs(300);
/// The longest wait that an endpoint may ask for with `Retry-After`; a longer one counts as this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3_600);

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The endpoint does not exist any more, and says so.
    #[error("it answers 410 Gone")]
    Gone,
    #[error("it answers {status}")]
    Refused {
        status: u16,
        retry_after: Option<Duration>,
        /// The beginning of the answer's body.
        answer: String,
    },
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// It may have taken the message all the same.
    #[error("it does not answer in time")]
    Silent,
}

impl Failure {
    /// What was answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Failure::Gone => Some(410),
            Failure::Refused { status, .. } => Some(*status),
            Failure::Unreachable(_) | Failure::Silent => None,
        }
    }

    /// Whether the endpoint works and rejects this message: it would do so again.
    pub fn is_rejection(&self) -> bool {
        // Not in time, too early, and too many may be otherwise a moment later.
        matches!(self, Failure::Refused { status: 400..500, .. })
            && !matches!(self.status(), Some(408 | 425 | 429))
    }

    /// The beginning of what the endpoint has answered.
    pub fn answer(&self) -> Option<&str> {
        match self {
            Failure::Refused { answer, .. } => Some(answer.as_str()).filter(|answer| !answer.is_empty()),
            Failure::Gone | Failure::Unreachable(_) | Failure::Silent => None,
        }
    }

    /// The same failure with the beginning of the body that came with it.
    pub fn with_answer(self, body: &[u8]) -> Self {
        match self {
            Failure::Refused { status, retry_after, answer: _ } => {
                Failure::Refused { status, retry_after, answer: String::from_utf8_lossy(body).into_owned() }
            }
            other @ (Failure::Gone | Failure::Unreachable(_) | Failure::Silent) => other,
        }
    }

    /// How long the endpoint asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Failure::Refused { retry_after, .. } => *retry_after,
            Failure::Gone | Failure::Unreachable(_) | Failure::Silent => None,
        }
    }
}

/// What a status says: 2xx alone means that the endpoint has taken the message, so a redirect is a refusal, too.
/// `retry_after` counts with 429 and 503.
pub fn judge(status: u16, retry_after: Option<&str>, now_seconds: u64) -> Result<(), Failure> {
    match status {
        200..300 => Ok(()),
        410 => Err(Failure::Gone),
        429 | 503 => {
            let retry_after = retry_after.and_then(|text| wait(text.trim(), now_seconds));
            Err(Failure::Refused { status, retry_after, answer: String::new() })
        }
        _ => Err(Failure::Refused { status, retry_after: None, answer: String::new() }),
    }
}

/// Seconds, or a date of HTTP.
fn wait(text: &str, now_seconds: u64) -> Option<Duration> {
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            until.saturating_sub(Duration::from_secs(now_seconds))
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, retry_after: Option<&str>) -> Option<Duration> {
        match judge(status, retry_after, 1_000_000_000) {
            Err(Failure::Refused { status: found, retry_after, .. }) if found == status => retry_after,
            other => panic!("{status}: {other:?}"),
        }
    }

    #[test]
    fn only_success_is_success() {
        for status in [200, 201, 202, 204, 299] {
            assert!(judge(status, None, 0).is_ok());
        }
        for status in [301, 302, 304, 307, 308, 400, 401, 404, 413, 500, 502] {
            assert_eq!(refused(status, Some("5")), None);
        }
        assert!(matches!(judge(410, Some("5"), 0), Err(Failure::Gone)));
    }

    #[test]
    fn a_message_is_rejected_by_a_status_that_says_so() {
        let is_rejection = |status| judge(status, None, 0).is_err_and(|failure| failure.is_rejection());
        assert!([400, 401, 403, 404, 413, 422].into_iter().all(is_rejection));
        assert!(![204, 302, 408, 410, 425, 429, 500, 503].into_iter().any(is_rejection));
    }

    #[test]
    fn an_endpoint_may_ask_for_a_bounded_pause() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(refused(429, Some("7")), seconds(7));
        assert_eq!(refused(503, Some(" 0 ")), seconds(0));
        assert_eq!(refused(429, Some("999999999999")), Some(RETRY_AFTER_MAX));
        for none in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(refused(429, Some(none)), None, "{none}");
        }
        assert_eq!(refused(429, None), None);
        // 1,000,000,000 seconds after 1970.
        assert_eq!(refused(503, Some("Sun, 09 Sep 2001 01:46:50 GMT")), seconds(10));
        assert_eq!(refused(503, Some("Sun, 09 Sep 2001 01:46:30 GMT")), seconds(0));
    }
}
