//! One part of the registry: its records in places that they keep for life, and a table that finds them by their hash.
//!
//! A record's place is a number of 32 bits, which is what an order of millions of devices can afford to hold of each.
//! Records are kept in blocks, so that growing moves none; the table holds a part of the hash beside the place, so that growing
//! looks at none.

use parking_lot::{Mutex, RwLock};

use super::place_table::PlaceTable;
use super::record::PackedRecord;
use presence::Device;
use system::prefetch::prefetch;

/// A power of two. At ten million devices a shard holds 40,000.
pub(super) const SHARDS: usize = 256;

/// Records in a block. What is not used of the last one is wasted, in each shard.
const BLOCK: usize = 128;

/// Records that keep their places. It is found by one word, or millions of records would have too many of these for the caches.
type Block = Box<[Option<PackedRecord>; BLOCK]>;

/// Bits of a [`RecordPlace`] that say where in its shard: sixteen million records in each, as the last place is never taken.
const PLACE_BITS: u32 = 24;

/// Where a record stands, in the whole registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordPlace(u32);

impl RecordPlace {
    pub fn new(shard: usize, at: u32) -> Self {
        assert!(at < (1 << PLACE_BITS) - 1, "a shard holds at most sixteen million devices");
        Self((shard as u32) << PLACE_BITS | at)
    }

    pub fn shard(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    pub fn at(self) -> u32 {
        self.0 & ((1 << PLACE_BITS) - 1)
    }
}

/// A shard: the thread that changes one of its devices holds `changing` until all that follows from the change is done, so that
/// two changes of one device never overtake each other on the way to the orders. Readers do not take it.
#[derive(Default)]
pub(super) struct Shard {
    pub changing: Mutex<()>,
    pub records: RwLock<Records>,
}

#[derive(Default)]
pub(super) struct Records {
    table: PlaceTable,
    blocks: Vec<Block>,
    /// Places that were ever taken; those behind them are empty.
    places: u32,
    free: Vec<u32>,
}

impl Records {
    pub fn find(&self, hash: u64, device: Device<'_>) -> Option<u32> {
        self.table.find(hash, |at| self.at(at).is_some_and(|record| record.is(device)))
    }

    /// Has the processor fetch where a search for this hash begins.
    pub fn prefetch_slot(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    /// Has the processor fetch the first record with this hash, and says where it is. The record is not looked at, or that would
    /// wait for it.
    pub fn prefetch_record(&self, hash: u64) -> Option<u32> {
        let at = self.table.find(hash, |_at| true)?;
        self.prefetch_place(at);
        Some(at)
    }

    /// Has the processor fetch the record in this place.
    pub fn prefetch_place(&self, at: u32) {
        let (block, inside) = (at as usize / BLOCK, at as usize % BLOCK);
        if let Some(block) = self.blocks.get(block) {
            prefetch(&block[inside]);
        }
    }

    pub fn at(&self, at: u32) -> Option<&PackedRecord> {
        let (block, inside) = (at as usize / BLOCK, at as usize % BLOCK);
        self.blocks.get(block)?[inside].as_ref()
    }

    pub fn at_mut(&mut self, at: u32) -> Option<&mut PackedRecord> {
        let (block, inside) = (at as usize / BLOCK, at as usize % BLOCK);
        self.blocks.get_mut(block)?[inside].as_mut()
    }

    /// How many places there are, taken or free.
    pub fn places(&self) -> u32 {
        self.places
    }

    /// Adds a record that is not there yet.
    pub fn insert(&mut self, hash: u64, record: PackedRecord) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| self.add_place());
        self.blocks[at as usize / BLOCK][at as usize % BLOCK] = Some(record);
        self.table.insert(hash, at);
        at
    }

    fn add_place(&mut self) -> u32 {
        let at = self.places;
        if at as usize == self.blocks.len() * BLOCK {
            self.blocks.push(Box::new([const { None }; BLOCK]));
        }
        self.places += 1;
        at
    }

    /// Takes a record out; its place is given to another later.
    pub fn remove(&mut self, hash: u64, at: u32) -> Option<PackedRecord> {
        if !self.table.remove(hash, at) {
            return None;
        }
        self.free.push(at);
        self.blocks[at as usize / BLOCK][at as usize % BLOCK].take()
    }

    /// Makes room for so many records more.
    pub fn reserve(&mut self, more: usize) {
        self.table.reserve(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_returns_its_shard_and_index() {
        for (shard, at) in [(0, 0), (255, 0), (0, (1 << 24) - 2), (SHARDS - 1, 39_999)] {
            let place = RecordPlace::new(shard, at);
            assert_eq!((place.shard(), place.at()), (shard, at));
        }
    }
}
