//! The few MQTT control packets that a subscriber and a publisher of retained messages need, 3.1.1 and 5, as bytes. Pure: no
//! socket, no clock.
//!
//! Own code because populating is what the service exists for: the reader of the socket only looks for packet
//! boundaries and hands whole batches of PUBLISH packets over, which no client library offers; both versions share one
//! path; and a PINGREQ can be sent where a plan needs a barrier.

use super::property::{self, Properties};
use super::settings::{MqttVersion, Will};

/// The largest packet taken from a broker. A status message is below 5 KiB; what is larger is a fault or an attack, and the
/// connection is given up.
pub const PACKET_MAX_BYTES: usize = 1024 * 1024;

/// Messages that an MQTT 5 broker may send before the first of them is acknowledged: a batch of a store, so that the store
/// sets the pace and not the way there and back. MQTT 3.1.1 has no way to say so; its brokers have limits of their own.
const RECEIVE_MAX: u16 = 4_096;

/// The packet types that a broker sends to us.
pub mod kind {
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const SUBACK: u8 = 9;
    pub const UNSUBACK: u8 = 11;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}

/// What a broker sent that is not MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedPacket {
    #[error("a packet length of more than four bytes")]
    Length,
    #[error("a packet of {len} bytes, where at most {PACKET_MAX_BYTES} are taken")]
    TooLarge { len: usize, publish: bool },
    #[error("a packet shorter than its own fields")]
    Truncated,
    #[error("a packet of type {0}, which no broker sends to this client")]
    Unexpected(u8),
    #[error("a property 0x{0:02x}, which MQTT 5 does not have")]
    PropertyUnknown(u8),
    #[error("the property 0x{0:02x} twice in one packet")]
    PropertyTwice(u8),
    #[error("a value that the property 0x{0:02x} cannot have")]
    PropertyValue(u8),
}

/// One packet as it is in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: type and flags.
    pub head: u8,
    /// What follows the packet length.
    pub body: &'a [u8],
    /// Length of the whole packet.
    pub len: usize,
}

impl Frame<'_> {
    pub fn kind(&self) -> u8 {
        self.head >> 4
    }
}

/// The first packet of the stream; `None` until it is there as a whole.
pub fn frame(stream: &[u8]) -> Result<Option<Frame<'_>>, MalformedPacket> {
    let Some((&head, rest)) = stream.split_first() else { return Ok(None) };
    let mut body_len = 0usize;
    for (i, &byte) in rest.iter().enumerate().take(4) {
        body_len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let start = i + 2;
            let len = start + body_len;
            if len > PACKET_MAX_BYTES {
                return Err(MalformedPacket::TooLarge { len, publish: head >> 4 == kind::PUBLISH });
            }
            return Ok(stream.get(start..len).map(|body| Frame { head, body, len }));
        }
    }
    if rest.len() >= 4 { Err(MalformedPacket::Length) } else { Ok(None) }
}

/// A message from the broker; topic and payload are borrowed from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub topic: &'a [u8],
    pub payload: &'a [u8],
    /// Replayed to a new subscription, not sent when it happened.
    pub retained: bool,
    /// Quality of service 1 and 2: the number to acknowledge.
    pub packet_id: Option<u16>,
}

/// Reads a PUBLISH.
pub fn publish<'a>(frame: &Frame<'a>, version: MqttVersion) -> Result<Publish<'a>, MalformedPacket> {
    let (topic, rest) = text(frame.body)?;
    let quality = (frame.head >> 1) & 3;
    let (packet_id, rest) = if quality == 0 {
        (None, rest)
    } else {
        let (id, rest) = rest.split_first_chunk::<2>().ok_or(MalformedPacket::Truncated)?;
        (Some(u16::from_be_bytes(*id)), rest)
    };
    let payload = skip_properties(rest, version)?;
    Ok(Publish { topic, payload, retained: frame.head & 1 == 1, packet_id })
}

