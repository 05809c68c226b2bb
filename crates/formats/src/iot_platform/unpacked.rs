//! The details of a packed message, read from its operations: what is not shown is not unpacked, and no text is searched. A message
//! that is packed otherwise than in the platform's words is unpacked whole and read as JSON.

use std::ops::Range;
use std::sync::LazyLock;

use super::details::{Details, details};
use super::fields;
use presence::digits;
use presence::payload::{Operation, Payload, Piece};

/// The texts from which details of a packed message are read.
#[derive(Debug)]
pub enum UnpackedDetails {
    Fields(FieldTexts),
    /// All of the message, or of the document of another source.
    Document(Vec<u8>),
}

/// The texts of the fields that are shown, one behind the other.
#[derive(Debug, Default)]
pub struct FieldTexts {
    text: String,
    ranges: [Range<usize>; SHOWN],
}

/// Room for the fields of nearly all messages.
const FIELDS_CAPACITY: usize = 192;

impl Default for UnpackedDetails {
    fn default() -> Self {
        Self::Fields(FieldTexts::default())
    }
}

impl UnpackedDetails {
    pub fn of(payload: &Payload) -> Self {
        Self::default().replaced_by(payload)
    }

    /// The same of another message, in the memory that the texts of this one take.
    pub fn replaced_by(self, payload: &Payload) -> Self {
        let text = match self {
            Self::Fields(fields) => fields.text.into_bytes(),
            Self::Document(document) => document,
        };
        let fields = if payload.has_source() { None } else { FieldTexts::of(payload, text) };
        fields.map_or_else(|| Self::Document(payload.document()), Self::Fields)
    }

    pub fn read(&self) -> Details<'_> {
        match self {
            Self::Fields(fields) => fields.details(),
            Self::Document(document) => details(document),
        }
    }

    /// How much was unpacked.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Fields(fields) => fields.text.len(),
            Self::Document(document) => document.len(),
        }
    }

    /// The document, if the message is of another source.
    pub fn document(&self) -> Option<&[u8]> {
        match self {
            Self::Fields(_) => None,
            Self::Document(document) => Some(document),
        }
    }
}

impl FieldTexts {
    /// `None`: it is packed otherwise, or a text in it has escapes.
    fn of(payload: &Payload, text: Vec<u8>) -> Option<Self> {
        let mut reader = Reader::new(text);
        for operation in payload.operations() {
            match operation {
                Operation::Piece(piece) => reader.piece(piece)?,
                Operation::Literal(literal) => reader.content(literal)?,
                Operation::Integer(integer) => reader.write(|text| digits::write(integer, text))?,
                Operation::Address(ipv4) => {
                    reader.write(|text| digits::write_ipv4(ipv4.octets(), text))?;
                }
                // A time.
                Operation::Other => (reader.field == Field::NotShown).then_some(())?,
            }
        }
        let text = String::from_utf8(reader.text).ok()?;
        (reader.place == Place::End).then_some(Self { text, ranges: reader.ranges })
    }

    fn details(&self) -> Details<'_> {
        let shown = |field| Some(self.get(field)).filter(|text| !text.is_empty());
        let text = |field| shown(field).map(Into::into);
        Details {
            client_id: text(Field::ClientId),
            address: text(Field::Address),
            protocol: text(Field::Protocol),
            secure: fields::flag(shown(Field::Secure)),
            reason: text(Field::Reason),
        }
    }

    fn get(&self, field: Field) -> &str {
        self.ranges.get(field as usize).map_or("", |range| &self.text[range.clone()])
    }
}

/// The fields that are shown, and any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    ClientId,
    Address,
    Protocol,
    Secure,
    Reason,
    NotShown,
}

const SHOWN: usize = Field::NotShown as usize;

impl Field {
    fn named(name: &str) -> Self {
        match name {
            "ClientID" => Self::ClientId,
            "ClientAddr" => Self::Address,
            "Protocol" => Self::Protocol,
            "Secure" => Self::Secure,
            "Reason" => Self::Reason,
            _ => Self::NotShown,
        }
    }
}

/// Where in a message a piece ends or begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// Within a text.
    Text,
    /// In a value that is no text.
    Value,
    End,
}

