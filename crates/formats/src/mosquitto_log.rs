//! Lines of mosquitto's log, as `log_dest topic` publishes them. Three generations of wording are known: up to 1.6, 2.0
//! and 2.1.
//!
//! A client id may contain anything, also the broker's own words. So each line is read from both ends: the words before
//! the id are fixed, the words after it are looked for from the right.

use std::borrow::Cow;
use std::net::IpAddr;

use crate::name::is_valid_name;
use crate::order::EventIdentity;
use crate::{BrokerEvent, Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};

/// What to subscribe to.
pub const FILTERS: &[&str] = &["$SYS/broker/log/+", "$SYS/broker/clients/connected", "$SYS/broker/uptime"];

/// The type of every device of this format.
pub const DEVICE_TYPE: &str = "mqtt";

/// mosquitto cuts a line here; the end that tells what it means is then lost.
const LINE_MAX_BYTES: usize = 1_000;

/// A timestamp written by `log_timestamp_format` is not longer; what follows it starts with words that are known.
const TIMESTAMP_MAX_BYTES: usize = 64;

/// The words before the client id.
const CONNECTED: &[&str] = &["New client connected from ", "New bridge connected from "];
const CLIENT: &str = "Client ";
const SOCKET_ERROR: &str = "Socket error on client ";
const BAD_SOCKET: &str = "Bad socket read/write on client ";
const VERSION: &str = "mosquitto version ";

/// What is in place of a client id in lines about a connection that has none, up to 2.0.
const NO_CLIENT_ID: &str = "<unknown>";

/// The words after the client id, where they are fixed, with the reason and its class.
const ENDS: &[(&str, &str, Cause)] = &[
    (" has exceeded timeout, disconnecting.", "exceeded timeout", Cause::Timeout),
    (" been disconnected by administrative action.", "administrative action", Cause::Server),
    (" disconnected, no longer authorised.", "no longer authorised", Cause::Refused),
    (" disconnected, not authorised.", "not authorised", Cause::Refused),
    (" closed its connection.", "closed its connection", Cause::Connection),
    (" disconnected.", "disconnected", Cause::Ended),
];
const TAKEN_OVER: &str = " already connected, closing old connection.";

/// The words before a reason that is free text.
const REASON_MARKS: &[&str] = &[" disconnected: ", " disconnected due to "];

/// Decodes one message.
pub fn decode<'a>(topic: &str, payload: &'a [u8]) -> Decoded<'a> {
    match topic {
        "$SYS/broker/clients/connected" => match whole_number(payload) {
            Some(clients) => Decoded::Broker(BrokerEvent::Connected(clients)),
            None => Decoded::Undecodable("no_number"),
        },
        "$SYS/broker/uptime" => match payload.strip_suffix(b" seconds").and_then(whole_number) {
            Some(seconds) => Decoded::Broker(BrokerEvent::UptimeSeconds(seconds)),
            None => Decoded::Undecodable("no_number"),
        },
        _ if topic.strip_prefix("$SYS/broker/log/").is_some_and(|severity| !severity.contains('/')) => {
            decode_line(payload)
        }
        _ => Decoded::NoMatch,
    }
}

/// What the held message says of its connection.
pub fn identity(payload: &[u8]) -> Option<EventIdentity<'_>> {
    match decode_line(payload) {
        Decoded::Event(event) => Some(event.into_identity()),
        _ => None,
    }
}

