//! The devices that a store has come into an empty registry: room is made once, each lock is taken once for many devices, and the
//! orders of lists are made at the end, in one go and by several threads.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use hashbrown::HashMap;

use super::index_entry::IndexKey;
use super::limit::RecordFlags;
use super::record::PackedRecord;
use super::shard::RecordPlace;
use super::sources::SourceRecord;
use super::types::{DeviceType, TimeOrder};
use super::{Arrival, DeviceRegistry, Names, Provenance, Reception, Record, SHARDS, names};
use crate::freshness::RoundNumber;
use presence::{Device, DeviceState, Status, UnixSeconds};
use store::StoredDevice;
use system::prefetch::prefetch;

/// Threads that put devices in order at the end: more would wait for memory.
const ORDERING_THREADS_MAX: usize = 4;

/// How many devices ahead of the one that is put in the processor is told what will be read. It waits for memory else.
const FETCHED_AHEAD: usize = 8;

/// A device among those that are restored together.
#[derive(Clone, Copy, Default)]
struct HashedDevice {
    hash: u64,
    number: usize,
}

/// New devices of one type, for its indexes.
struct NewOfType {
    device_type: Arc<DeviceType>,
    devices: Vec<NewDevice>,
}

struct NewDevice {
    /// Among those that are restored together.
    number: usize,
    place: RecordPlace,
    index_key: IndexKey,
}

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

    /// Puts back what an earlier process believed; if the device is in the registry already, the two are merged.
    pub fn restore(&self, device: Device<'_>, state: DeviceState, received_at: UnixSeconds) {
        self.lock(device).merge(state, received_at, Provenance::Restored, |_, _| ());
    }

    /// Puts back many devices, between [`DeviceRegistry::begin_restoring`] and the end, when nobody else changes any.
    pub fn restore_all(&self, mut stored: Vec<StoredDevice>) {
        let by_shard = self.by_shard(&stored);
        let shard_of = |device: &HashedDevice| Self::shard_number(device.hash);
        let mut known = Vec::new();
        let mut types: HashMap<Arc<str>, NewOfType, foldhash::fast::RandomState> = HashMap::default();
        for same_shard in by_shard.chunk_by(|one, other| shard_of(one) == shard_of(other)) {
            let shard = shard_of(&same_shard[0]);
            let mut records = self.shards[shard].records.write();
            for (at, HashedDevice { hash, number }) in same_shard.iter().copied().enumerate() {
                if let Some(ahead) = same_shard.get(at + FETCHED_AHEAD) {
                    records.prefetch_slot(ahead.hash);
                    prefetch(&stored[ahead.number]);
                }
                let device = &mut stored[number];
                if records.find(hash, device.name.device()).is_some() {
                    known.push(number);
                    continue;
                }
                let name = &device.name.device_type;
                let of_type = types.entry_ref(name).or_insert_with(|| NewOfType {
                    device_type: self.types.find_or_add(name),
                    devices: Vec::new(),
                });
                if let Some((record, index_key)) = self.restored(&of_type.device_type, device) {
                    let place = RecordPlace::new(shard, records.insert(hash, record));
                    of_type.devices.push(NewDevice { number, place, index_key });
                }
            }
        }
        for new in types.into_values() {
            self.index_restored(&new, &stored);
        }
        for number in known {
            let StoredDevice { name, state, received_at } = &mut stored[number];
            self.restore(name.device(), std::mem::take(state), *received_at);
        }
    }

    /// The devices with those of one shard side by side.
    fn by_shard(&self, stored: &[StoredDevice]) -> Vec<HashedDevice> {
        let hashes: Vec<u64> = stored.iter().map(|device| self.hash(device.name.device())).collect();
        // Where the next device of each shard comes, once those of the shards before have been counted.
        let mut next = [0; SHARDS];
        hashes.iter().for_each(|hash| next[Self::shard_number(*hash)] += 1);
        let mut before = 0;
        for place in &mut next {
            before += std::mem::replace(place, before);
        }
        let mut by_shard = vec![HashedDevice::default(); stored.len()];
        for (number, hash) in hashes.into_iter().enumerate() {
            let place = &mut next[Self::shard_number(hash)];
            by_shard[*place] = HashedDevice { hash, number };
            *place += 1;
        }
        by_shard
    }

    /// The record of a device that is new; `None` if nothing is known of it.
    fn restored(
        &self,
        device_type: &Arc<DeviceType>,
        device: &mut StoredDevice,
    ) -> Option<(PackedRecord, IndexKey)> {
        let at = device.received_at;
        let arrival = Arrival { provenance: Provenance::Restored, at, round: RoundNumber::NONE };
        let reception = Reception::of(arrival, RecordFlags::default());
        let mut record = Record::new(device_type, &device.name.id, reception);
        record.state = std::mem::take(&mut device.state);
        let facets = record.facets(&self.sources)?;
        SourceRecord::move_one(None, Some(&facets));
        let mut packed = PackedRecord::unfilled(Arc::clone(device_type), record.reception.clone());
        packed.fill(record.pack());
        Some((packed, facets.index_key))
    }

    /// Counts new devices of a type and takes them to its indexes.
    fn index_restored(&self, NewOfType { device_type, devices }: &NewOfType, stored: &[StoredDevice]) {
        for status in [Status::Connected, Status::Disconnected] {
            let of_status = devices.iter().filter(|device| device.index_key.status == status);
            let count = of_status.count() as u64;
            device_type.add_restored(status, count, self.round());
            self.counts.of(status).fetch_add(count, Ordering::Relaxed);
        }
        let mut codes = self.end_codes.lock();
        for device in devices.iter().filter(|device| device.index_key.status == Status::Disconnected) {
            *codes.entry(device.index_key.end_code).or_default() += 1;
        }
        drop(codes);
        let mut index = device_type.index.write();
        for NewDevice { number, place, index_key } in devices {
            index.add(*place, &stored[*number].name.id, *index_key, &Names::Ids(self));
        }
        drop(index);
        if device_type.time_order == TimeOrder::Shared {
            let mut further = self.types.further.write();
            for NewDevice { number, place, index_key } in devices {
                let name = names::full(&device_type.name, &stored[*number].name.id);
                further.add(*place, &name, *index_key, &Names::Full(self));
            }
        }
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
    use crate::registry::Snapshot;
    use presence::payload::Payload;
    use presence::query::{Filter, Query, Sort, SortBy};
    use presence::{DeviceName, EventKind, Moment, PresenceEvent};

    #[test]
    fn restored_devices_are_in_order_whatever_their_number_and_that_of_their_types() {
        for (devices, types) in [(3, 1), (20_000, 1), (20_000, 300)] {
            let (registry, one_by_one) = (DeviceRegistry::default(), DeviceRegistry::default());
            registry.begin_restoring(devices);
            let mut stored = Vec::new();
            for number in 0..devices {
                let (device_type, id) =
                    (format!("type-{}", number % types), format!("{:05}", number * 7 % devices));
                let time = Moment::from_nanos(number as i128 * 31 % 1_000);
                let payload = Payload::pack(b"{}");
                let kind = if number % 3 == 0 { EventKind::Disconnect } else { EventKind::Connect };
                let event = PresenceEvent { kind, session: time, time, close_code: 0, payload };
                let state = DeviceState::of_session(event);
                let name = DeviceName { device_type: device_type.as_str().into(), id: id.as_str().into() };
                let received_at = UnixSeconds(number as u32);
                one_by_one.restore(name.device(), state.clone(), received_at);
                stored.push(StoredDevice { name, state, received_at });
            }
            // One of them comes twice, as it may when a store changes while it is read.
            registry.restore_all(stored[..1].to_vec());
            registry.restore_all(stored);
            registry.end_restoring();
            assert_eq!(registry.totals(), one_by_one.totals());
            assert_eq!(registry.totals_by_type(None, 400), one_by_one.totals_by_type(None, 400));
            assert_eq!(registry.top_close_codes(9), one_by_one.top_close_codes(9));
            for by in [SortBy::Id, SortBy::Since] {
                let sort = Sort { by, descending: false };
                let query = Query { filter: Filter::default(), sort, after: None, limit: devices };
                let listed = registry.list(&query).devices;
                assert_eq!(listed, one_by_one.list(&query).devices, "{by:?}");
                let positions: Vec<_> = listed.iter().map(Snapshot::position).collect();
                assert_eq!(positions.len(), devices);
                assert!(positions.is_sorted_by(|one, other| sort.compare(one, other).is_lt()), "{by:?}");
            }
        }
    }
}