/// What one piece says.
enum Step {
    CloseField,
    OpenField(Field, Place),
    Content(&'static [u8]),
    End,
}

struct PieceSteps {
    /// `None`: anywhere in a value.
    begins: Option<Place>,
    steps: Vec<Step>,
}

/// By the number of the piece; `None` for a piece that no message of the platform has.
static PIECES: LazyLock<Vec<Option<PieceSteps>>> =
    LazyLock::new(|| (0..=u8::MAX).map(|number| PieceSteps::of(Piece::numbered(number).text()?)).collect());

impl PieceSteps {
    fn of(text: &'static str) -> Option<Self> {
        let begins = match text.as_bytes().first()? {
            b'"' => Place::Text,
            b',' | b'}' => Place::Value,
            b'{' => Place::Start,
            _ => return Some(Self { begins: None, steps: vec![Step::Content(text.as_bytes())] }),
        };
        let mut steps = Vec::new();
        if begins != Place::Start {
            steps.push(Step::CloseField);
        }
        let mut rest = text.strip_prefix(['"', '{']).unwrap_or(text);
        loop {
            if rest == "}" {
                steps.push(Step::End);
                break;
            }
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start().strip_prefix('"')?;
            let (name, value) = rest.split_once("\":")?;
            let value = value.trim_start();
            let (place, value, ends) = match value.strip_prefix('"') {
                Some(value) => (Place::Text, value, ['"', '"']),
                None => (Place::Value, value, [',', '}']),
            };
            steps.push(Step::OpenField(Field::named(name), place));
            let content = value.find(ends).unwrap_or(value.len());
            if content > 0 {
                steps.push(Step::Content(&value.as_bytes()[..content]));
            }
            rest = &value[content..];
            if rest.is_empty() {
                break;
            }
            steps.push(Step::CloseField);
            rest = rest.strip_prefix('"').unwrap_or(rest);
        }
        Some(Self { begins: Some(begins), steps })
    }
}

/// Goes over a message.
struct Reader {
    text: Vec<u8>,
    ranges: [Range<usize>; SHOWN],
    place: Place,
    field: Field,
    /// Where the text of the field begins.
    begin: usize,
}

impl Reader {
    /// Writes texts into this memory.
    fn new(mut text: Vec<u8>) -> Self {
        text.clear();
        text.reserve(FIELDS_CAPACITY);
        Self { text, ranges: Default::default(), place: Place::Start, field: Field::NotShown, begin: 0 }
    }

    fn piece(&mut self, piece: Piece) -> Option<()> {
        let PieceSteps { begins, steps } = PIECES.get(usize::from(piece.number()))?.as_ref()?;
        if begins.is_some_and(|place| place != self.place) {
            return None;
        }
        for step in steps {
            match step {
                Step::CloseField => self.close()?,
                Step::OpenField(field, place) => {
                    (self.field, self.place, self.begin) = (*field, *place, self.text.len());
                }
                Step::Content(content) => self.content(content)?,
                Step::End => self.place = Place::End,
            }
        }
        Some(())
    }

    /// `None`: JSON takes it for no text.
    fn close(&mut self) -> Option<()> {
        let is_flag = self.place == Place::Value && matches!(&self.text[self.begin..], b"true" | b"false");
        if is_flag && !matches!(self.field, Field::Secure | Field::NotShown) {
            return None;
        }
        if let Some(range) = self.ranges.get_mut(self.field as usize) {
            *range = self.begin..self.text.len();
        }
        Some(())
    }

    /// Part of a value, as it stands in the message. `None`: it ends the value, or has escapes.
    fn content(&mut self, content: &[u8]) -> Option<()> {
        let is_sound = match self.place {
            Place::Text => !content
                .iter()
                .fold(false, |found, byte| found | (*byte < b' ') | (*byte == b'"') | (*byte == b'\\')),
            Place::Value => {
                matches!(content, b"true" | b"false") || content.iter().all(|byte| is_of_number(*byte))
            }
            Place::Start | Place::End => false,
        };
        self.write(|text| text.extend_from_slice(content)).filter(|()| is_sound)
    }

