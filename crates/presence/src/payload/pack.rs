//! Text to operations. Every value is checked to come back as it was written before it becomes an operation.

use std::cell::Cell;
use std::ops::Range;

use super::{SourceMessage, dictionary, op, unpack};
use crate::time_text::{self, TimeText};

/// The longest value that [`Packer::value_behind_piece`] copies to pack it.
const COPIED_MAX_BYTES: usize = 128;

/// A packed Disconnect of the platform with some room.
pub const PACKED_CAPACITY: usize = 96;

/// What a thread keeps to pack into, so that packing allocates only what is kept.
const SCRATCH_MAX_BYTES: usize = 4_096;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Shows the operations that stand for `text`.
pub fn with_packed<T>(text: &[u8], show: impl FnOnce(&[u8]) -> T) -> T {
    let mut packer = Packer::into(SCRATCH.take());
    packer.text(text);
    let shown = show(&packer.packed);
    packer.packed.clear();
    packer.packed.shrink_to(SCRATCH_MAX_BYTES);
    SCRATCH.set(packer.packed);
    shown
}

/// The shortest value that is packed behind a key that is no piece: a shorter one takes less room in the literal around it.
const OTHER_VALUE_MIN_BYTES: usize = 6;

/// Where the value behind a key begins: behind spaces and a quotation mark.
fn value_behind(text: &[u8], colon_end: usize) -> usize {
    let spaces = text[colon_end..].iter().take_while(|byte| **byte == b' ').count();
    let at = colon_end + spaces;
    at + usize::from(text.get(at) == Some(&b'"'))
}

/// Whether a text between quotation marks is literal wherever it stands, but behind a piece.
pub fn is_literal(text: &[u8]) -> bool {
    // What a colon stands before may be a value.
    classes(text) == 0
}

/// Whether a text is written otherwise inside of JSON.
pub fn is_escaped(text: &[u8]) -> bool {
    classes(text) & ESCAPED != 0
}

/// The bytes that dictionary pieces begin with: spares a search at every letter of an identifier.
fn starts_piece(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & PIECE_START != 0
}

/// The classes of all bytes of a text.
fn classes(text: &[u8]) -> u8 {
    text.iter().fold(0, |classes, byte| classes | CLASSES[usize::from(*byte)])
}

const PIECE_START: u8 = 1;
const ESCAPED: u8 = 2;
const COLON: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut control = 0;
    while control < b' ' {
        classes[control as usize] = ESCAPED;
        control += 1;
    }
    classes[b'\\' as usize] = ESCAPED;
    classes[b':' as usize] = COLON;
    let starts = b"\",{}-";
    let mut at = 0;
    while at < starts.len() {
        classes[starts[at] as usize] = PIECE_START;
        at += 1;
    }
    classes[b'"' as usize] |= ESCAPED;
    classes
};

pub struct Packer {
    pub packed: Vec<u8>,
    literal_start: usize,
    /// Where the operation of the last literal is in what is packed.
    last_literal: Option<Range<usize>>,
    last_time: Option<u64>,
}

impl Packer {
    pub fn with_capacity(capacity: usize) -> Self {
        Self::into(Vec::with_capacity(capacity))
    }

    /// Packs into a buffer that is empty.
    fn into(packed: Vec<u8>) -> Self {
        Self { packed, literal_start: 0, last_literal: None, last_time: None }
    }

    pub fn text(&mut self, text: &[u8]) {
        self.part(text, text.len(), false);
    }

    /// A message behind a document.
    pub fn message(&mut self, message: &SourceMessage<'_>) {
        self.packed.extend([op::MESSAGE, u8::from(message.is_cut)]);
        self.text(message.bytes);
    }

    /// What stands behind a piece up to a quotation mark, without escapes, as it is packed within the whole text. `None`: only the
    /// whole text tells.
    pub fn value_behind_piece(&mut self, value: &[u8]) -> Option<()> {
        if value.iter().all(u8::is_ascii_digit) {
            match number(value) {
                Some(integer) => self.integer(integer),
                None => self.literal(value),
            }
            return Some(());
        }
        let piece = dictionary::find(value);
        if value[0].is_ascii_alphabetic()
            && let Some(code) = piece.and_then(|piece| whole(piece, value))
        {
            // No piece that begins with a letter goes on behind a quotation mark.
            self.packed.push(op::FIRST_PIECE + code);
            return Some(());
        }
        if value[0].is_ascii_digit() || piece.is_some() || classes(value) & PIECE_START != 0 {
            let mut text = [0; COPIED_MAX_BYTES];
            let (copy, behind) = text.split_at_mut_checked(value.len())?;
            copy.copy_from_slice(value);
            *behind.first_mut()? = b'"';
            self.part(&text[..=value.len()], value.len(), true);
        } else {
            self.literal(value);
        }
        Some(())
    }

    /// The first `len` bytes of a text. What is behind them says only where a number ends.
    fn part(&mut self, text: &[u8], len: usize, mut after_piece: bool) {
        self.literal_start = 0;
        let mut at = 0;
        // A value or a word is looked for only where a piece has just ended; what is inside an identifier stays literal with it.
        while at < len {
            if !after_piece {
                // What no piece and no end of a key begins with is passed over at once.
                at += text[at..len].iter().take_while(|byte| !starts_piece(**byte)).count();
                if at == len {
                    break;
                }
            }
            let rest = &text[at..];
            if (starts_piece(rest[0]) || after_piece && rest[0].is_ascii_alphabetic())
                && let Some(number) = dictionary::find(rest)
                && let (Some(piece), Ok(code)) = (dictionary::piece(number), u8::try_from(number))
            {
                self.end_literal(text, at);
                self.packed.push(op::FIRST_PIECE + code);
                at += piece.len();
                self.literal_start = at;
                after_piece = true;
                continue;
            }
            let is_key_end = !after_piece && rest.starts_with(b"\":");
            let value_at = if is_key_end { value_behind(text, at + 2) } else { at };
            let value_len = match (after_piece, is_key_end) {
                (true, _) => self.value(text, at, 1),
                (false, true) => self.value(text, value_at, OTHER_VALUE_MIN_BYTES),
                (false, false) => 0,
            };
            after_piece = false;
            at = (value_at + value_len).max(at + 1);
        }
        self.end_literal(text, at);
    }

