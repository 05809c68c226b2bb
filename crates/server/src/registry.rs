//! The registry: all devices in memory. One writer applies events, any number of readers look them up.
//!
//! Sharded so that a reader waits for a writer only for the merge of one event. Each event updates the totals and the
//! indexes that lists need, so reading them costs the same for any number of devices.
//!
//! Locks are taken in this order: `changing` of a shard, then either its records or, once those are free again, the index
//! of a type, under which records may be read. No thread holds the records of a shard while it waits for an index.

mod counts;
mod derived;
mod dirty;
mod end_code;
mod index;
mod index_entry;
mod index_filter;
mod limit;
mod list;
mod locked;
mod lookup;
#[cfg(test)]
mod model_tests;
mod names;
mod place_table;
mod rates;
mod record;
mod record_body;
mod removed;
mod restoring;
mod sessions;
mod shard;
mod silence;
mod snapshot;
mod sorted;
mod sources;
#[cfg(test)]
mod tests;
mod types;
mod walk;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;

use self::counts::Counts;
pub use self::counts::Totals;
use self::dirty::DirtySet;
use self::end_code::EndCode;
use self::index::TypeIndex;
use self::index_entry::IndexKey;
use self::limit::{Limit, RecordFlag, RecordFlags};
pub use self::limit::{LossCount, NotHeld};
use self::list::EndedSearches;
pub use self::list::Listing;
pub use self::locked::LockedDevice;
pub use self::lookup::DeviceSearch;
use self::names::Names;
pub use self::rates::PerMinute;
use self::rates::Rates;
use self::record::PackedRecord;
pub use self::record::{DecidingMessage, Reception, Record};
use self::sessions::FleetSessions;
pub use self::sessions::{FleetSessionTotals, SessionTotals};
use self::shard::{RecordPlace, Records, SHARDS, Shard};
pub use self::snapshot::{LastEvent, Snapshot};
pub use self::sources::SOURCES_MAX;
use self::sources::Sources;
pub use self::types::RoundCount;
use self::types::{DeviceType, RoundCounter, TimeOrder, TypeDirectory};
use crate::freshness::RoundNumber;
use presence::{Device, DeviceName, EventKind, PresenceEvent, Status, UnixSeconds};
use store::ChangeCursor;

/// Rounds whose devices are counted at once: more than there are links, each of which has one that is on.
const ROUNDS_COUNTED: usize = 256;

/// All devices that a message was about.
pub struct DeviceRegistry {
    shards: Box<[Shard]>,
    hasher: foldhash::fast::RandomState,
    types: TypeDirectory,
    ended_searches: EndedSearches,
    sources: Sources,
    counts: Counts,
    /// Disconnected devices by the reason.
    end_codes: Mutex<HashMap<EndCode, u64, foldhash::fast::RandomState>>,
    rates: Rates,
    sessions: FleetSessions,
    /// The round of the population that is on.
    round: AtomicU16,
    /// Devices that messages of a round were about, by the number of the round, of the latest ones: each link has rounds of its own.
    received_in_rounds: [RoundCounter; ROUNDS_COUNTED],
    /// `None` where no writer stores the changes.
    dirty: Option<DirtySet>,
    /// `None`: all devices are held.
    limit: Option<Limit>,
    /// Devices come from the store, before anybody asks: they are put in order at the end.
    is_restoring: AtomicBool,
    /// Devices that have been disconnected since before this moment, in nanoseconds since 1970, are dropped; the least number: none are.
    forgotten_before: AtomicI64,
    /// Devices that their sources have removed, for the writer to forget.
    removed: Mutex<VecDeque<DeviceName>>,
    /// The change cursor of a shared store up to which forgotten devices have been dropped; `None` where no others write the store.
    /// Locked while devices are dropped and while a batch is made, so that all states of a batch are based on it.
    pub forget_cursor: Mutex<Option<ChangeCursor>>,
}

/// How and when an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub provenance: Provenance,
    pub at: UnixSeconds,
    /// The round of the population that was on when the broker sent it; none for what came otherwise, or may have waited at
    /// the broker while there was no link.
    pub round: RoundNumber,
}

/// How the latest message about a device came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// As it happened.
    Live,
    /// Replayed by the broker to a new subscription.
    Retained,
    /// Loaded from the store at the start; no message about the device has arrived since.
    Restored,
    /// Written by another instance to the store; no message about the device has arrived here since.
    Peer,
}

