//! Where the statuses are kept: from `--store`, or from where a program of this machine keeps its state.

use std::path::PathBuf;

use super::environment::StateDirectories;
use super::parse::{LOGIN_EXPECTED, organization_of};
use super::refusal::Refusal;
use super::setting::Setting;
use super::values::Values;
use super::{build, server};
use crate::store::settings::{Location, StoreSettings, days, default_schema};

/// Where a service keeps its state if nobody says so: without a home there is no user.
const SERVICE_DIRECTORY: &str = "/var/lib/devstatus";
const FLUSH_INTERVAL_MAX_MS: u64 = 3_600_000;
/// A century.
const DAYS_MAX: u32 = 36_500;
/// PostgreSQL cuts names after 63 bytes.
const SCHEMA_MAX_CHARS: usize = 63;
const SCHEMA_EXPECTED: &str = "1 to 63 letters, digits and the signs - _ . that do not begin with pg_";
const PASSWORD_EXPECTED: &str = "a file that holds the password, ";
/// Each of them may have to be read for one answer.
const HISTORY_PER_DEVICE_MAX: u32 = 100_000;
/// As many as the map has places for.
const MAP_LIMIT_MAX: usize = 4_000_000_000;

/// Everything about the store.
pub(super) fn settings(
    values: &Values,
    state: &StateDirectories,
    organization: &str,
) -> Result<StoreSettings, Refusal> {
    let mut location = match values.find(Setting::Store) {
        Some(given) => location(given.text.expose()).map_err(|expected| given.expected(expected))?,
        None => Location::Sqlite(default_file(state, organization)),
    };
    add_password(values, &mut location)?;
    let mut settings = StoreSettings::at(location);
    let schema = values.parse(Setting::StoreSchema, SCHEMA_EXPECTED, schema)?;
    settings.schema = schema.unwrap_or_else(|| default_schema(organization));
    settings.ca_file = build::certificates(values, Setting::StoreCaFile)?;
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
    settings.map_limit = map_limit(values, &settings)?;
    Ok(settings)
}

/// How many devices are held, if the rest can be had from the store.
fn map_limit(values: &Values, settings: &StoreSettings) -> Result<Option<usize>, Refusal> {
    let expected = format!("a whole number of devices from 1 to {MAP_LIMIT_MAX}");
    let limit = values.parse(Setting::MapLimit, &expected, |text| {
        text.parse().ok().filter(|devices| (1..=MAP_LIMIT_MAX).contains(devices))
    })?;
    let contradiction = |other, why| {
        let (one, other) = (values.find(Setting::MapLimit)?, values.find(other)?);
        Some(Refusal::Contradiction { one: one.origin.clone(), other: other.origin.clone(), why })
    };
    let contradiction = if settings.location == Location::Memory {
        contradiction(Setting::Store, "what is not held must be kept by a store that outlives the process")
    } else if settings.forget_after.is_some() {
        contradiction(Setting::ForgetAfter, "only devices that are held can be found to be too old")
    } else {
        None
    };
    contradiction.map_or(Ok(limit), Err)
}

/// The store to export from or import into: one that outlives the process. The organization is needed only for the name of
/// a store that is not named.
pub(super) fn kept(values: &Values, state: &StateDirectories) -> Result<StoreSettings, Refusal> {
    let in_key = values.find(Setting::Key).and_then(|key| organization_of(key.text.expose()));
    let organization = values.name(Setting::Organization)?.or_else(|| in_key.map(str::to_owned));
    let given = values.find(Setting::Store);
    let is_file = given.is_some_and(|given| given.text.expose().starts_with("sqlite:"));
    let organization = match organization {
        Some(organization) => organization,
        None if is_file => String::new(),
        None => return Err(Refusal::Missing(vec![Setting::Organization])),
    };
    let settings = settings(values, state, &organization)?;
    match given {
        Some(given) if settings.location == Location::Memory => {
            Err(given.expected("a store that outlives the process, unlike memory:"))
        }
        Some(_) | None => Ok(settings),
    }
}

/// Takes the password from its file, unless a stronger URL has one.
fn add_password(values: &Values, location: &mut Location) -> Result<(), Refusal> {
    let Some(file) = values.find(Setting::StorePasswordFile) else { return Ok(()) };
    let url = values.find(Setting::Store);
    let contradiction = |why| {
        let url = url.filter(|url| url.origin.same_layer(&file.origin))?;
        Some(Refusal::Contradiction { one: file.origin.clone(), other: url.origin.clone(), why })
    };
    let server = match location {
        Location::Postgres(server) | Location::Valkey(server) => server,
        Location::Memory | Location::Sqlite(_) => {
            return contradiction("this store asks for no password").map_or(Ok(()), Err);
        }
    };
    if server.password.is_some() {
        if let Some(refusal) = contradiction("give the password in the URL or the file it is in, not both") {
            return Err(refusal);
        }
        if url.is_some_and(|url| url.origin.stronger_than(&file.origin)) {
            return Ok(());
        }
    }
    let password = build::secret_in_file(file)?;
    server.password =
        Some(password.ok_or_else(|| file.expected(PASSWORD_EXPECTED.to_owned() + LOGIN_EXPECTED))?);
    Ok(())
}

fn number_of_days(values: &Values, setting: Setting) -> Result<Option<u32>, Refusal> {
    values.parse(setting, &format!("a whole number of days from 1 to {DAYS_MAX}"), |text| {
        text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days))
    })
}

/// The error says what was expected, without any of the text.
fn location(text: &str) -> Result<Location, &'static str> {
    const EXPECTED: &str =
        "memory:, sqlite: with the path of a file, or a URL that begins with postgres:// or valkey://";
    match text.split_once(':') {
        Some(("memory", "")) => Ok(Location::Memory),
        Some(("sqlite", path)) if !path.is_empty() => Ok(Location::Sqlite(path.into())),
        _ => server::location(text).unwrap_or(Err(EXPECTED)),
    }
}

/// What can be part of a name everywhere, at a length that every engine takes.
fn schema(text: &str) -> Option<String> {
    let fits = (1..=SCHEMA_MAX_CHARS).contains(&text.len()) && !text.starts_with("pg_");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (fits && text.chars().all(plain)).then(|| text.to_owned())
}

/// One file per organisation.
fn default_file(state: &StateDirectories, organization: &str) -> PathBuf {
    state_directory(state).join(format!("{organization}.db"))
}

/// Where files of this program belong: in what systemd made for the service, else with the user.
pub(super) fn state_directory(state: &StateDirectories) -> PathBuf {
    match state {
        StateDirectories { service: Some(directory), .. } => directory.clone(),
        StateDirectories { user: Some(directory), .. } => directory.join("devstatus"),
        StateDirectories { home: Some(home), .. } => home.join(".local/state/devstatus"),
        StateDirectories { service: None, user: None, home: None } => SERVICE_DIRECTORY.into(),
    }
}
