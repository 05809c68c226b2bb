//! What time it is for the deliveries, and how they wait. A test passes an hour in a moment with a clock of its own.

use std::time::Duration;

use futures_util::future::BoxFuture;

/// A clock that the workers of endpoints go by.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> i64;

    /// Milliseconds since the machine started: unlike the others they never step.
    fn since_boot_ms(&self) -> i64;

    /// Waits so long.
    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()>;
}

/// The clock of this machine.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        system::clock::now_millis()
    }

    fn since_boot_ms(&self) -> i64 {
        i64::try_from(system::clock::since_boot().as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}
