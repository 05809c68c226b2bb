//! A packed payload to a skeleton and what stands in its gaps. Whatever would not come back byte for byte makes no skeleton.

use super::super::{dictionary, op, unpack};
use super::{Beside, SPLIT_MAX_BYTES, Skeletons, millis, part, stand_in};
use crate::payload::pack::{put_varint, zigzag};

/// A skeleton, and where its fields end.
#[derive(Default)]
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

/// What a thread splits into, so that splitting allocates nothing.
#[derive(Default)]
pub struct Scratch {
    split: Split,
    /// A text with stand-ins for the names of the device.
    text: Vec<u8>,
}

impl Scratch {
    /// Empty, and not larger than most messages need.
    fn cleared(&mut self) -> (&mut Split, &mut Vec<u8>) {
        let Self { split, text } = self;
        for bytes in [&mut split.skeleton, &mut *text] {
            bytes.clear();
            bytes.shrink_to(SPLIT_MAX_BYTES);
        }
        split.ends.clear();
        (split, text)
    }
}

pub struct Splitter<'a> {
    skeletons: &'a Skeletons,
    beside: &'a Beside<'a>,
    split: &'a mut Split,
    gaps: &'a mut Vec<u8>,
    text: &'a mut Vec<u8>,
}

impl<'a> Splitter<'a> {
    pub fn new(
        skeletons: &'a Skeletons,
        beside: &'a Beside<'a>,
        gaps: &'a mut Vec<u8>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let (split, text) = scratch.cleared();
        Self { skeletons, beside, split, gaps, text }
    }

    /// Appends what stands in the gaps and returns the skeleton; `None` if there can be none.
    pub fn split(mut self, packed: &[u8]) -> Option<&'a Split> {
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
                    let after = unpack::after_varint(behind)?;
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
                    if dictionary::begins_field(code - op::FIRST_PIECE) {
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
        // Without an early end, so that many bytes are looked at in one go.
        if literal.iter().fold(false, |found, byte| found | (*byte <= stand_in::DEVICE_TYPE)) {
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
        match self.skeletons.words.number_of(self.text) {
            Some(number) => put_varint(self.gaps, u64::from(number) + 1),
            None => {
                self.gaps.push(0);
                put_varint(self.gaps, self.text.len() as u64);
                self.gaps.extend_from_slice(self.text);
            }
        }
    }

    fn put_stand_ins(&mut self, text: &[u8]) {
        self.text.clear();
        let names = [
            (self.beside.id.as_bytes(), stand_in::ID),
            (self.beside.device_type.as_bytes(), stand_in::DEVICE_TYPE),
        ];
        let names = names.map(|(name, number)| (Some(name).filter(|name| is_replaced(name)), number));
        let [id_first, type_first] = names.map(|(name, _)| name.and_then(|name| name.first().copied()));
        let Some(one) = id_first.or(type_first) else {
            return self.text.extend_from_slice(text);
        };
        let other = type_first.unwrap_or(one);
        let mut rest = text;
        while !rest.is_empty() {
            let first = rest.iter().position(|byte| *byte == one || *byte == other);
            let (plain, behind) = rest.split_at(first.unwrap_or(rest.len()));
            self.text.extend_from_slice(plain);
            let begins = |name: &&[u8]| behind.starts_with(name);
            let found = names.iter().find_map(|(name, number)| Some((name.filter(begins)?, number)));
            rest = match (found, behind.split_first()) {
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

/// Whether a stand-in takes the place of a name: shorter ones occur by chance.
fn is_replaced(name: &[u8]) -> bool {
    name.len() >= stand_in::NAME_MIN_BYTES
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
