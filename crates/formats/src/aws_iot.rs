//! Lifecycle events of AWS IoT Core.

use std::borrow::Cow;

use serde::Deserialize;

use crate::name::is_valid_name;
use crate::order::EventIdentity;
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};

/// What to subscribe to. The last level is the client id.
pub const FILTERS: &[&str] = &["$aws/events/presence/+/#"];

/// The type of every device of this format.
pub const DEVICE_TYPE: &str = "mqtt";

const TOPIC: &str = "$aws/events/presence/";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LifecycleMessage<'a> {
    timestamp: Option<i64>,
    #[serde(borrow)]
    session_identifier: Option<Cow<'a, str>>,
    version_number: Option<u64>,
    #[serde(borrow)]
    ip_address: Option<Cow<'a, str>>,
    #[serde(borrow)]
    disconnect_reason: Option<Cow<'a, str>>,
}

impl<'a> LifecycleMessage<'a> {
    fn time(&self) -> Option<UnixNanos> {
        self.timestamp.and_then(|millis| millis.checked_mul(1_000_000)).map(UnixNanos)
    }

    fn session(&self) -> Option<Session<'a>> {
        let session = self.session_identifier.clone()?;
        Some(Session::Versioned { version: self.version_number?, session })
    }
}

/// Decodes one message.
pub fn decode<'a>(topic: &'a str, payload: &'a [u8]) -> Decoded<'a> {
    let Some((verb, id)) = topic.strip_prefix(TOPIC).and_then(|rest| rest.split_once('/')) else {
        return Decoded::NoMatch;
    };
    if !is_valid_name(id) {
        return Decoded::Undecodable("client_id");
    }
    let Ok(message) = serde_json::from_slice::<LifecycleMessage<'a>>(payload) else {
        return Decoded::Undecodable("json");
    };
    let reason = message.disconnect_reason.as_deref().unwrap_or_default();
    let kind = match (verb, reason) {
        ("connected", _) => EventKind::Connect,
        ("disconnected", "DUPLICATE_CLIENTID") => EventKind::Takeover,
        // An end if the session had begun, which the order of events finds out.
        ("disconnected", "AUTH_ERROR" | "FORBIDDEN_ACCESS") | ("connect_failed", _) => EventKind::Refusal,
        ("disconnected", _) => EventKind::Disconnect,
        _ => return Decoded::Undecodable("topic"),
    };
    let cause = match kind {
        EventKind::Connect => None,
        EventKind::Refusal => Some(Cause::Refused),
        EventKind::Disconnect | EventKind::Takeover => cause_of(reason),
    };
    let session = match verb {
        // It has begun no session.
        "connect_failed" => Session::Connection(None),
        _ => match message.session() {
            Some(session) => session,
            None => return Decoded::Undecodable("session"),
        },
    };
    Decoded::Event(Event {
        device: DeviceName { device_type: DEVICE_TYPE.into(), id: id.into() },
        kind,
        session,
        time: message.time(),
        cause,
        reason: message.disconnect_reason,
        address: message.ip_address,
        protocol: None,
        parent: None,
    })
}

/// What a held message says of its session.
pub fn identity(payload: &[u8]) -> Option<EventIdentity<'_>> {
    let message = serde_json::from_slice::<LifecycleMessage<'_>>(payload).ok()?;
    Some(EventIdentity { session: message.session()?, time: message.time(), cause: None })
}

fn cause_of(reason: &str) -> Option<Cause> {
    Some(match reason {
        "CLIENT_INITIATED_DISCONNECT" => Cause::Ended,
        "CONNECTION_LOST" => Cause::Connection,
        "DUPLICATE_CLIENTID" => Cause::Takeover,
        "MQTT_KEEP_ALIVE_TIMEOUT" => Cause::Timeout,
        "CLIENT_ERROR" => Cause::Protocol,
        "SERVER_ERROR"
        | "SERVER_INITIATED_DISCONNECT"
        | "API_INITIATED_DISCONNECT"
        | "THROTTLED"
        | "WEBSOCKET_TTL_EXPIRATION" => Cause::Server,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
