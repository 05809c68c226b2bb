//! Reads `devstatus.toml`: the values at its top level, each with its line. What they mean is not known here.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{FileEntry, SyntaxError};
use system::secret::Secret;

/// The values of `text` in the order of their lines. A list counts as its items with commas between them, as the flag of
/// the same name takes it. What no flag has is left to the readers of tables.
pub(super) fn read(text: &str, known: &[&str]) -> Result<Vec<FileEntry>, SyntaxError> {
    let mut entries = Vec::new();
    for (key, value) in &parse(text)? {
        let name: &str = key.get_ref();
        // The flag of that name takes names.
        let is_of_flag = name == SOURCES && !matches!(value.get_ref(), DeValue::Table(_));
        match OTHER_KEYS.into_iter().find(|(other, _)| *other == name) {
            Some((_, shape)) if shape.fits(value.get_ref()) => {}
            Some((_, shape)) if !is_of_flag => {
                let line = line_of(text, key.span().start);
                return Err(SyntaxError { line, what: format!("expected {}", shape.written(name)) });
            }
            Some(_) | None => entries.push(entry(text, (key, value), known)?),
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn parse(text: &str) -> Result<DeTable<'_>, SyntaxError> {
    // The parser's own text quotes the file, and so perhaps the token: only the place is kept.
    let parsed = DeTable::parse(text).map_err(|error| SyntaxError {
        line: line_of(text, error.span().map_or(0, |span| span.start)),
        what: "not the TOML that was expected".to_owned(),
    })?;
    Ok(parsed.into_inner())
}

/// The line, from 1, of a place in a text.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// One value of a table.
pub(super) fn entry(
    text: &str,
    (key, value): (&Spanned<Cow<'_, str>>, &Spanned<DeValue<'_>>),
    known: &[&str],
) -> Result<FileEntry, SyntaxError> {
    let line = line_of(text, key.span().start);
    let key = key.get_ref().clone().into_owned();
    let value = scalars(value.get_ref()).map(Secret::new);
    if value.is_none() && known.contains(&key.as_str()) {
        let what = "expected a text, a number, true, false, or a list of these".to_owned();
        return Err(SyntaxError { line, what });
    }
    Ok(FileEntry { key, value, line })
}

pub(super) const PROFILES: &str = "profile";
pub(super) const SOURCES: &str = "source";
pub(super) const WEBHOOKS: &str = "webhook";
pub(super) const REPUBLISH: &str = "republish";
pub(super) const RULES: &str = "rule";
pub(super) const CONTACTS: &str = "contact";
pub(super) const SILENCES: &str = "silence";
pub(super) const WINDOWS: &str = "window";
pub(super) const STARTUP_GRACE: &str = "startup_grace";
pub(super) const PUBLIC_URL: &str = "public_url";

/// All keys that are no flags.
pub(super) const OTHER_KEYS: [(&str, Shape); 10] = [
    (PROFILES, Shape::Tables),
    (SOURCES, Shape::Tables),
    (WEBHOOKS, Shape::Tables),
    (REPUBLISH, Shape::Table),
    (STARTUP_GRACE, Shape::Value),
    (PUBLIC_URL, Shape::Value),
    (RULES, Shape::Tables),
    (CONTACTS, Shape::Tables),
    (SILENCES, Shape::Tables),
    (WINDOWS, Shape::Tables),
];

/// How the value of a key that is no flag is written.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Tables,
    Table,
    Value,
}

impl Shape {
    fn fits(self, value: &DeValue<'_>) -> bool {
        match self {
            Shape::Tables => value.as_array().is_some_and(|items| {
                !items.is_empty() && items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
            }),
            Shape::Table => matches!(value, DeValue::Table(_)),
            Shape::Value => true,
        }
    }

    fn written(self, key: &str) -> String {
        match self {
            Shape::Tables => format!("[[{key}]], once for each"),
            Shape::Table => format!("[{key}]"),
            Shape::Value => "a value".to_owned(),
        }
    }
}

fn scalars(value: &DeValue<'_>) -> Option<String> {
    if let DeValue::Array(items) = value {
        let items: Option<Vec<_>> = items.iter().map(|item| scalar(item.get_ref())).collect();
        return Some(items?.join(","));
    }
    scalar(value)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => (number.radix() == 10).then(|| number.as_str().to_owned()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Boolean(value) => Some(value.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
