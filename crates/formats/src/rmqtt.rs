//! Client events of RMQTT, which its plugin `rmqtt-sys-topic` publishes. The topics are those of EMQX, but an end does not say when
//! its session began: the address names the connection that ended.

use std::borrow::Cow;

use serde::Deserialize;

use crate::name::is_valid_name;
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};

/// What to subscribe to. The client id may hold `/`.
pub const FILTERS: &[&str] = &["$SYS/brokers/+/clients/#"];

/// The type of every device of this format.
pub const DEVICE_TYPE: &str = "mqtt";

/// The reason of a session that another connection has taken over.
const TAKEN_OVER: &str = "Kicked";

#[derive(Deserialize)]
struct ClientEvent<'a> {
    /// The address with its port. A client keeps it for one connection.
    #[serde(borrow, default)]
    ipaddress: Option<Cow<'a, str>>,
    /// In milliseconds, by the clock of the node; 0 where the node does not know.
    #[serde(default)]
    connected_at: Option<i64>,
    #[serde(default)]
    disconnected_at: Option<i64>,
    /// What led to the end, joined by commas: the cause first.
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(default)]
    proto_ver: Option<u8>,
}

/// Decodes one message.
pub fn decode<'a>(topic: &'a str, payload: &'a [u8]) -> Decoded<'a> {
    let Some((id, is_connect)) = client_of(topic) else { return Decoded::NoMatch };
    if !is_valid_name(id) {
        return Decoded::Undecodable("client_id");
    }
    let Ok(event) = serde_json::from_slice::<ClientEvent<'a>>(payload) else {
        return Decoded::Undecodable("json");
    };
    let kind = match event.reason.as_deref() {
        _ if is_connect => EventKind::Connect,
        Some(reason) if reason.split(',').any(|word| word == TAKEN_OVER) => EventKind::Takeover,
        _ => EventKind::Disconnect,
    };
    let cause = match kind {
        EventKind::Connect | EventKind::Refusal => None,
        EventKind::Takeover => Some(Cause::Takeover),
        EventKind::Disconnect => event.reason.as_deref().and_then(cause_of),
    };
    let at_ms = if is_connect { event.connected_at } else { event.disconnected_at };
    let address = event.ipaddress.as_deref().and_then(without_port).map(|address| address.to_owned().into());
    Decoded::Event(Event {
        device: DeviceName { device_type: DEVICE_TYPE.into(), id: id.into() },
        kind,
        session: Session::Connection(event.ipaddress),
        time: at_ms.filter(|at_ms| *at_ms > 0).and_then(|at_ms| at_ms.checked_mul(1_000_000)).map(UnixNanos),
        cause,
        reason: event.reason.filter(|_| !is_connect),
        address,
        protocol: event.proto_ver.filter(|_| is_connect).map(|version| format!("mqtt{version}").into()),
        parent: None,
    })
}

/// The client id in a topic, and whether it is that of connects.
fn client_of(topic: &str) -> Option<(&str, bool)> {
    let (_node, client) = topic.strip_prefix("$SYS/brokers/")?.split_once('/')?;
    let (id, event) = client.strip_prefix("clients/")?.rsplit_once('/')?;
    match event {
        "connected" => Some((id, true)),
        "disconnected" => Some((id, false)),
        _ => None,
    }
}

/// `None` where there is no port: then it is no address, either.
fn without_port(address: &str) -> Option<&str> {
    let (host, _port) = address.rsplit_once(':')?;
    Some(host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host))
}

fn cause_of(reason: &str) -> Option<Cause> {
    // Some words have details in brackets, or behind a comma.
    let word = reason.split([',', '(']).next()?;
    Some(match word {
        "Disconnect" => Cause::Ended,
        "RemoteClose" | "ReadWriteTimeout" | "ReadWriteError" | "io error" => Cause::Connection,
        "KeepaliveTimeout" => Cause::Timeout,
        "ByAdminKick" | "SessionExpiration" | "HandshakeRateExceeded" | "MessageQueueFull" => Cause::Server,
        "ProtocolError" => Cause::Protocol,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
