//! The `[[rule]]`, `[[contact]]`, `[[silence]]` and `[[window]]` tables of `devstatus.toml`, `startup_grace` and
//! `public_url`.

mod schedules;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;
use url::Url;

use super::file_tables::Tables;
use super::refusal::ConfigError;
use super::table_keys::{TableKeys, items, texts, time};
use super::toml::{
    ALERT_TABLES, CONTACTS, PUBLIC_URL, RULES, SILENCES, STARTUP_GRACE, WEBHOOKS, WINDOWS, is_tables,
};
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
/// The longest name of a rule: it is a label of metrics.
const NAME_MAX_BYTES: usize = 64;
/// Events of one device that a rule counts; each is held until the window is over.
const COUNT_MAX: u32 = 1_000;

const GROUP_WAIT: Duration = Duration::from_secs(30);
const GROUP_INTERVAL: Duration = Duration::from_secs(300);
const REPEAT_INTERVAL: Duration = Duration::from_secs(4 * 3_600);
/// A repetition says that nothing has changed; more often than this it is noise.
const REPEAT_INTERVAL_MIN: Duration = Duration::from_secs(300);
const ANY_TIME: &str = "a time from 0 to 730d, like \"10m\"";
const TIME_ABOVE_0: &str = "a time from 1s to 730d, like \"1h\"";
const SECOND: Duration = Duration::from_secs(1);
/// A device that says so is not down.
const EXCLUDED_CAUSE: &str = "asleep";

/// The rules. The whole file is refused if anything in them is wrong.
pub(super) fn read(tables: &Tables<'_>) -> Result<RuleSet, ConfigError> {
    let (mut set, top) = (RuleSet::default(), tables.top());
    if let Some(grace) = top.time(STARTUP_GRACE, "a time from 0 to 730d, like \"5m\"", ..)? {
        set.startup_grace = grace;
    }
    let ForWebhooks { contacts, public_url } = for_webhooks(tables)?;
    set.contacts = contacts;
    if let Some(url) = public_url {
        set.public_url = url.into();
    }
    for key in ALERT_TABLES {
        let expected = format!("tables, each with the heading [[{key}]]");
        top.optional(key, &expected, |value| is_tables(value).then_some(()))?;
    }
    let webhooks = tables.names(WEBHOOKS);
    let mut names = BTreeSet::new();
    for keys in tables.all(RULES, RULES_MAX)? {
        let rule = rule(&keys, &webhooks)?;
        if !names.insert(rule.name.clone()) {
            return Err(keys.unfit("name", "a name that no other rule has"));
        }
        set.rules.push(rule);
    }
    for keys in tables.all(SILENCES, OTHERS_MAX)? {
        set.silences.push(schedules::silence(&keys, &names)?);
    }
    for keys in tables.all(WINDOWS, OTHERS_MAX)? {
        set.windows.push(schedules::window(&keys)?);
    }
    Ok(set)
}

/// What webhooks take from the settings of alerts.
#[derive(Default)]
pub(super) struct ForWebhooks {
    pub contacts: Arc<[ContactPolicy]>,
    pub public_url: Option<String>,
}

pub(super) fn for_webhooks(tables: &Tables<'_>) -> Result<ForWebhooks, ConfigError> {
    let expected = "an http:// or https:// URL without a query";
    let public_url = tables.top().optional(PUBLIC_URL, expected, public_url)?;
    let contacts = tables.all(CONTACTS, OTHERS_MAX)?.iter().map(contact).collect::<Result<_, _>>()?;
    Ok(ForWebhooks { contacts, public_url })
}

fn rule(keys: &TableKeys<'_>, webhooks: &BTreeSet<&str>) -> Result<Rule, ConfigError> {
    let name = keys.name(NAME_MAX_BYTES)?;
    if [UNOBSERVED_RULE, OUTPUT_RULE].contains(&name) {
        return Err(keys.unfit("name", "another name: this one is the service's own alert"));
    }
    let (kind, hold) = kind(keys)?;
    let duration = |key, default| Ok(keys.time(key, ANY_TIME, ..)?.unwrap_or(default));
    let group_by = keys.word("group_by", GroupBy::ALL, GroupBy::word)?.unwrap_or(GroupBy::Rule);
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
    let repeat = keys.optional("repeat_interval", "a time from 5m, or \"0s\" for never", |value| {
        time(value).filter(|repeat| repeat.is_zero() || *repeat >= REPEAT_INTERVAL_MIN)
    })?;
    let expected = "a list of names of [[webhook]] tables of this file";
    let named = |name: &str| webhooks.contains(name).then(|| Arc::from(name));
    let webhooks = keys.list("webhooks", expected, named)?;
    let rule = Rule {
        name: name.into(),
        kind,
        hold,
        keep_firing_for: duration("keep_firing_for", Duration::ZERO)?,
        selector: selector(keys, "rule.selector")?,
        excluded_causes: excluded_causes.unwrap_or_else(|| vec![EXCLUDED_CAUSE.to_owned()]),
        group_by,
        group_wait: duration("group_wait", GROUP_WAIT)?,
        group_interval: duration("group_interval", GROUP_INTERVAL)?,
        repeat_interval: Some(repeat.unwrap_or(REPEAT_INTERVAL)).filter(|repeat| !repeat.is_zero()),
        webhooks: webhooks.unwrap_or_default(),
    };
    keys.refuse_others()?;
    Ok(rule)
}

