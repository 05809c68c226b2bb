//! Reads the section `[application]` of an `application.cfg` as Python's `configparser` does, which the platform's SDK
//! uses: `=` and `:`, whole-line comments by `#` and `;`, keys without case, values that go on over indented lines,
//! `%(name)s`, and `[DEFAULT]`. What the keys mean is not known here.
//!
//! Own code, because no kept crate both reads this dialect and says at which line a value stands; `tests/config_peers.rs`
//! compares it with the SDK.

use std::collections::BTreeMap;

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
    let sections = IniReader::default().read(text)?;
    let mut names = sections.defaults.clone();
    names.retain(|key, _| known.contains(&key.as_str()));
    names.extend(sections.application.clone());
    let mut entries = Vec::with_capacity(names.len());
    for (key, raw) in names {
        let mut value = ResolvedValue::default();
        // The SDK never asks for another key, so what it would make of its references does not matter.
        if known.contains(&key.as_str()) {
            sections.resolve(&raw.text(), raw.line, 1, &mut value)?;
        }
        entries.push(FileEntry { key, value: Some(Secret::new(value.text)), line: raw.line });
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
#[derive(Clone)]
struct RawValue {
    line: usize,
    lines: Vec<String>,
}

impl RawValue {
    fn text(&self) -> String {
        self.lines.join("\n").trim_end().to_owned()
    }
}

#[derive(Default)]
struct Sections {
    defaults: BTreeMap<String, RawValue>,
    application: BTreeMap<String, RawValue>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Defaults,
    Application,
}

/// The state while lines are read.
#[derive(Default)]
struct IniReader {
    sections: Sections,
    section: Option<Section>,
    /// The key that an indented line continues.
    key: Option<String>,
    indent: usize,
    application_seen: bool,
}

impl IniReader {
    fn read(mut self, text: &str) -> Result<Sections, SyntaxError> {
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        for (index, line) in text.split('\n').enumerate() {
            self.line(index + 1, line)
                .map_err(|what| SyntaxError { line: index + 1, what: what.to_owned() })?;
        }
        Ok(self.sections)
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), &'static str> {
        let trimmed = line.trim();
        if trimmed.starts_with(['#', ';']) {
            return Ok(());
        }
        if trimmed.is_empty() {
            self.go_on("");
            return Ok(());
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        if indent > self.indent && self.go_on(trimmed) {
            return Ok(());
        }
        self.indent = indent;
        match header(trimmed) {
            Some(name) => self.open(name),
            None => self.key(number, trimmed),
        }
    }

    /// Adds a line to the value being read; false when there is none.
    fn go_on(&mut self, line: &str) -> bool {
        let (Some(section), Some(key)) = (self.section, &self.key) else { return false };
        let keys = self.sections.keys(section);
        if let Some(raw) = keys.get_mut(key) {
            raw.lines.push(line.to_owned());
        }
        true
    }

    fn open(&mut self, name: &str) -> Result<(), &'static str> {
        self.key = None;
        self.section = Some(match name {
            "application" if self.application_seen => return Err("the section [application] occurs twice"),
            "application" => Section::Application,
            "DEFAULT" => Section::Defaults,
            _ => return Err("expected the section [application], or [DEFAULT]"),
        });
        self.application_seen |= self.section == Some(Section::Application);
        Ok(())
    }

    fn key(&mut self, number: usize, line: &str) -> Result<(), &'static str> {
        let Some(section) = self.section else { return Err("expected [application] before the first key") };
        let Some((key, value)) = line.split_once(['=', ':']) else { return Err("expected 'key = value'") };
        let key = key.trim_end().to_lowercase();
        if key.is_empty() {
            return Err("expected a key before the '=' or ':'");
        }
        let raw = RawValue { line: number, lines: vec![value.trim().to_owned()] };
        if self.sections.keys(section).insert(key.clone(), raw).is_some() {
            return Err("the key of this line occurs twice");
        }
        self.key = Some(key);
        Ok(())
    }
}

/// The name in a section header; `configparser` looks for the last bracket and ignores what follows it.
fn header(line: &str) -> Option<&str> {
    let name = line.strip_prefix('[')?;
    name.get(..name.rfind(']')?).filter(|name| !name.is_empty())
}

impl Sections {
    fn keys(&mut self, section: Section) -> &mut BTreeMap<String, RawValue> {
        match section {
            Section::Defaults => &mut self.defaults,
            Section::Application => &mut self.application,
        }
    }

    fn find(&self, key: &str) -> Option<String> {
        let default =
            || SDK_DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        self.application.get(key).or_else(|| self.defaults.get(key)).map(RawValue::text).or_else(default)
    }

    /// Appends `text` to `value` with its `%(name)s` and `%%` resolved; `line` is where the text came from.
    fn resolve(
        &self,
        text: &str,
        line: usize,
        depth: usize,
        value: &mut ResolvedValue,
    ) -> Result<(), SyntaxError> {
        let syntax_error = |what: &str| SyntaxError { line, what: what.to_owned() };
        if depth > REFERENCES_MAX_DEPTH {
            return Err(syntax_error("the value's %(name)s references go in a circle"));
        }
        value.references += 1;
        if value.references > REFERENCES_MAX || value.text.len() + text.len() > VALUE_MAX_BYTES {
            return Err(syntax_error("the value's %(name)s references lead to too much"));
        }
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('%') {
            value.text.push_str(before);
            if let Some(after) = after.strip_prefix('%') {
                value.text.push('%');
                rest = after;
                continue;
            }
            let Some((name, after)) = after.strip_prefix('(').and_then(|reference| reference.split_once(')'))
            else {
                return Err(syntax_error(
                    "a '%' in a value must be written '%%', or be a reference '%(name)s'",
                ));
            };
            let Some(after) = after.strip_prefix('s').filter(|_| !name.is_empty()) else {
                return Err(syntax_error("a reference in a value must be written '%(name)s'"));
            };
            let Some(referred) = self.find(&name.to_lowercase()) else {
                return Err(syntax_error(
                    "a reference '%(name)s' in the value names a key that is not in the file",
                ));
            };
            self.resolve(&referred, line, depth + 1, value)?;
            rest = after;
        }
        value.text.push_str(rest);
        Ok(())
    }
}
