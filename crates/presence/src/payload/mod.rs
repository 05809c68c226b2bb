//! The bytes of one status message, held small: [`Payload::pack`] takes them, [`Payload::unpack`] gives exactly the same
//! bytes back. What the message means is not known here. A message of another source than the IoT platform has that source's
//! name before it.
//!
//! Ten million devices times three hundred bytes of JSON do not fit a small machine. Nearly all of those bytes are the
//! same in every message, so a payload is kept as a program of small operations: a piece of the [`dictionary`], a time
//! as milliseconds, an IPv4 address as four bytes, a number as a variable-length integer, and literal text for all the
//! rest. Any bytes can be packed, JSON or not; what fits no operation stays literal. A general compressor was
//! rejected: without shared state it cannot shrink three hundred bytes to fifty, and one lookup must stay well under a
//! microsecond.

mod dictionary;
mod document;
mod document_packer;
mod operations;
mod pack;
pub mod skeleton;
mod unpack;

use std::cmp::Ordering;
use std::fmt;
use std::net::Ipv4Addr;

pub use document_packer::DocumentPacker;
pub use operations::{Operation, Operations};

/// One message's bytes, packed. Two payloads are equal exactly if the bytes they stand for are, and their source.
#[derive(Clone)]
pub struct Payload(Box<[u8]>);

impl Payload {
    /// Packs any bytes.
    pub fn pack(bytes: &[u8]) -> Self {
        pack::with_packed(bytes, |packed| Self(packed.into()))
    }

    /// Packs the bytes of a message of another source than the IoT platform, whose messages name none. A name has at most
    /// [`SOURCE_MAX_BYTES`]; of a longer one the rest is left out.
    pub fn pack_of(source: &str, bytes: &[u8]) -> Self {
        let mut packer = DocumentPacker::new(source);
        packer.rest(bytes);
        packer.finish()
    }

    /// Packs a document and the message that it was made of, which is held as it came and put into the document when that is
    /// unpacked: see [`document`]. Messages of one sender resemble each other as those of the platform do, but not once they are
    /// texts within JSON.
    pub fn pack_document(source: &str, document: &[u8], message: &SourceMessage<'_>) -> Self {
        let mut packer = DocumentPacker::new(source);
        packer.rest(document);
        packer.with_message(message)
    }

    /// The source that was named when it was packed.
    pub fn source(&self) -> Option<&str> {
        let (&code, rest) = self.0.split_first()?;
        let (&len, rest) = rest.split_first().filter(|_| code == op::SOURCE)?;
        std::str::from_utf8(rest.get(..usize::from(len))?).ok()
    }

    /// Whether a source was named.
    pub fn has_source(&self) -> bool {
        self.0.first() == Some(&op::SOURCE)
    }

    /// The bytes that were packed.
    pub fn unpack(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(UNPACKED_CAPACITY);
        unpack::unpack(&self.0, &mut bytes);
        bytes
    }

    /// The same without the message, if that is held beside a document.
    pub fn document(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(UNPACKED_CAPACITY);
        unpack::document(&self.0, &mut bytes);
        bytes
    }

    /// The bytes of the message that is held beside a document, and whether it was longer.
    pub fn message(&self) -> Option<(Vec<u8>, bool)> {
        unpack::message(&self.0)
    }

    /// The IPv4 address that is the whole text behind this piece; `None` if it is none, or if that cannot be told without unpacking.
    /// Takes a tenth of the time that unpacking does.
    pub fn ipv4_behind(&self, piece: Piece) -> Option<Ipv4Addr> {
        unpack::ipv4_behind(&self.0, piece.0)
    }

