//! Waiting for conditions, with a bound.

use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails: generous, because the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two looks at a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Looks again and again until `look` gives a value; `None` when it still gives none after `bound`.
pub fn poll<T>(bound: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + bound;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(POLL_INTERVAL);
    }
}

/// Gives the processor away: between two looks at a condition, or because a test asked for a slow link. Nothing waits for
/// something to happen by this alone.
#[expect(
    clippy::disallowed_methods,
    reason = "the one sleep of the rig; every wait is for a condition with a bound"
)]
pub fn pause(interval: Duration) {
    std::thread::sleep(interval);
}

/// Waits until `condition` holds, or panics with `what` was waited for.
pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let held = poll(PATIENCE, || condition().then_some(()));
    assert!(held.is_some(), "waited {PATIENCE:?} in vain until {what}");
}
