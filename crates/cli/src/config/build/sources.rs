//! Several brokers in one process: a source of each `[[source]]` table.

use std::path::Path;
use std::sync::Arc;

use super::super::arguments::{LinkArgs, SourceTableArgs};
use super::super::source_tables::{self, SourceTable};
use super::super::value::organization_of;
use super::super::{ConfigError, Stop, profiles};
use super::{BuildContext, source};
use formats::catalog::{Formats, IOT_PLATFORM};
use presence::payload::SOURCE_MAX_BYTES;
use server::sync::settings::{ApplicationKind, BrokerIdentity, SourceSettings};

impl BuildContext {
    /// The sources of the tables, in their order; empty without tables.
    pub(super) fn table_sources(
        &self,
        service: &str,
        profiles_file: Option<&Path>,
    ) -> Result<Vec<SourceSettings>, Stop> {
        let tables = source_tables::read(&self.tables())?;
        let Some(first) = tables.first() else { return Ok(Vec::new()) };
        if let Some(one) = source_tables::replaced().find_map(|setting| self.origins.of(setting)) {
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
        let missing: Vec<_> =
            missing.into_iter().filter_map(|(key, missing)| missing.then_some(key)).collect();
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
