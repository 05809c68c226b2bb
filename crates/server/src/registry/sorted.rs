//! A sorted sequence of small entries: found by bisection, changed by moving a few kilobytes, read in either direction, and
//! filled in one go where much comes at once. What it is sorted by is known to whoever asks.
//!
//! Entries are kept in chunks and chunks in groups. A group holds the last entry of each of its chunks side by side, so that a
//! search among millions touches some ten cache lines, and a chunk that is split moves the chunks of one group only.

use std::cmp::Ordering;

use system::prefetch::prefetch;

/// A chunk is split beyond this, and filled so far in one go. Half of it is what an insertion moves. Index entries of 26 bytes
/// then fill a block of six KiB, in which the allocator keeps them.
const CHUNK_MAX: usize = 236;
/// Entries that are shown at once to whoever goes over them, and so many parts are about a chunk.
const PART: usize = 59;
const PARTS_AHEAD: usize = 4;
/// A chunk with less is joined with its neighbour if the two fit one.
const CHUNK_MIN: usize = 64;
/// A chunk that has room for so many more gives it back.
const CHUNK_ROOM_MAX: usize = 80;
/// A group is split beyond so many chunks, and filled so far in one go.
const GROUP_MAX: usize = 256;
/// A group with less is joined with the one before it if the two fit one.
const GROUP_MIN: usize = 64;

/// Where an entry stands: its group, its chunk there, and its place in that. Good until the next change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    group: usize,
    chunk: usize,
    inside: usize,
}

impl At {
    /// Before the first entry.
    pub const START: Self = Self { group: 0, chunk: 0, inside: 0 };
}

/// The entries from one place to before another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub from: At,
    pub to: At,
}

pub(super) struct Sorted<T> {
    groups: Vec<Group<T>>,
    len: usize,
}

/// Chunks that follow each other. None is empty.
struct Group<T> {
    chunks: Vec<Vec<T>>,
    /// The last entry of each chunk.
    lasts: Vec<T>,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { groups: Vec::new(), len: 0 }
    }
}

