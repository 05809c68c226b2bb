//! Lists of devices: filtered, in order, a part at a time. A part costs what it shows and what the filter passes over,
//! never the number of devices; no lock is held for longer than one step, some fifty microseconds.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};

use super::index::{Ids, IndexEntry, TypeIndex};
use super::index_filter::IndexFilter;
use super::shard::RecordPlace;
use super::sorted::At;
use super::{DeviceRegistry, DeviceType, Snapshot};
use presence::Moment;
use presence::query::{Filter, Position, Query, SortBy};

/// Entries that a step may pass over before it lets go of the order.
const STEP_ENTRIES: usize = 16_384;
/// Looking at a record costs as much as passing over so many entries.
const RECORD_COST: usize = 64;

/// Part of a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    pub devices: Vec<Snapshot>,
    /// The last device, if any follow it.
    pub next: Option<Position>,
}

/// A device of a list, at the place that it had in the order when it was found.
struct Found {
    time: Moment,
    snapshot: Snapshot,
}

impl Found {
    fn position(&self) -> Position {
        Position { time: self.time, ..self.snapshot.position() }
    }
}

/// What one step over the devices of one type has come to.
struct ScanStep<T> {
    taken: Vec<T>,
    left: Left,
}

/// What a step has left to the next.
enum Left {
    Nothing,
    /// It was long enough, and has come to there.
    Behind(Position),
    /// It has taken as many as were wanted, the last one last; the range is what is left of the order as it is.
    Range {
        last: Option<IndexEntry>,
        range: (At, At),
    },
}

impl Ids for DeviceRegistry {
    fn read_id<T>(&self, place: RecordPlace, read_id: impl FnOnce(&str) -> T) -> T {
        let records = self.shards[place.shard()].records.read();
        read_id(&records.at(place.at()).expect("a record outlives its place in the orders").id)
    }
}

impl DeviceRegistry {
    /// Part of a list. A device that does not change while the list is read is neither skipped nor repeated.
    pub fn list(&self, query: &Query) -> Page {
        // One more tells whether any follow.
        let want = query.limit.saturating_add(1);
        let types = self.listed_types(query);
        let mut found = match query.sort.by {
            SortBy::Id => self.list_by_id(&types, query, want),
            SortBy::Since => self.list_by_since(&types, query, want),
        };
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let next = found.last().filter(|_| more).map(Found::position);
        Page { devices: found.into_iter().map(|found| found.snapshot).collect(), next }
    }

