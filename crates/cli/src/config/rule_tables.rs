//! The `[[rule]]`, `[[contact]]`, `[[silence]]` and `[[window]]` tables of `devstatus.toml`, `startup_grace` and
//! `public_url`.

mod schedules;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::file_tables::Tables;
use super::refusal::ConfigError;
use super::table_keys::{TableKeys, items, texts};
use super::toml::{CONTACTS, PUBLIC_URL, RULES, SILENCES, STARTUP_GRACE, WEBHOOKS, WINDOWS};
use super::value::{self, PERIOD_MAX, Parser, or_expected};
use alerts::{
    ContactPolicy, CountThreshold, DropThreshold, GroupBy, Kind, OUTPUT_RULE, Patience, Rule, RuleSet,
    SELECTED_DEVICES_MAX, UNOBSERVED_RULE,
};
use formats::Cause;
use presence::query::Filter;
use presence::{Device, DeviceName};

/// More rules than a person oversees; each looks at every change.
const RULES_MAX: usize = 200;
/// Contact policies, and silences and windows together: each is compared with every alert.
const OTHERS_MAX: usize = 1_000;
/// Events of one device that a rule counts; each is held until the window is over.
const COUNT_MAX: u32 = 1_000;

const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(300);
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3_600);
/// A repetition says that nothing has changed; more often than this it is noise.
const REPEAT_INTERVAL_MIN: Duration = Duration::from_secs(300);
const ANY_TIME: &str = "a time from 0 to 730d, like \"10m\"";
const SECOND: Duration = Duration::from_secs(1);
/// A device that says so is not down.
const EXCLUDED_CAUSE: &str = "asleep";

/// The rules. The whole file is refused if anything in them is wrong.
pub(super) fn read(tables: &Tables<'_>) -> Result<RuleSet, ConfigError> {
    let mut set = RuleSet { contacts: contacts(tables)?, ..RuleSet::default() };
    if let Some(grace) = tables.top().text(STARTUP_GRACE, time("a time from 0 to 730d, like \"5m\""))? {
        set.startup_grace = grace;
    }
    if let Some(url) = public_url(tables)? {
        set.public_url = url.into();
    }
    let webhooks = tables.names(WEBHOOKS);
    set.rules = tables.named(RULES, RULES_MAX, |keys, name| rule(keys, name, &webhooks))?;
    set.silences = tables.all(SILENCES, OTHERS_MAX, |keys| schedules::silence(keys, &set.rules))?;
    set.windows = tables.all(WINDOWS, OTHERS_MAX, schedules::window)?;
    Ok(set)
}

/// The contact policies, in their order.
pub(super) fn contacts(tables: &Tables<'_>) -> Result<Arc<[ContactPolicy]>, ConfigError> {
    Ok(tables.all(CONTACTS, OTHERS_MAX, contact)?.into())
}

/// A URL to which a path can be added.
pub(super) fn public_url(tables: &Tables<'_>) -> Result<Option<String>, ConfigError> {
    tables.top().text(PUBLIC_URL, value::service_url)
}

/// A length of time, which may be none.
fn time(expected: &'static str) -> impl Parser<Duration> {
    value::period_in(..=PERIOD_MAX, expected)
}

/// A length of time from a second.
fn time_above_0() -> impl Parser<Duration> {
    value::period_in(SECOND..=PERIOD_MAX, "a time from 1s to 730d, like \"1h\"")
}

fn rule(keys: &TableKeys<'_>, name: String, webhooks: &BTreeSet<String>) -> Result<Rule, ConfigError> {
    if [UNOBSERVED_RULE, OUTPUT_RULE].contains(&&*name) {
        return Err(keys.unfit("name", "another name: this one is the service's own alert"));
    }
    let (kind, hold) = kind(keys)?;
    let duration = |key, default| Ok(keys.text(key, time(ANY_TIME))?.unwrap_or(default));
    let groups = value::word(GroupBy::ALL.map(|group_by| (group_by.word(), group_by)));
    let group_by = keys.text("group_by", groups)?.unwrap_or(GroupBy::Rule);
    if matches!(kind, Kind::FleetDrop(_)) && matches!(group_by, GroupBy::AddressBlock | GroupBy::Device) {
        return Err(keys.unfit("group_by", "rule, type or source, for a fleet_drop"));
    }
    let expected = format!("a list of {}", Cause::words().collect::<Vec<_>>().join(", "));
    let excluded_causes = keys.optional("exclude_causes", &expected, |value| {
        // An empty list excludes none.
        let words = items(value).into_iter().map(DeValue::as_str).collect::<Option<Vec<_>>>()?;
        let is_known = words.iter().all(|word| Cause::words().any(|known| known == *word));
        is_known.then(|| words.into_iter().map(str::to_owned).collect())
    })?;
    let repeat_interval = keys.text("repeat_interval", |text| {
        let is_possible = |repeat: &Duration| repeat.is_zero() || *repeat >= REPEAT_INTERVAL_MIN;
        let repeat = time(ANY_TIME)(text).ok().filter(is_possible);
        or_expected(repeat, "a time from 5m, or \"0s\" for never")
    })?;
    let named = |name: &str| webhooks.contains(name).then(|| Arc::from(name));
    Ok(Rule {
        name: name.into(),
        kind,
        hold,
        keep_firing_for: duration("keep_firing_for", Duration::ZERO)?,
        selector: keys.selector(selector)?,
        excluded_causes: excluded_causes.unwrap_or_else(|| vec![EXCLUDED_CAUSE.to_owned()]),
        group_by,
        group_wait: duration("group_wait", GROUP_WAIT)?,
        group_interval: duration("group_interval", GROUP_INTERVAL)?,
        repeat_interval: Some(repeat_interval.unwrap_or(REPEAT_INTERVAL)).filter(|repeat| !repeat.is_zero()),
        webhooks: keys.list("webhooks", "a list of names of [[webhook]] tables of this file", named)?,
    })
}

