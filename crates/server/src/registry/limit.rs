//! A map that holds only some of the devices: those that have changed and are not written yet, and of the others as many as
//! there is room for, those that were asked for lately first. What it does not hold stands in a store, which is not known here.
//!
//! A record is *whole* if it holds what the store held, too; one that a message has made is not, before somebody has read the
//! store. Only a whole record answers. What is read from a store is remembered only if no change of the device has gone past
//! the map or out of it since before the reading, or the record would lack it for as long as it is held.
//!
//! Nothing is in order here: lists come from the store.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::shard::Records;
use super::{DeviceMap, Evidence, Record, SHARDS};
use crate::freshness::RoundNumber;
use presence::{Belief, Device, UnixSeconds};

/// Losses are counted for so many parts of all devices: some hundred of them may change while a store is read, and what is
/// read of another device in the same part is then not remembered.
const STRIPES: usize = 1 << 16;

/// Records that are looked at under one lock of a shard.
const LOOKS_AT_ONCE: u32 = 64;

/// Looks for each device that has come in: most find one that may go at once.
const LOOKS_FOR_EACH: usize = 8;

/// One of the yes-or-no facts about a record.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mark {
    /// Stands in the dirty set.
    Dirty = 1,
    /// Was taken out of the dirty set and is not written yet.
    Writing = 2,
    /// May lack what the store holds.
    Partial = 4,
    /// Was asked for since it was last looked at.
    Asked = 8,
}

/// All of them in one byte, as there are millions of records.
#[derive(Debug, Default)]
pub(super) struct Marks(AtomicU8);

impl Marks {
    pub fn has(&self, mark: Mark) -> bool {
        self.0.load(Ordering::Relaxed) & mark as u8 != 0
    }

    pub fn set(&mut self, mark: Mark) {
        *self.0.get_mut() |= mark as u8;
    }

    /// Clears the mark and says whether it was set.
    pub fn take(&mut self, mark: Mark) -> bool {
        let had = self.has(mark);
        *self.0.get_mut() &= !(mark as u8);
        had
    }

    /// Notes that somebody has asked. Writes only the first time, so that readers of one device share its line of the cache.
    fn ask(&self) {
        if !self.has(Mark::Asked) {
            self.0.fetch_or(Mark::Asked as u8, Ordering::Relaxed);
        }
    }
}

/// How many devices are held, and what is needed to let go of the right ones.
pub(super) struct Limit {
    devices: usize,
    /// How often a change has gone past the map or out of it, for each stripe of devices.
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

    fn seen(&self, hash: u64) -> Seen {
        Seen {
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

/// How far changes of a device had gone past the map at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    losses: u32,
    doubts: u32,
}

impl DeviceMap {
    /// A map that holds about so many devices, beside those that have changed and are not written yet.
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

    /// Reads one device as [`DeviceMap::read`] does, if what is held of it is all that there is.
    pub fn read_whole<T>(
        &self,
        device: Device<'_>,
        read: impl FnOnce(&Record) -> T,
    ) -> Result<Option<T>, NotHeld> {
        let hash = self.hash(device);
        let records = self.shards[Self::shard_number(hash)].records.read();
        let record = records.find(hash, device).and_then(|at| records.at(at));
        if self.limit.is_some() {
            let record = record.filter(|record| record.is_whole()).ok_or(NotHeld)?;
            record.marks.ask();
            return Ok(Some(read(record)));
        }
        Ok(record.map(read))
    }

    /// To be asked before a store is read, for [`DeviceMap::remember`].
    pub fn seen(&self, device: Device<'_>) -> Seen {
        self.limit.as_ref().map_or(Seen { losses: 0, doubts: 0 }, |limit| limit.seen(self.hash(device)))
    }

    /// Takes over what a store was found to hold of a device, `None` if nothing, unless something has been lost since `seen`.
    pub fn remember(&self, device: Device<'_>, kept: Option<(Belief, UnixSeconds)>, seen: Seen) {
        let Some(limit) = &self.limit else { return };
        let hash = self.hash(device);
        let shard = &self.shards[Self::shard_number(hash)];
        {
            let _changing = shard.changing.lock();
            if limit.seen(hash) != seen {
                return;
            }
            let mut records = shard.records.write();
            if kept.is_none()
                && let Some(at) = records.find(hash, device)
                && let Some(record) = records.at_mut(at)
            {
                record.marks.take(Mark::Partial);
            }
        }
        let Some((belief, heard_at)) = kept else { return };
        self.merge(device, belief, heard_at, Evidence::Restored, |_, _| ());
        let _changing = shard.changing.lock();
        let mut records = shard.records.write();
        // Between the two locks it may have been let go, or others may have changed it unnoticed.
        let at = records.find(hash, device).filter(|_| limit.seen(hash) == seen);
        if let Some(record) = at.and_then(|at| records.at_mut(at)) {
            record.marks.take(Mark::Partial);
            record.marks.set(Mark::Asked);
        }
    }

    /// What another instance has changed, as [`DeviceMap::learn`] takes it, if the device is held; else it stands in the store.
    pub(super) fn learns_of(&self, device: Device<'_>) -> bool {
        let Some(limit) = &self.limit else { return true };
        let hash = self.hash(device);
        let shard = &self.shards[Self::shard_number(hash)];
        let _changing = shard.changing.lock();
        let held = shard.records.read().find(hash, device).is_some();
        if !held {
            limit.note_loss(hash);
        }
        held
    }

    /// The store may have changed in any device unnoticed: nothing that is held counts as whole any more.
    pub fn doubt_all(&self) {
        let Some(limit) = &self.limit else { return };
        // First, so that what is remembered meanwhile is met below or refused.
        limit.doubts.fetch_add(1, Ordering::Relaxed);
        for shard in &self.shards {
            let _changing = shard.changing.lock();
            for (_, record) in shard.records.write().iter_mut() {
                record.marks.set(Mark::Partial);
            }
        }
    }

    /// Notes that what was taken of these devices by [`DeviceMap::take_dirty`] stands in the store, and lets go of those that
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
            record.marks.take(Mark::Writing);
            if self.is_over(limit) && record.may_go() {
                self.evict(limit, &mut records, at);
            }
        }
    }

