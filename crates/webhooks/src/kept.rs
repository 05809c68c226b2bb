//! What the store keeps of an endpoint.

use presence::history::HistoryPosition;
use serde::{Deserialize, Serialize};
use server::feed::resume::StreamPosition;

use crate::settings::EndpointUrl;

/// Up to where an endpoint has received the history, and whether it wants more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptState {
    /// As a stream's `Last-Event-ID` has it.
    after: String,
    /// The endpoint that has answered 410, as a hash of its URL: another one under the same name begins anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<String>,
}

impl KeptState {
    pub fn at(position: HistoryPosition) -> Self {
        Self { after: StreamPosition::in_history(position).to_string(), gone: None }
    }

    /// That the endpoint is gone, too.
    pub fn gone(position: HistoryPosition, url: &EndpointUrl) -> Self {
        Self { gone: Some(hash(url)), ..Self::at(position) }
    }

    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("texts are JSON")
    }

    /// Where the endpoint goes on; `None`: nobody knows.
    pub fn position(&self) -> Option<HistoryPosition> {
        self.after.parse::<StreamPosition>().ok()?.history
    }

    /// Whether the endpoint at that URL was found to be gone.
    pub fn is_gone(&self, url: &EndpointUrl) -> bool {
        self.gone.as_ref().is_some_and(|gone| *gone == hash(url))
    }
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
        let gone = KeptState::gone(position, &one);
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