/// Whether a PUBLISH of MQTT 5 has a topic alias.
pub fn has_topic_alias(frame: &Frame<'_>) -> bool {
    let Ok((_, rest)) = text(frame.body) else { return false };
    let id_len = if frame.head & 0b110 == 0 { 0 } else { 2 };
    let block = rest.get(id_len..).and_then(|rest| property::block(rest).ok());
    block.is_some_and(|(block, _)| property::has_topic_alias(block))
}

/// The broker's answer to CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// 0: accepted; else the reason, numbered differently in 3.1.1 and 5.
    pub code: u8,
    pub properties: Properties,
}

pub fn connack(body: &[u8], version: MqttVersion) -> Result<Connack, MalformedPacket> {
    let [_flags, code, rest @ ..] = body else { return Err(MalformedPacket::Truncated) };
    let (properties, _) = properties(rest, version)?;
    Ok(Connack { code: *code, properties })
}

/// The broker's answer to a PUBLISH at quality of service 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puback {
    pub packet_id: u16,
    /// Below 0x80 the broker has the message; only MQTT 5 can refuse one.
    pub code: u8,
}

pub fn read_puback(body: &[u8]) -> Result<Puback, MalformedPacket> {
    let (id, rest) = body.split_first_chunk::<2>().ok_or(MalformedPacket::Truncated)?;
    Ok(Puback { packet_id: u16::from_be_bytes(*id), code: rest.first().copied().unwrap_or(0) })
}

/// The broker's answer to SUBSCRIBE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suback {
    pub packet_id: u16,
    /// One for each filter: the quality granted, or from 0x80 on the refusal.
    pub codes: Vec<u8>,
    pub properties: Box<Properties>,
}

pub fn suback(body: &[u8], version: MqttVersion) -> Result<Suback, MalformedPacket> {
    let (id, rest) = body.split_first_chunk::<2>().ok_or(MalformedPacket::Truncated)?;
    let (properties, codes) = properties(rest, version)?;
    Ok(Suback { packet_id: u16::from_be_bytes(*id), codes: codes.to_vec(), properties: Box::new(properties) })
}

/// The DISCONNECT of an MQTT 5 broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// 0 where it gives none.
    pub code: u8,
    pub properties: Properties,
}

pub fn disconnect(body: &[u8]) -> Result<Disconnect, MalformedPacket> {
    let (code, rest) = body.split_first().unwrap_or((&0, &[]));
    let (properties, _) = property::read(rest)?;
    Ok(Disconnect { code: *code, properties })
}

fn properties(body: &[u8], version: MqttVersion) -> Result<(Properties, &[u8]), MalformedPacket> {
    match version {
        MqttVersion::V311 => Ok((Properties::default(), body)),
        MqttVersion::V5 => property::read(body),
    }
}

/// What goes into a CONNECT.
#[derive(Clone, Copy)]
pub struct Connect<'a> {
    pub version: MqttVersion,
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    pub password: Option<&'a str>,
    pub keep_alive_s: u16,
    pub clean_session: bool,
    pub session_expiry_s: u32,
    pub will: Option<&'a Will>,
}

impl Connect<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, "MQTT");
        body.push(match self.version {
            MqttVersion::V311 => 4,
            MqttVersion::V5 => 5,
        });
        let flag = |set: bool, bit: u8| if set { 1 << bit } else { 0 };
        body.push(
            flag(self.user_name.is_some(), 7)
                | flag(self.password.is_some(), 6)
                | self.will.map_or(0, |_| WILL_FLAGS)
                | flag(self.clean_session, 1),
        );
        body.extend_from_slice(&self.keep_alive_s.to_be_bytes());
        if self.version == MqttVersion::V5 {
            let mut properties = vec![0x11];
            properties.extend_from_slice(&self.session_expiry_s.to_be_bytes());
            properties.push(0x21);
            properties.extend_from_slice(&RECEIVE_MAX.to_be_bytes());
            properties.push(0x27);
            properties.extend_from_slice(&(PACKET_MAX_BYTES as u32).to_be_bytes());
            put_length(&mut body, properties.len());
            body.extend_from_slice(&properties);
        }
        put_text(&mut body, self.client_id);
        if let Some(Will { topic, payload }) = self.will {
            put_no_properties(&mut body, self.version);
            put_text(&mut body, topic);
            put_text(&mut body, payload);
        }
        for text in [self.user_name, self.password].into_iter().flatten() {
            put_text(&mut body, text);
        }
        packet(0x10, &body)
    }
}

