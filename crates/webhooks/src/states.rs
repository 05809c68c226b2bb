//! From events of the history to changes of a device's state. The history has events; which state
//! each led to follows from the events before it.

use std::collections::HashMap;

use crate::message;
use presence::history::{HistoryPosition, StoredEvent};
use presence::{Device, DeviceName, DeviceState, EventKind, Moment, PresenceEvent, Status};
use server::feed::resume::is_refusal_without_effect;
use server::freshness::RoundNumber;
use server::registry::{Arrival, DeviceRegistry, Provenance, Snapshot};
use store::{REPEATS_WITHIN, Store, StoreError};

/// Devices whose states are remembered, some 300 bytes each. Beyond it all are dropped, and read again when they change.
const DEVICES_MAX: usize = 20_000;

/// Events that are read of a device that is not remembered: what happened before them decides nothing any more, except in
/// chains of takeovers that are longer.
const EVENTS_BEFORE: usize = 8;

/// A change of a device's state.
#[derive(Clone, Debug)]
pub struct Change {
    pub device: Snapshot,
    /// The status before; `None`: not in the history.
    pub previous: Option<Status>,
    /// Of its event, in the history of the device; `None`: not known.
    pub sequence: Option<u64>,
    /// The same in the history of all devices; `None`: not known.
    pub position: Option<u64>,
    /// The id of its message.
    pub id: String,
}

impl Change {
    /// The same of a later event that has left the status as it was.
    pub fn renewed(&self, device: Snapshot) -> Self {
        let id = message::id_of(device.device(), &device.event);
        Self { device, id, ..*self }
    }
}

/// The states of devices at a place in the history.
#[derive(Default)]
pub struct DeviceStates(HashMap<DeviceName, DeviceState>);

impl DeviceStates {
    /// The change that an event of a device was when it came; `None`: the history no longer has it.
    pub async fn change_at(
        name: DeviceName,
        sequence: u64,
        store: &dyn Store,
        registry: &DeviceRegistry,
    ) -> Result<Option<Change>, StoreError> {
        let rows = store.history(name.clone(), Some(sequence + 1), 1).await?;
        let Some(row) = rows.into_iter().next().filter(|row| row.sequence == sequence) else {
            return Ok(None);
        };
        let DeviceName { device_type, id } = name;
        let entry = StoredEvent { device_type, id, position: HistoryPosition::BEGINNING, row };
        Self::default().change(&entry, store, registry).await
    }

    /// What an event, the next in the history, has changed; `None`: neither the status nor the session that it comes from.
    pub async fn change(
        &mut self,
        entry: &StoredEvent,
        store: &dyn Store,
        registry: &DeviceRegistry,
    ) -> Result<Option<Change>, StoreError> {
        let name = DeviceName { device_type: entry.device_type.clone(), id: entry.id.clone() };
        if !self.0.contains_key(&name) {
            if self.0.len() >= DEVICES_MAX {
                self.0.clear();
            }
            let before = store.history(name.clone(), Some(entry.row.sequence), EVENTS_BEFORE).await?;
            let mut state = DeviceState::default();
            for row in before.into_iter().rev() {
                state.apply(row.event);
            }
            if let Some(event) = unlogged_session(entry, &state, store, registry).await? {
                state.apply(event);
            }
            self.0.insert(name.clone(), state);
        }
        let Some(state) = self.0.get_mut(&name) else { return Ok(None) };
        let before = state.resolve().map(|resolved| (resolved.status, EventKey::of(resolved.event)));
        let previous = before.map(|(status, _)| status);
        if is_refusal_without_effect(entry, previous, registry) {
            return Ok(None);
        }
        if !state.apply(entry.row.event.clone()) {
            return Ok(None);
        }
        let arrival =
            Arrival { provenance: Provenance::Live, at: entry.row.received_at, round: RoundNumber::NONE };
        let device = Snapshot::of_state(name, state, arrival);
        let sequence = Some(entry.row.sequence);
        let position = Some(entry.position.number).filter(|_| entry.position != HistoryPosition::BEGINNING);
        let is_new = |device: &Snapshot| before != Some((device.status, EventKey::of(&device.event)));
        let id =
            || message::id_of(Device { device_type: &entry.device_type, id: &entry.id }, &entry.row.event);
        Ok(device.filter(is_new).map(|device| Change { device, previous, sequence, position, id: id() }))
    }
}

/// The event that begins the session in which the device was when this event came, if it is in no history, because it was only
/// repeated by the broker while the devices were being found. Without it the late end of an earlier session would be the
/// end of the device's connection.
///
/// The store has it: no device is written before its events, so what decides there and is not in the history never was.
async fn unlogged_session(
    entry: &StoredEvent,
    before: &DeviceState,
    store: &dyn Store,
    registry: &DeviceRegistry,
) -> Result<Option<PresenceEvent>, StoreError> {
    let name = DeviceName { device_type: entry.device_type.clone(), id: entry.id.clone() };
    let event = &entry.row.event;
    let status_of = |state: &DeviceState| state.resolve().map(|resolved| resolved.status);
    let status = {
        let mut state = before.clone();
        state.apply(event.clone());
        status_of(&state)
    };
    let is_outlived = |state: &DeviceState| state.is_unaffected_by(event) && status_of(state) != status;
    if !registry.read(name.device(), |record| is_outlived(&record.state)).unwrap_or(false) {
        return Ok(None);
    }
    let Some(stored) = store.read(vec![name.clone()]).await?.pop() else { return Ok(None) };
    let Some(decides) = stored.state.resolve().map(|resolved| resolved.event.clone()) else {
        return Ok(None);
    };
    let later = store.history(name, None, REPEATS_WITHIN).await?;
    let reaches_back = later.last().is_some_and(|row| row.sequence <= entry.row.sequence);
    let is_logged = later.iter().any(|row| EventKey::of(&row.event) == EventKey::of(&decides));
    Ok(Some(decides).filter(|_| is_outlived(&stored.state) && reaches_back && !is_logged))
}

/// What tells an event of a device from the others that can decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventKey {
    kind: EventKind,
    session: Moment,
    time: Moment,
}

impl EventKey {
    pub fn of(event: &PresenceEvent) -> Self {
        Self { kind: event.kind, session: event.session, time: event.time }
    }
}
