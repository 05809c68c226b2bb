//! Lists of devices: filtered, in order, a part at a time. A part costs what it shows and what the filter passes over,
//! never the number of devices or types; no lock is held for longer than one step, some fifty microseconds, and a list
//! that takes longer than a millisecond says so, so that others get their turn.

mod queues;
mod resumption;
mod types;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::queues::ByTime;
pub(super) use self::resumption::EndedSearches;
use self::types::ById;
use super::index::TypeIndex;
use super::index_entry::IndexEntry;
use super::index_filter::{Entries, IndexFilter};
use super::record::PackedRecord;
use super::sorted::{At, Span};
use super::types::{DeviceType, MERGED_TYPES_MAX};
use super::{DeviceRegistry, Names, Snapshot, names};
use presence::Moment;
use presence::query::{Filter, Page, Position, Query, Sort, SortBy};

/// Entries that a step may pass over before it lets go of the order.
const STEP_ENTRIES: usize = 16_384;
/// Looking at a record costs as much as passing over so many entries.
const RECORD_COST: usize = 64;
/// And so does turning to an order.
const ORDER_COST: usize = 256;
/// So much is done without a pause: some milliseconds at most.
const COST_AT_ONCE: usize = 16 * STEP_ENTRIES;

/// Records that are looked at one behind the other. The processor fetches all of them while it waits for the first.
const FETCHED_TOGETHER: usize = 8;

/// Where there are more types, those without devices are dropped, and a search that is kept would hold them.
const TYPES_RESUMED_MAX: usize = MERGED_TYPES_MAX;

/// Part of a list that is being looked for.
pub struct Listing {
    query: Query,
    search: Search,
    found: Vec<ListedDevice>,
}

enum Search {
    ById(ById),
    ByTime(ByTime),
}

/// Whether a search goes on, and what the last step of it has cost.
enum Progress {
    Costs(usize),
    Done,
}

/// A device of a list, at the place that it had in the order when it was found.
struct ListedDevice {
    time: Moment,
    snapshot: Snapshot,
}

impl ListedDevice {
    fn position(&self) -> Position {
        Position { time: self.time, ..self.snapshot.position() }
    }
}

/// The devices of one type, or of all types that share an order.
#[derive(Clone)]
enum ListOrder {
    OfType(Arc<DeviceType>),
    OfFurtherTypes,
}

impl ListOrder {
    fn index<'a>(&'a self, registry: &'a DeviceRegistry) -> &'a RwLock<TypeIndex> {
        match self {
            Self::OfType(device_type) => &device_type.index,
            Self::OfFurtherTypes => &registry.types.further,
        }
    }

    /// Whether both are the same order, not only of types of the same name.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::OfType(one), Self::OfType(other)) => Arc::ptr_eq(one, other),
            (Self::OfFurtherTypes, Self::OfFurtherTypes) => true,
            (Self::OfType(_), Self::OfFurtherTypes) | (Self::OfFurtherTypes, Self::OfType(_)) => false,
        }
    }

    fn names<'a>(&self, registry: &'a DeviceRegistry) -> Names<'a> {
        match self {
            Self::OfType(_) => Names::Ids(registry),
            Self::OfFurtherTypes => Names::Full(registry),
        }
    }
}

/// What one step over an order has come to.
struct ScanStep<T> {
    taken: Vec<T>,
    left: Left,
    cost: usize,
}

/// What a step has left to the next.
enum Left {
    Nothing,
    /// It was long enough, and has come to there.
    Behind(Position),
    /// It has taken as many as were wanted, the last one last; the range is what is left of the order as it is.
    Range {
        last: Option<IndexEntry>,
        range: Span,
    },
}

impl DeviceRegistry {
    /// Part of a list. A device that does not change while the list is read is neither skipped nor repeated.
    pub fn list(&self, query: &Query) -> Page<Snapshot> {
        let mut listing = self.start_list(query);
        loop {
            if let Some(page) = self.advance_list(&mut listing) {
                return page;
            }
        }
    }

    /// Begins to look for part of a list.
    pub fn start_list(&self, query: &Query) -> Listing {
        // One more tells whether any follow.
        let want = query.limit.saturating_add(1);
        let search = match query.sort.by {
            SortBy::Id => Search::ById(ById::new(self, query)),
            SortBy::Since => {
                let ended = self.ended_searches.take(query);
                let search = ended.and_then(|search| search.going_on(self, query, want));
                Search::ByTime(search.unwrap_or_else(|| ByTime::new(self, query, want)))
            }
        };
        Listing { query: query.clone(), search, found: Vec::new() }
    }

