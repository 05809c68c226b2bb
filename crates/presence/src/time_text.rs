//! How a time is written: RFC 3339 in UTC, `2026-11-23T17:00:01.186Z`. What the time is of is not known here.
//!
//! Done by hand, because times are most of what an answer has to write: a device shows four, a page of a hundred devices
//! four hundred. The calendar arithmetic is that of Howard Hinnant's `civil_from_days`; the tests compare it with jiff.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use serde::{Serialize, Serializer};

/// A time as text, held in place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeText {
    bytes: [u8; LEN],
    len: usize,
}

/// With milliseconds.
pub const LEN: usize = 24;
const DATE_LEN: usize = 10;
/// In whole seconds.
const SECONDS_LEN: usize = 20;

/// Digits and what is between them.
const FORM: &[u8; LEN] = b"0000-00-00T00:00:00.000Z";

const MILLIS_PER_DAY: i64 = 86_400_000;
/// From 1 March of the year 0 to 1 January 1970.
const DAYS_BEFORE_1970: i64 = 719_468;

impl TimeText {
    /// Of milliseconds since 1970, for the years 1 to 9999.
    pub fn of_millis(millis: i64) -> Self {
        Self { bytes: written(millis), len: LEN }
    }

    /// Of seconds since 1970, without a fraction.
    pub fn of_seconds(seconds: u32) -> Self {
        let mut bytes = written(i64::from(seconds) * 1_000);
        bytes[SECONDS_LEN - 1] = b'Z';
        Self { bytes, len: SECONDS_LEN }
    }

    /// Milliseconds since 1970, if the text is one that [`TimeText::of_millis`] writes for a year from 1970 on.
    pub fn millis_of(text: &[u8; LEN]) -> Option<u64> {
        let number = |from: usize, to: usize| {
            text[from..to].iter().fold(0, |number, digit| number * 10 + u64::from(digit.wrapping_sub(b'0')))
        };
        let has_form = FORM.iter().zip(text).fold(true, |has_form, (form, byte)| {
            has_form & if *form == b'0' { byte.is_ascii_digit() } else { byte == form }
        });
        let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
        let (hour, minute, second) = (number(11, 13), number(14, 16), number(17, 19));
        let is_time = hour <= 23 && minute <= 59 && second <= 59;
        if !has_form || !is_time || year < 1970 || day == 0 || day > days_of_month(year, month) {
            return None;
        }
        // The opposite of `written`.
        let year_from_march = year - u64::from(month <= 2);
        let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - DAYS_BEFORE_1970 as u64 - 1;
        let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
        Some(seconds * 1_000 + number(20, 23))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Of a month that there is not: none.
fn days_of_month(year: u64, month: u64) -> u64 {
    let is_leap_year = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(is_leap_year),
        _ => 0,
    }
}

fn written(millis: i64) -> [u8; LEN] {
    let (days, of_day) = (millis.div_euclid(MILLIS_PER_DAY), millis.rem_euclid(MILLIS_PER_DAY) as u32);
    let mut text = *FORM;
    text[..DATE_LEN].copy_from_slice(&date(days));
    let (second, millis) = (of_day / 1_000, of_day % 1_000);
    let (minute, hour) = (second / 60, second / 3_600);
    put_pair(&mut text, 11, hour);
    put_pair(&mut text, 14, minute % 60);
    put_pair(&mut text, 17, second % 60);
    put_pair(&mut text, 20, millis / 10);
    text[22] = b'0' + (millis % 10) as u8;
    text
}

thread_local! {
    /// The date that was written last: nearly all times of an answer are of a few days.
    static LAST_DATE: Cell<(i64, [u8; DATE_LEN])> = const { Cell::new((0, *b"1970-01-01")) };
}

/// The date, of days since 1970.
fn date(days: i64) -> [u8; DATE_LEN] {
    let (last, text) = LAST_DATE.get();
    if last == days {
        return text;
    }
    let text = new_date(days);
    LAST_DATE.set((days, text));
    text
}

fn new_date(days: i64) -> [u8; DATE_LEN] {
    // Days are counted from 1 March, so that a leap day ends its year; eras have 400 years.
    let days = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097) as u32);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    // Wraps where four digits are not enough.
    let year = (era * 400 + i64::from(year_of_era) + i64::from(month <= 2)).rem_euclid(10_000) as u32;
    let mut text = *b"0000-00-00";
    put_pair(&mut text, 0, year / 100);
    put_pair(&mut text, 2, year % 100);
    put_pair(&mut text, 5, month);
    put_pair(&mut text, 8, day);
    text
}

/// A number below a hundred.
fn put_pair(text: &mut [u8], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

impl Deref for TimeText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("digits and signs are ASCII")
    }
}

impl AsRef<str> for TimeText {
    fn as_ref(&self) -> &str {
        self
    }
}

impl fmt::Display for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for TimeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for TimeText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_is_written_as_jiff_writes_it(millis in -62_135_596_800_000i64..253_402_207_200_000) {
            let timestamp = Timestamp::from_millisecond(millis).unwrap();
            prop_assert_eq!(&*TimeText::of_millis(millis), format!("{timestamp:.3}"));
        }

        #[test]
        fn a_time_is_read_if_it_is_written_so(millis in 0u64..253_402_300_800_000, at in 0..LEN, byte: u8) {
            let mut text = written(millis.cast_signed());
            prop_assert_eq!(TimeText::millis_of(&text), Some(millis));
            text[at] = byte;
            if let Some(millis) = TimeText::millis_of(&text) {
                prop_assert_eq!(written(millis.cast_signed()), text);
            }
        }

        #[test]
        fn a_text_is_a_time_if_it_is_written_so(
            year in 1900u32..2200,
            (month, day) in (0u32..14, 0u32..33),
            (hour, minute, second) in (0u32..26, 0u32..62, 0u32..62),
            millis in 0u32..1_000,
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z");
            let read = TimeText::millis_of(text.as_bytes().try_into().unwrap());
            // A leap second is read by jiff, and no time is written so.
            let theirs = text.parse::<Timestamp>().ok().filter(|_| second < 60 && year >= 1970);
            prop_assert_eq!(read, theirs.and_then(|time| u64::try_from(time.as_millisecond()).ok()));
        }

        #[test]
        fn whole_seconds_are_written_as_jiff_writes_them(seconds: u32) {
            let timestamp = Timestamp::from_second(seconds.into()).unwrap();
            prop_assert_eq!(&*TimeText::of_seconds(seconds), timestamp.to_string());
        }
    }

    #[test]
    fn leap_days_and_turns_of_years_are_right() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (1_795_453_201_186, "2026-11-23T17:00:01.186Z"),
        ] {
            assert_eq!(&*TimeText::of_millis(millis), text);
            assert_eq!(TimeText::millis_of(text.as_bytes().try_into().unwrap()), u64::try_from(millis).ok());
        }
        for text in [
            "2026-02-30T00:00:00.000Z",
            "2026-11-23T23:59:60.000Z",
            "2026-11-23T24:00:00.000Z",
            "2026-00-01T00:00:00.000Z",
        ] {
            assert_eq!(TimeText::millis_of(text.as_bytes().try_into().unwrap()), None, "{text}");
        }
    }
}
