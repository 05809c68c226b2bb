//! Reads `devstatus.toml`: the values at its top level, each with its line. What they mean is not known here.

use toml::de::{DeTable, DeValue};

use super::file::{FileEntry, SyntaxError};
use system::secret::Secret;

/// The values of `text` in the order of their lines. A list counts as its items with commas between them, as the flag of
/// the same name takes it. A table is no value; its name is refused as an unknown key.
pub(super) fn read(text: &str) -> Result<Vec<FileEntry>, SyntaxError> {
    let line_of =
        |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1;
    // The parser's own text quotes the file, and so perhaps the token: only the place is kept.
    let table = DeTable::parse(text).map_err(|error| SyntaxError {
        line: line_of(error.span().map_or(0, |span| span.start)),
        what: "not the TOML that was expected".to_owned(),
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        if key.get_ref() == PROFILES && is_tables(value.get_ref()) {
            // Read by those who know profiles.
            continue;
        }
        let line = line_of(key.span().start);
        let value = scalars(value.get_ref()).ok_or_else(|| SyntaxError {
            line,
            what: "expected a text, a number, true, false, or a list of these".to_owned(),
        });
        let key = key.into_inner().into_owned();
        entries.push(FileEntry { key, value: Some(Secret::new(value?)), line });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// The key of the tables that describe formats.
const PROFILES: &str = "profile";

fn is_tables(value: &DeValue<'_>) -> bool {
    let DeValue::Array(items) = value else { return false };
    items.iter().all(|item| matches!(item.get_ref(), DeValue::Table(_)))
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