    /// The word that follows the first occurrence in a document of this piece of text, or of this text that is no piece, where
    /// all of it was packed as it is, up to a quotation mark.
    pub fn word_behind(&self, piece: Piece, text: &str) -> WordSearch<'_> {
        unpack::word_behind(&self.0, piece.0, text.as_bytes())
    }

    /// The operations of a document, without the message that is held beside it.
    pub fn operations(&self) -> Operations<'_> {
        Operations(&self.0)
    }

    /// What follows this text in a document; `None`: it is not there, or neither begins a piece nor was packed as it is.
    pub fn document_behind(&self, text: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(DOCUMENT_END_CAPACITY);
        unpack::document_behind(&self.0, text.as_bytes(), &mut bytes).then_some(bytes)
    }

    /// Takes up again what [`Payload::packed`] gave, in this process or an earlier one.
    pub fn from_packed(packed: &[u8]) -> Self {
        Self(packed.into())
    }

    /// The packed bytes, to be kept elsewhere.
    pub fn packed(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes it takes to hold.
    pub fn packed_len(&self) -> usize {
        self.0.len()
    }
}

/// A word that was looked for in a packed document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordSearch<'a> {
    Word(&'a str),
    /// There is none, or that cannot be told without unpacking.
    None,
    /// The same, and a message is held beside the document.
    NoneBesideMessage,
}

/// The message that a document was made of.
#[derive(Clone, Copy, Debug)]
pub struct SourceMessage<'a> {
    pub bytes: &'a [u8],
    /// It was longer.
    pub is_cut: bool,
}

/// Appends the beginning of a packed payload of a source.
fn put_source(source: &str, packed: &mut Vec<u8>) {
    let source = &source[..source.floor_char_boundary(SOURCE_MAX_BYTES)];
    packed.extend([op::SOURCE, u8::try_from(source.len()).unwrap_or(u8::MAX)]);
    packed.extend_from_slice(source.as_bytes());
}

/// A piece of text that payloads are packed with, to look for in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece(u8);

impl Piece {
    /// The piece with just this text. For constants: it fails to build if there is none.
    pub const fn of(text: &str) -> Self {
        Self(op::FIRST_PIECE + dictionary::number(text.as_bytes()))
    }

    /// The piece with this number, which there need not be.
    pub const fn numbered(number: u8) -> Self {
        Self(number)
    }

    /// A number for each piece, for tables of what they mean.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The text that it stands for; `None`: there is no such piece.
    pub fn text(self) -> Option<&'static str> {
        unpack::piece(self.0)
    }
}

/// The longest name of a source.
pub const SOURCE_MAX_BYTES: usize = 64;

/// Room for a long Disconnect of the platform, so that unpacking one allocates once.
const UNPACKED_CAPACITY: usize = 512;
/// The same for the end of a document.
const DOCUMENT_END_CAPACITY: usize = 128;

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Payload {}

/// By the bytes they stand for, so that the order does not depend on how this version packs them.
impl Ord for Payload {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        self.unpack().cmp(&other.unpack()).then_with(|| self.source().cmp(&other.source()))
    }
}

impl PartialOrd for Payload {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({})", String::from_utf8_lossy(&self.unpack()))
    }
}