    fn write(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<()> {
        if self.field != Field::NotShown {
            write(&mut self.text);
        }
        matches!(self.place, Place::Text | Place::Value).then_some(())
    }
}

fn is_of_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message in the platform's order, with usual and odd values.
    fn messages() -> impl Strategy<Value = String> {
        let text = || {
            prop_oneof![
                3 => "[a-z0-9:.-]{0,12}",
                1 => "([a-zé ,:{}]|\\\\[\"nu\\\\]|(\\\\\",\"(ClientAddr|Reason)\":\\\\\")){0,6}",
            ]
        };
        let address = prop_oneof![
            any::<std::net::Ipv4Addr>().prop_map(|ipv4| ipv4.to_string()),
            any::<std::net::Ipv6Addr>().prop_map(|ipv6| ipv6.to_string()),
            text(),
        ];
        let protocol =
            prop::sample::select(vec!["mqtt4", "mqtt5", "mqtt4-ws", "mqtt-tcp", "iotrest", "other"]);
        let secure = prop::sample::select(vec!["true", "false", "1", "null", "\"true\""]);
        let client = prop_oneof![Just("d:o:t:1".to_owned()), Just("g:o:t:1".to_owned()), text()];
        let end = prop_oneof![
            Just(r#""Durable":true,"CloseCode":0,"Reason":""}"#.to_owned()),
            Just(
                r#""CloseCode":160,"Reason":"The connection timed out","ReadBytes":7,"ReadMsg":1}"#
                    .to_owned()
            ),
            (any::<u16>(), text()).prop_map(|(code, reason)| format!(
                r#""CloseCode":{code},"Reason":"{reason}","WriteBytes":7}}"#
            )),
            prop::sample::select(vec!["true", "false", "null", "160"])
                .prop_map(|value| format!(r#""CloseCode":160,"Reason":{value},"ReadBytes":7}}"#)),
            text().prop_map(|user| format!(r#""User":"{user}","Reason":{{"Reason":"{user}"}}}}"#)),
        ];
        let spaces = prop::sample::select(vec!["", " "]);
        (address, client, any::<u16>(), secure, protocol, end, spaces).prop_map(
            |(address, client, port, secure, protocol, end, space)| {
                format!(
                    "{{\"Action\":{space}\"Connect\",{space}\"Time\":{space}\"2026-11-23T17:00:01.186Z\",{space}\
                     \"ClientAddr\":{space}\"{address}\",{space}\"ClientID\":{space}\"{client}\",{space}\"Port\":{space}{port},{space}\
                     \"Secure\":{space}{secure},{space}\"Protocol\":{space}\"{protocol}\",{space}\
                     \"ConnectTime\":{space}\"2026-11-23T17:00:01.186Z\",{space}{end}"
                )
            },
        )
    }

    proptest! {
        #[test]
        fn a_packed_message_says_what_its_json_does(message in messages()) {
            let payload = Payload::pack(message.as_bytes());
            let unpacked = UnpackedDetails::of(&payload);
            prop_assert_eq!(unpacked.read(), details(message.as_bytes()));
            let unpacked = unpacked.replaced_by(&payload);
            prop_assert_eq!(unpacked.read(), details(message.as_bytes()));
        }
    }

    #[test]
    fn messages_of_the_platform_are_read_without_their_json() {
        let (mut from_fields, mut all) = (0, 0);
        for line in include_str!("../../../../tests/data/captured.jsonl").lines() {
            let captured: serde_json::Value = serde_json::from_str(line).unwrap();
            let message = captured["payload"].as_str().unwrap();
            if serde_json::from_str::<serde::de::IgnoredAny>(message).is_err() {
                continue;
            }
            let unpacked = UnpackedDetails::of(&Payload::pack(message.as_bytes()));
            assert_eq!(unpacked.read(), details(message.as_bytes()), "{message}");
            from_fields += usize::from(matches!(unpacked, UnpackedDetails::Fields(_)));
            all += 1;
        }
        assert!(from_fields * 10 > all * 9, "{from_fields} of {all}");
    }

    #[test]
    fn a_document_of_another_source_is_read_whole() {
        let text = br#"{"ClientID":"a","Action":"Connect","Time":"x","_":{"t":12}}"#;
        let unpacked = UnpackedDetails::of(&Payload::pack_of("source", text));
        assert_eq!((unpacked.document(), unpacked.read()), (Some(&text[..]), details(text)));
    }
}
