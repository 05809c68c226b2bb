//! The properties of MQTT 5 packets: what a broker may tell a subscriber beside the packet itself. Pure.
//!
//! What each one means for us is decided in `offer` (CONNACK) and in `connection` (the rest); the whole list is in
//! docs/mqtt.md.

use system::is_unseen;

use super::packet::{MalformedPacket, text};

/// Texts from the broker are kept up to this size: a sentence for a person, who reads no more of it. The rest is cut.
const TEXT_MAX_BYTES: usize = 300;
/// User properties that are kept of one packet, for the log. The others are dropped.
const USER_PROPERTIES_MAX: usize = 8;

/// The properties of one packet. `None` means that the packet does not have the property.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    pub session_expiry_s: Option<u32>,
    pub assigned_client_id: Option<String>,
    pub server_keep_alive_s: Option<u16>,
    pub authentication_method: Option<String>,
    pub response_information: Option<String>,
    pub server_reference: Option<String>,
    pub reason: Option<String>,
    pub receive_maximum: Option<u16>,
    pub topic_alias_maximum: Option<u16>,
    pub maximum_qos: Option<u8>,
    pub retain_available: Option<bool>,
    pub user_properties: Vec<UserProperty>,
    pub maximum_packet_bytes: Option<u32>,
    pub wildcards_available: Option<bool>,
    pub subscription_ids_available: Option<bool>,
    pub shared_available: Option<bool>,
}

/// A name and a value that the protocol gives no meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProperty {
    pub name: String,
    pub value: String,
}

/// How a property's value is written.
enum PropertyType {
    Byte,
    Number2,
    Number4,
    Length,
    Text,
    Bytes,
    Pair,
}

/// A property as it is in the packet.
struct RawProperty<'a> {
    id: u8,
    /// The number, for those that are one.
    number: u32,
    text: &'a [u8],
    value: &'a [u8],
}

/// Reads the properties at the front of `body`; returns them and what follows. A packet may end before them.
pub fn read(body: &[u8]) -> Result<(Properties, &[u8]), MalformedPacket> {
    let mut properties = Properties::default();
    if body.is_empty() {
        return Ok((properties, body));
    }
    let (mut block, rest) = block(body)?;
    let mut seen = 0u64;
    while !block.is_empty() {
        let (raw, after) = one(block)?;
        block = after;
        let bit = 1u64 << raw.id;
        if seen & bit != 0 && !matches!(raw.id, id::USER_PROPERTY | id::SUBSCRIPTION_ID) {
            return Err(MalformedPacket::PropertyTwice(raw.id));
        }
        seen |= bit;
        properties.set(&raw)?;
    }
    Ok((properties, rest))
}

/// The block of properties at the front of `body`, and what follows it.
pub fn block(body: &[u8]) -> Result<(&[u8], &[u8]), MalformedPacket> {
    let (len, rest) = length(body)?;
    rest.split_at_checked(len).ok_or(MalformedPacket::Truncated)
}

/// Whether a block of properties, of a PUBLISH, has a topic alias. What cannot be read has none.
pub fn has_topic_alias(mut block: &[u8]) -> bool {
    while let Ok((raw, rest)) = one(block) {
        if raw.id == id::TOPIC_ALIAS {
            return true;
        }
        block = rest;
    }
    false
}

mod id {
    pub const SUBSCRIPTION_ID: u8 = 0x0b;
    pub const SESSION_EXPIRY: u8 = 0x11;
    pub const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const RESPONSE_INFORMATION: u8 = 0x1a;
    pub const SERVER_REFERENCE: u8 = 0x1c;
    pub const REASON: u8 = 0x1f;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET: u8 = 0x27;
    pub const WILDCARDS: u8 = 0x28;
    pub const SUBSCRIPTION_IDS: u8 = 0x29;
    pub const SHARED: u8 = 0x2a;
}

/// The form of each property that MQTT 5 has, section 2.2.2.2.
fn form(id: u8) -> Option<PropertyType> {
    match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Some(PropertyType::Byte),
        0x13 | 0x21..=0x23 => Some(PropertyType::Number2),
        0x02 | 0x11 | 0x18 | 0x27 => Some(PropertyType::Number4),
        0x0b => Some(PropertyType::Length),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Some(PropertyType::Text),
        0x09 | 0x16 => Some(PropertyType::Bytes),
        0x26 => Some(PropertyType::Pair),
        _ => None,
    }
}

