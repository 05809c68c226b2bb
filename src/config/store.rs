//! Where the statuses are kept: from `--store`, or from where a program of this machine keeps its state.

use std::path::PathBuf;

use super::environment::StateDirectories;
use super::refusal::Refusal;
use super::setting::Setting;
use super::values::Values;
use crate::store::settings::{Location, StoreSettings, days};

/// Where a service keeps its state if nobody says so: without a home there is no user.
const SERVICE_DIRECTORY: &str = "/var/lib/devstatus";
const FLUSH_INTERVAL_MAX_MS: u64 = 3_600_000;
/// A century.
const DAYS_MAX: u32 = 36_500;
/// Each of them may have to be read for one answer.
const HISTORY_PER_DEVICE_MAX: u32 = 100_000;

/// Everything about the store.
pub(super) fn settings(
    values: &Values,
    state: &StateDirectories,
    organization: &str,
) -> Result<StoreSettings, Refusal> {
    let expected = "memory: or sqlite: with the path of a file";
    let location = values.parse(Setting::Store, expected, location)?;
    let mut settings =
        StoreSettings::at(location.unwrap_or_else(|| Location::Sqlite(default_file(state, organization))));
    let expected = format!("a whole number of milliseconds from 1 to {FLUSH_INTERVAL_MAX_MS}");
    let interval = values.parse(Setting::FlushInterval, &expected, |text| {
        text.parse().ok().filter(|ms| (1..=FLUSH_INTERVAL_MAX_MS).contains(ms))
    })?;
    if let Some(ms) = interval {
        settings.flush_interval = std::time::Duration::from_millis(ms);
    }
    settings.forget_after = number_of_days(values, Setting::ForgetAfter)?.map(days);
    if let Some(number) = number_of_days(values, Setting::HistoryDays)? {
        settings.history = days(number);
    }
    let expected = format!("a whole number from 1 to {HISTORY_PER_DEVICE_MAX}");
    let events = values.parse(Setting::HistoryPerDevice, &expected, |text| {
        text.parse().ok().filter(|events| (1..=HISTORY_PER_DEVICE_MAX).contains(events))
    })?;
    settings.history_per_device = events.unwrap_or(settings.history_per_device);
    Ok(settings)
}

fn number_of_days(values: &Values, setting: Setting) -> Result<Option<u32>, Refusal> {
    values.parse(setting, &format!("a whole number of days from 1 to {DAYS_MAX}"), |text| {
        text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days))
    })
}

fn location(text: &str) -> Option<Location> {
    match text.split_once(':')? {
        ("memory", "") => Some(Location::Memory),
        ("sqlite", path) if !path.is_empty() => Some(Location::Sqlite(path.into())),
        _ => None,
    }
}

/// One file per organisation, in the directory that systemd made for the service, else in the user's.
fn default_file(state: &StateDirectories, organization: &str) -> PathBuf {
    let directory = match state {
        StateDirectories { service: Some(directory), .. } => directory.clone(),
        StateDirectories { user: Some(directory), .. } => directory.join("devstatus"),
        StateDirectories { home: Some(home), .. } => home.join(".local/state/devstatus"),
        StateDirectories { service: None, user: None, home: None } => SERVICE_DIRECTORY.into(),
    };
    directory.join(format!("{organization}.db"))
}
