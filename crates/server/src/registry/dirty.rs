//! Which devices have changed since somebody last took the changes away, and the other ways in and out of the registry that a
//! store needs. Where the changes are taken to is not known here.
//!
//! A device stands in the set at most once, whatever happens to it, so the set never outgrows the registry: four bytes for
//! each device that waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::limit::RecordFlag;
use super::record::PackedRecord;
use super::shard::RecordPlace;
use super::sources::SourceRecord;
use super::walk::next_range;
use super::{Applied, Arrival, DeviceRegistry, LockedDevice, Provenance, Reception, Record};
use crate::freshness::RoundNumber;
use presence::{Device, DeviceState, EventKind, PresenceEvent, Status, UnixSeconds};
use system::turn::give_way;

/// Records that are visited under one lock of a shard, so that a reader waits for some ten microseconds at most.
const TAKE_AT_ONCE: usize = 64;

/// Room for so many places is kept when the set is empty.
const ROOM_KEPT: usize = 16 * 1024;

/// Where the devices stand that have changed.
#[derive(Debug, Default)]
pub(super) struct DirtySet(Mutex<DirtyQueue>);

/// In the order in which they changed first: a broker sends devices in the order of their names, more or less, and a store writes
/// neighbours in less time. The one that has waited longest is also taken first.
#[derive(Debug, Default)]
struct DirtyQueue {
    places: VecDeque<RecordPlace>,
    /// How many were taken before.
    taken: u64,
}

impl DirtySet {
    fn add(&self, place: RecordPlace) {
        self.0.lock().places.push_back(place);
    }

    fn waiting(&self) -> usize {
        self.0.lock().places.len()
    }

    /// Those that have waited longest, by shard, and whether they are all.
    fn take(&self, most: usize) -> (Vec<RecordPlace>, bool) {
        let mut queue = self.0.lock();
        let len = queue.places.len().min(most);
        let mut taken: Vec<_> = queue.places.drain(..len).collect();
        queue.taken += len as u64;
        let is_all = queue.places.is_empty() && len < most;
        if queue.places.is_empty() {
            // After a population of millions the room is given back.
            queue.places.shrink_to(ROOM_KEPT);
        }
        drop(queue);
        taken.sort_unstable();
        (taken, is_all)
    }

    /// Puts back places whose records were not looked at: they are still marked.
    fn give_back(&self, places: &[RecordPlace]) {
        let mut queue = self.0.lock();
        queue.taken -= places.len() as u64;
        places.iter().rev().for_each(|place| queue.places.push_front(*place));
    }
}

impl DeviceRegistry {
    /// A registry that remembers which devices have changed, for [`DeviceRegistry::take_dirty`].
    pub fn tracking_changes() -> Self {
        Self { dirty: Some(DirtySet::default()), ..Self::default() }
    }

    /// Marks a record as changed; the caller holds the lock of its shard.
    pub(super) fn note_dirty(&self, place: RecordPlace, reception: &mut Reception) {
        if let Some(dirty) = &self.dirty
            && !reception.flags.has(RecordFlag::Dirty)
        {
            reception.flags.set(RecordFlag::Dirty);
            dirty.add(place);
        }
    }

    /// How many devices have changed and were not taken yet.
    pub fn dirty_waiting(&self) -> usize {
        self.dirty.as_ref().map_or(0, DirtySet::waiting)
    }

