//! A packed payload to a skeleton and what stands in its gaps. Whatever would not come back byte for byte makes no skeleton.

use super::super::{dictionary, op, unpack};
use super::{Beside, SPLIT_MAX_BYTES, Skeletons, millis, part, stand_in};
use crate::payload::pack::{put_varint, zigzag};

/// Room for most skeletons, so that splitting allocates once for them.
const SKELETON_CAPACITY: usize = 128;
const FIELDS_CAPACITY: usize = 32;
const TEXT_CAPACITY: usize = 64;

/// A skeleton, and where its fields end.
pub struct Split {
    skeleton: Vec<u8>,
    ends: Vec<u16>,
}

impl Split {
    pub fn skeleton(&self) -> &[u8] {
        &self.skeleton
    }

    /// The parts of each field, with the punctuation before or behind it.
    pub fn fields(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.ends.iter().map(|end| usize::from(*end));
        let starts = [0].into_iter().chain(ends.clone());
        let ranges = starts.zip(ends.chain([self.skeleton.len()]));
        ranges.map(|(start, end)| &self.skeleton[start..end]).filter(|field| !field.is_empty())
    }
}

pub struct Splitter<'a> {
    skeletons: &'a Skeletons,
    beside: &'a Beside<'a>,
    split: Split,
    gaps: &'a mut Vec<u8>,
    /// A text with stand-ins for the names of the device.
    text: Vec<u8>,
}

impl<'a> Splitter<'a> {
    pub fn new(skeletons: &'a Skeletons, beside: &'a Beside<'a>, gaps: &'a mut Vec<u8>) -> Self {
        let split = Split {
            skeleton: Vec::with_capacity(SKELETON_CAPACITY),
            ends: Vec::with_capacity(FIELDS_CAPACITY),
        };
        Self { skeletons, beside, split, gaps, text: Vec::with_capacity(TEXT_CAPACITY) }
    }

    /// Appends what stands in the gaps and returns the skeleton; `None` if there can be none.
    pub fn split(mut self, packed: &[u8]) -> Option<Split> {
        let (mut rest, mut last_time) = (packed, None);
        while let Some((&code, behind)) = rest.split_first() {
            rest = match code {
                op::LITERAL => {
                    let (len, behind) = canonical_varint(behind)?;
                    let (literal, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
                    self.literal(literal)?;
                    behind
                }
                op::TIME if last_time.is_none() => {
                    let (bytes, behind) = behind.split_first_chunk::<6>()?;
                    let mut wide = [0; 8];
                    wide[..6].copy_from_slice(bytes);
                    last_time = Some(self.time(u64::from_le_bytes(wide)));
                    behind
                }
                op::TIME_DELTA => {
                    let (delta, behind) = canonical_varint(behind)?;
                    let delta = (delta >> 1) ^ (delta & 1).wrapping_neg();
                    last_time = Some(self.time(last_time?.wrapping_add(delta)));
                    behind
                }
                op::IPV4 => {
                    let (octets, behind) = behind.split_first_chunk::<4>()?;
                    self.split.skeleton.push(part::IPV4);
                    self.gaps.extend_from_slice(octets);
                    behind
                }
                op::INTEGER => {
                    let (_, after) = unpack::varint(behind)?;
                    self.split.skeleton.push(part::INTEGER);
                    self.gaps.extend_from_slice(&behind[..behind.len() - after.len()]);
                    after
                }
                op::SOURCE => {
                    let (&len, _) = behind.split_first()?;
                    let (name, behind) = behind.split_at_checked(1 + usize::from(len))?;
                    self.split.skeleton.push(part::SOURCE);
                    self.split.skeleton.extend_from_slice(name);
                    behind
                }
                op::MESSAGE => {
                    let (&is_cut, behind) = behind.split_first()?;
                    self.split.skeleton.extend([part::MESSAGE, is_cut]);
                    behind
                }
                op::FIRST_PIECE.. => {
                    if dictionary::piece(usize::from(code - op::FIRST_PIECE)).is_some_and(begins_field) {
                        self.end_field();
                    }
                    self.split.skeleton.push(code);
                    behind
                }
                _unknown => return None,
            };
            if self.split.skeleton.len() > SPLIT_MAX_BYTES {
                return None;
            }
        }
        Some(self.split)
    }

    fn end_field(&mut self) {
        // A skeleton that is longer is none.
        let end = self.split.skeleton.len() as u16;
        if self.split.ends.last() != Some(&end) {
            self.split.ends.push(end);
        }
    }

    /// Passes the time on.
    fn time(&mut self, time: u64) -> u64 {
        let of_event = millis(self.beside.time);
        if time == of_event {
            self.split.skeleton.push(part::TIME_OF_EVENT);
        } else if time == millis(self.beside.session) {
            self.split.skeleton.push(part::TIME_OF_SESSION);
        } else {
            self.split.skeleton.push(part::TIME);
            put_varint(self.gaps, zigzag(time.wrapping_sub(of_event) as i64));
        }
        time
    }

    /// Keys, punctuation and spaces stay in the skeleton; what stands between quotation marks otherwise is a gap.
    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        if literal.iter().any(|byte| *byte <= stand_in::DEVICE_TYPE) {
            return None;
        }
        self.split.skeleton.push(part::LITERAL);
        let mut rest = literal;
        while !rest.is_empty() {
            let quote = rest.iter().position(|byte| *byte == b'"');
            let (between, behind) = rest.split_at(quote.unwrap_or(rest.len()));
            let is_key = behind.get(1) == Some(&b':');
            if is_key || between.iter().all(|byte| is_punctuation(*byte)) {
                if between.contains(&b',') {
                    self.end_field();
                }
                // With the mark behind it.
                let (text, behind) = rest.split_at(between.len() + usize::from(quote.is_some()));
                self.fixed(text)?;
                rest = behind;
            } else {
                self.gap(between);
                if between.trim_ascii_end().ends_with(b",") {
                    self.end_field();
                }
                rest = behind;
            }
            if let Some((mark, behind)) = rest.split_at_checked(1).filter(|(mark, _)| *mark == b"\"") {
                self.fixed(mark)?;
                rest = behind;
            }
        }
        self.split.skeleton.push(part::LITERAL_END);
        Some(())
    }

