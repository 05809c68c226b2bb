//! Times as devices, gateways and brokers write them. A form that is not listed in `docs/api.md` gives `None`: a time is
//! understood exactly or not at all.

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use presence::time_text::TimeText;

/// No form that is understood is longer.
pub const TEXT_MAX_BYTES: usize = 48;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const NANOS_PER_MILLI: i128 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Nanoseconds since 1970 of a date with its time of day, or of a count since 1970.
pub fn nanos(text: &str) -> Option<i128> {
    if text.len() > TEXT_MAX_BYTES {
        return None;
    }
    // As the platform writes it.
    let millis = text.as_bytes().try_into().ok().and_then(TimeText::millis_of);
    if let Some(millis) = millis {
        return Some(i128::from(millis) * NANOS_PER_MILLI);
    }
    calendar(text.as_bytes()).or_else(|| count(text))
}

/// Seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their number of digits: each has so many
/// from 2001 to 2262.
fn count(text: &str) -> Option<i128> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some((whole, fraction)) => (whole, fraction),
        None => (text, ""),
    };
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.starts_with('0') || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let unit_nanos = match whole.len() {
        10 => NANOS_PER_SECOND,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return None,
    };
    let whole: i128 = whole.parse().ok()?;
    Some(whole * unit_nanos + billionths(fraction.as_bytes()) * unit_nanos / NANOS_PER_SECOND)
}

/// The digits behind a point, as billionths; what is finer is cut off.
fn billionths(digits: &[u8]) -> i128 {
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
    padded.take(9).fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'))
}

/// ISO 8601 in its extended or basic form, with the freedoms of RFC 3339.
fn calendar(text: &[u8]) -> Option<i128> {
    let mut reader = TimeReader { rest: text };
    let year = reader.digits(4)?;
    let is_extended = reader.takes(b"-");
    let month = reader.digits(2)?;
    if is_extended && !reader.takes(b"-") {
        return None;
    }
    let day = reader.digits(2)?;
    if !reader.takes(b"Tt ") {
        return None;
    }
    let hour = reader.digits(2)?;
    if reader.takes(b":") != is_extended {
        return None;
    }
    let minute = reader.digits(2)?;
    let second = if !is_extended {
        reader.digits(2)
    } else if reader.takes(b":") {
        Some(reader.digits(2)?)
    } else {
        None
    };
    let fraction =
        if second.is_some() && reader.takes(b".,") { billionths(reader.some_digits()?) } else { 0 };
    let offset = reader.offset_seconds()?;
    let midnight = midnight(year, month, day)?;
    let local = i64::from(hour * 3_600 + minute * 60 + second.unwrap_or(0));
    let utc = midnight + local - offset;
    let is_end_of_day = hour == 24 && local == SECONDS_PER_DAY && fraction == 0;
    // A leap second has the number of the second after it, as in POSIX; there is none but before a midnight of UTC.
    let is_leap_second = second == Some(60) && utc.rem_euclid(SECONDS_PER_DAY) == 0;
    let is_time_of_day = hour <= 23 && minute <= 59 && (second.unwrap_or(0) <= 59 || is_leap_second);
    (is_time_of_day || is_end_of_day).then_some(i128::from(utc) * NANOS_PER_SECOND + fraction)
}

/// Seconds from 1970 to the beginning of a day in UTC.
fn midnight(year: u32, month: u32, day: u32) -> Option<i64> {
    let date = Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    Some(Offset::UTC.to_timestamp(date.to_datetime(Time::midnight())).ok()?.as_second())
}

struct TimeReader<'a> {
    rest: &'a [u8],
}

impl<'a> TimeReader<'a> {
    /// Exactly so many digits, or nothing is taken.
    fn digits(&mut self, number: usize) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(number)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.rest = rest;
        Some(digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
    }

    /// All digits that follow, at least one.
    fn some_digits(&mut self) -> Option<&'a [u8]> {
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!digits.is_empty()).then_some(digits)
    }

    /// Takes the next byte if it is one of these.
    fn takes(&mut self, bytes: &[u8]) -> bool {
        let found = self.rest.first().is_some_and(|first| bytes.contains(first));
        self.rest = &self.rest[usize::from(found)..];
        found
    }

    /// What follows the time of day, up to the end; UTC if nothing does.
    fn offset_seconds(&mut self) -> Option<i64> {
        if self.rest.len() > 1 {
            self.takes(b" ");
        }
        if matches!(self.rest, b"" | b"Z" | b"z" | b"UTC" | b"GMT") {
            return Some(0);
        }
        let is_west = self.rest[0] == b'-';
        if !self.takes(b"+-") {
            return None;
        }
        let hours = self.digits(2)?;
        let minutes = if self.takes(b":") || !self.rest.is_empty() { self.digits(2)? } else { 0 };
        if hours > 23 || minutes > 59 || !self.rest.is_empty() {
            return None;
        }
        let seconds = i64::from(hours * 3_600 + minutes * 60);
        Some(if is_west { -seconds } else { seconds })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_the_platform_writes_is_read_as_any_other_form(
            year in 1960u32..2600, month in 0u32..14, day in 0u32..33,
            hour in 0u32..26, minute in 0u32..62, second in 0u32..62, millis in 0u32..1_000,
        ) {
            let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z");
            prop_assert_eq!(nanos(&text), calendar(text.as_bytes()), "{}", text);
        }
    }
}
