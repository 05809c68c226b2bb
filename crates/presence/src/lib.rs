//! What one message says about a device, what the state of the device is, how the two are merged, and how devices are asked
//! for. Pure values: no IO, no clock, no log, no randomness, and nothing of any broker's wire format.

pub mod contact;
pub mod csv;
mod device;
pub mod digits;
mod event;
pub mod history;
pub mod payload;
pub mod query;
pub mod settle;
mod stable_hash;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod strategy;
pub mod time_text;
mod unix_seconds;

pub use device::{Device, DeviceName, NAME_MAX_BYTES};
pub use event::{EventKind, Moment, PresenceEvent};
pub use stable_hash::StableHash;
pub use state::{DeviceState, ResolvedStatus, Status};
pub use unix_seconds::UnixSeconds;
