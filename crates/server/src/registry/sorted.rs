//! A sorted sequence of small entries in chunks: found by bisection, changed by moving a few kilobytes, read in either
//! direction, and filled in one go where much comes at once. What it is sorted by is known to whoever asks.

use std::cmp::Ordering;
use std::ops::ControlFlow;

/// A chunk is split beyond this. Half of it is what an insertion moves.
const CHUNK_MAX: usize = 256;
/// How full chunks are made that are filled in one go: some room for what comes later. Index entries of 26 bytes then fill a block
/// of six KiB, in which the allocator keeps them.
const CHUNK_FILLED: usize = 236;
/// A chunk grows by so many, so that little is reserved in vain.
const CHUNK_GROWTH: usize = 32;
/// A chunk with less is joined with its neighbour if the two fit one.
const CHUNK_MIN: usize = 64;

/// Where an entry stands: its chunk, and its place there. Good until the next change.
pub(super) type At = (usize, usize);

/// The entries from one place to before another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub from: At,
    pub to: At,
}

pub(super) struct Sorted<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
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
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&is_less));
        let inside = self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(is_less));
        (chunk, inside)
    }

    pub fn end(&self) -> At {
        (self.chunks.len(), 0)
    }

    pub fn at_mut(&mut self, (chunk, inside): At) -> Option<&mut T> {
        self.chunks.get_mut(chunk)?.get_mut(inside)
    }

    /// The entries from one place to before another, in their order.
    pub fn range(&self, from: At, to: At) -> impl DoubleEndedIterator<Item = &T> {
        self.slices(from, to).flat_map(|(_, entries)| entries)
    }

    /// Shows these entries, one after the other or from the last to the first, until `visit` breaks off; then the ones that
    /// are left are returned, and the one it broke off at is among them.
    pub fn visit<'a>(
        &'a self,
        Span { from, to }: Span,
        descending: bool,
        mut visit: impl FnMut(&'a T) -> ControlFlow<()>,
    ) -> Option<Span> {
        let mut slices = self.slices(from, to);
        if descending {
            slices.rev().find_map(|((chunk, start), entries)| {
                let left = entries.iter().rposition(|entry| visit(entry).is_break())?;
                Some(Span { from, to: (chunk, start + left + 1) })
            })
        } else {
            slices.find_map(|((chunk, start), entries)| {
                let left = entries.iter().position(|entry| visit(entry).is_break())?;
                Some(Span { from: (chunk, start + left), to })
            })
        }
    }

    /// The same chunk by chunk, and where the first entry of each stands.
    fn slices(&self, from: At, to: At) -> impl DoubleEndedIterator<Item = (At, &[T])> {
        let last = (to.0 + usize::from(to.1 > 0)).min(self.chunks.len());
        let chunks = self.chunks.get(from.0..last).unwrap_or_default();
        chunks.iter().enumerate().map(move |(number, chunk)| {
            let number = from.0 + number;
            let start = if number == from.0 { from.1.min(chunk.len()) } else { 0 };
            let end = if number == to.0 { to.1.min(chunk.len()) } else { chunk.len() };
            ((number, start), &chunk[start..end.max(start)])
        })
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.chunks.iter_mut().flatten()
    }

    /// Inserts an entry where [`Sorted::lower_bound`] says that it belongs.
    pub fn insert(&mut self, at: At, entry: T) {
        let (mut chunk, mut inside) = at;
        self.len += 1;
        if chunk == self.chunks.len() {
            // Behind everything: what comes in order fills chunk after chunk and splits none.
            match self.chunks.last() {
                Some(last) if last.len() < CHUNK_MAX => {
                    (chunk, inside) = (self.chunks.len() - 1, last.len());
                }
                Some(_) | None => {
                    self.chunks.push(Vec::new());
                    inside = 0;
                }
            }
        } else if self.chunks[chunk].len() >= CHUNK_MAX {
            let upper = self.chunks[chunk].split_off(CHUNK_MAX / 2);
            self.chunks[chunk].shrink_to(CHUNK_MAX / 2 + CHUNK_GROWTH);
            self.chunks.insert(chunk + 1, upper);
            if inside > CHUNK_MAX / 2 {
                (chunk, inside) = (chunk + 1, inside - CHUNK_MAX / 2);
            }
        }
        let chunk = &mut self.chunks[chunk];
        if chunk.len() == chunk.capacity() {
            chunk.reserve_exact(CHUNK_GROWTH);
        }
        chunk.insert(inside, entry);
    }

    pub fn remove(&mut self, (chunk, inside): At) -> T {
        self.len -= 1;
        let removed = self.chunks[chunk].remove(inside);
        let left = self.chunks[chunk].len();
        if left < CHUNK_MIN {
            self.join(chunk, left);
        }
        removed
    }

    fn join(&mut self, chunk: usize, left: usize) {
        if left == 0 {
            self.chunks.remove(chunk);
            return;
        }
        let fits = |other: Option<&Vec<T>>| other.is_some_and(|other| other.len() + left <= CHUNK_FILLED);
        let kept = if chunk > 0 && fits(self.chunks.get(chunk - 1)) {
            chunk - 1
        } else if fits(self.chunks.get(chunk + 1)) {
            chunk
        } else {
            self.chunks[chunk].shrink_to(left + CHUNK_GROWTH);
            return;
        };
        let joined = self.chunks.remove(kept + 1);
        self.chunks[kept].extend(joined);
        let len = self.chunks[kept].len();
        self.chunks[kept].shrink_to(len + CHUNK_GROWTH);
    }

    /// Takes in many entries at once that are sorted among themselves.
    pub fn merge(&mut self, entries: Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
        self.len += entries.len();
        let mut new = entries.into_iter().peekable();
        let mut merged =
            Filling { chunks: Vec::with_capacity(self.len.div_ceil(CHUNK_FILLED)), left: self.len };
        for chunk in std::mem::take(&mut self.chunks) {
            for old in chunk {
                while let Some(first) = new.next_if(|new| compare(new, &old) == Ordering::Less) {
                    merged.push(first);
                }
                merged.push(old);
            }
        }
        new.for_each(|entry| merged.push(entry));
        self.chunks = merged.chunks;
    }
}

