//! Failed logins of known devices: they change no state, so they are no changes of the feed. Who counts them takes them from here.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use presence::{Device, DeviceName};

/// So many wait to be taken; further ones are dropped: they would make no rule fire that does not fire already.
pub const FAILED_LOGINS_MAX: usize = 10_000;

/// The failed logins since they were taken last, while somebody counts them.
#[derive(Debug, Default)]
pub struct FailedLogins {
    is_wanted: AtomicBool,
    devices: Mutex<VecDeque<DeviceName>>,
}

impl FailedLogins {
    pub fn add(&self, device: Device<'_>) {
        if !self.is_wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut devices = self.devices.lock();
        if devices.len() < FAILED_LOGINS_MAX {
            devices.push_back(DeviceName::of(device));
        }
    }

    /// Takes those that wait; from the first call on, they are collected.
    pub fn take(&self) -> Vec<DeviceName> {
        self.is_wanted.store(true, Ordering::Relaxed);
        self.devices.lock().drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_logins_are_collected_up_to_a_bound_once_somebody_counts_them() {
        let logins = FailedLogins::default();
        let device = Device { device_type: "pump", id: "1" };
        logins.add(device);
        assert_eq!(logins.take(), []);
        (0..=FAILED_LOGINS_MAX).for_each(|_| logins.add(device));
        assert_eq!(logins.take().len(), FAILED_LOGINS_MAX);
        assert_eq!(logins.take(), []);
    }
}
