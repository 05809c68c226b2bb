//! From the given texts to settings: defaults, what is missing, and what contradicts what.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::StateDirectories;
use super::log::{LogFormat, LogLevel, LogSettings};
use super::parse::{LOGIN_EXPECTED, is_login, organization_of};
use super::refusal::{Origin, Refusal};
use super::setting::{Setting, Verb};
use super::values::{Given, Values};
use super::{
    DemoSettings, ExportSettings, ImportSettings, Settings, SimulateSettings, broker, file, http, population,
    store,
};
use crate::exchange::settings::Format;
use crate::feed::settings::FeedSettings;
use crate::files;
use crate::fleet::settings::{Endings, FleetSettings};
use crate::http::settings::HttpSettings;
use crate::secret::Secret;
use crate::source::settings::{
    ApplicationKind, Endpoint, Identity, Login, MqttVersion, Share, SourceSettings, Transport,
};

const KEEP_ALIVE: Duration = Duration::from_secs(60);
const QUIET_INTERVAL: Duration = Duration::from_millis(2_000);
const BACKLOG_MAX_BYTES: usize = 1 << 30;
const DEVICES: u32 = 1_000;
const TYPES: u32 = 5;
const EVENTS_PER_SECOND: f64 = 20.0;
const ENDINGS: Endings = Endings { clean: 5.0, dropped: 2.0, timed_out: 2.0, takeover: 1.0, refused: 1.0 };
const SEED: u64 = 1;
/// More streams, or changes held, than one machine serves.
const STREAM_LIMIT_MAX: u32 = 1_000_000;
/// Readers are woken fifty times a second: fewer changes may come between two of their turns.
const LAG_LEAST: u32 = 100;
const DEMO_ORGANIZATION: &str = "demo";
/// Names the system's trust store in the platform's YAML.
const SYSTEM_TRUST_STORE: &str = "_os_";

/// The settings file, if one is named, and what named it.
pub(super) fn config_file(values: &Values) -> Result<Option<(PathBuf, Origin)>, Refusal> {
    let path = values
        .parse(Setting::Config, "the path of a file", |text| (!text.is_empty()).then(|| text.into()))?;
    Ok(path.zip(values.find(Setting::Config).map(|given| given.origin.clone())))
}

pub(super) fn serve(values: &Values, state: &StateDirectories) -> Result<Settings, Refusal> {
    let mut http = http::settings(values)?;
    let source = source(values)?;
    let organization = &source.identity.organization;
    http.keys_file.get_or_insert_with(|| http::default_keys_file(state, organization));
    let store = store::settings(values, state, &source.identity.organization)?;
    if !store.location.is_shared()
        && let Some(given) = values.find(Setting::Partition).or(values.find(Setting::Share))
    {
        return Err(
            given.expected("a --store that several instances share besides, postgres:// or valkey://")
        );
    }
    Ok(Settings { source, http, store, log: log(values)? })
}

pub(super) fn streams(values: &Values) -> Result<FeedSettings, Refusal> {
    let number = |setting, least: u32| {
        values.parse(setting, &format!("a whole number from {least} to {STREAM_LIMIT_MAX}"), |text| {
            text.parse().ok().filter(|number| (least..=STREAM_LIMIT_MAX).contains(number))
        })
    };
    let default = FeedSettings::default();
    Ok(FeedSettings {
        streams_max: number(Setting::StreamsMax, 1)?.unwrap_or(default.streams_max),
        stream_lag_max: number(Setting::StreamLagMax, LAG_LEAST)?.unwrap_or(default.stream_lag_max),
    })
}

pub(super) fn demo(values: &Values) -> Result<DemoSettings, Refusal> {
    let port = values.port()?.unwrap_or(HttpSettings::default().port);
    Ok(DemoSettings { port, fleet: fleet(values, DEMO_ORGANIZATION.to_owned())?, log: log(values)? })
}