impl<T: Copy> Sorted<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first entry that `side` calls equal or greater; it must not call one less behind one that it calls
    /// greater. Behind the last if there is none.
    pub fn lower_bound(&self, side: impl Fn(&T) -> Ordering) -> At {
        let is_less = |entry: &T| side(entry) == Ordering::Less;
        let number = self.groups.partition_point(|group| group.lasts.last().is_some_and(&is_less));
        let Some(group) = self.groups.get(number) else { return self.end() };
        let chunk = group.lasts.partition_point(&is_less);
        let inside = group.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(is_less));
        At { group: number, chunk, inside }
    }

    pub fn end(&self) -> At {
        At { group: self.groups.len(), chunk: 0, inside: 0 }
    }

    /// Puts another entry that stands at the same place in the order there.
    pub fn replace(&mut self, At { group, chunk, inside }: At, entry: T) {
        let Some(group) = self.groups.get_mut(group) else { return };
        if let Some(found) = group.chunks.get_mut(chunk).and_then(|chunk| chunk.get_mut(inside)) {
            *found = entry;
            group.note_last(chunk);
        }
    }

    /// The entries from one place to before another, in their order.
    pub fn range(&self, from: At, to: At) -> impl DoubleEndedIterator<Item = &T> {
        self.slices(from, to).flat_map(|(_, entries)| entries)
    }

    /// Shows these entries part by part, from the first on or from the last, until `visit` says how many entries of a part it has
    /// passed before it broke off. Then those that are left are returned.
    pub fn visit<'a>(
        &'a self,
        Span { from, to }: Span,
        descending: bool,
        mut visit: impl FnMut(&'a [T]) -> Option<usize>,
    ) -> Option<Span> {
        let parts = self.slices(from, to).flat_map(|(at, entries)| {
            let parts = entries.chunks(PART).enumerate();
            parts.map(move |(number, part)| (At { inside: at.inside + number * PART, ..at }, part))
        });
        if descending {
            fetching_ahead(parts.rev(), |at, entries| {
                let left = entries.len() - visit(entries)?;
                Some(Span { from, to: At { inside: at.inside + left, ..at } })
            })
        } else {
            fetching_ahead(parts, |at, entries| {
                let passed = visit(entries)?;
                Some(Span { from: At { inside: at.inside + passed, ..at }, to })
            })
        }
    }

    /// The same chunk by chunk, and where the first entry of each stands.
    fn slices(&self, from: At, to: At) -> impl DoubleEndedIterator<Item = (At, &[T])> + Clone {
        let groups = self.groups.iter().enumerate().take(to.group.saturating_add(1)).skip(from.group);
        groups.flat_map(move |(number, group)| {
            let first = if number == from.group { from.chunk } else { 0 };
            let behind = if number == to.group { to.chunk + 1 } else { group.chunks.len() };
            let chunks = group.chunks.get(first..behind.min(group.chunks.len())).unwrap_or_default();
            chunks.iter().enumerate().map(move |(behind_first, chunk)| {
                let at = first + behind_first;
                let is = |end: At| (number, at) == (end.group, end.chunk);
                let start = if is(from) { from.inside.min(chunk.len()) } else { 0 };
                let end = if is(to) { to.inside.min(chunk.len()) } else { chunk.len() };
                (At { group: number, chunk: at, inside: start }, &chunk[start..end.max(start)])
            })
        })
    }

    /// Changes every entry, by which none may come to stand elsewhere.
    pub fn update(&mut self, mut change: impl FnMut(&mut T)) {
        for group in &mut self.groups {
            group.chunks.iter_mut().flatten().for_each(&mut change);
            group.lasts = group.chunks.iter().filter_map(|chunk| chunk.last().copied()).collect();
        }
    }

    /// Inserts an entry where [`Sorted::lower_bound`] says that it belongs.
    pub fn insert(&mut self, At { group: number, chunk, inside }: At, entry: T) {
        self.len += 1;
        let Some(group) = self.groups.get_mut(number) else { return self.push(entry) };
        group.insert(chunk, inside, entry);
        if group.chunks.len() > GROUP_MAX {
            let upper = group.split_off(GROUP_MAX / 2);
            self.groups.insert(number + 1, upper);
        }
    }

    /// Inserts an entry behind everything: what comes in order fills chunk after chunk and splits none.
    fn push(&mut self, entry: T) {
        match self.groups.last_mut() {
            Some(last) if last.has_room() => last.push(entry, 1),
            Some(_) | None => self.groups.push(Group::of(entry, 1)),
        }
    }

    pub fn remove(&mut self, At { group: number, chunk, inside }: At) -> T {
        self.len -= 1;
        let removed = self.groups[number].remove(chunk, inside);
        let left = self.groups[number].chunks.len();
        if left == 0 {
            self.groups.remove(number);
        } else if left < GROUP_MIN && number > 0 && self.groups[number - 1].chunks.len() + left <= GROUP_MAX {
            let joined = self.groups.remove(number);
            let before = &mut self.groups[number - 1];
            before.chunks.extend(joined.chunks);
            before.lasts.extend(joined.lasts);
        }
        removed
    }

    /// Takes in many entries at once that are sorted among themselves.
    pub fn merge(&mut self, entries: &[T], compare: impl Fn(&T, &T) -> Ordering) {
        let mut left = self.len + entries.len();
        let mut merged = Self { groups: Vec::with_capacity(left.div_ceil(CHUNK_MAX * GROUP_MAX)), len: left };
        let mut push = |entry| {
            match merged.groups.last_mut() {
                Some(last) if last.has_room() => last.push(entry, left),
                Some(_) | None => merged.groups.push(Group::of(entry, left)),
            }
            left -= 1;
        };
        let mut new = entries.iter().copied().peekable();
        for old in std::mem::take(&mut self.groups).into_iter().flat_map(|group| group.chunks).flatten() {
            while let Some(first) = new.next_if(|new| compare(new, &old) == Ordering::Less) {
                push(first);
            }
            push(old);
        }
        new.for_each(push);
        *self = merged;
    }
}

