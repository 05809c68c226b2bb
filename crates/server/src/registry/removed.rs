//! Devices that messages of their sources have removed: they are forgotten by the writer of the store, which alone knows that no
//! earlier change of them is still on its way there.

use super::{DeviceRegistry, Record};
use presence::{Device, DeviceName};

/// Devices that wait to be forgotten; a further one stays, as a disconnected one.
const REMOVED_MAX: usize = 65_536;

impl DeviceRegistry {
    /// Notes that a device was removed. `false`: too many wait.
    pub fn note_removed(&self, device: Device<'_>) -> bool {
        let mut removed = self.removed.lock();
        let has_room = removed.len() < REMOVED_MAX;
        if has_room {
            removed.push_back(DeviceName::of(device));
        }
        has_room
    }

    /// At most so many of those that wait.
    pub fn take_removed(&self, most: usize) -> Vec<DeviceName> {
        let mut removed = self.removed.lock();
        let count = removed.len().min(most);
        removed.drain(..count).collect()
    }

    /// Drops a device unless `stays` says that it has come back, and shows it to `forgotten`. Returns whether it is gone.
    pub fn forget_removed(
        &self,
        device: Device<'_>,
        stays: impl FnOnce(&Record<'_>) -> bool,
        forgotten: impl FnMut(&Record<'_>),
    ) -> bool {
        let locked = self.lock(device);
        if self.read(device, stays) == Some(true) {
            return false;
        }
        locked.forget(forgotten);
        true
    }
}