fn whole_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn decode_line(payload: &[u8]) -> Decoded<'_> {
    let Ok(line) = std::str::from_utf8(payload) else {
        return Decoded::Undecodable(if payload.len() >= LINE_MAX_BYTES { "cut_line" } else { "not_utf8" });
    };
    let (time, text) = split_timestamp(line.strip_suffix('\n').unwrap_or(line));
    if let Some(rest) = CONNECTED.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        return connect(rest).map_or_else(
            || Decoded::Undecodable(if line.len() >= LINE_MAX_BYTES { "cut_line" } else { "connect_line" }),
            |line| line.into_decoded(time),
        );
    }
    if text.starts_with(VERSION) && text.ends_with(" starting") {
        return Decoded::Broker(BrokerEvent::Started);
    }
    if let Some(rest) = text.strip_prefix(SOCKET_ERROR) {
        return match rest.strip_suffix(", disconnecting.") {
            Some(id) => LogLine::end(id, "socket error", Cause::Connection).into_decoded(time),
            None => Decoded::Undecodable("cut_line"),
        };
    }
    if let Some(rest) = text.strip_prefix(BAD_SOCKET) {
        return match rest.rsplit_once(": ") {
            Some((id, reason)) => LogLine::end(id, reason, Cause::Connection).into_decoded(time),
            None => Decoded::Undecodable("cut_line"),
        };
    }
    match text.strip_prefix(CLIENT).and_then(end) {
        Some(line) => line.into_decoded(time),
        None if line.len() >= LINE_MAX_BYTES => Decoded::Undecodable("cut_line"),
        None => Decoded::Ignored("other_line"),
    }
}

/// Parts the time in front, if there is one, from the text. Only Unix seconds, mosquitto's default, are read as a time.
fn split_timestamp(line: &str) -> (Option<UnixNanos>, &str) {
    if let Some((digits, text)) = line.split_once(": ")
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
    {
        let nanos = digits.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000_000));
        return (nanos.map(UnixNanos), text);
    }
    if begins_like_a_line(line) {
        return (None, line);
    }
    let ends = line.match_indices(": ").map(|(at, mark)| at + mark.len());
    let text = ends
        .take_while(|end| *end <= TIMESTAMP_MAX_BYTES)
        .map(|end| &line[end..])
        .find(|text| begins_like_a_line(text));
    (None, text.unwrap_or(line))
}

fn begins_like_a_line(text: &str) -> bool {
    let others = [CLIENT, SOCKET_ERROR, BAD_SOCKET, VERSION];
    CONNECTED.iter().chain(&others).any(|prefix| text.starts_with(prefix))
}

/// What a line says of one client.
struct LogLine<'a> {
    id: &'a str,
    kind: EventKind,
    cause: Option<Cause>,
    reason: Option<&'a str>,
    /// The address, with the port if the line has one.
    peer: Option<&'a str>,
}

impl<'a> LogLine<'a> {
    fn end(id: &'a str, reason: &'a str, cause: Cause) -> Self {
        Self { id, kind: EventKind::Disconnect, cause: Some(cause), reason: Some(reason), peer: None }
    }

    fn into_decoded(self, time: Option<UnixNanos>) -> Decoded<'a> {
        let address = self.peer.map(address_of);
        // A login that was refused, or a connection that ended before its CONNECT.
        if self.kind != EventKind::Connect && (self.id == NO_CLIENT_ID || address == Some(self.id)) {
            return Decoded::Ignored("no_client_id");
        }
        if !is_valid_name(self.id) {
            return Decoded::Undecodable("client_id");
        }
        let with_port = self.peer.filter(|peer| Some(*peer) != address);
        Decoded::Event(Event {
            device: DeviceName { device_type: DEVICE_TYPE.into(), id: self.id.into() },
            kind: self.kind,
            session: Session::Connection(with_port.map(Cow::Borrowed)),
            time,
            cause: self.cause,
            reason: self.reason.map(Cow::Borrowed),
            address: address.map(Cow::Borrowed),
            protocol: (self.kind == EventKind::Connect).then_some("MQTT".into()),
            parent: None,
        })
    }
}

/// `A:PORT as ID (p2, c1, k60).`, or with `, u'USER'` after the numbers; up to 1.6 without the port.
fn connect(rest: &str) -> Option<LogLine<'_>> {
    let (peer, rest) = rest.split_once(" as ")?;
    let rest = rest.strip_suffix(").")?;
    // Client ids are less trusted than user names, so what looks like the numbers twice is taken for a part of the id
    // the first time.
    let (head, _user) = match rest.strip_suffix('\'') {
        Some(rest) => rest
            .rmatch_indices(", u'")
            .map(|(at, _)| &rest[..at])
            .find_map(|head| Some((head, numbers(head)?)))?,
        None => (rest, numbers(rest)?),
    };
    let id = &head[..numbers(head)?];
    Some(LogLine { id, kind: EventKind::Connect, cause: None, reason: None, peer: Some(peer) })
}

