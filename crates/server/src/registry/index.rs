//! The devices of one type in the two orders that a list can have, by id and by the time of their status, with all that
//! filters look at beside each entry, so that what a filter passes over costs two nanoseconds and no look at a record.
//!
//! An id is compared by eight of its bytes: those behind what nearly all ids of the type begin with. Only where these are
//! equal are the records themselves looked at. New devices wait unsorted until somebody needs the order or many wait, so
//! that a population of millions costs a sort now and then instead of a search for each.

use std::cmp::Ordering;
use std::net::Ipv4Addr;

use super::end_code::EndCode;
use super::shard::RecordPlace;
use super::sorted::{At, Sorted};
use presence::{Moment, Status};

/// More new devices than this wait for their order only if that many times [`FRESH_SHARE`] are in order already.
const FRESH_MAX: usize = 4_096;
/// New devices are put in order at the latest when they are a quarter of all.
const FRESH_SHARE: usize = 4;
/// Fewer than this share of all is inserted one by one.
const MERGE_SHARE: usize = 16;
/// What most ids begin with is looked for again whenever there are so many devices.
const PREFIX_AT: [usize; 5] = [16, 64, 256, 1_024, 4_096];
/// Later only if more than this share of the devices begin otherwise, as when ids come in their order, and if there are that many
/// times more of them than the last time: it takes a look at every record.
const ODD_SHARE: usize = 8;
const PREFIX_GROWTH: usize = 4;

/// What filters look at of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexKey {
    pub status: Status,
    pub end_code: EndCode,
    pub time: Moment,
    /// `None`: look at the record.
    pub address: Option<Ipv4Addr>,
}

/// One device in an order. Packed, because there are millions.
#[derive(Clone, Copy)]
#[repr(C, packed(2))]
pub(super) struct IndexEntry {
    /// Orders ids that differ in it; see [`Prefix::key`].
    pub key: u64,
    time: Moment,
    place: RecordPlace,
    /// All zeros: look at the record.
    address: u32,
    /// [`EndCode::NONE`] if the device is connected, and only then.
    end_code: EndCode,
}

const _: () = assert!(size_of::<IndexEntry>() == 26);

impl IndexEntry {
    fn new(key: u64, place: RecordPlace, index_key: IndexKey) -> Self {
        Self {
            key,
            time: index_key.time,
            place,
            address: index_key.address.map_or(0, u32::from),
            end_code: index_key.end_code,
        }
    }

    pub fn place(&self) -> RecordPlace {
        self.place
    }

    #[inline]
    pub fn time(&self) -> Moment {
        self.time
    }

    // A list may pass over millions of them.
    #[inline]
    pub fn index_key(&self) -> IndexKey {
        let end_code = self.end_code;
        IndexKey {
            status: if end_code == EndCode::NONE { Status::Connected } else { Status::Disconnected },
            end_code,
            time: self.time,
            address: (self.address != 0).then(|| Ipv4Addr::from(self.address)),
        }
    }
}

/// Whoever knows the ids of the records.
pub(super) trait Ids {
    /// Shows the bytes of the record's id to `read_id`: a comparison needs no text.
    fn read_id<T>(&self, place: RecordPlace, read_id: impl FnOnce(&[u8]) -> T) -> T;
}

/// What nearly all ids of the type begin with.
#[derive(Default)]
struct Prefix(Box<[u8]>);

impl Prefix {
    /// Of two ids with different keys the one with the lower key is the lower. UTF-8 has no byte 255, so no id is lost
    /// between the highest key and that of ids above the prefix.
    fn key(&self, id: &[u8]) -> u64 {
        match id.strip_prefix(&*self.0) {
            Some(rest) => {
                let mut bytes = [0; 8];
                let len = rest.len().min(bytes.len());
                bytes[..len].copy_from_slice(&rest[..len]);
                // See `is_whole`: a zero at the end must not be one of the id.
                if bytes[..len].last() == Some(&0) {
                    bytes[7] |= 1;
                }
                u64::from_be_bytes(bytes)
            }
            None if id < &*self.0 => 0,
            None => u64::MAX,
        }
    }
}

/// Whether all of an id with this key is in the key, so that ids with an equal one are equal. Spares the look at a record, which
/// is seldom in the processor's cache.
fn is_whole(key: u64) -> bool {
    key != 0 && key.to_be_bytes()[7] == 0
}

/// Whether the id with this key does not begin as most do.
fn is_odd(key: u64) -> bool {
    key == 0 || key == u64::MAX
}

/// The devices of one type, in order.
#[derive(Default)]
pub(super) struct TypeIndex {
    prefix: Prefix,
    /// How many devices there were when it was last looked for, and how many with an odd key have come.
    prefix_sought_at: usize,
    odd: usize,
    by_id: Sorted<IndexEntry>,
    by_time: Sorted<IndexEntry>,
    /// In neither order yet.
    fresh: Vec<IndexEntry>,
    removals: u64,
    version: u64,
}

