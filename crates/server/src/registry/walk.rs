//! Going through all devices in steps that never hold a lock for long: first the names of one part of the registry, then whoever
//! walks reads the devices one by one. What is added while a part's names are gathered may be among them or not; the walker
//! can tell, because it has the names.

use std::ops::Range;
use std::sync::Arc;

use super::DeviceRegistry;
use super::record::PackedRecord;
use super::shard::{RecordPlace, SHARDS};
use presence::{Device, DeviceName};

/// Entries that are visited under one lock, some tens of microseconds.
const VISITED_AT_ONCE: u32 = 1_024;

/// Records that are changed under one lock, some ten microseconds.
const CHANGED_AT_ONCE: u32 = 64;

/// The places that are visited next under one lock.
pub(super) fn next_range(from: u32, places: u32) -> Range<u32> {
    from..places.min(from + CHANGED_AT_ONCE)
}

impl DeviceRegistry {
    /// Visits every record, and holds the locks of its shard for at most [`CHANGED_AT_ONCE`] of them at a time, so that a
    /// lookup waits for some ten microseconds at most. A record that is added meanwhile may be visited or not.
    pub(super) fn visit_records(&self, mut visit: impl FnMut(RecordPlace, &mut PackedRecord)) {
        for (number, shard) in self.shards.iter().enumerate() {
            let mut next = 0;
            loop {
                let _changing = shard.changing.lock();
                let mut records = shard.records.write();
                let range = next_range(next, records.places());
                for at in range.clone() {
                    if let Some(record) = records.at_mut(at) {
                        visit(RecordPlace::new(number, at), record);
                    }
                }
                next = range.end;
                if next == records.places() {
                    break;
                }
            }
        }
    }

    /// In how many parts the registry is walked through.
    pub const PARTS: usize = SHARDS;

    /// The part that a device belongs to, in the registry or not.
    pub fn part_of(&self, device: Device<'_>) -> usize {
        Self::shard_number(self.hash(device))
    }

    /// Reads every record of one part, [`VISITED_AT_ONCE`] under one lock. A record keeps its place for life, so none is
    /// passed over and none is met twice.
    pub(super) fn read_part(&self, part: usize, mut read: impl FnMut(&PackedRecord)) {
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.read_places(part, from, &mut read);
        }
    }

    /// Reads the next records of one part under one lock; returns where to go on.
    fn read_places(&self, part: usize, from: u32, read: impl FnMut(&PackedRecord)) -> Option<u32> {
        let records = self.shards[part].records.read();
        let end = records.places().min(from.saturating_add(VISITED_AT_ONCE));
        (from..end).filter_map(|at| records.at(at)).for_each(read);
        (end < records.places()).then_some(end)
    }

    /// The names of one part that `wanted` lets through, in order.
    pub fn names_in_part(&self, part: usize, wanted: impl Fn(Device<'_>) -> bool) -> Vec<DeviceName> {
        let mut names: Vec<DeviceName> = Vec::new();
        let mut next = Some(0);
        while let Some(from) = next {
            next = self.gather_names(part, from, &wanted, &mut names);
        }
        names.sort_unstable();
        names
    }

    /// Adds the names from one place of a part on, as many as are read under one lock; returns where to go on. For those who
    /// must let others do something in between.
    pub fn gather_names(
        &self,
        part: usize,
        from: u32,
        wanted: impl Fn(Device<'_>) -> bool,
        names: &mut Vec<DeviceName>,
    ) -> Option<u32> {
        self.read_places(part, from, |record| {
            names.extend(wanted(record.device()).then(|| DeviceName {
                device_type: Arc::clone(&record.device_type.name),
                id: record.id().into(),
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::RoundNumber;
    use crate::registry::{Arrival, Provenance};
    use presence::payload::Payload;
    use presence::{EventKind, Moment, PresenceEvent, UnixSeconds};

    fn add(registry: &DeviceRegistry, id: &str) {
        let at = Moment::from_nanos(1);
        let payload = Payload::pack(b"{}");
        let event = PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
        registry.apply(
            Device { device_type: "t", id },
            event,
            Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE },
        );
    }

    #[test]
    fn every_device_is_in_exactly_one_part_and_that_is_where_it_is_said_to_be() {
        let registry = DeviceRegistry::default();
        for n in 0..20_000 {
            add(&registry, &n.to_string());
        }
        let mut all = Vec::new();
        for part in 0..DeviceRegistry::PARTS {
            let names = registry.names_in_part(part, |_| true);
            assert!(names.is_sorted());
            for DeviceName { device_type, id } in &names {
                assert_eq!(registry.part_of(Device { device_type, id }), part);
            }
            all.extend(names);
        }
        all.sort();
        let number = all.len();
        all.dedup();
        assert_eq!((number, all.len()), (20_000, 20_000));
        let some: usize = (0..DeviceRegistry::PARTS)
            .map(|part| registry.names_in_part(part, |device| device.id.starts_with('7')).len())
            .sum();
        assert_eq!(some, 1_111);
    }

    #[test]
    fn records_are_visited_once_each_and_few_under_one_lock() {
        for places in [0, 1, 63, 64, 65, 1_000] {
            let (mut next, mut visited) = (0, Vec::new());
            loop {
                let range = next_range(next, places);
                assert!(range.len() <= 64, "{range:?}");
                next = range.end;
                visited.extend(range);
                if next == places {
                    break;
                }
            }
            assert_eq!(visited, (0..places).collect::<Vec<_>>());
        }
        let registry = DeviceRegistry::default();
        (0..20_000).for_each(|n| add(&registry, &n.to_string()));
        let mut visited = Vec::new();
        registry.visit_records(|_place, record| visited.push(record.device().id.to_owned()));
        let number = visited.len();
        visited.sort();
        visited.dedup();
        assert_eq!((number, visited.len()), (20_000, 20_000));
    }

    #[test]
    fn earlier_devices_are_found_while_the_registry_grows() {
        let registry = DeviceRegistry::default();
        for n in 0..5_000 {
            add(&registry, &n.to_string());
        }
        std::thread::scope(|scope| {
            let growing = scope.spawn(|| (5_000..60_000).for_each(|n| add(&registry, &n.to_string())));
            while !growing.is_finished() {
                let found: usize = (0..DeviceRegistry::PARTS)
                    .flat_map(|part| registry.names_in_part(part, |_| true))
                    .filter(|name| name.id.parse::<u32>().is_ok_and(|n| n < 5_000))
                    .count();
                assert_eq!(found, 5_000);
            }
        });
    }
}
