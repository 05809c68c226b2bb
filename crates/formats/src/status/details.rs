//! Reads the details at the end of a packed document, without the rest of it: the order of a source needs them for each message.
//! As they are packed for most events, the operations tell them; else their text is made again.

use std::borrow::Cow;

use super::{SessionDetails, SourceDetails, json, parts, read_details};
use crate::json_members;
use presence::payload::{Operation, Operations, Payload, Piece};

/// The details in a packed document, from the operations that [`parts`] packs most with; `None`: their text tells them, if there
/// are any.
pub fn packed_details(payload: &Payload) -> Option<SourceDetails<'_>> {
    if !payload.has_source() {
        return None;
    }
    let mut rest = PackedDetails(payload.operations());
    let mut details = SourceDetails::default();
    loop {
        match rest.0.next()? {
            Operation::Piece(parts::ONLY_TIME) => details.time = Some(rest.integer()?),
            Operation::Piece(parts::STARTED) => {
                details.session = Some(SessionDetails::Started(rest.integer()?));
                match rest.0.next()? {
                    Operation::Piece(parts::STARTED_END) => details.time = Some(rest.integer()?),
                    Operation::Piece(parts::BRACE) => {}
                    _ => return None,
                }
            }
            Operation::Piece(parts::UNNAMED_CONNECTION) => {
                details.session = Some(SessionDetails::Connection(None));
                details.time = Some(rest.integer()?);
            }
            Operation::Piece(parts::CONNECTION) => {
                details.session = Some(SessionDetails::Connection(Some(rest.text()?)));
                rest.piece(parts::CONNECTION_END)?;
                details.time = Some(rest.integer()?);
            }
            Operation::Literal(literal) => match behind(literal, parts::EMPTY.as_bytes()) {
                Some(literal) => return rest.of_literal(literal),
                None => continue,
            },
            Operation::Piece(_) | Operation::Integer(_) | Operation::Address(_) | Operation::Other => {
                continue;
            }
        }
        details.cause = rest.cause()?;
        return rest.0.next().is_none().then_some(details);
    }
}

/// What follows where details begin.
struct PackedDetails<'a>(Operations<'a>);

impl<'a> PackedDetails<'a> {
    fn integer(&mut self) -> Option<i64> {
        let Operation::Integer(integer) = self.0.next()? else { return None };
        integer.try_into().ok()
    }

    fn text(&mut self) -> Option<Cow<'a, str>> {
        let Operation::Literal(literal) = self.0.next()? else { return None };
        plain_part(std::str::from_utf8(literal).ok()?)
    }

    fn piece(&mut self, piece: Piece) -> Option<()> {
        (self.0.next()? == Operation::Piece(piece)).then_some(())
    }

    /// The cause, if there is one, and the end.
    fn cause(&mut self) -> Option<Option<Cow<'a, str>>> {
        match self.0.next()? {
            Operation::Piece(parts::CAUSE) => {
                let word = self.text()?;
                self.piece(parts::END_BEHIND_TEXT)?;
                Some(Some(word))
            }
            Operation::Piece(parts::BRACE) => self.piece(parts::BRACE).map(|()| None),
            _ => None,
        }
    }

    /// A cause and a parent at most, which no piece begins.
    fn of_literal(mut self, literal: &'a [u8]) -> Option<SourceDetails<'a>> {
        let text = std::str::from_utf8(literal).ok()?;
        let mut details = SourceDetails::default();
        let names = match text.strip_prefix(parts::FIRST_CAUSE).map(|text| text.split_once('"').ok_or(text)) {
            None => text,
            Some(Ok((word, behind))) => {
                details.cause = Some(plain_part(word)?);
                behind.strip_prefix(',').filter(|names| !names.is_empty())?
            }
            Some(Err(word)) => {
                details.cause = Some(plain_part(word)?);
                self.piece(parts::END_BEHIND_TEXT)?;
                return self.0.next().is_none().then_some(details);
            }
        };
        if !names.is_empty() {
            let names = names.strip_prefix(parts::PARENT)?.strip_suffix(parts::PARENT_END)?;
            let (device_type, behind) = names.split_at(memchr::memchr(b'"', names.as_bytes())?);
            let id = behind.strip_prefix(parts::BETWEEN_NAMES)?;
            details.parent = Some((plain_part(device_type)?, plain_part(id)?));
        }
        self.piece(parts::BRACE)?;
        self.piece(parts::BRACE)?;
        self.0.next().is_none().then_some(details)
    }
}

