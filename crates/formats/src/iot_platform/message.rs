//! The IoT platform's status messages: `iot-2/type/{type}/id/{id}/mon`, one JSON object each.
//!
//! The facts about the format are those that were measured on the platform's broker and read from its source (Eclipse
//! Amlen): what each field means, which may be missing, and what each close code tells of the session.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use crate::iot_platform::fields::{self, FieldReading, Fields};
pub use crate::iot_platform::shorten::STORED_MAX_BYTES;
use crate::iot_platform::{ClientIdMatch, Flaw, Notice, PlatformMessage, Undecodable, repair, shorten};
use presence::payload::{Payload, Piece};
use presence::{Device, EventKind, Moment, PresenceEvent};

/// The filter that matches every device's status.
pub const ALL_DEVICES: &str = "iot-2/type/+/id/+/mon";

/// The filter that matches the status of every device of one type.
pub fn devices_of(device_type: &str) -> String {
    format!("iot-2/type/{device_type}/id/+/mon")
}

/// The topic of one device's status.
pub fn topic(device_type: &str, id: &str) -> String {
    format!("iot-2/type/{device_type}/id/{id}/mon")
}

/// The platform writes its messages into a buffer of 4,096 bytes; sixteen times that is no status message.
pub const PAYLOAD_MAX_BYTES: usize = 64 * 1024;

/// Decodes one message.
pub fn decode<'a>(topic: &'a [u8], payload: &'a [u8]) -> PlatformMessage<'a> {
    match topic_device(topic) {
        Ok(Some(device)) => decode_payload(device, payload),
        Ok(None) => PlatformMessage::Application,
        Err(undecodable) => PlatformMessage::Undecodable(undecodable),
    }
}

/// What a log line shows of a message: the fields an operator reads, as they were received.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusLine<'a> {
    pub time: Cow<'a, str>,
    pub action: Cow<'a, str>,
    pub address: Cow<'a, str>,
    pub reason: Cow<'a, str>,
}

impl<'a> StatusLine<'a> {
    fn of(fields: &Fields<'a>) -> Self {
        Self {
            time: fields::text_or_number(fields.time).unwrap_or_default(),
            action: fields::text(fields.action).unwrap_or_default(),
            address: fields::text_or_number(fields.client_addr).unwrap_or_default(),
            reason: fields::text_or_number(fields.reason).unwrap_or_default(),
        }
    }

    fn into_owned(self) -> StatusLine<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        let Self { time, action, address, reason } = self;
        StatusLine {
            time: owned(time),
            action: owned(action),
            address: owned(address),
            reason: owned(reason),
        }
    }
}

/// The fields for a log line; fields that are missing are empty.
pub fn summary(payload: &[u8]) -> Option<StatusLine<'_>> {
    let json = std::str::from_utf8(payload).ok()?;
    if let Ok(fields) = Fields::read(json) {
        return Some(StatusLine::of(&fields));
    }
    let repaired = repair::repair(json)?;
    let fields = Fields::read(&repaired).ok()?;
    Some(StatusLine::of(&fields).into_owned())
}

/// The client's address, if it is an IPv4 address and can be told without reading the whole message.
pub fn ipv4(message: &Payload) -> Option<Ipv4Addr> {
    message.ipv4_behind(CLIENT_ADDRESS)
}