/// The kind with its thresholds, and how long its condition must hold.
fn kind(keys: &TableKeys<'_>) -> Result<(Kind, Duration), ConfigError> {
    const KINDS: [&str; 6] =
        ["offline_for", "flapping", "fleet_drop", "never_connected", "duplicate_identity", "refusals"];
    let expected = format!("one of {}", KINDS.join(", "));
    let kind = keys.required("kind", &expected, |value| {
        let word = value.as_str()?;
        KINDS.into_iter().find(|known| *known == word)
    })?;
    let hold = match kind {
        "offline_for" | "never_connected" => keys.required_time("for", ANY_TIME, ..)?,
        _ => keys.time("for", ANY_TIME, ..)?.unwrap_or_default(),
    };
    let kind = match kind {
        "offline_for" => Kind::OfflineFor,
        "never_connected" => Kind::NeverConnected(devices(keys)?),
        "fleet_drop" => Kind::FleetDrop(DropThreshold {
            window: window(keys, Duration::from_secs(300))?,
            min_percent: number(keys, "min_percent", (1, 100), 20)?.try_into().unwrap_or(100),
            min_devices: number(keys, "min_devices", (1, u32::MAX), 10)?,
        }),
        "flapping" => Kind::Flapping(count(keys, (5, 1))?),
        "duplicate_identity" => Kind::DuplicateIdentity(count(keys, (6, 1))?),
        _ => Kind::Refusals(count(keys, (10, 1))?),
    };
    Ok((kind, hold))
}

fn count(keys: &TableKeys<'_>, (start, stop): (u32, u32)) -> Result<CountThreshold, ConfigError> {
    let window = window(keys, Duration::from_secs(3_600))?;
    let start = number(keys, "start", (2, COUNT_MAX), start)?;
    let stop = number(keys, "stop", (0, COUNT_MAX), stop.min(start - 1))?;
    if stop >= start {
        return Err(keys.unfit("stop", format!("a whole number below that of start, {start}")));
    }
    Ok(CountThreshold { window, start, stop })
}

fn window(keys: &TableKeys<'_>, default: Duration) -> Result<Duration, ConfigError> {
    Ok(keys.time("window", TIME_ABOVE_0, SECOND..)?.unwrap_or(default))
}

fn number(
    keys: &TableKeys<'_>,
    key: &'static str,
    (min, max): (u32, u32),
    default: u32,
) -> Result<u32, ConfigError> {
    let expected = format!("a whole number from {min} to {max}");
    Ok(keys.number(key, &expected, min..=max)?.unwrap_or(default))
}

/// Devices by type, a slash, and id, which may have slashes of its own.
fn devices(keys: &TableKeys<'_>) -> Result<BTreeSet<Arc<DeviceName>>, ConfigError> {
    let expected = format!("a list of 1 to {SELECTED_DEVICES_MAX} devices, like \"pump/p-1\"");
    keys.required("devices", &expected, |value| {
        let device = |text: &str| {
            let (device_type, id) = text.split_once('/')?;
            let device = Device { device_type, id };
            device.is_possible().then(|| Arc::new(DeviceName::of(device)))
        };
        let names = texts(value)?;
        if names.len() > SELECTED_DEVICES_MAX {
            return None;
        }
        names.into_iter().map(device).collect()
    })
}

/// A URL to which a path can be added.
fn public_url(value: &DeValue<'_>) -> Option<String> {
    let text = value.as_str()?;
    let url = Url::parse(text).ok()?;
    let is_plain =
        matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
    is_plain.then(|| text.trim_end_matches('/').to_owned())
}

fn contact(keys: &TableKeys<'_>) -> Result<ContactPolicy, ConfigError> {
    let policy = keys.required("policy", "permanent, periodic or ephemeral", |value| {
        ["permanent", "periodic", "ephemeral"].into_iter().find(|known| value.as_str() == Some(*known))
    })?;
    let patience = match policy {
        "permanent" => Patience::Permanent,
        "ephemeral" => Patience::Ephemeral,
        _ => Patience::Periodic {
            every: keys.required_time("every", TIME_ABOVE_0, SECOND..)?,
            grace: keys.time("grace", ANY_TIME, ..)?.unwrap_or_default(),
        },
    };
    let selector = selector(keys, "contact.selector")?;
    keys.refuse_others()?;
    Ok(ContactPolicy { selector, patience })
}

fn selector(keys: &TableKeys<'_>, prefix: &'static str) -> Result<Filter, ConfigError> {
    let Some(keys) = keys.selector(prefix)? else { return Ok(Filter::default()) };
    // Selectors of webhooks have these.
    if let Some(key) = ["close_code", "cause", "address", "expectation"].into_iter().find(|key| keys.has(key))
    {
        let expected = "type, id, id_prefix and source alone, which a device keeps while an alert fires; exclude_causes of a rule leaves causes out";
        return Err(keys.unfit(key, expected));
    }
    let selector = keys.named_devices()?;
    keys.refuse_others()?;
    Ok(selector)
}
