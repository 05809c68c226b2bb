//! `[[silence]]` and `[[window]]`: when nothing is announced.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::super::refusal::ConfigError;
use super::super::table_keys::TableKeys;
use super::{SECOND, selector};
use alerts::{MaintenanceWindow, Schedule, Silence, WINDOW_MAX, WallMillis, WallSpan};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// `rules` are the names that it may have.
pub(super) fn silence(keys: &TableKeys<'_>, rules: &BTreeSet<Arc<str>>) -> Result<Silence, ConfigError> {
    let span = span(keys)?;
    let rule = |name: &str| rules.get(name).cloned();
    let named = keys.list("rules", "a list of names of [[rule]] tables of this file", rule)?;
    let text = |key| Ok(keys.text(key)?.unwrap_or_default().to_owned());
    let silence = Silence {
        selector: selector(keys, "silence.selector")?,
        rules: named.unwrap_or_default(),
        span,
        author: text("author")?,
        comment: text("comment")?,
    };
    keys.refuse_others()?;
    Ok(silence)
}

pub(super) fn window(keys: &TableKeys<'_>) -> Result<MaintenanceWindow, ConfigError> {
    let name = keys.required("name", "a text that is not empty", |value| {
        value.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
    })?;
    let start = keys.optional("start", "a time of the day, like \"02:00\"", |value| {
        value.as_str()?.parse::<Time>().ok()
    })?;
    let schedule = match start {
        Some(start) => weekly(keys, start)?,
        None => Schedule::Once(span(keys)?),
    };
    let window = MaintenanceWindow { name, selector: selector(keys, "window.selector")?, schedule };
    keys.refuse_others()?;
    Ok(window)
}

fn weekly(keys: &TableKeys<'_>, start: Time) -> Result<Schedule, ConfigError> {
    let words = DAYS.map(|(word, _)| word).join(", ");
    let day = |word: &str| DAYS.into_iter().find(|(known, _)| *known == word).map(|(_, day)| day);
    let days = keys.list("days", &format!("a list of {words}"), day)?;
    let expected = "a time from 1s to 24h, like \"2h\"";
    let duration = keys.required_time("duration", expected, SECOND..=WINDOW_MAX)?;
    let zone =
        keys.required("zone", "a time zone by its IANA name, like \"Europe/Berlin\" or \"UTC\"", |value| {
            TimeZone::get(value.as_str()?).ok()
        })?;
    let days = days.unwrap_or_else(|| DAYS.map(|(_, day)| day).to_vec());
    Ok(Schedule::Weekly { days, start, duration, zone })
}

/// From when until when, with the offset from UTC.
fn span(keys: &TableKeys<'_>) -> Result<WallSpan, ConfigError> {
    let moment = |key| {
        keys.required(key, "a time with its offset, like 2026-12-01T08:00:00Z", |value| {
            let moment = match value {
                DeValue::Datetime(moment) => moment.to_string().parse::<Timestamp>(),
                value => value.as_str()?.parse(),
            };
            moment.ok().map(|moment| WallMillis(moment.as_millisecond()))
        })
    };
    let (from, until) = (moment("from")?, moment("until")?);
    if until <= from {
        Err(keys.unfit("until", "a time after that of from"))
    } else {
        Ok(WallSpan { from, until })
    }
}
