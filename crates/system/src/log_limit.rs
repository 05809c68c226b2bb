//! A log line for something that may happen as often as it likes.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const INTERVAL: Duration = Duration::from_secs(60);

/// Lets one line through in a minute.
#[derive(Debug, Default)]
pub struct OnceAMinute(Mutex<LogWindow>);

#[derive(Debug, Default)]
struct LogWindow {
    next: Option<Instant>,
    times: u64,
}

impl OnceAMinute {
    /// If a line is due: how many times it has happened since the line before, this time included.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut seen = self.0.lock();
        seen.times += 1;
        if seen.next.is_some_and(|next| now < next) {
            return None;
        }
        seen.next = Some(now + INTERVAL);
        Some(std::mem::take(&mut seen.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_says_how_often_it_happened() {
        let (log, now) = (OnceAMinute::default(), Instant::now());
        assert_eq!([(); 3].map(|()| log.pass(now)), [Some(1), None, None]);
        let later = now + INTERVAL;
        assert_eq!([(); 2].map(|()| log.pass(later)), [Some(3), None]);
    }
}
