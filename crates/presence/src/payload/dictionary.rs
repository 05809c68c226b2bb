//! The pieces of text that status messages are made of, each with a number of one byte.
//!
//! The numbers are positions in [`PIECES`]: a piece may be added at the end, none may be changed or removed once
//! packed payloads are kept on disk. Of the pieces that match, the longest is taken, so their order is free.

use std::cmp::Reverse;
use std::sync::LazyLock;

/// At most 240, so that piece and operation fit one byte.
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

/// The piece at this number, none beyond the end.
pub fn piece(number: usize) -> Option<&'static str> {
    PIECES.get(number).copied()
}

/// The number of the piece with just this text; there must be one.
pub const fn number(text: &[u8]) -> u8 {
    let mut number = 0;
    while !is_same(PIECES[number as usize].as_bytes(), text) {
        number += 1;
    }
    number
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
    let long = text.get(KEY_AT).and_then(|&key| longest(&INDEX.by_key[usize::from(key)], text));
    long.or_else(|| longest(&INDEX.short, text)).map(usize::from)
}

fn longest(numbers: &[u8], text: &[u8]) -> Option<u8> {
    numbers.iter().copied().find(|&number| text.starts_with(PIECES[usize::from(number)].as_bytes()))
}

/// The byte that tells most pieces apart: with it the search compares a handful of pieces instead of all.
const KEY_AT: usize = 5;

struct Index {
    /// By the byte at [`KEY_AT`], the longest piece first.
    by_key: [Vec<u8>; 256],
    /// Pieces too short to have that byte, the longest first.
    short: Vec<u8>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index { by_key: std::array::from_fn(|_| Vec::new()), short: Vec::new() };
    let mut numbers: Vec<u8> = (0u8..=u8::MAX).take(PIECES.len()).collect();
    numbers.sort_by_key(|&number| Reverse(PIECES[usize::from(number)].len()));
    for number in numbers {
        match PIECES[usize::from(number)].as_bytes().get(KEY_AT) {
            Some(&key) => index.by_key[usize::from(key)].push(number),
            None => index.short.push(number),
        }
    }
    index
});

#[cfg(test)]
mod tests {
    use super::{PIECES, find};

    #[test]
    fn every_piece_is_found_and_fits_one_byte() {
        assert!(PIECES.len() <= 240);
        for (number, piece) in PIECES.iter().enumerate() {
            assert_eq!(find(piece.as_bytes()), Some(number), "{piece} is hidden by another");
        }
    }
}