    /// Goes on looking for about a millisecond; `None`: that was not enough.
    pub fn advance_list(&self, listing: &mut Listing) -> Option<Page<Snapshot>> {
        let Listing { query, search, found } = listing;
        let want = query.limit.saturating_add(1);
        let mut cost = 0;
        while cost < COST_AT_ONCE {
            let progress = match search {
                Search::ById(search) => search.advance(self, query, found, want),
                Search::ByTime(search) => search.advance(self, query, found, want),
            };
            match progress {
                Progress::Costs(more) => cost += more,
                Progress::Done => {
                    let more = found.len() > query.limit;
                    found.truncate(query.limit);
                    let next = found.last().filter(|_| more).map(ListedDevice::position);
                    if let (Search::ByTime(search), Some(next)) = (search, &next)
                        && self.types.len() <= TYPES_RESUMED_MAX
                    {
                        search.put_last_back();
                        self.ended_searches.keep(query, next, std::mem::take(search));
                    }
                    let devices = std::mem::take(found).into_iter().map(|found| found.snapshot);
                    return Some(Page { devices: devices.collect(), next });
                }
            }
        }
        None
    }

    /// The ids of a type's devices that are wanted.
    pub(super) fn ids_of(
        &self,
        device_type: &Arc<DeviceType>,
        wanted: impl Fn(&PackedRecord) -> bool,
    ) -> Vec<String> {
        let order = ListOrder::OfType(Arc::clone(device_type));
        let sort = Sort { by: SortBy::Id, descending: false };
        let all = Query { filter: Filter::default(), sort, after: None, limit: usize::MAX };
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let index = self.settled(&order);
            let range = self.range(&index, &order, &all, after.as_ref());
            let take = |entry: &IndexEntry| {
                let records = self.shards[entry.place().shard()].records.read();
                let record = records.at(entry.place().at()).filter(|record| wanted(record))?;
                Some(record.id().to_owned())
            };
            let fetch = |entries: &[&IndexEntry]| self.prefetch_records(entries.iter().copied());
            let step = self.step(&index, &order, (&all, range), usize::MAX, (fetch, take));
            ids.extend(step.taken);
            match step.left {
                Left::Behind(position) => after = Some(position),
                Left::Nothing | Left::Range { .. } => return ids,
            }
        }
    }

    /// Goes over a range of an order until so many are taken, or the step is long enough. What is taken together is fetched before.
    fn step<'i, T>(
        &self,
        index: &'i TypeIndex,
        order: &ListOrder,
        (query, range): (&Query, Span),
        want: usize,
        (fetch, take): (impl Fn(&[&IndexEntry]), impl Fn(&IndexEntry) -> Option<T>),
    ) -> ScanStep<T> {
        let (index_filter, id_prefix) = (IndexFilter::of(&query.filter), query.filter.common_id_prefix());
        let begins_with = |entry| match order {
            ListOrder::OfType(_) => index.begins_with(entry, id_prefix),
            ListOrder::OfFurtherTypes => None,
        };
        let (mut taken, mut cost, mut last) = (Vec::new(), 0, None);
        let mut together = Vec::with_capacity(FETCHED_TOGETHER);
        let visit = |chunk: &'i [IndexEntry]| {
            let mut entries = Entries::new(chunk, query.sort.descending);
            while taken.len() < want && cost < STEP_ENTRIES {
                let left = entries.len();
                let candidate = index_filter.next(&mut entries);
                cost += left - entries.len();
                let Some(entry) = candidate else {
                    last = if query.sort.descending { chunk.first() } else { chunk.last() };
                    return None;
                };
                last = Some(entry);
                if begins_with(entry) != Some(false) {
                    cost += RECORD_COST;
                    together.push(entry);
                    if together.len() == FETCHED_TOGETHER.min(want - taken.len()) {
                        fetch(&together);
                        taken.extend(together.drain(..).filter_map(&take));
                    }
                }
            }
            Some(chunk.len() - entries.len())
        };
        let sorted = match query.sort.by {
            SortBy::Id => index.by_id(),
            SortBy::Since => index.by_time(),
        };
        let range = sorted.visit(range, query.sort.descending, visit);
        // Fewer than are still wanted.
        taken.extend(together.into_iter().filter_map(&take));
        let left = match range {
            None => Left::Nothing,
            Some(range) if taken.len() == want => Left::Range { last: last.copied(), range },
            Some(_) => last.map_or(Left::Nothing, |last| Left::Behind(self.position(last))),
        };
        ScanStep { taken, left, cost }
    }

    /// Has the processor fetch the records of these entries, and what they point to.
    fn prefetch_records<'a>(&self, entries: impl Iterator<Item = &'a IndexEntry> + Clone) {
        for place in entries.clone().map(IndexEntry::place) {
            self.shards[place.shard()].records.read().prefetch_place(place.at());
        }
        for place in entries.map(IndexEntry::place) {
            let records = self.shards[place.shard()].records.read();
            records.at(place.at()).into_iter().for_each(PackedRecord::prefetch_body);
        }
    }

    /// Where the device of an entry stands. No device has been taken out of its order since the entry was found.
    fn position(&self, entry: &IndexEntry) -> Position {
        let records = self.shards[entry.place().shard()].records.read();
        let record = records.at(entry.place().at()).expect("a record outlives its place in the orders");
        Position {
            device_type: record.device_type.name.to_string(),
            id: record.id().to_owned(),
            time: entry.time(),
        }
    }

    /// The device of an entry. One that has changed on the way to the order may no longer fit.
    fn found(&self, query: &Query, entry: &IndexEntry) -> Option<ListedDevice> {
        let place = entry.place();
        let records = self.shards[place.shard()].records.read();
        let snapshot = Snapshot::of_opened(records.at(place.at())?.open());
        drop(records);
        let is_in_place = query.sort.by == SortBy::Id || snapshot.event.time == entry.time();
        let fits = is_in_place && query.filter.admits(&snapshot.traits(&query.filter));
        fits.then(|| ListedDevice { time: entry.time(), snapshot })
    }

    /// An order, with every device in its place.
    fn settled<'a>(&'a self, order: &'a ListOrder) -> RwLockReadGuard<'a, TypeIndex> {
        let lock = order.index(self);
        let index = lock.read();
        if index.is_settled() {
            return index;
        }
        drop(index);
        let mut index = lock.write();
        index.settle(&order.names(self));
        RwLockWriteGuard::downgrade(index)
    }

    /// The part of the order that the query admits, behind a position if one is given.
    fn range(&self, index: &TypeIndex, order: &ListOrder, query: &Query, after: Option<&Position>) -> Span {
        let Span { from, to } = match query.sort.by {
            SortBy::Id => {
                Span { from: self.start_by_id(index, query, after), to: self.end_by_id(index, query, after) }
            }
            SortBy::Since => self.bounds_by_time(index, order, query, after),
        };
        Span { from, to: to.max(from) }
    }

    fn start_by_id(&self, index: &TypeIndex, query: &Query, after: Option<&Position>) -> At {
        let prefix = query.filter.common_id_prefix();
        let start = if prefix.is_empty() {
            At::START
        } else {
            index.by_id().lower_bound(index.side_of_id(prefix, &Names::Ids(self)))
        };
        match after {
            Some(after) if !query.sort.descending => {
                start.max(index.by_id().lower_bound(behind(index.side_of_id(&after.id, &Names::Ids(self)))))
            }
            Some(_) | None => start,
        }
    }

    fn end_by_id(&self, index: &TypeIndex, query: &Query, after: Option<&Position>) -> At {
        let prefix = query.filter.common_id_prefix();
        let end = if prefix.is_empty() {
            index.by_id().end()
        } else {
            index.behind_prefix(prefix, &Names::Ids(self))
        };
        match after {
            Some(after) if query.sort.descending => {
                end.min(index.by_id().lower_bound(index.side_of_id(&after.id, &Names::Ids(self))))
            }
            Some(_) | None => end,
        }
    }

    /// From where to where, by time; the position may be of another type.
    fn bounds_by_time(
        &self,
        index: &TypeIndex,
        order: &ListOrder,
        query: &Query,
        after: Option<&Position>,
    ) -> Span {
        let by_time = index.by_time();
        let at = |time: Moment| by_time.lower_bound(|entry| entry.time().cmp(&time));
        let Filter { since, until, .. } = query.filter;
        // Whoever goes on from a position is past this end of the span already.
        let start = match (since, until) {
            _ if after.is_some() && !query.sort.descending => At::START,
            (Some(since), _) => at(since),
            // An unknown time is in no span.
            (None, Some(_)) => {
                by_time.lower_bound(behind(|entry: &IndexEntry| entry.time().cmp(&Moment::UNKNOWN)))
            }
            (None, None) => At::START,
        };
        let end = until.filter(|_| after.is_none() || !query.sort.descending).map_or(by_time.end(), at);
        let Some(after) = after else { return Span { from: start, to: end } };
        let (side_of_type, name) = match order {
            ListOrder::OfType(own) => {
                (own.name.as_ref().cmp(after.device_type.as_str()), Cow::Borrowed(&*after.id))
            }
            ListOrder::OfFurtherTypes => (Ordering::Equal, names::full(&after.device_type, &after.id).into()),
        };
        let names = order.names(self);
        let side_of_name = index.side_of_id(&name, &names);
        let side = |entry: &IndexEntry| {
            let side = entry.time().cmp(&after.time).then(side_of_type);
            side.then_with(|| side_of_name(entry))
        };
        if query.sort.descending {
            Span { from: start, to: by_time.lower_bound(side) }
        } else {
            Span { from: by_time.lower_bound(behind(side)), to: end }
        }
    }
}

/// Makes the first entry behind a place of what would find the place itself.
fn behind(side: impl Fn(&IndexEntry) -> Ordering) -> impl Fn(&IndexEntry) -> Ordering {
    move |entry| if side(entry) == Ordering::Greater { Ordering::Greater } else { Ordering::Less }
}