/// Shows part after part until something is returned. Once a whole chunk has been passed, more may be: from then on the processor
/// fetches as much as a chunk ahead, little by little, because it fetches only some lines at a time.
fn fetching_ahead<'a, T: 'a, R>(
    parts: impl Iterator<Item = (At, &'a [T])> + Clone,
    mut visit: impl FnMut(At, &'a [T]) -> Option<R>,
) -> Option<R> {
    let mut ahead = parts.clone().skip(PARTS_AHEAD);
    for (number, (at, entries)) in parts.enumerate() {
        if let Some((_, later)) = ahead.next().filter(|_| number >= PARTS_AHEAD) {
            let entries_a_line = (64 / size_of::<T>()).max(1);
            later.iter().step_by(entries_a_line).for_each(prefetch);
        }
        if let Some(result) = visit(at, entries) {
            return Some(result);
        }
    }
    None
}

impl<T: Copy> Group<T> {
    /// A group of one entry, with room for so many at once.
    fn of(entry: T, expected: usize) -> Self {
        let chunks = expected.div_ceil(CHUNK_MAX).min(GROUP_MAX);
        let mut group = Self { chunks: Vec::with_capacity(chunks), lasts: Vec::with_capacity(chunks) };
        group.push(entry, expected);
        group
    }

    /// Whether an entry can be added behind the last without splitting anything.
    fn has_room(&self) -> bool {
        self.chunks.len() < GROUP_MAX || self.chunks.last().is_some_and(|last| last.len() < CHUNK_MAX)
    }

    /// Adds an entry behind the last; so many are expected from this one on.
    fn push(&mut self, entry: T, expected: usize) {
        if self.chunks.last().is_none_or(|last| last.len() >= CHUNK_MAX) {
            self.chunks.push(Vec::with_capacity(CHUNK_MAX.min(expected)));
            self.lasts.push(entry);
        }
        let chunk = self.chunks.len() - 1;
        insert(&mut self.chunks[chunk], usize::MAX, entry);
        self.lasts[chunk] = entry;
    }

    fn insert(&mut self, mut number: usize, mut inside: usize, entry: T) {
        if self.chunks[number].len() >= CHUNK_MAX {
            let upper = self.chunks[number].split_off(CHUNK_MAX / 2);
            give_back(&mut self.chunks[number], 0);
            self.chunks.insert(number + 1, upper);
            self.lasts.insert(number, entry);
            self.note_last(number);
            if inside > CHUNK_MAX / 2 {
                (number, inside) = (number + 1, inside - CHUNK_MAX / 2);
            }
        }
        insert(&mut self.chunks[number], inside, entry);
        self.note_last(number);
    }

    fn remove(&mut self, number: usize, inside: usize) -> T {
        let chunk = &mut self.chunks[number];
        let removed = chunk.remove(inside);
        give_back(chunk, CHUNK_ROOM_MAX);
        let left = chunk.len();
        if left == 0 {
            self.chunks.remove(number);
            self.lasts.remove(number);
            return removed;
        }
        self.note_last(number);
        if left < CHUNK_MIN {
            self.join(number, left);
        }
        removed
    }

    /// Joins a chunk with its neighbour, if the two fit one.
    fn join(&mut self, number: usize, left: usize) {
        let fits = |other: Option<&Vec<T>>| other.is_some_and(|other| other.len() + left <= CHUNK_MAX);
        let kept = if number > 0 && fits(self.chunks.get(number - 1)) {
            number - 1
        } else if fits(self.chunks.get(number + 1)) {
            number
        } else {
            return;
        };
        let joined = self.chunks.remove(kept + 1);
        self.lasts.remove(kept);
        let len = self.chunks[kept].len();
        self.chunks[kept].reserve_exact(block(len + joined.len(), size_of::<T>()) - len);
        self.chunks[kept].extend(joined);
    }

    fn split_off(&mut self, at: usize) -> Self {
        Self { chunks: self.chunks.split_off(at), lasts: self.lasts.split_off(at) }
    }

    fn note_last(&mut self, number: usize) {
        if let Some(last) = self.chunks[number].last() {
            self.lasts[number] = *last;
        }
    }
}

/// Inserts an entry, or adds it behind the last.
fn insert<T>(chunk: &mut Vec<T>, at: usize, entry: T) {
    let len = chunk.len();
    if len == chunk.capacity() {
        chunk.reserve_exact(block(len + 1, size_of::<T>()) - len);
    }
    chunk.insert(at.min(len), entry);
}

/// Gives back what a chunk has reserved, if that is more than so many entries.
fn give_back<T>(chunk: &mut Vec<T>, most: usize) {
    if chunk.capacity() > chunk.len() + most {
        chunk.shrink_to(block(chunk.len(), size_of::<T>()));
    }
}

/// How many entries of this size the allocator's block holds that is the least for so many: it has four sizes of blocks between two
/// powers of two.
fn block(entries: usize, size: usize) -> usize {
    let bytes = entries * size;
    let unit = (bytes.next_power_of_two() / 8).max(16);
    bytes.next_multiple_of(unit) / size
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(sorted: &Sorted<u16>) -> Vec<u16> {
        sorted.range(At::START, sorted.end()).copied().collect()
    }

    fn check(sorted: &Sorted<u16>, expected: &[u16]) {
        assert_eq!(all(sorted), expected);
        assert_eq!(sorted.len(), expected.len());
        for group in &sorted.groups {
            assert!(!group.chunks.is_empty() && group.chunks.len() <= GROUP_MAX);
            assert!(group.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_MAX));
            assert!(group.chunks.iter().filter_map(|chunk| chunk.last()).eq(&group.lasts));
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Remove(prop::sample::Index),
        Merge(Vec<u16>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            8 => any::<u16>().prop_map(Step::Insert),
            // Runs that come in order.
            4 => (0u16..50).prop_map(|low| Step::Insert(u16::MAX - low)),
            8 => any::<prop::sample::Index>().prop_map(Step::Remove),
            1 => prop::collection::vec(any::<u16>(), 0..400).prop_map(Step::Merge),
        ]
    }

    proptest! {
        #[test]
        fn the_sorted_list_equals_a_sorted_vector(
            steps in prop::collection::vec(step(), 0..200),
            ends in any::<(u16, u16)>(),
            at_once in 1usize..300,
        ) {
            let (mut sorted, mut expected) = (Sorted::<u16>::default(), Vec::new());
            for step in steps {
                match step {
                    Step::Insert(number) => {
                        sorted.insert(sorted.lower_bound(|entry| entry.cmp(&number)), number);
                        expected.insert(expected.partition_point(|entry| *entry < number), number);
                    }
                    Step::Remove(_) if expected.is_empty() => {}
                    Step::Remove(which) => {
                        let number = expected.remove(which.index(expected.len()));
                        prop_assert_eq!(sorted.remove(sorted.lower_bound(|entry| entry.cmp(&number))), number);
                    }
                    Step::Merge(mut numbers) => {
                        numbers.sort_unstable();
                        expected.extend(&numbers);
                        expected.sort_unstable();
                        sorted.merge(&numbers, u16::cmp);
                    }
                }
            }
            check(&sorted, &expected);
            let (low, high) = (ends.0.min(ends.1), ends.0.max(ends.1));
            let bound = |number: u16| sorted.lower_bound(|entry| entry.cmp(&number));
            let between: Vec<u16> = expected.iter().copied().filter(|n| (low..high).contains(n)).collect();
            let forwards: Vec<u16> = sorted.range(bound(low), bound(high)).copied().collect();
            let mut backwards: Vec<u16> = sorted.range(bound(low), bound(high)).rev().copied().collect();
            backwards.reverse();
            prop_assert_eq!(&forwards, &between);
            prop_assert_eq!(&backwards, &between);
            for descending in [false, true] {
                // Broken off again and again, it comes to the same.
                let (mut left, mut shown) = (Some(Span { from: bound(low), to: bound(high) }), Vec::<u16>::new());
                while let Some(range) = left {
                    let mut room = at_once;
                    left = sorted.visit(range, descending, |entries| {
                        let take = room.min(entries.len());
                        room -= take;
                        if descending {
                            shown.extend(entries.iter().rev().take(take));
                        } else {
                            shown.extend(&entries[..take]);
                        }
                        (take < entries.len()).then_some(take)
                    });
                }
                if descending {
                    shown.reverse();
                }
                prop_assert_eq!(&shown, &between);
            }
        }
    }

    fn chunks(sorted: &Sorted<u16>) -> impl Iterator<Item = &Vec<u16>> {
        sorted.groups.iter().flat_map(|group| &group.chunks)
    }

    fn insert(sorted: &mut Sorted<u16>, number: u16) {
        sorted.insert(sorted.lower_bound(|entry| entry.cmp(&number)), number);
    }

    #[test]
    fn ordered_insertion_fills_chunks_and_removal_frees_them() {
        let mut sorted = Sorted::<u16>::default();
        (0..10_000).for_each(|number| insert(&mut sorted, number));
        assert_eq!(chunks(&sorted).count(), 10_000_usize.div_ceil(CHUNK_MAX));
        for number in (0..10_000u16).filter(|number| number % 100 != 0) {
            sorted.remove(sorted.lower_bound(|entry| entry.cmp(&number)));
        }
        check(&sorted, &(0..100).map(|n| n * 100).collect::<Vec<_>>());
        let room: usize = chunks(&sorted).map(Vec::capacity).sum();
        assert!(room < 500, "room for {room} is kept for 100");
    }

    #[test]
    fn groups_are_split_and_joined() {
        let mut sorted = Sorted::<u16>::default();
        // In an order that splits chunks half-way, of which there are more than one group holds.
        let numbers = || (0..60_000u16).map(|number| (u32::from(number) * 40_507 % 60_000) as u16);
        numbers().for_each(|number| insert(&mut sorted, number));
        check(&sorted, &(0..60_000).collect::<Vec<_>>());
        assert!(sorted.groups.len() > 1, "{} chunks", chunks(&sorted).count());
        for number in numbers().filter(|number| number % 10 != 0) {
            sorted.remove(sorted.lower_bound(|entry| entry.cmp(&number)));
        }
        check(&sorted, &(0..6_000).map(|number| number * 10).collect::<Vec<_>>());
        assert_eq!(sorted.groups.len(), 1);
    }

    #[test]
    fn an_order_of_one_entry_keeps_room_for_one() {
        let mut sorted = Sorted::<u16>::default();
        sorted.merge(&[7], u16::cmp);
        let room: usize = chunks(&sorted).map(Vec::capacity).sum();
        let groups: usize = sorted.groups.iter().map(|group| group.chunks.capacity()).sum();
        assert_eq!((room, groups, sorted.groups.capacity()), (1, 1, 1));
    }

    #[test]
    fn chunks_of_index_entries_fill_the_blocks_of_the_allocator() {
        assert_eq!(
            [1, 100, 118, 119, 138, 158, 197].map(|entries| block(entries, 26)),
            [1, 118, 118, 137, 157, 196, 236]
        );
    }
}
