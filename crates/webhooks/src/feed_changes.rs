//! From changes in memory to changes that are sent. The feed also shows what is no event: devices that a start has found, and
//! what leaves the status as it was.

use std::collections::HashMap;

use presence::history::HistoryRow;
use presence::{DeviceName, EventKind};
use server::registry::{Provenance, Snapshot};

use crate::message;
use crate::states::{EventKey, Occurrence, StateChange};

/// Devices of which the newest event is remembered, some 150 bytes each. Beyond it all are dropped: what leaves the status of
/// one of these as it was may then be sent once more, with the same id.
const DEVICES_MAX: usize = 20_000;

/// What was read of the feed.
#[derive(Default)]
pub struct FeedChanges {
    newest: HashMap<DeviceName, EventKey>,
    /// Another instance has found devices before this one knew its own, so which of them are new is not known.
    pub has_unknown: bool,
}

impl FeedChanges {
    /// What is sent of a change.
    pub fn changes(&mut self, change: &server::feed::Change) -> Vec<StateChange> {
        if change.removal.is_some() {
            self.newest.remove(&DeviceName::of(change.snapshot.device()));
            return Vec::new();
        }
        if !change.in_history {
            // Of a device that another instance was the first to hear of, it has written the event.
            let is_of_peer = change.snapshot.provenance == Provenance::Peer && change.previous.is_none();
            self.has_unknown |= is_of_peer && !change.is_populated;
            if !is_of_peer || !change.is_populated {
                return Vec::new();
            }
        }
        if !self.note(&change.snapshot) {
            return Vec::new();
        }
        // What another instance knew when it was the first to write an event is not known here.
        let is_first = change.in_history && change.is_populated && change.previous.is_none();
        let found = StateChange::unplaced(change.snapshot.clone(), change.previous);
        is_first.then(|| found.first_seen(&found.device.event)).into_iter().chain([found]).collect()
    }

    /// Notes the state of a device; says whether it is another one than before.
    pub fn note(&mut self, device: &Snapshot) -> bool {
        if self.newest.len() >= DEVICES_MAX {
            self.newest.clear();
        }
        let key = EventKey::of(&device.event);
        self.newest.insert(DeviceName::of(device.device()), key) != Some(key)
    }
}

impl StateChange {
    /// A change of which the place in the history is not known.
    pub fn unplaced(device: Snapshot, previous: Option<presence::Status>) -> Self {
        let id = message::id_of(device.device(), &device.event);
        let what = if device.event.kind == EventKind::Refusal {
            let (event, received_at) = (device.event.clone(), device.received_at);
            Occurrence::Refused(Box::new(HistoryRow {
                sequence: 0,
                event,
                received_at,
                is_first_seen: false,
            }))
        } else {
            Occurrence::Changed
        };
        Self { what, device, previous, sequence: None, position: None, id }
    }
}
