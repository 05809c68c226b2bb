//! How late it is for everything that is deleted for being old. One wrong reading of the wall clock must not delete anything,
//! so this clock is not set by the wall clock: it follows it, at most as fast as real time allows. Time is an argument here.

use std::time::Duration;

use presence::UnixSeconds;

/// The wall clock may be off by so much between two readings without having jumped: time servers speed clocks up and slow
/// them down.
const JUMP_MIN: Duration = Duration::from_secs(5);

/// A wall clock that has not jumped for so long is trusted: retention then catches up with it. A clock that was wrong for a
/// shorter time has no effect.
const STEADY_AFTER: Duration = Duration::from_secs(3_600);

/// How fast retention catches up with a trusted wall clock that is ahead, for example after the service was stopped for days:
/// two hours expire in one hour.
const CATCH_UP_SPEED: u32 = 2;

/// 2026-01-01. A wall clock before this program was written is wrong.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// Both clocks of the machine, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Since 1970, by the clock that people and time servers set.
    pub wall: Duration,
    /// Since any fixed moment, by the clock that nobody sets.
    pub monotonic: Duration,
}

/// The wall clock moved without time passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    Ahead(Duration),
    Back(Duration),
}

/// Says what is old enough to be deleted.
///
/// Retention time advances with the monotonic clock and never passes the wall clock. It starts from the value that the store
/// holds. While the wall clock is ahead of it and steady for [`STEADY_AFTER`], it advances at [`CATCH_UP_SPEED`]; while the wall
/// clock is behind it, it stands still, and once that one is steady it is set back. Without a value in the store it begins with
/// the wall clock, once that is steady.
///
/// So a wall clock that is wrong for `t` deletes nothing early if `t` is below an hour, and otherwise at most what `t` would have
/// made old anyway.
#[derive(Debug, Default)]
pub struct RetentionClock {
    /// Since 1970; `None`: not known yet, nothing is old.
    time: Option<Duration>,
    last: Option<ClockReading>,
    /// For how long the wall clock has not jumped.
    steady_for: Duration,
}

impl RetentionClock {
    /// Takes a reading of both clocks; returns by how much the wall clock has jumped since the one before.
    pub fn advance(&mut self, reading: ClockReading) -> Option<Jump> {
        let before = self.last.replace(reading).unwrap_or(reading);
        let elapsed = reading.monotonic.saturating_sub(before.monotonic);
        let jump = jump(before.wall + elapsed, reading.wall);
        self.steady_for = if jump.is_some() { Duration::ZERO } else { self.steady_for + elapsed };
        let is_trusted = self.steady_for >= STEADY_AFTER && reading.wall >= EARLIEST;
        self.time = match (self.time, is_trusted) {
            (None, false) => None,
            (None, true) => Some(reading.wall),
            (Some(time), true) => Some(reading.wall.min(time + elapsed * CATCH_UP_SPEED)),
            (Some(time), false) => Some(time.max(reading.wall.min(time + elapsed))),
        };
        jump
    }

    /// Takes over the retention time that the store holds, from before a restart or from another instance, if it is later.
    pub fn resume(&mut self, stored: UnixSeconds) {
        let stored = Duration::from_secs(stored.0.into());
        let is_trusted = self.steady_for >= STEADY_AFTER;
        // A trusted wall clock that is behind what another instance says has just set this clock back.
        if !is_trusted || self.last.is_none_or(|last| stored <= last.wall) {
            self.time = self.time.max(Some(stored));
        }
    }

    /// What the store should hold.
    pub fn time(&self) -> Option<UnixSeconds> {
        self.time.map(seconds)
    }

    /// By how much the wall clock is ahead: so much longer than asked for is everything kept at present.
    pub fn lag(&self) -> Duration {
        match (self.time, self.last) {
            (Some(time), Some(last)) => last.wall.saturating_sub(time),
            (None, _) | (_, None) => Duration::ZERO,
        }
    }

    /// What was heard before that moment is older than `age`; `None`: nothing is known to be.
    pub fn expiry(&self, age: Duration) -> Option<Duration> {
        Some(self.time?.min(self.last?.wall).saturating_sub(age))
    }

