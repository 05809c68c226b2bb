//! The tables of `devstatus.toml`, which no flag has: they are read once, each kind by its own reader.

use std::collections::BTreeSet;
use std::path::Path;

use alerts::RuleSet;
use toml::de::DeTable;

use super::file::SettingsFile;
use super::refusal::ConfigError;
use super::republish_table::{self, RepublishTable};
use super::source_tables::{self, SourceTable};
use super::table_keys::TableKeys;
use super::toml::tables_of;
use super::webhook_tables::{self, Endpoints};
use super::{profiles, rule_tables};
use formats::profile::Profile;

/// What the tables say; of a file that can have none, nothing.
#[derive(Default)]
pub(super) struct FileTables {
    /// The file, to show tables as they are written.
    pub file: Option<SettingsFile>,
    pub profiles: Vec<Profile>,
    pub sources: Vec<SourceTable>,
    pub webhooks: Endpoints,
    pub republish: Option<RepublishTable>,
    pub rules: RuleSet,
}

impl FileTables {
    /// What a subcommand needs of a file whose other settings have been read. Secrets of endpoints are for the service alone.
    pub fn read(file: SettingsFile, verb: Option<&str>) -> Result<Self, ConfigError> {
        let Some(text) = file.toml() else { return Ok(Self::default()) };
        // The reader of the other settings has refused a file that is no TOML.
        let Ok(parsed) = DeTable::parse(text) else { return Ok(Self::default()) };
        let tables = Tables { path: &file.path, text, document: parsed.get_ref() };
        let is_for = |verbs: &[&str]| verb.is_none_or(|verb| verbs.contains(&verb));
        let (mut webhooks, mut republish, mut rules) = (Endpoints::default(), None, RuleSet::default());
        if is_for(&["serve", "config"]) {
            webhooks = webhook_tables::read(&tables)?;
            republish = republish_table::read(&tables)?;
        }
        if is_for(&["serve", "config", "rules"]) {
            rules = rule_tables::read(&tables)?;
        }
        let (profiles, sources) = (profiles::of_settings_file(&tables)?, source_tables::read(&tables)?);
        Ok(Self { profiles, sources, webhooks, republish, rules, file: Some(file) })
    }
}

/// A settings file as it was parsed.
pub(super) struct Tables<'a> {
    pub path: &'a Path,
    pub text: &'a str,
    pub document: &'a DeTable<'a>,
}

impl<'a> Tables<'a> {
    /// The keys at the top of the file.
    pub fn top(&self) -> TableKeys<'a> {
        TableKeys::new(self.path, self.text, "", (0, self.document))
    }

    /// The keys of each table of that name, in their order.
    pub fn all(&self, name: &'static str, tables_max: usize) -> Result<Vec<TableKeys<'a>>, ConfigError> {
        let of = |table| TableKeys::new(self.path, self.text, name, table);
        let keys: Vec<_> = tables_of(self.document, name).map(of).collect();
        match keys.get(tables_max) {
            Some(further) => {
                Err(further.invalid(name, further.start, format!("at most {tables_max} of these tables")))
            }
            None => Ok(keys),
        }
    }

    /// What the tables of that name are called.
    pub fn names(&self, name: &str) -> BTreeSet<&'a str> {
        let called = |table: &'a DeTable<'a>| table.get("name")?.get_ref().as_str();
        tables_of(self.document, name).filter_map(|(_, table)| called(table)).collect()
    }
}
