//! What is known of one device at one moment, copied out of the registry so that it can be shown without a lock.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Arrival, Provenance, Record};
use crate::freshness::RoundNumber;
use formats::held::{self, UnpackedDetails};
use presence::query::{Filter, Position, Traits};
use presence::{Device, DeviceName, DeviceState, EventKind, Moment, PresenceEvent, Status, UnixSeconds};

/// A copy of what answers show of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub device_type: Arc<str>,
    pub id: Box<str>,
    pub status: Status,
    /// The status follows from a takeover; see [`presence::ResolvedStatus`].
    pub inferred: bool,
    /// The deciding event.
    pub event: PresenceEvent,
    pub latest: LastEvent,
    pub provenance: Provenance,
    pub received_at: UnixSeconds,
    /// The round of the population in which the broker last sent something about the device.
    pub received_in: RoundNumber,
}

/// What was said last of a device, whether it decides or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEvent {
    pub kind: EventKind,
    pub time: Moment,
    /// Of what ends a session or refuses one.
    pub close_code: Option<u16>,
}

/// What holds of every record.
const MADE_BY_AN_EVENT: &str = "a record is made by its first event";

impl LastEvent {
    fn of(event: &PresenceEvent) -> Self {
        let close_code = match event.kind {
            EventKind::Disconnect | EventKind::Takeover | EventKind::Refusal | EventKind::FailedLogin => {
                Some(event.close_code)
            }
            EventKind::Connect | EventKind::Request => None,
        };
        Self { kind: event.kind, time: event.time, close_code }
    }
}

impl Snapshot {
    pub fn of(record: &Record<'_>) -> Self {
        Self::of_state(record.name(), &record.state, Self::arrival(record)).expect(MADE_BY_AN_EVENT)
    }

    /// The same of a record that nobody needs any longer: the event is moved out of nearly all.
    pub(super) fn of_opened(record: Record<'_>) -> Self {
        let (name, arrival) = (record.name(), Self::arrival(&record));
        let resolved = record.resolve();
        let (status, inferred) = (resolved.status, resolved.inferred);
        match record.state.into_only_session() {
            Ok(event) => Self::new(name, (status, inferred), LastEvent::of(&event), event, arrival),
            Err(state) => Self::of_state(name, &state, arrival).expect(MADE_BY_AN_EVENT),
        }
    }

    fn arrival(record: &Record<'_>) -> Arrival {
        Arrival {
            provenance: record.reception.provenance,
            at: record.reception.received_at,
            round: record.freshness_round(),
        }
    }

    /// The same of a state that is in no registry; `None` if it consists of nothing.
    pub fn of_state(name: DeviceName, state: &DeviceState, arrival: Arrival) -> Option<Self> {
        let resolved = state.resolve()?;
        let latest = LastEvent::of(state.latest().unwrap_or(resolved.event));
        Some(Self::new(name, (resolved.status, resolved.inferred), latest, resolved.event.clone(), arrival))
    }

    fn new(
        DeviceName { device_type, id }: DeviceName,
        (status, inferred): (Status, bool),
        latest: LastEvent,
        event: PresenceEvent,
        arrival: Arrival,
    ) -> Self {
        Self {
            device_type,
            id,
            status,
            inferred,
            event,
            latest,
            provenance: arrival.provenance,
            received_at: arrival.at,
            received_in: arrival.round,
        }
    }

    /// The deciding message, as it came.
    pub fn message(&self) -> Vec<u8> {
        self.event.payload.unpack()
    }

    /// The same without the message that is held beside a status document.
    pub fn document(&self) -> Vec<u8> {
        self.event.payload.document()
    }

    /// What the deciding message says beside the status.
    pub fn details(&self) -> UnpackedDetails {
        UnpackedDetails::of(&self.event.payload)
    }

    /// The source of the deciding message.
    pub fn source(&self) -> &str {
        held::source(&self.event.payload)
    }

    /// Where the device stands in a list of any order.
    pub fn position(&self) -> Position {
        let (device_type, id) = (self.device_type.to_string(), self.id.to_string());
        Position { device_type, id, time: self.event.time }
    }

    /// Which device this is.
    pub fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type, id: &self.id }
    }

    /// Where the device connected from, as the deciding message says. All of the message is read only where it must be.
    pub fn address(&self) -> Option<IpAddr> {
        if let Some(address) = held::ipv4(&self.event.payload) {
            return Some(address.into());
        }
        self.details().read().address?.parse().ok()
    }

    /// The word for why the device is disconnected; `None` while it is connected.
    pub fn cause_class(&self) -> Option<&'static str> {
        let event = &self.event;
        (self.status == Status::Disconnected).then(|| held::cause_class(&event.payload, event.close_code))
    }

    /// What a filter looks at. The message is read only for a filter that asks for what only the message says.
    pub fn traits(&self, filter: &Filter) -> Traits<'_> {
        let address = (!filter.addresses.is_empty()).then(|| self.address()).flatten();
        let cause = (!filter.causes.is_empty()).then(|| self.cause_class()).flatten();
        self.traits_with(address, cause)
    }

    /// The same, where address and cause are known if they matter.
    pub fn traits_with(&self, address: Option<IpAddr>, cause: Option<&'static str>) -> Traits<'_> {
        Traits {
            device_type: &self.device_type,
            id: &self.id,
            source: self.source(),
            status: self.status,
            close_code: self.event.payload.source().is_none().then_some(self.event.close_code),
            cause,
            address,
            time: self.event.time,
        }
    }
}