/// The key of the client's address in compact messages and in status documents.
pub const CLIENT_ADDRESS: Piece = Piece::of(r#"","ClientAddr":""#);

/// The type of the device that a topic names; `None` for every other topic.
pub fn type_in_topic(topic: &[u8]) -> Option<&str> {
    topic_device(topic).ok().flatten().map(|device| device.device_type)
}

/// The device that a topic names, none for an application's topic (its type is empty).
fn topic_device(topic: &[u8]) -> Result<Option<Device<'_>>, Undecodable> {
    let topic = std::str::from_utf8(topic).map_err(|_| Undecodable::ForeignTopic)?;
    let names = topic.strip_prefix("iot-2/type/").and_then(|names| names.strip_suffix("/mon"));
    let (device_type, id) = names.and_then(|names| divide(names, b'/')).ok_or(Undecodable::ForeignTopic)?;
    let id = id.strip_prefix("id/").filter(|id| !id.is_empty() && divide(id, b'/').is_none());
    let id = id.ok_or(Undecodable::ForeignTopic)?;
    if device_type.is_empty() {
        return Ok(None);
    }
    let device = Device { device_type, id };
    if device.fits_topic_levels() { Ok(Some(device)) } else { Err(Undecodable::ImpossibleName) }
}

/// What is before and behind the first of these ASCII characters. In short texts byte after byte is found sooner than with `memchr`.
fn divide(text: &str, at: u8) -> Option<(&str, &str)> {
    let position = text.bytes().position(|byte| byte == at)?;
    Some((&text[..position], &text[position + 1..]))
}

fn decode_payload<'a>(device: Device<'a>, payload: &'a [u8]) -> PlatformMessage<'a> {
    if payload.is_empty() {
        return PlatformMessage::Notice { device, notice: Notice::Cleared };
    }
    let json = match plain_text(payload) {
        Ok(json) => json,
        Err(undecodable) => return PlatformMessage::Undecodable(undecodable),
    };
    match Fields::read(json) {
        Ok(fields) => decode_fields(device, &fields, json, Vec::new()),
        Err(error) => decode_repaired(device, json).unwrap_or_else(|| {
            PlatformMessage::Undecodable(match error.classify() {
                serde_json::error::Category::Data => Undecodable::NotAnObject,
                serde_json::error::Category::Syntax
                | serde_json::error::Category::Eof
                | serde_json::error::Category::Io => Undecodable::NotJson,
            })
        }),
    }
}

/// Bytes that are no JSON, if they are once they have been repaired.
fn decode_repaired<'a>(device: Device<'a>, json: &str) -> Option<PlatformMessage<'a>> {
    let repaired = repair::repair(json)?;
    let fields = Fields::read(&repaired).ok()?;
    Some(decode_fields(device, &fields, &repaired, vec![Flaw::Repaired]))
}

fn decode_fields<'a>(
    device: Device<'a>,
    fields: &Fields<'_>,
    json: &str,
    mut flaws: Vec<Flaw>,
) -> PlatformMessage<'a> {
    let client_id = fields::text_or_number(fields.client_id);
    if client_id.as_ref().is_some_and(|id| id.starts_with("a:") || id.starts_with("A:")) {
        return PlatformMessage::Application;
    }
    let Some(action) = fields::text(fields.action) else {
        return PlatformMessage::Undecodable(Undecodable::NoAction);
    };
    let Some(action) = Action::parse(&action) else {
        return PlatformMessage::Notice { device, notice: Notice::Other };
    };
    let event = event(action, fields, json, &mut flaws);
    if event.kind == EventKind::FailedLogin {
        return PlatformMessage::FailedLogin { device, event, flaws };
    }
    let client_id = compare_client_id(device, client_id.as_deref());
    PlatformMessage::Event { device, event, client_id, flaws }
}

fn plain_text(payload: &[u8]) -> Result<&str, Undecodable> {
    if payload.len() > PAYLOAD_MAX_BYTES {
        return Err(Undecodable::TooLong);
    }
    let json = std::str::from_utf8(payload).map_err(|_| Undecodable::NotUtf8)?;
    if is_too_deep(payload) {
        return Err(Undecodable::TooDeep);
    }
    Ok(json)
}

/// Status messages are flat. The parser takes any depth of a field that it skips, but a client that asks for the message would
/// have to parse it too.
const DEPTH_MAX: usize = 128;

/// Brackets within texts count too; a message with so many of them is none of ours either way.
fn is_too_deep(json: &[u8]) -> bool {
    json.iter().filter(|&&byte| byte == b'{' || byte == b'[').count() > DEPTH_MAX
}