pub(super) fn simulate(values: &Values) -> Result<SimulateSettings, Refusal> {
    let source = source(values)?;
    let fleet = fleet(values, source.identity.organization.clone())?;
    Ok(SimulateSettings { source, fleet, duration: values.duration()?, log: log(values)? })
}

pub(super) fn export(values: &Values, state: &StateDirectories) -> Result<ExportSettings, Refusal> {
    let format = values.parse(Setting::Format, "jsonl, csv or csv-spreadsheet", |text| match text {
        "jsonl" => Some(Format::JsonLines),
        "csv" => Some(Format::Csv),
        "csv-spreadsheet" => Some(Format::CsvForSpreadsheet),
        _ => None,
    })?;
    let format = format.unwrap_or(Format::JsonLines);
    Ok(ExportSettings {
        store: store::kept(values, state)?,
        format,
        file: exchanged(values)?,
        log: log(values)?,
    })
}

pub(super) fn import(values: &Values, state: &StateDirectories) -> Result<ImportSettings, Refusal> {
    Ok(ImportSettings { store: store::kept(values, state)?, file: exchanged(values)?, log: log(values)? })
}

/// The file of an export or import; `-` is the standard stream, as elsewhere.
fn exchanged(values: &Values) -> Result<Option<PathBuf>, Refusal> {
    let path = values.parse(Setting::File, "the path of a file, or -", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    })?;
    Ok(path.filter(|path| path != "-").map(PathBuf::from))
}

pub(super) fn log(values: &Values) -> Result<LogSettings, Refusal> {
    let named = values.log_level()?;
    Ok(LogSettings {
        format: values.log_format()?.unwrap_or(LogFormat::Text),
        level: values.verbose()?.or(named).unwrap_or(LogLevel::Info),
    })
}

fn fleet(values: &Values, organization: String) -> Result<FleetSettings, Refusal> {
    let devices = values.fleet_size(Setting::Devices)?.unwrap_or(DEVICES);
    let types = values.fleet_size(Setting::DeviceTypes)?;
    if let Some(given) =
        values.find(Setting::DeviceTypes).filter(|_| types.is_some_and(|types| types > devices))
    {
        return Err(given.expected(format!("at most as many types as devices, {devices}")));
    }
    let endings = Endings {
        clean: values.weight(Setting::Clean)?.unwrap_or(ENDINGS.clean),
        dropped: values.weight(Setting::Dropped)?.unwrap_or(ENDINGS.dropped),
        timed_out: values.weight(Setting::TimedOut)?.unwrap_or(ENDINGS.timed_out),
        takeover: values.weight(Setting::Takeover)?.unwrap_or(ENDINGS.takeover),
        refused: values.weight(Setting::Refused)?.unwrap_or(ENDINGS.refused),
    };
    let Endings { clean, dropped, timed_out, takeover, refused } = endings;
    if let Some(given) =
        values.find(Setting::Clean).filter(|_| clean + dropped + timed_out + takeover + refused <= 0.0)
    {
        return Err(given.expected("a weight above 0 here or at another ending"));
    }
    Ok(FleetSettings {
        organization,
        devices,
        types: types.unwrap_or(TYPES.min(devices)),
        events_per_second: values.events_per_second()?.unwrap_or(EVENTS_PER_SECOND),
        endings,
        seed: values.seed()?.unwrap_or(SEED),
    })
}