    /// Takes devices out of the set of the changed ones, first those that have waited longest, and shows each to `take`, which
    /// returns its size: at most so many, and no further one once those that were taken have that size. Says whether these were all.
    pub fn take_dirty(
        &self,
        most: usize,
        most_bytes: usize,
        mut take: impl FnMut(&Record<'_>) -> usize,
    ) -> bool {
        let Some(dirty) = &self.dirty else { return true };
        let (places, is_all) = dirty.take(most);
        let (mut next, mut bytes) = (0, 0);
        for of_shard in places.chunk_by(|one, other| one.shard() == other.shard()) {
            for some in of_shard.chunks(TAKE_AT_ONCE) {
                let mut records = self.shards[some[0].shard()].records.write();
                for place in some {
                    if bytes >= most_bytes {
                        drop(records);
                        dirty.give_back(&places[next..]);
                        return false;
                    }
                    next += 1;
                    // One that was forgotten meanwhile is gone; who stands in its place has a mark of its own.
                    if let Some(record) = records.at_mut(place.at())
                        && record.reception.flags.take(RecordFlag::Dirty)
                    {
                        if self.limit.is_some() {
                            record.reception.flags.set(RecordFlag::Writing);
                        }
                        bytes += take(&record.open());
                    }
                }
                drop(records);
                give_way();
            }
        }
        is_all
    }

    /// What [`DeviceRegistry::flushed_epoch`] must reach for every device that waits now to have been taken.
    pub fn flush_epoch(&self) -> u64 {
        self.dirty.as_ref().map_or(0, |dirty| {
            let queue = dirty.0.lock();
            queue.taken + queue.places.len() as u64
        })
    }

    /// How many devices were taken.
    pub fn flushed_epoch(&self) -> u64 {
        self.dirty.as_ref().map_or(0, |dirty| dirty.0.lock().taken)
    }

    /// Marks a device as changed, if it is held.
    pub fn mark_dirty(&self, device: Device<'_>) {
        let hash = self.hash(device);
        let shard = Self::shard_number(hash);
        let mut records = self.shards[shard].records.write();
        if let Some(at) = records.find(hash, device)
            && let Some(record) = records.at_mut(at)
        {
            self.note_dirty(RecordPlace::new(shard, at), &mut record.reception);
        }
    }

    /// Marks every device as changed: after the store has lost what it had.
    pub fn mark_all_dirty(&self) {
        self.visit_records(|place, record| self.note_dirty(place, &mut record.reception));
    }

    /// Takes into account the state that another instance has written: it is in the store already, so nothing becomes dirty.
    /// Shows what came of it as [`DeviceRegistry::apply_then`] does.
    pub fn learn(
        &self,
        device: Device<'_>,
        state: DeviceState,
        received_at: UnixSeconds,
        then: impl FnOnce(&Record<'_>, Applied),
    ) -> Applied {
        let device = self.lock(device);
        if !self.learns_of(&device) {
            return Applied::Known;
        }
        device.merge(state, received_at, Provenance::Peer, then)
    }

    /// Drops the devices that are disconnected since before the moment, in nanoseconds since 1970, and shows each to
    /// `forgotten`. A device whose time is unknown stays.
    pub fn forget(&self, before_nanos: i64, mut forgotten: impl FnMut(&Record<'_>)) {
        self.forgotten_before.store(before_nanos, Ordering::Relaxed);
        let is_gone = |record: &PackedRecord| {
            let record = record.open();
            let resolved = record.resolve();
            resolved.status == Status::Disconnected
                && resolved.event.time.nanos().is_some_and(|time| time < before_nanos)
        };
        for (number, shard) in self.shards.iter().enumerate() {
            let mut next = 0;
            loop {
                let _changing = shard.changing.lock();
                let (places, gone): (u32, Vec<u32>) = {
                    let records = shard.records.read();
                    let range = next_range(next, records.places());
                    next = range.end;
                    let gone = range.filter(|at| records.at(*at).is_some_and(is_gone));
                    (records.places(), gone.collect())
                };
                for at in gone {
                    self.forget_one(RecordPlace::new(number, at), &mut forgotten);
                }
                if next == places {
                    break;
                }
            }
        }
    }

    /// Whether a device of which nothing but this event is known would be dropped again.
    pub fn would_forget(&self, event: &PresenceEvent) -> bool {
        let is_disconnected = match event.kind {
            EventKind::Disconnect | EventKind::Refusal | EventKind::Request => true,
            EventKind::Connect | EventKind::Takeover | EventKind::FailedLogin => false,
        };
        let before = self.forgotten_before.load(Ordering::Relaxed);
        is_disconnected && event.time.nanos().is_some_and(|time| time < before)
    }

    /// Drops one device, whatever its status, and shows it to `forgotten` before anybody can find it again.
    pub fn forget_device(&self, device: Device<'_>, forgotten: impl FnMut(&Record<'_>)) {
        self.lock(device).forget(forgotten);
    }

    /// Drops a device: first from the orders, because whoever reads those relies on the record. The caller holds
    /// `changing` of its shard.
    fn forget_one(&self, place: RecordPlace, forgotten: &mut impl FnMut(&Record<'_>)) {
        let shard = &self.shards[place.shard()];
        let known = shard.records.read().at(place.at()).map(|record| {
            let facets = record.open().facets(&self.sources);
            (Arc::clone(&record.device_type), record.id().to_owned(), facets)
        });
        let Some((device_type, id, facets)) = known else { return };
        SourceRecord::move_one(facets.as_ref(), None);
        self.update_indexes(&device_type, place, &id, (facets.map(|facets| facets.index_key), None));
        let device = Device { device_type: &device_type.name, id: &id };
        let Some(packed) = shard.records.write().remove(self.hash(device), place.at()) else { return };
        let record = packed.open();
        forgotten(&record);
        let status = record.resolve().status;
        device_type.drop_one(status, self.round());
        self.counts.drop_one(status);
        let round = record.reception.received_in;
        if round != RoundNumber::NONE
            && self.counter_of(round).change_of(round, |received| received.saturating_sub(1))
        {
            device_type.uncount_received(round);
        }
        let is_empty = device_type.counts.totals().total() == 0;
        let name = Arc::clone(&device_type.name);
        drop((packed, device_type));
        if is_empty {
            self.types.drop_if_empty(&name);
        }
    }
}

impl LockedDevice<'_> {
    /// Drops the device and shows it to `forgotten`.
    pub(super) fn forget(&self, mut forgotten: impl FnMut(&Record<'_>)) {
        let LockedDevice { registry, device, hash, shard_number, .. } = *self;
        if let Some(limit) = &registry.limit {
            // What was read from the store before is not remembered.
            limit.note_loss(hash);
        }
        let found = registry.shards[shard_number].records.read().find(hash, device);
        if let Some(at) = found {
            registry.forget_one(RecordPlace::new(shard_number, at), &mut forgotten);
        }
    }

    /// Merges what stands in the store. What the registry knows beyond that is dirty already or was taken to be written.
    pub(super) fn merge(
        &self,
        state: DeviceState,
        received_at: UnixSeconds,
        provenance: Provenance,
        then: impl FnOnce(&Record<'_>, Applied),
    ) -> Applied {
        if state.resolve().is_none() {
            return Applied::Known;
        }
        let arrival = Arrival { provenance, at: received_at, round: RoundNumber::NONE };
        self.change(arrival, |_place, record| {
            let from = record.state.resolve().map(|resolved| resolved.status);
            record.reception.received_at = record.reception.received_at.max(received_at);
            if !record.state.merge(state) {
                return Applied::Known;
            }
            record.reception.provenance = provenance;
            let to = record.resolve().status;
            let applied = if from == Some(to) {
                Applied::Refined
            } else {
                record.device_type.move_one(from, to, self.registry.round());
                self.registry.counts.move_one(from, to);
                Applied::Changed { from, to }
            };
            if provenance == Provenance::Peer {
                self.registry.count_peer_change(record, applied);
            }
            then(record, applied);
            applied
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Arrival, Totals};
    use presence::Moment;
    use presence::payload::Payload;

    fn event(kind: EventKind, at: i128) -> PresenceEvent {
        let moment = Moment::from_nanos(at);
        let payload = Payload::pack(at.to_string().as_bytes());
        PresenceEvent { kind, session: moment, time: moment, close_code: 0, payload }
    }

    fn apply(registry: &DeviceRegistry, id: &str, kind: EventKind, at: i128) -> Applied {
        let device = Device { device_type: "t", id };
        registry.apply(device, event(kind, at), arrival(Provenance::Live, 1))
    }

    fn arrival(provenance: Provenance, at: u32) -> Arrival {
        Arrival { provenance, at: UnixSeconds(at), round: RoundNumber::NONE }
    }

    fn taken(registry: &DeviceRegistry, most: usize) -> Vec<String> {
        let mut ids = Vec::new();
        registry.take_dirty(most, usize::MAX, |record| {
            ids.push(record.device().id.to_owned());
            1
        });
        ids.sort();
        ids
    }

    #[test]
    fn a_batch_of_dirty_devices_is_bounded_in_bytes_and_loses_nothing() {
        let registry = DeviceRegistry::tracking_changes();
        for id in 0..5_000 {
            apply(&registry, &id.to_string(), EventKind::Connect, 1);
        }
        let mut all = Vec::new();
        loop {
            let (before, mut bytes) = (all.len(), 0);
            let is_all = registry.take_dirty(usize::MAX, 1_000, |record| {
                all.push(record.device().id.to_owned());
                bytes += 7;
                7
            });
            assert!(bytes < 1_000 + 7, "{bytes} bytes at once");
            assert_eq!(registry.dirty_waiting(), 5_000 - all.len(), "after {before}");
            if is_all {
                break;
            }
        }
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 5_000);
    }

    #[test]
    fn a_device_that_changes_often_waits_once_and_is_taken_once() {
        let registry = DeviceRegistry::tracking_changes();
        for at in 1..100 {
            apply(&registry, "a", EventKind::Connect, at);
        }
        assert_eq!(registry.dirty_waiting(), 1);
        assert_eq!(taken(&registry, 10), ["a"]);
        assert!(taken(&registry, 10).is_empty());
        apply(&registry, "a", EventKind::Connect, 99);
        assert_eq!(registry.dirty_waiting(), 0, "nothing was learned");
        apply(&registry, "a", EventKind::Disconnect, 99);
        assert_eq!(taken(&registry, 10), ["a"]);
    }

    #[test]
    fn no_device_is_missed_however_few_are_taken_at_a_time() {
        let registry = DeviceRegistry::tracking_changes();
        let mut expected: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
        for id in &expected {
            apply(&registry, id, EventKind::Connect, 1);
        }
        let mut all = Vec::new();
        while registry.dirty_waiting() > 0 {
            let some = taken(&registry, 333);
            assert!(!some.is_empty());
            all.extend(some);
        }
        all.sort();
        expected.sort();
        assert_eq!(all, expected);
        registry.mark_all_dirty();
        assert_eq!(registry.dirty_waiting(), 5_000);
    }

    #[test]
    fn the_devices_that_have_waited_longest_are_taken_first() {
        let registry = DeviceRegistry::tracking_changes();
        let ids: Vec<String> = (1_000..2_000).map(|n| n.to_string()).collect();
        for id in &ids {
            apply(&registry, id, EventKind::Connect, 1);
        }
        apply(&registry, "1000", EventKind::Connect, 2);
        assert_eq!(taken(&registry, 300), ids[..300]);
        apply(&registry, "1000", EventKind::Connect, 3);
        let mut some = Vec::new();
        let is_all = registry.take_dirty(300, 100, |record| {
            some.push(record.device().id.to_owned());
            1
        });
        assert!(!is_all && some.len() == 100 && some.iter().all(|id| ids[300..600].contains(id)));
        some.extend(taken(&registry, 200));
        some.sort();
        assert_eq!(some, ids[300..600]);
        assert_eq!(taken(&registry, 400), ids[600..]);
        assert_eq!((taken(&registry, 400), registry.dirty_waiting()), (vec!["1000".to_owned()], 0));
    }

    #[test]
    fn reaching_the_flush_epoch_means_that_every_waiting_device_was_taken() {
        let registry = DeviceRegistry::tracking_changes();
        let waited: Vec<String> = (0..2_000).map(|n| format!("waits-{n}")).collect();
        for id in &waited {
            apply(&registry, id, EventKind::Connect, 1);
        }
        let mut all = taken(&registry, 777);
        let flag = registry.flush_epoch();
        for n in 0.. {
            if registry.flushed_epoch() >= flag {
                break;
            }
            apply(&registry, &format!("comes-{n}"), EventKind::Connect, 1);
            all.extend(taken(&registry, 10));
        }
        all.retain(|id| id.starts_with("waits-"));
        assert_eq!(all.len(), waited.len());
    }

    #[test]
    fn a_restored_device_counts_is_clean_and_is_confirmed_by_a_replay() {
        let registry = DeviceRegistry::tracking_changes();
        let device = Device { device_type: "t", id: "a" };
        let mut state = DeviceState::default();
        state.apply(event(EventKind::Connect, 5));
        registry.restore(device, state, UnixSeconds(7));
        assert_eq!(registry.totals(), Totals { connected: 1, disconnected: 0 });
        assert_eq!(registry.dirty_waiting(), 0);
        let read = || registry.read(device, |record| record.reception.clone()).unwrap();
        assert_eq!((read().provenance, read().received_at), (Provenance::Restored, UnixSeconds(7)));
        registry.apply(device, event(EventKind::Connect, 5), arrival(Provenance::Retained, 8));
        assert_eq!((read().provenance, read().received_at), (Provenance::Retained, UnixSeconds(8)));
    }

    #[test]
    fn a_peer_update_counts_and_makes_nothing_dirty() {
        let registry = DeviceRegistry::tracking_changes();
        let device = Device { device_type: "t", id: "a" };
        let state = |kind, at| {
            let mut state = DeviceState::default();
            state.apply(event(kind, at));
            state
        };
        let (on, off) = (Status::Connected, Status::Disconnected);
        let learn = |kind, at| registry.learn(device, state(kind, at), UnixSeconds(3), |_, _| ());
        assert_eq!(learn(EventKind::Connect, 5), Applied::Changed { from: None, to: on });
        assert_eq!(learn(EventKind::Connect, 6), Applied::Refined);
        assert_eq!(learn(EventKind::Disconnect, 6), Applied::Changed { from: Some(on), to: off });
        assert_eq!(learn(EventKind::Connect, 5), Applied::Known);
        assert_eq!(registry.totals(), Totals { connected: 0, disconnected: 1 });
        assert_eq!(registry.dirty_waiting(), 0);
        // What was heard here and not there stays to be written, whatever is said meanwhile.
        apply(&registry, "a", EventKind::Connect, 9);
        assert_eq!(learn(EventKind::Disconnect, 6), Applied::Known);
        assert_eq!(taken(&registry, 10), ["a"]);
    }

    #[test]
    fn only_devices_disconnected_before_the_deadline_are_forgotten() {
        let registry = DeviceRegistry::tracking_changes();
        for (id, kind, at) in [
            ("long gone", EventKind::Disconnect, 9),
            ("just gone", EventKind::Disconnect, 10),
            ("connected", EventKind::Connect, 1),
        ] {
            apply(&registry, id, kind, at);
        }
        let unknown = PresenceEvent { time: Moment::UNKNOWN, ..event(EventKind::Disconnect, 1) };
        registry.apply(Device { device_type: "t", id: "unknown" }, unknown, arrival(Provenance::Live, 1));
        let mut forgotten = Vec::new();
        registry.forget(10, |record| forgotten.push(record.device().id.to_owned()));
        assert_eq!(forgotten, ["long gone"]);
        assert_eq!(registry.totals(), Totals { connected: 1, disconnected: 2 });
        assert_eq!(registry.totals_by_type(None, 9), [("t".into(), registry.totals())]);
    }
}