/// What is behind a text in a literal.
pub fn behind<'a>(literal: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let first = *wanted.first()?;
    memchr::memchr_iter(first, literal).find_map(|at| literal[at..].strip_prefix(wanted))
}

/// The JSON text of the details in a packed document.
pub enum DetailsText {
    /// They are its end, which alone was unpacked.
    Details(Vec<u8>),
    /// All of it, since no version writes it so.
    Document(Vec<u8>),
}

impl DetailsText {
    pub fn of(payload: &Payload) -> Self {
        match payload.document_behind(json::DETAILS_BEHIND_TEXT) {
            Some(mut text) if text.ends_with(b"}}") => {
                text.pop();
                Self::Details(text)
            }
            _ => Self::Document(payload.document()),
        }
    }

    pub fn read(&self) -> Option<SourceDetails<'_>> {
        match self {
            Self::Details(text) => plain(text).or_else(|| json::read(text)),
            Self::Document(text) => read_details(text),
        }
    }
}

/// Details as nearly all are: without escapes, and beside their message. `None`: serde has to read them.
fn plain(json: &[u8]) -> Option<SourceDetails<'_>> {
    let mut details = SourceDetails::default();
    let mut are_plain = true;
    json_members::for_each(std::str::from_utf8(json).ok()?, |name, value| {
        let taken = match name {
            "s" => session(value.json).map(|session| details.session = Some(session)),
            "t" => number(value.json).map(|time| details.time = Some(time)),
            "c" => value.plain_text().map(|cause| details.cause = Some(Cow::Borrowed(cause))),
            "u" => pair(value.json).and_then(|(device_type, id)| {
                details.parent = Some((text(device_type)?, text(id)?));
                Some(())
            }),
            "o" => pair(value.json).and_then(|(shift, time)| {
                details.own = Some((number(shift)?, number(time)?));
                Some(())
            }),
            _ => None,
        };
        are_plain &= taken.is_some();
    })?;
    are_plain.then_some(details)
}

fn session(json: &str) -> Option<SessionDetails<'_>> {
    let json = json.strip_suffix('}')?;
    if let Some(started) = json.strip_prefix(r#"{"s":"#) {
        return number(started).map(SessionDetails::Started);
    }
    match json.strip_prefix(r#"{"p":"#)? {
        "null" => Some(SessionDetails::Connection(None)),
        peer => text(peer).map(|peer| SessionDetails::Connection(Some(peer))),
    }
}

/// The two elements of an array of numbers or plain texts.
fn pair(json: &str) -> Option<(&str, &str)> {
    let elements = json.strip_prefix('[')?.strip_suffix(']')?;
    let comma = memchr::memchr(b',', elements.as_bytes())?;
    Some((&elements[..comma], &elements[comma + 1..]))
}

fn number(json: &str) -> Option<i64> {
    json.as_bytes().first()?.is_ascii_digit().then(|| json.parse().ok())?
}

fn text(json: &str) -> Option<Cow<'_, str>> {
    plain_part(json.strip_prefix('"')?.strip_suffix('"')?)
}

/// The inside of a text, if nothing in it is escaped.
fn plain_part(text: &str) -> Option<Cow<'_, str>> {
    memchr::memchr2(b'"', b'\\', text.as_bytes()).is_none().then_some(Cow::Borrowed(text))
}