    fn fixed(&mut self, text: &[u8]) -> Option<()> {
        self.split.skeleton.extend([part::TEXT, u8::try_from(text.len()).ok()?]);
        self.split.skeleton.extend_from_slice(text);
        Some(())
    }

    fn gap(&mut self, text: &[u8]) {
        self.split.skeleton.push(part::WORD);
        self.put_stand_ins(text);
        match self.skeletons.words.number_of(&self.text) {
            Some(number) => put_varint(self.gaps, u64::from(number) + 1),
            None => {
                self.gaps.push(0);
                put_varint(self.gaps, self.text.len() as u64);
                self.gaps.extend_from_slice(&self.text);
            }
        }
    }

    fn put_stand_ins(&mut self, text: &[u8]) {
        self.text.clear();
        let names = [
            (self.beside.id.as_bytes(), stand_in::ID),
            (self.beside.device_type.as_bytes(), stand_in::DEVICE_TYPE),
        ];
        let is_first = |byte: u8| names.iter().any(|(name, _)| name.first() == Some(&byte));
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, behind) = rest.split_at(rest.iter().take_while(|byte| !is_first(**byte)).count());
            self.text.extend_from_slice(plain);
            let begins =
                |(name, _): &&(&[u8], u8)| name.len() >= stand_in::NAME_MIN_BYTES && behind.starts_with(name);
            rest = match (names.iter().find(begins), behind.split_first()) {
                (Some((name, stand_in)), _) => {
                    self.text.push(*stand_in);
                    &behind[name.len()..]
                }
                (None, Some((first, behind))) => {
                    self.text.push(*first);
                    behind
                }
                (None, None) => behind,
            };
        }
    }
}

/// Whether a piece of the dictionary begins with what separates fields.
fn begins_field(piece: &str) -> bool {
    matches!(piece.as_bytes().first(), Some(b'"' | b',' | b'{'))
}

fn is_punctuation(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':' | b'{' | b'}' | b'[' | b']')
}

/// A varint that is written with as few bytes as it can be.
fn canonical_varint(packed: &[u8]) -> Option<(u64, &[u8])> {
    let (value, behind) = unpack::varint(packed)?;
    let len = packed.len() - behind.len();
    let bits = u64::BITS - value.leading_zeros();
    (len == bits.div_ceil(7).max(1) as usize).then_some((value, behind))
}