/// The flags of a CONNECT with a will: there is one, at quality of service 1, and the broker retains it.
const WILL_FLAGS: u8 = 1 << 2 | 1 << 3 | 1 << 5;

/// A SUBSCRIBE of one or more filters, all at quality of service `quality`.
pub fn subscribe(version: MqttVersion, packet_id: u16, filters: &[impl AsRef<str>], quality: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_no_properties(&mut body, version);
    for filter in filters {
        put_text(&mut body, filter.as_ref());
        body.push(quality);
    }
    packet(0x82, &body)
}

pub fn unsubscribe(version: MqttVersion, packet_id: u16, filters: &[impl AsRef<str>]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_no_properties(&mut body, version);
    for filter in filters {
        put_text(&mut body, filter.as_ref());
    }
    packet(0xa2, &body)
}

pub fn puback(packet_id: u16) -> Vec<u8> {
    packet(0x40, &packet_id.to_be_bytes())
}

/// Appends a PUBLISH, at quality of service 1 if it has a number to acknowledge and else at 0. The topic has at most 65,535 bytes.
pub fn put_publish(packets: &mut Vec<u8>, version: MqttVersion, publish: &Publish<'_>) {
    let properties_len = usize::from(version == MqttVersion::V5);
    let (quality, id_len) = if publish.packet_id.is_some() { (1, 2) } else { (0, 0) };
    packets.push(0x30 | quality << 1 | u8::from(publish.retained));
    put_length(packets, 2 + publish.topic.len() + id_len + properties_len + publish.payload.len());
    packets.extend_from_slice(&(publish.topic.len() as u16).to_be_bytes());
    packets.extend_from_slice(publish.topic);
    packets.extend(publish.packet_id.into_iter().flat_map(u16::to_be_bytes));
    put_no_properties(packets, version);
    packets.extend_from_slice(publish.payload);
}

pub const PINGREQ: [u8; 2] = [0xc0, 0];
pub const DISCONNECT: [u8; 2] = [0xe0, 0];

/// A DISCONNECT with a reason. MQTT 3.1.1 has none.
pub fn disconnect_for(version: MqttVersion, reason: u8) -> Vec<u8> {
    match version {
        MqttVersion::V311 => DISCONNECT.to_vec(),
        MqttVersion::V5 => packet(0xe0, &[reason]),
    }
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(body.len() + 5);
    packet.push(head);
    put_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

fn put_length(packet: &mut Vec<u8>, mut len: usize) {
    while len >= 0x80 {
        packet.push(len as u8 | 0x80);
        len >>= 7;
    }
    packet.push(len as u8);
}

/// A text longer than its two length bytes can say is cut; settings are checked to be far shorter.
fn put_text(packet: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u16::MAX))];
    packet.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    packet.extend_from_slice(bytes);
}

fn put_no_properties(packet: &mut Vec<u8>, version: MqttVersion) {
    if version == MqttVersion::V5 {
        packet.push(0);
    }
}

pub(crate) fn text(body: &[u8]) -> Result<(&[u8], &[u8]), MalformedPacket> {
    let (len, rest) = body.split_first_chunk::<2>().ok_or(MalformedPacket::Truncated)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(MalformedPacket::Truncated)
}

