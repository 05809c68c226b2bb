//! One event in a device's history, on its way to a store and as a store keeps it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::{Device, PresenceEvent, UnixSeconds};

/// What the allocator and the queue add to an event's own bytes, about.
pub const EVENT_OVERHEAD_BYTES: usize = 64;

/// One thing that happened to a device: a connect, a disconnect, a takeover, a refused or otherwise failed login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEvent {
    pub device_type: Arc<str>,
    pub id: Box<str>,
    pub event: PresenceEvent,
    pub received_at: UnixSeconds,
    /// Nothing was known of the device before, although everything that the broker retains had been read.
    pub is_first_seen: bool,
}

impl HistoryEvent {
    /// An event of a device of which something was known, or may have been.
    pub fn of(device: Device<'_>, event: PresenceEvent, received_at: UnixSeconds) -> Self {
        let (device_type, id) = (device.device_type.into(), device.id.into());
        Self { device_type, id, event, received_at, is_first_seen: false }
    }

    pub fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type, id: &self.id }
    }

    /// The memory that it takes, about.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + EVENT_OVERHEAD_BYTES
            + self.device_type.len()
            + self.id.len()
            + self.event.payload.packed_len()
    }
}

/// One event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// Rises from event to event of a device; what an older page is asked for by.
    pub sequence: u64,
    pub event: PresenceEvent,
    pub received_at: UnixSeconds,
    /// Nothing was known of the device when it came. A store that keeps no order of all events does not keep this.
    pub is_first_seen: bool,
}

/// A place in the order in which a store keeps the events of all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryPosition {
    /// Names the order: another store has another one, and so has a store that was restored from a copy.
    pub order: u64,
    pub number: u64,
}

impl HistoryPosition {
    /// Before the first event of any store.
    pub const BEGINNING: HistoryPosition = HistoryPosition { order: 0, number: 0 };
}

/// Positions of different orders cannot be compared: neither is before the other.
impl PartialOrd for HistoryPosition {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.order == other.order).then(|| self.number.cmp(&other.number))
    }
}

/// One event as it is kept, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    pub device_type: Arc<str>,
    pub id: Box<str>,
    /// Where to go on after it, in the order of the events of all devices. Events that were kept in one step may share it, or
    /// come again to a reader that goes on there; none is left out.
    pub position: HistoryPosition,
    pub row: HistoryRow,
}

/// Part of the events of all devices, in the order in which they were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// After the position that was asked for, each once.
    pub events: Vec<StoredEvent>,
    /// Where to go on after this page without being given anything again.
    pub reached: HistoryPosition,
    /// Up to here nothing can be added any more: what is kept later has a higher position.
    pub newest: HistoryPosition,
    /// No event that had been kept when this was read has a higher position. More than `newest` where several write at
    /// once, and one that began earlier may still add events that come before those of another.
    pub begun: HistoryPosition,
    /// Some that belong here are missing: they were dropped because they were too old or too many of one device, or lost
    /// before they came to the store, or the position is none of this store as it is now.
    pub incomplete: bool,
}
