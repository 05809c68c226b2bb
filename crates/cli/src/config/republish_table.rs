//! The `[republish]` table of `devstatus.toml`.

use super::file_tables::Tables;
use super::refusal::ConfigError;
use super::table_keys::TableKeys;
use super::toml::REPUBLISH;
use super::value::{self, LOGIN, is_login, mqtt_version, text_if};
use super::webhook_tables::{client_tls, selector_of, settle};
use super::{broker_url, file};
use mqtt::settings::{ConnectSettings, Endpoint, Login};
use republish::settings::{PREFIX_MAX_BYTES, RepublishSettings, is_prefix};
use server::sync::settings::{ApplicationKind, BrokerIdentity, SourceSettings};

const PREFIX: &str = "devstatus";

/// The longest client id: the standard lets brokers refuse more than 23 bytes, and those in use take more than this.
const CLIENT_ID_MAX_BYTES: usize = 128;

/// What is republished, if there is such a table. What it leaves out of the broker is that of the source. Its password is read.
pub(super) fn read(
    tables: &Tables<'_>,
    service: &str,
    source: &SourceSettings,
    further: &[SourceSettings],
) -> Result<Option<RepublishSettings>, ConfigError> {
    let Some(keys) = tables.only(REPUBLISH) else { return Ok(None) };
    let settings = keys.read(|keys| {
        let prefix = prefix(keys, "prefix")?;
        let home_assistant = self::prefix(keys, "home_assistant")?;
        let broker = keys.text("broker", broker_url::endpoint)?;
        let client_id = keys.text("id", |text| {
            let fits = is_login(text) && text.len() <= CLIENT_ID_MAX_BYTES;
            text_if(fits, text, format!("a client id of 1 to {CLIENT_ID_MAX_BYTES} bytes"))
        })?;
        Ok(RepublishSettings {
            prefix: prefix.unwrap_or_else(|| PREFIX.to_owned()),
            client_id: client_id.unwrap_or_else(|| default_client_id(broker.as_ref(), service, source)),
            connect: connect(keys, broker, source, further)?,
            settle: settle(keys)?,
            selector: keys.selector(selector_of)?,
            home_assistant,
        })
    })?;
    for source in [source].into_iter().chain(further) {
        refuse_beside(&keys, &settings, source)?;
    }
    Ok(Some(settings))
}

fn prefix(keys: &TableKeys<'_>, key: &'static str) -> Result<Option<String>, ConfigError> {
    let expected = || format!("levels of a topic, at most {PREFIX_MAX_BYTES} bytes, without wildcards");
    keys.text(key, |text| text_if(is_prefix(text), text, expected()))
}

/// The broker of the table, or that of the only source.
fn connect(
    keys: &TableKeys<'_>,
    broker: Option<Endpoint>,
    source: &SourceSettings,
    further: &[SourceSettings],
) -> Result<ConnectSettings, ConfigError> {
    let connect = match broker {
        Some(broker) => ConnectSettings::new(broker),
        None if further.is_empty() => ConnectSettings {
            tls: source.tls.clone(),
            login: source.login.clone(),
            mqtt_version: source.mqtt_version,
            ..ConnectSettings::new(source.endpoint.clone())
        },
        None => {
            let expected = "the key broker in this table, because there are several sources";
            return Err(ConfigError::expected(&keys.place(), expected));
        }
    };
    let (login, tls) = (login(keys)?, client_tls(keys)?);
    let tls_key = ["ca_file", "tls_client_cert"].into_iter().find(|key| keys.has(key));
    if let Some(key) = tls_key.filter(|_| !connect.endpoint.transport.is_encrypted()) {
        return Err(keys.unfit(key, "mqtts:// or wss:// as broker: others use no certificates"));
    }
    Ok(ConnectSettings {
        login: login.or(connect.login),
        tls: if tls_key.is_some() { tls } else { connect.tls },
        mqtt_version: keys.text("mqtt_version", mqtt_version)?.unwrap_or(connect.mqtt_version),
        ..connect
    })
}

/// User and password; the latter is in a file, because a settings file is copied and shown around.
fn login(keys: &TableKeys<'_>) -> Result<Option<Login>, ConfigError> {
    const FILE: &str = "password_file";
    let (user, file) = (keys.text("user", value::user_name)?, keys.text(FILE, value::path)?);
    let Some((key, file)) = keys.together(("user", user), (FILE, file))? else { return Ok(None) };
    let what = format!("the password, {LOGIN}");
    let token = file::read_secret(&file, &keys.origin_of(FILE), &what, value::password)?;
    Ok(Some(Login { key, token }))
}

/// Refuses what the source would read again, and a client that would throw it out of the broker.
fn refuse_beside(
    keys: &TableKeys<'_>,
    settings: &RepublishSettings,
    source: &SourceSettings,
) -> Result<(), ConfigError> {
    if settings.is_ambiguous() {
        return Err(keys.unfit("prefix", "a prefix other than that of Home Assistant's topics"));
    }
    let filters = source.formats.filters();
    if let Some(filter) = filters.iter().find(|filter| settings.would_reach(&source.endpoint, filter)) {
        return Err(keys.unfit("prefix", format!(
            "topics that no source reads: a source reads {filter} on this broker, and would read what is republished"
        )));
    }
    if source.identity.client_id() == settings.client_id && source.endpoint == settings.connect.endpoint {
        let expected = "an id that no source has at this broker, which lets a client id in once";
        return Err(ConfigError::expected(&keys.place(), expected));
    }
    Ok(())
}

/// The same at all instances of a service, whose applications may differ.
fn default_client_id(broker: Option<&Endpoint>, service: &str, source: &SourceSettings) -> String {
    match (broker, &source.identity.kind) {
        (Some(_), _) | (None, ApplicationKind::Client) => format!("{service}-republish"),
        (None, ApplicationKind::Standalone | ApplicationKind::Scalable { .. }) => {
            let organization = source.identity.organization.clone();
            let (application, kind) = (PREFIX.to_owned(), ApplicationKind::Standalone);
            BrokerIdentity { organization, application, kind }.client_id_of("republish")
        }
    }
}
