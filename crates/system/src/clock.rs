//! The only place that asks what time it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970 by this machine's clock.
pub fn now_millis() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

/// Time since the machine started. It never steps, and unlike [`std::time::Instant`] it goes on while the machine sleeps.
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Time since 1970 by this machine's clock; none before.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whole seconds since 1970, as the kernel's tick last saw them, some milliseconds ago at most: for what names seconds and is read
/// with every request.
#[cfg(target_os = "linux")]
pub fn second_since_1970() -> u64 {
    u64::try_from(clock_gettime(ClockId::RealtimeCoarse).tv_sec).unwrap_or(0)
}

/// Whole seconds since 1970.
#[cfg(not(target_os = "linux"))]
pub fn second_since_1970() -> u64 {
    since_1970().as_secs()
}
