//! Reads `devstatus.toml`: the values at its top level, each with its line. What they mean is not known here.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{FileEntry, SyntaxError};
use system::secret::Secret;

/// The values of `text` in the order of their lines. A list counts as its items with commas between them, as the flag of
/// the same name takes it. A table is no value of a known key, and is refused like any other unknown key.
pub(super) fn read(text: &str, known: &[&str]) -> Result<Vec<FileEntry>, SyntaxError> {
    let document = parse(text)?;
    for (key, value) in &document {
        if let Some(expected) = other_shape(key.get_ref(), value.get_ref()) {
            return Err(SyntaxError {
                line: line_of(text, key.span().start),
                what: format!("expected {expected}"),
            });
        }
    }
    let mut entries = entries(text, &document, known, |key, value| {
        // These have readers of their own.
        let is_list_or_table = matches!(value, DeValue::Array(_) | DeValue::Table(_));
        ([PROFILES, SOURCES, WEBHOOKS].contains(&key) && is_tables(value))
            || (ALERT_TABLES.contains(&key) && is_list_or_table)
            || (key == REPUBLISH && matches!(value, DeValue::Table(_)))
            || key == STARTUP_GRACE
            || key == PUBLIC_URL
    })?;
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// How the tables of a name are written, if the value is anything else.
fn other_shape(key: &str, value: &DeValue<'_>) -> Option<String> {
    let is_wrong = match key {
        // A list of names is the flag's value.
        SOURCES => matches!(value, DeValue::Table(_)),
        PROFILES | WEBHOOKS => !is_tables(value),
        _ => false,
    };
    if is_wrong {
        return Some(format!("[[{key}]], once for each"));
    }
    (key == REPUBLISH && !matches!(value, DeValue::Table(_))).then(|| format!("[{key}]"))
}

/// The tables of a name, in their order, each with the place where it begins.
pub(super) fn tables_of<'a, 'text>(
    document: &'a DeTable<'text>,
    name: &str,
) -> impl Iterator<Item = (usize, &'a DeTable<'text>)> {
    let items = match document.get(name).map(Spanned::get_ref) {
        Some(DeValue::Array(items)) => &items[..],
        Some(_) | None => &[],
    };
    items.iter().filter_map(|item| match item.get_ref() {
        DeValue::Table(table) => Some((item.span().start, table)),
        _ => None,
    })
}

/// The only table of a name, with the place where it begins.
pub(super) fn table<'a, 'text>(
    document: &'a DeTable<'text>,
    name: &str,
) -> Option<(usize, &'a DeTable<'text>)> {
    let (key, value) = document.iter().find(|(key, _)| key.get_ref() == name)?;
    match value.get_ref() {
        DeValue::Table(table) => Some((key.span().start, table)),
        _ => None,
    }
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

/// The values of a table, but for those that are left out.
pub(super) fn entries(
    text: &str,
    table: &DeTable<'_>,
    known: &[&str],
    is_left_out: impl Fn(&str, &DeValue<'_>) -> bool,
) -> Result<Vec<FileEntry>, SyntaxError> {
    let mut entries = Vec::new();
    for (key, value) in table {
        if is_left_out(key.get_ref(), value.get_ref()) {
            continue;
        }
        let line = line_of(text, key.span().start);
        let key = key.get_ref().clone().into_owned();
        let value = scalars(value.get_ref()).map(Secret::new);
        if value.is_none() && known.contains(&key.as_str()) {
            let what = "expected a text, a number, true, false, or a list of these".to_owned();
            return Err(SyntaxError { line, what });
        }
        entries.push(FileEntry { key, value, line });
    }
    Ok(entries)
}

/// The key of the tables that describe formats.
const PROFILES: &str = "profile";
/// The key of the tables of sources.
pub(super) const SOURCES: &str = "source";
/// The key of the tables of endpoints.
pub(super) const WEBHOOKS: &str = "webhook";
/// The key of the table that republishes.
pub(super) const REPUBLISH: &str = "republish";
/// The keys of the tables of alert rules, and of what belongs to them.
pub(super) const RULES: &str = "rule";
pub(super) const CONTACTS: &str = "contact";
pub(super) const SILENCES: &str = "silence";
pub(super) const WINDOWS: &str = "window";
pub(super) const ALERT_TABLES: [&str; 4] = [RULES, CONTACTS, SILENCES, WINDOWS];
/// Values of all alert rules, which no flag has.
pub(super) const STARTUP_GRACE: &str = "startup_grace";
pub(super) const PUBLIC_URL: &str = "public_url";

/// All keys that are no flags.
pub(super) fn other_keys() -> impl Iterator<Item = &'static str> {
    [PROFILES, SOURCES, WEBHOOKS, REPUBLISH, STARTUP_GRACE, PUBLIC_URL].into_iter().chain(ALERT_TABLES)
}

pub(super) fn is_tables(value: &DeValue<'_>) -> bool {
    let DeValue::Array(items) = value else { return false };
    !items.is_empty() && items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
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
