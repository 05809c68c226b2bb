//! How long to wait before the next try: longer each time up to a limit, and never the same for two instances.

use std::time::Duration;

use rand::RngExt;

/// The first wait: a broker that restarts is back within seconds.
const FIRST: Duration = Duration::from_millis(250);
/// The longest wait: an operator who has mended the broker should not wait longer than this.
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles from the first wait to the longest, [`FIRST`] and [`LONGEST`] unless said otherwise; between half and all of each is
/// taken, so that a thousand instances do not come back in the same instant.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoff {
    /// With another longest wait.
    pub fn up_to(longest: Duration) -> Self {
        Self::between(FIRST.min(longest), longest)
    }

    /// With another first and another longest wait.
    pub fn between(first: Duration, longest: Duration) -> Self {
        Self { first, next: first, longest }
    }

    /// How long to wait now.
    pub fn wait(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(self.longest);
        wait
    }

    /// After a success: begin with the first wait again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_start_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.wait() <= FIRST);
        let longest = (0..20).map(|_| backoff.wait()).max().unwrap();
        assert!(longest <= LONGEST && longest >= LONGEST / 2);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
