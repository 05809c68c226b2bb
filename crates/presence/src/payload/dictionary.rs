//! The pieces of text that status messages are made of, each with a number of one byte.
//!
//! [`PIECES`] holds what the IoT platform writes, in its order and without spaces. [`FIELDS`] holds every field by itself,
//! compact and with the spaces that most JSON libraries put, so that a sender with another order or spacing takes hardly more
//! room. [`WORDS`] holds values and what status documents are made of.
//!
//! A number is a position in one of the three, each of which begins at a fixed number: a piece may be added at the end of
//! one, none may be changed or removed once packed payloads are kept on disk. Of the pieces that match, the longest is
//! taken, so their order is free.

use std::cmp::Reverse;
use std::sync::LazyLock;

/// All numbers are below, so that piece and operation fit one byte.
const NUMBERS: usize = 240;
/// The numbers at which the three begin.
const FIRST_FIELD: usize = 84;
const FIRST_WORD: usize = 192;

/// What the IoT platform writes.
pub const PIECES: &[&str] = &[
    r#"{"Action":"Connect","Time":""#,
    r#"{"Action":"Disconnect","Time":""#,
    r#"{"Action":"FailedConnect","Time":""#,
    r#"","ClientAddr":""#,
    r#"","ClientID":"d:"#,
    r#"","ClientID":"g:"#,
    r#"","ClientID":""#,
    r#"","Port":"#,
    r#","Secure":true,"Protocol":"mqtt4","User":""#,
    r#","Secure":true,"Protocol":"mqtt4","ConnectTime":""#,
    r#","Secure":true,"Protocol":"mqtt4"#,
    r#","Secure":true,"Protocol":"mqtt5","ConnectTime":""#,
    r#","Secure":true,"Protocol":"mqtt5"#,
    r#","Secure":true,"Protocol":"mqtt3"#,
    r#","Secure":true,"Protocol":"mqtt-tcp"#,
    r#","Secure":true,"Protocol":"iotrest","ConnectTime":""#,
    r#","Secure":true,"Protocol":""#,
    r#","Secure":false,"Protocol":"mqtt4","ConnectTime":""#,
    r#","Secure":false,"Protocol":"mqtt4"#,
    r#","Secure":false,"Protocol":"mqtt5","ConnectTime":""#,
    r#","Secure":false,"Protocol":"mqtt5"#,
    r#","Secure":false,"Protocol":"mqtt3"#,
    r#","Secure":false,"Protocol":"mqtt-tcp"#,
    r#","Secure":false,"Protocol":"iotrest","ConnectTime":""#,
    r#","Secure":false,"Protocol":""#,
    r#","Secure":true"#,
    r#","Secure":false"#,
    r#"-ws"#,
    r#"","User":"use-token-auth"#,
    r#"","User":""#,
    r#"","CertName":""#,
    r#"","ConnectTime":""#,
    r#"","Durable":true,"CloseCode":0,"Reason":""}"#,
    r#"","Durable":false,"NewSession":true,"CloseCode":0,"Reason":""}"#,
    r#"","Durable":false,"CloseCode":0,"Reason":""}"#,
    r#"","Durable":true"#,
    r#"","Durable":false"#,
    r#","NewSession":true"#,
    r#"","CloseCode":0,"Reason":"The connection has completed normally.","ReadBytes":"#,
    r#"","CloseCode":0,"Reason":""}"#,
    r#"","CloseCode":91,"Reason":"Connection closed by client","ReadBytes":"#,
    r#"","CloseCode":91,"Reason":"The connection was closed by the client or network (0).","ReadBytes":"#,
    r#"","CloseCode":91,"Reason":""#,
    r#"","CloseCode":92,"Reason":""#,
    r#"","CloseCode":93,"Reason":"The connection was closed because the server was shutdown.","ReadBytes":"#,
    r#"","CloseCode":94,"Reason":"The connection was closed by an administrator.","ReadBytes":"#,
    r#"","CloseCode":100,"Reason":"System error","ReadBytes":"#,
    r#"","CloseCode":160,"Reason":"The connection timed out","ReadBytes":"#,
    r#"","CloseCode":180,"Reason":"The operation is not authorized."#,
    r#"","CloseCode":287,"Reason":"The message size is too large for this endpoint.","ReadBytes":"#,
    r#"","CloseCode":288,"Reason":"The client ID was reused.","ReadBytes":"#,
    r#"","CloseCode":"#,
    r#","CloseCode":"#,
    r#","Reason":"The connection has completed normally."#,
    r#","Reason":"Connection closed by client"#,
    r#","Reason":""#,
    r#"","ReadBytes":"#,
    r#","ReadBytes":"#,
    r#","ReadMsg":"#,
    r#","WriteBytes":"#,
    r#","WriteMsg":"#,
    r#"{"ClientAddr":""#,
    r#"","Protocol":"mqtt-tcp","ClientID":"d:"#,
    r#"","Protocol":""#,
    r#"","Time":""#,
    r#"","Action":"Connect"#,
    r#"","Action":"Disconnect"#,
    r#""}"#,
    r#"}"#,
];