fn source(values: &Values) -> Result<SourceSettings, Refusal> {
    values.parse(Setting::AuthMethod, "apikey, the only method an application has", |text| {
        (text == "apikey").then_some(())
    })?;
    values.flag(Setting::HttpVerify)?;
    let explicit = broker::explicit(values)?;
    require(values, explicit.is_some())?;
    let login = login(values)?;
    let organization = organization(values, login.as_ref(), explicit.is_some())?;
    let population = population::settings(values, explicit.is_some())?;
    let endpoint = match explicit {
        Some(endpoint) => endpoint,
        None => broker::platform(values, &organization)?,
    };
    Ok(SourceSettings {
        ca_file: ca_file(values, &endpoint)?,
        endpoint,
        mqtt_version: values.mqtt_version()?.unwrap_or(MqttVersion::V311),
        identity: identity(values, organization)?,
        login,
        keep_alive: values.keep_alive()?.unwrap_or(KEEP_ALIVE),
        clean_session: values.flag(Setting::CleanSession)?.unwrap_or(true),
        session_expiry: values.session_expiry()?.unwrap_or(Duration::ZERO),
        quiet_interval: values.quiet_interval()?.unwrap_or(QUIET_INTERVAL),
        backlog_max_bytes: values.backlog_max_bytes()?.unwrap_or(BACKLOG_MAX_BYTES),
        population,
        share: share(values)?,
    })
}

/// Which part of the messages is taken.
fn share(values: &Values) -> Result<Share, Refusal> {
    let (partition, group) = (values.partition()?, values.name(Setting::Share)?);
    let contradiction = |one: Setting, other: Setting, why| {
        let (one, other) = (values.find(one)?.origin.clone(), values.find(other)?.origin.clone());
        Some(Refusal::Contradiction { one, other, why })
    };
    let twice =
        contradiction(Setting::Partition, Setting::Share, "messages are shared in one way or the other");
    let scalable =
        contradiction(Setting::Share, Setting::Scalable, "a scalable application shares its messages anyway");
    match (twice.or(scalable), partition, group) {
        (Some(refusal), _, _) => Err(refusal),
        (None, Some(partition), _) => Ok(Share::Types(partition)),
        (None, None, Some(group)) => Ok(Share::Group(group)),
        (None, None, None) => Ok(Share::Everything),
    }
}

/// Names at once everything that has no default and is nowhere.
fn require(values: &Values, explicit_broker: bool) -> Result<(), Refusal> {
    let given = |setting| values.find(setting).is_some();
    let (key, token) = (given(Setting::Key), given(Setting::Token) || given(Setting::TokenFile));
    let mut missing = Vec::new();
    if values.verb == Verb::Simulate && !explicit_broker {
        // The platform makes its status messages itself: a simulated fleet has nothing to say there.
        missing.push(Setting::Broker);
    }
    // The API key holds the organization, but a user name of some broker need not.
    let organization =
        values.find(Setting::Key).is_some_and(|key| organization_of(key.text.expose()).is_some());
    if explicit_broker && !given(Setting::Organization) && !organization {
        missing.push(Setting::Organization);
    }
    if !explicit_broker && !given(Setting::Id) {
        missing.push(Setting::Id);
    }
    if !key && (token || !explicit_broker) {
        missing.push(Setting::Key);
    }
    if !token && (key || !explicit_broker) {
        missing.push(Setting::Token);
    }
    if missing.is_empty() { Ok(()) } else { Err(Refusal::Missing(missing)) }
}

fn login(values: &Values) -> Result<Option<Login>, Refusal> {
    let Some(key) = values.login(Setting::Key)? else { return Ok(None) };
    let (text, file) = (values.find(Setting::Token), values.find(Setting::TokenFile));
    let token = match (text, file) {
        (Some(text), Some(file)) if text.origin.same_layer(&file.origin) => {
            let (one, other) = (text.origin.clone(), file.origin.clone());
            return Err(Refusal::Contradiction {
                one,
                other,
                why: "give the token or the file it is in, not both",
            });
        }
        (Some(text), Some(file)) if text.origin.stronger_than(&file.origin) => token(text)?,
        (_, Some(file)) => token_in_file(file)?,
        (Some(text), None) => token(text)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(Login { key, token }))
}

fn token(given: &Given) -> Result<Secret, Refusal> {
    if is_login(given.text.expose()) { Ok(given.text.clone()) } else { Err(given.expected(LOGIN_EXPECTED)) }
}

fn token_in_file(given: &Given) -> Result<Secret, Refusal> {
    secret_in_file(given)?
        .ok_or_else(|| given.expected("a file that holds the token, ".to_owned() + LOGIN_EXPECTED))
}

