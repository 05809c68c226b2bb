//! The `[[source]]` tables of `devstatus.toml`: several brokers beside each other, each with formats, credentials and ways of
//! reading of its own.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use clap::CommandFactory;

use super::super::arguments::{LinkArgs, SourceTableArgs};
use super::super::file_tables::Tables;
use super::super::grammar::{Origins, setting_names};
use super::super::layers::Layers;
use super::super::toml::SOURCES;
use super::super::value::organization_of;
use super::super::{ConfigError, Origin, Stop, profiles};
use super::{BuildContext, source};
use formats::catalog::{Formats, IOT_PLATFORM};
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

/// One table.
struct SourceTable {
    /// Where it begins.
    at: Origin,
    /// Where each of its keys is.
    origins: Origins,
}

impl SourceTable {
    fn parse(&self) -> Result<SourceTableArgs, Stop> {
        self.origins.parse()
    }

    /// A refusal in terms of the table: what is missing in it is missing there, and not as a flag.
    fn refusal(&self, error: ConfigError) -> ConfigError {
        match error {
            ConfigError::Missing(keys) => {
                self.expected(format!("the key {} in this table", keys.join(" and ")))
            }
            error => error,
        }
    }

    fn expected(&self, expected: impl Into<String>) -> ConfigError {
        ConfigError::expected(&self.at, expected)
    }
}

/// The tables of sources, in their order.
fn read(tables: &Tables<'_>) -> Result<Vec<SourceTable>, ConfigError> {
    tables.all(SOURCES, SOURCES_MAX, |keys| {
        let mut layers = Layers::default();
        layers.add(keys.settings(&KEYS.iter().map(String::as_str).collect::<Vec<_>>())?);
        Ok(SourceTable { at: keys.place(), origins: Origins::of_layers(layers) })
    })
}

impl BuildContext {
    /// The sources of the tables, in their order; empty without tables.
    pub(super) fn table_sources(
        &self,
        service: &str,
        profiles_file: Option<&Path>,
    ) -> Result<Vec<SourceSettings>, Stop> {
        let tables = read(&self.tables())?;
        let Some(first) = tables.first() else { return Ok(Vec::new()) };
        if let Some(one) = replaced().find_map(|setting| self.origins.of(setting)) {
            let why = "with [[source]] tables, each source is what its table says";
            return Err(ConfigError::Contradiction { one, other: first.at.clone(), why }.into());
        }
        let mut sources: Vec<SourceSettings> = Vec::new();
        for table in &tables {
            let args = table.parse()?;
            let source = self.table_source(table, args, service, profiles_file);
            let source = source.map_err(|error| table.refusal(error))?;
            refuse_beside(table, &source, &sources)?;
            sources.push(source);
        }
        Ok(sources)
    }

    fn table_source(
        &self,
        table: &SourceTable,
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
            return Err(ConfigError::Missing(missing));
        };
        let formats = profiles::formats(&format, &self.tables(), profiles_file, &table.origins)?;
        let reads_platform = formats.has(IOT_PLATFORM);
        if name == IOT_PLATFORM && !formats.are_platform_only() {
            return Err(table.origins.expected("name", "another name: iot-platform is that of its format"));
        }
        let formats = Arc::new(Arc::unwrap_or_clone(formats).of_source(&name));
        check_length(table, &formats)?;
        let organization =
            key.as_deref().and_then(organization_of).filter(|_| reads_platform).map(str::to_owned);
        let application = broker.id.clone();
        broker.id.get_or_insert_with(|| format!("{service}-{name}"));
        let source = table.origins.other_source(service.to_owned(), key, broker)?;
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

/// Refuses a name that is too long for the devices of the source to show it.
fn check_length(table: &SourceTable, formats: &Formats) -> Result<(), ConfigError> {
    if formats.names().iter().all(|label| label.len() <= SOURCE_MAX_BYTES) {
        return Ok(());
    }
    let expected = format!("a name that has at most {SOURCE_MAX_BYTES} bytes together with the format's");
    Err(table.origins.expected("name", expected))
}

/// Refuses a source that cannot be told from another one, or that would throw it out of the broker.
fn refuse_beside(
    table: &SourceTable,
    source: &SourceSettings,
    others: &[SourceSettings],
) -> Result<(), ConfigError> {
    let client = |source: &SourceSettings| (source.endpoint.clone(), source.identity.client_id());
    for other in others {
        if other.name == source.name {
            return Err(table.origins.expected("name", "a name that no other source has"));
        }
        if other.formats.has(IOT_PLATFORM) && source.formats.has(IOT_PLATFORM) {
            return Err(table
                .origins
                .expected("format", "iot-platform in one source only: its devices name no other"));
        }
        if client(other) == client(source) {
            let expected = "an id that no other source has at this broker, which lets a client id in once";
            return Err(table.origins.expected("id", expected));
        }
    }
    Ok(())
}
