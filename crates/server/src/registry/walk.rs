//! Going through all devices in steps that never hold a lock for long: first the names of one part of the map, then whoever
//! walks reads the devices one by one. What is added while a part's names are gathered may be among them or not; the walker
//! can tell, because it has the names.

use super::DeviceRegistry;
use super::shard::SHARDS;
use presence::{Device, DeviceName};

/// Entries that are visited under one lock, some tens of microseconds.
const VISITED_AT_ONCE: u32 = 1_024;

impl DeviceRegistry {
    /// In how many parts the map is walked through.
    pub const PARTS: usize = SHARDS;

    /// The part that a device belongs to, in the map or not.
    pub fn part_of(&self, device: Device<'_>) -> usize {
        Self::shard_number(self.hash(device))
    }

    /// The names of one part that `wanted` lets through, in order.
    pub fn names_in_part(&self, part: usize, wanted: impl Fn(Device<'_>) -> bool) -> Vec<DeviceName> {
        let mut names: Vec<DeviceName> = Vec::new();
        // A record keeps its place for life, so none is passed over and none is met twice.
        let mut next = 0;
        loop {
            let records = self.shards[part].records.read();
            let end = records.places().min(next + VISITED_AT_ONCE);
            let visited = (next..end).filter_map(|at| records.at(at));
            let named = visited.filter(|record| wanted(record.device()));
            names.extend(named.map(|record| record.name()));
            if end == records.places() {
                break;
            }
            next = end;
        }
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::RoundNumber;
    use crate::registry::{Arrival, Provenance};
    use presence::payload::Payload;
    use presence::{EventKind, Moment, PresenceEvent, UnixSeconds};

    fn add(map: &DeviceRegistry, id: &str) {
        let at = Moment::from_nanos(1);
        let payload = Payload::pack(b"{}");
        let event = PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
        map.apply(
            Device { device_type: "t", id },
            event,
            Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE },
        );
    }

    #[test]
    fn every_device_is_in_exactly_one_part_and_that_is_where_it_is_said_to_be() {
        let map = DeviceRegistry::default();
        for n in 0..20_000 {
            add(&map, &n.to_string());
        }
        let mut all = Vec::new();
        for part in 0..DeviceRegistry::PARTS {
            let names = map.names_in_part(part, |_| true);
            assert!(names.is_sorted());
            for DeviceName { device_type, id } in &names {
                assert_eq!(map.part_of(Device { device_type, id }), part);
            }
            all.extend(names);
        }
        all.sort();
        let number = all.len();
        all.dedup();
        assert_eq!((number, all.len()), (20_000, 20_000));
        let some: usize = (0..DeviceRegistry::PARTS)
            .map(|part| map.names_in_part(part, |device| device.id.starts_with('7')).len())
            .sum();
        assert_eq!(some, 1_111);
    }

    #[test]
    fn earlier_devices_are_found_while_the_registry_grows() {
        let map = DeviceRegistry::default();
        for n in 0..5_000 {
            add(&map, &n.to_string());
        }
        std::thread::scope(|scope| {
            let growing = scope.spawn(|| (5_000..60_000).for_each(|n| add(&map, &n.to_string())));
            while !growing.is_finished() {
                let found: usize = (0..DeviceRegistry::PARTS)
                    .flat_map(|part| map.names_in_part(part, |_| true))
                    .filter(|name| name.id.parse::<u32>().is_ok_and(|n| n < 5_000))
                    .count();
                assert_eq!(found, 5_000);
            }
        });
    }
}
