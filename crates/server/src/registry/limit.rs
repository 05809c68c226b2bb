//! A registry that holds only some of the devices: those that have changed and are not written yet, and of the others as many as
//! there is room for, those that were asked for lately first. What it does not hold stands in a store, which is not known here.
//!
//! A record is *whole* if it holds what the store held, too; one that a message has made is not, before somebody has read the
//! store. Only a whole record answers. What is read from a store is remembered only if no change of the device has gone past
//! the registry or out of it since before the reading, or the record would lack it for as long as it is held.
//!
//! Nothing is in order here: lists come from the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::shard::Records;
use super::sources::SourceRecord;
use super::{DeviceRegistry, LockedDevice, PackedRecord, Provenance, Reception, Record, SHARDS};
use crate::freshness::RoundNumber;
use presence::{Device, DeviceState, UnixSeconds};

/// Losses are counted for so many parts of all devices: some hundred of them may change while a store is read, and what is
/// read of another device in the same part is then not remembered.
const STRIPES: usize = 1 << 16;

/// Records that are looked at under one lock of a shard.
const CHECKS_PER_LOCK: u32 = 64;

/// Looks for each device that has come in: most find one that may go at once.
const CHECKS_PER_DEVICE: usize = 8;

/// One of the yes-or-no facts about a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum RecordFlag {
    /// Stands in the dirty set.
    Dirty = 1,
    /// Was taken out of the dirty set and is not written yet.
    Writing = 2,
    /// May lack what the store holds.
    Partial = 4,
    /// Was asked for since it was last looked at.
    Asked = 8,
    /// Nothing was heard of the device for too long, or may have been missed: see `silence`.
    Silent = 16,
}

/// All of them in one byte, as there are millions of records.
#[derive(Debug, Default)]
pub(super) struct RecordFlags(AtomicU8);

impl Clone for RecordFlags {
    fn clone(&self) -> Self {
        Self(AtomicU8::new(self.0.load(Ordering::Relaxed)))
    }
}

impl RecordFlags {
    pub fn has(&self, flag: RecordFlag) -> bool {
        self.0.load(Ordering::Relaxed) & flag as u8 != 0
    }

    pub fn set(&mut self, flag: RecordFlag) {
        *self.0.get_mut() |= flag as u8;
    }

    /// Clears the mark and says whether it was set.
    pub fn take(&mut self, flag: RecordFlag) -> bool {
        let had = self.has(flag);
        *self.0.get_mut() &= !(flag as u8);
        had
    }

    /// Notes that somebody has asked. Writes only the first time, so that readers of one device share its line of the cache.
    fn ask(&self) {
        if !self.has(RecordFlag::Asked) {
            self.0.fetch_or(RecordFlag::Asked as u8, Ordering::Relaxed);
        }
    }
}

/// How many devices are held, and what is needed to let go of the right ones.
pub(super) struct Limit {
    devices: usize,
    /// How often a change has gone past the registry or out of it, for each stripe of devices.
    losses: Box<[AtomicU32]>,
    /// How often all of the devices may have changed unnoticed.
    doubts: AtomicU32,
    evicted: AtomicU64,
    /// A device that was heard of in the current round of the population has been let go.
    evicted_in_round: AtomicBool,
    hand: Mutex<Hand>,
}

/// Where the next look for a device that may go begins.
#[derive(Default)]
struct Hand {
    shard: usize,
    at: u32,
}

impl Limit {
    fn new(devices: usize) -> Self {
        Self {
            devices,
            losses: (0..STRIPES).map(|_| AtomicU32::new(0)).collect(),
            doubts: AtomicU32::new(0),
            evicted: AtomicU64::new(0),
            evicted_in_round: AtomicBool::new(false),
            hand: Mutex::default(),
        }
    }

    fn losses(&self, hash: u64) -> &AtomicU32 {
        &self.losses[hash as usize % STRIPES]
    }

    /// The caller holds `changing` of the shard that the hash belongs to.
    pub fn note_loss(&self, hash: u64) {
        self.losses(hash).fetch_add(1, Ordering::Relaxed);
    }

    fn seen(&self, hash: u64) -> LossCount {
        LossCount {
            losses: self.losses(hash).load(Ordering::Relaxed),
            doubts: self.doubts.load(Ordering::Relaxed),
        }
    }

    pub fn begin_round(&self) {
        self.evicted_in_round.store(false, Ordering::Relaxed);
    }
}

/// The device is not held whole, so the store must be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHeld;

/// How far changes of a device had gone past the registry at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossCount {
    losses: u32,
    doubts: u32,
}

impl DeviceRegistry {
    /// A registry that holds about so many devices, beside those that have changed and are not written yet.
    pub fn holding(devices: usize) -> Self {
        Self { limit: Some(Limit::new(devices)), ..Self::tracking_changes() }
    }

