//! The times that a caller gives: one that only passes, for durations, and one of the calendar, for people and schedules.

use std::time::Duration;

/// A time of the calendar: milliseconds since 1970. The machine's clock may be wrong or jump, so no duration is measured by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMillis(pub i64);

/// A time of the calendar from its beginning until before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallSpan {
    pub from: WallMillis,
    pub until: WallMillis,
}

impl WallSpan {
    pub(crate) fn contains(self, at: WallMillis) -> bool {
        self.from <= at && at < self.until
    }
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never jumps; where it begins does not matter.
    pub ticks: u64,
    pub wall: WallMillis,
}

impl Now {
    /// Both clocks advance together, as in a replay of stored events.
    pub fn at_wall(wall: WallMillis) -> Self {
        Self { ticks: u64::try_from(wall.0).unwrap_or(0), wall }
    }

    /// The same clocks, later.
    #[must_use]
    pub fn later(self, by: Duration) -> Self {
        let by = millis(by);
        let wall = WallMillis(self.wall.0.saturating_add(i64::try_from(by).unwrap_or(i64::MAX)));
        Self { ticks: self.ticks.saturating_add(by), wall }
    }
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