    /// When an event was heard that a wall clock has dated: not before it happened, as far as it can have happened by now. A
    /// machine that starts in 1970 would else hear events that are too old to be kept once its clock is set.
    pub fn received_at(&self, dated: UnixSeconds, happened_nanos: Option<i64>) -> UnixSeconds {
        let latest = match self.time {
            Some(time) => seconds(time).0,
            None if Duration::from_secs(dated.0.into()) < EARLIEST => u32::MAX,
            None => return dated,
        };
        let happened = match happened_nanos {
            Some(nanos) => u32::try_from(nanos.max(0) / 1_000_000_000).unwrap_or(u32::MAX),
            None => self.time.map_or(0, |time| seconds(time).0),
        };
        UnixSeconds(dated.0.max(happened.min(latest)))
    }
}

fn seconds(since_1970: Duration) -> UnixSeconds {
    UnixSeconds(u32::try_from(since_1970.as_secs()).unwrap_or(u32::MAX))
}

fn jump(expected: Duration, found: Duration) -> Option<Jump> {
    let (ahead, back) = (found.saturating_sub(expected), expected.saturating_sub(found));
    if ahead > JUMP_MIN {
        Some(Jump::Ahead(ahead))
    } else if back > JUMP_MIN {
        Some(Jump::Back(back))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-28.
    const NOW: u64 = 1_795_824_000;
    const HOUR: u64 = 3_600;
    const DAY: u64 = 24 * HOUR;
    /// Between two readings.
    const STEP: u64 = 10;

    /// A machine: real time passes, and its wall clock is off by some seconds.
    struct Machine {
        clock: RetentionClock,
        now: u64,
        off: i64,
        jumps: usize,
    }

    impl Machine {
        fn start(stored: Option<u64>, off: i64) -> Self {
            let mut machine = Self { clock: RetentionClock::default(), now: NOW, off, jumps: 0 };
            machine.read();
            if let Some(stored) = stored {
                machine.clock.resume(UnixSeconds(stored as u32));
            }
            machine
        }

        fn read(&mut self) {
            let wall = Duration::from_secs(self.now.saturating_add_signed(self.off));
            let monotonic = Duration::from_secs(self.now - NOW + 7);
            self.jumps += usize::from(self.clock.advance(ClockReading { wall, monotonic }).is_some());
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds / STEP {
                self.now += STEP;
                self.read();
            }
        }

        fn runs_with(&mut self, off: i64, seconds: u64) {
            self.off = off;
            self.run(seconds);
        }

        /// How far retention time is ahead of real time.
        fn ahead(&self) -> Option<i64> {
            Some(i64::from(self.clock.time()?.0) - self.now as i64)
        }

        fn old_before(&self, age: u64) -> Option<u64> {
            Some(self.clock.expiry(Duration::from_secs(age))?.as_secs())
        }
    }

    #[test]
    fn with_a_clock_that_is_right_retention_time_is_the_time() {
        let mut machine = Machine::start(Some(NOW), 0);
        machine.run(3 * DAY);
        assert_eq!((machine.ahead(), machine.jumps), (Some(0), 0));
        assert_eq!(machine.old_before(45 * DAY), Some(NOW - 42 * DAY));
        assert_eq!(machine.clock.lag(), Duration::ZERO);
    }

    #[test]
    fn a_jump_ahead_for_less_than_an_hour_makes_nothing_old() {
        for days in [1, 50, 3_650] {
            let mut machine = Machine::start(Some(NOW), 0);
            machine.run(2 * HOUR);
            machine.runs_with(days * DAY as i64, 50 * 60);
            assert_eq!(machine.ahead(), Some(0));
            assert_eq!(machine.old_before(DAY), Some(machine.now - DAY));
            machine.runs_with(0, HOUR);
            assert_eq!((machine.ahead(), machine.jumps), (Some(0), 2));
        }
    }

    #[test]
    fn a_clock_that_stays_ahead_makes_no_more_old_than_the_time_it_was() {
        let mut machine = Machine::start(Some(NOW), 0);
        machine.runs_with(3_650 * DAY as i64, 11 * HOUR);
        assert_eq!(machine.ahead(), Some(10 * HOUR as i64));
        // Once it is right and trusted, retention is right again.
        machine.runs_with(0, HOUR + STEP);
        assert_eq!(machine.ahead(), Some(0));
    }

    #[test]
    fn a_jump_back_makes_nothing_old_and_is_caught_up() {
        let mut machine = Machine::start(Some(NOW), 0);
        machine.run(2 * HOUR);
        let before = machine.old_before(45 * DAY);
        machine.runs_with(-(20_000 * DAY as i64), 3 * HOUR);
        assert!(machine.old_before(45 * DAY) < before);
        assert_eq!(machine.ahead(), Some(-3 * HOUR as i64), "it stands still");
        machine.runs_with(0, 4 * HOUR);
        assert_eq!(machine.ahead(), Some(0));
    }

    #[test]
    fn a_start_with_a_wrong_clock_continues_from_the_stored_time() {
        for off in [50 * DAY as i64, 3_650 * DAY as i64, -20_000 * DAY as i64] {
            let mut machine = Machine::start(Some(NOW - DAY), off);
            machine.run(HOUR / 2);
            assert!(machine.ahead().unwrap() <= -(DAY as i64), "the day of the stop is not made up for");
            machine.runs_with(0, HOUR + 2 * DAY);
            assert_eq!(machine.ahead(), Some(0));
        }
    }

    #[test]
    fn a_store_without_a_retention_time_gets_one_from_a_steady_clock() {
        for off in [0, 3_650 * DAY as i64, -20_000 * DAY as i64] {
            let mut machine = Machine::start(None, off);
            machine.run(HOUR - STEP);
            assert_eq!(machine.old_before(0), None);
            machine.runs_with(0, HOUR + STEP);
            assert_eq!(machine.ahead(), Some(0));
        }
        let mut machine = Machine::start(None, -20_000 * DAY as i64);
        machine.run(DAY);
        assert_eq!(machine.clock.time(), None, "1972 is no time to trust");
    }

    #[test]
    fn several_instances_do_not_drive_each_other_ahead() {
        let (mut one, mut other) = (Machine::start(Some(NOW), 0), Machine::start(Some(NOW), 50 * DAY as i64));
        let mut stored = NOW as u32;
        for _ in 0..HOUR / STEP - 1 {
            for machine in [&mut one, &mut other] {
                machine.run(STEP);
                machine.clock.resume(UnixSeconds(stored));
                stored = machine.clock.time().unwrap().0;
            }
        }
        assert_eq!((one.ahead(), other.ahead()), (Some(0), Some(0)));
    }

    #[test]
    fn an_event_is_received_between_its_own_time_and_now() {
        let nanos = |seconds: u64| Some(seconds as i64 * 1_000_000_000);
        let machine = Machine::start(Some(NOW), 0);
        let received =
            |dated, happened| u64::from(machine.clock.received_at(UnixSeconds(dated as u32), happened).0);
        assert_eq!(received(NOW, nanos(NOW - 5)), NOW);
        assert_eq!(received(NOW, nanos(NOW + DAY)), NOW, "a message of the future");
        assert_eq!(received(77, nanos(NOW - 5)), NOW - 5);
        assert_eq!(received(77, nanos(NOW + DAY)), NOW);
        assert_eq!(received(77, None), NOW);
        assert_eq!(received(NOW + DAY, nanos(NOW)), NOW + DAY, "kept a day longer");
        let fresh = Machine::start(None, 0);
        assert_eq!(fresh.clock.received_at(UnixSeconds(77), nanos(NOW)), UnixSeconds(NOW as u32));
        assert_eq!(fresh.clock.received_at(UnixSeconds(NOW as u32), nanos(2 * NOW)), UnixSeconds(NOW as u32));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        /// Whatever the wall clock shows, however often it jumps: as long as it shows the same wrong time for less than an hour,
        /// retention time is never later than the real time, and it is right again once the clock is.
        #[test]
        fn no_wrong_clock_makes_anything_old_too_early(
            downtime in 0..10 * DAY,
            off_at_start in -30_000_i64..30_000,
            episodes in prop::collection::vec((-30_000_i64..30_000, 1..360_u64, any::<bool>()), 0..30),
        ) {
            let off = |hours: i64| hours * HOUR as i64;
            let mut machine = Machine::start(Some(NOW - downtime), off(off_at_start));
            for (hours, steps, is_right) in episodes {
                // Two in succession with the same error would be one.
                machine.runs_with(if is_right { 0 } else { off(hours) + steps as i64 * 60 }, (steps - 1) * STEP);
                prop_assert!(machine.ahead().unwrap() <= 0, "{:?}", machine.ahead());
            }
            let behind = machine.ahead().unwrap().unsigned_abs();
            machine.runs_with(0, behind + HOUR + 2 * STEP);
            prop_assert_eq!(machine.ahead(), Some(0));
        }
    }
}
