//! Whole seconds by a wall clock. Which clock, and what time it is, is not known here.

use crate::time_text::TimeText;

/// Seconds since 1970 by this machine's clock; fits until 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixSeconds(pub u32);

impl UnixSeconds {
    /// RFC 3339 in UTC.
    pub fn rfc3339(self) -> TimeText {
        TimeText::of_seconds(self.0)
    }
}