    /// The names of all types, sorted.
    pub fn type_names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.types.read().iter().map(|t| Arc::clone(&t.name)).collect();
        names.sort_unstable();
        names
    }

    /// The types that the filter admits, by name.
    fn listed_types(&self, query: &Query) -> Vec<Arc<DeviceType>> {
        let wanted = &query.filter.types;
        let types = self.types.read();
        let admitted =
            types.iter().filter(|t| wanted.is_empty() || wanted.iter().any(|name| **name == *t.name));
        let mut admitted: Vec<_> = admitted.map(Arc::clone).collect();
        drop(types);
        admitted.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        admitted
    }

    /// One type after the other.
    fn list_by_id(&self, types: &[Arc<DeviceType>], query: &Query, want: usize) -> Vec<Found> {
        let mut ordered: Vec<&Arc<DeviceType>> = types.iter().collect();
        if query.sort.descending {
            ordered.reverse();
        }
        let mut after = query.after.clone();
        let mut all = Vec::new();
        for device_type in ordered {
            if let Some(position) = &after {
                let side = device_type.name.as_ref().cmp(position.device_type.as_str());
                let passed = if query.sort.descending { Ordering::Greater } else { Ordering::Less };
                if side == passed {
                    continue;
                }
                if side != Ordering::Equal {
                    after = None;
                }
            }
            loop {
                let index = self.settled(device_type);
                let range = self.range(&index, &device_type.name, query, after.as_ref());
                let take = |entry: &IndexEntry| self.found(query, entry);
                let step = self.step(&index, device_type, (query, range), want - all.len(), take);
                all.extend(step.taken);
                after = match step.left {
                    Left::Behind(position) => Some(position),
                    Left::Nothing | Left::Range { .. } => break,
                };
            }
            if all.len() == want {
                break;
            }
        }
        all
    }

    /// All types side by side: of their first devices the first, again and again. Only what comes to be shown is looked at.
    fn list_by_since(&self, types: &[Arc<DeviceType>], query: &Query, want: usize) -> Vec<Found> {
        let at_once = (2 * want / types.len().max(1)).clamp(2, 64);
        let mut queues: Vec<TypeQueue> =
            types.iter().map(|_| TypeQueue::after(query.after.clone())).collect();
        let mut firsts = BTreeSet::new();
        let first = |queue: &mut TypeQueue, number: usize, shown: &[Found]| loop {
            match self.fill(queue, &types[number], query, at_once) {
                Ok(time) => return time.map(|time| (time, number)),
                Err(Moved) => queue.restart(shown, query),
            }
        };
        for (number, queue) in queues.iter_mut().enumerate() {
            firsts.extend(first(queue, number, &[]));
        }
        let mut all: Vec<Found> = Vec::with_capacity(want);
        while all.len() < want {
            let next = if query.sort.descending { firsts.pop_last() } else { firsts.pop_first() };
            let Some((_, number)) = next else { break };
            let queue = &mut queues[number];
            match self.take_first(queue, &types[number], query) {
                Ok(found) => {
                    if found.is_some() {
                        queue.shown = Some(all.len());
                    }
                    all.extend(found);
                }
                Err(Moved) => queue.restart(&all, query),
            }
            firsts.extend(first(queue, number, &all));
        }
        all
    }

    /// Sees to it that the first device of a type is there, if there is one, and tells its time.
    fn fill(
        &self,
        queue: &mut TypeQueue,
        device_type: &DeviceType,
        query: &Query,
        at_once: usize,
    ) -> Result<Option<Moment>, Moved> {
        while let (None, Some(next)) = (queue.waiting.front(), &queue.next) {
            let index = self.settled(device_type);
            let range = match next {
                Next::After(position) => self.range(&index, &device_type.name, query, position.as_ref()),
                Next::Range { range, version, .. } if *version == index.version() => *range,
                Next::Range { last, .. } if queue.removals == index.removals() => {
                    let last = self.position(device_type, last);
                    self.range(&index, &device_type.name, query, Some(&last))
                }
                Next::Range { .. } => return Err(Moved),
            };
            let take = |entry: &IndexEntry| Some(*entry);
            let step = self.step(&index, device_type, (query, range), at_once, take);
            queue.waiting.extend(step.taken);
            queue.removals = index.removals();
            queue.next = match step.left {
                Left::Nothing => None,
                Left::Behind(position) => Some(Next::After(Some(position))),
                Left::Range { last, range } => {
                    last.map(|last| Next::Range { last, range, version: index.version() })
                }
            };
        }
        Ok(queue.waiting.front().map(IndexEntry::time))
    }

    /// The first device that waits, if it still fits.
    fn take_first(
        &self,
        queue: &mut TypeQueue,
        device_type: &DeviceType,
        query: &Query,
    ) -> Result<Option<Found>, Moved> {
        let index = device_type.index.read();
        if index.removals() != queue.removals {
            return Err(Moved);
        }
        // Nothing is taken out while the order is locked, so the place is still that of the device which was found there.
        Ok(queue.waiting.pop_front().and_then(|entry| self.found(query, &entry)))
    }

    /// Goes over a range of the order of one type until so many are taken, or the step is long enough.
    fn step<'i, T>(
        &self,
        index: &'i TypeIndex,
        device_type: &DeviceType,
        (query, range): (&Query, (At, At)),
        want: usize,
        take: impl Fn(&IndexEntry) -> Option<T>,
    ) -> ScanStep<T> {
        let (index_filter, id_prefix) = (IndexFilter::of(&query.filter), &query.filter.id_prefix);
        let (mut taken, mut cost, mut last) = (Vec::new(), 0, None);
        let visit = |entry: &'i IndexEntry| {
            if taken.len() == want || cost >= STEP_ENTRIES {
                return ControlFlow::Break(());
            }
            cost += 1;
            last = Some(entry);
            if index_filter.may_admit(entry.index_key()) && index.begins_with(entry, id_prefix) != Some(false)
            {
                cost += RECORD_COST;
                taken.extend(take(entry));
            }
            ControlFlow::Continue(())
        };
        let order = match query.sort.by {
            SortBy::Id => index.by_id(),
            SortBy::Since => index.by_time(),
        };
        let range = order.visit(range, query.sort.descending, visit);
        let left = match range {
            None => Left::Nothing,
            Some(range) if taken.len() == want => Left::Range { last: last.copied(), range },
            Some(_) => last.map_or(Left::Nothing, |last| Left::Behind(self.position(device_type, last))),
        };
        ScanStep { taken, left }
    }

    /// Where the device of an entry stands. No device has been taken out of the type since the entry was found.
    fn position(&self, device_type: &DeviceType, entry: &IndexEntry) -> Position {
        Position {
            device_type: device_type.name.to_string(),
            id: self.read_id(entry.place(), str::to_owned),
            time: entry.time(),
        }
    }

    /// The device of an entry. One that has changed on the way to the order may no longer fit.
    fn found(&self, query: &Query, entry: &IndexEntry) -> Option<Found> {
        let place = entry.place();
        let records = self.shards[place.shard()].records.read();
        let snapshot = Snapshot::of(records.at(place.at())?);
        drop(records);
        let is_in_place = query.sort.by == SortBy::Id || snapshot.event.time == entry.time();
        // Looked for in the message only if it matters.
        let address = query.filter.address.and_then(|_| snapshot.address());
        let fits = is_in_place && query.filter.admits(&snapshot.traits(address));
        fits.then(|| Found { time: entry.time(), snapshot })
    }

    /// The orders of a type, with every device in its place.
    fn settled<'a>(&self, device_type: &'a DeviceType) -> RwLockReadGuard<'a, TypeIndex> {
        let index = device_type.index.read();
        if index.is_settled() {
            return index;
        }
        drop(index);
        let mut index = device_type.index.write();
        index.settle(self);
        RwLockWriteGuard::downgrade(index)
    }

    /// The part of the order that the query admits, behind a position if one is given.
    fn range(&self, index: &TypeIndex, name: &str, query: &Query, after: Option<&Position>) -> (At, At) {
        let (from, to) = match query.sort.by {
            SortBy::Id => (self.start_by_id(index, query, after), self.end_by_id(index, query, after)),
            SortBy::Since => self.bounds_by_time(index, name, query, after),
        };
        (from, to.max(from))
    }

    fn start_by_id(&self, index: &TypeIndex, query: &Query, after: Option<&Position>) -> At {
        let prefix = &query.filter.id_prefix;
        let start = if prefix.is_empty() {
            (0, 0)
        } else {
            index.by_id().lower_bound(index.side_of_id(prefix, self))
        };
        match after {
            Some(after) if !query.sort.descending => {
                start.max(index.by_id().lower_bound(behind(index.side_of_id(&after.id, self))))
            }
            Some(_) | None => start,
        }
    }

    fn end_by_id(&self, index: &TypeIndex, query: &Query, after: Option<&Position>) -> At {
        let prefix = &query.filter.id_prefix;
        let end = if prefix.is_empty() { index.by_id().end() } else { index.behind_prefix(prefix, self) };
        match after {
            Some(after) if query.sort.descending => {
                end.min(index.by_id().lower_bound(index.side_of_id(&after.id, self)))
            }
            Some(_) | None => end,
        }
    }

    /// From where to where, by time; the position may be of another type.
    fn bounds_by_time(
        &self,
        index: &TypeIndex,
        name: &str,
        query: &Query,
        after: Option<&Position>,
    ) -> (At, At) {
        let order = index.by_time();
        let at = |time: Moment| order.lower_bound(|entry| entry.time().cmp(&time));
        let Filter { since, until, .. } = query.filter;
        // Whoever goes on from a position is past this end of the span already.
        let start = match (since, until) {
            _ if after.is_some() && !query.sort.descending => (0, 0),
            (Some(since), _) => at(since),
            // An unknown time is in no span.
            (None, Some(_)) => {
                order.lower_bound(behind(|entry: &IndexEntry| entry.time().cmp(&Moment::UNKNOWN)))
            }
            (None, None) => (0, 0),
        };
        let end = until.filter(|_| after.is_none() || !query.sort.descending).map_or(order.end(), at);
        let Some(after) = after else { return (start, end) };
        let side_of_type = name.cmp(after.device_type.as_str());
        let side_of_name = index.side_of_id(&after.id, self);
        let side = |entry: &IndexEntry| {
            let side = entry.time().cmp(&after.time).then(side_of_type);
            side.then_with(|| side_of_name(entry))
        };
        if query.sort.descending {
            (start, order.lower_bound(side))
        } else {
            (order.lower_bound(behind(side)), end)
        }
    }
}

