//! Sparkplug B: births and deaths of edge nodes and their devices, and the state of host applications.
//!
//! A node is named by its group and node id; a device of a node has the id `node/device` and the node as its parent.

use crate::name::is_valid_name;
use crate::order::EventIdentity;
use crate::protobuf::{Field, Malformed, ProtobufFields, WireValue};
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};

/// What to subscribe to: Sparkplug 3.0, and the host state of 2.2.
pub const FILTERS: &[&str] = &["spBv1.0/#", "STATE/+"];

/// The type of host applications.
pub const HOST_TYPE: &str = "host";

/// No time in milliseconds is so great: it counts nanoseconds, as drafts of Sparkplug 4 do.
const NANOSECONDS_MIN: u64 = 100_000_000_000_000_000;

/// Decodes one message.
pub fn decode<'a>(topic: &'a str, payload: &'a [u8]) -> Decoded<'a> {
    if !topic.starts_with("spBv1.0/") && !topic.starts_with("STATE/") {
        return Decoded::NoMatch;
    }
    let mut levels = topic.split('/');
    match (levels.next(), levels.next()) {
        (Some("STATE"), Some(host)) if levels.next().is_none() => host_state(host, payload),
        (Some("spBv1.0"), Some("STATE")) => match (levels.next(), levels.next()) {
            (Some(host), None) => host_state(host, payload),
            _ => Decoded::Undecodable("topic"),
        },
        (Some("spBv1.0"), Some(group)) => {
            let (Some(verb), Some(node), device, None) =
                (levels.next(), levels.next(), levels.next(), levels.next())
            else {
                return Decoded::Undecodable("topic");
            };
            if ![Some(group), Some(node), device].into_iter().flatten().all(is_valid_name) {
                return Decoded::Undecodable("topic");
            }
            node_message(TopicNames { group, node, device }, verb, payload)
        }
        _ => Decoded::NoMatch,
    }
}

/// What a held birth or death says of its session.
pub fn identity(payload: &[u8]) -> Option<EventIdentity<'static>> {
    let message = PayloadFields::read(payload).ok()?;
    Some(EventIdentity { session: message.session(), time: message.time, cause: None })
}

#[derive(Clone, Copy)]
struct TopicNames<'a> {
    group: &'a str,
    node: &'a str,
    device: Option<&'a str>,
}

impl<'a> TopicNames<'a> {
    fn node(self) -> DeviceName<'a> {
        DeviceName { device_type: self.group.into(), id: self.node.into() }
    }

    fn subject(self) -> DeviceName<'a> {
        match self.device {
            Some(device) => {
                DeviceName { device_type: self.group.into(), id: format!("{}/{device}", self.node).into() }
            }
            None => self.node(),
        }
    }

    fn parent(self) -> Option<DeviceName<'a>> {
        self.device.map(|_device| self.node())
    }
}

fn node_message<'a>(names: TopicNames<'a>, verb: &str, payload: &[u8]) -> Decoded<'a> {
    let subject = names.subject();
    if !is_valid_name(&subject.id) {
        return Decoded::Undecodable("topic");
    }
    let kind = match (verb, names.device) {
        ("NBIRTH", None) | ("DBIRTH", Some(_)) => EventKind::Connect,
        ("NDEATH", None) | ("DDEATH", Some(_)) => EventKind::Disconnect,
        ("NDATA", None) | ("DDATA", Some(_)) => {
            return Decoded::Alive { device: subject, parent: names.parent(), time: sent_at(payload) };
        }
        ("NCMD", None) | ("DCMD", Some(_)) => return Decoded::Ignored("command"),
        _ => return Decoded::Undecodable("topic"),
    };
    let Ok(message) = PayloadFields::read(payload) else { return Decoded::Undecodable("protobuf") };
    // A will is made at the time of the CONNECT, so its time is not that of the death.
    let time = if verb == "NDEATH" { None } else { message.time };
    Decoded::Event(Event {
        device: subject,
        kind,
        session: message.session(),
        time,
        cause: match verb {
            "DDEATH" => Some(Cause::Ended),
            // Either side or the network: a node publishes the same message before it disconnects as the broker does when the
            // connection broke.
            "NDEATH" => Some(Cause::Connection),
            _ => None,
        },
        reason: None,
        address: None,
        protocol: None,
        parent: names.parent(),
    })
}

