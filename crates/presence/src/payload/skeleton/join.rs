//! A skeleton and what stands in its gaps to the packed payload.

use super::super::{op, unpack};
use super::{Beside, FIELDS, FIRST_NUMBER, Skeletons, millis, part, stand_in};
use crate::payload::pack::{PACKED_CAPACITY, put_varint, zigzag};

/// The packed payload; `None` if the bytes are of another process.
pub fn join(skeletons: &Skeletons, bytes: &[u8], beside: &Beside<'_>) -> Option<Vec<u8>> {
    let (number, gaps) = unpack::varint(bytes)?;
    let packed = Vec::with_capacity(PACKED_CAPACITY);
    let mut joiner = Joiner { skeletons, beside, gaps, packed, last_time: None, literal_start: 0 };
    if number == u64::from(FIELDS) {
        let (count, numbers) = unpack::varint(gaps)?;
        // The gaps are behind the numbers.
        joiner.gaps = (0..count).try_fold(numbers, |numbers, _| Some(unpack::varint(numbers)?.1))?;
        (0..count).try_fold(numbers, |numbers, _| {
            let (number, behind) = unpack::varint(numbers)?;
            joiner.parts(number)?;
            Some(behind)
        })?;
    } else {
        joiner.parts(number.checked_sub(FIRST_NUMBER)?)?;
    }
    Some(joiner.packed)
}

struct Joiner<'a> {
    skeletons: &'a Skeletons,
    beside: &'a Beside<'a>,
    gaps: &'a [u8],
    packed: Vec<u8>,
    last_time: Option<u64>,
    /// Where the text of the literal begins that is being written.
    literal_start: usize,
}

impl Joiner<'_> {
    /// Carries out the parts of a skeleton, or of a field.
    fn parts(&mut self, number: u64) -> Option<()> {
        let mut rest = self.skeletons.skeletons.text(usize::try_from(number).ok()?)?;
        while let Some((&part, behind)) = rest.split_first() {
            rest = self.part(part, behind)?;
        }
        Some(())
    }

    /// Carries out one part and returns what follows it.
    fn part<'s>(&mut self, part: u8, behind: &'s [u8]) -> Option<&'s [u8]> {
        match part {
            part::TIME_OF_EVENT => self.time(millis(self.beside.time)),
            part::TIME_OF_SESSION => self.time(millis(self.beside.session)),
            part::TIME => {
                let delta = self.varint()?;
                let delta = (delta >> 1) ^ (delta & 1).wrapping_neg();
                self.time(millis(self.beside.time).wrapping_add(delta));
            }
            part::IPV4 => {
                self.packed.push(op::IPV4);
                self.copy(4)?;
            }
            part::INTEGER => {
                let (_, after) = unpack::varint(self.gaps)?;
                self.packed.push(op::INTEGER);
                self.copy(self.gaps.len() - after.len())?;
            }
            part::SOURCE => {
                let (name, behind) = behind.split_at_checked(1 + usize::from(*behind.first()?))?;
                self.packed.push(op::SOURCE);
                self.packed.extend_from_slice(name);
                return Some(behind);
            }
            part::MESSAGE => {
                let (&is_cut, behind) = behind.split_first()?;
                self.packed.extend([op::MESSAGE, is_cut]);
                return Some(behind);
            }
            part::LITERAL => {
                // The length is a byte, as of most; where it takes more, the text moves.
                self.packed.extend([op::LITERAL, 0]);
                self.literal_start = self.packed.len();
            }
            part::TEXT => {
                let (&len, behind) = behind.split_first()?;
                let (text, behind) = behind.split_at_checked(usize::from(len))?;
                self.packed.extend_from_slice(text);
                return Some(behind);
            }
            part::WORD => self.word()?,
            part::LITERAL_END => self.end_literal(),
            piece => self.packed.push(piece),
        }
        Some(behind)
    }

    fn end_literal(&mut self) {
        let (start, len) = (self.literal_start, self.packed.len() - self.literal_start);
        if len < 0x80 {
            self.packed[start - 1] = len as u8;
        } else {
            let mut varint = Vec::new();
            put_varint(&mut varint, len as u64);
            self.packed.splice(start - 1..start, varint);
        }
    }

    fn word(&mut self) -> Option<()> {
        let number = self.varint()?;
        let text = match number.checked_sub(1) {
            Some(number) => self.skeletons.words.text(usize::try_from(number).ok()?)?,
            None => {
                let len = usize::try_from(self.varint()?).ok()?;
                let (text, behind) = self.gaps.split_at_checked(len)?;
                self.gaps = behind;
                text
            }
        };
        let mut rest = text;
        while let Some(at) =
            rest.iter().position(|byte| matches!(*byte, stand_in::ID | stand_in::DEVICE_TYPE))
        {
            self.packed.extend_from_slice(&rest[..at]);
            let name = if rest[at] == stand_in::ID { self.beside.id } else { self.beside.device_type };
            self.packed.extend_from_slice(name.as_bytes());
            rest = &rest[at + 1..];
        }
        self.packed.extend_from_slice(rest);
        Some(())
    }

    fn time(&mut self, time: u64) {
        match self.last_time {
            Some(last) => {
                self.packed.push(op::TIME_DELTA);
                put_varint(&mut self.packed, zigzag(time.wrapping_sub(last) as i64));
            }
            None => {
                self.packed.push(op::TIME);
                self.packed.extend_from_slice(&time.to_le_bytes()[..6]);
            }
        }
        self.last_time = Some(time);
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, behind) = unpack::varint(self.gaps)?;
        self.gaps = behind;
        Some(value)
    }

    fn copy(&mut self, len: usize) -> Option<()> {
        let (bytes, behind) = self.gaps.split_at_checked(len)?;
        self.packed.extend_from_slice(bytes);
        self.gaps = behind;
        Some(())
    }
}
