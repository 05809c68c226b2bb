//! The `[republish]` table of `devstatus.toml`.

use std::path::Path;
use std::time::Duration;

use super::broker_url;
use super::file::{self, SETTINGS_MAX_BYTES};
use super::file_tables::Tables;
use super::refusal::{ConfigError, Origin};
use super::table_keys::TableKeys;
use super::toml::{REPUBLISH, table};
use super::value::{LOGIN, is_login, mqtt_version};
use super::webhook_tables::{client_tls, selector_of};
use mqtt::settings::{ConnectSettings, Endpoint, Login, MqttVersion, Transport};
use presence::query::Filter;
use presence::settle::SETTLE_MAX;
use republish::settings::{PREFIX_MAX_BYTES, RepublishSettings, is_prefix};
use server::sync::settings::{ApplicationKind, BrokerIdentity, SourceSettings};
use system::secret::Secret;
use system::tls::ClientTls;

const PREFIX: &str = "devstatus";

/// The longest client id: the standard lets brokers refuse more than 23 bytes, and those in use take more than this.
const CLIENT_ID_MAX_BYTES: usize = 128;

/// The table. What it leaves out of the broker is that of the source.
#[derive(Debug)]
pub(super) struct RepublishTable {
    /// Where it begins.
    pub origin: Origin,
    /// Where its prefix is.
    prefix_origin: Origin,
    prefix: String,
    broker: Option<Endpoint>,
    client_id: Option<String>,
    login: Option<Login>,
    tls: ClientTls,
    tls_origin: Option<Origin>,
    mqtt_version: Option<MqttVersion>,
    selector: Filter,
    settle: Duration,
    home_assistant: Option<String>,
}

/// The table, if there is one. Its password is read.
pub(super) fn read(tables: &Tables<'_>) -> Result<Option<RepublishTable>, ConfigError> {
    let Some(found) = table(tables.document, REPUBLISH) else { return Ok(None) };
    let keys = TableKeys::new(tables.path, tables.text, REPUBLISH, found);
    read_keys(&keys).map(Some)
}

fn read_keys(keys: &TableKeys<'_>) -> Result<RepublishTable, ConfigError> {
    let prefix_expected = format!("levels of a topic, at most {PREFIX_MAX_BYTES} bytes, without wildcards");
    let prefix =
        |key| keys.optional(key, &prefix_expected, |value| value.as_str().filter(|it| is_prefix(it)));
    let (prefix, home_assistant) = (prefix("prefix")?, prefix("home_assistant")?);
    let broker_expected = "mqtt://, mqtts://, ws:// or wss:// with a host, and no user";
    let broker =
        keys.optional("broker", broker_expected, |value| broker_url::endpoint(value.as_str()?).ok())?;
    let id_expected = format!("a client id of 1 to {CLIENT_ID_MAX_BYTES} bytes");
    let client_id = keys.optional("id", &id_expected, |value| {
        value.as_str().filter(|id| is_login(id) && id.len() <= CLIENT_ID_MAX_BYTES)
    })?;
    let login = login(keys)?;
    let tls = client_tls(keys)?;
    let tls_origin = ["ca_file", "tls_client_cert"].into_iter().find(|key| keys.has(key));
    let mqtt_version =
        keys.optional("mqtt_version", "\"3.1.1\" or \"5\"", |value| mqtt_version(value.as_str()?).ok())?;
    let settle = keys.time("settle", "a time from 0 to 1h, like \"5s\"", ..=SETTLE_MAX)?;
    let selector = match keys.selector("republish.selector")? {
        Some(keys) => selector_of(&keys)?,
        None => Filter::default(),
    };
    keys.refuse_others()?;
    Ok(RepublishTable {
        origin: keys.origin(keys.prefix, keys.start),
        prefix_origin: keys.origin_of("prefix"),
        prefix: prefix.unwrap_or(PREFIX).to_owned(),
        broker,
        client_id: client_id.map(str::to_owned),
        login,
        tls,
        tls_origin: tls_origin.map(|key| keys.origin_of(key)),
        mqtt_version,
        selector,
        settle: settle.unwrap_or_default(),
        home_assistant: home_assistant.map(str::to_owned),
    })
}