/// Chunks that are being filled in one go.
struct Filling<T> {
    chunks: Vec<Vec<T>>,
    /// Entries that are still to come: there may be millions of orders with one entry each.
    left: usize,
}

impl<T> Filling<T> {
    fn push(&mut self, entry: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK_FILLED => last.push(entry),
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(CHUNK_FILLED.min(self.left));
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        self.left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(sorted: &Sorted<u16>) -> Vec<u16> {
        sorted.range((0, 0), sorted.end()).copied().collect()
    }

    fn check(sorted: &Sorted<u16>, expected: &[u16]) {
        assert_eq!(all(sorted), expected);
        assert_eq!(sorted.len(), expected.len());
        assert!(sorted.chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_MAX));
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
                        sorted.merge(numbers, u16::cmp);
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
                let (mut left, mut shown) = (Some(Span { from: bound(low), to: bound(high) }), Vec::new());
                while let Some(range) = left {
                    let mut room = at_once;
                    left = sorted.visit(range, descending, |entry| {
                        if room == 0 {
                            return ControlFlow::Break(());
                        }
                        room -= 1;
                        shown.push(*entry);
                        ControlFlow::Continue(())
                    });
                }
                if descending {
                    shown.reverse();
                }
                prop_assert_eq!(&shown, &between);
            }
        }
    }

    #[test]
    fn ordered_insertion_fills_chunks_and_removal_frees_them() {
        let mut sorted = Sorted::<u16>::default();
        for number in 0..10_000u16 {
            sorted.insert(sorted.lower_bound(|entry| entry.cmp(&number)), number);
        }
        assert!(sorted.chunks.len() <= 10_000 / CHUNK_MAX + 1, "{}", sorted.chunks.len());
        for number in (0..10_000u16).filter(|number| number % 100 != 0) {
            sorted.remove(sorted.lower_bound(|entry| entry.cmp(&number)));
        }
        check(&sorted, &(0..100).map(|n| n * 100).collect::<Vec<_>>());
        let room: usize = sorted.chunks.iter().map(Vec::capacity).sum();
        assert!(room < 500, "room for {room} is kept for 100");
    }

    #[test]
    fn an_order_of_one_entry_keeps_room_for_one() {
        let mut sorted = Sorted::<u16>::default();
        sorted.merge(vec![7], u16::cmp);
        let room: usize = sorted.chunks.iter().map(Vec::capacity).sum();
        assert_eq!((room, sorted.chunks.capacity()), (1, 1));
    }
}
