//! The devices that a store has come into an empty registry: room is made once, and the orders of lists are made at the end, in one
//! go and by several threads.

use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::types::TimeOrder;
use super::{DeviceRegistry, Names, Provenance, SHARDS};
use presence::{Device, DeviceState, UnixSeconds};

/// Threads that put devices in order at the end: more would wait for memory.
const ORDERING_THREADS_MAX: usize = 4;

impl DeviceRegistry {
    /// Makes room for so many devices at once. From now on new devices are put in order only where somebody needs it, and at
    /// [`DeviceRegistry::end_restoring`].
    pub fn begin_restoring(&self, devices: usize) {
        self.is_restoring.store(true, Ordering::Relaxed);
        // An eighth more, because no two shards are equal.
        let each = devices / SHARDS + devices / SHARDS / 8;
        for shard in &self.shards {
            shard.records.write().reserve(each);
        }
    }

    /// Puts back what an earlier process believed; if the device is in the map already, the two are merged.
    pub fn restore(&self, device: Device<'_>, state: DeviceState, received_at: UnixSeconds) {
        self.lock(device).merge(state, received_at, Provenance::Restored, |_, _| ());
    }

    /// Puts every device in order.
    pub fn end_restoring(&self) {
        self.is_restoring.store(false, Ordering::Relaxed);
        let types = self.types.page(Bound::Unbounded, false, usize::MAX);
        let next = AtomicUsize::new(0);
        let threads = thread::available_parallelism().map_or(1, usize::from).min(ORDERING_THREADS_MAX);
        thread::scope(|scope| {
            for _ in 0..threads.min(types.len()) {
                scope.spawn(|| {
                    while let Some(device_type) = types.get(next.fetch_add(1, Ordering::Relaxed)) {
                        device_type.index.write().settle(&Names::Ids(self));
                    }
                });
            }
            if types.iter().any(|device_type| device_type.time_order == TimeOrder::Shared) {
                self.types.further.write().settle(&Names::Full(self));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::payload::Payload;
    use presence::query::{Filter, Query, Sort, SortBy};
    use presence::{EventKind, Moment, PresenceEvent};

    #[test]
    fn restored_devices_are_in_order_whatever_their_number_and_that_of_their_types() {
        for (devices, types) in [(3, 1), (20_000, 1), (20_000, 300)] {
            let map = DeviceRegistry::default();
            map.begin_restoring(devices);
            for number in 0..devices {
                let (device_type, id) =
                    (format!("type-{}", number % types), format!("{:05}", number * 7 % devices));
                let time = Moment::from_nanos(number as i128 * 31 % 1_000);
                let payload = Payload::pack(b"{}");
                let kind = EventKind::Connect;
                let event = PresenceEvent { kind, session: time, time, close_code: 0, payload };
                let state = DeviceState::of_session(event);
                map.restore(Device { device_type: &device_type, id: &id }, state, UnixSeconds(1));
            }
            map.end_restoring();
            for by in [SortBy::Id, SortBy::Since] {
                let sort = Sort { by, descending: false };
                let query = Query { filter: Filter::default(), sort, after: None, limit: devices };
                let positions: Vec<_> =
                    map.list(&query).devices.iter().map(|device| device.position()).collect();
                assert_eq!(positions.len(), devices);
                assert!(positions.is_sorted_by(|one, other| sort.compare(one, other).is_lt()), "{by:?}");
            }
        }
    }
}
