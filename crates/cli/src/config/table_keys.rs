//! The keys of one table of `devstatus.toml`: the reader of the table asks for each by name, and any other key is refused. A text is
//! read by the same parser as that of a flag.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::Path;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::layers::SettingText;
use super::refusal::{ConfigError, Origin, unknown_key};
use super::toml::line_of;
use super::value::{self, Expected, Parsed, WholeNumber, expected_of};
use super::{file, toml};
use presence::query::Filter;
use system::secret::Secret;

/// The items of a list; a value alone is a list of one.
pub(super) fn items<'a, 'text>(value: &'a DeValue<'text>) -> Vec<&'a DeValue<'text>> {
    match value {
        DeValue::Array(items) => items.iter().map(Spanned::get_ref).collect(),
        one => vec![one],
    }
}

/// A text, or a list of texts that is not empty.
pub(super) fn texts<'a>(value: &'a DeValue<'_>) -> Option<Vec<&'a str>> {
    let texts = items(value).into_iter().map(DeValue::as_str).collect::<Option<Vec<_>>>()?;
    (!texts.is_empty() && texts.iter().all(|text| !text.is_empty())).then_some(texts)
}

/// The keys of one table, and those that its reader has asked for.
pub(super) struct TableKeys<'a> {
    path: &'a Path,
    text: &'a str,
    /// What the table is called; empty at the top of the file.
    name: Cow<'static, str>,
    /// Where the table begins.
    start: usize,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> TableKeys<'a> {
    /// Of a table that begins there.
    pub fn new(
        path: &'a Path,
        text: &'a str,
        name: impl Into<Cow<'static, str>>,
        (start, table): (usize, &'a DeTable<'a>),
    ) -> Self {
        Self { path, text, name: name.into(), start, table, asked: RefCell::default() }
    }

    /// What `reader` makes of the keys. Refuses a key that it has not asked for.
    pub fn read<T>(&self, reader: impl FnOnce(&Self) -> Result<T, ConfigError>) -> Result<T, ConfigError> {
        let read = reader(self)?;
        let known = self.asked.borrow();
        let unknown = self.table.iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        let Some((key, _)) = unknown else { return Ok(read) };
        let line = line_of(self.text, key.span().start);
        let place = Origin::File { path: self.path.to_owned(), line, key: None };
        Err(unknown_key(place, &format!("{}.", self.name), key.get_ref(), &known))
    }

    /// The values of these keys as texts, as those of flags are.
    pub fn settings(&self, known: &[&'static str]) -> Result<Vec<(String, SettingText)>, ConfigError> {
        let mut settings = Vec::new();
        for key in known {
            if let Some(text) = self.optional(key, toml::SCALARS, toml::scalars)? {
                let given = SettingText { text: Secret::new(text), origin: self.origin_of(key) };
                settings.push(((*key).to_owned(), given));
            }
        }
        Ok(settings)
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.table.get_key_value(key)
    }

    /// Whether the table has the key.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// What `parse` makes of a value, whatever its type.
    pub fn any<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.asked.borrow_mut().push(key);
        let Some((_, value)) = self.entry(key) else { return Ok(None) };
        parse(value.get_ref()).map(Some).map_err(|Expected(expected)| self.unfit(key, expected))
    }

    /// The same, if it is clear without the value what is expected.
    pub fn optional<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.any(key, |value| parse(value).ok_or_else(|| Expected(expected.to_owned().into())))
    }

    pub fn text<T>(
        &self,
        key: &'static str,
        parser: impl Fn(&str) -> Parsed<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.any(key, |value| value.as_str().map_or_else(|| Err(expected_of(&parser)), &parser))
    }

    /// A text that the table must have.
    pub fn required<T>(
        &self,
        key: &'static str,
        parser: impl Fn(&str) -> Parsed<T>,
    ) -> Result<T, ConfigError> {
        self.text(key, &parser)?.ok_or_else(|| self.missing(key, &expected_of(&parser).0))
    }

    pub fn number<T: WholeNumber>(
        &self,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConfigError> {
        let parser = value::whole(range, "");
        // Digits with another base, or none.
        let digits = |value: &'a DeValue<'a>| value.as_integer().map_or("", |number| number.as_str());
        self.any(key, |value| parser(digits(value)))
    }

    /// What the items of a list are, or the only one, which needs no list; not empty.
    pub fn list<T>(
        &self,
        key: &'static str,
        expected: &str,
        item: impl Fn(&'a str) -> Option<T>,
    ) -> Result<Vec<T>, ConfigError> {
        let list = self.optional(key, expected, |value| texts(value)?.into_iter().map(item).collect());
        list.map(Option::unwrap_or_default)
    }

    /// Two keys that are given together or not at all.
    pub fn together<A, B>(
        &self,
        (one_key, one): (&str, Option<A>),
        (other_key, other): (&str, Option<B>),
    ) -> Result<Option<(A, B)>, ConfigError> {
        match (one, other) {
            (Some(one), Some(other)) => Ok(Some((one, other))),
            (None, None) => Ok(None),
            (Some(_), None) => Err(self.unfit(one_key, format!("{other_key} beside it"))),
            (None, Some(_)) => Err(self.unfit(other_key, format!("{one_key} beside it"))),
        }
    }

    /// The text of the file that a key names.
    pub fn file(&self, key: &'static str, max_bytes: u64) -> Result<Option<String>, ConfigError> {
        let path = self.text(key, value::path)?;
        path.map(|path| file::read_named(&path, max_bytes, &self.origin_of(key))).transpose()
    }

    /// What the keys of the table that selects devices are; without it, all are selected.
    pub fn selector(
        &self,
        reader: impl FnOnce(&TableKeys<'a>) -> Result<Filter, ConfigError>,
    ) -> Result<Filter, ConfigError> {
        let table = self.optional("selector", "a table, like { type = [\"pump\"] }", DeValue::as_table)?;
        let Some((table, (key, _))) = table.zip(self.entry("selector")) else { return Ok(Filter::default()) };
        let name = format!("{}.selector", self.name);
        TableKeys::new(self.path, self.text, name, (key.span().start, table)).read(reader)
    }

    /// The devices that a selector names.
    pub fn named_devices(&self) -> Result<Filter, ConfigError> {
        let list = |key| self.list(key, "a text, or a list of texts", |text| Some(text.to_owned()));
        Ok(Filter {
            types: list("type")?,
            ids: list("id")?,
            id_prefixes: list("id_prefix")?,
            sources: list("source")?,
            ..Filter::default()
        })
    }

    /// The refusal of a value.
    pub fn unfit(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::expected(&self.origin_of(key), expected)
    }

    /// The refusal of a table without a key.
    pub fn missing(&self, key: &str, expected: &str) -> ConfigError {
        ConfigError::expected(&self.place(), format!("the key {key}: {expected}"))
    }

    /// Where a key is, or the table without it.
    pub fn origin_of(&self, key: &str) -> Origin {
        let at = self.entry(key).map_or(self.start, |(key, _)| key.span().start);
        let dot = if self.name.is_empty() { "" } else { "." };
        self.origin(&format!("{}{dot}{key}", self.name), at)
    }

    /// Where the table begins.
    pub fn place(&self) -> Origin {
        self.origin(&self.name, self.start)
    }

    fn origin(&self, key: &str, at: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: line_of(self.text, at), key: Some(key.into()) }
    }
}
