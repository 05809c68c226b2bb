//! The settings of the population: lists of types and devices, in arguments and files, and what counts as enough.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::file;
use super::refusal::Refusal;
use super::setting::Setting;
use super::values::Values;
use crate::health::ReadyOn;
use crate::source::settings::PopulationSettings;

/// A list of ten million devices fits.
const NAMES_FILE_MAX_BYTES: u64 = 1 << 30;
/// Far above the platform's 36 characters; hundreds of such names still fit one SUBSCRIBE.
const NAME_MAX_BYTES: usize = 256;
/// A year.
const RECONCILE_INTERVAL_MAX_S: u64 = 31_536_000;
/// Each connection takes one of the broker's; beyond this many, none reads faster.
const CONNECTIONS_MAX: usize = 64;
/// What the platform's brokers and a stock mosquitto are known to keep for one subscription.
const LIMITS: [u64; 3] = [1_000, 5_000, 50_000];

const NAME_EXPECTED: &str = "1 to 256 bytes without '/', '+', '#', spaces around them or control characters";

pub(super) fn settings(values: &Values, explicit_broker: bool) -> Result<PopulationSettings, Refusal> {
    let default = PopulationSettings::default();
    let limits: &[u64] = if explicit_broker { &LIMITS } else { &LIMITS[1..] };
    let mut types: BTreeSet<String> = types(values)?.unwrap_or_default().into_iter().collect();
    types.extend(types_in_file(values)?);
    Ok(PopulationSettings {
        types: types.into_iter().collect(),
        devices: devices_in_file(values)?,
        replay_limits: replay_limits(values)?.unwrap_or_else(|| limits.to_vec()),
        reconcile_interval: reconcile_interval(values)?.unwrap_or(default.reconcile_interval),
        connections: connections(values)?.unwrap_or(default.connections),
        ready_on: ready_on(values)?.unwrap_or(default.ready_on),
        // The platform ends a connection that asks for them.
        broker_counters: values.flag(Setting::BrokerCounters)?.unwrap_or(explicit_broker),
    })
}

fn types(values: &Values) -> Result<Option<Vec<String>>, Refusal> {
    let expected = format!("device types separated by commas, each {NAME_EXPECTED}");
    values.parse(Setting::Types, &expected, |text| {
        let names = text.split(',').map(str::trim);
        names.map(|name| is_level(name).then(|| name.to_owned())).collect()
    })
}

fn types_in_file(values: &Values) -> Result<Vec<String>, Refusal> {
    let expected = format!("a device type, {NAME_EXPECTED}");
    lines(values, Setting::TypesFile, &expected, |line| is_level(line).then(|| line.to_owned()))
}

fn devices_in_file(values: &Values) -> Result<BTreeMap<String, Vec<String>>, Refusal> {
    let expected = format!("type/id or type,id, each {NAME_EXPECTED}");
    let devices = lines(values, Setting::DevicesFile, &expected, |line| {
        let (device_type, id) = line.split_once('/').or_else(|| line.split_once(','))?;
        let (device_type, id) = (device_type.trim(), id.trim());
        (is_level(device_type) && is_level(id)).then(|| (device_type.to_owned(), id.to_owned()))
    })?;
    let mut by_type: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (device_type, id) in devices {
        by_type.entry(device_type).or_default().insert(id);
    }
    Ok(by_type.into_iter().map(|(device_type, ids)| (device_type, ids.into_iter().collect())).collect())
}

/// What `parse` makes of each line of the file that `setting` names; empty lines and comments are passed over.
fn lines<T>(
    values: &Values,
    setting: Setting,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, Refusal> {
    let Some(given) = values.find(setting) else { return Ok(Vec::new()) };
    let text = file::read_text(Path::new(given.text.expose()), NAMES_FILE_MAX_BYTES)
        .map_err(|source| Refusal::ReadFile { origin: given.origin.clone(), source })?;
    let mut parsed = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // No name holds a '#', so that one can only begin a comment.
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        parsed.push(parse(line).ok_or_else(|| Refusal::Line {
            origin: given.origin.clone(),
            line: index + 1,
            expected: expected.to_owned(),
        })?);
    }
    Ok(parsed)
}

fn replay_limits(values: &Values) -> Result<Option<Vec<u64>>, Refusal> {
    let expected = "ascending whole numbers above 0, separated by commas";
    values.parse(Setting::ReplayLimits, expected, |text| {
        let limits: Vec<u64> =
            text.split(',').map(|limit| limit.trim().parse().ok()).collect::<Option<_>>()?;
        (limits[0] > 0 && limits.is_sorted_by(|one, next| one < next)).then_some(limits)
    })
}

fn reconcile_interval(values: &Values) -> Result<Option<Duration>, Refusal> {
    let expected = format!("a whole number of seconds from 1 to {RECONCILE_INTERVAL_MAX_S}");
    values.parse(Setting::ReconcileInterval, &expected, |text| {
        let seconds = text.parse().ok().filter(|seconds| (1..=RECONCILE_INTERVAL_MAX_S).contains(seconds))?;
        Some(Duration::from_secs(seconds))
    })
}

fn connections(values: &Values) -> Result<Option<usize>, Refusal> {
    let expected = format!("a whole number from 1 to {CONNECTIONS_MAX}");
    values.parse(Setting::PopulationConnections, &expected, |text| {
        text.parse().ok().filter(|connections| (1..=CONNECTIONS_MAX).contains(connections))
    })
}

fn ready_on(values: &Values) -> Result<Option<ReadyOn>, Refusal> {
    values.parse(Setting::ReadyOn, "complete or unproven", |text| match text {
        "complete" => Some(ReadyOn::Complete),
        "unproven" => Some(ReadyOn::Unproven),
        _ => None,
    })
}

/// Whether `text` is one level of a topic and no wildcard.
fn is_level(text: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&text.len())
        && !text.chars().any(|c| matches!(c, '/' | '+' | '#') || c.is_control())
}
