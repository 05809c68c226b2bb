//! Reads `devstatus.toml`: the values at its top level, each with its line. What they mean is not known here.

use toml::de::{DeTable, DeValue};

use super::file::{FileEntry, SyntaxError};
use system::secret::Secret;

/// The values of `text` in the order of their lines. A list counts as its items with commas between them, as the flag of
/// the same name takes it. What no flag has is left to the readers of tables.
pub(super) fn read(text: &str, known: &[&str]) -> Result<Vec<FileEntry>, SyntaxError> {
    let refusal = |at: usize, what: String| Err(SyntaxError { line: line_of(text, at), what });
    let document = match DeTable::parse(text) {
        Ok(document) => document.into_inner(),
        // The parser's own text quotes the file, and so perhaps the token: only the place is kept.
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            return refusal(at, "not the TOML that was expected".to_owned());
        }
    };
    let mut entries = Vec::new();
    for (key, value) in &document {
        let (at, name) = (key.span().start, key.get_ref());
        let shape = Shape::of(value.get_ref());
        match OTHER_KEYS.into_iter().find(|(other, _)| other == name) {
            Some((_, wanted)) if wanted == shape => continue,
            // The flag of that name takes names.
            Some((SOURCES, _)) if shape == Shape::Value => {}
            Some((_, Shape::Tables)) => return refusal(at, format!("expected [[{name}]], once for each")),
            Some((_, Shape::Table)) => return refusal(at, format!("expected [{name}]")),
            Some((_, Shape::Value)) | None => {}
        }
        let value = scalars(value.get_ref()).map(Secret::new);
        if value.is_none() && known.contains(&name.as_ref()) {
            return refusal(at, format!("expected {SCALARS}"));
        }
        entries.push(FileEntry { key: name.to_string(), value, line: line_of(text, at) });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// What the value of a flag is written as.
pub(super) const SCALARS: &str = "a text, a number, true, false, or a list of these";

/// The line, from 1, of a place in a text.
pub(super) fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
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

/// How the value of a key is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Tables,
    Table,
    Value,
}

impl Shape {
    fn of(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::Table(_) => Shape::Table,
            DeValue::Array(items)
                if !items.is_empty() && items.iter().all(|item| item.get_ref().is_table()) =>
            {
                Shape::Tables
            }
            _ => Shape::Value,
        }
    }
}

/// The text that stands for a value, or a list of values, as a flag takes it.
pub(super) fn scalars(value: &DeValue<'_>) -> Option<String> {
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
