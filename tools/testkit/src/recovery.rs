//! Recovery times: how long it takes after faults until all answers are right. They are printed, not judged.

use std::fmt;
use std::time::{Duration, Instant};

/// All answers are to be right within this time.
const WANTED: Duration = Duration::from_secs(15);

/// The recovery times so far.
#[derive(Default)]
pub struct Recovery {
    times: Vec<Duration>,
    longest_after: String,
}

impl Recovery {
    /// Measures a recovery from these faults, which is over when `all_right` returns.
    pub fn lasts(&mut self, faults: &str, all_right: impl FnOnce()) {
        let began = Instant::now();
        all_right();
        let time = began.elapsed();
        if self.times.iter().all(|earlier| *earlier < time) {
            faults.clone_into(&mut self.longest_after);
        }
        self.times.push(time);
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut times = self.times.clone();
        times.sort_unstable();
        let (Some(longest), Some(median)) = (times.last(), times.get(times.len() / 2)) else {
            return f.write_str("no recovery");
        };
        let late = times.iter().filter(|time| **time > WANTED).count();
        write!(
            f,
            "{} recoveries: median {} ms, longest {} ms ({}), {late} longer than {} s",
            times.len(),
            median.as_millis(),
            longest.as_millis(),
            self.longest_after,
            WANTED.as_secs()
        )
    }
}
