//! Devices that an administrator had forgotten, and what a batch still says about them. How a store remembers them is decided by
//! each backend.
//!
//! Instances that share a store hold the same devices. If one of them forgets a device, the others may hold its old state, and
//! may have changes of it that they have not written yet. So a shared store keeps a *tombstone* for each forgotten device: the
//! change cursor at which it was forgotten, and the time. A batch says up to which cursor its writer has dropped forgotten
//! devices. What the batch says about a device with a later tombstone rests on the old state, and the store does not write it;
//! only events that the writer received after that time count.

use std::collections::BTreeMap;

use presence::{Device, DeviceName, UnixSeconds};

use crate::Batch;

/// Tombstones that a store keeps at least; beyond that the oldest give way. An instance that was away from the store while so
/// many devices were forgotten may bring the oldest of them back.
pub const TOMBSTONES_MAX: usize = 100_000;

/// A device that was forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgottenDevice {
    pub name: DeviceName,
    /// By the clock of the instance that forgot it. What was received later belongs to the device as it is now.
    pub at: UnixSeconds,
}

/// Forgotten devices by name.
#[derive(Debug, Default)]
pub struct ForgottenDevices<'a>(BTreeMap<(&'a str, &'a str), UnixSeconds>);

impl<'a> ForgottenDevices<'a> {
    pub fn new(forgotten: impl IntoIterator<Item = &'a ForgottenDevice>) -> Self {
        let by_name = forgotten.into_iter().map(|one| ((&*one.name.device_type, &*one.name.id), one.at));
        Self(by_name.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what was received about the device at that time is forgotten.
    pub fn covers(&self, device: Device<'_>, received_at: UnixSeconds) -> bool {
        self.0.get(&(device.device_type, device.id)).is_some_and(|at| received_at <= *at)
    }

    fn contains(&self, device: Device<'_>) -> bool {
        self.0.contains_key(&(device.device_type, device.id))
    }
}

impl Batch {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty() && self.events.is_empty() && !self.events_lost
    }

    /// What remains if these devices were forgotten after the batch was made: a state cannot be divided, so none of theirs, and
    /// of their events those that were received later.
    pub fn without(&self, forgotten: &ForgottenDevices<'_>) -> Self {
        let devices = self.devices.iter().filter(|device| !forgotten.contains(device.name.device()));
        let events = self.events.iter().filter(|event| !forgotten.covers(event.device(), event.received_at));
        Self {
            devices: devices.cloned().collect(),
            events: events.cloned().collect(),
            events_lost: self.events_lost,
            based_on: self.based_on.clone(),
        }
    }
}
