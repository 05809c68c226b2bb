//! How a live subscription ended, and what that means for the state of the link.

use std::time::Duration;

use super::super::rival::ConnectionEnd;
use crate::health::BrokerHealth;
use mqtt::connection::LinkError;
use mqtt::property::Properties;
use mqtt::reason;
use mqtt::settings::MqttVersion;
use system::sentence;

/// How a subscription ended.
#[derive(Debug)]
pub enum LiveEnd {
    Shutdown,
    Lost(LinkError),
    /// Refused by the code of a SUBACK.
    Refused(SubackRefusal),
    /// The connection ended where a SUBACK was due.
    ClosedInstead(LinkError),
}

/// The reason of a DISCONNECT that MQTT 5 has for it.
pub const SESSION_TAKEN_OVER: u8 = 0x8e;

/// A SUBACK that refuses.
#[derive(Debug)]
pub struct SubackRefusal {
    pub version: MqttVersion,
    pub code: u8,
    pub properties: Box<Properties>,
}

/// What the end of a connection says about other clients.
pub fn connection_end(end: &LiveEnd, lived: Duration) -> ConnectionEnd {
    use LiveEnd::{ClosedInstead, Lost, Refused, Shutdown};

    match end {
        Lost(LinkError::Disconnected { code: SESSION_TAKEN_OVER, .. })
        | ClosedInstead(LinkError::Disconnected { code: SESSION_TAKEN_OVER, .. }) => ConnectionEnd::TakenOver,
        Lost(LinkError::Closed { .. } | LinkError::Io { .. }) => ConnectionEnd::Closed { after: lived },
        Lost(_) | Shutdown | Refused(_) | ClosedInstead(_) => ConnectionEnd::Other,
    }
}

impl LiveEnd {
    /// For how long nothing had been sent either way, if the connection broke without a word.
    pub fn idle(&self) -> Option<Duration> {
        match self {
            LiveEnd::Lost(error) => error.idle(),
            LiveEnd::Shutdown | LiveEnd::Refused(_) | LiveEnd::ClosedInstead(_) => None,
        }
    }
}

/// Some brokers close the connection instead of refusing with a SUBACK. What ends it otherwise is no refusal.
pub fn before_the_suback(error: LinkError) -> LiveEnd {
    if error.is_end_by_peer() { LiveEnd::ClosedInstead(error) } else { LiveEnd::Lost(error) }
}

/// What the end of a subscription means for the state of the link; `None` at shutdown. `idle_timeout`: what is to be told of
/// one on the way, if it looks like one.
pub fn state_after(end: &LiveEnd, idle_timeout: Option<String>, topics: &str) -> Option<BrokerHealth> {
    match end {
        LiveEnd::Shutdown => None,
        LiveEnd::Lost(error) => {
            let said = [Some(sentence(error)), idle_timeout].into_iter().flatten();
            Some(BrokerHealth::Lost(said.collect::<Vec<_>>().join("; ")))
        }
        LiveEnd::Refused(SubackRefusal { version, code, properties }) => {
            Some(BrokerHealth::SubscriptionRefused(format!(
                "the broker refused the subscription to {topics} with {}: {}{}",
                reason::subscription_refusal(*version, *code),
                reason::subscription_advice(*version, *code),
                reason::said(properties)
            )))
        }
        LiveEnd::ClosedInstead(error) => Some(BrokerHealth::SubscriptionRefused(format!(
            "the broker closed the connection instead of sending a SUBACK for the subscription to {topics} ({}): check that the key may subscribe to device status; brokers also do this where more is retained than the buffer of the subscription holds",
            sentence(error)
        ))),
    }
}
