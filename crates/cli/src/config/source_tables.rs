//! The `[[source]]` tables of `devstatus.toml`: several brokers beside each other, each with formats, credentials and ways of
//! reading of its own.

use std::sync::LazyLock;

use super::Stop;
use super::arguments::SourceTableArgs;
use super::file_tables::Tables;
use super::grammar::Origins;
use super::layers::Layers;
use super::refusal::{ConfigError, Origin};
use super::toml::SOURCES;

/// Each source has a thread and connections of its own.
const SOURCES_MAX: usize = 64;

/// The settings of the service itself that tables take the place of.
pub(super) const REPLACED: [&str; 19] = [
    "source",
    "broker",
    "id",
    "key",
    "token",
    "token-file",
    "ca-file",
    "broker-cert",
    "broker-key",
    "broker-alpn",
    "mqtt-version",
    "keep-alive",
    "clean-session",
    "session-expiry",
    "quiet-interval-ms",
    "replay-limits",
    "reconcile-interval",
    "population-connections",
    "broker-counters",
];

/// What a table may say: the same, with what it is called and reads. Credentials are in files: a settings file is copied and
/// shown around.
pub(super) static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let shared = REPLACED.into_iter().filter(|setting| !["source", "token"].contains(setting));
    ["name", "format"].into_iter().chain(shared).collect()
});

/// One table.
#[derive(Clone)]
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
        layers.add(keys.settings(&KEYS)?);
        Ok(SourceTable { at: keys.place(), origins: Origins::of_layers(layers) })
    })
}
