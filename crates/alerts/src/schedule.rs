//! Silences and maintenance windows: when nothing is announced, by the calendar. Zones come from the database that is built in.

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use presence::query::Filter;

use crate::clock::{WallMillis, WallSpan, millis};

/// The longest window that repeats, so that it is known which days can have begun one that lasts now.
pub const WINDOW_MAX: Duration = Duration::from_secs(24 * 3_600);

/// A time in which nothing is announced about some devices, once.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    pub selector: Filter,
    /// Of these rules; empty: of all.
    pub rules: Vec<Arc<str>>,
    pub span: WallSpan,
    pub author: String,
    pub comment: String,
}

/// Times in which devices may be away.
#[derive(Clone, Debug, PartialEq)]
pub struct MaintenanceWindow {
    pub name: String,
    pub selector: Filter,
    pub schedule: Schedule,
}

/// When a window is open.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    Once(WallSpan),
    /// On these days, from a time of the zone's clock on, for so long. A start that a clock change skips is as much later; of
    /// one that comes twice, the first counts. The duration is of real time.
    Weekly {
        days: Vec<Weekday>,
        start: Time,
        duration: Duration,
        zone: TimeZone,
    },
}

impl Schedule {
    /// Whether the window is open.
    pub fn is_open(&self, at: WallMillis) -> bool {
        match self {
            Schedule::Once(span) => span.contains(at),
            Schedule::Weekly { days, start, duration, zone } => {
                let Ok(now) = Timestamp::from_millisecond(at.0) else { return false };
                let today = now.to_zoned_datetime(zone.clone()).date();
                // A window of a day that a clock change made late may have begun the day before yesterday.
                (0..=2).any(|days_ago| {
                    let Ok(day) = today.checked_sub(Span::new().days(days_ago)) else { return false };
                    let begins = start.to_datetime(day).to_zoned_datetime(zone.clone());
                    days.contains(&day.weekday())
                        && begins.is_ok_and(|begins| {
                            let passed = at.0.saturating_sub(begins.timestamp().as_millisecond());
                            u64::try_from(passed).is_ok_and(|passed| passed < millis(*duration))
                        })
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil;

    use super::*;

    fn wall(text: &str) -> WallMillis {
        WallMillis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn nightly(days: &[Weekday], start: Time, hours: u64) -> Schedule {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        Schedule::Weekly { days: days.to_vec(), start, duration: Duration::from_secs(hours * 3_600), zone }
    }

    /// The first and the last minute in which it is open, and how many are between.
    fn open_minutes(schedule: &Schedule, from: &str, hours: i64) -> (String, String, usize) {
        let from = wall(from).0;
        let minutes = (0..hours * 60).map(|minute| from + minute * 60_000);
        let open: Vec<_> = minutes.filter(|at| schedule.is_open(WallMillis(*at))).collect();
        let text = |at: &i64| Timestamp::from_millisecond(*at).unwrap().to_string();
        (text(open.first().unwrap()), text(open.last().unwrap()), open.len())
    }

    #[test]
    fn a_window_follows_its_zone_across_both_clock_changes() {
        let all = [Weekday::Saturday, Weekday::Sunday, Weekday::Monday];
        let at_one = nightly(&all[1..2], civil::time(1, 0, 0, 0), 4);
        let expected = |one: &str, other: &str, minutes| (one.to_owned(), other.to_owned(), minutes);
        // 29 March 2026: 02:00 becomes 03:00. 25 October: 03:00 becomes 02:00. The window lasts four hours of real time.
        assert_eq!(
            open_minutes(&at_one, "2026-03-28T12:00:00Z", 36),
            expected("2026-03-29T00:00:00Z", "2026-03-29T03:59:00Z", 240)
        );
        assert_eq!(
            open_minutes(&at_one, "2026-10-24T12:00:00Z", 36),
            expected("2026-10-24T23:00:00Z", "2026-10-25T02:59:00Z", 240)
        );
        // An ordinary Sunday of the summer and of the winter.
        assert_eq!(open_minutes(&at_one, "2026-07-04T12:00:00Z", 36).0, "2026-07-04T23:00:00Z");
        assert_eq!(open_minutes(&at_one, "2026-12-05T12:00:00Z", 36).0, "2026-12-06T00:00:00Z");
        // 02:30 does not exist in spring: an hour later by the clock. In autumn it comes twice: the first time.
        let at_half_past_two = nightly(&all[1..2], civil::time(2, 30, 0, 0), 1);
        assert_eq!(
            open_minutes(&at_half_past_two, "2026-03-28T12:00:00Z", 36),
            expected("2026-03-29T01:30:00Z", "2026-03-29T02:29:00Z", 60)
        );
        assert_eq!(
            open_minutes(&at_half_past_two, "2026-10-24T12:00:00Z", 36),
            expected("2026-10-25T00:30:00Z", "2026-10-25T01:29:00Z", 60)
        );
    }

    #[test]
    fn a_zone_that_changes_by_half_an_hour_is_followed() {
        // On Lord Howe Island 02:00 becomes 02:30 on 4 October 2026, and 01:30 again on 5 April.
        let zone = TimeZone::get("Australia/Lord_Howe").unwrap();
        let (days, start) = (vec![Weekday::Sunday], civil::time(2, 15, 0, 0));
        let at = Schedule::Weekly { days, start, duration: Duration::from_secs(3_600), zone };
        for (from, begins) in [
            ("2026-10-03T00:00:00Z", "2026-10-03T15:45:00Z"),
            ("2026-04-04T00:00:00Z", "2026-04-04T15:45:00Z"),
        ] {
            let (first, _, minutes) = open_minutes(&at, from, 36);
            assert_eq!((&*first, minutes), (begins, 60));
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_on_which_it_begins() {
        let late = nightly(&[Weekday::Saturday], civil::time(23, 0, 0, 0), 3);
        assert_eq!(
            open_minutes(&late, "2026-06-05T00:00:00Z", 96),
            ("2026-06-06T21:00:00Z".to_owned(), "2026-06-06T23:59:00Z".to_owned(), 180)
        );
        let all_day = nightly(&[Weekday::Saturday], civil::time(0, 0, 0, 0), 24);
        assert_eq!(open_minutes(&all_day, "2026-06-05T00:00:00Z", 96).2, 24 * 60);
    }

    #[test]
    fn a_window_that_is_once_is_open_from_its_beginning_until_before_its_end() {
        let once = Schedule::Once(WallSpan { from: WallMillis(10), until: WallMillis(20) });
        assert_eq!([9, 10, 19, 20].map(|at| once.is_open(WallMillis(at))), [false, true, true, false]);
    }
}
