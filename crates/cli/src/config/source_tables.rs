//! The `[[source]]` tables of `devstatus.toml`: several brokers beside each other, each with formats, credentials and ways of
//! reading of its own.

use std::sync::LazyLock;

use clap::CommandFactory;

use super::Stop;
use super::arguments::SourceTableArgs;
use super::file_tables::Tables;
use super::grammar::{Origins, setting_names};
use super::layers::Layers;
use super::refusal::{ConfigError, Origin};
use super::toml::SOURCES;

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
pub(super) fn replaced() -> impl Iterator<Item = &'static str> {
    let shared = KEYS.iter().map(String::as_str).filter(|key| !["name", "format"].contains(key));
    ["source", "token"].into_iter().chain(OF_ONLY_SOURCE).chain(shared)
}

/// One table.
pub(super) struct SourceTable {
    /// Where it begins.
    pub at: Origin,
    /// Where each of its keys is.
    pub origins: Origins,
}

impl SourceTable {
    pub fn parse(&self) -> Result<SourceTableArgs, Stop> {
        self.origins.parse()
    }

    /// A refusal in terms of the table: what is missing in it is missing there, and not as a flag.
    pub fn refusal(&self, error: ConfigError) -> ConfigError {
        match error {
            ConfigError::Missing(keys) => {
                self.expected(format!("the key {} in this table", keys.join(" and ")))
            }
            error => error,
        }
    }

    pub fn expected(&self, expected: impl Into<String>) -> ConfigError {
        ConfigError::expected(&self.at, expected)
    }
}

/// The tables of sources, in their order.
pub(super) fn read(tables: &Tables<'_>) -> Result<Vec<SourceTable>, ConfigError> {
    tables.all(SOURCES, SOURCES_MAX, |keys| {
        let mut layers = Layers::default();
        layers.add(keys.settings(&KEYS.iter().map(String::as_str).collect::<Vec<_>>())?);
        Ok(SourceTable { at: keys.place(), origins: Origins::of_layers(layers) })
    })
}
