//! Operations to text. Total: damaged operations give some text, never a panic, because packed payloads may come from
//! a disk.

use std::net::Ipv4Addr;

use super::{UNPACKED_CAPACITY, WordSearch, dictionary, document, op};
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

/// The literal behind the first occurrence of a dictionary piece, or what follows that of a text inside one literal, up to a
/// quotation mark.
pub fn word_behind<'a>(packed: &'a [u8], piece: u8, text: &[u8]) -> WordSearch<'a> {
    let mut rest = packed;
    while let Some((&code, operands)) = rest.split_first() {
        let (found, next) = match code {
            op::LITERAL => match literal(rest) {
                Some((literal, next)) => (behind(literal, text), Some(next)),
                None => (None, None),
            },
            code if code == piece => (literal(operands).map(|(literal, _)| literal), Some(operands)),
            op::MESSAGE => return WordSearch::NoneBesideMessage,
            _other => (None, skip(rest)),
        };
        if let Some(found) = found {
            let end = found.iter().position(|byte| *byte == b'"').unwrap_or(found.len());
            return std::str::from_utf8(&found[..end]).map_or(WordSearch::None, WordSearch::Word);
        }
        let Some(next) = next else { break };
        rest = next;
    }
    WordSearch::None
}

/// The end of a document behind a text that a piece begins with or that is inside of a literal.
pub fn document_behind(packed: &[u8], wanted: &[u8], text: &mut Vec<u8>) -> bool {
    let (mut rest, mut last_time) = (packed, 0);
    while let Some(next) = skip(rest) {
        let found = match rest[0] {
            op::LITERAL => literal(rest).and_then(|(literal, _)| behind(literal, wanted)),
            op::TIME | op::TIME_DELTA => {
                // Times behind it may count from this one.
                take_time(rest, &mut last_time);
                None
            }
            code => piece(code).and_then(|piece| piece.as_bytes().strip_prefix(wanted)),
        };
        if let Some(found) = found {
            text.extend_from_slice(found);
            run(next, &mut last_time, text);
            return true;
        }
        rest = next;
    }
    false
}

/// The text of a literal, and what follows it.
pub fn literal(packed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_, literal) = packed.split_first().filter(|(code, _)| **code == op::LITERAL)?;
    let (len, literal) = varint(literal)?;
    literal.split_at_checked(usize::try_from(len).ok()?)
}

/// What is behind the first occurrence of a text that is not empty.
fn behind<'a>(text: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let (&first, others) = wanted.split_first()?;
    let mut rest = text;
    // Hardly any byte is the first one.
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[at + 1..];
        if let Some(found) = rest.strip_prefix(others) {
            return Some(found);
        }
    }
    None
}

/// What follows one operation; nothing follows those of a document but its message.
#[inline]
pub fn skip(packed: &[u8]) -> Option<&[u8]> {
    let (&code, rest) = packed.split_first()?;
    match code {
        op::LITERAL => literal(packed).map(|(_, rest)| rest),
        op::TIME => rest.get(6..),
        op::TIME_DELTA | op::INTEGER => after_varint(rest),
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
        op::TIME | op::TIME_DELTA => {
            let rest = take_time(packed, last_time)?;
            write_time(*last_time, text);
            Some(rest)
        }
        op::IPV4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            write_ipv4(*octets, text);
            Some(rest)
        }
        op::SOURCE => after_source(rest),
        op::INTEGER => {
            let (integer, rest) = varint(rest)?;
            digits::write(integer, text);
            Some(rest)
        }
        number => {
            text.extend_from_slice(piece(number)?.as_bytes());
            Some(rest)
        }
    }
}

/// The piece that an operation stands for.
pub fn piece(code: u8) -> Option<&'static str> {
    dictionary::piece(usize::from(code.checked_sub(op::FIRST_PIECE)?))
}

/// Carries out the operation of a time without writing it, and returns what follows it.
fn take_time<'a>(packed: &'a [u8], last_time: &mut u64) -> Option<&'a [u8]> {
    let (&code, rest) = packed.split_first()?;
    if code == op::TIME {
        let (bytes, rest) = rest.split_first_chunk::<6>()?;
        let mut wide = [0; 8];
        wide[..6].copy_from_slice(bytes);
        *last_time = u64::from_le_bytes(wide);
        return Some(rest);
    }
    let (delta, rest) = varint(rest)?;
    *last_time = last_time.wrapping_add(unzigzag(delta));
    Some(rest)
}

/// What [`super::pack::zigzag`] was given, to be added with wrapping.
pub fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

pub fn write_ipv4(octets: [u8; 4], text: &mut Vec<u8>) {
    for (i, octet) in octets.iter().enumerate() {
        if i > 0 {
            text.push(b'.');
        }
        digits::write(u64::from(*octet), text);
    }
}

/// Milliseconds since 1970 as text.
pub fn write_time(ms: u64, text: &mut Vec<u8>) {
    // What was packed fits in six bytes; of anything else some text is made.
    text.extend_from_slice(TimeText::of_millis(ms.cast_signed()).as_bytes());
}

#[inline]
pub fn varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    match packed.split_first() {
        // Most numbers are lengths of short texts.
        Some((&byte, rest)) if byte < 0x80 => Some((u64::from(byte), rest)),
        _ => long_varint(packed),
    }
}

/// So many times seven bits hold every number.
const VARINT_MAX_BYTES: usize = 10;

/// What follows a varint, whose number does not matter.
#[inline]
pub fn after_varint(packed: &[u8]) -> Option<&[u8]> {
    let last = packed.iter().take(VARINT_MAX_BYTES).position(|byte| *byte < 0x80)?;
    packed.get(last + 1..)
}

fn long_varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, &byte) in packed.iter().enumerate().take(VARINT_MAX_BYTES) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &packed[i + 1..]));
        }
    }
    None
}