/// The operations of a packed payload. Dictionary pieces take the numbers from [`op::FIRST_PIECE`] on.
mod op {
    /// Length (varint), then as many bytes.
    pub const LITERAL: u8 = 0;
    /// Milliseconds since 1970 in six bytes, little endian; stands for `YYYY-MM-DDTHH:MM:SS.mmmZ`.
    pub const TIME: u8 = 1;
    /// The same, as a difference to the time before it (zigzag varint).
    pub const TIME_DELTA: u8 = 2;
    /// Four bytes; stands for `a.b.c.d`.
    pub const IPV4: u8 = 3;
    /// Varint; stands for a decimal integer without sign or leading zero.
    pub const INTEGER: u8 = 4;
    /// Length (one byte), then the name of the source; only at the beginning. Stands for nothing.
    pub const SOURCE: u8 = 5;
    /// Ends a document. A byte that is 1 if the message was longer, then the operations of the message. A version that does not know
    /// it shows the document without the message.
    pub const MESSAGE: u8 = 6;
    /// Dictionary piece 0; piece n has the number `FIRST_PIECE + n`.
    pub const FIRST_PIECE: u8 = 16;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ordering, Payload, Piece, SourceMessage, WordSearch};

    fn captured() -> Vec<String> {
        include_str!("../../../../tests/data/captured.jsonl")
            .lines()
            .map(|line| {
                let message: serde_json::Value = serde_json::from_str(line).unwrap();
                message["payload"].as_str().unwrap().to_owned()
            })
            .collect()
    }

    #[test]
    fn captured_messages_come_back_whole_and_take_a_quarter() {
        let (mut plain, mut packed) = (0, 0);
        for message in captured() {
            let payload = Payload::pack(message.as_bytes());
            assert_eq!(payload.unpack(), message.as_bytes(), "{message}");
            plain += message.len();
            packed += payload.packed_len();
        }
        assert!(packed * 4 < plain, "{packed} of {plain} bytes");
    }

    #[test]
    fn what_an_earlier_version_packed_otherwise_is_equal() {
        let text = br#"{"ClientID": "d:o:t:1", "Action": "Connect"}"#;
        let all_literal = [&[0, u8::try_from(text.len()).unwrap()], &text[..]].concat();
        let (before, now) = (Payload::from_packed(&all_literal), Payload::pack(text));
        assert_ne!(before.packed(), now.packed());
        assert_eq!(before, now);
        assert_ne!(now, Payload::pack_of("a", text));
    }

    /// The same object in alphabetical order, with this between a name and its value, and this between fields.
    fn written_otherwise(message: &str, (colon, comma): (&str, &str)) -> Option<String> {
        let fields: std::collections::BTreeMap<String, serde_json::Value> =
            serde_json::from_str(message).ok()?;
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
        Some(format!("{{{}}}", fields.join(comma)))
    }

    #[test]
    fn another_order_and_spaces_take_hardly_more_room() {
        for style in [(":", ","), (": ", ", ")] {
            let (mut as_sent, mut otherwise) = (0, 0);
            for message in captured() {
                let Some(text) = written_otherwise(&message, style) else { continue };
                let payload = Payload::pack(text.as_bytes());
                assert_eq!(payload.unpack(), text.as_bytes(), "{text}");
                otherwise += payload.packed_len();
                as_sent += Payload::pack(message.as_bytes()).packed_len();
            }
            assert!(otherwise * 4 < as_sent * 5, "{otherwise} bytes, as sent {as_sent}");
        }
    }

    #[test]
    fn an_address_is_found_only_where_it_occurs_once() {
        const PIECE: Piece = Piece::of(r#"","ClientAddr":""#);
        let found = |text: &str| Payload::pack(text.as_bytes()).ipv4_behind(PIECE);
        let address = Some(std::net::Ipv4Addr::new(192, 0, 2, 7));
        assert_eq!(found(r#"{"Action":"Connect","Time":"","ClientAddr":"192.0.2.7","Port":1883}"#), address);
        assert_eq!(found(r#"{"Action":"Connect","Time":"x","ClientAddr":"192.0.2.7"}"#), address);
        for text in [
            r#"{"Action":"Connect","Time":"x","ClientAddr":"2001:db8::7","Port":1883}"#,
            r#"{"Action":"Connect","Time":"x","ClientAddr":"192.0.2.07","Port":1883}"#,
            r#"{"Action":"Connect","Time":"x","ClientAddr":"192.0.2.7:1883","Port":1883}"#,
            r#"{"Action":"Connect","Time":"x","ClientAddr":"192.0.2.7-ws"}"#,
            r#"{"Action":"Connect","Time":"x","ClientAddr":"192.0.2.7"#,
            r#"{"Action":"Connect","Time":"x", "ClientAddr":"192.0.2.7","Port":1883}"#,
            r#"{"A":"x","ClientAddr":"192.0.2.7","B":"y","ClientAddr":"192.0.2.8","Port":1883}"#,
            r#"{"Action":"Connect","ClientID":"192.0.2.7"}"#,
        ] {
            assert_eq!(found(text), None, "{text}");
        }
        let mut seen = 0;
        for message in captured() {
            let json: serde_json::Value = serde_json::from_str(&message).unwrap_or_default();
            let shown = json["ClientAddr"].as_str().map(|text| text.parse().unwrap());
            let ipv4 = Payload::pack(message.as_bytes()).ipv4_behind(PIECE);
            assert!(ipv4.is_none() || ipv4 == shown, "{message}");
            seen += usize::from(ipv4.is_some());
        }
        assert!(seen > 50, "{seen}");
    }

    #[test]
    fn a_word_is_found_behind_its_piece_and_not_inside_a_text() {
        const PIECE: Piece = Piece::of(r#","c":""#);
        const NO_PIECE: &str = "no piece";
        for (text, word) in [
            (r#"{"ClientID":"a","_":{"t":12,"c":"timeout","m":"x"}}"#, Some("timeout")),
            (r#"{"ClientID":"a","_":{"t":12,"c":"timeout"}}"#, Some("timeout")),
            (
                r#"{"ClientID":"\",\"c\":\"tls\"","_":{"t":12,"c":"ended","u":["b","x"],"m":"y"}}"#,
                Some("ended"),
            ),
            (r#"{"ClientID":"a","_":{"t":12,"m":"{\"a\":1,\"c\":\"tls\"}"}}"#, None),
            (r#"{"ClientID":"a","_":{"t":12,"c":"mqtt4"}}"#, None),
            ("", None),
        ] {
            let payload = Payload::pack_of("source", text.as_bytes());
            let expected = word.map_or(WordSearch::None, WordSearch::Word);
            assert_eq!(payload.word_behind(PIECE, NO_PIECE), expected, "{text}");
            let message = SourceMessage { bytes: br#"{"a":1,"c":"tls"}"#, is_cut: false };
            let expected = word.map_or(WordSearch::NoneBesideMessage, WordSearch::Word);
            let payload = Payload::pack_document("source", text.as_bytes(), &message);
            assert_eq!(payload.word_behind(PIECE, NO_PIECE), expected, "{text}");
        }
    }

    #[test]
    fn the_end_of_a_document_is_found_in_a_piece_and_in_a_literal() {
        for (text, end) in [
            (r#"{"ClientID":"a","_":{"t":12,"c":"timeout"}}"#, Some(r#"{"t":12,"c":"timeout"}}"#)),
            (r#"{"ClientID":"a,\"_\":","Time":"x","_":{"u":["b","c"]}}"#, Some(r#"{"u":["b","c"]}}"#)),
            (
                r#"{"Time":"2026-11-23T17:00:01.186Z","_":{"u":["2026-11-23T17:00:02.186Z","b"]}}"#,
                Some(r#"{"u":["2026-11-23T17:00:02.186Z","b"]}}"#),
            ),
            (r#"{"ClientID":"a"}"#, None),
            ("", None),
        ] {
            let message = SourceMessage { bytes: text.as_bytes(), is_cut: false };
            let payload = Payload::pack_document("source", text.as_bytes(), &message);
            let found = payload.document_behind(r#"","_":"#);
            assert_eq!(found.as_deref(), end.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn a_word_is_found_behind_a_text_that_is_no_piece() {
        let cases = [
            (
                r#"{"ClientID":"a","Action":"Connect","Time":"x","_":{"c":"timeout","m":"x"}}"#,
                Some("timeout"),
            ),
            (r#"{"ClientID":"a","Reason":"timed out","_":{"c":"asleep"}}"#, Some("asleep")),
            (r#"{"ClientID":"\",\"_\":{\"c\":\"tls\"","_":{"t":12,"c":"ended"}}"#, None),
            (r#"{"ClientID":"a","_":{"t":12,"m":"x"}}"#, None),
            ("", None),
        ];
        for (text, word) in cases {
            let payload = Payload::pack_of("source", text.as_bytes());
            let expected = word.map_or(WordSearch::None, WordSearch::Word);
            let found = payload.word_behind(Piece::of("mqtt3"), r#"","_":{"c":""#);
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_value_in_another_notation_stays_literal() {
        for text in [
            r#"{"Time":"2026-02-30T00:00:00.000Z"}"#,
            r#"{"Time":"2026-11-23T23:59:60.000Z"}"#,
            r#"{"Time":"2026-11-23T24:00:00.000Z"}"#,
            r#"{"Time":"1969-12-31T23:59:59.999Z"}"#,
            r#"{"Time":"9999-12-31T23:59:59.999Z"}"#,
            r#"{"Action":"Connect","Time":"2026-11-23T12:34:56.789+05:30","ClientAddr":"010.0.0.1"}"#,
            r#"{"ClientAddr":"1.2.3.256","Port":01883}"#,
            r#"{"ReadBytes":18446744073709551615,"ReadMsg":18446744073709551616,"WriteBytes":-1}"#,
            "",
            "{",
        ] {
            assert_eq!(Payload::pack(text.as_bytes()).unpack(), text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn a_source_is_kept_beside_the_bytes(name in "[a-z0-9-]{1,64}", bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let payload = Payload::from_packed(Payload::pack_of(&name, &bytes).packed());
            prop_assert_eq!(payload.source(), Some(name.as_str()));
            prop_assert_eq!(payload.unpack(), bytes.clone());
            let plain = Payload::pack(&bytes);
            prop_assert_eq!(plain.source(), None);
            prop_assert_ne!(plain.cmp(&payload), Ordering::Equal);
        }

        #[test]
        fn a_message_beside_a_document_is_the_same_as_within_it(
            document in "\\{\"Action\":\"Connect\",\"Time\":\"2026-11-23T17:00:0[0-9].186Z\",\"_\":\\{(\"t\":[0-9]{3})?\\}\\}",
            text in "\\{\"Time\":\"2026-11-23T17:00:0[0-9].186Z\",\"ClientAddr\":\"10.0.0.[1-9]\",\"x\":\"[ -~\u{0}-\u{20}]{0,9}\"\\}",
            bytes in prop::collection::vec(any::<u8>(), 0..40),
            is_cut in any::<bool>(),
        ) {
            for bytes in [text.as_bytes(), &bytes] {
                let message = SourceMessage { bytes, is_cut };
                let payload = Payload::pack_document("a", document.as_bytes(), &message);
                prop_assert_eq!(payload.source(), Some("a"));
                prop_assert_eq!(payload.document(), document.as_bytes());
                prop_assert_eq!(payload.message(), Some((bytes.to_vec(), is_cut)));
                prop_assert_eq!(payload.ipv4_behind(Piece::of(r#"","ClientAddr":""#)), None);
                let before = Payload::pack_of("a", &payload.unpack());
                prop_assert_eq!(before.message(), None);
                prop_assert_eq!(before, payload);
            }
        }

        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Payload::pack(&bytes).unpack(), bytes);
        }

        #[test]
        fn damaged_messages_come_back(which in 0usize..110, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let messages = captured();
            let mut bytes = messages[which % messages.len()].clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            prop_assert_eq!(Payload::pack(&bytes).unpack(), bytes);
        }

        #[test]
        fn order_is_that_of_the_bytes(a in prop::collection::vec(b'0'..=b'9', 0..4), b in prop::collection::vec(b'0'..=b'9', 0..4)) {
            prop_assert_eq!(Payload::pack(&a).cmp(&Payload::pack(&b)), a.cmp(&b));
        }
    }
}
