//! Client events of NanoMQ since 0.24.1.
//!
//! NanoMQ writes JSON with `snprintf` into 256 bytes and escapes nothing, so a long or quoted name makes a text that no
//! JSON parser takes. The members are found by scanning instead, in the order in which NanoMQ writes them.

use crate::name::is_valid_name;
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};

/// What to subscribe to. What follows the prefix is the client id.
pub const FILTERS: &[&str] = &["$SYS/brokers/client_status/#"];

/// The type of every device of this format.
pub const DEVICE_TYPE: &str = "mqtt";

const TOPIC: &str = "$SYS/brokers/client_status/";

/// Decodes one message.
pub fn decode<'a>(topic: &'a str, payload: &'a [u8]) -> Decoded<'a> {
    let Some(id) = topic.strip_prefix(TOPIC) else { return Decoded::NoMatch };
    if !is_valid_name(id) {
        return Decoded::Undecodable("client_id");
    }
    // A cut may part a character in two; what comes before it is sound.
    let text = match std::str::from_utf8(payload) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&payload[..error.valid_up_to()]).unwrap_or_default(),
    };
    // The client id, which may hold anything, comes after the members that decide, and the user name before them.
    let id_member = format!("\"client_id\":\"{id}\"");
    let (head, tail) = text.rsplit_once(&id_member).unwrap_or((text, ""));
    let (kind, code) = match word_after(head, "{\"status\":") {
        Some("online") => match last_member(head, "return_code").and_then(quoted) {
            Some("0") => (EventKind::Connect, None),
            Some(code) => (EventKind::Refusal, Some(code)),
            // NanoMQ says "online" of refused logins, too.
            None => return Decoded::Undecodable("cut"),
        },
        Some("offline") => {
            let code = last_member(head, "reason_code").and_then(quoted);
            let is_takeover = code.is_some_and(|code| hex(code) == Some(0x8e));
            (if is_takeover { EventKind::Takeover } else { EventKind::Disconnect }, code)
        }
        _ => return Decoded::Undecodable("status"),
    };
    let cause = match kind {
        EventKind::Connect => None,
        EventKind::Refusal => Some(Cause::Refused),
        EventKind::Disconnect | EventKind::Takeover => code.and_then(hex).and_then(cause_of),
    };
    Decoded::Event(Event {
        device: DeviceName { device_type: DEVICE_TYPE.into(), id: id.into() },
        kind,
        session: Session::Connection(None),
        time: last_member(head, "ts").and_then(time),
        cause,
        reason: code.map(Into::into),
        address: last_member(tail, "IPv4").and_then(quoted).map(Into::into),
        protocol: last_member(head, "proto_name").and_then(quoted).map(Into::into),
        parent: None,
    })
}

/// The quoted word behind a text at the very beginning.
fn word_after<'a>(text: &'a str, beginning: &str) -> Option<&'a str> {
    quoted(text.trim_start().strip_prefix(beginning)?)
}

/// What follows the last member of this name.
fn last_member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mark = format!("\"{name}\":");
    text.rfind(&mark).map(|at| &text[at + mark.len()..])
}

fn quoted(value: &str) -> Option<&str> {
    let (word, _rest) = value.strip_prefix('"')?.split_once('"')?;
    Some(word)
}

/// Milliseconds. Digits at the very end may have been cut, so something must follow them.
fn time(value: &str) -> Option<UnixNanos> {
    let end = value.find(|character: char| !character.is_ascii_digit())?;
    value[..end].parse::<i64>().ok()?.checked_mul(1_000_000).map(UnixNanos)
}

fn hex(code: &str) -> Option<u8> {
    u8::from_str_radix(code, 16).ok()
}

/// MQTT 5 reason codes.
fn cause_of(code: u8) -> Option<Cause> {
    Some(match code {
        0x00 => Cause::Ended,
        0x04 => Cause::Connection,
        0x81 | 0x82 | 0x90 | 0x93 | 0x94 | 0x95 | 0x99 => Cause::Protocol,
        0x87 => Cause::Refused,
        0x83 | 0x89 | 0x8b | 0x96 | 0x97 | 0x98 => Cause::Server,
        0x8d => Cause::Timeout,
        0x8e => Cause::Takeover,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