/// What applying an event did to the status of its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing was learned.
    Known,
    /// The state is another one, its status the same.
    Refined,
    /// The status is another one; `None`: the device was not in the registry.
    Changed { from: Option<Status>, to: Status },
}

impl Default for DeviceRegistry {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: foldhash::fast::RandomState::default(),
            types: TypeDirectory::default(),
            ended_searches: EndedSearches::default(),
            sources: Sources::default(),
            counts: Counts::default(),
            end_codes: Mutex::default(),
            rates: Rates::default(),
            sessions: FleetSessions::default(),
            round: AtomicU16::new(0),
            received_in_rounds: std::array::from_fn(|_| RoundCounter::default()),
            dirty: None,
            limit: None,
            is_restoring: AtomicBool::new(false),
            forgotten_before: AtomicI64::new(i64::MIN),
            removed: Mutex::default(),
            forget_cursor: Mutex::default(),
        }
    }
}

impl DeviceRegistry {
    /// Takes one event about one device into account. A failed login makes no device.
    pub fn apply(&self, device: Device<'_>, event: PresenceEvent, arrival: Arrival) -> Applied {
        self.apply_then(device, event, arrival, |_, _| ())
    }

    /// The same, and shows what came of it before anybody else can see it: the shard is locked while `then` runs.
    pub fn apply_then(
        &self,
        device: Device<'_>,
        event: PresenceEvent,
        arrival: Arrival,
        then: impl FnOnce(&Record<'_>, Applied),
    ) -> Applied {
        self.lock(device).apply_then(event, arrival, |record, applied, _event| then(record, applied))
    }

    /// Notes a message that repeats the state of a device: only its time of receipt and provenance change. If that ends a
    /// silence, calls `then`.
    pub fn confirm_then(&self, device: Device<'_>, arrival: Arrival, then: impl FnOnce(&Record<'_>)) {
        let hash = self.hash(device);
        let mut records = self.shards[Self::shard_number(hash)].records.write();
        let Some(at) = records.find(hash, device) else { return };
        if let Some(record) = records.at_mut(at) {
            let PackedRecord { reception, device_type, .. } = record;
            self.note_arrival(device_type, reception, arrival);
            reception.provenance = arrival.provenance;
            if reception.ends_silence(arrival) {
                then(&record.open());
            }
        }
    }

    /// Adds a record that the caller fills.
    fn add(&self, records: &mut Records, hash: u64, device: Device<'_>, arrival: Arrival) -> u32 {
        let mut flags = RecordFlags::default();
        if self.limit.is_some() {
            flags.set(RecordFlag::Partial);
        }
        let device_type = self.types.find_or_add(device.device_type);
        records.insert(hash, PackedRecord::unfilled(device_type, Reception::of(arrival, flags)))
    }

