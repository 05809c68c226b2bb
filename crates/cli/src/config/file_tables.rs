//! The tables of `devstatus.toml`, which no flag has: each kind is read by its own reader, where a subcommand needs it.

use std::collections::BTreeSet;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::SettingsFile;
use super::refusal::{ConfigError, Origin};
use super::table_keys::TableKeys;
use super::value;
use webhooks::settings::NAME_MAX_BYTES;

/// A settings file as it was parsed; of one that can have no tables, nothing.
pub(super) struct Tables<'a> {
    pub path: &'a Path,
    pub text: &'a str,
    pub document: DeTable<'a>,
}

impl<'a> Tables<'a> {
    pub fn of(file: Option<&'a SettingsFile>) -> Self {
        let (path, text) =
            file.and_then(|file| Some((&*file.path, file.toml()?))).unwrap_or((Path::new(""), ""));
        // The reader of the other settings has refused a file that is no TOML.
        let document = DeTable::parse(text).map(Spanned::into_inner).unwrap_or_default();
        Self { path, text, document }
    }

    /// The keys at the top of the file.
    pub fn top(&self) -> TableKeys<'_> {
        TableKeys::new(self.path, self.text, "", (0, &self.document))
    }

    /// The keys of each table of that name, in their order.
    fn each(&self, name: &'static str) -> impl Iterator<Item = TableKeys<'_>> {
        let items = match self.document.get(name).map(Spanned::get_ref) {
            Some(DeValue::Array(items)) => &items[..],
            Some(_) | None => &[],
        };
        let tables = items.iter().filter_map(|item| Some((item.span().start, item.get_ref().as_table()?)));
        tables.map(move |table| TableKeys::new(self.path, self.text, name, table))
    }

    /// What `read` makes of each table of that name, in their order.
    pub fn all<T>(
        &self,
        name: &'static str,
        tables_max: usize,
        mut read: impl FnMut(&TableKeys<'_>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        if let Some(further) = self.each(name).nth(tables_max) {
            let expected = format!("at most {tables_max} of these tables");
            return Err(ConfigError::expected(&further.place(), expected));
        }
        self.each(name).map(|keys| keys.read(&mut read)).collect()
    }

    /// The same of tables with a name, which no two have.
    pub fn named<T>(
        &self,
        name: &'static str,
        tables_max: usize,
        mut read: impl FnMut(&TableKeys<'_>, String) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        let mut names = BTreeSet::new();
        self.all(name, tables_max, |keys| {
            let own = keys.required("name", value::label(NAME_MAX_BYTES))?;
            if !names.insert(own.clone()) {
                return Err(keys.unfit("name", format!("a name that no other {name} has")));
            }
            read(keys, own)
        })
    }

    /// The only table of that name.
    pub fn only(&self, name: &'static str) -> Option<TableKeys<'_>> {
        let (key, value) = self.document.get_key_value(name)?;
        Some(TableKeys::new(self.path, self.text, name, (key.span().start, value.get_ref().as_table()?)))
    }

    /// Where the first table of that name begins.
    pub fn place(&self, name: &'static str) -> Option<Origin> {
        self.each(name).next().or_else(|| self.only(name)).map(|keys| keys.place())
    }

    /// What the tables of that name are called.
    pub fn names(&self, name: &'static str) -> BTreeSet<String> {
        self.each(name).filter_map(|keys| keys.text("name", value::any_text).ok()?).collect()
    }
}
