//! Which devices and events the writer writes next, and in which order. How a batch is written is decided by the writer.
//!
//! No device is written before the events that made it what it is: after `kill -9` the history would lack them for ever, and
//! webhooks and peers rely on the history to tell of every status that the store has.

use std::sync::Arc;

use super::writer::{Writer, stored};
use store::{Batch, ChangeCursor, StoredDevice};
use system::turn::give_way;

/// Devices, and as many events, in one batch: some thirty milliseconds of an embedded store, so that what changes meanwhile
/// waits no longer than the flush interval.
pub(super) const BATCH_MAX: usize = 4_096;

/// The memory of the devices in one batch, and of the events, at which no more are added: long messages must not make a batch
/// of gigabytes. A database's client holds it some four times over while it is sent.
pub(super) const BATCH_MAX_BYTES: usize = 16 << 20;

/// Devices, or events, of a batch that are dropped before others have their turn: some ten microseconds.
const DROPPED_AT_ONCE: usize = 64;

/// What is written next.
pub(super) struct NextBatch {
    pub batch: Batch,
    /// It holds everything that waited.
    pub is_all: bool,
}

/// What the order of the next batches depends on.
#[derive(Default)]
pub struct WriteOrder {
    deferred: DeferredDevices,
    /// The [flush epoch](crate::registry::DeviceRegistry::flush_epoch) up to which events of the devices may have given way.
    lost_until: u64,
}

/// Devices that were taken while more events waited than one batch holds. They wait for those events, which are bounded, and
/// not for an empty queue, which may never come.
#[derive(Default)]
struct DeferredDevices {
    taken: DirtyDevices,
    /// The end of the event queue when they were taken.
    after_events: u64,
}

#[derive(Default)]
struct DirtyDevices {
    devices: Vec<StoredDevice>,
    based_on: Option<ChangeCursor>,
    /// The flushed epoch before they were taken.
    epoch: u64,
    /// No others were dirty.
    is_all: bool,
}

impl WriteOrder {
    pub(super) fn deferred(&self) -> usize {
        self.deferred.taken.devices.len()
    }
}

impl Writer {
    /// The next batch: deferred devices once their events are written, before that the oldest events, and otherwise devices
    /// together with all events, if those fit one batch.
    pub(super) fn next_batch(&self) -> NextBatch {
        if self.order.lock().deferred() == 0 {
            if self.events.fits(BATCH_MAX, BATCH_MAX_BYTES) {
                return self.devices_and_events();
            }
            let deferred = self.take_deferred();
            self.order.lock().deferred = deferred;
        }
        let batch = if self.events.gone() >= self.order.lock().deferred.after_events {
            let DeferredDevices { taken, after_events: _ } = std::mem::take(&mut self.order.lock().deferred);
            let events_lost = self.are_events_lost(&taken);
            Batch { devices: taken.devices, based_on: taken.based_on, events_lost, ..Batch::default() }
        } else {
            self.oldest_events()
        };
        NextBatch { batch, is_all: false }
    }

    fn devices_and_events(&self) -> NextBatch {
        // Locked until all is taken: none of it rests on more than that, or on less.
        let based_on = self.registry.forget_cursor.lock();
        let taken = self.take_devices(based_on.clone());
        // After the devices: those that led to what they are now are in the queue. Those that came meanwhile are few: what comes
        // while the devices are taken is what one thread decodes in some milliseconds. What comes from now on is left.
        let mut events = self.events.take(self.events.len(), usize::MAX);
        drop(based_on);
        self.maintenance.date(&mut events);
        let events_lost = self.are_events_lost(&taken);
        let DirtyDevices { devices, based_on, epoch: _, is_all } = taken;
        NextBatch { batch: Batch { devices, events, events_lost, based_on }, is_all }
    }

    fn take_deferred(&self) -> DeferredDevices {
        let based_on = self.registry.forget_cursor.lock();
        let taken = self.take_devices(based_on.clone());
        // After the devices, as above.
        DeferredDevices { taken, after_events: self.events.end_position() }
    }

    /// The caller holds the lock of what they are based on.
    fn take_devices(&self, based_on: Option<ChangeCursor>) -> DirtyDevices {
        let (epoch, mut devices) = (self.registry.flushed_epoch(), Vec::new());
        let is_all = self.registry.take_dirty(BATCH_MAX, BATCH_MAX_BYTES, |record| {
            let device = stored(record);
            let bytes = device.size_bytes();
            devices.push(device);
            bytes
        });
        DirtyDevices { devices, based_on, epoch, is_all }
    }

    fn oldest_events(&self) -> Batch {
        let based_on = self.registry.forget_cursor.lock();
        let mut events = self.events.take(BATCH_MAX, BATCH_MAX_BYTES);
        let based_on = based_on.clone();
        self.maintenance.date(&mut events);
        Batch {
            events,
            based_on,
            events_lost: self.are_events_lost(&DirtyDevices::default()),
            devices: Vec::new(),
        }
    }

    /// Whether events gave way of which the store does not know yet, or may be those of these devices: another instance that
    /// learns of a device after a hole in the history takes the history to tell of it.
    fn are_events_lost(&self, taken: &DirtyDevices) -> bool {
        let has_overflowed = self.events.take_overflowed();
        if has_overflowed {
            self.feed.note_lost();
            self.order.lock().lost_until = self.registry.flush_epoch();
        }
        has_overflowed || (!taken.devices.is_empty() && taken.epoch < self.order.lock().lost_until)
    }
}

/// What the store has taken, in one part or, where it refuses a device, in several.
#[derive(Default)]
pub(super) struct WrittenBatch {
    parts: Vec<Arc<Batch>>,
    /// The store failed meanwhile.
    pub has_failed: bool,
}

impl WrittenBatch {
    pub fn add(&mut self, part: Arc<Batch>, has_failed: bool) {
        self.parts.push(part);
        self.has_failed |= has_failed;
    }

    /// To free the memory of thousands of messages, which other threads have allocated, takes about a millisecond, in which others
    /// have their turns. So those who wait for what is written are told before.
    pub fn drop_in_turns(self) {
        fn drop_few<T>(mut items: Vec<T>) {
            while !items.is_empty() {
                items.truncate(items.len().saturating_sub(DROPPED_AT_ONCE));
                give_way();
            }
        }
        // Where the store has a part still, the store drops it.
        for Batch { devices, events, .. } in self.parts.into_iter().filter_map(Arc::into_inner) {
            drop_few(devices);
            drop_few(events);
        }
    }
}
