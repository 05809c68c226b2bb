//! The device types by name: their totals, and how many of their devices the current round of the population has heard of.
//! A publisher can make as many types as devices, so nothing here goes through all of them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::counts::Counts;
use super::index::TypeIndex;
use super::record::PackedRecord;
use super::sessions::SessionCounts;
use super::{DeviceRegistry, Totals};
use crate::freshness::RoundNumber;
use presence::Status;
use presence::payload::skeleton::Skeletons;

/// So many types have an order by time that a list of all types reads beside the others; the devices of all further types
/// share one. An organization has a few dozen types.
pub(super) const MERGED_TYPES_MAX: usize = 200;

/// While there are no more types than this, a type stays known after its last device has been forgotten.
const EMPTY_TYPES_MAX: usize = 1_000;

/// Devices of one type in the current round of the population.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundCount {
    pub device_type: String,
    /// In the registry when the round began.
    pub before: u64,
    /// In the registry now.
    pub total: u64,
    /// Heard of since the round began.
    pub received: u64,
}

/// All types.
pub(super) struct TypeDirectory {
    /// Those of all types.
    skeletons: Arc<Skeletons>,
    table: RwLock<TypeTable>,
    /// The one that was asked for last by who adds a device: a broker sends type after type.
    last: Mutex<Option<Arc<DeviceType>>>,
    /// The devices of all types beyond [`MERGED_TYPES_MAX`], by type and id.
    pub further: RwLock<TypeIndex>,
}

struct TypeTable {
    by_name: BTreeMap<Arc<str>, Arc<DeviceType>>,
    /// Those of [`TimeOrder::Own`].
    merged: BTreeMap<Arc<str>, Arc<DeviceType>>,
    merged_max: usize,
}

impl Default for TypeDirectory {
    fn default() -> Self {
        Self::merging(MERGED_TYPES_MAX)
    }
}

/// In which order by time a list of all types finds the devices of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeOrder {
    /// In that of the type, which is merged with those of others.
    Own,
    /// In the one that all further types share.
    Shared,
}

pub(super) struct DeviceType {
    pub name: Arc<str>,
    pub skeletons: Arc<Skeletons>,
    pub time_order: TimeOrder,
    pub counts: Counts,
    pub sessions: SessionCounts,
    pub index: RwLock<TypeIndex>,
    /// Devices in the registry when the round began, if their number has changed since.
    before_round: RoundCounter,
    /// Devices about which something was received since the round began.
    received_in_round: RoundCounter,
}

impl DeviceType {
    fn new(name: &str, skeletons: Arc<Skeletons>, time_order: TimeOrder) -> Self {
        Self {
            name: name.into(),
            skeletons,
            time_order,
            counts: Counts::default(),
            sessions: SessionCounts::default(),
            index: RwLock::default(),
            before_round: RoundCounter::default(),
            received_in_round: RoundCounter::default(),
        }
    }

    /// Counts a device that changes its status, or comes in.
    pub fn move_one(&self, from: Option<Status>, to: Status, round: RoundNumber) {
        if from.is_none() {
            self.before_round.set_once(round, self.counts.totals().total());
        }
        self.counts.move_one(from, to);
    }

    /// Counts devices that come in together.
    pub fn add_restored(&self, status: Status, count: u64, round: RoundNumber) {
        self.before_round.set_once(round, self.counts.totals().total());
        self.counts.of(status).fetch_add(count, Ordering::Relaxed);
    }

    pub fn drop_one(&self, from: Status, round: RoundNumber) {
        self.before_round.set_once(round, self.counts.totals().total());
        self.counts.drop_one(from);
    }

    pub fn count_received(&self, round: RoundNumber) {
        self.received_in_round.change(round, |received| received + 1);
    }

    pub fn uncount_received(&self, round: RoundNumber) {
        self.received_in_round.change(round, |received| received.saturating_sub(1));
    }

    fn round_count(&self, round: RoundNumber) -> RoundCount {
        let total = self.counts.totals().total();
        RoundCount {
            device_type: self.name.to_string(),
            before: self.before_round.get(round).unwrap_or(total),
            total,
            received: self.received_in_round.get(round).unwrap_or(0),
        }
    }
}

/// A number that holds for one round, with that round in its upper 16 bits: so beginning a round changes none of them.
#[derive(Debug, Default)]
pub(super) struct RoundCounter(AtomicU64);

const ROUND_SHIFT: u32 = 48;

impl RoundCounter {
    pub fn get(&self, round: RoundNumber) -> Option<u64> {
        Self::number_of(self.0.load(Ordering::Relaxed), round)
    }

    fn number_of(packed: u64, round: RoundNumber) -> Option<u64> {
        let is_of_round = packed >> ROUND_SHIFT == u64::from(round.to_bits());
        is_of_round.then_some(packed & ((1 << ROUND_SHIFT) - 1))
    }