    /// Makes room after so many devices have come in that are not to be written.
    pub fn make_room_for(&self, devices: usize) {
        self.evict_surplus(devices.saturating_add(LOOKS_AT_ONCE as usize).saturating_mul(LOOKS_FOR_EACH));
    }

    /// Lets go of devices while more are held than may be, after so many looks at the latest: those that have changed, and
    /// once those that were asked for since the last look, stay.
    pub fn evict_surplus(&self, looks: usize) {
        let Some(limit) = &self.limit else { return };
        let mut hand = limit.hand.lock();
        let mut left = looks;
        while left > 0 && self.is_over(limit) {
            let shard = &self.shards[hand.shard];
            let _changing = shard.changing.lock();
            let mut records = shard.records.write();
            let end = records.places().min(hand.at + LOOKS_AT_ONCE);
            let from = hand.at;
            while hand.at < end && self.is_over(limit) {
                let at = hand.at;
                hand.at += 1;
                if records.at_mut(at).is_some_and(Record::may_go) {
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
        let Some(record) = records.remove(hash, at) else { return };
        limit.note_loss(hash);
        limit.evicted.fetch_add(1, Ordering::Relaxed);
        let status = record.verdict().status;
        record.device_type.counts.drop_one(status);
        self.counts.drop_one(status);
        if record.heard_in == self.round() && record.heard_in != RoundNumber::NONE {
            limit.evicted_in_round.store(true, Ordering::Relaxed);
        }
    }
}

impl Record {
    /// Whether it holds all that is known of the device anywhere.
    pub fn is_whole(&self) -> bool {
        !self.marks.has(Mark::Partial)
    }

    /// Whether nothing is lost with it, and nobody has asked for it since this was last looked at.
    fn may_go(&mut self) -> bool {
        !self.marks.has(Mark::Dirty) && !self.marks.has(Mark::Writing) && !self.marks.take(Mark::Asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Arrival, Totals};
    use presence::payload::Payload;
    use presence::{Claim, Moment, Statement, Status};

    fn statement(claim: Claim, at: i128) -> Statement {
        let moment = Moment::from_nanos(at);
        Statement { claim, session: moment, time: moment, close_code: 0, payload: Payload::pack(b"{}") }
    }

    fn belief(claim: Claim, at: i128) -> Belief {
        let mut belief = Belief::default();
        belief.apply(statement(claim, at));
        belief
    }

    fn device(id: &str) -> Device<'_> {
        Device { device_type: "t", id }
    }

    fn hear(map: &DeviceMap, id: &str, claim: Claim, at: i128) {
        let arrival = Arrival { evidence: Evidence::Live, at: UnixSeconds(1), round: map.round() };
        map.apply(device(id), statement(claim, at), arrival);
    }

    fn remember(map: &DeviceMap, id: &str, claim: Claim, at: i128) {
        let seen = map.seen(device(id));
        map.remember(device(id), Some((belief(claim, at), UnixSeconds(1))), seen);
    }

    /// Takes what has changed and says that it is written.
    fn write(map: &DeviceMap) {
        let mut ids = Vec::new();
        map.take_dirty(usize::MAX, usize::MAX, |record| {
            ids.push(record.device().id.to_owned());
            1
        });
        map.written(ids.iter().map(|id| device(id)));
    }

    fn status(map: &DeviceMap, id: &str) -> Result<Option<Status>, NotHeld> {
        map.read_whole(device(id), |record| record.verdict().status)
    }

    const ON: Result<Option<Status>, NotHeld> = Ok(Some(Status::Connected));
    const OFF: Result<Option<Status>, NotHeld> = Ok(Some(Status::Disconnected));

    #[test]
    fn without_a_limit_whatever_is_there_is_all_there_is() {
        let map = DeviceMap::tracking_changes();
        assert_eq!(status(&map, "a"), Ok(None));
        hear(&map, "a", Claim::Connect, 1);
        assert_eq!(status(&map, "a"), ON);
        write(&map);
        map.evict_surplus(1_000_000);
        assert_eq!((map.held(), map.evicted()), (1, 0));
    }

    #[test]
    fn a_record_answers_only_once_what_the_store_held_is_merged_into_it() {
        let map = DeviceMap::holding(10);
        assert_eq!(status(&map, "a"), Err(NotHeld));
        // Of an old session: the store knows better.
        hear(&map, "a", Claim::Disconnect, 1);
        assert_eq!(status(&map, "a"), Err(NotHeld));
        remember(&map, "a", Claim::Connect, 5);
        assert_eq!(status(&map, "a"), ON);
        // Of a device that the store knows nothing of, what was heard is all there is.
        hear(&map, "b", Claim::Disconnect, 1);
        map.remember(device("b"), None, map.seen(device("b")));
        assert_eq!(status(&map, "b"), OFF);
        map.remember(device("c"), None, map.seen(device("c")));
        assert_eq!(status(&map, "c"), Err(NotHeld), "nothing is held of it");
        // From now on it is kept up to date here.
        map.learn(device("a"), belief(Claim::Disconnect, 7), UnixSeconds(1), |_, _| ());
        assert_eq!(status(&map, "a"), OFF);
        map.doubt_all();
        assert_eq!(status(&map, "a"), Err(NotHeld));
    }

    #[test]
    fn what_is_read_is_not_remembered_if_a_change_has_gone_past_meanwhile() {
        let map = DeviceMap::holding(1);
        let kept = Some((belief(Claim::Connect, 5), UnixSeconds(1)));
        // Another instance's change of a device that is not held.
        let seen = map.seen(device("a"));
        map.learn(device("a"), belief(Claim::Disconnect, 7), UnixSeconds(1), |_, _| ());
        map.remember(device("a"), kept.clone(), seen);
        assert_eq!(status(&map, "a"), Err(NotHeld));
        // A change that was heard here, written, and let go.
        let seen = map.seen(device("b"));
        hear(&map, "b", Claim::Disconnect, 7);
        hear(&map, "other", Claim::Connect, 1);
        write(&map);
        assert_eq!(map.held(), 1);
        let gone = if map.read(device("b"), |_| ()).is_none() { "b" } else { "other" };
        map.remember(
            device(gone),
            kept.clone(),
            if gone == "b" { seen } else { Seen { losses: 0, doubts: 0 } },
        );
        assert_eq!(status(&map, gone), Err(NotHeld));
        // The store itself may have lost something.
        let seen = map.seen(device("d"));
        map.doubt_all();
        map.remember(device("d"), kept, seen);
        assert_eq!(status(&map, "d"), Err(NotHeld));
    }

    #[test]
    fn what_has_changed_stays_until_it_is_written_and_then_as_much_as_there_is_room_for() {
        let map = DeviceMap::holding(100);
        let ids: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        ids.iter().for_each(|id| hear(&map, id, Claim::Connect, 1));
        map.evict_surplus(1_000_000);
        assert_eq!((map.held(), map.evicted()), (1_000, 0));
        let mut taken = Vec::new();
        map.take_dirty(500, usize::MAX, |record| {
            taken.push(record.device().id.to_owned());
            1
        });
        map.evict_surplus(1_000_000);
        assert_eq!(map.held(), 1_000, "what is being written may be refused");
        // Changed again while it is written: that is not in the store yet.
        hear(&map, &taken[0], Claim::Disconnect, 1);
        map.written(taken.iter().map(|id| device(id)));
        assert_eq!(map.held(), 501);
        assert!(map.read(device(&taken[0]), |_| ()).is_some());
        write(&map);
        assert_eq!((map.held(), map.evicted()), (100, 900));
        assert_eq!(
            map.totals(),
            Totals { connected: map.totals().connected, disconnected: 100 - map.totals().connected }
        );
    }

    #[test]
    fn what_is_asked_for_again_and_again_stays() {
        let map = DeviceMap::holding(100);
        for n in 0..100 {
            remember(&map, &format!("often-{n}"), Claim::Connect, 1);
        }
        for round in 0..20 {
            for n in 0..50 {
                remember(&map, &format!("once-{round}-{n}"), Claim::Connect, 1);
                map.make_room_for(1);
                let asked = (0..100).filter(|n| status(&map, &format!("often-{n}")).is_ok());
                assert!(asked.count() > 0);
            }
            assert!(map.held() <= 100);
        }
        let once = (0..19).flat_map(|round| (0..50).map(move |n| format!("once-{round}-{n}")));
        assert!(once.filter(|id| status(&map, id).is_ok()).count() < 100);
    }

    #[test]
    fn letting_go_of_a_device_of_this_round_is_known_until_the_next() {
        let map = DeviceMap::holding(1);
        hear(&map, "before", Claim::Connect, 1);
        map.begin_round();
        hear(&map, "a", Claim::Connect, 1);
        hear(&map, "b", Claim::Connect, 1);
        assert!(!map.evicted_in_round());
        write(&map);
        assert!(map.evicted_in_round());
        map.begin_round();
        assert!(!map.evicted_in_round());
    }
}
