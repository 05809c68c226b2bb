//! How many devices have which status.

use std::sync::atomic::{AtomicU64, Ordering};

use presence::Status;

/// Devices by status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub connected: u64,
    pub disconnected: u64,
}

impl Totals {
    pub fn total(&self) -> u64 {
        self.connected + self.disconnected
    }
}

/// Updated under the lock of the device's shard, so that no change is counted twice; read without any.
#[derive(Debug, Default)]
pub(super) struct Counts {
    connected: AtomicU64,
    disconnected: AtomicU64,
}

impl Counts {
    pub fn of(&self, status: Status) -> &AtomicU64 {
        match status {
            Status::Connected => &self.connected,
            Status::Disconnected => &self.disconnected,
        }
    }

    pub fn move_one(&self, from: Option<Status>, to: Status) {
        if let Some(from) = from {
            self.of(from).fetch_sub(1, Ordering::Relaxed);
        }
        self.of(to).fetch_add(1, Ordering::Relaxed);
    }

    pub fn drop_one(&self, from: Status) {
        self.of(from).fetch_sub(1, Ordering::Relaxed);
    }

    pub fn totals(&self) -> Totals {
        Totals {
            connected: self.connected.load(Ordering::Relaxed),
            disconnected: self.disconnected.load(Ordering::Relaxed),
        }
    }
}