/// A field whose value is a text or another value, after a text, after another value, and as the first one; compact and with
/// spaces.
macro_rules! fields {
    (texts: $($text:literal)* ; others: $($other:literal)*) => {
        &[
            $(
                concat!("\",\"", $text, "\":\""),
                concat!(",\"", $text, "\":\""),
                concat!("{\"", $text, "\":\""),
                concat!("\", \"", $text, "\": \""),
                concat!(", \"", $text, "\": \""),
                concat!("{\"", $text, "\": \""),
            )*
            $(
                concat!("\",\"", $other, "\":"),
                concat!(",\"", $other, "\":"),
                concat!("{\"", $other, "\":"),
                concat!("\", \"", $other, "\": "),
                concat!(", \"", $other, "\": "),
                concat!("{\"", $other, "\": "),
            )*
        ]
    };
}

/// Each field by itself.
const FIELDS: &[&str] = fields! {
    texts: "Action" "Time" "ClientAddr" "ClientID" "Protocol" "User" "CertName" "ConnectTime" "Reason" ;
    others: "Port" "Secure" "Durable" "NewSession" "CloseCode" "ReadBytes" "ReadMsg" "WriteBytes" "WriteMsg"
};

/// Values, and parts of status documents.
const WORDS: &[&str] = &[
    "true",
    "false",
    "Connect",
    "Disconnect",
    "FailedConnect",
    "mqtt4",
    "mqtt5",
    "mqtt3",
    "mqtt-tcp",
    "iotrest",
    "use-token-auth",
    "The connection has completed normally.",
    "Connection closed by client",
    "The connection was closed by the client or network (0).",
    "The connection was closed because the server was shutdown.",
    "The connection was closed by an administrator.",
    "The connection timed out",
    "The client ID was reused.",
    "The operation is not authorized.",
    r#"","_":{"s":{"p":null},"t":"#,
    r#"","_":{"s":{"p":null},"m":""#,
    r#"","_":{"s":{"p":""#,
    r#"","_":{"s":{"s":"#,
    r#"","_":{"t":"#,
    r#"","_":{"m":""#,
    r#""},"t":"#,
    r#"},"t":"#,
    r#","c":""#,
    r#"","m":""#,
    r#","m":""#,
    r#""}}"#,
];

const _: () = assert!(PIECES.len() <= FIRST_FIELD && FIRST_FIELD + FIELDS.len() <= FIRST_WORD);
const _: () = assert!(FIRST_WORD + WORDS.len() <= NUMBERS);

/// The piece with this number, if there is one.
pub fn piece(number: usize) -> Option<&'static str> {
    let (pieces, first) = match number {
        FIRST_WORD.. => (WORDS, FIRST_WORD),
        FIRST_FIELD.. => (FIELDS, FIRST_FIELD),
        _ => (PIECES, 0),
    };
    pieces.get(number - first).copied()
}

/// Whether the piece with this number begins with what separates fields.
pub fn begins_field(number: u8) -> bool {
    BEGINS_FIELD[usize::from(number)]
}

static BEGINS_FIELD: [bool; 256] = {
    let mut begins = [false; 256];
    mark_fields(PIECES, 0, &mut begins);
    mark_fields(FIELDS, FIRST_FIELD, &mut begins);
    mark_fields(WORDS, FIRST_WORD, &mut begins);
    begins
};

const fn mark_fields(pieces: &[&str], first: usize, begins: &mut [bool; 256]) {
    let mut at = 0;
    while at < pieces.len() {
        begins[first + at] = matches!(pieces[at].as_bytes()[0], b'"' | b',' | b'{');
        at += 1;
    }
}

/// Every piece with its number.
fn all() -> impl Iterator<Item = (u8, &'static str)> {
    (0..NUMBERS).filter_map(|number| Some((u8::try_from(number).ok()?, piece(number)?)))
}

