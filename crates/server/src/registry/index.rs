//! The devices of one type in the two orders that a list can have, by id and by the time of their status, with all that
//! filters look at beside each entry, so that what a filter passes over costs two nanoseconds and no look at a record.
//!
//! An id is compared by eight of its bytes: those behind what nearly all ids of the type begin with. Only where these are
//! equal are the records themselves looked at. New devices wait unsorted until somebody needs the order or some wait, so
//! that a population costs a sort now and then instead of a search for each, and nobody waits for more than that sort. A
//! start with millions of devices in the store sorts them all at its end.

use std::cmp::Ordering;

use super::index_entry::{IndexEntry, IndexKey};
use super::shard::RecordPlace;
use super::sorted::{At, Sorted};
use presence::Moment;

/// New devices are put in order at the latest when there are so many: a list by time of all types waits for those of each.
const FRESH_MAX: usize = 64;
/// Fewer than this share of all is inserted one by one.
const MERGE_SHARE: usize = 16;
/// What most ids begin with is looked for again whenever there are so many devices; later it only gets shorter.
const PREFIX_AT: [usize; 5] = [16, 64, 256, 1_024, 4_096];
/// It gets shorter when one of so many ids begins otherwise, as when ids come in their order and get another digit, and if there are
/// that many times more of those than the last time.
const ODD_SHARE: usize = 64;
const ODD_GROWTH: usize = 2;
/// Fewer ids that begin otherwise do not matter.
const ODD_MIN: usize = 64;

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
            Some(rest) => key_of_rest(&[], rest),
            None if id < &*self.0 => 0,
            None => u64::MAX,
        }
    }

    /// The key of the id that has this key under another prefix, which begins with this one and is longer. `None`: the id itself must
    /// be looked at.
    fn key_from(&self, longer: &Self, key: u64) -> Option<u64> {
        let bytes = key.to_be_bytes();
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let is_plain = !is_odd(key) && bytes[len..].iter().all(|byte| *byte == 0);
        // What is behind the eighth byte of the rest matters even less now.
        is_plain.then(|| key_of_rest(&longer.0[self.0.len()..], &bytes[..len]))
    }
}

/// The key of an id that goes on so behind the prefix, in two parts.
fn key_of_rest(first: &[u8], second: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let first_len = first.len().min(bytes.len());
    let len = (first_len + second.len()).min(bytes.len());
    bytes[..first_len].copy_from_slice(&first[..first_len]);
    bytes[first_len..len].copy_from_slice(&second[..len - first_len]);
    // See `is_whole`: a zero at the end must not be one of the id.
    if bytes[..len].last() == Some(&0) {
        bytes[7] |= 1;
    }
    u64::from_be_bytes(bytes)
}

/// Whether the id with this key does not begin with the prefix, or is the prefix.
fn is_odd(key: u64) -> bool {
    key == 0 || key == u64::MAX
}

/// Whether all of an id with this key is in the key, so that ids with an equal one are equal. Spares the look at a record, which
/// is seldom in the processor's cache.
fn is_whole(key: u64) -> bool {
    key != 0 && key.to_be_bytes()[7] == 0
}