/// The only line of the file that is named, `None` if it is not fit for a login.
pub(super) fn secret_in_file(given: &Given) -> Result<Option<Secret>, Refusal> {
    let text = file::read_text(Path::new(given.text.expose()), file::SETTINGS_MAX_BYTES)
        .map_err(|source| Refusal::ReadFile { origin: given.origin.clone(), source })?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    Ok(is_login(line).then(|| Secret::new(line)))
}

/// The organization that is given, or else the one in the key; they must be one.
fn organization(values: &Values, login: Option<&Login>, explicit_broker: bool) -> Result<String, Refusal> {
    let named = values.name(Setting::Organization)?;
    let in_key = login.and_then(|login| organization_of(&login.key));
    match (named, in_key, values.find(Setting::Key)) {
        (_, None, Some(key)) if !explicit_broker => {
            Err(key.expected("an API key of the form a-{organization}-{random}"))
        }
        (Some(named), Some(in_key), Some(key)) if named != in_key => Err(Refusal::Contradiction {
            one: values.find(Setting::Organization).unwrap_or(key).origin.clone(),
            other: key.origin.clone(),
            why: "the second part of the API key is another organization",
        }),
        (Some(named), _, _) => Ok(named),
        (None, Some(in_key), _) => Ok(in_key.to_owned()),
        (None, None, _) => Err(Refusal::Missing(vec![Setting::Organization])),
    }
}

fn identity(values: &Values, organization: String) -> Result<Identity, Refusal> {
    let shared = values.parse(Setting::ApplicationType, "standalone or shared", |text| match text {
        "standalone" => Some(false),
        "shared" => Some(true),
        _ => None,
    })?;
    // Our own flag and variable stand above all places of the platform's two settings.
    let scalable = values.scalable()?;
    let is_scalable = scalable.is_some() || shared.unwrap_or(false);
    let instance = match scalable.flatten() {
        Some(instance) => Some(instance),
        None => values.name(Setting::Instance)?,
    };
    let kind = match (instance, is_scalable) {
        (Some(instance), _) => ApplicationKind::Scalable { instance: Some(instance) },
        (None, true) => ApplicationKind::Scalable { instance: None },
        (None, false) => ApplicationKind::Standalone,
    };
    // Without an id `require` has seen an explicit broker. The simulation must not take the service's client id over.
    let default = if values.verb == Verb::Simulate { "devstatus-simulate" } else { "devstatus" };
    let application = values.name(Setting::Id)?.unwrap_or_else(|| default.to_owned());
    Ok(Identity { organization, application, kind })
}

/// The file of certificates that a setting names, `None` for the system's trust store.
pub(super) fn certificates(values: &Values, setting: Setting) -> Result<Option<PathBuf>, Refusal> {
    let Some(given) = values.find(setting) else { return Ok(None) };
    let text = given.text.expose();
    if text == SYSTEM_TRUST_STORE {
        return Ok(None);
    }
    let path = PathBuf::from(text);
    files::check_readable(&path)
        .map_err(|source| Refusal::ReadFile { origin: given.origin.clone(), source })?;
    Ok(Some(path))
}

fn ca_file(values: &Values, endpoint: &Endpoint) -> Result<Option<PathBuf>, Refusal> {
    let Some(given) = values.find(Setting::CaFile) else { return Ok(None) };
    if given.text.expose() == SYSTEM_TRUST_STORE {
        return Ok(None);
    }
    let plain = matches!(endpoint.transport, Transport::Tcp | Transport::Ws);
    if let Some(broker) = values.find(Setting::Broker).filter(|_| plain)
        && broker.origin.same_layer(&given.origin)
    {
        let (one, other) = (given.origin.clone(), broker.origin.clone());
        return Err(Refusal::Contradiction { one, other, why: "mqtt:// and ws:// use no certificates" });
    }
    if plain {
        return Ok(None);
    }
    certificates(values, Setting::CaFile)
}
