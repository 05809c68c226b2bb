//! Reads the section `[application]` of an `application.cfg` as Python's `configparser` does, which the platform's SDK
//! uses: `=` and `:`, whole-line comments by `#` and `;`, keys without case, values that go on over indented lines,
//! `%(name)s`, and `[DEFAULT]`. What the keys mean is not known here.
//!
//! Own code, because no kept crate both reads this dialect and says at which line a value stands; `tests/config_peers.rs`
//! compares it with the SDK.

use std::collections::{BTreeMap, BTreeSet};

use super::file::{FileEntry, SyntaxError};
use system::secret::Secret;

/// The values that the SDK knows before it reads the file; a `%(name)s` may refer to them.
const SDK_DEFAULTS: [(&str, &str); 4] = [
    ("domain", "internetofthings.ibmcloud.com"),
    ("port", "8883"),
    ("type", "standalone"),
    ("clean-session", "true"),
];

/// References inside references that `configparser` follows before it gives up.
const REFERENCES_MAX_DEPTH: usize = 10;
/// References that one value may lead to in all: each may lead to many, and ten steps of that would never end.
const REFERENCES_MAX: usize = 1_000;
/// Far above any setting; a value that refers to long ones many times would fill the memory.
const VALUE_MAX_BYTES: usize = 1 << 20;

/// The keys of `[application]`, those of `[DEFAULT]` that it inherits included, in the order of their lines.
///
/// A name that only `[DEFAULT]` has and that is not in `known` serves references and is left out.
pub(super) fn read(text: &str, known: &[&str]) -> Result<Vec<FileEntry>, SyntaxError> {
    let values = IniReader::default().read(text)?;
    let is_known = |key: &str| known.contains(&key);
    let keys = values.0.keys().filter(|(section, key)| *section == Section::Application || is_known(key));
    let keys: BTreeSet<&str> = keys.map(|(_, key)| key.as_str()).collect();
    let mut entries = Vec::with_capacity(keys.len());
    for (key, raw) in keys.into_iter().filter_map(|key| Some((key, values.find(key)?))) {
        let mut value = ResolvedValue::default();
        // The SDK never asks for another key, so what it would make of its references does not matter.
        if is_known(key) {
            let resolved = values.resolve(&raw.text(), 1, &mut value);
            resolved.map_err(|what| SyntaxError { line: raw.line, what: what.to_owned() })?;
        }
        entries.push(FileEntry { key: key.to_owned(), value: Some(Secret::new(value.text)), line: raw.line });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// A value whose references are being followed.
#[derive(Default)]
struct ResolvedValue {
    text: String,
    references: usize,
}

/// A value before its references are followed.
struct RawValue {
    line: usize,
    lines: Vec<String>,
}

impl RawValue {
    fn text(&self) -> String {
        self.lines.join("\n").trim_end().to_owned()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Defaults,
    Application,
}

/// The values by section and key.
#[derive(Default)]
struct Values(BTreeMap<(Section, String), RawValue>);

/// The state while lines are read.
#[derive(Default)]
struct IniReader {
    values: Values,
    section: Option<Section>,
    /// The section and key that an indented line continues.
    open: Option<(Section, String)>,
    indent: usize,
    application_seen: bool,
}

impl IniReader {
    fn read(mut self, text: &str) -> Result<Values, SyntaxError> {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        for (line, text) in (1..).zip(text.split('\n')) {
            self.line(line, text).map_err(|what| SyntaxError { line, what: what.to_owned() })?;
        }
        Ok(self.values)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), &'static str> {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) {
            return Ok(());
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let open = self.open.as_ref().and_then(|key| self.values.0.get_mut(key));
        match open {
            Some(raw) if trimmed.is_empty() || indent > self.indent => {
                raw.lines.push(trimmed.to_owned());
                return Ok(());
            }
            Some(_) | None if trimmed.is_empty() => return Ok(()),
            Some(_) | None => self.indent = indent,
        }
        match header(trimmed) {
            Some(name) => self.section(name),
            None => self.key(number, trimmed),
        }
    }

    fn section(&mut self, name: &str) -> Result<(), &'static str> {
        self.open = None;
        self.section = Some(match name {
            "application" if self.application_seen => return Err("the section [application] occurs twice"),
            "application" => Section::Application,
            "DEFAULT" => Section::Defaults,
            _ => return Err("expected the section [application], or [DEFAULT]"),
        });
        self.application_seen |= self.section == Some(Section::Application);
        Ok(())
    }

    fn key(&mut self, line: usize, text: &str) -> Result<(), &'static str> {
        let section = self.section.ok_or("expected [application] before the first key")?;
        let (key, value) = text.split_once(['=', ':']).ok_or("expected 'key = value'")?;
        let key = key.trim_end().to_lowercase();
        if key.is_empty() {
            return Err("expected a key before the '=' or ':'");
        }
        let raw = RawValue { line, lines: vec![value.trim().to_owned()] };
        if self.values.0.insert((section, key.clone()), raw).is_some() {
            return Err("the key of this line occurs twice");
        }
        self.open = Some((section, key));
        Ok(())
    }
}

/// The name in a section header; `configparser` looks for the last bracket and ignores what follows it.
fn header(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?;
    name.get(..name.rfind(']')?).filter(|name| !name.is_empty())
}

impl Values {
    /// Of both sections, `[application]` is the stronger.
    fn find(&self, key: &str) -> Option<&RawValue> {
        let of = |section| self.0.get(&(section, key.to_owned()));
        of(Section::Application).or_else(|| of(Section::Defaults))
    }

    /// Appends `text` to `value` with its `%(name)s` and `%%` resolved.
    fn resolve(&self, text: &str, depth: usize, value: &mut ResolvedValue) -> Result<(), &'static str> {
        if depth > REFERENCES_MAX_DEPTH {
            return Err("the value's %(name)s references go in a circle");
        }
        value.references += 1;
        if value.references > REFERENCES_MAX || value.text.len() + text.len() > VALUE_MAX_BYTES {
            return Err("the value's %(name)s references lead to too much");
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            value.text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                value.text.push('%');
                rest = after;
                continue;
            }
            let reference = after.strip_prefix('(').and_then(|reference| reference.split_once(')'));
            let (name, after) =
                reference.ok_or("a '%' in a value must be written '%%', or be a reference '%(name)s'")?;
            rest = after
                .strip_prefix('s')
                .filter(|_| !name.is_empty())
                .ok_or("a reference in a value must be written '%(name)s'")?;
            let name = name.to_lowercase();
            let default =
                SDK_DEFAULTS.iter().find(|(key, _)| *key == name).map(|(_, text)| (*text).to_owned());
            let referred = self.find(&name).map(RawValue::text).or(default);
            let referred =
                referred.ok_or("a reference '%(name)s' in the value names a key that is not in the file")?;
            self.resolve(&referred, depth + 1, value)?;
        }
        value.text.push_str(rest);
        Ok(())
    }
}