/// The kind with its thresholds, and how long its condition must hold.
fn kind(keys: &TableKeys<'_>) -> Result<(Kind, Duration), ConfigError> {
    const KINDS: [&str; 6] =
        ["offline_for", "flapping", "fleet_drop", "never_connected", "duplicate_identity", "refusals"];
    let kind = keys.required("kind", value::word(KINDS.map(|kind| (kind, kind))))?;
    let hold = match kind {
        "offline_for" | "never_connected" => keys.required("for", time(ANY_TIME))?,
        _ => keys.text("for", time(ANY_TIME))?.unwrap_or_default(),
    };
    let kind = match kind {
        "offline_for" => Kind::OfflineFor,
        "never_connected" => Kind::NeverConnected(devices(keys)?),
        "fleet_drop" => Kind::FleetDrop(DropThreshold {
            window: keys.text("window", time_above_0())?.unwrap_or(Duration::from_secs(300)),
            min_percent: keys.number("min_percent", 1..=100)?.unwrap_or(20),
            min_devices: keys.number("min_devices", 1..=u32::MAX)?.unwrap_or(10),
        }),
        "flapping" => Kind::Flapping(count(keys, 5)?),
        "duplicate_identity" => Kind::DuplicateIdentity(count(keys, 6)?),
        _ => Kind::Refusals(count(keys, 10)?),
    };
    Ok((kind, hold))
}

fn count(keys: &TableKeys<'_>, start: u32) -> Result<CountThreshold, ConfigError> {
    let window = keys.text("window", time_above_0())?.unwrap_or(Duration::from_secs(3_600));
    let start = keys.number("start", 2..=COUNT_MAX)?.unwrap_or(start);
    let stop = keys.number("stop", 0..=COUNT_MAX)?.unwrap_or(1);
    if stop >= start {
        return Err(keys.unfit("stop", format!("a whole number below that of start, {start}")));
    }
    Ok(CountThreshold { window, start, stop })
}

/// Devices by type, a slash, and id, which may have slashes of its own.
fn devices(keys: &TableKeys<'_>) -> Result<BTreeSet<Arc<DeviceName>>, ConfigError> {
    let expected = format!("a list of 1 to {SELECTED_DEVICES_MAX} devices, like \"pump/p-1\"");
    let device = |text: &str| {
        let (device_type, id) = text.split_once('/')?;
        let device = Device { device_type, id };
        device.is_possible().then(|| Arc::new(DeviceName::of(device)))
    };
    let devices = keys.optional("devices", &expected, |value| {
        let names = texts(value).filter(|names| names.len() <= SELECTED_DEVICES_MAX)?;
        names.into_iter().map(device).collect()
    })?;
    devices.ok_or_else(|| keys.missing("devices", &expected))
}

fn contact(keys: &TableKeys<'_>) -> Result<ContactPolicy, ConfigError> {
    let policies = ["permanent", "periodic", "ephemeral"].map(|policy| (policy, policy));
    let patience = match keys.required("policy", value::word(policies))? {
        "permanent" => Patience::Permanent,
        "ephemeral" => Patience::Ephemeral,
        _ => Patience::Periodic {
            every: keys.required("every", time_above_0())?,
            grace: keys.text("grace", time(ANY_TIME))?.unwrap_or_default(),
        },
    };
    Ok(ContactPolicy { selector: keys.selector(selector)?, patience })
}

fn selector(keys: &TableKeys<'_>) -> Result<Filter, ConfigError> {
    // Selectors of webhooks have these.
    if let Some(key) = ["close_code", "cause", "address", "expectation"].into_iter().find(|key| keys.has(key))
    {
        let expected = "type, id, id_prefix and source alone, which a device keeps while an alert fires; exclude_causes of a rule leaves causes out";
        return Err(keys.unfit(key, expected));
    }
    keys.named_devices()
}
