//! One device: as the registry holds it, with name and state in one piece of memory, and opened, with the state as a value.

use std::sync::Arc;

use super::limit::{RecordFlag, RecordFlags};
use super::types::DeviceType;
use super::{Arrival, Provenance, record_body};
use crate::freshness::RoundNumber;
use presence::{Device, DeviceName, DeviceState, EventKind, ResolvedStatus, Status, UnixSeconds};
use system::prefetch::prefetch;

/// One device as the registry holds it. There are millions.
pub(super) struct PackedRecord {
    pub device_type: Arc<DeviceType>,
    /// See [`record_body`].
    body: Box<[u8]>,
    pub reception: Reception,
}

const _: () = assert!(size_of::<Option<PackedRecord>>() == 32);

/// How and when the latest message about a device came, and what is noted of the device beside its state.
#[derive(Clone, Debug)]
pub struct Reception {
    /// When the latest message about the device arrived.
    pub received_at: UnixSeconds,
    /// The round of the population in which the broker last sent a message about the device.
    pub received_in: RoundNumber,
    pub provenance: Provenance,
    pub(super) flags: RecordFlags,
}

/// What a deciding message means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecidingMessage {
    pub status: Status,
    /// See [`Record::freshness_round`].
    pub freshness_round: RoundNumber,
}

/// One device, opened: a copy, made under the lock of its shard.
pub struct Record<'a> {
    pub(super) device_type: &'a Arc<DeviceType>,
    id: &'a str,
    pub state: DeviceState,
    pub reception: Reception,
}

impl PackedRecord {
    /// A record that is filled under the same lock.
    pub fn unfilled(device_type: Arc<DeviceType>, reception: Reception) -> Self {
        Self { device_type, body: Box::default(), reception }
    }

    pub fn is(&self, device: Device<'_>) -> bool {
        record_body::is_of(&self.body, device.id) && *self.device_type.name == *device.device_type
    }

    pub fn id(&self) -> &str {
        record_body::id(&self.body)
    }

    pub fn id_bytes(&self) -> &[u8] {
        record_body::id_bytes(&self.body)
    }

    /// Has the processor fetch id and state.
    pub fn prefetch_body(&self) {
        self.body.first().into_iter().for_each(prefetch);
    }

    /// Which device this is.
    pub fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type.name, id: self.id() }
    }

    /// Appends the deciding message as the IoT platform sent it, and returns what it means. `None`: that takes the whole state, or the
    /// message is of another source.
    pub fn append_message(&self, message: &mut Vec<u8>) -> Option<DecidingMessage> {
        let DeviceType { name, skeletons, .. } = &*self.device_type;
        let kind = record_body::append_message(name, &self.body, skeletons, message)?;
        let status = if kind == EventKind::Connect { Status::Connected } else { Status::Disconnected };
        Some(DecidingMessage { status, freshness_round: self.reception.freshness_round() })
    }

    /// With its state as a value.
    pub fn open(&self) -> Record<'_> {
        let device_type = &self.device_type;
        let (id, state) = record_body::unpack(&device_type.name, &self.body, &device_type.skeletons);
        Record { device_type, id, state, reception: self.reception.clone() }
    }

    /// With its state, which was opened before and has not changed since.
    pub fn with(&self, state: DeviceState) -> Record<'_> {
        Record { device_type: &self.device_type, id: self.id(), state, reception: self.reception.clone() }
    }

    /// Takes over what has become of it.
    pub fn fill(&mut self, body: Box<[u8]>) {
        self.body = body;
    }
}

impl<'a> Record<'a> {
    /// A device of which nothing is known yet.
    pub(super) fn new(device_type: &'a Arc<DeviceType>, id: &'a str, reception: Reception) -> Self {
        Self { device_type, id, state: DeviceState::default(), reception }
    }

    /// The body of the packed record.
    pub(super) fn pack(&self) -> Box<[u8]> {
        record_body::pack(self.device(), &self.state, &self.device_type.skeletons)
    }

    /// Status and deciding event.
    pub fn resolve(&self) -> ResolvedStatus<'_> {
        self.state.resolve().expect("a record is made by its first event")
    }

    /// Which device this is.
    pub fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type.name, id: self.id }
    }

    /// The name of its type, shared with all devices of the type.
    pub fn device_type(&self) -> &Arc<str> {
        &self.device_type.name
    }

    pub fn name(&self) -> DeviceName {
        DeviceName { device_type: Arc::clone(self.device_type()), id: self.id.into() }
    }

    /// The round in which a message about it last arrived, or that it was silent for too long: what tells whether it is out of date.
    pub fn freshness_round(&self) -> RoundNumber {
        self.reception.freshness_round()
    }
}

impl Reception {
    pub(super) fn of(arrival: Arrival, flags: RecordFlags) -> Self {
        Self {
            received_at: arrival.at,
            received_in: RoundNumber::NONE,
            provenance: arrival.provenance,
            flags,
        }
    }

    fn freshness_round(&self) -> RoundNumber {
        if self.flags.has(RecordFlag::Silent) { RoundNumber::SILENT } else { self.received_in }
    }

    /// Notes that the broker sent something in a round; says whether it is the first message of the round about the device.
    pub(super) fn note_received(&mut self, round: RoundNumber) -> bool {
        let is_first = round != RoundNumber::NONE && self.received_in != round;
        if is_first {
            self.received_in = round;
        }
        is_first
    }
}