/// Where ` (p2, c1, k60` begins, if the text ends with it.
fn numbers(text: &str) -> Option<usize> {
    let at = text.rfind(" (p")?;
    let mut fields = text[at + 2..].split(", ");
    let is_number = |field: Option<&str>, letter: char| {
        field
            .and_then(|field| field.strip_prefix(letter))
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let are_numbers =
        is_number(fields.next(), 'p') && is_number(fields.next(), 'c') && is_number(fields.next(), 'k');
    (are_numbers && fields.next().is_none()).then_some(at)
}

/// What follows `Client `.
fn end(rest: &str) -> Option<LogLine<'_>> {
    if let Some(id) = rest.strip_suffix(TAKEN_OVER) {
        let line = LogLine::end(id, "already connected", Cause::Takeover);
        return Some(LogLine { kind: EventKind::Takeover, ..line });
    }
    if let Some((name, reason, cause)) =
        ENDS.iter().find_map(|(suffix, reason, cause)| Some((rest.strip_suffix(suffix)?, *reason, *cause)))
    {
        let (id, peer) = split_peer(name);
        return Some(LogLine { peer, ..LogLine::end(id, reason, cause) });
    }
    let (at, mark) = REASON_MARKS.iter().filter_map(|mark| Some((rest.rfind(mark)?, *mark))).max()?;
    let reason = &rest[at + mark.len()..];
    let reason = match reason.strip_suffix('.') {
        Some(reason) => reason,
        None if reason.starts_with("bad socket read/write: ") => reason,
        None => return None,
    };
    let (id, peer) = split_peer(&rest[..at]);
    let cause = cause_of(reason);
    let kind = if cause == Cause::Takeover { EventKind::Takeover } else { EventKind::Disconnect };
    Some(LogLine { kind, peer, ..LogLine::end(id, reason, cause) })
}

/// `ID [A:PORT]`, since 2.1.
fn split_peer(name: &str) -> (&str, Option<&str>) {
    let parts = name.strip_suffix(']').and_then(|name| name.rsplit_once(" ["));
    match parts {
        Some((id, peer)) if address_of(peer) != peer => (id, Some(peer)),
        _ => (name, None),
    }
}

/// The address without the port. An IPv6 address is not put in brackets, so a short one with a port of four digits reads
/// like a longer address; clients' ports have five.
fn address_of(peer: &str) -> &str {
    if peer.parse::<IpAddr>().is_ok() {
        return peer;
    }
    match peer.rsplit_once(':') {
        Some((address, port)) if port.parse::<u16>().is_ok() && !address.is_empty() => address,
        _ => peer,
    }
}

fn cause_of(reason: &str) -> Cause {
    match reason {
        "exceeded timeout" => Cause::Timeout,
        "session taken over" => Cause::Takeover,
        "administrative action"
        | "server unavailable"
        | "server busy"
        | "out of memory"
        | "quota exceeded"
        | "connection rate exceeded"
        | "implementation specific error" => Cause::Server,
        "not authorised"
        | "bad username or password"
        | "client banned"
        | "bad authentication method"
        | "client identifier not valid"
        | "non-matching http origin" => Cause::Refused,
        "malformed packet"
        | "protocol error"
        | "oversize packet"
        | "oversize payload"
        | "topic alias invalid"
        | "receive maximum exceeded" => Cause::Protocol,
        _ if reason.contains("QoS too high") => Cause::Protocol,
        _ if reason.contains("TLS") => Cause::Tls,
        _ => Cause::Connection,
    }
}

#[cfg(test)]
mod tests;
