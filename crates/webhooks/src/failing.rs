//! Since when every attempt to deliver to an endpoint has failed (pure). It is a wall-clock time, so that a restart goes on counting. A
//! wall clock that is set meanwhile, as after the start of a machine without a battery, does not count as time that has passed.

/// A step of the wall clock is at least so long; what is less may be the correction of a clock that runs fast or slow.
const STEP_MIN_MS: i64 = 60_000;

/// The two clocks at one moment, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct ClockReading {
    /// Since 1970. It may be set.
    pub wall_ms: i64,
    /// Since the machine started. It never steps.
    pub since_boot_ms: i64,
}

#[derive(Debug)]
pub struct FailingSince {
    since_ms: i64,
    looked_at: ClockReading,
}

impl FailingSince {
    pub fn begin(now: ClockReading) -> Self {
        Self { since_ms: now.wall_ms, looked_at: now }
    }

    /// As an earlier run has left it. A time that is still to come was read off a clock that was wrong.
    pub fn restored(since_ms: i64, now: ClockReading) -> Self {
        Self { since_ms: since_ms.min(now.wall_ms), looked_at: now }
    }

    /// In milliseconds since 1970, by the wall clock as it is set now.
    pub fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// For how many milliseconds it has failed by now.
    pub fn lasted_ms(&mut self, now: ClockReading) -> i64 {
        let passed_ms = |read: fn(&ClockReading) -> i64| read(&now).saturating_sub(read(&self.looked_at));
        let step_ms = passed_ms(|clock| clock.wall_ms).saturating_sub(passed_ms(|clock| clock.since_boot_ms));
        if step_ms.saturating_abs() >= STEP_MIN_MS {
            self.since_ms = self.since_ms.saturating_add(step_ms);
        }
        self.looked_at = now;
        now.wall_ms.saturating_sub(self.since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: i64, since_boot_ms: i64) -> ClockReading {
        ClockReading { wall_ms, since_boot_ms }
    }

    #[test]
    fn time_counts_that_has_passed_and_no_step_of_the_clock() {
        const DAY: i64 = 86_400_000;
        let mut failing = FailingSince::begin(at(1_000, 0));
        assert_eq!(failing.lasted_ms(at(1_000 + DAY, DAY)), DAY);
        assert_eq!(failing.lasted_ms(at(1_500 + DAY, DAY)), DAY + 500, "a clock that is corrected a little");
        assert_eq!(failing.lasted_ms(at(9 * DAY, DAY + 1_000)), DAY + 1_500, "set forward");
        assert_eq!(failing.lasted_ms(at(0, DAY + 2_000)), DAY + 2_500, "set back");
        let mut restored = FailingSince::restored(-DAY, at(DAY, 7));
        assert_eq!((restored.since_ms(), restored.lasted_ms(at(DAY, 7))), (-DAY, 2 * DAY));
        let mut ahead = FailingSince::restored(9 * DAY, at(DAY, 7));
        assert_eq!(ahead.lasted_ms(at(DAY + 5, 12)), 5);
    }
}
