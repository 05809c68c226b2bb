//! Reads the details at the end of a packed document, without the rest of it: the order of a source needs them for each message.

use std::borrow::Cow;

use super::{SessionDetails, SourceDetails, json, read_details};
use crate::json_members;
use presence::payload::Payload;

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
    let text = json.strip_prefix('"')?.strip_suffix('"')?;
    memchr::memchr2(b'"', b'\\', text.as_bytes()).is_none().then_some(Cow::Borrowed(text))
}