/// User and password; the latter is in a file, because a settings file is copied and shown around.
fn login(keys: &TableKeys<'_>) -> Result<Option<Login>, ConfigError> {
    let user = keys.optional("user", LOGIN, |value| value.as_str().filter(|user| is_login(user)))?;
    let file = keys.path("password_file")?;
    match (user, file) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(keys.unfit("user", "password_file beside it")),
        (None, Some(_)) => Err(keys.unfit("password_file", "user beside it")),
        (Some(user), Some(file)) => {
            let token = password(keys, file)?;
            Ok(Some(Login { key: user.to_owned(), token }))
        }
    }
}

fn password(keys: &TableKeys<'_>, path: &Path) -> Result<Secret, ConfigError> {
    let origin = keys.origin_of("password_file");
    let text = file::read_named(path, SETTINGS_MAX_BYTES, &origin)?;
    let line = text.trim_end_matches(['\r', '\n']);
    let expected = || format!("the password, {LOGIN}");
    if is_login(line) {
        Ok(Secret::new(line))
    } else {
        Err(ConfigError::Line { origin, line: 1, expected: expected() })
    }
}

impl RepublishTable {
    /// The settings beside those of the sources. Refuses what a source would read again.
    pub fn settings(
        &self,
        service: &str,
        source: &SourceSettings,
        further: &[SourceSettings],
    ) -> Result<RepublishSettings, ConfigError> {
        let settings = RepublishSettings {
            prefix: self.prefix.clone(),
            connect: self.connect(source, further)?,
            client_id: self.client_id.clone().unwrap_or_else(|| self.default_client_id(service, source)),
            selector: self.selector.clone(),
            settle: self.settle,
            home_assistant: self.home_assistant.clone(),
        };
        let refused = |expected: String| Err(ConfigError::expected(&self.prefix_origin, expected));
        if settings.is_ambiguous() {
            return refused("a prefix other than that of Home Assistant's topics".to_owned());
        }
        for source in [source].into_iter().chain(further) {
            let filters = source.formats.filters();
            if let Some(filter) = filters.iter().find(|filter| settings.would_reach(&source.endpoint, filter))
            {
                return refused(format!(
                    "topics that no source reads: a source reads {filter} on this broker, and would read what is republished"
                ));
            }
            let is_taken = source.identity.client_id() == settings.client_id;
            if is_taken && source.endpoint == settings.connect.endpoint {
                let expected = "an id that no source has at this broker, which lets a client id in once";
                return Err(ConfigError::expected(&self.origin, expected));
            }
        }
        Ok(settings)
    }

    fn connect(
        &self,
        source: &SourceSettings,
        further: &[SourceSettings],
    ) -> Result<ConnectSettings, ConfigError> {
        let connect = match &self.broker {
            Some(broker) => ConnectSettings::new(broker.clone()),
            None if further.is_empty() => ConnectSettings {
                tls: source.tls.clone(),
                login: source.login.clone(),
                mqtt_version: source.mqtt_version,
                ..ConnectSettings::new(source.endpoint.clone())
            },
            None => {
                let expected = "the key broker in this table, because there are several sources";
                return Err(ConfigError::expected(&self.origin, expected));
            }
        };
        let is_encrypted = match connect.endpoint.transport {
            Transport::Tls | Transport::Wss => true,
            Transport::Tcp | Transport::Ws => false,
        };
        match &self.tls_origin {
            Some(origin) if !is_encrypted => {
                let expected = "mqtts:// or wss:// as broker: others use no certificates";
                Err(ConfigError::expected(origin, expected))
            }
            tls => Ok(ConnectSettings {
                tls: if tls.is_some() { self.tls.clone() } else { connect.tls },
                login: self.login.clone().or(connect.login),
                mqtt_version: self.mqtt_version.unwrap_or(connect.mqtt_version),
                ..connect
            }),
        }
    }

    /// The same at all instances of a service, whose applications may differ.
    fn default_client_id(&self, service: &str, source: &SourceSettings) -> String {
        match (&self.broker, &source.identity.kind) {
            (Some(_), _) | (None, ApplicationKind::Client) => format!("{service}-republish"),
            (None, ApplicationKind::Standalone | ApplicationKind::Scalable { .. }) => {
                let organization = source.identity.organization.clone();
                let (application, kind) = (PREFIX.to_owned(), ApplicationKind::Standalone);
                BrokerIdentity { organization, application, kind }.client_id_of("republish")
            }
        }
    }
}
