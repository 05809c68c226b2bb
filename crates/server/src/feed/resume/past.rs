//! What missed events have changed, as a client is shown them again. The history has events: whether one changed the state of
//! its device when it came follows from what was known before it, and not all of that is among what the client has missed.
//! The end of an earlier session may come late, after the device has connected again; a session that the broker repeated
//! while the devices were being found is in no history.
//!
//! So an event is looked at twice if today's state no longer needs it:
//!
//! - the events before it are read, as far as that is not too much for one stream ([`PastStates::needs_earlier`]);
//! - if it leads to another status than today's, it is held back until an event of the device leads to today's state, or the
//!   history is over. Then it is shown if the changes that follow begin with the status that it led to, and dropped
//!   otherwise ([`PastDevice::finish`]).
//!
//! And if what was shown last of a device is not today's status, although nothing follows, today's state is shown. That may be a removal that
//! the client is shown once more: what came after it, it has seen before.
//!
//! While an event is held back, ids are of the place before it: a client that comes back with one misses nothing.

use std::collections::{BTreeMap, HashMap};

use super::super::buffer::BATCH_MAX;
use super::super::{Behind, Change, Feed};
use crate::freshness::RoundNumber;
use crate::registry::{Arrival, DeviceRegistry, Provenance, Snapshot};
use presence::history::{HistoryPosition, HistoryRow, StoredEvent};
use presence::{Device, DeviceName, DeviceState, EventKind, Status};

/// Events that are read of a device before one that is looked at twice: what happened before them decides nothing any more,
/// except in chains of takeovers that are longer.
pub const EARLIER_EVENTS: usize = 8;

/// Devices whose earlier events are read for one stream; each costs a request to the store.
pub const EARLIER_READS_MAX: usize = 10_000;

/// Who knows the states that devices have now.
pub trait CurrentStates {
    /// `None`: the device is not known.
    fn look_at<T>(&self, device: Device<'_>, look: impl FnOnce(&DeviceState) -> T) -> Option<T>;
}

impl CurrentStates for DeviceRegistry {
    fn look_at<T>(&self, device: Device<'_>, look: impl FnOnce(&DeviceState) -> T) -> Option<T> {
        self.read(device, |record| look(&record.state))
    }
}

/// The states of devices at a place in the history.
#[derive(Debug)]
pub struct PastStates {
    devices: HashMap<DeviceName, PastState>,
    /// Devices whose earlier events may still be read.
    reads_left: usize,
    place: HistoryPlace,
    /// The place before each change that is held back, by its number.
    held_after: BTreeMap<u64, HistoryPosition>,
    /// Changes that were held back so far.
    held: u64,
}

#[derive(Debug, Default)]
struct PastState {
    state: DeviceState,
    shown: ShownState,
    /// In their order.
    held: Vec<HeldChange>,
}

/// What the client was shown last of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ShownState {
    #[default]
    Nothing,
    Status(Status),
    Removal,
}

#[derive(Debug)]
struct HeldChange {
    number: u64,
    change: PastChange,
}

/// A change out of the history.
#[derive(Clone, Debug)]
pub struct PastChange {
    pub device: Snapshot,
    /// The status before; `None`: not known.
    pub previous: Option<Status>,
}

/// Where the reader of a history is. Events that were stored in one step share a position.
#[derive(Debug)]
struct HistoryPlace {
    /// Of the last event.
    at: HistoryPosition,
    /// The one before it that is another.
    before: HistoryPosition,
}

impl HistoryPlace {
    fn go_to(&mut self, position: HistoryPosition) {
        if position != self.at {
            self.before = std::mem::replace(&mut self.at, position);
        }
    }
}

impl PastStates {
    /// For a client that has seen the history up to there.
    pub fn new(seen: HistoryPosition, reads_max: usize) -> Self {
        let place = HistoryPlace { at: seen, before: seen };
        Self { devices: HashMap::new(), reads_left: reads_max, place, held_after: BTreeMap::new(), held: 0 }
    }

    /// Up to where the client has been shown everything.
    pub fn position(&self) -> HistoryPosition {
        self.held_after.values().next().copied().unwrap_or(self.place.at)
    }

    /// Whether the events before this one are to be read first, because it may have changed nothing when it came.
    pub fn needs_earlier(&self, entry: &StoredEvent, now: &impl CurrentStates) -> bool {
        let is_new = self.devices.get(&name_of(entry)).is_none_or(|past| past.status().is_none());
        is_new && self.reads_left > 0 && is_outlived(entry, now)
    }

    /// Takes the events before one of this device, newest first.
    pub fn take_earlier(&mut self, entry: &StoredEvent, earlier: Vec<HistoryRow>) {
        self.reads_left = self.reads_left.saturating_sub(1);
        let past = self.devices.entry(name_of(entry)).or_default();
        for row in earlier.into_iter().rev() {
            past.state.apply(row.event);
        }
    }

    /// Notes that the client is shown a change that is in no history. What it is shown of the history may be older.
    pub fn note_unlogged(&mut self, change: &Change) {
        let past = self.devices.entry(DeviceName::of(change.snapshot.device())).or_default();
        past.shown = match change.removal {
            Some(_) => ShownState::Removal,
            None => ShownState::Status(change.snapshot.status),
        };
    }

