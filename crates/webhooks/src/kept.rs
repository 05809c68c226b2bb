//! What the store keeps of an endpoint.

use std::time::Duration;

use presence::history::HistoryPosition;
use serde::{Deserialize, Serialize};
use server::feed::resume::StreamPosition;

use crate::settings::EndpointUrl;

/// Up to where an endpoint has received the history, and whether it wants more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptState {
    /// As a stream's `Last-Event-ID` has it.
    after: String,
    /// The same: disconnects that came after it were not decided yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undecided: Option<String>,
    /// The time that they had to last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settle_ms: Option<u64>,
    /// The endpoint that has answered 410, as a hash of its URL: another one under the same name begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<String>,
}

impl KeptState {
    pub fn at(position: HistoryPosition) -> Self {
        Self { after: text(position), undecided: None, settle_ms: None, gone: None }
    }

    /// That disconnects after an earlier position are undecided, too, which have to last that long.
    pub fn with_undecided(self, from: HistoryPosition, settle: Duration) -> Self {
        let settle_ms = u64::try_from(settle.as_millis()).ok();
        Self { undecided: Some(text(from)), settle_ms, ..self }
    }

    /// That the endpoint is gone, too.
    pub fn gone(&self, url: &EndpointUrl) -> Self {
        Self { gone: Some(hash(url)), ..self.clone() }
    }

    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    /// Where the endpoint goes on; `None`: nobody knows.
    pub fn position(&self) -> Option<HistoryPosition> {
        position(&self.after)
    }

    /// Whether what was undecided had to last that long.
    pub fn had_settle(&self, settle: Duration) -> bool {
        self.settle_ms.is_some_and(|ms| Duration::from_millis(ms) == settle)
    }

    /// From where what is undecided is read again.
    pub fn undecided(&self) -> Option<HistoryPosition> {
        position(self.undecided.as_ref()?)
    }

    /// Whether the endpoint at that URL was found to be gone.
    pub fn is_gone(&self, url: &EndpointUrl) -> bool {
        self.gone.as_ref().is_some_and(|gone| *gone == hash(url))
    }
}

fn text(position: HistoryPosition) -> String {
    StreamPosition::in_history(position).to_string()
}

fn position(text: &str) -> Option<HistoryPosition> {
    text.parse::<StreamPosition>().ok()?.history
}

/// A URL may hold a token, so it is not kept itself.
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
        let kept = KeptState::at(position);
        assert_eq!(kept.text(), r#"{"after":"0-0-12-7"}"#);
        let [one, other] = ["https://h/a", "https://h/b"].map(|url| EndpointUrl::parse(url).expect("a URL"));
        let from = HistoryPosition { order: 7, number: 3 };
        let settling = KeptState::at(position).with_undecided(from, Duration::from_secs(5));
        assert_eq!(settling.text(), r#"{"after":"0-0-12-7","undecided":"0-0-3-7","settle_ms":5000}"#);
        assert!(settling.had_settle(Duration::from_secs(5)) && !kept.had_settle(Duration::ZERO));
        assert_eq!(settling.undecided().map(|position| position.number), Some(3));
        let gone = kept.gone(&one);
        let read = KeptState::parse(&gone.text()).unwrap();
        assert_eq!(
            (read.position(), read.is_gone(&one), read.is_gone(&other)),
            (Some(position), true, false)
        );
        assert!(!kept.is_gone(&one) && !gone.text().contains("https"));
        assert_eq!(KeptState::parse("{}"), None);
        assert_eq!(KeptState::parse(r#"{"after":"x"}"#).unwrap().position(), None);
    }
}
