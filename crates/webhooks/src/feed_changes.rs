//! From changes in memory to changes that are sent. The feed also shows what is no event: devices that a start has found, and
//! what leaves the status as it was.

use std::collections::HashMap;

use presence::DeviceName;
use server::registry::{Provenance, Snapshot};

use crate::message;
use crate::states::{Change, EventKey};

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
    /// What is sent of a change; `None`: nothing.
    pub fn change(&mut self, change: &server::feed::Change) -> Option<Change> {
        if change.is_removal {
            self.newest.remove(&DeviceName::of(change.snapshot.device()));
            return None;
        }
        if !change.in_history {
            // Of a device that another instance was the first to hear of, it has written the event.
            let is_of_peer = change.snapshot.provenance == Provenance::Peer && change.previous.is_none();
            self.has_unknown |= is_of_peer && !change.is_populated;
            if !is_of_peer || !change.is_populated {
                return None;
            }
        }
        let previous = change.previous;
        self.note(&change.snapshot).then(|| Change::unplaced(change.snapshot.clone(), previous))
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

impl Change {
    /// A change of which the place in the history is not known.
    pub fn unplaced(device: Snapshot, previous: Option<presence::Status>) -> Self {
        let id = message::id_of(device.device(), &device.event);
        Self { device, previous, sequence: None, position: None, id }
    }
}