    /// Takes the next event of the history; returns what is shown now.
    pub fn offer(&mut self, entry: StoredEvent, now: &impl CurrentStates) -> Vec<PastChange> {
        self.place.go_to(entry.position);
        let name = name_of(&entry);
        let is_outlived = is_outlived(&entry, now);
        let past = self.devices.entry(name.clone()).or_default();
        let previous = past.status();
        if is_refusal_without_effect(&entry, previous, now) {
            return Vec::new();
        }
        if !past.state.apply(entry.row.event) {
            return Vec::new();
        }
        let arrival =
            Arrival { provenance: Provenance::Live, at: entry.row.received_at, round: RoundNumber::NONE };
        let Some(device) = Snapshot::of_state(name.clone(), &past.state, arrival) else { return Vec::new() };
        let status = device.status;
        let change = PastChange { device, previous };
        if is_outlived
            && now.look_at(name.device(), |state| status_of(state) != Some(status)).unwrap_or(false)
        {
            self.held += 1;
            past.held.push(HeldChange { number: self.held, change });
            self.held_after.insert(self.held, self.place.before);
            return Vec::new();
        }
        past.shown = ShownState::Status(status);
        let held = past.held.drain(..).map(|held| {
            self.held_after.remove(&held.number);
            held.change
        });
        held.chain([change]).collect()
    }

    /// The devices of which something was offered or shown, after the last event.
    pub fn take_devices(&mut self) -> Vec<PastDevice> {
        let devices = std::mem::take(&mut self.devices).into_iter();
        devices.map(|(name, past)| PastDevice { name, past }).collect()
    }
}

impl PastState {
    fn status(&self) -> Option<Status> {
        status_of(&self.state)
    }
}

/// A device at the end of the history.
#[derive(Debug)]
pub struct PastDevice {
    pub name: DeviceName,
    past: PastState,
}

/// What is shown of a device at the end of the history.
#[derive(Debug)]
pub enum LastWord {
    /// What was held back.
    Held(Vec<PastChange>),
    /// The state of today, after that status; `None`: after a removal.
    Today(Option<Status>),
    Nothing,
}

impl PastDevice {
    /// Whether there is more to say of it: something is held back, or the client was last shown another status than today's.
    pub fn is_open(&self, now: &impl CurrentStates) -> bool {
        let today = now.look_at(self.name.device(), status_of).flatten();
        let is_another = |today| match self.past.shown {
            ShownState::Nothing => false,
            ShownState::Status(shown) => shown != today,
            ShownState::Removal => true,
        };
        !self.past.held.is_empty() || today.is_some_and(is_another)
    }

    /// What is shown of it, if the next change that follows the history began with that status.
    pub fn finish(self, next: Option<NextChange>) -> LastWord {
        let Self { past, .. } = self;
        match next {
            Some(next) if next.previous == past.status() => {
                LastWord::Held(past.held.into_iter().map(|held| held.change).collect())
            }
            Some(_) => LastWord::Nothing,
            None => match past.shown {
                ShownState::Nothing => LastWord::Nothing,
                ShownState::Status(shown) => LastWord::Today(Some(shown)),
                ShownState::Removal => LastWord::Today(None),
            },
        }
    }
}

fn name_of(entry: &StoredEvent) -> DeviceName {
    DeviceName { device_type: entry.device_type.clone(), id: entry.id.clone() }
}

fn status_of(state: &DeviceState) -> Option<Status> {
    state.resolve().map(|resolved| resolved.status)
}

fn is_outlived(entry: &StoredEvent, now: &impl CurrentStates) -> bool {
    let device = Device { device_type: &entry.device_type, id: &entry.id };
    now.look_at(device, |state| state.is_unaffected_by(&entry.row.event)).unwrap_or(false)
}

/// Whether an event is a refused login that changes nothing, as something else is known of the device. `previous` is the status
/// by the history; what was found while the broker repeated its retained messages is in none, so today's state is asked.
pub fn is_refusal_without_effect(
    entry: &StoredEvent,
    previous: Option<Status>,
    now: &impl CurrentStates,
) -> bool {
    let decides = |state: &DeviceState| {
        state.resolve().is_some_and(|resolved| resolved.event.kind == EventKind::Refusal)
    };
    entry.row.event.kind == EventKind::Refusal
        && previous.is_none()
        && !now.look_at(name_of(entry).device(), decides).unwrap_or(false)
}

/// The first change of a device after a place in the feed.
#[derive(Clone, Copy, Debug)]
pub struct NextChange {
    /// The status before it.
    pub previous: Option<Status>,
}

impl Feed {
    /// The next change of each device that has changed after that change. To be asked after today's states were read: whatever
    /// has changed them is then among these changes, or was before.
    pub fn next_changes(&self, after: u64) -> Result<HashMap<DeviceName, NextChange>, Behind> {
        let (mut position, mut next) = (after, HashMap::new());
        let head = self.head();
        while position < head {
            let part = self.buffer.read().after(position, BATCH_MAX)?;
            let Some(last) = part.changes.last() else { break };
            position = last.sequence;
            for change in &part.changes {
                let name = DeviceName::of(change.snapshot.device());
                next.entry(name).or_insert(NextChange { previous: change.previous });
            }
        }
        Ok(next)
    }
}
