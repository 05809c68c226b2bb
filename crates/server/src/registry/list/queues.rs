//! A list by time: several orders side by side, and of their first devices the first, again and again. Only what comes to be
//! shown is looked at.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{FETCHED_TOGETHER, Left, ListOrder, ListedDevice, ORDER_COST, Progress, RECORD_COST, ScanStep};
use crate::registry::DeviceRegistry;
use crate::registry::index_entry::IndexEntry;
use crate::registry::sorted::Span;
use presence::Moment;
use presence::query::{Position, Query};

#[derive(Default)]
pub(super) struct ByTime {
    fronts: Vec<Front>,
    /// The first device of each order.
    firsts: BTreeSet<FrontFirst>,
    /// Fronts whose first device is not known.
    open: Vec<usize>,
    /// What the list goes on with, in its order. Their records are fetched together.
    candidates: Vec<Candidate>,
    /// The device that was found last.
    last: Option<Candidate>,
    /// Devices that are taken of an order at once.
    at_once: usize,
}

/// The devices of one order that are next, as far as filters tell without a look at them.
struct Front {
    order: ListOrder,
    waiting: VecDeque<IndexEntry>,
    /// Devices that had been taken out of the order when those that wait were found.
    removals: u64,
    /// The version that the order had when the first of them was found; `None`: nothing has been looked for.
    version: Option<u64>,
    /// What comes behind those that wait; `None`: nothing.
    next: Option<Next>,
    /// Where the last device of this order stands that is shown.
    shown: Option<usize>,
}

/// The first device of a front, in the order of the list.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FrontFirst {
    time: Moment,
    device_type: Arc<str>,
    /// The number of the front.
    front: usize,
}

/// A device that its front has given to the list.
struct Candidate {
    /// The number of the front.
    front: usize,
    entry: IndexEntry,
    /// As of the front when it gave the device.
    removals: u64,
}

/// From where on an order is still to be gone over.
enum Next {
    /// From where the query begins.
    Begin,
    After(Position),
    /// Behind an entry: this range, for as long as the order has this version.
    Range {
        last: IndexEntry,
        range: Span,
        version: u64,
    },
}

/// What one step of a front has come to.
enum First {
    Known(Moment, Arc<str>),
    /// A further step is needed.
    Sought,
    /// Nothing is left.
    None,
}

/// Devices were taken out of an order, so that places in it may be those of others now.
struct OrderChanged;

impl ByTime {
    pub fn new(registry: &DeviceRegistry, query: &Query, want: usize) -> Self {
        let fronts: Vec<Front> = orders(registry, query).into_iter().map(Front::new).collect();
        let open = (0..fronts.len()).collect();
        Self { at_once: at_once(want, fronts.len()), fronts, open, ..Self::default() }
    }

    /// Makes it go on behind the last device but one that was found: the last one has only told that any follow.
    pub fn put_last_back(&mut self) {
        self.fronts.iter_mut().for_each(|front| front.shown = None);
        if let Some(Candidate { front, entry, removals }) = self.last.take() {
            let front = &mut self.fronts[front];
            if front.removals == removals {
                front.waiting.push_front(entry);
            } else {
                front.restart(&[]);
            }
        }
        self.firsts.clear();
        self.open = (0..self.fronts.len()).collect();
    }

    /// The same search for the query that goes on where the one before ended; `None`: its orders are no longer the same. What has
    /// changed is looked for again.
    pub fn going_on(mut self, registry: &DeviceRegistry, query: &Query, want: usize) -> Option<Self> {
        let orders = orders(registry, query);
        let are_same = self.fronts.len() == orders.len()
            && self.fronts.iter().zip(&orders).all(|(front, order)| front.order.is(order));
        if !are_same {
            return None;
        }
        for front in &mut self.fronts {
            let version = registry.settled(&front.order).version();
            if front.version != Some(version) {
                front.restart(&[]);
            }
        }
        self.at_once = at_once(want, self.fronts.len());
        Some(self)
    }

    pub fn advance(
        &mut self,
        registry: &DeviceRegistry,
        query: &Query,
        found: &mut Vec<ListedDevice>,
        want: usize,
    ) -> Progress {
        if let Some(number) = self.open.last().copied() {
            let mut cost = ORDER_COST;
            match self.fronts[number].seek(registry, query, self.at_once, &mut cost) {
                Ok(First::Known(time, device_type)) => {
                    self.open.pop();
                    self.firsts.insert(FrontFirst { time, device_type, front: number });
                }
                Ok(First::None) => {
                    self.open.pop();
                }
                Ok(First::Sought) => {}
                Err(OrderChanged) => self.restart(found),
            }
            return Progress::Costs(cost);
        }
        if self.candidates.len() < FETCHED_TOGETHER.min(want - found.len()) {
            let first = if query.sort.descending { self.firsts.pop_last() } else { self.firsts.pop_first() };
            if let Some(FrontFirst { front, .. }) = first {
                let Front { waiting, removals, .. } = &mut self.fronts[front];
                let removals = *removals;
                self.candidates.extend(waiting.pop_front().map(|entry| Candidate { front, entry, removals }));
                self.open.push(front);
                return Progress::Costs(0);
            }
        }
        if self.candidates.is_empty() {
            return Progress::Done;
        }
        let cost = self.candidates.len() * RECORD_COST;
        if let Err(OrderChanged) = self.find_candidates(registry, query, found) {
            self.restart(found);
        }
        Progress::Costs(cost)
    }

