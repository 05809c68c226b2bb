//! A list by time: several orders side by side, and of their first devices the first, again and again. Only what comes to be
//! shown is looked at.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Left, ListOrder, ListedDevice, ORDER_COST, Progress, RECORD_COST, ScanStep};
use crate::registry::DeviceRegistry;
use crate::registry::index_entry::IndexEntry;
use crate::registry::sorted::Span;
use presence::Moment;
use presence::query::{Position, Query};

pub(super) struct ByTime {
    fronts: Vec<Front>,
    /// The first device of each order.
    firsts: BTreeSet<FrontFirst>,
    /// Fronts whose first device is not known.
    open: Vec<usize>,
    /// Devices that are taken of an order at once.
    at_once: usize,
}

/// The devices of one order that are next, as far as filters tell without a look at them.
struct Front {
    order: ListOrder,
    waiting: VecDeque<IndexEntry>,
    /// Devices that had been taken out of the order when those that wait were found.
    removals: u64,
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

/// From where on an order is still to be gone over.
enum Next {
    /// Behind a position, or from the beginning.
    After(Option<Position>),
    /// Behind an entry: this range, for as long as the order has this version.
    Range { last: IndexEntry, range: Span, version: u64 },
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
        let names = &query.filter.types;
        let orders: Vec<ListOrder> = if names.is_empty() {
            let merged = registry.types.merged();
            let further = (registry.types.len() > merged.len()).then_some(ListOrder::OfFurtherTypes);
            merged.into_iter().map(ListOrder::OfType).chain(further).collect()
        } else {
            let names: BTreeSet<&String> = names.iter().collect();
            names.into_iter().filter_map(|name| registry.types.get(name)).map(ListOrder::OfType).collect()
        };
        let at_once = (2 * want / orders.len().max(1)).clamp(2, 64);
        let fronts: Vec<Front> = orders.into_iter().map(|order| Front::new(order, query)).collect();
        Self { open: (0..fronts.len()).collect(), firsts: BTreeSet::new(), fronts, at_once }
    }

    pub fn advance(
        &mut self,
        registry: &DeviceRegistry,
        query: &Query,
        found: &mut Vec<ListedDevice>,
        want: usize,
    ) -> Progress {
        if let Some(number) = self.open.last().copied() {
            let front = &mut self.fronts[number];
            let mut cost = ORDER_COST;
            match front.seek(registry, query, self.at_once, &mut cost) {
                Ok(First::Known(time, device_type)) => {
                    self.open.pop();
                    self.firsts.insert(FrontFirst { time, device_type, front: number });
                }
                Ok(First::None) => {
                    self.open.pop();
                }
                Ok(First::Sought) => {}
                Err(OrderChanged) => front.restart(found, query),
            }
            return Progress::Costs(cost);
        }
        let next = if found.len() >= want {
            None
        } else if query.sort.descending {
            self.firsts.pop_last()
        } else {
            self.firsts.pop_first()
        };
        let Some(FrontFirst { front: number, .. }) = next else { return Progress::Done };
        let front = &mut self.fronts[number];
        match front.take_first(registry, query) {
            Ok(device) => {
                if device.is_some() {
                    front.shown = Some(found.len());
                }
                found.extend(device);
            }
            Err(OrderChanged) => front.restart(found, query),
        }
        self.open.push(number);
        Progress::Costs(RECORD_COST)
    }
}

impl Front {
    fn new(order: ListOrder, query: &Query) -> Self {
        let next = Some(Next::After(query.after.clone()));
        Self { order, waiting: VecDeque::new(), removals: 0, next, shown: None }
    }

    /// Begins again behind what is shown.
    fn restart(&mut self, found: &[ListedDevice], query: &Query) {
        let after = self.shown.map(|at| found[at].position()).or_else(|| query.after.clone());
        self.waiting.clear();
        (self.removals, self.next) = (0, Some(Next::After(after)));
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
            Next::After(position) => registry.range(&index, &self.order, query, position.as_ref()),
            Next::Range { range, version, .. } if *version == index.version() => *range,
            Next::Range { last, .. } if self.removals == index.removals() => {
                registry.range(&index, &self.order, query, Some(&registry.position(last)))
            }
            Next::Range { .. } => return Err(OrderChanged),
        };
        let step: ScanStep<IndexEntry> =
            registry.step(&index, &self.order, (query, range), at_once, |entry| Some(*entry));
        *cost += step.cost;
        self.waiting.extend(step.taken);
        self.removals = index.removals();
        self.next = match step.left {
            Left::Nothing => None,
            Left::Behind(position) => Some(Next::After(Some(position))),
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

    /// The first device that waits, if it still fits.
    fn take_first(
        &mut self,
        registry: &DeviceRegistry,
        query: &Query,
    ) -> Result<Option<ListedDevice>, OrderChanged> {
        let index = self.order.index(registry).read();
        if index.removals() != self.removals {
            return Err(OrderChanged);
        }
        // Nothing is taken out while the order is locked, so the place is still that of the device which was found there.
        Ok(self.waiting.pop_front().and_then(|entry| registry.found(query, &entry)))
    }
}