/// MQTT 5 puts properties before the payload; none of them matters here.
fn skip_properties(body: &[u8], version: MqttVersion) -> Result<&[u8], MalformedPacket> {
    match version {
        MqttVersion::V311 => Ok(body),
        MqttVersion::V5 => property::block(body).map(|(_, rest)| rest),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_publish_is_read_in_both_versions() {
        let v311 = [0x31, 7, 0, 3, b'a', b'/', b'b', b'h', b'i'];
        let v5 = [0x30, 11, 0, 3, b'a', b'/', b'b', 3, 2, 0, 0, b'h', b'i'];
        for (bytes, version, retained) in
            [(&v311[..], MqttVersion::V311, true), (&v5[..], MqttVersion::V5, false)]
        {
            let frame = frame(bytes).unwrap().unwrap();
            assert_eq!(frame.kind(), kind::PUBLISH);
            let expected = Publish { topic: b"a/b", payload: b"hi", retained, packet_id: None };
            assert_eq!(publish(&frame, version).unwrap(), expected);
        }
    }

    #[test]
    fn quality_one_carries_a_packet_id() {
        let bytes = [0x32, 6, 0, 1, b'a', 0x12, 0x34, b'x'];
        let frame = frame(&bytes).unwrap().unwrap();
        let read = publish(&frame, MqttVersion::V311).unwrap();
        assert_eq!((read.packet_id, read.payload), (Some(0x1234), &b"x"[..]));
    }

    #[test]
    fn what_is_published_is_read_as_it_was_and_so_is_its_acknowledgement() {
        for version in [MqttVersion::V311, MqttVersion::V5] {
            for packet_id in [None, Some(0x1234)] {
                let sent = Publish { topic: b"a/b", payload: &[7; 200], retained: true, packet_id };
                let mut bytes = Vec::new();
                put_publish(&mut bytes, version, &sent);
                let frame = frame(&bytes).unwrap().unwrap();
                assert_eq!((frame.len, publish(&frame, version)), (bytes.len(), Ok(sent)));
            }
        }
        let puback = |bytes: &[u8]| read_puback(frame(bytes).unwrap().unwrap().body);
        assert_eq!(puback(&super::puback(0x1234)), Ok(Puback { packet_id: 0x1234, code: 0 }));
        let refused = Puback { packet_id: 1, code: 0x97 };
        assert_eq!(puback(&[0x40, 4, 0, 1, 0x97, 0]), Ok(refused));
        assert_eq!(puback(&[0x40, 1, 0]), Err(MalformedPacket::Truncated));
    }

    #[test]
    fn a_will_is_between_client_id_and_user_name() {
        let will = Will { topic: "p/service".to_owned(), payload: "offline".to_owned() };
        for (version, properties) in [(MqttVersion::V311, &b""[..]), (MqttVersion::V5, &b"\0"[..])] {
            let connect = Connect {
                version,
                client_id: "me",
                user_name: Some("user"),
                password: None,
                keep_alive_s: 60,
                clean_session: true,
                session_expiry_s: 0,
                will: Some(&will),
            };
            let bytes = connect.encode();
            // User name, will retained, will at quality of service 1, will, clean session.
            assert_eq!(bytes[9], 0b1010_1110);
            let tail = [b"\0\x02me", properties, b"\0\x09p/service\0\x07offline\0\x04user"].concat();
            assert!(bytes.ends_with(&tail), "{bytes:?}");
            let without = Connect { will: None, ..connect }.encode();
            assert_eq!(without[9], 0b1000_0010);
        }
    }

    #[test]
    fn a_packet_counts_only_when_whole() {
        let bytes = packet(0x30, &[0; 300]);
        for cut in 0..bytes.len() {
            assert_eq!(frame(&bytes[..cut]).unwrap(), None);
        }
        assert_eq!(frame(&bytes).unwrap().unwrap().len, bytes.len());
    }

    #[test]
    fn malformed_packets_are_named() {
        assert_eq!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]), Err(MalformedPacket::Length));
        assert!(matches!(
            frame(&[0x30, 0xff, 0xff, 0xff, 0x7f]),
            Err(MalformedPacket::TooLarge { publish: true, .. })
        ));
        let short = Frame { head: 0x30, body: &[0, 9, b'a'], len: 5 };
        assert_eq!(publish(&short, MqttVersion::V311), Err(MalformedPacket::Truncated));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            for version in [MqttVersion::V311, MqttVersion::V5] {
                if let Ok(Some(frame)) = frame(&bytes) {
                    let _ = publish(&frame, version);
                    let _ = has_topic_alias(&frame);
                    let _ = connack(frame.body, version);
                    let _ = disconnect(frame.body);
                    let _ = suback(frame.body, version);
                    let _ = read_puback(frame.body);
                }
            }
        }
    }
}