impl TypeIndex {
    /// Adds a device that is not in it.
    pub fn add(&mut self, place: RecordPlace, id: &str, index_key: IndexKey, ids: &impl Ids) {
        let key = self.prefix.key(id.as_bytes());
        self.odd += usize::from(is_odd(key));
        self.fresh.push(IndexEntry::new(key, place, index_key));
        let all = self.by_id.len() + self.fresh.len();
        let is_outgrown = self.odd > all / ODD_SHARE && all >= PREFIX_GROWTH * self.prefix_sought_at;
        if PREFIX_AT.contains(&all) || (is_outgrown && all > FRESH_MAX) {
            self.settle(ids);
            self.choose_prefix(ids);
        } else if self.fresh.len() >= FRESH_MAX.max(self.by_id.len() / FRESH_SHARE) {
            self.settle(ids);
        }
    }

    /// A device in it has another face.
    pub fn change(&mut self, place: RecordPlace, id: &str, (from, to): (IndexKey, IndexKey), ids: &impl Ids) {
        self.settle(ids);
        let entry = IndexEntry::new(self.prefix.key(id.as_bytes()), place, to);
        let by_id = self.by_id.lower_bound(self.side_of_id(id, ids));
        if let Some(found) = self.by_id.at_mut(by_id) {
            *found = entry;
        }
        let by_time = self.by_time.lower_bound(self.side_of_time(from.time, id, ids));
        debug_assert!(
            self.by_time
                .range(by_time, self.by_time.end())
                .next()
                .is_some_and(|found| found.place() == place)
        );
        if from.time == to.time {
            if let Some(found) = self.by_time.at_mut(by_time) {
                *found = entry;
            }
        } else {
            self.version += 1;
            self.by_time.remove(by_time);
            self.by_time.insert(self.by_time.lower_bound(self.side_of_time(to.time, id, ids)), entry);
        }
    }

    /// Takes a device out; its record must still be there.
    pub fn remove(&mut self, id: &str, index_key: IndexKey, ids: &impl Ids) {
        self.settle(ids);
        self.removals += 1;
        self.version += 1;
        self.by_id.remove(self.by_id.lower_bound(self.side_of_id(id, ids)));
        self.by_time.remove(self.by_time.lower_bound(self.side_of_time(index_key.time, id, ids)));
    }

    /// How many devices have been taken out. While that stays, no place in the orders is given to another device.
    pub fn removals(&self) -> u64 {
        self.removals
    }