/// The devices of one type that are next in a list of several types, as far as filters tell without a look at them.
struct TypeQueue {
    waiting: VecDeque<IndexEntry>,
    /// Devices that had been taken out of the type when those that wait were found.
    removals: u64,
    /// What comes behind those that wait; `None`: nothing.
    next: Option<Next>,
    /// Where the last device of this type stands that is shown.
    shown: Option<usize>,
}

/// From where on the order of a type is still to be gone over.
enum Next {
    /// Behind a position, or from the beginning.
    After(Option<Position>),
    /// Behind an entry: this range, for as long as the order has this version.
    Range { last: IndexEntry, range: (At, At), version: u64 },
}

impl TypeQueue {
    fn after(after: Option<Position>) -> Self {
        Self { waiting: VecDeque::new(), removals: 0, next: Some(Next::After(after)), shown: None }
    }

    /// Begins again behind what is shown.
    fn restart(&mut self, all: &[Found], query: &Query) {
        let shown = self.shown;
        let after = shown.map(|at| all[at].position()).or_else(|| query.after.clone());
        *self = Self { shown, ..Self::after(after) };
    }
}

/// Devices were taken out of a type, so that places in it may be those of others now.
struct Moved;

/// Makes the first entry behind a place of what would find the place itself.
fn behind(side: impl Fn(&IndexEntry) -> Ordering) -> impl Fn(&IndexEntry) -> Ordering {
    move |entry| if side(entry) == Ordering::Greater { Ordering::Greater } else { Ordering::Less }
}
