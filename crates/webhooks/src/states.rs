//! From events of the history to changes of a device's state. The history has events; which state
//! each led to follows from the events before it.

use std::collections::HashMap;

use crate::message;
use crate::settings::EventType;
use presence::history::{HistoryPosition, HistoryRow, StoredEvent};
use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, Status};
use server::feed::resume::is_refusal_without_effect;
use server::freshness::RoundNumber;
use server::registry::{Arrival, DeviceRegistry, Provenance, Snapshot};
use store::{REPEATS_WITHIN, Store, StoreError};

/// Devices whose states are remembered, some 300 bytes each. Beyond it all are dropped, and read again when they change.
const DEVICES_MAX: usize = 20_000;

/// Events that are read of a device that is not remembered: what happened before them decides nothing any more, except in
/// chains of takeovers that are longer.
const EVENTS_BEFORE: usize = 8;

/// What has happened to a device.
#[derive(Clone, Debug)]
pub enum Occurrence {
    /// Its state is another one.
    Changed,
    /// A login was refused, which ended no session.
    Refused(Box<HistoryRow>),
    /// Nothing was known of it before that time.
    FirstSeen(Moment),
}

/// What has happened to a device, and the device after it.
#[derive(Clone, Debug)]
pub struct StateChange {
    pub what: Occurrence,
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

impl StateChange {
    /// The event that endpoints choose it by.
    pub fn event_type(&self) -> EventType {
        match (&self.what, self.device.status, self.previous) {
            (Occurrence::Refused(_), ..) => EventType::Refused,
            (Occurrence::FirstSeen(_), ..) => EventType::FirstSeen,
            (Occurrence::Changed, Status::Connected, Some(Status::Connected)) => EventType::SessionChanged,
            (Occurrence::Changed, Status::Connected, Some(Status::Disconnected) | None) => {
                EventType::Connected
            }
            (Occurrence::Changed, Status::Disconnected, _) => EventType::Disconnected,
        }
    }

    /// Whether it is about the state of the device, which a later change may overtake.
    pub fn is_of_state(&self) -> bool {
        matches!(self.what, Occurrence::Changed)
    }

    /// When it happened.
    pub fn time(&self) -> Moment {
        match &self.what {
            Occurrence::Refused(row) => row.event.time,
            Occurrence::FirstSeen(time) => *time,
            Occurrence::Changed => self.device.event.time,
        }
    }

    /// That the device of this change was not known before its event.
    pub fn first_seen(&self, event: &PresenceEvent) -> Self {
        let id = message::id_of_first_seen(self.device.device(), event);
        Self { what: Occurrence::FirstSeen(event.time), device: self.device.clone(), id, ..*self }
    }

    /// The same with the device as it is later. A state has the id of the event that it is of.
    pub fn renewed(&self, device: Snapshot) -> Self {
        let id =
            if self.is_of_state() { message::id_of(device.device(), &device.event) } else { self.id.clone() };
        Self { device, id, what: self.what.clone(), ..*self }
    }
}

/// The states of devices at a place in the history.
#[derive(Default)]
pub struct DeviceStates(HashMap<DeviceName, DeviceState>);

impl DeviceStates {
    /// The change with that id that an event of a device was when it came; `None`: the history no longer has it.
    pub async fn change_at(
        (name, sequence): (DeviceName, u64),
        id: &str,
        store: &dyn Store,
        registry: &DeviceRegistry,
    ) -> Result<Option<StateChange>, StoreError> {
        let rows = store.history(name.clone(), Some(sequence + 1), 1).await?;
        let Some(row) = rows.into_iter().next().filter(|row| row.sequence == sequence) else {
            return Ok(None);
        };
        let DeviceName { device_type, id: device_id } = name;
        let entry = StoredEvent { device_type, id: device_id, position: HistoryPosition::BEGINNING, row };
        let changes = Self::default().changes(&entry, store, registry).await?;
        Ok(changes.into_iter().find(|change| change.id == id))
    }

    /// What an event, the next in the history, has changed, or says of a login. Nothing, if neither the status is another one nor
    /// the session that it comes from.
    pub async fn changes(
        &mut self,
        entry: &StoredEvent,
        store: &dyn Store,
        registry: &DeviceRegistry,
    ) -> Result<Vec<StateChange>, StoreError> {
        let name = DeviceName { device_type: entry.device_type.clone(), id: entry.id.clone() };
        if !self.0.contains_key(&name) {
            self.read(&name, entry, store, registry).await?;
        }
        let Some(state) = self.0.get_mut(&name) else { return Ok(Vec::new()) };
        let event = &entry.row.event;
        let is_refused = is_refused_login(entry, state, store).await?;
        let before = state.resolve().map(|resolved| (resolved.status, EventKey::of(resolved.event)));
        let previous = before.map(|(status, _)| status);
        let is_applied = !is_refusal_without_effect(entry, previous, registry) && state.apply(event.clone());
        let arrival =
            Arrival { provenance: Provenance::Live, at: entry.row.received_at, round: RoundNumber::NONE };
        let is_new = |device: &Snapshot| before != Some((device.status, EventKey::of(&device.event)));
        let device = Snapshot::of_state(name.clone(), state, arrival);
        let (what, device) = if is_refused {
            let device = device.or_else(|| registry.read(name.device(), Snapshot::of));
            (Occurrence::Refused(Box::new(entry.row.clone())), device)
        } else {
            (Occurrence::Changed, device.filter(|device| is_applied && is_new(device)))
        };
        let Some(device) = device else { return Ok(Vec::new()) };
        let sequence = Some(entry.row.sequence);
        let position = Some(entry.position.number).filter(|_| entry.position != HistoryPosition::BEGINNING);
        let id = message::id_of(name.device(), event);
        let change = StateChange { what, device, previous, sequence, position, id };
        let is_first = entry.row.is_first_seen && previous.is_none();
        Ok(is_first.then(|| change.first_seen(event)).into_iter().chain([change]).collect())
    }

    /// Reads the state in which the device was before that event.
    async fn read(
        &mut self,
        name: &DeviceName,
        entry: &StoredEvent,
        store: &dyn Store,
        registry: &DeviceRegistry,
    ) -> Result<(), StoreError> {
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
        Ok(())
    }
}

/// Whether an event is a refused login. What ends a session for want of authorisation is the end of that session, if anything is
/// known of it.
async fn is_refused_login(
    entry: &StoredEvent,
    before: &DeviceState,
    store: &dyn Store,
) -> Result<bool, StoreError> {
    let event = &entry.row.event;
    match event.kind {
        EventKind::FailedLogin => return Ok(true),
        EventKind::Refusal => {}
        EventKind::Connect | EventKind::Disconnect | EventKind::Takeover | EventKind::Request => {
            return Ok(false);
        }
    }
    let is_of_session =
        |known: &PresenceEvent| known.session == event.session && known.kind != EventKind::Refusal;
    if before.events().any(is_of_session) {
        return Ok(false);
    }
    if before.events().all(|known| known.session < event.session) {
        return Ok(true);
    }
    // A state holds nothing of sessions before its newest.
    let name = DeviceName { device_type: entry.device_type.clone(), id: entry.id.clone() };
    let rows = store.history(name, Some(entry.row.sequence), REPEATS_WITHIN).await?;
    Ok(!rows.iter().any(|row| row.event.kind != EventKind::FailedLogin && is_of_session(&row.event)))
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
