//! `[[silence]]` and `[[window]]`: when nothing is announced.

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::super::refusal::ConfigError;
use super::super::table_keys::TableKeys;
use super::super::value;
use super::{SECOND, selector};
use alerts::{MaintenanceWindow, Rule, Schedule, Silence, WINDOW_MAX, WallMillis, WallSpan};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// `rules` are those that it may be about.
pub(super) fn silence(keys: &TableKeys<'_>, rules: &[Rule]) -> Result<Silence, ConfigError> {
    let span = span(keys)?;
    let rule = |name: &str| rules.iter().find(|rule| *rule.name == *name).map(|rule| rule.name.clone());
    Ok(Silence {
        rules: keys.list("rules", "a list of names of [[rule]] tables of this file", rule)?,
        selector: keys.selector(selector)?,
        span,
        author: keys.text("author", value::any_text)?.unwrap_or_default(),
        comment: keys.text("comment", value::any_text)?.unwrap_or_default(),
    })
}

pub(super) fn window(keys: &TableKeys<'_>) -> Result<MaintenanceWindow, ConfigError> {
    let name = keys.required("name", value::not_empty)?;
    let schedule = match keys.text("start", value::parsed("a time of the day, like \"02:00\""))? {
        Some(start) => weekly(keys, start)?,
        None => Schedule::Once(span(keys)?),
    };
    Ok(MaintenanceWindow { name, selector: keys.selector(selector)?, schedule })
}

fn weekly(keys: &TableKeys<'_>, start: Time) -> Result<Schedule, ConfigError> {
    let words = DAYS.map(|(word, _)| word).join(", ");
    let day = |word: &str| DAYS.into_iter().find(|(known, _)| *known == word).map(|(_, day)| day);
    let mut days = keys.list("days", &format!("a list of {words}"), day)?;
    if days.is_empty() {
        days = DAYS.map(|(_, day)| day).to_vec();
    }
    let durations = value::period_in(SECOND..=WINDOW_MAX, "a time from 1s to 24h, like \"2h\"");
    let duration = keys.required("duration", durations)?;
    let expected = "a time zone by its IANA name, like \"Europe/Berlin\" or \"UTC\"";
    let zone = keys.required("zone", value::read_by(|name| TimeZone::get(name).ok(), expected))?;
    Ok(Schedule::Weekly { days, start, duration, zone })
}

/// From when until when, with the offset from UTC.
fn span(keys: &TableKeys<'_>) -> Result<WallSpan, ConfigError> {
    let expected = "a time with its offset, like 2026-12-01T08:00:00Z";
    let moment = |key| {
        let moment = keys.optional(key, expected, |value| {
            let moment = match value {
                DeValue::Datetime(moment) => moment.to_string().parse::<Timestamp>(),
                value => value.as_str()?.parse(),
            };
            moment.ok().map(|moment| WallMillis(moment.as_millisecond()))
        })?;
        moment.ok_or_else(|| keys.missing(key, expected))
    };
    let (from, until) = (moment("from")?, moment("until")?);
    if until <= from {
        Err(keys.unfit("until", "a time after that of from"))
    } else {
        Ok(WallSpan { from, until })
    }
}
