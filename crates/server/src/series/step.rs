//! How finely the series are kept, and for how long (pure).

use presence::UnixSeconds;

/// The length of the intervals of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    TenSeconds,
    Minute,
    Hour,
    Day,
}

impl Step {
    /// The finest first.
    pub const ALL: [Step; 4] = [Step::TenSeconds, Step::Minute, Step::Hour, Step::Day];

    pub fn seconds(self) -> u32 {
        match self {
            Step::TenSeconds => 10,
            Step::Minute => 60,
            Step::Hour => 3_600,
            Step::Day => 86_400,
        }
    }

    /// The word for it in requests.
    pub fn word(self) -> &'static str {
        match self {
            Step::TenSeconds => "10s",
            Step::Minute => "1m",
            Step::Hour => "1h",
            Step::Day => "1d",
        }
    }

    /// How many intervals are kept: 2 hours, 48 hours, 90 days and 2 years of them.
    pub fn rows_max(self) -> u32 {
        match self {
            Step::TenSeconds => 720,
            Step::Minute => 2_880,
            Step::Hour => 2_160,
            Step::Day => 731,
        }
    }

    /// For how long an interval is kept, in seconds.
    pub fn kept_seconds(self) -> u64 {
        u64::from(self.rows_max()) * u64::from(self.seconds())
    }

    /// The next coarser one.
    pub fn coarser(self) -> Option<Step> {
        match self {
            Step::TenSeconds => Some(Step::Minute),
            Step::Minute => Some(Step::Hour),
            Step::Hour => Some(Step::Day),
            Step::Day => None,
        }
    }

    /// The start of the interval that a moment is in.
    pub fn start_of(self, at: UnixSeconds) -> UnixSeconds {
        UnixSeconds(at.0 - at.0 % self.seconds())
    }
}