/// The three fields of a payload that presence needs.
struct PayloadFields {
    time: Option<UnixNanos>,
    birth: Option<u64>,
    sequence: Option<u8>,
}

impl PayloadFields {
    fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut message = Self { time: None, birth: None, sequence: None };
        for field in ProtobufFields::new(payload) {
            let field = field?;
            match (field.number, field.value) {
                (1, WireValue::Varint(time)) => message.time = nanos(time),
                (2, WireValue::Bytes(metric)) => message.birth = birth_number(metric)?.or(message.birth),
                (3, WireValue::Varint(sequence)) => message.sequence = u8::try_from(sequence).ok(),
                _ => {}
            }
        }
        Ok(message)
    }

    fn session(&self) -> Session<'static> {
        Session::Matched { birth: self.birth, sequence: self.sequence }
    }
}

/// When data was sent. Encoders write the time first, so the metrics behind it need not be read.
fn sent_at(payload: &[u8]) -> Option<UnixNanos> {
    let is_time = |field: &Field<'_>| field.number == 1;
    match ProtobufFields::new(payload).map_while(Result::ok).find(is_time)?.value {
        WireValue::Varint(time) => nanos(time),
        WireValue::Fixed64(_) | WireValue::Bytes(_) | WireValue::Fixed32(_) => None,
    }
}

/// The value of the metric if it is `bdSeq`, whichever of the two integer fields it is in.
fn birth_number(metric: &[u8]) -> Result<Option<u64>, Malformed> {
    let (mut is_birth_number, mut value) = (false, None);
    for field in ProtobufFields::new(metric) {
        let field = field?;
        match (field.number, field.value) {
            (1, WireValue::Bytes(name)) => is_birth_number = name == b"bdSeq",
            (10 | 11, WireValue::Varint(number)) => value = Some(number),
            _ => {}
        }
    }
    Ok(value.filter(|_number| is_birth_number))
}

fn nanos(time: u64) -> Option<UnixNanos> {
    let time = i64::try_from(time).ok()?;
    let nanos = if time.unsigned_abs() >= NANOSECONDS_MIN { Some(time) } else { time.checked_mul(1_000_000) };
    nanos.map(UnixNanos)
}

/// `{"online":true,"timestamp":ms}`, or `ONLINE` and `OFFLINE` of Sparkplug 2.2.
fn host_state<'a>(host: &'a str, payload: &[u8]) -> Decoded<'a> {
    #[derive(serde::Deserialize)]
    struct HostState {
        online: bool,
        timestamp: Option<u64>,
    }
    if !is_valid_name(host) {
        return Decoded::Undecodable("topic");
    }
    let device = DeviceName { device_type: HOST_TYPE.into(), id: host.into() };
    let state = match payload {
        b"" => return Decoded::Removed(device),
        b"ONLINE" => HostState { online: true, timestamp: None },
        b"OFFLINE" => HostState { online: false, timestamp: None },
        json => match serde_json::from_slice(json) {
            Ok(state) => state,
            Err(_malformed) => return Decoded::Undecodable("host_state"),
        },
    };
    let started = state.timestamp.and_then(nanos);
    Decoded::Event(Event {
        device,
        kind: if state.online { EventKind::Connect } else { EventKind::Disconnect },
        // The will repeats the time of the birth; a later time at the end ranks above it just as well.
        session: started.map_or(Session::Arrival, Session::Started),
        time: started.filter(|_started| state.online),
        cause: None,
        reason: None,
        address: None,
        protocol: None,
        parent: None,
    })
}

#[cfg(test)]
mod tests;
