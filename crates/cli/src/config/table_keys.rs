//! The keys of one table of `devstatus.toml`: the reader of the table asks for each by name and checks it, and any other key is
//! refused.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ops::{RangeBounds, RangeInclusive};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::layers::SettingText;
use super::refusal::{ConfigError, Origin, unknown_key};
use super::toml::line_of;
use super::value::period;
use super::{file, toml};
use presence::query::Filter;

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

/// A length of time with its unit; 0 needs none.
pub(super) fn time(value: &DeValue<'_>) -> Option<Duration> {
    let text = value.as_str()?;
    if matches!(text, "0" | "0s") { Some(Duration::ZERO) } else { period(text).ok() }
}

/// The keys of one table, and those that its reader has asked for.
pub(super) struct TableKeys<'a> {
    path: &'a Path,
    text: &'a str,
    pub prefix: &'static str,
    /// Where the table begins.
    pub start: usize,
    table: &'a DeTable<'a>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> TableKeys<'a> {
    /// Of a table that begins there.
    pub fn new(
        path: &'a Path,
        text: &'a str,
        prefix: &'static str,
        (start, table): (usize, &'a DeTable<'a>),
    ) -> Self {
        Self { path, text, prefix, start, table, asked: RefCell::default() }
    }

    /// All values as texts, as those of flags are.
    pub fn settings(&self, known: &[&str]) -> Result<Vec<(String, SettingText)>, ConfigError> {
        let entries = toml::entries(self.text, self.table, known, |_, _| false);
        file::settings(self.path, entries, known, |key| Some(key.to_owned()))
    }

    fn entry(&self, key: &str) -> Option<(&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)> {
        self.table.iter().find(|(found, _)| found.get_ref() == key)
    }

    /// Whether the table has the key.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    pub fn optional<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        self.asked.borrow_mut().push(key);
        let Some((_, value)) = self.entry(key) else { return Ok(None) };
        parse(value.get_ref()).map(Some).ok_or_else(|| self.unfit(key, expected))
    }

    pub fn required<T>(
        &self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let missing = || self.invalid(self.prefix, self.start, format!("the key {key}: {expected}"));
        self.optional(key, expected, parse)?.ok_or_else(missing)
    }

    pub fn text(&self, key: &'static str) -> Result<Option<&'a str>, ConfigError> {
        self.optional(key, "a text", DeValue::as_str)
    }

    /// The path of a file.
    pub fn path(&self, key: &'static str) -> Result<Option<&'a Path>, ConfigError> {
        self.optional(key, "the path of a file", |value| value.as_str().map(Path::new))
    }

    pub fn time(
        &self,
        key: &'static str,
        expected: &str,
        range: impl RangeBounds<Duration>,
    ) -> Result<Option<Duration>, ConfigError> {
        self.optional(key, expected, |value| time(value).filter(|time| range.contains(time)))
    }

    pub fn required_time(
        &self,
        key: &'static str,
        expected: &str,
        range: impl RangeBounds<Duration>,
    ) -> Result<Duration, ConfigError> {
        self.required(key, expected, |value| time(value).filter(|time| range.contains(time)))
    }

    pub fn number<T: FromStr + PartialOrd>(
        &self,
        key: &'static str,
        expected: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ConfigError> {
        let number = |value: &DeValue<'_>| value.as_integer()?.as_str().parse().ok();
        self.optional(key, expected, |value| number(value).filter(|number| range.contains(number)))
    }

    /// What the items of a list are, or the only one, which needs no list; not empty.
    pub fn list<T>(
        &self,
        key: &'static str,
        expected: &str,
        item: impl Fn(&'a str) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ConfigError> {
        self.optional(key, expected, |value| texts(value)?.into_iter().map(item).collect())
    }

    /// One of these words.
    pub fn word<T: Copy, const N: usize>(
        &self,
        key: &'static str,
        known: [T; N],
        word: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>, ConfigError> {
        let expected = format!("one of {}", known.map(&word).join(", "));
        self.optional(key, &expected, |value| {
            let text = value.as_str()?;
            known.into_iter().find(|known| word(*known) == text)
        })
    }

    /// Refuses a key that the reader has not asked for.
    pub fn refuse_others(&self) -> Result<(), ConfigError> {
        let known = self.asked.borrow();
        let unknown = self.table.iter().find(|(key, _)| !known.contains(&key.get_ref().as_ref()));
        let Some((key, _)) = unknown else { return Ok(()) };
        let line = line_of(self.text, key.span().start);
        Err(unknown_key(self.path, line, &format!("{}.", self.prefix), key.get_ref(), &known))
    }

    /// The name of what the table describes.
    pub fn name(&self, max_bytes: usize) -> Result<&'a str, ConfigError> {
        self.required("name", &format!("1 to {max_bytes} letters, digits, '-' or '_'"), |value| {
            let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            let name = value.as_str().filter(|name| name.len() <= max_bytes && name.bytes().all(is_sign))?;
            (!name.is_empty()).then_some(name)
        })
    }

    /// The keys of the table that selects devices; `None`: there is none, so that all are selected.
    pub fn selector(&self, prefix: &'static str) -> Result<Option<TableKeys<'a>>, ConfigError> {
        let table = self.optional("selector", "a table, like { type = [\"pump\"] }", DeValue::as_table)?;
        Ok(table.map(|table| self.inner("selector", (prefix, table))))
    }

    /// The devices that a selector names.
    pub fn named_devices(&self) -> Result<Filter, ConfigError> {
        let list = |key| {
            let texts = self.list(key, "a text, or a list of texts", |text| Some(text.to_owned()));
            texts.map(Option::unwrap_or_default)
        };
        Ok(Filter {
            types: list("type")?,
            ids: list("id")?,
            id_prefixes: list("id_prefix")?,
            sources: list("source")?,
            ..Filter::default()
        })
    }

    /// The keys of a table that is the value of a key.
    fn inner(&self, key: &str, (prefix, table): (&'static str, &'a DeTable<'a>)) -> TableKeys<'a> {
        let start = self.entry(key).map_or(self.start, |(key, _)| key.span().start);
        TableKeys::new(self.path, self.text, prefix, (start, table))
    }

    pub fn unfit(&self, key: &str, expected: impl Into<String>) -> ConfigError {
        ConfigError::expected(&self.origin_of(key), expected)
    }

    pub fn invalid(&self, key: &str, at: usize, expected: String) -> ConfigError {
        ConfigError::expected(&self.origin(key, at), expected)
    }

    pub fn origin_of(&self, key: &str) -> Origin {
        let at = self.entry(key).map_or(self.start, |(key, _)| key.span().start);
        // At the top of a file a key has nothing before it.
        let prefix = if self.prefix.is_empty() { String::new() } else { format!("{}.", self.prefix) };
        self.origin(&format!("{prefix}{key}"), at)
    }

    pub fn origin(&self, key: &str, at: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line: line_of(self.text, at), key: key.into() }
    }
}