    fn change(&self, round: RoundNumber, change: impl Fn(u64) -> u64) {
        let changed = |packed| {
            let number = change(Self::number_of(packed, round).unwrap_or(0));
            u64::from(round.to_bits()) << ROUND_SHIFT | number
        };
        let _previous = self.0.update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    /// Changes the number if it is of this round, and says whether it is.
    pub fn change_of(&self, round: RoundNumber, change: impl Fn(u64) -> u64) -> bool {
        let changed = |packed| {
            let number = change(Self::number_of(packed, round)?);
            Some(u64::from(round.to_bits()) << ROUND_SHIFT | number)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed).is_ok()
    }

    pub fn set(&self, round: RoundNumber, number: u64) {
        self.0.store(u64::from(round.to_bits()) << ROUND_SHIFT | number, Ordering::Relaxed);
    }

    /// Sets the number unless it is set for this round already.
    fn set_once(&self, round: RoundNumber, number: u64) {
        if self.get(round).is_none() {
            self.set(round, number);
        }
    }
}

impl TypeDirectory {
    /// At most so many types have an order by time of their own.
    pub fn merging(merged_max: usize) -> Self {
        let table = TypeTable { by_name: BTreeMap::new(), merged: BTreeMap::new(), merged_max };
        let (skeletons, last, further) = (Arc::default(), Mutex::default(), RwLock::default());
        Self { skeletons, table: RwLock::new(table), last, further }
    }

    pub fn get(&self, name: &str) -> Option<Arc<DeviceType>> {
        self.table.read().by_name.get(name).map(Arc::clone)
    }

    pub fn len(&self) -> usize {
        self.table.read().by_name.len()
    }

    /// The one copy of this type's name and totals.
    pub fn find_or_add(&self, name: &str) -> Arc<DeviceType> {
        let last = self.last.lock().as_ref().filter(|last| *last.name == *name).map(Arc::clone);
        last.unwrap_or_else(|| {
            let found = self.get(name).unwrap_or_else(|| self.add(name));
            *self.last.lock() = Some(Arc::clone(&found));
            found
        })
    }

    fn add(&self, name: &str) -> Arc<DeviceType> {
        let mut table = self.table.write();
        if let Some(found) = table.by_name.get(name) {
            return Arc::clone(found);
        }
        let has_own = table.merged.len() < table.merged_max;
        let time_order = if has_own { TimeOrder::Own } else { TimeOrder::Shared };
        let device_type = Arc::new(DeviceType::new(name, Arc::clone(&self.skeletons), time_order));
        if has_own {
            table.merged.insert(Arc::clone(&device_type.name), Arc::clone(&device_type));
        }
        table.by_name.insert(Arc::clone(&device_type.name), Arc::clone(&device_type));
        device_type
    }

    /// Drops a type that has no devices, if there are many types.
    pub fn drop_if_empty(&self, name: &str) {
        let mut table = self.table.write();
        if table.by_name.len() <= EMPTY_TYPES_MAX {
            return;
        }
        // Nobody takes it from there afterwards who did not have it before.
        self.last.lock().take();
        let Some(device_type) = table.by_name.get(name) else { return };
        let references = 1 + usize::from(device_type.time_order == TimeOrder::Own);
        // Each record holds its type, and so does a writer that is about to add one.
        if Arc::strong_count(device_type) == references {
            table.by_name.remove(name);
            table.merged.remove(name);
        }
    }

    /// At most so many types by name, behind one if it is given, from the end if `descending`.
    pub fn page(&self, after: Bound<&str>, descending: bool, most: usize) -> Vec<Arc<DeviceType>> {
        let table = self.table.read();
        if descending {
            let range = table.by_name.range::<str, _>((Bound::Unbounded, after));
            range.rev().take(most).map(|(_, device_type)| Arc::clone(device_type)).collect()
        } else {
            let range = table.by_name.range::<str, _>((after, Bound::Unbounded));
            range.take(most).map(|(_, device_type)| Arc::clone(device_type)).collect()
        }
    }

    /// The types whose orders by time a list of all types merges, [`MERGED_TYPES_MAX`] at most.
    pub fn merged(&self) -> Vec<Arc<DeviceType>> {
        self.table.read().merged.values().map(Arc::clone).collect()
    }
}

impl DeviceRegistry {
    /// How many types are known.
    pub fn types_total(&self) -> usize {
        self.types.len()
    }

    /// Totals of at most so many types by name, behind one if it is given.
    pub fn totals_by_type(&self, after: Option<&str>, most: usize) -> Vec<(Arc<str>, Totals)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let types = self.types.page(after, false, most);
        types.iter().map(|t| (Arc::clone(&t.name), t.counts.totals())).collect()
    }

    /// What a round has come to, for at most so many types by name.
    pub fn round_counts(&self, round: RoundNumber, most: usize) -> Vec<RoundCount> {
        self.types.page(Bound::Unbounded, false, most).iter().map(|t| t.round_count(round)).collect()
    }

