//! Reads the platform's YAML file: the scalars at the dotted paths of the settings, each with its line. What they mean
//! is not known here.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Spanned;

use super::file::{FileEntry, SyntaxError};
use system::secret::Secret;

/// The scalars of `text`, as they are written (`007` stays `007`), by their dotted paths. A path that no setting in `known`
/// has is there without a text. A key without a value (`null`, `~`, nothing) counts as absent, as it does in the SDK.
pub(super) fn read(text: &str, known: &[&str]) -> Result<Vec<FileEntry>, SyntaxError> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let mut entries = Vec::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Branch { prefix: "", known, entries: &mut entries }.deserialize(deserializer)
    })
    .map_err(|error| {
        // The parser's own text quotes the file, and so perhaps the token: only the place is kept.
        let at = error.location();
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
        let column = at.map_or(1, |at| number(at.column()));
        let what = format!("not the YAML that was expected, at column {column}");
        SyntaxError { line: at.map_or(1, |at| number(at.line())), what }
    })?;
    Ok(entries)
}

/// A mapping at a dotted path.
struct Branch<'a> {
    /// Its path with a dot at the end; empty at the root.
    prefix: &'a str,
    known: &'a [&'a str],
    entries: &'a mut Vec<FileEntry>,
}

impl<'de> DeserializeSeed<'de> for Branch<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Branch<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let path = format!("{}{}", self.prefix, key.value);
            let line = usize::try_from(key.referenced.line()).map_err(A::Error::custom)?;
            let inner = format!("{path}.");
            // A dot inside one key is not the dot between two.
            let plain = !key.value.contains('.');
            if plain && self.known.contains(&path.as_str()) {
                if let Some(value) = map.next_value::<Option<String>>()? {
                    self.entries.push(FileEntry { key: path, value: Some(Secret::new(value)), line });
                }
            } else if plain && self.known.iter().any(|known| known.starts_with(&inner)) {
                map.next_value_seed(Branch { prefix: &inner, known: self.known, entries: self.entries })?;
            } else {
                map.next_value::<IgnoredAny>()?;
                self.entries.push(FileEntry { key: path, value: None, line });
            }
        }
        Ok(())
    }
}
