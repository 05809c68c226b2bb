//! The `[[source]]` tables of `devstatus.toml`: several brokers beside each other, each with formats, credentials and ways of
//! reading of its own.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use clap::CommandFactory;

use super::super::arguments::{LinkArgs, SourceTableArgs};
use super::super::grammar::{Origins, setting_names};
use super::super::layers::Layers;
use super::super::toml::SOURCES;
use super::super::value::organization_of;
use super::super::{ConfigError, Stop, profiles};
use super::{BuildContext, source};
use formats::catalog::IOT_PLATFORM;
use presence::payload::SOURCE_MAX_BYTES;
use server::sync::settings::{ApplicationKind, BrokerIdentity, SourceSettings};

/// Each source has a thread and connections of its own.
const SOURCES_MAX: usize = 64;

/// What a table may say: how a source is called, connected to and read. The token is in a file, because a settings file is copied
/// and shown around.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut keys = setting_names(&SourceTableArgs::command());
    keys.retain(|key| key != "token");
    keys
});

/// The settings that only a source has which flags describe.
pub(super) const OF_ONLY_SOURCE: [&str; 6] =
    ["types", "types-file", "devices-file", "scalable", "partition", "share"];

/// The settings of the service that say nothing beside tables.
pub(in crate::config) fn replaced() -> impl Iterator<Item = &'static str> {
    let shared = KEYS.iter().map(String::as_str).filter(|key| !["name", "format"].contains(key));
    ["source", "token"].into_iter().chain(OF_ONLY_SOURCE).chain(shared)
}

impl BuildContext {
    /// The sources of the tables, in their order; empty without tables.
    pub(super) fn table_sources(
        &self,
        service: &str,
        profiles_file: Option<&Path>,
    ) -> Result<Vec<SourceSettings>, Stop> {
        let tables = self.tables();
        let one = replaced().find_map(|setting| self.origins.of(setting));
        if let Some((one, other)) = one.zip(tables.place(SOURCES)) {
            let why = "with [[source]] tables, each source is what its table says";
            return Err(ConfigError::Contradiction { one, other, why }.into());
        }
        let keys: Vec<_> = KEYS.iter().map(String::as_str).collect();
        let tables = tables.all(SOURCES, SOURCES_MAX, |table| {
            let mut layers = Layers::default();
            layers.add(table.settings(&keys)?);
            Ok(Origins::of_table(table.place(), layers))
        })?;
        let mut sources: Vec<SourceSettings> = Vec::new();
        for table in &tables {
            let source = self.table_source(table, table.parse()?, service, profiles_file)?;
            refuse_beside(table, &source, &sources)?;
            sources.push(source);
        }
        Ok(sources)
    }

    fn table_source(
        &self,
        table: &Origins,
        args: SourceTableArgs,
        service: &str,
        profiles_file: Option<&Path>,
    ) -> Result<SourceSettings, ConfigError> {
        let SourceTableArgs { name, format, key, link } = args;
        let LinkArgs { mut broker, reading } = link;
        let missing =
            [("name", name.is_none()), ("format", format.is_empty()), ("broker", broker.broker.is_none())];
        let missing = source::missing_of(missing);
        let (Some(name), true) = (name, missing.is_empty()) else {
            return Err(table.missing(missing));
        };
        let formats = profiles::formats(&format, &self.tables(), profiles_file, table)?;
        let reads_platform = formats.has(IOT_PLATFORM);
        if name == IOT_PLATFORM && !formats.are_platform_only() {
            return Err(table.expected("name", "another name: iot-platform is that of its format"));
        }
        let formats = Arc::new(Arc::unwrap_or_clone(formats).of_source(&name));
        if formats.names().iter().any(|label| label.len() > SOURCE_MAX_BYTES) {
            // The devices of the source could not show it.
            let most = format!("a name that has at most {SOURCE_MAX_BYTES} bytes together with the format's");
            return Err(table.expected("name", most));
        }
        let organization =
            key.as_deref().and_then(organization_of).filter(|_| reads_platform).map(str::to_owned);
        let application = broker.id.clone();
        broker.id.get_or_insert_with(|| format!("{service}-{name}"));
        let source = table.other_source(service.to_owned(), key, broker)?;
        let identity = match organization {
            // The platform's own broker, which wants its form of a client id.
            Some(organization) => BrokerIdentity {
                organization,
                application: application.unwrap_or_else(|| name.clone()),
                kind: ApplicationKind::Standalone,
            },
            None => source.identity,
        };
        Ok(SourceSettings {
            name: Some(name.into()),
            identity,
            formats,
            quiet_interval: reading.quiet_interval_ms,
            population: source::population(&reading, true),
            ..source
        })
    }
}

/// Refuses a source that cannot be told from another one, or that would throw it out of the broker.
fn refuse_beside(
    table: &Origins,
    source: &SourceSettings,
    others: &[SourceSettings],
) -> Result<(), ConfigError> {
    let client = |source: &SourceSettings| (source.endpoint.clone(), source.identity.client_id());
    for other in others {
        if other.name == source.name {
            return Err(table.expected("name", "a name that no other source has"));
        }
        if other.formats.has(IOT_PLATFORM) && source.formats.has(IOT_PLATFORM) {
            return Err(
                table.expected("format", "iot-platform in one source only: its devices name no other")
            );
        }
        if client(other) == client(source) {
            let expected = "an id that no other source has at this broker, which lets a client id in once";
            return Err(table.expected("id", expected));
        }
    }
    Ok(())
}