/// The devices of one type, in order.
#[derive(Default)]
pub(super) struct TypeIndex {
    prefix: Prefix,
    by_id: Sorted<IndexEntry>,
    by_time: Sorted<IndexEntry>,
    /// In neither order yet.
    fresh: Vec<IndexEntry>,
    /// Devices with an odd key, and how many there were when a shorter prefix was last looked for.
    odd: usize,
    odd_before: usize,
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
        if PREFIX_AT.contains(&all) {
            self.settle(ids);
            self.choose_prefix(ids);
        } else if self.odd > ODD_MIN.max(all / ODD_SHARE).max(self.odd_before * ODD_GROWTH)
            && !self.prefix.0.is_empty()
        {
            self.settle(ids);
            self.shorten_prefix(ids);
        }
    }

    /// Whether so many new devices wait that they should be put in order.
    pub fn is_settling_due(&self) -> bool {
        self.fresh.len() >= FRESH_MAX
    }

    /// A device in it has another face.
    pub fn change(&mut self, place: RecordPlace, id: &str, (from, to): (IndexKey, IndexKey), ids: &impl Ids) {
        self.settle(ids);
        self.version += 1;
        let entry = IndexEntry::new(self.prefix.key(id.as_bytes()), place, to);
        let by_id = self.by_id.lower_bound(self.side_of_id(id, ids));
        self.by_id.replace(by_id, entry);
        let by_time = self.by_time.lower_bound(self.side_of_time(from.time, id, ids));
        debug_assert!(
            self.by_time
                .range(by_time, self.by_time.end())
                .next()
                .is_some_and(|found| found.place() == place)
        );
        if from.time == to.time {
            self.by_time.replace(by_time, entry);
        } else {
            self.by_time.remove(by_time);
            self.by_time.insert(self.by_time.lower_bound(self.side_of_time(to.time, id, ids)), entry);
        }
    }

    /// Takes a device out; its record must still be there.
    pub fn remove(&mut self, id: &str, index_key: IndexKey, ids: &impl Ids) {
        self.settle(ids);
        self.removals += 1;
        self.version += 1;
        self.odd -= usize::from(is_odd(self.prefix.key(id.as_bytes())));
        self.by_id.remove(self.by_id.lower_bound(self.side_of_id(id, ids)));
        self.by_time.remove(self.by_time.lower_bound(self.side_of_time(index_key.time, id, ids)));
    }

    /// How many devices have been taken out. While that stays, no place in the orders is given to another device.
    pub fn removals(&self) -> u64 {
        self.removals
    }

    /// Another one after each change of an entry.
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
        let few = fresh.len() * MERGE_SHARE < self.by_id.len();
        // In their order, so that neighbours find in the processor's cache what they look at. By id first: a broker sends them so.
        fresh.sort_unstable_by(|one, other| by_id(one, other, ids));
        put_in_order(&mut self.by_id, &fresh, few, |one, other| by_id(one, other, ids));
        fresh.sort_unstable_by(|one, other| by_time(one, other, ids));
        put_in_order(&mut self.by_time, &fresh, few, |one, other| by_time(one, other, ids));
    }

    /// Looks for what nearly all ids begin with; a few odd ones do not matter.
    fn choose_prefix(&mut self, ids: &impl Ids) {
        let shared = self.shared_by_most(self.by_id.len() / 16, ids);
        if shared != self.prefix.0 {
            self.take_prefix(Prefix(shared), None, ids);
        }
    }

    /// Makes the prefix shorter, so that the ids that are odd now begin with it, too. Nearly all keys follow from the old ones.
    fn shorten_prefix(&mut self, ids: &impl Ids) {
        let before = std::mem::take(&mut self.prefix);
        let shared = self.shared_by_most(self.odd / 4, ids);
        let len = before.0.iter().zip(&shared).take_while(|(one, other)| one == other).count();
        let shorter = Prefix(shared[..len.min(before.0.len() - 1)].into());
        let entries = || self.by_id.range(At::START, self.by_id.end());
        let keys = entries().map(|entry| key_under(&shorter, Some(&before), entry, ids));
        // It has more ids behind it, but may tell fewer of them apart.
        if alike(keys) > alike(entries().map(|entry| entry.key)) {
            self.prefix = before;
        } else {
            self.take_prefix(shorter, Some(&before), ids);
        }
        self.odd_before = self.odd;
    }

    /// What all ids begin with but so many at either end.
    fn shared_by_most(&self, odd: usize, ids: &impl Ids) -> Box<[u8]> {
        let id = |entry: Option<&IndexEntry>| entry.map(|entry| ids.read_id(entry.place(), <[u8]>::to_vec));
        let all = || self.by_id.range(At::START, self.by_id.end());
        let (low, high) =
            (id(all().nth(odd)).unwrap_or_default(), id(all().nth_back(odd)).unwrap_or_default());
        let shared = low.iter().zip(&high).take_while(|(one, other)| one == other).count();
        low[..shared].into()
    }

    /// Takes another prefix, perhaps instead of one that begins with it and is longer. Every device is in order.
    fn take_prefix(&mut self, prefix: Prefix, longer: Option<&Prefix>, ids: &impl Ids) {
        let key = |entry: &IndexEntry| key_under(&prefix, longer, entry, ids);
        self.odd = 0;
        self.by_id.update(|entry| {
            entry.key = key(entry);
            self.odd += usize::from(is_odd(entry.key));
        });
        self.by_time.update(|entry| entry.key = key(entry));
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

/// The key of an entry under another prefix, which the one that it has begins with, if that is given.
fn key_under(prefix: &Prefix, longer: Option<&Prefix>, entry: &IndexEntry, ids: &impl Ids) -> u64 {
    let known = longer.and_then(|longer| prefix.key_from(longer, entry.key));
    known.unwrap_or_else(|| ids.read_id(entry.place(), |id| prefix.key(id)))
}

/// How many ids, in order, are told from the one before only by a look at the records.
fn alike(keys: impl Iterator<Item = u64>) -> usize {
    let mut before = None;
    keys.filter(|key| before.replace(*key) == Some(*key) && !is_whole(*key)).count()
}

/// Inserts sorted entries, a few one by one, and otherwise all in one go.
fn put_in_order(
    order: &mut Sorted<IndexEntry>,
    fresh: &[IndexEntry],
    few: bool,
    compare: impl Fn(&IndexEntry, &IndexEntry) -> Ordering,
) {
    if !few {
        return order.merge(fresh, compare);
    }
    for entry in fresh {
        order.insert(order.lower_bound(|other| compare(other, entry)), *entry);
    }
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

    use super::*;
    use crate::registry::end_code::EndCode;
    use presence::Status;

    fn ids() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"\0\x01a\xff"[..]), 0..12)
    }

    proptest! {
        #[test]
        fn a_key_under_a_shorter_prefix_follows_from_that_under_a_longer_one(
            whole in prop::collection::vec(prop::sample::select(&b"\0ab"[..]), 1..4),
            shorter in any::<prop::sample::Index>(),
            rest in ids(),
        ) {
            let shorter = Prefix(whole[..shorter.index(whole.len())].into());
            let longer = Prefix(whole.into());
            for id in [[&longer.0, &rest[..]].concat(), rest] {
                let key = shorter.key_from(&longer, longer.key(&id));
                prop_assert!(key.is_none_or(|key| key == shorter.key(&id)), "{key:?} of {id:?}");
            }
        }

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

    fn key(second: i128) -> IndexKey {
        IndexKey {
            status: Status::Connected,
            end_code: EndCode::NONE,
            time: Moment::from_nanos(second * 1_000_000_000),
            address: None,
        }
    }

    fn place(at: usize) -> RecordPlace {
        RecordPlace::new(0, u32::try_from(at).unwrap())
    }

    /// An index of these devices, and how many looks at ids changes of every hundredth take.
    fn filled(ids: Vec<String>) -> (TypeIndex, CountedIds) {
        let ids = CountedIds { ids, looks: Cell::new(0) };
        let mut index = TypeIndex::default();
        for (at, id) in ids.ids.iter().enumerate() {
            index.add(place(at), id, key(1), &ids);
            if index.is_settling_due() {
                index.settle(&ids);
            }
        }
        index.settle(&ids);
        ids.looks.set(0);
        for (at, id) in ids.ids.iter().enumerate().step_by(100) {
            index.change(place(at), id, (key(1), key(2)), &ids);
        }
        (index, ids)
    }

    #[test]
    fn ids_that_come_in_their_order_differ_without_a_look_at_the_records() {
        let (mut index, ids) = filled((0..200_000).map(|number| format!("pump-{number:08}")).collect());
        assert_eq!(ids.looks.get(), 0);
        let order: Vec<_> =
            index.by_id().range(At::START, index.by_id().end()).map(|entry| entry.place()).collect();
        assert_eq!(order, (0..ids.ids.len()).map(place).collect::<Vec<_>>());
        for (at, id) in ids.ids.iter().enumerate() {
            index.remove(id, key(if at.is_multiple_of(100) { 2 } else { 1 }), &ids);
        }
        assert_eq!((index.by_id().len(), index.by_time().len(), index.odd), (0, 0, 0));
    }

    #[test]
    fn a_shorter_prefix_that_tells_fewer_ids_apart_is_not_taken() {
        let mut ids: Vec<_> = (0..20_000).map(|number| format!("urn:pump:{number:07}")).collect();
        ids.extend((0..2_000).map(|number| format!("another-{number:07}")));
        let (index, _) = filled(ids);
        assert_eq!((index.prefix.0.starts_with(b"urn:pump:"), index.odd), (true, 2_000));
    }
}
