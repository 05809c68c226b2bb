//! A bounded table of texts by number and of numbers by text. A text is taken in once it has been seen often, and stays: what is
//! held elsewhere names it. Reading takes no lock.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A text is taken in when it is seen for so many times, if not too many others are seen in between.
pub const ADMITTED_AFTER: u32 = 16;

/// Texts are counted in so many buckets, each with so many counters. A text that finds no counter free lowers all counters of its
/// bucket, so the frequent texts of a bucket are found, if there are not more of them than counters.
const BUCKETS: usize = 1_024;
const COUNTERS: usize = 4;

const COUNT_BITS: u32 = 8;
const COUNT_MASK: u32 = (1 << COUNT_BITS) - 1;

pub struct Table {
    texts: Box<[OnceLock<Box<[u8]>>]>,
    /// Numbers and one, at the place that the hash of the text says, or behind it; half of the places or more stay empty.
    places: Box<[AtomicU16]>,
    counters: Box<[[AtomicU32; COUNTERS]]>,
    /// How many there are.
    len: Mutex<u16>,
    text_max_bytes: usize,
    hasher: foldhash::fast::RandomState,
}

impl Table {
    /// At most so many texts, of so many bytes each.
    pub fn new(texts_max: usize, text_max_bytes: usize) -> Self {
        Self {
            texts: (0..texts_max).map(|_| OnceLock::new()).collect(),
            places: (0..(2 * texts_max).next_power_of_two()).map(|_| AtomicU16::new(0)).collect(),
            counters: (0..BUCKETS).map(|_| Default::default()).collect(),
            len: Mutex::new(0),
            text_max_bytes,
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    pub fn text(&self, number: usize) -> Option<&[u8]> {
        self.texts.get(number)?.get().map(|text| &**text)
    }

    /// The number of a text, which may be taken in by that.
    pub fn number_of(&self, text: &[u8]) -> Option<u16> {
        if text.len() > self.text_max_bytes {
            return None;
        }
        let hash = self.hasher.hash_one(text);
        match self.look_up(hash, text) {
            Ok(number) => Some(number),
            Err(_place) if self.is_frequent(hash) => self.take_in(hash, text),
            Err(_place) => None,
        }
    }

    /// The number, or the place where it would stand.
    fn look_up(&self, hash: u64, text: &[u8]) -> Result<u16, usize> {
        // There are a power of two.
        let last = self.places.len() - 1;
        let mut place = hash as usize & last;
        loop {
            match self.places[place].load(Ordering::Acquire) {
                0 => return Err(place),
                number if self.text(usize::from(number - 1)) == Some(text) => return Ok(number - 1),
                _other => place = (place + 1) & last,
            }
        }
    }

    /// Counts a text, of which its counter knows a part of the hash. A count that is lost to another thread does no harm.
    fn is_frequent(&self, hash: u64) -> bool {
        let bucket = &self.counters[(hash >> 16) as usize % BUCKETS];
        let tag = (hash >> 40) as u32;
        let counts = bucket.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        let own = |count: &u32| count >> COUNT_BITS == tag && count & COUNT_MASK > 0;
        let free = |count: &u32| count & COUNT_MASK == 0;
        let Some(at) = counts.iter().position(own).or_else(|| counts.iter().position(free)) else {
            for (counter, count) in bucket.iter().zip(counts) {
                counter.store(count - 1, Ordering::Relaxed);
            }
            return false;
        };
        let count = (counts[at] & COUNT_MASK) + 1;
        let is_frequent = count == ADMITTED_AFTER;
        // What is taken in is not counted again; if the table is full, it begins anew.
        let left = if is_frequent { 0 } else { count };
        bucket[at].store(tag << COUNT_BITS | left, Ordering::Relaxed);
        is_frequent
    }

    fn take_in(&self, hash: u64, text: &[u8]) -> Option<u16> {
        let mut len = self.len.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been quicker.
        let place = match self.look_up(hash, text) {
            Ok(number) => return Some(number),
            Err(place) => place,
        };
        let number = *len;
        self.texts.get(usize::from(number))?.set(text.into()).ok()?;
        *len += 1;
        self.places[place].store(number + 1, Ordering::Release);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_a_number_once_it_was_seen_often_and_the_table_is_bounded() {
        let table = Table::new(10, 8);
        for number in 0..12u16 {
            let text = number.to_string().into_bytes();
            let numbers: Vec<_> = (0..20).map(|_| table.number_of(&text)).collect();
            let expected = (number < 10).then_some(number);
            assert_eq!(numbers[..15], [None; 15], "{number}");
            assert_eq!(numbers[15..], [expected; 5], "{number}");
            assert_eq!(table.text(usize::from(number)), expected.map(|_| &*text));
        }
        let long = b"too long a text";
        assert!((0..100).all(|_| table.number_of(long).is_none()));
    }

    #[test]
    fn frequent_texts_are_taken_in_whatever_their_hashes_are() {
        // Each table hashes otherwise.
        for turn in 0..200 {
            let table = Table::new(100, 100);
            let mut known = [false; 32];
            for _ in 0..20 {
                for (number, known) in (0u8..).zip(&mut known) {
                    *known = table.number_of(&[number]).is_some();
                }
            }
            assert_eq!(known, [true; 32], "{turn}");
        }
    }

    #[test]
    fn texts_that_hardly_repeat_are_not_taken_in_and_keep_no_other_out() {
        let table = Table::new(100, 100);
        for turn in 0..4 {
            for number in 0..200_000u32 {
                assert_eq!(table.number_of(&number.to_be_bytes()), None, "{turn}");
            }
        }
        let number = (0..200).find_map(|_| table.number_of(b"word"));
        assert_eq!(number, Some(0));
    }
}
