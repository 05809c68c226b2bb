//! Finds the places of records by their hashes: open addressing with linear probing, in slots of six bytes.
//!
//! It grows by a fifth, not by doubling, so that there are never many more slots than records: of millions, each spare slot is
//! paid for in every shard. The hash stands beside the place, so that growing looks at no record.

use system::prefetch::prefetch;

/// Bits of the hash that a slot holds; they choose the slot, too, so there are at most so many.
const HASH_BITS: u32 = 24;

/// Five slots of six are taken at most: then a record is found after three or four looks, most of them in one cache line.
const SLOTS_PER_ENTRIES: (usize, usize) = (6, 5);

/// By how much it grows.
const GROWTH: (usize, usize) = (6, 5);

/// The slots that are there at least, once there are any.
const SLOTS_MIN: usize = 8;

/// Hash and place, or [`EMPTY`].
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot([u16; 3]);

const _: () = assert!(size_of::<Slot>() == 6);

/// No place is as high, see [`super::shard::RecordPlace`].
const EMPTY: Slot = Slot([u16::MAX; 3]);

impl Slot {
    fn new(hash: u32, at: u32) -> Self {
        Self([hash as u16, (hash >> 16) as u16 & 0xff | (at >> 16 << 8) as u16, at as u16])
    }

    fn hash(self) -> u32 {
        u32::from(self.0[0]) | u32::from(self.0[1] & 0xff) << 16
    }

    fn at(self) -> u32 {
        u32::from(self.0[2]) | u32::from(self.0[1] >> 8) << 16
    }
}

/// The places of some records.
#[derive(Default)]
pub(super) struct PlaceTable {
    slots: Vec<Slot>,
    len: usize,
}

impl PlaceTable {
    /// The place with this hash that `is_it` accepts.
    pub fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.position(kept(hash), is_it)?;
        Some(self.slots[found].at())
    }

    /// Has the processor fetch the slot where the search for a hash begins.
    pub fn prefetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home(kept(hash))) {
            prefetch(slot);
        }
    }

    /// Adds a place that is not there yet.
    pub fn insert(&mut self, hash: u64, at: u32) {
        self.grow(1, self.slots.len() * GROWTH.0 / GROWTH.1);
        self.len += 1;
        self.put(Slot::new(kept(hash), at));
    }

    /// Takes a place out. Those behind it move up, so that no gap ends a search too early.
    pub fn remove(&mut self, hash: u64, at: u32) -> bool {
        let Some(mut gap) = self.position(kept(hash), |other| other == at) else { return false };
        self.len -= 1;
        let mut next = gap;
        loop {
            next = self.after(next);
            let slot = self.slots[next];
            if slot == EMPTY {
                break;
            }
            // It may move into the gap unless its search begins behind it.
            let from_home = self.distance(self.home(slot.hash()), next);
            if from_home >= self.distance(gap, next) {
                self.slots[gap] = slot;
                gap = next;
            }
        }
        self.slots[gap] = EMPTY;
        true
    }

    /// Makes room for so many places more.
    pub fn reserve(&mut self, more: usize) {
        self.grow(more, SLOTS_MIN);
    }

    /// Makes room for so many places more, in at least so many slots if it must grow.
    fn grow(&mut self, more: usize, least: usize) {
        let (slots, entries) = SLOTS_PER_ENTRIES;
        // One slot is always empty, so that every search ends.
        let needed = ((self.len + more) * slots).div_ceil(entries) + 1;
        if needed <= self.slots.len() {
            return;
        }
        let before = std::mem::replace(&mut self.slots, vec![EMPTY; needed.max(least).max(SLOTS_MIN)]);
        before.into_iter().filter(|slot| *slot != EMPTY).for_each(|slot| self.put(slot));
    }

    fn put(&mut self, slot: Slot) {
        let mut position = self.home(slot.hash());
        while self.slots[position] != EMPTY {
            position = self.after(position);
        }
        self.slots[position] = slot;
    }

    fn position(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut position = self.home(hash);
        loop {
            let slot = self.slots[position];
            if slot == EMPTY {
                return None;
            }
            if slot.hash() == hash && is_it(slot.at()) {
                return Some(position);
            }
            position = self.after(position);
        }
    }

    /// Where the search for a hash begins.
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.slots.len() as u64) >> HASH_BITS) as usize
    }

    fn after(&self, position: usize) -> usize {
        if position + 1 == self.slots.len() { 0 } else { position + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

/// The bits of a hash that the table holds: the shard has others.
fn kept(hash: u64) -> u32 {
    hash as u32 >> (u32::BITS - HASH_BITS)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_plain_map_finds(
            // Few homes, so that searches are long and go past the end.
            steps in prop::collection::vec((0u64..40, any::<bool>()), 0..400),
            reserved in 0usize..100,
        ) {
            let hash = |number: u64| (number % 7 * 0x2492_4924 + number % 2) | number << 40;
            let (mut table, mut model) = (PlaceTable::default(), HashMap::new());
            table.reserve(reserved);
            for (number, is_added) in steps {
                let at = number as u32 * 400_000;
                if is_added && model.insert(number, at).is_none() {
                    table.insert(hash(number), at);
                } else if !is_added {
                    prop_assert_eq!(table.remove(hash(number), at), model.remove(&number).is_some());
                }
                prop_assert_eq!(table.len, model.len());
                for number in 0..40 {
                    let at = number as u32 * 400_000;
                    let found = table.find(hash(number), |other| other == at);
                    prop_assert_eq!(found, model.get(&number).copied());
                }
            }
        }
    }

    #[test]
    fn it_takes_at_most_nine_bytes_for_a_place_and_is_searched_briefly() {
        let mut table = PlaceTable::default();
        let hash = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
        for number in 0..40_000u32 {
            table.insert(hash(number.into()), number);
            let bytes = table.slots.len() * size_of::<Slot>();
            assert!(number < 100 || bytes <= 9 * (number as usize + 1), "{bytes} for {number}");
        }
        let distances = (0..table.slots.len()).filter(|at| table.slots[*at] != EMPTY);
        let distances = distances.map(|at| table.distance(table.home(table.slots[at].hash()), at));
        assert!(distances.sum::<usize>() < 5 * 40_000);
    }
}
