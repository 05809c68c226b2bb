//! As much of MQTT 3.1.1 and 5 as the rig speaks, in both roles, written independently of the product's own client.

use std::io::{self, Read};

pub const CONNECT: u8 = 0x10;
pub const CONNACK: u8 = 0x20;
pub const PUBLISH: u8 = 0x30;
pub const PUBACK: u8 = 0x40;
pub const SUBSCRIBE: u8 = 0x80;
pub const SUBACK: u8 = 0x90;
pub const PINGREQ: u8 = 0xC0;
pub const PINGRESP: u8 = 0xD0;
pub const DISCONNECT: u8 = 0xE0;

const RETAIN_FLAG: u8 = 0x01;

/// More than any packet of a test; a larger length means that the stream is out of step.
const PACKET_MAX_BYTES: usize = 16 * 1024 * 1024;

/// One packet as it came from the socket.
pub struct Packet {
    first: u8,
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet type, flags cleared: one of the constants above.
    pub fn kind(&self) -> u8 {
        self.first & 0xF0
    }

    pub fn retain(&self) -> bool {
        self.first & RETAIN_FLAG != 0
    }
}

/// What a CONNECT packet said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// 4 for MQTT 3.1.1, 5 for MQTT 5.
    pub level: u8,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub keep_alive_secs: u16,
    pub clean: bool,
}

/// One filter of a SUBSCRIBE packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    pub filter: String,
    pub qos: u8,
}

/// What a SUBSCRIBE packet asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: u16,
    pub subscriptions: Vec<Subscription>,
}

pub fn read_packet(from: &mut impl Read) -> io::Result<Packet> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    let first = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        from.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
        if shift > 21 {
            return Err(io::Error::other("remaining length of more than four bytes"));
        }
    }
    if length > PACKET_MAX_BYTES {
        return Err(io::Error::other(format!("a packet of {length} bytes")));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Packet { first, body })
}

/// Appends a packet to `out`; `first` is the packet type with its flags.
pub fn write_packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    write_length(out, body.len());
    out.extend_from_slice(body);
}

fn write_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// A message at QoS 0, the only one that the platform sends its statuses with.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub retain: bool,
}

/// Appends a PUBLISH packet of the protocol level to `out`.
pub fn write_publish(out: &mut Vec<u8>, level: u8, message: Message<'_>) {
    let properties: &[u8] = if level == 5 { &[0] } else { &[] };
    out.push(PUBLISH | if message.retain { RETAIN_FLAG } else { 0 });
    write_length(out, 2 + message.topic.len() + properties.len() + message.payload.len());
    write_text(out, message.topic);
    out.extend_from_slice(properties);
    out.extend_from_slice(message.payload);
}

/// A PUBLISH packet of MQTT 3.1.1 at QoS 1, not retained.
pub fn publish_acknowledged(packet_id: u16, topic: &str, payload: &[u8]) -> Vec<u8> {
    const QOS_1: u8 = 0x02;
    let mut body = Vec::new();
    write_text(&mut body, topic);
    body.extend_from_slice(&packet_id.to_be_bytes());
    body.extend_from_slice(payload);
    let mut out = Vec::new();
    write_packet(&mut out, PUBLISH | QOS_1, &body);
    out
}

/// A CONNECT packet of MQTT 3.1.1 with a clean session.
pub fn connect(client_id: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    const KEEP_ALIVE_SECS: u16 = 60;
    let flags = if login.is_some() { 0b1100_0010 } else { 0b0000_0010 };
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags];
    body.extend_from_slice(&KEEP_ALIVE_SECS.to_be_bytes());
    write_text(&mut body, client_id);
    if let Some((user, password)) = login {
        write_text(&mut body, user);
        write_text(&mut body, password);
    }
    let mut out = Vec::new();
    write_packet(&mut out, CONNECT, &body);
    out
}

