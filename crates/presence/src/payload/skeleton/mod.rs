//! Packed payloads, held smaller still by one process: what many messages have in common is interned once, as a *skeleton*, and
//! only what differs from device to device is held with each: addresses, ports, counters, further times.
//!
//! A packed payload is self-contained, because stores and other instances must understand it. Inside one process the pieces of
//! text, their order and their spaces are the same in most messages of a sender, whichever order and spaces that uses. And
//! what stands beside the payload need not be repeated in it: the id and type of the device, the times of its event.
//!
//! A message whose skeleton is not in the table, because its fields come in ever another order, is held as the skeletons of its
//! fields, if these are in the table.
//!
//! A skeleton is a sequence of [`part`]s: operations of the packed payload, with gaps for what differs. Texts are interned
//! apart from skeletons, as *words*, so that a reason or a protocol makes no further skeletons. Both tables are bounded, and
//! take in only what has been seen [`table::ADMITTED_AFTER`] times, so that a sender that never repeats itself fills no table: its messages
//! are held as they are packed. Numbers of skeletons and words mean nothing outside of the process and must not leave it.

mod join;
mod split;
mod table;

use std::cell::RefCell;

use self::split::{Scratch, Split, Splitter};
use self::table::Table;
use super::{Payload, op, unpack};
use crate::event::Moment;

/// Skeletons of one process: each combination of fields, spaces and values without a gap that a sender writes. The platform's
/// messages have about a hundred.
const SKELETONS_MAX: usize = 4_096;
/// Texts of one process that stand in the gaps of many messages.
const WORDS_MAX: usize = 4_096;
/// The longest text that becomes a word.
const WORD_MAX_BYTES: usize = 128;
/// The longest skeleton.
const SKELETON_MAX_BYTES: usize = 512;
/// The longest skeletons of all fields of a message together. The packed payloads of messages with longer ones are held as they are.
const SPLIT_MAX_BYTES: usize = 4 * SKELETON_MAX_BYTES;

/// What is held beside a payload, and so need not stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    pub device_type: &'a str,
    pub id: &'a str,
    pub session: Moment,
    pub time: Moment,
}

/// The skeletons and words that one process has seen.
pub struct Skeletons {
    skeletons: Table,
    words: Table,
}

/// The parts of a skeleton. Dictionary pieces stand for themselves, as in a packed payload.
mod part {
    /// A time that is that of the event, or of its session.
    pub const TIME_OF_EVENT: u8 = 0;
    pub const TIME_OF_SESSION: u8 = 1;
    /// Another time; the gap has the milliseconds since that of the event.
    pub const TIME: u8 = 2;
    /// The gap has four bytes.
    pub const IPV4: u8 = 3;
    /// The gap has a varint.
    pub const INTEGER: u8 = 4;
    /// Length (one byte), then the name.
    pub const SOURCE: u8 = 5;
    /// Begins a literal, of which texts and gaps follow, up to [`LITERAL_END`].
    pub const LITERAL: u8 = 6;
    pub const LITERAL_END: u8 = 7;
    /// Length (one byte), then the text.
    pub const TEXT: u8 = 8;
    /// The gap has the number of a word and one, or 0, the length and the text.
    pub const WORD: u8 = 9;
    /// A byte as in the packed payload: the message of a document follows.
    pub const MESSAGE: u8 = 10;
}

/// What stands for the id or the type of the device in words and other texts.
mod stand_in {
    pub const ID: u8 = 1;
    pub const DEVICE_TYPE: u8 = 2;
    /// Shorter names occur by chance.
    pub const NAME_MIN_BYTES: usize = 3;
}

/// In place of the number of a skeleton: the packed payload follows as it is.
const NO_SKELETON: u8 = 0;
/// The same: the number of fields follows, and the number of each one.
const FIELDS: u8 = 1;
/// What is added to the number of a skeleton.
const FIRST_NUMBER: u64 = 2;
/// Fields of a message without a skeleton as a whole.
const FIELDS_MAX: usize = 64;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Default for Skeletons {
    fn default() -> Self {
        Self {
            skeletons: Table::new(SKELETONS_MAX, SKELETON_MAX_BYTES),
            words: Table::new(WORDS_MAX, WORD_MAX_BYTES),
        }
    }
}

