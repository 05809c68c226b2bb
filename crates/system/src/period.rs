//! A length of time as settings, requests and answers write it: a whole number and its unit, as in `90s`, `5m`, `24h` or `7d`. No time
//! at all needs no unit.

use std::time::Duration;

/// The units with their seconds, the largest first.
const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// Reads a time; its number is written as nothing but digits.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (digits, seconds) =
        UNITS.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// Writes whole seconds in the largest unit that divides them.
pub fn text(period: Duration) -> String {
    let seconds = period.as_secs();
    let fits = |(_, length): &(&str, u64)| seconds > 0 && seconds.is_multiple_of(*length);
    let (unit, length) = UNITS.into_iter().find(fits).unwrap_or(("s", 1));
    format!("{}{unit}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_written_in_its_largest_unit_and_read_back() {
        for (seconds, written) in
            [(0, "0s"), (90, "90s"), (300, "5m"), (3_600, "1h"), (5_400, "90m"), (172_800, "2d")]
        {
            let period = Duration::from_secs(seconds);
            assert_eq!((&*text(period), parse(written)), (written, Some(period)));
        }
        assert_eq!(parse("0"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_number_and_unit_is_no_period() {
        for text in ["", "s", "5", "00", "-1s", "+1s", "1.5s", "5 s", "5min", "99999999999999999999h", "5é"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("{}d", u64::MAX)), None);
    }
}