    /// Whether it may hold only some of the devices.
    pub fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// How many devices are held.
    pub fn held(&self) -> u64 {
        self.totals().total()
    }

    /// How many devices have been let go so far.
    pub fn evicted(&self) -> u64 {
        self.limit.as_ref().map_or(0, |limit| limit.evicted.load(Ordering::Relaxed))
    }

    /// Whether a device that was heard of in the current round has been let go: then it may be counted twice.
    pub fn evicted_in_round(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.evicted_in_round.load(Ordering::Relaxed))
    }

    /// Reads one device as [`DeviceRegistry::read`] does, if what is held of it is all that there is.
    pub fn read_whole<T>(
        &self,
        device: Device<'_>,
        read: impl FnOnce(&Record<'_>) -> T,
    ) -> Result<Option<T>, NotHeld> {
        let hash = self.hash(device);
        let records = self.shards[Self::shard_number(hash)].records.read();
        let record = records.find(hash, device).and_then(|at| records.at(at));
        Ok(self.whole(record)?.map(|record| read(&record.open())))
    }

    /// What is held of a device, if it is all that there is.
    pub(super) fn whole<'a>(
        &self,
        record: Option<&'a PackedRecord>,
    ) -> Result<Option<&'a PackedRecord>, NotHeld> {
        if self.limit.is_none() {
            return Ok(record);
        }
        let record = record.filter(|record| record.reception.is_whole()).ok_or(NotHeld)?;
        record.reception.flags.ask();
        Ok(Some(record))
    }

    /// To be asked before a store is read, for [`DeviceRegistry::remember`].
    pub fn seen(&self, device: Device<'_>) -> LossCount {
        self.limit.as_ref().map_or(LossCount { losses: 0, doubts: 0 }, |limit| limit.seen(self.hash(device)))
    }

    /// Takes over what a store was found to hold of a device, `None` if nothing, unless something has been lost since `seen`.
    pub fn remember(&self, device: Device<'_>, kept: Option<(DeviceState, UnixSeconds)>, seen: LossCount) {
        let Some(limit) = &self.limit else { return };
        let device = self.lock(device);
        if limit.seen(device.hash) != seen {
            return;
        }
        let is_kept = kept.is_some();
        if let Some((state, received_at)) = kept {
            device.merge(state, received_at, Provenance::Restored, |_, _| ());
        }
        device.flag(|flags| {
            flags.take(RecordFlag::Partial);
            if is_kept {
                flags.set(RecordFlag::Asked);
            }
        });
    }

    /// What another instance has changed, as [`DeviceRegistry::learn`] takes it, if the device is held; else it stands in the store.
    pub(super) fn learns_of(&self, device: &LockedDevice<'_>) -> bool {
        let Some(limit) = &self.limit else { return true };
        let held = device.is_held();
        if !held {
            limit.note_loss(device.hash);
        }
        held
    }

    /// The store may have changed in any device unnoticed: nothing that is held counts as whole any more.
    pub fn doubt_all(&self) {
        let Some(limit) = &self.limit else { return };
        // First, so that what is remembered meanwhile is met below or refused.
        limit.doubts.fetch_add(1, Ordering::Relaxed);
        self.visit_records(|_place, record| record.reception.flags.set(RecordFlag::Partial));
    }

    /// Notes that what was taken of these devices by [`DeviceRegistry::take_dirty`] stands in the store, and lets go of those that
    /// nobody has asked for, if more are held than may be.
    pub fn written<'a>(&self, devices: impl Iterator<Item = Device<'a>>) {
        let Some(limit) = &self.limit else { return };
        for device in devices {
            let hash = self.hash(device);
            let shard = &self.shards[Self::shard_number(hash)];
            let _changing = shard.changing.lock();
            let mut records = shard.records.write();
            let Some(at) = records.find(hash, device) else { continue };
            let Some(record) = records.at_mut(at) else { continue };
            record.reception.flags.take(RecordFlag::Writing);
            if self.is_over(limit) && record.reception.may_go() {
                self.evict(limit, &mut records, at);
            }
        }
    }

    /// Makes room after so many devices have come in that are not to be written.
    pub fn make_room_for(&self, devices: usize) {
        self.evict_surplus(
            devices.saturating_add(CHECKS_PER_LOCK as usize).saturating_mul(CHECKS_PER_DEVICE),
        );
    }

    /// Lets go of devices while more are held than may be, after so many looks at the latest: those that have changed, and
    /// once those that were asked for since the last look, stay.
    pub fn evict_surplus(&self, checks: usize) {
        let Some(limit) = &self.limit else { return };
        let mut hand = limit.hand.lock();
        let mut left = checks;
        while left > 0 && self.is_over(limit) {
            let shard = &self.shards[hand.shard];
            let _changing = shard.changing.lock();
            let mut records = shard.records.write();
            let end = records.places().min(hand.at + CHECKS_PER_LOCK);
            let from = hand.at;
            while hand.at < end && self.is_over(limit) {
                let at = hand.at;
                hand.at += 1;
                if records.at_mut(at).is_some_and(|record| record.reception.may_go()) {
                    self.evict(limit, &mut records, at);
                }
            }
            left = left.saturating_sub((hand.at - from).max(1) as usize);
            if hand.at >= records.places() {
                *hand = Hand { shard: (hand.shard + 1) % SHARDS, at: 0 };
            }
        }
    }

    fn is_over(&self, limit: &Limit) -> bool {
        self.held() > limit.devices as u64
    }

    /// Drops a device; the caller holds `changing` of its shard.
    fn evict(&self, limit: &Limit, records: &mut Records, at: u32) {
        let Some(hash) = records.at(at).map(|record| self.hash(record.device())) else { return };
        let Some(packed) = records.remove(hash, at) else { return };
        let record = packed.open();
        limit.note_loss(hash);
        limit.evicted.fetch_add(1, Ordering::Relaxed);
        SourceRecord::move_one(record.facets(&self.sources).as_ref(), None);
        let status = record.resolve().status;
        record.device_type.drop_one(status, self.round());
        self.counts.drop_one(status);
        if record.reception.received_in == self.round() && record.reception.received_in != RoundNumber::NONE {
            limit.evicted_in_round.store(true, Ordering::Relaxed);
        }
        let is_empty = record.device_type.counts.totals().total() == 0;
        let name = Arc::clone(&record.device_type.name);
        drop(packed);
        if is_empty {
            self.types.drop_if_empty(&name);
        }
    }
}