/// The number of the piece with just this text; there must be one. Of two the first counts, which is also the one that is found.
pub const fn number(text: &[u8]) -> u8 {
    if let Some(number) = place(PIECES, text) {
        return number;
    }
    if let Some(number) = place(FIELDS, text) {
        return FIRST_FIELD as u8 + number;
    }
    match place(WORDS, text) {
        Some(number) => FIRST_WORD as u8 + number,
        None => panic!("there is no such piece"),
    }
}

const fn place(pieces: &[&str], text: &[u8]) -> Option<u8> {
    let mut at = 0;
    while at < pieces.len() {
        if is_same(pieces[at].as_bytes(), text) {
            return Some(at as u8);
        }
        at += 1;
    }
    None
}

/// `==` is not for constants yet.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The longest piece that `text` begins with.
pub fn find(text: &[u8]) -> Option<usize> {
    let start = FirstBytes::of(text);
    let long = longest(&INDEX.long[start.place()], start, text);
    let short = || longest(&INDEX.short[usize::from(*text.first()?)], start, text);
    long.or_else(short).map(usize::from)
}

fn longest(entries: &[Entry], start: FirstBytes, text: &[u8]) -> Option<u8> {
    let begins = |entry: &&Entry| {
        start.0 & entry.mask == entry.start.0
            && (entry.len <= FirstBytes::LEN
                || piece(usize::from(entry.number)).is_some_and(|piece| text.starts_with(piece.as_bytes())))
    };
    entries.iter().find(begins).map(|entry| entry.number)
}

/// How a text begins, as a number; of a shorter text with zeros, which are in no piece, behind it.
#[derive(Clone, Copy)]
struct FirstBytes(u64);

impl FirstBytes {
    const LEN: usize = 8;
    /// So many bytes tell most pieces apart: with them the search compares one or two instead of all.
    const KEY_LEN: usize = 6;

    fn of(text: &[u8]) -> Self {
        let bytes = text.first_chunk::<{ Self::LEN }>().copied().unwrap_or_else(|| {
            let mut bytes = [0; Self::LEN];
            bytes[..text.len()].copy_from_slice(text);
            bytes
        });
        Self(u64::from_le_bytes(bytes))
    }

    /// By the first [`Self::KEY_LEN`] bytes, Fibonacci hashing.
    fn place(self) -> usize {
        let key = self.0 << (8 * (Self::LEN - Self::KEY_LEN));
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize
    }
}

/// A piece with what it takes to pass over it without a look at its text.
struct Entry {
    start: FirstBytes,
    /// The bits of `start` that are of the piece.
    mask: u64,
    len: usize,
    number: u8,
}

impl Entry {
    fn of(number: u8, piece: &str) -> Self {
        let unused_bytes = FirstBytes::LEN.saturating_sub(piece.len());
        let mask = u64::MAX >> (8 * unused_bytes);
        Self { start: FirstBytes::of(piece.as_bytes()), mask, len: piece.len(), number }
    }
}

struct Index {
    /// Pieces of at least [`FirstBytes::KEY_LEN`] bytes by [`FirstBytes::place`], the longest first.
    long: [Vec<Entry>; 256],
    /// Shorter pieces by their first byte, the longest first.
    short: [Vec<Entry>; 256],
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let new = || std::array::from_fn(|_| Vec::new());
    let mut index = Index { long: new(), short: new() };
    let mut pieces: Vec<_> = all().collect();
    // Of two equal ones the first is taken, as before there were others.
    pieces.sort_by_key(|(_, piece)| Reverse(piece.len()));
    for (number, piece) in pieces {
        let entry = Entry::of(number, piece);
        if piece.len() < FirstBytes::KEY_LEN {
            index.short[usize::from(piece.as_bytes()[0])].push(entry);
        } else {
            index.long[entry.start.place()].push(entry);
        }
    }
    index
});

#[cfg(test)]
mod tests {
    use super::{all, find, piece};

    #[test]
    fn every_piece_is_found_by_its_text() {
        for (number, text) in all() {
            let found = find(text.as_bytes()).and_then(piece);
            assert_eq!(found, Some(text), "{number} is hidden by another");
        }
    }

    #[test]
    fn what_packed_payloads_on_disk_hold_has_kept_its_number() {
        for (number, text) in [
            (0, r#"{"Action":"Connect","Time":""#),
            (3, r#"","ClientAddr":""#),
            (68, "}"),
            (84, r#"","Action":""#),
            (191, r#"{"WriteMsg": "#),
            (192, "true"),
        ] {
            assert_eq!(piece(number), Some(text));
        }
    }
}
