//! A device that is being changed, and how one event changes it: its record first, then its entries in the indexes.

use std::cell::Cell;
use std::sync::Arc;

use formats::held::AddressAndCause;
use parking_lot::MutexGuard;
use presence::{Device, DeviceState, EventKind, PresenceEvent};

use super::end_code::ArrivingMessage;
use super::limit::RecordFlags;
use super::sessions::SessionEvent;
use super::shard::RecordPlace;
use super::sources::{Facets, SourceRecord};
use super::{Applied, Arrival, DeviceRegistry, Provenance, Record};

impl DeviceRegistry {
    /// Takes the right to change a device.
    pub fn lock<'a>(&'a self, device: Device<'a>) -> LockedDevice<'a> {
        let hash = self.hash(device);
        let shard_number = Self::shard_number(hash);
        LockedDevice {
            registry: self,
            device,
            hash,
            shard_number,
            state: Cell::default(),
            address_and_cause: Cell::default(),
            message: Cell::default(),
            _changing: self.shards[shard_number].changing.lock(),
        }
    }
}

/// A device that nobody else changes, adds or lets go until this is dropped: what was seen of it stays so. It may be in the
/// registry or not.
pub struct LockedDevice<'a> {
    pub(super) registry: &'a DeviceRegistry,
    pub(super) device: Device<'a>,
    pub(super) hash: u64,
    pub(super) shard_number: usize,
    /// Its state, if that was read since it was locked.
    state: Cell<Option<DeviceState>>,
    /// What the message of the event says that is to be applied, if its maker has told.
    address_and_cause: Cell<Option<AddressAndCause>>,
    /// The same of the event that is being applied: set by `apply_then`, taken by `change`.
    message: Cell<Option<ArrivingMessage>>,
    _changing: MutexGuard<'a, ()>,
}

impl LockedDevice<'_> {
    /// Reads it as [`DeviceRegistry::read_opened`] does.
    pub fn read<T>(&self, read: impl FnOnce(Record<'_>) -> T) -> Option<T> {
        self.registry.read_hashed(self.hash, self.device, read)
    }

    /// The same device, of which this state was read since it was locked, so that it is not opened again to be changed.
    #[must_use]
    pub fn knowing(self, state: Option<DeviceState>) -> Self {
        Self { state: Cell::new(state), ..self }
    }

    /// The same device, to which an event is to be applied whose message says this, so that it is not searched for that.
    #[must_use]
    pub fn with_address_and_cause(self, address_and_cause: AddressAndCause) -> Self {
        Self { address_and_cause: Cell::new(Some(address_and_cause)), ..self }
    }

    /// Takes one event about it into account as [`DeviceRegistry::apply_then`] does, and shows that, too.
    pub fn apply_then(
        &self,
        event: PresenceEvent,
        arrival: Arrival,
        then: impl FnOnce(&Record<'_>, Applied, &PresenceEvent),
    ) -> Applied {
        let (registry, address_and_cause) = (self.registry, self.address_and_cause.take());
        if event.kind == EventKind::FailedLogin {
            return Applied::Known;
        }
        let is_live = arrival.provenance == Provenance::Live;
        let message = match address_and_cause {
            Some(address_and_cause) => {
                Some(ArrivingMessage::with_address_and_cause(&event, address_and_cause))
            }
            // The cause is counted, too.
            None if is_live && event.kind.ends_session() => Some(ArrivingMessage::of(&event)),
            None => None,
        };
        let live = is_live.then(|| SessionEvent::of(&event, message.as_ref(), &registry.sources));
        self.message.set(message);
        let applied = self.change(arrival, |place, record| {
            // The state of a device of which nothing was known consists of the event, which is so for all of a population.
            let copy = record.state.resolve().is_some().then(|| event.clone());
            let applied = registry.apply_to(place, record, event, arrival);
            if let Some(event) = live
                && applied != Applied::Known
            {
                registry.count_session(record.device_type, event);
            }
            then(record, applied, copy.as_ref().unwrap_or_else(|| record.resolve().event));
            applied
        });
        if let Some(event) = live
            && applied != Applied::Known
        {
            registry.rates.count(event.kind, event.cause, arrival.at);
        }
        applied
    }

    /// Whether it is in the registry.
    pub(super) fn is_held(&self) -> bool {
        self.registry.shards[self.shard_number].records.read().find(self.hash, self.device).is_some()
    }

    /// Changes the flags of its record, if there is one.
    pub(super) fn flag(&self, change: impl FnOnce(&mut RecordFlags)) {
        let mut records = self.registry.shards[self.shard_number].records.write();
        let at = records.find(self.hash, self.device);
        if let Some(record) = at.and_then(|at| records.at_mut(at)) {
            change(&mut record.reception.flags);
        }
    }

    /// Changes its record, which is made if there is none, and its index entries.
    pub(super) fn change(
        &self,
        arrival: Arrival,
        change: impl FnOnce(RecordPlace, &mut Record<'_>) -> Applied,
    ) -> Applied {
        let LockedDevice { registry, device, hash, shard_number, .. } = *self;
        let mut records = registry.shards[shard_number].records.write();
        let found = records.find(hash, device);
        let at = found.unwrap_or_else(|| registry.add(&mut records, hash, device, arrival));
        let place = RecordPlace::new(shard_number, at);
        let packed = records.at(at).expect("it was found or added under this lock");
        let mut record = match found {
            Some(_) => self.state.take().map_or_else(|| packed.open(), |state| packed.with(state)),
            None => Record::new(&packed.device_type, device.id, packed.reception.clone()),
        };
        let from = record.facets(&registry.sources);
        let message = self.message.take().filter(|message| message.is_new_to(&record.state));
        let applied = change(place, &mut record);
        // What was added just now must be filled in any case.
        let changed = (applied != Applied::Known || found.is_none())
            .then(|| (record.facets_after(message.as_ref(), &registry.sources), record.pack()));
        let reception = record.reception;
        let packed = records.at_mut(at).expect("it was found or added under this lock");
        packed.reception = reception;
        let Some((to, body)) = changed else { return applied };
        packed.fill(body);
        let device_type = Arc::clone(&packed.device_type);
        drop(records);
        SourceRecord::move_one(from.as_ref(), to.as_ref());
        let index_key = |facets: Option<Facets<'_>>| facets.map(|facets| facets.index_key);
        registry.update_indexes(&device_type, place, device.id, (index_key(from), index_key(to)));
        applied
    }
}
