//! What time it is, in the seconds by which the devices' states are kept.

use presence::UnixSeconds;

pub use system::clock::{now_millis, since_1970, since_boot};

pub fn now() -> UnixSeconds {
    UnixSeconds(u32::try_from(since_1970().as_secs()).unwrap_or(u32::MAX))
}