    /// Looks at the candidates. Those that still fit are found.
    fn find_candidates(
        &mut self,
        registry: &DeviceRegistry,
        query: &Query,
        found: &mut Vec<ListedDevice>,
    ) -> Result<(), OrderChanged> {
        registry.prefetch_records(self.candidates.iter().map(|candidate| &candidate.entry));
        for candidate in self.candidates.drain(..) {
            let front = &mut self.fronts[candidate.front];
            let index = front.order.index(registry).read();
            if index.removals() != candidate.removals {
                return Err(OrderChanged);
            }
            // Nothing is taken out while the order is locked, so the place is still that of the device which was found there.
            if let Some(device) = registry.found(query, &candidate.entry) {
                front.shown = Some(found.len());
                found.push(device);
                drop(index);
                self.last = Some(candidate);
            }
        }
        Ok(())
    }

    /// Begins again behind what is shown.
    fn restart(&mut self, found: &[ListedDevice]) {
        self.firsts.clear();
        self.candidates.clear();
        self.open = (0..self.fronts.len()).collect();
        self.fronts.iter_mut().for_each(|front| front.restart(found));
    }
}

/// The orders that a list goes over.
fn orders(registry: &DeviceRegistry, query: &Query) -> Vec<ListOrder> {
    let names = &query.filter.types;
    if names.is_empty() {
        let merged = registry.types.merged();
        let further = (registry.types.len() > merged.len()).then_some(ListOrder::OfFurtherTypes);
        merged.into_iter().map(ListOrder::OfType).chain(further).collect()
    } else {
        let names: BTreeSet<&String> = names.iter().collect();
        names.into_iter().filter_map(|name| registry.types.get(name)).map(ListOrder::OfType).collect()
    }
}

fn at_once(want: usize, orders: usize) -> usize {
    (2 * want / orders.max(1)).clamp(2, 64)
}

impl Front {
    fn new(order: ListOrder) -> Self {
        let next = Some(Next::Begin);
        Self { order, waiting: VecDeque::new(), removals: 0, version: None, next, shown: None }
    }

    /// Begins again behind what is shown.
    fn restart(&mut self, found: &[ListedDevice]) {
        let shown = self.shown.map(|at| found[at].position());
        self.waiting.clear();
        (self.removals, self.version) = (0, None);
        self.next = Some(shown.map_or(Next::Begin, Next::After));
    }

    /// Goes one step towards the first device, if none waits.
    fn seek(
        &mut self,
        registry: &DeviceRegistry,
        query: &Query,
        at_once: usize,
        cost: &mut usize,
    ) -> Result<First, OrderChanged> {
        if let Some(first) = self.waiting.front() {
            return self.first(registry, first);
        }
        let Some(next) = &self.next else { return Ok(First::None) };
        let index = registry.settled(&self.order);
        let range = match next {
            Next::Begin => registry.range(&index, &self.order, query, query.after.as_ref()),
            Next::After(position) => registry.range(&index, &self.order, query, Some(position)),
            Next::Range { range, version, .. } if *version == index.version() => *range,
            Next::Range { last, .. } if self.removals == index.removals() => {
                registry.range(&index, &self.order, query, Some(&registry.position(last)))
            }
            Next::Range { .. } => return Err(OrderChanged),
        };
        // Many of them will not be shown, so their records are not fetched yet.
        let look = (|_: &[&IndexEntry]| (), |entry: &IndexEntry| Some(*entry));
        let step: ScanStep<IndexEntry> = registry.step(&index, &self.order, (query, range), at_once, look);
        *cost += step.cost;
        self.waiting.extend(step.taken);
        self.removals = index.removals();
        self.version.get_or_insert(index.version());
        self.next = match step.left {
            Left::Nothing => None,
            Left::Behind(position) => Some(Next::After(position)),
            Left::Range { last, range } => {
                last.map(|last| Next::Range { last, range, version: index.version() })
            }
        };
        Ok(First::Sought)
    }

    fn first(&self, registry: &DeviceRegistry, entry: &IndexEntry) -> Result<First, OrderChanged> {
        match &self.order {
            ListOrder::OfType(device_type) => Ok(First::Known(entry.time(), Arc::clone(&device_type.name))),
            ListOrder::OfFurtherTypes => {
                let index = self.order.index(registry).read();
                if index.removals() != self.removals {
                    return Err(OrderChanged);
                }
                let records = registry.shards[entry.place().shard()].records.read();
                let record = records.at(entry.place().at()).ok_or(OrderChanged)?;
                Ok(First::Known(entry.time(), Arc::clone(&record.device_type.name)))
            }
        }
    }
}