/// The actions that tell something of a device's sessions, or of its trying to begin one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Connect,
    Disconnect,
    FailedConnect,
}

impl Action {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Connect" => Some(Action::Connect),
            "Disconnect" => Some(Action::Disconnect),
            "FailedConnect" => Some(Action::FailedConnect),
            _ => None,
        }
    }
}

/// The client id was reused: another connection took over.
const CLIENT_ID_REUSED: u16 = 288;
/// Not authorised: mostly a login that was refused, at times the end of a session.
const NOT_AUTHORIZED: u16 = 180;

/// How much earlier than its own time a Connect without `ConnectTime` is taken to have begun.
///
/// Such messages come from older platforms, whose Disconnect names a moment just before the Connect's `Time`: a
/// millisecond, as seen. Five times that keeps the two together, and is less than any client needs to come back.
const CONNECT_LAG_NANOS: i64 = 5_000_000;

fn event(action: Action, fields: &Fields<'_>, json: &str, flaws: &mut Vec<Flaw>) -> PresenceEvent {
    let time = usable(fields::moment(fields.time), Flaw::UnusableTime, flaws).unwrap_or(Moment::UNKNOWN);
    let connect_time = usable(fields::moment(fields.connect_time), Flaw::UnusableConnectTime, flaws);
    let close_code = usable(fields::code(fields.close_code), Flaw::UnusableCloseCode, flaws).unwrap_or(0);
    let protocol = fields::text_or_number(fields.protocol).unwrap_or_default();
    let is_request = protocol == "iotrest";
    // An older platform's Connect does not name its session exactly, so a refusal could not be told to be its end.
    let is_older = protocol == "mqtt-tcp";
    let kind = match action {
        Action::FailedConnect => EventKind::FailedLogin,
        Action::Connect | Action::Disconnect if is_request => EventKind::Request,
        Action::Connect => EventKind::Connect,
        Action::Disconnect => match close_code {
            CLIENT_ID_REUSED => EventKind::Takeover,
            NOT_AUTHORIZED if !is_older => EventKind::Refusal,
            _ => EventKind::Disconnect,
        },
    };
    let session = connect_time.unwrap_or(match action {
        Action::Connect => time.earlier_by(CONNECT_LAG_NANOS),
        // It ends whatever session was on at that time.
        Action::Disconnect | Action::FailedConnect => time,
    });
    PresenceEvent { kind, session, time, close_code, payload: kept(json, flaws) }
}

fn usable<T>(reading: FieldReading<T>, flaw: Flaw, flaws: &mut Vec<Flaw>) -> Option<T> {
    match reading {
        FieldReading::Unusable => flaws.push(flaw),
        FieldReading::Absent | FieldReading::Value(_) => {}
    }
    reading.value()
}

/// What is kept of a message: all of it, unless it is longer than any status.
fn kept(json: &str, flaws: &mut Vec<Flaw>) -> Payload {
    if json.len() <= STORED_MAX_BYTES {
        return Payload::pack(json.as_bytes());
    }
    flaws.push(Flaw::Shortened);
    Payload::pack(shorten::shorten(json).as_bytes())
}

/// A device's client id is `d:{org}:{type}:{id}`, a gateway's `g:{org}:{type}:{id}`.
fn compare_client_id(device: Device<'_>, client_id: Option<&str>) -> ClientIdMatch {
    let behind_class = client_id.and_then(|id| id.strip_prefix("d:").or_else(|| id.strip_prefix("g:")));
    let behind_org = behind_class.and_then(|names| divide(names, b':'));
    match behind_org.and_then(|(_org, names)| divide(names, b':')) {
        Some((device_type, id)) if (Device { device_type, id }) == device => ClientIdMatch::Matching,
        Some(_) => ClientIdMatch::Foreign,
        None => ClientIdMatch::Absent,
    }
}