    /// Another one after each change by which entries come to stand elsewhere.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether every device is in order.
    pub fn is_settled(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Puts the new devices in order.
    pub fn settle(&mut self, ids: &impl Ids) {
        if self.fresh.is_empty() {
            return;
        }
        self.version += 1;
        let mut fresh = std::mem::take(&mut self.fresh);
        if fresh.len() * MERGE_SHARE < self.by_id.len() {
            for entry in fresh {
                let at = self.by_id.lower_bound(|other| by_id(other, &entry, ids));
                self.by_id.insert(at, entry);
                let at = self.by_time.lower_bound(|other| by_time(other, &entry, ids));
                self.by_time.insert(at, entry);
            }
            return;
        }
        fresh.sort_unstable_by(|one, other| by_time(one, other, ids));
        self.by_time.merge(fresh.clone(), |one, other| by_time(one, other, ids));
        fresh.sort_unstable_by(|one, other| by_id(one, other, ids));
        self.by_id.merge(fresh, |one, other| by_id(one, other, ids));
    }

    /// Looks for what nearly all ids begin with; a few odd ones do not matter.
    fn choose_prefix(&mut self, ids: &impl Ids) {
        let entries: Vec<IndexEntry> = self.by_id.range((0, 0), self.by_id.end()).copied().collect();
        let odd = entries.len() / 16;
        let id = |entry: &IndexEntry| ids.read_id(entry.place(), <[u8]>::to_vec);
        let (low, high) = (id(&entries[odd]), id(&entries[entries.len() - 1 - odd]));
        let shared = low.iter().zip(&high).take_while(|(one, other)| one == other).count();
        let prefix = Prefix(low[..shared].into());
        self.prefix_sought_at = entries.len();
        if prefix.0 == self.prefix.0 {
            return;
        }
        let key = |entry: &IndexEntry| ids.read_id(entry.place(), |id| prefix.key(id));
        let keys: Vec<u64> = entries.iter().map(key).collect();
        // A shorter prefix has more ids behind it, but may tell fewer of them apart.
        if alike(keys.iter().copied()) > alike(entries.iter().map(|entry| entry.key)) {
            return;
        }
        self.odd = keys.iter().filter(|key| is_odd(**key)).count();
        self.by_id.iter_mut().zip(keys).for_each(|(entry, key)| entry.key = key);
        self.by_time.iter_mut().for_each(|entry| entry.key = key(entry));
        self.prefix = prefix;
    }

    pub fn by_id(&self) -> &Sorted<IndexEntry> {
        &self.by_id
    }

    pub fn by_time(&self) -> &Sorted<IndexEntry> {
        &self.by_time
    }

    /// Where the devices whose ids begin so end, by id.
    pub fn behind_prefix(&self, prefix: &str, ids: &impl Ids) -> At {
        let prefix = prefix.as_bytes();
        self.by_id.lower_bound(|entry| {
            ids.read_id(
                entry.place(),
                |id| if id.starts_with(prefix) { Ordering::Less } else { id.cmp(prefix) },
            )
        })
    }

    /// Whether the id of the entry begins so, if that can be told without a look at it.
    #[inline]
    pub fn begins_with(&self, entry: &IndexEntry, prefix: &str) -> Option<bool> {
        let prefix = prefix.as_bytes();
        if prefix.is_empty() {
            return Some(true);
        }
        if is_odd(entry.key) {
            return None;
        }
        match prefix.strip_prefix(&*self.prefix.0) {
            Some(rest) if rest.len() <= 8 => Some(entry.key.to_be_bytes().starts_with(rest)),
            Some(_) => None,
            None => Some(self.prefix.0.starts_with(prefix)),
        }
    }

    /// On which side of this id an entry stands.
    pub fn side_of_id(&self, id: &str, ids: &impl Ids) -> impl Fn(&IndexEntry) -> Ordering {
        let id = id.as_bytes();
        let key = self.prefix.key(id);
        move |entry| {
            let entry_key = entry.key;
            entry_key.cmp(&key).then_with(|| {
                if is_whole(key) {
                    return Ordering::Equal;
                }
                ids.read_id(entry.place(), |other| other.cmp(id))
            })
        }
    }

    /// On which side of this time and id an entry stands.
    pub fn side_of_time(&self, time: Moment, id: &str, ids: &impl Ids) -> impl Fn(&IndexEntry) -> Ordering {
        let side_of_id = self.side_of_id(id, ids);
        move |entry| entry.time().cmp(&time).then_with(|| side_of_id(entry))
    }
}

/// How many ids, in order, are told from the one before only by a look at the records.
fn alike(keys: impl Iterator<Item = u64>) -> usize {
    let mut before = None;
    keys.filter(|key| before.replace(*key) == Some(*key) && !is_whole(*key)).count()
}

fn by_id(one: &IndexEntry, other: &IndexEntry, ids: &impl Ids) -> Ordering {
    let (one_key, other_key) = (one.key, other.key);
    one_key.cmp(&other_key).then_with(|| {
        if one.place() == other.place() || is_whole(one_key) {
            return Ordering::Equal;
        }
        let id = ids.read_id(other.place(), <[u8]>::to_vec);
        ids.read_id(one.place(), |one| one.cmp(&id[..]))
    })
}

fn by_time(one: &IndexEntry, other: &IndexEntry, ids: &impl Ids) -> Ordering {
    one.time().cmp(&other.time()).then_with(|| by_id(one, other, ids))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::cell::Cell;

    use super::{EndCode, Ids, IndexKey, Moment, Ordering, Prefix, RecordPlace, Status, TypeIndex, is_whole};

    /// Records by their place, of which each look is counted.
    struct CountedIds {
        ids: Vec<String>,
        looks: Cell<usize>,
    }

    impl Ids for CountedIds {
        fn read_id<T>(&self, place: RecordPlace, read_id: impl FnOnce(&[u8]) -> T) -> T {
            self.looks.set(self.looks.get() + 1);
            read_id(self.ids[place.at() as usize].as_bytes())
        }
    }

    #[test]
    fn ids_that_come_in_their_order_are_told_apart_without_a_look_at_the_records() {
        let ids = (0..100_000).map(|number| format!("pump-{number:07}")).collect();
        let ids = CountedIds { ids, looks: Cell::new(0) };
        let key = |second: i128| IndexKey {
            status: Status::Connected,
            end_code: EndCode::NONE,
            time: Moment::from_nanos(second * 1_000_000_000),
            address: None,
        };
        let place = |at: usize| RecordPlace::new(0, u32::try_from(at).unwrap());
        let mut index = TypeIndex::default();
        for (at, id) in ids.ids.iter().enumerate() {
            index.add(place(at), id, key(1), &ids);
        }
        index.settle(&ids);
        ids.looks.set(0);
        for (at, id) in ids.ids.iter().enumerate().step_by(100) {
            index.change(place(at), id, (key(1), key(2)), &ids);
        }
        assert_eq!(ids.looks.get(), 0);
        let order: Vec<_> =
            index.by_id().range((0, 0), index.by_id().end()).map(|entry| entry.place()).collect();
        assert_eq!(order, (0..ids.ids.len()).map(place).collect::<Vec<_>>());
    }

    fn ids() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"\0\x01a\xff"[..]), 0..12)
    }

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_their_ids_and_equal_whole_ones_are_of_one_id(
            prefix in prop::collection::vec(prop::sample::select(&b"\0a"[..]), 0..3),
            one in ids(),
            other in ids(),
        ) {
            let prefix = Prefix(prefix.into());
            let (one_key, other_key) = (prefix.key(&one), prefix.key(&other));
            match one_key.cmp(&other_key) {
                Ordering::Equal => prop_assert!(!is_whole(one_key) || one == other),
                different => prop_assert_eq!(different, one.cmp(&other)),
            }
        }
    }
}