impl Properties {
    fn set(&mut self, raw: &RawProperty<'_>) -> Result<(), MalformedPacket> {
        let wrong = MalformedPacket::PropertyValue(raw.id);
        let flag = || match raw.number {
            0 => Ok(Some(false)),
            1 => Ok(Some(true)),
            _ => Err(wrong),
        };
        let number_2 = u16::try_from(raw.number).map_err(|_| wrong);
        match raw.id {
            id::SESSION_EXPIRY => self.session_expiry_s = Some(raw.number),
            id::ASSIGNED_CLIENT_ID => self.assigned_client_id = Some(shown(raw.text)),
            id::SERVER_KEEP_ALIVE => self.server_keep_alive_s = Some(number_2?),
            id::AUTHENTICATION_METHOD => self.authentication_method = Some(shown(raw.text)),
            id::RESPONSE_INFORMATION => self.response_information = Some(shown(raw.text)),
            id::SERVER_REFERENCE => self.server_reference = Some(shown(raw.text)),
            id::REASON => self.reason = Some(shown(raw.text)),
            id::RECEIVE_MAXIMUM if raw.number == 0 => return Err(wrong),
            id::RECEIVE_MAXIMUM => self.receive_maximum = Some(number_2?),
            id::TOPIC_ALIAS_MAXIMUM => self.topic_alias_maximum = Some(number_2?),
            id::MAXIMUM_QOS if raw.number > 1 => return Err(wrong),
            id::MAXIMUM_QOS => self.maximum_qos = Some(raw.number as u8),
            id::RETAIN_AVAILABLE => self.retain_available = flag()?,
            id::USER_PROPERTY if self.user_properties.len() < USER_PROPERTIES_MAX => {
                self.user_properties.push(UserProperty { name: shown(raw.text), value: shown(raw.value) });
            }
            id::MAXIMUM_PACKET if raw.number == 0 => return Err(wrong),
            id::MAXIMUM_PACKET => self.maximum_packet_bytes = Some(raw.number),
            id::WILDCARDS => self.wildcards_available = flag()?,
            id::SUBSCRIPTION_IDS => self.subscription_ids_available = flag()?,
            id::SHARED => self.shared_available = flag()?,
            // What belongs to PUBLISH packets changes nothing for us, and neither do further user properties.
            _ => {}
        }
        Ok(())
    }
}

/// The first property of a block, and the rest of the block.
fn one(block: &[u8]) -> Result<(RawProperty<'_>, &[u8]), MalformedPacket> {
    let (&id, rest) = block.split_first().ok_or(MalformedPacket::Truncated)?;
    let mut raw = RawProperty { id, number: 0, text: &[], value: &[] };
    let rest = match form(id).ok_or(MalformedPacket::PropertyUnknown(id))? {
        PropertyType::Byte => {
            let (&byte, rest) = rest.split_first().ok_or(MalformedPacket::Truncated)?;
            raw.number = u32::from(byte);
            rest
        }
        PropertyType::Number2 => {
            let (bytes, rest) = rest.split_first_chunk::<2>().ok_or(MalformedPacket::Truncated)?;
            raw.number = u32::from(u16::from_be_bytes(*bytes));
            rest
        }
        PropertyType::Number4 => {
            let (bytes, rest) = rest.split_first_chunk::<4>().ok_or(MalformedPacket::Truncated)?;
            raw.number = u32::from_be_bytes(*bytes);
            rest
        }
        PropertyType::Length => length(rest)?.1,
        PropertyType::Text | PropertyType::Bytes => {
            let (text, rest) = text(rest)?;
            raw.text = text;
            rest
        }
        PropertyType::Pair => {
            let (name, rest) = text(rest)?;
            let (value, rest) = text(rest)?;
            (raw.text, raw.value) = (name, value);
            rest
        }
    };
    Ok((raw, rest))
}