    /// Takes a device's new index key to the indexes of its type. The caller holds `changing` of its shard.
    fn update_indexes(
        &self,
        device_type: &DeviceType,
        place: RecordPlace,
        id: &str,
        index_keys: (Option<IndexKey>, Option<IndexKey>),
    ) {
        let (from, to) = index_keys;
        // With a limit, lists come from the store.
        if from == to || self.limit.is_some() {
            return;
        }
        let code = |index_key: Option<IndexKey>| {
            index_key.filter(|index_key| index_key.status == Status::Disconnected).map(|f| f.end_code)
        };
        if code(from) != code(to) {
            let mut codes = self.end_codes.lock();
            if let Some(code) = code(from) {
                codes.entry(code).and_modify(|devices| *devices -= 1);
            }
            if let Some(code) = code(to) {
                *codes.entry(code).or_default() += 1;
            }
        }
        let change = |index: &mut TypeIndex, name: &str, names: &Names<'_>| match (from, to) {
            (None, Some(to)) => {
                index.add(place, name, to, names);
                if index.is_settling_due() && !self.is_restoring.load(Ordering::Relaxed) {
                    index.settle(names);
                }
            }
            (Some(from), Some(to)) => index.change(place, name, (from, to), names),
            (Some(from), None) => index.remove(name, from, names),
            (None, None) => {}
        };
        change(&mut device_type.index.write(), id, &Names::Ids(self));
        if device_type.time_order == TimeOrder::Shared {
            let name = names::full(&device_type.name, id);
            change(&mut self.types.further.write(), &name, &Names::Full(self));
        }
    }

    fn apply_to(
        &self,
        place: RecordPlace,
        record: &mut Record<'_>,
        event: PresenceEvent,
        arrival: Arrival,
    ) -> Applied {
        // A request is never retained, so it says nothing about what the broker has replayed.
        if event.kind == EventKind::Request {
            record.reception.received_at = arrival.at;
        } else {
            self.note_arrival(record.device_type, &mut record.reception, arrival);
        }
        let mut applied = self.merge_event(place, record, event);
        // A repetition by the broker confirms a state from the store or from a peer.
        let reception = &mut record.reception;
        if applied != Applied::Known
            || matches!(reception.provenance, Provenance::Restored | Provenance::Peer)
        {
            reception.provenance = arrival.provenance;
        }
        if reception.ends_silence(arrival) && applied == Applied::Known {
            applied = Applied::Refined;
        }
        applied
    }

    /// Merges an event into a record, whose shard is locked.
    fn merge_event(&self, place: RecordPlace, record: &mut Record<'_>, event: PresenceEvent) -> Applied {
        let from = record.state.resolve().map(|resolved| resolved.status);
        if !record.state.apply(event) {
            return Applied::Known;
        }
        self.note_dirty(place, &mut record.reception);
        let to = record.resolve().status;
        if from == Some(to) {
            return Applied::Refined;
        }
        record.device_type.move_one(from, to, self.round());
        self.counts.move_one(from, to);
        Applied::Changed { from, to }
    }

    fn note_arrival(&self, device_type: &DeviceType, reception: &mut Reception, arrival: Arrival) {
        reception.received_at = arrival.at;
        let round = arrival.round;
        if reception.note_received(round) && self.counter_of(round).change_of(round, |received| received + 1)
        {
            device_type.count_received(round);
        }
    }

    /// Where the devices of a round are counted, until as many later ones have begun.
    fn counter_of(&self, round: RoundNumber) -> &RoundCounter {
        &self.received_in_rounds[usize::from(round.to_bits()) % ROUNDS_COUNTED]
    }

    /// Reads one device; the shard is locked while `read` runs, so it should only copy.
    pub fn read<T>(&self, device: Device<'_>, read: impl FnOnce(&Record<'_>) -> T) -> Option<T> {
        self.read_opened(device, |record| read(&record))
    }

    /// The same, and what was opened of the device belongs to `read`.
    pub fn read_opened<T>(&self, device: Device<'_>, read: impl FnOnce(Record<'_>) -> T) -> Option<T> {
        self.read_hashed(self.hash(device), device, read)
    }

    fn read_hashed<T>(&self, hash: u64, device: Device<'_>, read: impl FnOnce(Record<'_>) -> T) -> Option<T> {
        let records = self.shards[Self::shard_number(hash)].records.read();
        records.at(records.find(hash, device)?).map(|record| read(record.open()))
    }

    /// Totals over all devices, in constant time.
    pub fn totals(&self) -> Totals {
        self.counts.totals()
    }

    /// Sessions that began and ended in the minute before.
    pub fn per_minute(&self, now: UnixSeconds) -> PerMinute {
        self.rates.per_minute(now)
    }

    /// Ends of sessions that were received live since the start, by the word for their cause.
    pub fn disconnects_by_cause(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.rates.disconnects_by_cause()
    }

    /// The round of the population that is on.
    pub fn round(&self) -> RoundNumber {
        RoundNumber::from_bits(self.round.load(Ordering::Relaxed))
    }

    /// Begins a round of the population: from now on the devices that messages are about are counted.
    pub fn begin_round(&self) -> RoundNumber {
        if let Some(limit) = &self.limit {
            limit.begin_round();
        }
        let next = |bits| Some(RoundNumber::from_bits(bits).next().to_bits());
        let before = self.round.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let round = RoundNumber::from_bits(before.unwrap_or_else(|same| same)).next();
        self.counter_of(round).set(round, 0);
        round
    }

    /// Devices that messages of a round were about; `None`: so many have begun since that it is no longer counted.
    pub fn received_in(&self, round: RoundNumber) -> Option<u64> {
        self.counter_of(round).get(round)
    }

    /// The same of the round that began last.
    pub fn received_in_round(&self) -> u64 {
        self.received_in(self.round()).unwrap_or(0)
    }

    fn hash(&self, device: Device<'_>) -> u64 {
        use std::hash::{BuildHasher, Hash, Hasher};
        let mut hasher = self.hasher.build_hasher();
        device.device_type.hash(&mut hasher);
        device.id.hash(&mut hasher);
        hasher.finish()
    }

    /// The shard by the upper half of the hash: the table inside uses the lower.
    fn shard_number(hash: u64) -> usize {
        (hash >> 32) as usize % SHARDS
    }
}