    fn end_literal(&mut self, text: &[u8], at: usize) {
        self.literal(&text[self.literal_start..at]);
    }

    pub fn literal(&mut self, literal: &[u8]) {
        self.literal_of(&[literal]);
    }

    /// One literal of these texts, if they are not empty. Behind another one it is a part of that.
    pub fn literal_of(&mut self, texts: &[&[u8]]) {
        let len: usize = texts.iter().map(|text| text.len()).sum();
        if len == 0 {
            return;
        }
        let start = match self.last_literal.take() {
            Some(Range { start, end }) if end == self.packed.len() => {
                let (len_before, text) = unpack::varint(&self.packed[start + 1..]).unwrap_or_default();
                let text_at = end - text.len();
                let mut varint = Vec::new();
                put_varint(&mut varint, len_before + len as u64);
                self.packed.splice(start + 1..text_at, varint);
                start
            }
            _ => {
                let start = self.packed.len();
                self.packed.push(op::LITERAL);
                put_varint(&mut self.packed, len as u64);
                start
            }
        };
        texts.iter().for_each(|text| self.packed.extend_from_slice(text));
        self.last_literal = Some(start..self.packed.len());
    }

    /// Packs the value at `at` and says how long it was; 0: no value that an operation can stand for, or a shorter one.
    fn value(&mut self, text: &[u8], at: usize, least: usize) -> usize {
        let rest = &text[at..];
        // All of them begin with a digit.
        if !rest.first().is_some_and(u8::is_ascii_digit) {
            return 0;
        }
        let len = if let Some(ms) = time(rest) {
            self.end_literal(text, at);
            self.put_time(ms);
            time_text::LEN
        } else if let Some((octets, len)) = ipv4(rest) {
            self.end_literal(text, at);
            self.packed.push(op::IPV4);
            self.packed.extend_from_slice(&octets);
            len
        } else if let Some((integer, len)) = integer(rest).filter(|(_, len)| *len >= least) {
            self.end_literal(text, at);
            self.integer(integer);
            len
        } else {
            0
        };
        if len > 0 {
            self.literal_start = at + len;
        }
        len
    }

    pub fn integer(&mut self, integer: u64) {
        self.packed.push(op::INTEGER);
        put_varint(&mut self.packed, integer);
    }

    pub fn put_time(&mut self, ms: u64) {
        put_time(&mut self.packed, &mut self.last_time, ms);
    }
}

/// Appends a time: the first one whole, each further one by what it is later than the one before.
pub fn put_time(packed: &mut Vec<u8>, last_time: &mut Option<u64>, ms: u64) {
    match last_time.replace(ms) {
        Some(last) => {
            packed.push(op::TIME_DELTA);
            put_varint(packed, zigzag(ms.wrapping_sub(last) as i64));
        }
        None => {
            packed.push(op::TIME);
            packed.extend_from_slice(&ms.to_le_bytes()[..6]);
        }
    }
}

/// Milliseconds since 1970, if the text begins with a time written exactly as [`TimeText`] would.
fn time(text: &[u8]) -> Option<u64> {
    let text = text.first_chunk::<{ time_text::LEN }>()?;
    if text[4] != b'-' || text[23] != b'Z' {
        return None;
    }
    TimeText::millis_of(text)
}

/// `a.b.c.d` without leading zeros, not followed by what would make it another word.
fn ipv4(text: &[u8]) -> Option<([u8; 4], usize)> {
    let len = text.iter().take(16).position(|b| !b.is_ascii_digit() && *b != b'.')?;
    // Most of what begins with a digit is a number, and too great for the first part.
    let mut parts = text[..len].split(|byte| *byte == b'.');
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = u8::try_from(number(parts.next()?)?).ok()?;
    }
    parts.next().is_none().then_some((octets, len))
}

/// A decimal integer that fits 64 bits, without leading zeros.
fn integer(text: &[u8]) -> Option<(u64, usize)> {
    let len = text.iter().take(21).position(|b| !b.is_ascii_digit())?;
    Some((number(&text[..len])?, len))
}

/// The same, of which these are all digits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 1 && digits[0] == b'0' {
        return None;
    }
    let add = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add)
}

/// The number of a piece as the operation has it, if the piece is all of the value.
fn whole(piece: usize, value: &[u8]) -> Option<u8> {
    let text = dictionary::piece(piece)?;
    if text.len() == value.len() { u8::try_from(piece).ok() } else { None }
}

pub fn put_varint(packed: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        packed.push(value as u8 | 0x80);
        value >>= 7;
    }
    packed.push(value as u8);
}

/// Small differences of either sign become small numbers.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_address_is_what_the_library_takes_for_one(text in "[0-9.]{0,3}([0-9]{0,3}[.]){0,4}[0-9]{0,4}") {
            let behind = format!("{text}\"");
            let octets = text.parse::<std::net::Ipv4Addr>().ok().map(|address| (address.octets(), text.len()));
            prop_assert_eq!(ipv4(behind.as_bytes()), octets);
        }
    }
}
