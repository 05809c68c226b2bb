//! A list by type and id: one type after the other, each looked for only when its turn has come.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use super::{Left, ListOrder, ListedDevice, ORDER_COST, Progress};
use crate::registry::DeviceRegistry;
use crate::registry::index_entry::IndexEntry;
use crate::registry::types::DeviceType;
use presence::query::{Position, Query};

/// Types that are looked up at once.
const TYPES_AT_ONCE: usize = 64;

pub(super) struct ById {
    types: VecDeque<Arc<DeviceType>>,
    /// Whether more types may follow those.
    more: bool,
    /// What has been passed.
    after: Option<Position>,
}

impl ById {
    pub fn new(registry: &DeviceRegistry, query: &Query) -> Self {
        let after = query.after.clone();
        let first = match &after {
            Some(position) => Bound::Included(position.device_type.as_str()),
            None => Bound::Unbounded,
        };
        if query.filter.types.is_empty() {
            let types = registry.types.page(first, query.sort.descending, TYPES_AT_ONCE);
            return Self { more: types.len() == TYPES_AT_ONCE, types: types.into(), after };
        }
        let is_passed = |name: &str| {
            let side = after.as_ref().map_or(Ordering::Equal, |after| name.cmp(&after.device_type));
            side == if query.sort.descending { Ordering::Greater } else { Ordering::Less }
        };
        let mut names: Vec<&String> = query.filter.types.iter().filter(|name| !is_passed(name)).collect();
        names.sort_unstable();
        names.dedup();
        if query.sort.descending {
            names.reverse();
        }
        Self {
            types: names.into_iter().filter_map(|name| registry.types.get(name)).collect(),
            more: false,
            after,
        }
    }

    pub fn advance(
        &mut self,
        registry: &DeviceRegistry,
        query: &Query,
        found: &mut Vec<ListedDevice>,
        want: usize,
    ) -> Progress {
        let Some(device_type) = self.types.pop_front().filter(|_| found.len() < want) else {
            return Progress::Done;
        };
        let order = ListOrder::OfType(Arc::clone(&device_type));
        let after = self.after.take().filter(|after| *after.device_type == *device_type.name);
        let index = registry.settled(&order);
        let range = registry.range(&index, &order, query, after.as_ref());
        let fetch = |entries: &[&IndexEntry]| registry.prefetch_records(entries.iter().copied());
        let look = (fetch, |entry: &IndexEntry| registry.found(query, entry));
        let step = registry.step(&index, &order, (query, range), want - found.len(), look);
        found.extend(step.taken);
        match step.left {
            Left::Behind(position) => {
                self.after = Some(position);
                self.types.push_front(Arc::clone(&device_type));
            }
            Left::Nothing | Left::Range { .. } if self.types.is_empty() && self.more => {
                let behind = Bound::Excluded(&*device_type.name);
                self.types = registry.types.page(behind, query.sort.descending, TYPES_AT_ONCE).into();
                self.more = self.types.len() == TYPES_AT_ONCE;
            }
            Left::Nothing | Left::Range { .. } => {}
        }
        Progress::Costs(step.cost + ORDER_COST)
    }
}