    /// What the current round has come to for one type.
    pub fn round_count(&self, device_type: &str) -> Option<RoundCount> {
        self.types.get(device_type).map(|t| t.round_count(self.round()))
    }

    /// The ids of this type's devices, heard of in the current round or not. Where not all devices are held this goes
    /// through the whole registry, some records under one lock, else through the devices of the type.
    pub fn ids_in_round(&self, device_type: &str, received: bool) -> Vec<String> {
        let round = self.round();
        let wanted = |record: &PackedRecord| (record.reception.received_in == round) == received;
        let Some(device_type) = self.types.get(device_type) else { return Vec::new() };
        if !self.is_limited() {
            return self.ids_of(&device_type, wanted);
        }
        let mut ids = Vec::new();
        for part in 0..Self::PARTS {
            self.read_part(part, |record| {
                if Arc::ptr_eq(&record.device_type, &device_type) && wanted(record) {
                    ids.push(record.id().to_owned());
                }
            });
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Arrival, Provenance};
    use presence::Device;
    use presence::UnixSeconds;
    use presence::payload::Payload;
    use presence::query::{Filter, Query, Sort, SortBy};
    use presence::{EventKind, Moment, PresenceEvent};

    fn apply(registry: &DeviceRegistry, device_type: &str, kind: EventKind, at: u32) {
        let moment = Moment::from_nanos(i128::from(at));
        let event = PresenceEvent {
            kind,
            session: moment,
            time: moment,
            close_code: 0,
            payload: Payload::pack(b"{}"),
        };
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: registry.round() };
        registry.apply(Device { device_type, id: "1" }, event, arrival);
    }

    fn map_of_types(types: u32) -> DeviceRegistry {
        let registry = DeviceRegistry::default();
        for n in 0..types {
            apply(&registry, &format!("type-{n:06}"), EventKind::Disconnect, n);
        }
        registry
    }

    #[test]
    fn a_page_costs_the_same_for_any_number_of_types() {
        let registry = map_of_types(50_000);
        for by in [SortBy::Id, SortBy::Since] {
            for descending in [false, true] {
                let sort = Sort { by, descending };
                let query = Query { filter: Filter::default(), sort, after: None, limit: 1 };
                // Puts the devices in order, which is done once.
                let first = registry.list(&query);
                for after in [None, first.next] {
                    let query = Query { after, ..query.clone() };
                    let page = registry.advance_list(&mut registry.start_list(&query));
                    assert_eq!(page.map(|page| page.devices.len()), Some(1), "{sort:?}: without a pause");
                }
            }
        }
    }

    #[test]
    fn a_list_that_passes_over_many_types_pauses() {
        let registry = map_of_types(5_000);
        let filter = Filter { id_prefixes: vec!["none".to_owned()], ..Filter::default() };
        let sort = Sort { by: SortBy::Id, descending: false };
        let mut listing = registry.start_list(&Query { filter, sort, after: None, limit: 1 });
        let mut pauses = 0;
        let page = loop {
            match registry.advance_list(&mut listing) {
                Some(page) => break page,
                None => pauses += 1,
            }
        };
        assert!(page.devices.is_empty() && pauses >= 4, "{pauses} pauses");
    }

    #[test]
    fn types_without_devices_are_dropped_where_there_are_many() {
        let registry = map_of_types(3_000);
        assert_eq!((registry.types_total(), registry.types.merged().len()), (3_000, MERGED_TYPES_MAX));
        registry.forget(i64::MAX, |_| ());
        assert_eq!((registry.types_total(), registry.totals().total()), (EMPTY_TYPES_MAX, 0));
        apply(&registry, "type-000000", EventKind::Connect, 1);
        assert_eq!(registry.totals_by_type(None, 1)[0].1, Totals { connected: 1, disconnected: 0 });
    }

    #[test]
    fn a_round_counts_what_was_there_before_and_what_is_received_since() {
        let registry = DeviceRegistry::default();
        registry.begin_round();
        apply(&registry, "a", EventKind::Connect, 1);
        apply(&registry, "b", EventKind::Connect, 1);
        let count = |device_type: &str, before, total, received| {
            Some(RoundCount { device_type: device_type.to_owned(), before, total, received })
        };
        assert_eq!(registry.round_count("a"), count("a", 0, 1, 1));
        registry.begin_round();
        assert_eq!((registry.round_count("a"), registry.received_in_round()), (count("a", 1, 1, 0), 0));
        apply(&registry, "a", EventKind::Disconnect, 2);
        apply(&registry, "c", EventKind::Connect, 2);
        assert_eq!(
            (registry.round_count("a"), registry.round_count("c")),
            (count("a", 1, 1, 1), count("c", 0, 1, 1))
        );
        assert_eq!(
            (registry.ids_in_round("a", true), registry.ids_in_round("b", true)),
            (vec!["1".to_owned()], vec![])
        );
        assert_eq!((registry.received_in_round(), registry.round_counts(registry.round(), 2).len()), (2, 2));
    }
}
