//! A skeleton and what stands in its gaps to the packed payload, or to the text that it stands for.

use super::super::{op, unpack};
use super::{Beside, FIELDS, FIRST_NUMBER, Skeletons, millis, part, stand_in};
use crate::digits;
use crate::payload::pack::{PACKED_CAPACITY, put_time, put_varint};

/// The packed payload; `None` if the bytes are of another process.
pub fn join(skeletons: &Skeletons, bytes: &[u8], beside: &Beside<'_>) -> Option<Vec<u8>> {
    let out = PackedOutput { bytes: Vec::with_capacity(PACKED_CAPACITY), last_time: None, literal_start: 0 };
    Some(join_into(skeletons, bytes, beside, out)?.bytes)
}

/// Appends the text that the packed payload would stand for, without making that. `None`: it names a source, so there is more to it
/// than its text, or it is damaged, or the bytes are of another process.
pub fn join_text(skeletons: &Skeletons, bytes: &[u8], beside: &Beside<'_>, text: &mut Vec<u8>) -> Option<()> {
    join_into(skeletons, bytes, beside, TextOutput(text)).map(drop)
}

fn join_into<O: Output>(skeletons: &Skeletons, bytes: &[u8], beside: &Beside<'_>, out: O) -> Option<O> {
    let (number, gaps) = unpack::varint(bytes)?;
    let mut joiner = Joiner { skeletons, beside, gaps, out };
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
    Some(joiner.out)
}

/// What the parts of a skeleton are carried out into.
trait Output {
    /// `None`, here and below: nothing can follow.
    fn piece(&mut self, piece: u8) -> Option<()>;
    fn time(&mut self, ms: u64);
    fn ipv4(&mut self, octets: [u8; 4]);
    /// An integer, and the varint that it was read from.
    fn integer(&mut self, value: u64, varint: &[u8]);
    /// The length of the name and the name.
    fn source(&mut self, name: &[u8]) -> Option<()>;
    fn message(&mut self, is_cut: u8) -> Option<()>;
    fn begin_literal(&mut self);
    /// Some of a literal.
    fn text(&mut self, text: &[u8]);
    fn end_literal(&mut self);
}

struct Joiner<'a, O> {
    skeletons: &'a Skeletons,
    beside: &'a Beside<'a>,
    gaps: &'a [u8],
    out: O,
}

impl<O: Output> Joiner<'_, O> {
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
            part::TIME_OF_EVENT => self.out.time(millis(self.beside.time)),
            part::TIME_OF_SESSION => self.out.time(millis(self.beside.session)),
            part::TIME => {
                let delta = unpack::unzigzag(self.varint()?);
                self.out.time(millis(self.beside.time).wrapping_add(delta));
            }
            part::IPV4 => {
                let (octets, behind) = self.gaps.split_first_chunk::<4>()?;
                self.out.ipv4(*octets);
                self.gaps = behind;
            }
            part::INTEGER => {
                let (value, behind) = unpack::varint(self.gaps)?;
                self.out.integer(value, &self.gaps[..self.gaps.len() - behind.len()]);
                self.gaps = behind;
            }
            part::SOURCE => {
                let (name, behind) = behind.split_at_checked(1 + usize::from(*behind.first()?))?;
                self.out.source(name)?;
                return Some(behind);
            }
            part::MESSAGE => {
                let (&is_cut, behind) = behind.split_first()?;
                self.out.message(is_cut)?;
                return Some(behind);
            }
            part::LITERAL => self.out.begin_literal(),
            part::TEXT => {
                let (&len, behind) = behind.split_first()?;
                let (text, behind) = behind.split_at_checked(usize::from(len))?;
                self.out.text(text);
                return Some(behind);
            }
            part::WORD => self.word()?,
            part::LITERAL_END => self.out.end_literal(),
            piece => self.out.piece(piece)?,
        }
        Some(behind)
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
            self.out.text(&rest[..at]);
            let name = if rest[at] == stand_in::ID { self.beside.id } else { self.beside.device_type };
            self.out.text(name.as_bytes());
            rest = &rest[at + 1..];
        }
        self.out.text(rest);
        Some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let (value, behind) = unpack::varint(self.gaps)?;
        self.gaps = behind;
        Some(value)
    }
}

/// The operations of a packed payload.
struct PackedOutput {
    bytes: Vec<u8>,
    last_time: Option<u64>,
    /// Where the text of the literal begins that is being written.
    literal_start: usize,
}

impl Output for PackedOutput {
    fn piece(&mut self, piece: u8) -> Option<()> {
        self.bytes.push(piece);
        Some(())
    }

    fn time(&mut self, ms: u64) {
        put_time(&mut self.bytes, &mut self.last_time, ms);
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        self.bytes.push(op::IPV4);
        self.bytes.extend(octets);
    }

    fn integer(&mut self, _value: u64, varint: &[u8]) {
        self.bytes.push(op::INTEGER);
        self.bytes.extend_from_slice(varint);
    }

    fn source(&mut self, name: &[u8]) -> Option<()> {
        self.bytes.push(op::SOURCE);
        self.bytes.extend_from_slice(name);
        Some(())
    }

    fn message(&mut self, is_cut: u8) -> Option<()> {
        self.bytes.extend([op::MESSAGE, is_cut]);
        Some(())
    }

    fn begin_literal(&mut self) {
        // The length is a byte, as of most; where it takes more, the text moves.
        self.bytes.extend([op::LITERAL, 0]);
        self.literal_start = self.bytes.len();
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    fn end_literal(&mut self) {
        let (start, len) = (self.literal_start, self.bytes.len() - self.literal_start);
        if len < 0x80 {
            self.bytes[start - 1] = len as u8;
        } else {
            let mut varint = Vec::new();
            put_varint(&mut varint, len as u64);
            self.bytes.splice(start - 1..start, varint);
        }
    }
}

/// The text that the operations stand for, where no source is named and so no message stands beside a document.
struct TextOutput<'a>(&'a mut Vec<u8>);

impl Output for TextOutput<'_> {
    fn piece(&mut self, piece: u8) -> Option<()> {
        self.0.extend_from_slice(unpack::piece(piece)?.as_bytes());
        Some(())
    }

    fn time(&mut self, ms: u64) {
        unpack::write_time(ms, self.0);
    }

    fn ipv4(&mut self, octets: [u8; 4]) {
        digits::write_ipv4(octets, self.0);
    }

    fn integer(&mut self, value: u64, _varint: &[u8]) {
        digits::write(value, self.0);
    }

    fn source(&mut self, _name: &[u8]) -> Option<()> {
        None
    }

    fn message(&mut self, _is_cut: u8) -> Option<()> {
        None
    }

    fn begin_literal(&mut self) {}

    fn text(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn end_literal(&mut self) {}
}