/// A SUBSCRIBE packet of MQTT 3.1.1.
pub fn subscribe(packet_id: u16, subscriptions: &[Subscription]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for subscription in subscriptions {
        write_text(&mut body, &subscription.filter);
        body.push(subscription.qos);
    }
    let mut out = Vec::new();
    write_packet(&mut out, SUBSCRIBE | 0x02, &body);
    out
}

/// A CONNACK packet with the return code of MQTT 3.1.1 or the reason code of MQTT 5.
pub fn connack(level: u8, code: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let body: &[u8] = if level == 5 { &[0, code, 0] } else { &[0, code] };
    write_packet(&mut out, CONNACK, body);
    out
}

/// A SUBACK packet with one code per filter.
pub fn suback(level: u8, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if level == 5 {
        body.push(0);
    }
    body.extend_from_slice(codes);
    let mut out = Vec::new();
    write_packet(&mut out, SUBACK, &body);
    out
}

pub fn pingresp() -> Vec<u8> {
    vec![PINGRESP, 0]
}

/// Reads the body of a packet from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()?;
        String::from_utf8(self.take(usize::from(length))?.to_vec()).ok()
    }

    /// Passes over the properties of an MQTT 5 packet; none of the tests needs one.
    fn skip_properties(&mut self) -> Option<()> {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.take(length).map(drop)
    }
}

pub fn parse_connect(body: &[u8]) -> Option<Connect> {
    let mut fields = Fields(body);
    (fields.text()? == "MQTT").then_some(())?;
    let level = fields.byte()?;
    let flags = fields.byte()?;
    let keep_alive_secs = fields.number()?;
    if level == 5 {
        fields.skip_properties()?;
    }
    let client_id = fields.text()?;
    // A will would stand here; a service that only listens has none.
    (flags & 0b100 == 0).then_some(())?;
    let user = if flags & 0x80 != 0 { Some(fields.text()?) } else { None };
    let password = if flags & 0x40 != 0 { Some(fields.text()?) } else { None };
    Some(Connect { level, client_id, user, password, keep_alive_secs, clean: flags & 0b10 != 0 })
}

pub fn parse_subscribe(level: u8, body: &[u8]) -> Option<Subscribe> {
    let mut fields = Fields(body);
    let packet_id = fields.number()?;
    if level == 5 {
        fields.skip_properties()?;
    }
    let mut subscriptions = Vec::new();
    while !fields.0.is_empty() {
        // The low two bits are the QoS; the others are options of MQTT 5.
        subscriptions.push(Subscription { filter: fields.text()?, qos: fields.byte()? & 0b11 });
    }
    Some(Subscribe { packet_id, subscriptions })
}

/// What an UNSUBSCRIBE packet asked for.
pub struct Unsubscribe {
    pub packet_id: u16,
    pub filters: Vec<String>,
}

pub fn parse_unsubscribe(level: u8, body: &[u8]) -> Option<Unsubscribe> {
    let mut fields = Fields(body);
    let packet_id = fields.number()?;
    if level == 5 {
        fields.skip_properties()?;
    }
    let mut filters = Vec::new();
    while !fields.0.is_empty() {
        filters.push(fields.text()?);
    }
    Some(Unsubscribe { packet_id, filters })
}

/// Topic and payload of a PUBLISH of quality of service 0, in the version of its sender.
pub fn parse_published(level: u8, body: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut fields = Fields(body);
    let topic = fields.text()?;
    if level == 5 {
        fields.skip_properties()?;
    }
    Some((topic, fields.0.to_vec()))
}

/// Topic and payload of a PUBLISH at QoS 0 of MQTT 3.1.1.
pub fn parse_publish(body: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut fields = Fields(body);
    Some((fields.text()?, fields.0.to_vec()))
}

/// Whether the topic filter, with `+` and `#`, matches the topic.
pub fn matches(filter: &str, topic: &str) -> bool {
    // A wildcard in the first level does not match the broker's own topics.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            (_, Some(_) | None) => return false,
        }
    }
    levels.next().is_none()
}