fn length(body: &[u8]) -> Result<(usize, &[u8]), MalformedPacket> {
    let mut len = 0usize;
    for (i, &byte) in body.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((len, &body[i + 1..]));
        }
    }
    Err(MalformedPacket::Truncated)
}

/// A broker's text as it can stand in a log line or an answer: control characters are escaped, and what is long is cut.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut escaped = String::new();
    for character in text.chars() {
        if escaped.len() >= TEXT_MAX_BYTES {
            escaped.push('…');
            break;
        }
        if is_unseen(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(block: &[u8]) -> Vec<u8> {
        let mut body = vec![u8::try_from(block.len()).unwrap()];
        body.extend_from_slice(block);
        body
    }

    #[test]
    fn every_property_of_a_connack_is_read() {
        let block = [
            &[0x11, 0, 0, 1, 0, 0x12, 0, 1, b'c', 0x13, 0, 10, 0x15, 0, 1, b'm', 0x16, 0, 1, 0][..],
            &[0x1a, 0, 1, b'r', 0x1c, 0, 1, b's', 0x1f, 0, 1, b'w', 0x21, 0, 2, 0x22, 0, 3, 0x24, 1, 0x25, 0],
            &[0x26, 0, 1, b'n', 0, 1, b'v', 0x27, 0, 0, 2, 0, 0x28, 0, 0x29, 1, 0x2a, 0],
        ]
        .concat();
        let mut body = packet(&block);
        body.push(0x55);
        let (read, rest) = read(&body).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = Properties {
            session_expiry_s: Some(256),
            assigned_client_id: text("c"),
            server_keep_alive_s: Some(10),
            authentication_method: text("m"),
            response_information: text("r"),
            server_reference: text("s"),
            reason: text("w"),
            receive_maximum: Some(2),
            topic_alias_maximum: Some(3),
            maximum_qos: Some(1),
            retain_available: Some(false),
            user_properties: vec![UserProperty { name: "n".into(), value: "v".into() }],
            maximum_packet_bytes: Some(512),
            wildcards_available: Some(false),
            subscription_ids_available: Some(true),
            shared_available: Some(false),
        };
        assert_eq!((read, rest), (expected, &[0x55][..]));
    }

    #[test]
    fn a_protocol_violation_is_named() {
        for (block, error) in [
            (&[0x7e, 0][..], MalformedPacket::PropertyUnknown(0x7e)),
            (&[0x13, 0, 1, 0x13, 0, 1], MalformedPacket::PropertyTwice(0x13)),
            (&[0x25, 2], MalformedPacket::PropertyValue(0x25)),
            (&[0x24, 2], MalformedPacket::PropertyValue(0x24)),
            (&[0x21, 0, 0], MalformedPacket::PropertyValue(0x21)),
            (&[0x27, 0, 0, 0, 0], MalformedPacket::PropertyValue(0x27)),
            (&[0x13, 0], MalformedPacket::Truncated),
        ] {
            assert_eq!(read(&packet(block)), Err(error), "{block:x?}");
        }
        assert_eq!(read(&[9, 0x25]), Err(MalformedPacket::Truncated), "a block longer than the packet");
        assert_eq!(read(&[]), Ok((Properties::default(), &[][..])));
    }

    #[test]
    fn a_topic_alias_is_found_among_other_properties_of_a_publish() {
        let others =
            [0x01, 1, 0x02, 0, 0, 0, 9, 0x03, 0, 1, b't', 0x08, 0, 1, b'r', 0x09, 0, 1, 0, 0x0b, 0x81, 1];
        assert!(!has_topic_alias(&others));
        assert!(has_topic_alias(&[&others[..], &[0x23, 0, 1]].concat()));
    }

    #[test]
    fn a_text_is_one_short_line() {
        assert_eq!(shown("a\nb\u{1b}[31m\u{2028}ü".as_bytes()), "a\\u{a}b\\u{1b}[31m\\u{2028}ü");
        let long = shown(&[b'x'; 70_000]);
        assert!(long.len() < TEXT_MAX_BYTES + 10 && long.ends_with('…'), "{}", long.len());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = read(&bytes);
            let _ = has_topic_alias(&bytes);
        }
    }
}
