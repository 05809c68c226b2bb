//! What an MQTT 5 broker says in its CONNACK about what it offers, and what that means for us. Pure.
//!
//! An MQTT 3.1.1 broker says nothing of the kind; for it everything here is at the default of the specification, 3.2.2.3.

use std::time::Duration;

use super::property::Properties;
use super::settings::ConnectSettings;

/// What one connection may rely on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// How long nothing may be sent, and how long the broker may be silent at most by half as much again.
    pub keep_alive: Duration,
    /// The largest packet that the broker takes.
    pub packet_max_bytes: usize,
    /// Whether it keeps retained messages.
    pub retains: bool,
    /// How many messages the broker takes that it has not acknowledged yet.
    pub receive_max: u16,
    /// What the service does without on this broker, one sentence each.
    pub limits: Vec<String>,
}

/// A subscription that the broker has said it would not grant; the text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotOffered(&'static str);

impl Offer {
    /// What the properties of a CONNACK mean for a connection of these settings.
    pub fn new(properties: &Properties, settings: &ConnectSettings, client_id: &str) -> Self {
        let retains = properties.retain_available.unwrap_or(true);
        let packet_max = properties.maximum_packet_bytes.unwrap_or(u32::MAX);
        Self {
            keep_alive: keep_alive(settings.keep_alive, properties.server_keep_alive_s),
            packet_max_bytes: usize::try_from(packet_max).unwrap_or(usize::MAX),
            retains,
            receive_max: properties.receive_maximum.unwrap_or(u16::MAX),
            limits: limits(properties, settings, client_id),
        }
    }
}

/// The Server Keep Alive replaces ours (MQTT-3.1.2-21). One that is longer, or 0 for none, still lets us send sooner, so that a
/// dead connection is noticed as soon as the operator has asked for.
fn keep_alive(asked: Duration, server_s: Option<u16>) -> Duration {
    match server_s {
        None | Some(0) => asked,
        Some(seconds) => asked.min(Duration::from_secs(seconds.into())),
    }
}

/// Whether a connection of these settings can do what it is for.
pub fn check(properties: &Properties, settings: &ConnectSettings) -> Result<(), NotOffered> {
    if properties.wildcards_available == Some(false) {
        return Err(NotOffered(
            "the broker offers no subscriptions with wildcards (Wildcard Subscription Available is 0), \
             without which the statuses of all devices cannot be read: allow them at the broker",
        ));
    }
    if properties.shared_available == Some(false) && settings.needs_shared_subscriptions {
        return Err(NotOffered(
            "the broker offers no shared subscriptions (Shared Subscription Available is 0): \
             start without --share or share the device types instead",
        ));
    }
    Ok(())
}

fn limits(properties: &Properties, settings: &ConnectSettings, client_id: &str) -> Vec<String> {
    let mut limits = Vec::new();
    if properties.retain_available == Some(false) {
        limits.push(
            "The broker keeps no retained messages (Retain Available is 0), so statuses from before the \
             connection can never be read: only devices that connect or disconnect from now on become known."
                .to_owned(),
        );
    }
    let asked_s = settings.session_expiry.as_secs();
    if let Some(seconds) = properties.session_expiry_s.map(u64::from)
        && !settings.clean_session
        && seconds < asked_s
    {
        limits.push(format!(
            "The broker keeps the session for {seconds} seconds after the connection ends, not for the {asked_s} of \
             --session-expiry: what is published during a longer absence is read only as far as it is retained."
        ));
    }
    if properties.maximum_qos == Some(0) && !settings.clean_session {
        limits.push(
            "The broker takes messages at QoS 0 only (Maximum QoS is 0), so a persistent session brings nothing: \
             what is published during an absence is read only as far as it is retained."
                .to_owned(),
        );
    }
    if let Some(assigned) = properties.assigned_client_id.as_ref().filter(|assigned| *assigned != client_id) {
        limits.push(format!(
            "The broker uses the client id {assigned} instead of {client_id}, so it cannot end the earlier \
             connection of this application, nor keep its session."
        ));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Endpoint, Transport};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn shared_subscriptions_are_missed_only_by_who_wants_them() {
        let none = Properties { shared_available: Some(false), ..Properties::default() };
        let endpoint = Endpoint {
            transport: Transport::Tcp,
            host: "broker".to_owned(),
            port: 1883,
            path: String::new(),
        };
        let alone = ConnectSettings::new(endpoint);
        let sharing = ConnectSettings { needs_shared_subscriptions: true, ..alone.clone() };
        assert_eq!(check(&none, &alone), Ok(()));
        let said = check(&none, &sharing).unwrap_err().to_string();
        assert!(said.contains("--share"), "{said}");
        assert_eq!(check(&Properties::default(), &sharing), Ok(()));
    }

    #[test]
    fn the_shorter_keep_alive_counts() {
        let asked = 60 * SECOND;
        for (server, expected) in
            [(None, asked), (Some(0), asked), (Some(10), 10 * SECOND), (Some(60), asked), (Some(600), asked)]
        {
            assert_eq!(keep_alive(asked, server), expected, "{server:?}");
        }
    }
}
