//! Writes a status document, and reads it or the details in it. By hand where it matters: one is written, and the details of
//! one are read, for each message.

use std::fmt::Display;
use std::io::Write;

use serde::Deserialize;

use super::{SessionDetails, SourceDetails, StatusDocument};

/// Room for most documents, so that writing one allocates once.
const CAPACITY: usize = 384;

/// Before the details. Inside of a text its quotation marks are escaped, so it is found nowhere else.
const DETAILS: &str = r#","_":"#;
/// The same behind a text.
pub const DETAILS_BEHIND_TEXT: &str = r#"","_":"#;

/// Reads a document or a part of one.
pub fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    // Checked as a whole, or else each of its texts would be.
    serde_json::from_str(std::str::from_utf8(json).ok()?).ok()
}

/// The details in a document, if they are its last field.
pub fn details(document: &[u8]) -> Option<&[u8]> {
    let (before, behind) = DETAILS.split_once('_')?;
    let is_it = |at: &usize| {
        document[..*at].ends_with(before.as_bytes()) && document[at + 1..].starts_with(behind.as_bytes())
    };
    let at = memchr::memchr_iter(b'_', document).find(is_it)?;
    document[at + 1 + behind.len()..].strip_suffix(b"}")
}

pub fn write(status: &StatusDocument<'_>) -> Vec<u8> {
    let mut json = Json(Vec::with_capacity(CAPACITY));
    json.text(r#"{"ClientID":"#, &status.client_id);
    json.text(r#","Action":"#, &status.action);
    let texts = [
        (r#","Time":"#, &status.time),
        (r#","ClientAddr":"#, &status.address),
        (r#","Reason":"#, &status.reason),
        (r#","Protocol":"#, &status.protocol),
        (r#","ConnectTime":"#, &status.connect_time),
    ];
    for (key, text) in texts {
        text.iter().for_each(|text| json.text(key, text));
    }
    if let Some(kept) = &status.kept {
        json.raw(DETAILS);
        json.details(kept);
    }
    json.raw("}");
    json.0
}

/// The end of a document, from the quotation mark behind its last text on.
pub fn write_end(details: &SourceDetails<'_>) -> Vec<u8> {
    let mut json = Json(Vec::with_capacity(CAPACITY));
    json.raw(DETAILS_BEHIND_TEXT);
    json.details(details);
    json.raw("}");
    json.0
}

struct Json(Vec<u8>);

impl Json {
    fn details(&mut self, details: &SourceDetails<'_>) {
        self.raw("{");
        // Each field is followed by a comma, of which the last gives way to the brace.
        if let Some(session) = &details.session {
            self.session(session);
        }
        if let Some(time) = details.time {
            self.number(r#""t":"#, time);
            self.raw(",");
        }
        if let Some(cause) = &details.cause {
            self.text(r#""c":"#, cause);
            self.raw(",");
        }
        if let Some((device_type, id)) = &details.parent {
            self.text(r#""u":["#, device_type);
            self.text(",", id);
            self.raw("],");
        }
        if let Some((shift, time)) = details.own {
            self.number(r#""o":["#, shift);
            self.number(",", time);
            self.raw("],");
        }
        if let Some(text) = &details.text {
            self.raw(r#""m":"#);
            self.raw(text.get());
            self.raw(",");
        }
        if let Some(base64) = &details.base64 {
            self.text(r#""b":"#, base64);
            self.raw(",");
        }
        if details.is_cut {
            self.raw(r#""x":true,"#);
        }
        self.0.pop_if(|last| *last == b',');
        self.raw("}");
    }

    fn session(&mut self, session: &SessionDetails<'_>) {
        match session {
            SessionDetails::Connection(Some(peer)) => self.text(r#""s":{"p":"#, peer),
            SessionDetails::Connection(None) => self.raw(r#""s":{"p":null"#),
            SessionDetails::Started(started) => self.number(r#""s":{"s":"#, started),
            SessionDetails::Versioned(version, session) => {
                self.number(r#""s":{"v":["#, version);
                self.text(",", session);
                self.raw("]");
            }
            SessionDetails::Matched(birth, sequence) => {
                self.optional(r#""s":{"b":["#, birth.as_ref());
                self.optional(",", sequence.as_ref());
                self.raw("]");
            }
        }
        self.raw("},");
    }

    fn raw(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    /// What stands before a text, and the text in quotation marks.
    fn text(&mut self, before: &str, text: &str) {
        self.raw(before);
        if text.bytes().any(|byte| byte < b' ' || matches!(byte, b'"' | b'\\')) {
            let _ = serde_json::to_writer(&mut self.0, text);
            return;
        }
        self.0.push(b'"');
        self.raw(text);
        self.0.push(b'"');
    }

    fn number(&mut self, before: &str, number: impl Display) {
        // Writing to memory cannot fail.
        let _ = write!(self.0, "{before}{number}");
    }

    fn optional(&mut self, before: &str, number: Option<impl Display>) {
        match number {
            Some(number) => self.number(before, number),
            None => self.number(before, "null"),
        }
    }
}
