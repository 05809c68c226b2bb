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

/// The address that is the whole text behind the only occurrence of a dictionary piece.
pub fn ipv4_behind(packed: &[u8], wanted: u8) -> Option<Ipv4Addr> {
    let (mut rest, mut found) = (packed, None);
    while let Some((&code, behind)) = rest.split_first().filter(|(code, _)| **code != op::MESSAGE) {
        if code == wanted {
            if found.is_some() {
                return None;
            }
            let (&[code, a, b, c, d], behind) = behind.split_first_chunk::<5>()?;
            let is_address = code == op::IPV4 && begins_with_quotation_mark(behind);
            found = is_address.then(|| Ipv4Addr::new(a, b, c, d));
            found?;
        }
        rest = skip(rest)?;
    }
    found
}

/// Whether a text ends before these operations.
pub fn begins_with_quotation_mark(packed: &[u8]) -> bool {
    let text = match packed.first() {
        Some(&op::LITERAL) => literal(packed).map(|(literal, _)| literal),
        Some(&code) => piece(code).map(str::as_bytes),
        None => None,
    };
    text.is_some_and(|text| text.first() == Some(&b'"'))
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
#[inline]
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
            digits::write_ipv4(*octets, text);
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

/// So many times seven bits hold every number; of the last byte there is room for one bit.
const VARINT_MAX_BYTES: usize = 10;
const TENTH_BYTE_MAX: u8 = 1;

/// What follows a varint, whose number does not matter.
#[inline]
pub fn after_varint(packed: &[u8]) -> Option<&[u8]> {
    match packed.split_first() {
        Some((&byte, behind)) if byte < 0x80 => Some(behind),
        _ => packed.get(varint_len(packed)?..),
    }
}

/// The bytes of a varint that is a number of 64 bits at most. Eight of them are looked at in one go.
fn varint_len(packed: &[u8]) -> Option<usize> {
    const LASTS: u64 = 0x8080_8080_8080_8080;
    let (first, behind) = match packed.split_first_chunk::<8>() {
        Some((eight, behind)) => {
            let lasts = !u64::from_le_bytes(*eight) & LASTS;
            if lasts != 0 {
                return Some(lasts.trailing_zeros() as usize / 8 + 1);
            }
            (eight.len(), behind)
        }
        None => (0, packed),
    };
    let last = behind.iter().take(VARINT_MAX_BYTES - first).position(|byte| *byte < 0x80)?;
    let len = first + last + 1;
    (len < VARINT_MAX_BYTES || behind[last] <= TENTH_BYTE_MAX).then_some(len)
}

fn long_varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    let (bytes, behind) = packed.split_at_checked(varint_len(packed)?)?;
    let value = bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payload::pack::put_varint;

    proptest! {
        #[test]
        fn a_varint_is_read_and_passed_over_alike(bits in 0u32..64, number in any::<u64>(), behind in prop::collection::vec(any::<u8>(), 0..12)) {
            let number = number >> bits;
            let mut packed = Vec::new();
            put_varint(&mut packed, number);
            packed.extend_from_slice(&behind);
            prop_assert_eq!(varint(&packed), Some((number, &behind[..])));
            prop_assert_eq!(after_varint(&packed), Some(&behind[..]));
        }

        #[test]
        fn of_any_bytes_the_same_make_a_varint(bytes in prop::collection::vec(prop_oneof![1 => any::<u8>(), 3 => 0x80u8..], 0..14)) {
            let last = bytes.iter().take(VARINT_MAX_BYTES).position(|byte| *byte < 0x80);
            let last = last.filter(|last| *last < 9 || bytes[*last] < 2);
            let behind = last.map(|last| &bytes[last + 1..]);
            prop_assert_eq!(after_varint(&bytes), behind);
            prop_assert_eq!(varint(&bytes).map(|(_, behind)| behind), behind);
        }

        #[test]
        fn a_tenth_byte_has_one_bit(start in prop::collection::vec(0x80u8.., 9), last in 0u8..0x80) {
            let bytes = [&start[..], &[last]].concat();
            let mut written = Vec::new();
            if let Some((number, _)) = varint(&bytes) {
                put_varint(&mut written, number);
                // Where the tenth is zero, fewer bytes would do.
                prop_assert!(last == 0 || written == bytes);
            }
            prop_assert_eq!(varint(&bytes).is_some(), last <= TENTH_BYTE_MAX);
        }
    }
}