impl Reception {
    /// Whether it holds all that is known of the device anywhere.
    pub fn is_whole(&self) -> bool {
        !self.flags.has(RecordFlag::Partial)
    }

    /// Whether nothing is lost with it, and nobody has asked for it since this was last looked at.
    fn may_go(&mut self) -> bool {
        !self.flags.has(RecordFlag::Dirty)
            && !self.flags.has(RecordFlag::Writing)
            && !self.flags.take(RecordFlag::Asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Arrival, Totals};
    use presence::payload::Payload;
    use presence::{EventKind, Moment, PresenceEvent, Status};

    fn event(kind: EventKind, at: i128) -> PresenceEvent {
        let moment = Moment::from_nanos(at);
        PresenceEvent { kind, session: moment, time: moment, close_code: 0, payload: Payload::pack(b"{}") }
    }

    fn state(kind: EventKind, at: i128) -> DeviceState {
        let mut state = DeviceState::default();
        state.apply(event(kind, at));
        state
    }

    fn device(id: &str) -> Device<'_> {
        Device { device_type: "t", id }
    }

    fn receive(registry: &DeviceRegistry, id: &str, kind: EventKind, at: i128) {
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: registry.round() };
        registry.apply(device(id), event(kind, at), arrival);
    }

    fn remember(registry: &DeviceRegistry, id: &str, kind: EventKind, at: i128) {
        let seen = registry.seen(device(id));
        registry.remember(device(id), Some((state(kind, at), UnixSeconds(1))), seen);
    }

    /// Takes what has changed and says that it is written.
    fn write(registry: &DeviceRegistry) {
        let mut ids = Vec::new();
        registry.take_dirty(usize::MAX, usize::MAX, |record| {
            ids.push(record.device().id.to_owned());
            1
        });
        registry.written(ids.iter().map(|id| device(id)));
    }

    fn status(registry: &DeviceRegistry, id: &str) -> Result<Option<Status>, NotHeld> {
        registry.read_whole(device(id), |record| record.resolve().status)
    }

    const ON: Result<Option<Status>, NotHeld> = Ok(Some(Status::Connected));
    const OFF: Result<Option<Status>, NotHeld> = Ok(Some(Status::Disconnected));

    #[test]
    fn without_a_limit_every_record_answers() {
        let registry = DeviceRegistry::tracking_changes();
        assert_eq!(status(&registry, "a"), Ok(None));
        receive(&registry, "a", EventKind::Connect, 1);
        assert_eq!(status(&registry, "a"), ON);
        write(&registry);
        registry.evict_surplus(1_000_000);
        assert_eq!((registry.held(), registry.evicted()), (1, 0));
    }

    #[test]
    fn a_record_answers_only_after_the_stored_state_is_merged() {
        let registry = DeviceRegistry::holding(10);
        assert_eq!(status(&registry, "a"), Err(NotHeld));
        // Of an old session: the store knows better.
        receive(&registry, "a", EventKind::Disconnect, 1);
        assert_eq!(status(&registry, "a"), Err(NotHeld));
        remember(&registry, "a", EventKind::Connect, 5);
        assert_eq!(status(&registry, "a"), ON);
        // Of a device that the store knows nothing of, what was heard is all there is.
        receive(&registry, "b", EventKind::Disconnect, 1);
        registry.remember(device("b"), None, registry.seen(device("b")));
        assert_eq!(status(&registry, "b"), OFF);
        registry.remember(device("c"), None, registry.seen(device("c")));
        assert_eq!(status(&registry, "c"), Err(NotHeld), "nothing is held of it");
        // From now on it is kept up to date here.
        registry.learn(device("a"), state(EventKind::Disconnect, 7), UnixSeconds(1), |_, _| ());
        assert_eq!(status(&registry, "a"), OFF);
        registry.doubt_all();
        assert_eq!(status(&registry, "a"), Err(NotHeld));
    }

    #[test]
    fn a_fetched_state_is_not_cached_if_a_change_was_missed_meanwhile() {
        let registry = DeviceRegistry::holding(1);
        let kept = Some((state(EventKind::Connect, 5), UnixSeconds(1)));
        // Another instance's change of a device that is not held.
        let seen = registry.seen(device("a"));
        registry.learn(device("a"), state(EventKind::Disconnect, 7), UnixSeconds(1), |_, _| ());
        registry.remember(device("a"), kept.clone(), seen);
        assert_eq!(status(&registry, "a"), Err(NotHeld));
        // A change that was heard here, written, and let go.
        let seen = registry.seen(device("b"));
        receive(&registry, "b", EventKind::Disconnect, 7);
        receive(&registry, "other", EventKind::Connect, 1);
        write(&registry);
        assert_eq!(registry.held(), 1);
        let gone = if registry.read(device("b"), |_| ()).is_none() { "b" } else { "other" };
        registry.remember(
            device(gone),
            kept.clone(),
            if gone == "b" { seen } else { LossCount { losses: 0, doubts: 0 } },
        );
        assert_eq!(status(&registry, gone), Err(NotHeld));
        // The store itself may have lost something.
        let seen = registry.seen(device("d"));
        registry.doubt_all();
        registry.remember(device("d"), kept, seen);
        assert_eq!(status(&registry, "d"), Err(NotHeld));
    }

    #[test]
    fn dirty_devices_stay_until_written_and_then_as_many_as_fit() {
        let registry = DeviceRegistry::holding(100);
        let ids: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        ids.iter().for_each(|id| receive(&registry, id, EventKind::Connect, 1));
        registry.evict_surplus(1_000_000);
        assert_eq!((registry.held(), registry.evicted()), (1_000, 0));
        let mut taken = Vec::new();
        registry.take_dirty(500, usize::MAX, |record| {
            taken.push(record.device().id.to_owned());
            1
        });
        registry.evict_surplus(1_000_000);
        assert_eq!(registry.held(), 1_000, "what is being written may be refused");
        // Changed again while it is written: that is not in the store yet.
        receive(&registry, &taken[0], EventKind::Disconnect, 1);
        registry.written(taken.iter().map(|id| device(id)));
        assert_eq!(registry.held(), 501);
        assert!(registry.read(device(&taken[0]), |_| ()).is_some());
        write(&registry);
        assert_eq!((registry.held(), registry.evicted()), (100, 900));
        let Totals { connected, disconnected } = registry.totals();
        assert_eq!(connected + disconnected, 100);
    }

    #[test]
    fn frequently_requested_devices_stay() {
        let registry = DeviceRegistry::holding(100);
        for n in 0..100 {
            remember(&registry, &format!("often-{n}"), EventKind::Connect, 1);
        }
        for round in 0..20 {
            for n in 0..50 {
                remember(&registry, &format!("once-{round}-{n}"), EventKind::Connect, 1);
                registry.make_room_for(1);
                let asked = (0..100).filter(|n| status(&registry, &format!("often-{n}")).is_ok());
                assert!(asked.count() > 0);
            }
            assert!(registry.held() <= 100);
        }
        let once = (0..19).flat_map(|round| (0..50).map(move |n| format!("once-{round}-{n}")));
        assert!(once.filter(|id| status(&registry, id).is_ok()).count() < 100);
    }

    #[test]
    fn evicting_a_device_of_this_round_is_remembered_until_the_next() {
        let registry = DeviceRegistry::holding(1);
        receive(&registry, "before", EventKind::Connect, 1);
        registry.begin_round();
        receive(&registry, "a", EventKind::Connect, 1);
        receive(&registry, "b", EventKind::Connect, 1);
        assert!(!registry.evicted_in_round());
        write(&registry);
        assert!(registry.evicted_in_round());
        registry.begin_round();
        assert!(!registry.evicted_in_round());
    }
}
