//! Operations to text. Total: damaged operations give some text, never a panic, because packed payloads may come from
//! a disk.

use std::net::Ipv4Addr;

use super::{UNPACKED_CAPACITY, dictionary, document, op};
use crate::digits;
use crate::time_text::TimeText;

/// Appends the text that the operations stand for; stops at the first that cannot be.
pub fn unpack(packed: &[u8], text: &mut Vec<u8>) {
    let mut last_time = 0;
    let rest = run(packed, &mut last_time, text);
    if let Some((is_cut, rest)) = message_operation(rest) {
        let mut message = Vec::with_capacity(UNPACKED_CAPACITY);
        run(rest, &mut last_time, &mut message);
        document::put_message(text, &message, is_cut);
    }
}

/// The same without the message that is held beside it.
pub fn document(packed: &[u8], text: &mut Vec<u8>) {
    run(packed, &mut 0, text);
}

/// The message that is held beside a document, and whether it was longer.
pub fn message(packed: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (mut last_time, mut text) = (0, Vec::with_capacity(UNPACKED_CAPACITY));
    let (is_cut, rest) = message_operation(run(packed, &mut last_time, &mut text))?;
    text.clear();
    run(rest, &mut last_time, &mut text);
    Some((text, is_cut))
}

pub fn has_message(packed: &[u8]) -> bool {
    let mut rest = packed;
    while let Some(next) = skip(rest) {
        rest = next;
    }
    rest.first() == Some(&op::MESSAGE)
}

/// Carries out operations up to the first that cannot be, or to that of a message, and returns what is left.
fn run<'a>(packed: &'a [u8], last_time: &mut u64, text: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = packed;
    while let Some(next) = step(rest, last_time, text) {
        rest = next;
    }
    rest
}

/// Whether the message was longer, and its operations.
fn message_operation(packed: &[u8]) -> Option<(bool, &[u8])> {
    let (&[code, is_cut], rest) = packed.split_first_chunk::<2>()?;
    (code == op::MESSAGE).then_some((is_cut != 0, rest))
}

/// The address that follows the only occurrence of a dictionary piece.
pub fn ipv4_behind(packed: &[u8], wanted: u8) -> Option<Ipv4Addr> {
    let (mut rest, mut found) = (packed, None);
    while let Some((&code, behind)) = rest.split_first().filter(|(code, _)| **code != op::MESSAGE) {
        if code == wanted {
            if found.is_some() {
                return None;
            }
            let (&[code, a, b, c, d], _) = behind.split_first_chunk::<5>()?;
            found = (code == op::IPV4).then(|| Ipv4Addr::new(a, b, c, d));
            found?;
        }
        rest = skip(rest)?;
    }
    found
}

/// The literal behind the first occurrence of a dictionary piece, up to its first quotation mark.
pub fn word_behind(packed: &[u8], wanted: u8) -> Option<&str> {
    let mut rest = packed;
    loop {
        let (&code, behind) = rest.split_first()?;
        if code == wanted {
            let (_, literal) = behind.split_first().filter(|(code, _)| **code == op::LITERAL)?;
            let (len, literal) = varint(literal)?;
            let literal = literal.get(..usize::try_from(len).ok()?)?;
            return std::str::from_utf8(literal.split(|byte| *byte == b'"').next()?).ok();
        }
        rest = skip(rest)?;
    }
}

/// What follows the first occurrence of a text inside one literal, up to a quotation mark.
pub fn word_behind_text<'a>(packed: &'a [u8], wanted: &[u8]) -> Option<&'a str> {
    let mut rest = packed;
    loop {
        if let Some((&op::LITERAL, literal)) = rest.split_first() {
            let (len, literal) = varint(literal)?;
            let literal = literal.get(..usize::try_from(len).ok()?)?;
            if let Some(at) = literal.windows(wanted.len()).position(|window| window == wanted) {
                let behind = &literal[at + wanted.len()..];
                return std::str::from_utf8(behind.split(|byte| *byte == b'"').next()?).ok();
            }
        }
        rest = skip(rest)?;
    }
}

/// What follows one operation; nothing follows those of a document but its message.
fn skip(packed: &[u8]) -> Option<&[u8]> {
    let (&code, rest) = packed.split_first()?;
    match code {
        op::LITERAL => {
            let (len, rest) = varint(rest)?;
            Some(rest.split_at_checked(usize::try_from(len).ok()?)?.1)
        }
        op::TIME => rest.get(6..),
        op::TIME_DELTA | op::INTEGER => Some(varint(rest)?.1),
        op::IPV4 => rest.get(4..),
        op::SOURCE => after_source(rest),
        op::MESSAGE => None,
        _piece => Some(rest),
    }
}

fn after_source(packed: &[u8]) -> Option<&[u8]> {
    let (&len, rest) = packed.split_first()?;
    rest.get(usize::from(len)..)
}

/// Carries out one operation and returns what follows it.
fn step<'a>(packed: &'a [u8], last_time: &mut u64, text: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (&code, rest) = packed.split_first()?;
    match code {
        op::LITERAL => {
            let (len, rest) = varint(rest)?;
            let (literal, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            text.extend_from_slice(literal);
            Some(rest)
        }
        op::TIME => {
            let (bytes, rest) = rest.split_first_chunk::<6>()?;
            let mut wide = [0; 8];
            wide[..6].copy_from_slice(bytes);
            *last_time = u64::from_le_bytes(wide);
            write_time(*last_time, text);
            Some(rest)
        }
        op::TIME_DELTA => {
            let (delta, rest) = varint(rest)?;
            let delta = (delta >> 1) ^ (delta & 1).wrapping_neg();
            *last_time = last_time.wrapping_add(delta);
            write_time(*last_time, text);
            Some(rest)
        }
        op::IPV4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            for (i, octet) in octets.iter().enumerate() {
                if i > 0 {
                    text.push(b'.');
                }
                digits::write(u64::from(*octet), text);
            }
            Some(rest)
        }
        op::SOURCE => after_source(rest),
        op::INTEGER => {
            let (integer, rest) = varint(rest)?;
            digits::write(integer, text);
            Some(rest)
        }
        number => {
            let piece = dictionary::piece(usize::from(number.checked_sub(op::FIRST_PIECE)?))?;
            text.extend_from_slice(piece.as_bytes());
            Some(rest)
        }
    }
}

/// Milliseconds since 1970 as text.
fn write_time(ms: u64, text: &mut Vec<u8>) {
    // What was packed fits in six bytes; of anything else some text is made.
    text.extend_from_slice(TimeText::of_millis(ms.cast_signed()).as_bytes());
}

pub fn varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in packed.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * i as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, &packed[i + 1..]));
        }
    }
    None
}
