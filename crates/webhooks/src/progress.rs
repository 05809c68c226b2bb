//! How far the deliveries to an endpoint are, as the store has it.

use std::time::Duration;

use presence::history::HistoryPosition;
use serde::{Deserialize, Serialize};
use server::feed::resume::StreamPosition;

use crate::settings::EndpointUrl;

/// Up to where an endpoint has received the history, and whether it is disabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointProgress {
    /// As a stream's `Last-Event-ID` has it.
    after: String,
    /// In the same form: disconnects that came after it were not decided yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
    /// The time that they had to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settle_ms: Option<u64>,
    /// A hash of the URL that has answered 410. An endpoint of the same name with another URL is not disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<String>,
    /// The same of a URL that has failed for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    given_up: Option<String>,
    /// Since when every attempt has failed, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failing_since_ms: Option<i64>,
}

/// Why an endpoint receives nothing until an administrator enables it or gives it another URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabled {
    Gone,
    GivenUp,
}

impl EndpointProgress {
    pub fn at(position: HistoryPosition) -> Self {
        Self {
            after: text(position),
            undecided: None,
            settle_ms: None,
            gone: None,
            given_up: None,
            failing_since_ms: None,
        }
    }

    /// With disconnects after an earlier position that are undecided and have to last that long.
    pub fn with_undecided(self, from: HistoryPosition, settle: Duration) -> Self {
        let settle_ms = u64::try_from(settle.as_millis()).ok();
        Self { undecided: Some(text(from)), settle_ms, ..self }
    }

    /// With the endpoint at that URL disabled.
    pub fn disabled(&self, why: Disabled, url: &EndpointUrl) -> Self {
        let hash = Some(hash(url));
        match why {
            Disabled::Gone => Self { gone: hash, ..self.clone() },
            Disabled::GivenUp => Self { given_up: hash, ..self.clone() },
        }
    }

    /// With the endpoint enabled.
    pub fn enabled(&self) -> Self {
        Self { gone: None, given_up: None, failing_since_ms: None, ..self.clone() }
    }

    pub fn failing_since(&self, since_ms: Option<i64>) -> Self {
        Self { failing_since_ms: since_ms, ..self.clone() }
    }

    pub fn failing_since_ms(&self) -> Option<i64> {
        self.failing_since_ms
    }

    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    /// Where the endpoint continues, in the form of a stream's id.
    pub fn after(&self) -> &str {
        &self.after
    }

    /// Where the endpoint continues; `None`: the text is no position in a history.
    pub fn position(&self) -> Option<HistoryPosition> {
        position(&self.after)
    }

    /// Whether the undecided disconnects had to last that long.
    pub fn had_settle(&self, settle: Duration) -> bool {
        self.settle_ms.is_some_and(|ms| Duration::from_millis(ms) == settle)
    }

    /// The position after which the undecided disconnects are read again.
    pub fn undecided(&self) -> Option<HistoryPosition> {
        position(self.undecided.as_ref()?)
    }

    /// Whether the endpoint at that URL is disabled.
    pub fn why_disabled(&self, url: &EndpointUrl) -> Option<Disabled> {
        let is = |kept: &Option<String>| kept.as_ref().is_some_and(|kept| *kept == hash(url));
        if is(&self.gone) { Some(Disabled::Gone) } else { is(&self.given_up).then_some(Disabled::GivenUp) }
    }
}

fn text(position: HistoryPosition) -> String {
    StreamPosition::in_history(position).to_string()
}

fn position(text: &str) -> Option<HistoryPosition> {
    text.parse::<StreamPosition>().ok()?.history
}

/// A URL may hold a token, so the store has only its hash.
fn hash(url: &EndpointUrl) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, url.as_str().as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let position = HistoryPosition { order: 7, number: 12 };
        let kept = EndpointProgress::at(position);
        assert_eq!(kept.text(), r#"{"after":"0-0-12-7"}"#);
        let [one, other] = ["https://h/a", "https://h/b"].map(|url| EndpointUrl::parse(url).expect("a URL"));
        let from = HistoryPosition { order: 7, number: 3 };
        let settling = EndpointProgress::at(position).with_undecided(from, Duration::from_secs(5));
        assert_eq!(settling.text(), r#"{"after":"0-0-12-7","undecided":"0-0-3-7","settle_ms":5000}"#);
        assert!(settling.had_settle(Duration::from_secs(5)) && !kept.had_settle(Duration::ZERO));
        assert_eq!(settling.undecided().map(|position| position.number), Some(3));
        let gone = kept.disabled(Disabled::Gone, &one);
        let read = EndpointProgress::parse(&gone.text()).unwrap();
        assert_eq!(
            (read.position(), read.why_disabled(&one), read.why_disabled(&other)),
            (Some(position), Some(Disabled::Gone), None)
        );
        assert_eq!((kept.why_disabled(&one), gone.enabled()), (None, kept.clone()));
        assert!(!gone.text().contains("https"));
        let given_up = kept.failing_since(Some(5)).disabled(Disabled::GivenUp, &one);
        assert_eq!(given_up.why_disabled(&one), Some(Disabled::GivenUp));
        assert_eq!(EndpointProgress::parse(&given_up.text()).unwrap().failing_since_ms(), Some(5));
        assert_eq!(EndpointProgress::parse("{}"), None);
        assert_eq!(EndpointProgress::parse(r#"{"after":"x"}"#).unwrap().position(), None);
    }
}
