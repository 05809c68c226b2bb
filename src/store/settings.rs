//! Where the statuses are kept and for how long. Built and checked by `config`.

use std::path::PathBuf;
use std::time::Duration;

/// Which store, and what stays in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub location: Location,
    /// The longest time between a change and its being kept, while the store is well.
    pub flush_interval: Duration,
    /// How long a device may be disconnected before it is dropped; `None`: for ever.
    pub forget_after: Option<Duration>,
    /// How long an event is kept.
    pub history: Duration,
    /// How many events of one device are kept.
    pub history_per_device: u32,
}

/// The store of `--store`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Nothing outlives the process.
    Memory,
    /// One file.
    Sqlite(PathBuf),
}

impl StoreSettings {
    pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
    pub const HISTORY_DAYS: u32 = 45;
    pub const HISTORY_PER_DEVICE: u32 = 1_000;

    /// Nothing outlives the process; the rest is as by default.
    pub fn memory() -> Self {
        Self::at(Location::Memory)
    }

    /// The defaults, kept there.
    pub fn at(location: Location) -> Self {
        Self {
            location,
            flush_interval: Self::FLUSH_INTERVAL,
            forget_after: None,
            history: days(Self::HISTORY_DAYS),
            history_per_device: Self::HISTORY_PER_DEVICE,
        }
    }
}

pub const fn days(days: u32) -> Duration {
    Duration::from_secs(days as u64 * 86_400)
}