impl Skeletons {
    /// Appends a form of the payload that only [`Skeletons::unpack`] of this process understands.
    pub fn pack(&self, payload: &Payload, beside: &Beside<'_>, into: &mut Vec<u8>) {
        let start = into.len();
        // The head stands first, but is known last. Mostly it is one byte.
        into.push(NO_SKELETON);
        if let Some(head) = SCRATCH.with_borrow_mut(|scratch| self.split(payload, beside, into, scratch)) {
            match head.bytes() {
                [byte] => into[start] = *byte,
                bytes => drop(into.splice(start..=start, bytes.iter().copied())),
            }
        } else {
            into.truncate(start + 1);
            into.extend_from_slice(payload.packed());
        }
    }

    /// Appends what stands in the gaps and says what stands before them; `None`: not everything has a number.
    fn split(
        &self,
        payload: &Payload,
        beside: &Beside<'_>,
        gaps: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Option<Head> {
        let split = Splitter::new(self, beside, gaps, scratch).split(payload.packed())?;
        let mut head = Head::default();
        if let Some(number) = self.skeletons.number_of(split.skeleton()) {
            head.put(u64::from(number) + FIRST_NUMBER);
            return Some(head);
        }
        self.put_fields(split, &mut head).then_some(head)
    }

    /// The numbers of the fields, for messages that have their fields in ever another order; says whether all of them have one.
    fn put_fields(&self, split: &Split, head: &mut Head) -> bool {
        let count = split.fields().count();
        if count > FIELDS_MAX {
            return false;
        }
        head.put(u64::from(FIELDS));
        head.put(count as u64);
        // Each is looked up, or else the last ones would be known late.
        split.fields().fold(true, |all, field| match self.skeletons.number_of(field) {
            Some(number) => {
                head.put(u64::from(number));
                all
            }
            None => false,
        })
    }

    /// The payload again.
    pub fn unpack(&self, bytes: &[u8], beside: &Beside<'_>) -> Payload {
        if let Some((&NO_SKELETON, packed)) = bytes.split_first() {
            return Payload::from_packed(packed);
        }
        let packed = join::join(self, bytes, beside).expect("it was packed by this process");
        Payload(packed.into_boxed_slice())
    }

    /// Appends the bytes that the payload stands for, without making the payload. `None`: it is of another source than the IoT
    /// platform, so there is more to it than its bytes, or it is damaged; then nothing is appended.
    pub fn append_bytes(&self, bytes: &[u8], beside: &Beside<'_>, text: &mut Vec<u8>) -> Option<()> {
        let start = text.len();
        match bytes.split_first() {
            Some((&NO_SKELETON, packed)) if packed.first() == Some(&op::SOURCE) => return None,
            Some((&NO_SKELETON, packed)) => unpack::document(packed, text),
            _ => {
                if join::join_text(self, bytes, beside, text).is_none() {
                    text.truncate(start);
                    return None;
                }
            }
        }
        Some(())
    }
}

/// What stands before the gaps: varints below 2^14.
struct Head {
    bytes: [u8; 2 * (FIELDS_MAX + 1)],
    len: usize,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: [0; _], len: 0 }
    }
}

impl Head {
    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes[self.len] = number as u8 | 0x80;
            number >>= 7;
            self.len += 1;
        }
        self.bytes[self.len] = number as u8;
        self.len += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const _: () = assert!(SKELETONS_MAX as u64 + FIRST_NUMBER < 1 << 14);

/// Milliseconds since 1970; of an unknown time 0.
fn millis(moment: Moment) -> u64 {
    moment.nanos().unwrap_or(0).div_euclid(1_000_000) as u64
}

#[cfg(test)]
mod tests;
