//! What is republished, and where. Built and checked by `config`.

use std::time::Duration;

use mqtt::filter::overlap;
use mqtt::settings::{ConnectSettings, Endpoint};
use presence::query::Filter;
use system::is_loopback;

use crate::home_assistant::Discovery;
use crate::topics::Topics;

/// The longest prefix: with the longest type and id, a topic stays far below what MQTT allows.
pub const PREFIX_MAX_BYTES: usize = 256;

/// The settings of the table `[republish]`.
#[derive(Clone, Debug, PartialEq)]
pub struct RepublishSettings {
    /// Before `/{type}/{id}`, `/summary` and `/service`.
    pub prefix: String,
    /// The broker, and as whom to connect.
    pub connect: ConnectSettings,
    /// The same at all instances, so that the broker ends the connection of one that another has taken over from.
    pub client_id: String,
    /// Which devices, as lists and streams select them.
    pub selector: Filter,
    /// How long a disconnect must have lasted before it is published; a connect before that cancels it.
    pub settle: Duration,
    /// Before `/device/{object_id}/config`; `None`: no discovery by Home Assistant.
    pub home_assistant: Option<String>,
}

impl RepublishSettings {
    /// What is published, as filters.
    pub fn filters(&self) -> Vec<String> {
        let topics = self.topics();
        let discovery = self.discovery().map(|discovery| discovery.all_devices());
        [topics.all_devices(), topics.summary(), topics.service()].into_iter().chain(discovery).collect()
    }

    /// Whether a subscription to the filter at that broker would bring what is published here. Two ports of one host may be those
    /// of one broker.
    pub fn would_reach(&self, endpoint: &Endpoint, filter: &str) -> bool {
        let (own, other) = (&self.connect.endpoint.host, &endpoint.host);
        let is_same = own.eq_ignore_ascii_case(other) || (is_loopback(own) && is_loopback(other));
        is_same && self.filters().iter().any(|published| overlap(published, filter))
    }

    /// Whether the messages for Home Assistant would be taken for those of devices.
    pub fn is_ambiguous(&self) -> bool {
        let discovery = self.discovery().map(|discovery| discovery.all_devices());
        discovery.is_some_and(|filter| overlap(&filter, &self.topics().all_devices()))
    }

    pub(crate) fn topics(&self) -> Topics {
        Topics::new(&self.prefix)
    }

    pub(crate) fn discovery(&self) -> Option<Discovery> {
        self.home_assistant.as_deref().map(Discovery::new)
    }
}

/// Whether a text can be the first levels of topics.
pub fn is_prefix(text: &str) -> bool {
    let is_level = |level: &str| !level.is_empty() && !level.contains(['+', '#']);
    text.len() <= PREFIX_MAX_BYTES
        && text.split('/').all(is_level)
        && !text.starts_with('$')
        && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use mqtt::settings::Transport;

    use super::*;

    fn endpoint(host: &str, port: u16) -> Endpoint {
        Endpoint { transport: Transport::Tcp, host: host.to_owned(), port, path: String::new() }
    }

    fn settings(host: &str) -> RepublishSettings {
        RepublishSettings {
            prefix: "site/devstatus".to_owned(),
            connect: ConnectSettings::new(endpoint(host, 1883)),
            client_id: "devstatus".to_owned(),
            selector: Filter::default(),
            settle: Duration::ZERO,
            home_assistant: Some("homeassistant".to_owned()),
        }
    }

    #[test]
    fn a_subscription_reaches_what_is_published_on_the_same_broker() {
        let settings = settings("broker.example");
        let same = endpoint("BROKER.example", 8883);
        for filter in [
            "#",
            "site/#",
            "site/+/+/+",
            "+/devstatus/pump/#",
            "site/devstatus/summary",
            "+/+/service",
            "homeassistant/device/+/config",
            "homeassistant/#",
        ] {
            assert!(settings.would_reach(&same, filter), "{filter}");
            assert!(!settings.would_reach(&endpoint("other.example", 1883), filter), "{filter}");
        }
        for filter in ["site/+/+", "+/status", "tele/+/LWT", "$SYS/#", "homeassistant/status"] {
            assert_eq!(settings.would_reach(&same, filter), filter == "site/+/+", "{filter}");
        }
        assert!(super::tests::settings("localhost").would_reach(&endpoint("127.0.0.1", 9001), "#"));
    }

    #[test]
    fn a_prefix_is_some_whole_levels() {
        for text in ["devstatus", "a/b", "ü x", "%"] {
            assert!(is_prefix(text), "{text}");
        }
        let long = "x".repeat(PREFIX_MAX_BYTES + 1);
        for text in ["", "/a", "a/", "a//b", "a/+", "#", "$SYS", "a\0", &long] {
            assert!(!is_prefix(text), "{text}");
        }
        let ambiguous = RepublishSettings { prefix: "homeassistant/device".to_owned(), ..settings("h") };
        assert!(ambiguous.is_ambiguous() && !settings("h").is_ambiguous());
    }
}
