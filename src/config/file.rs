//! Reads the settings file, an `application.cfg` (INI) or the platform's YAML, into texts with their origin.

use std::io;
use std::path::{Path, PathBuf};

use super::refusal::{Origin, Refusal, nearest, showable};
use super::setting::Spec;
use super::table::SPECS;
use super::values::Given;
use super::{ini, yaml};
use crate::files;

/// Far above any settings or token; more is some other file, and is refused before it fills the memory.
pub(super) const SETTINGS_MAX_BYTES: u64 = 1 << 20;

/// The texts of the file at `path`, which `origin` named.
pub(super) fn read(path: &Path, origin: &Origin) -> Result<Vec<Given>, Refusal> {
    let text = read_text(path, SETTINGS_MAX_BYTES).map_err(|source| Refusal::ReadConfig {
        origin: origin.clone(),
        path: path.to_owned(),
        source,
    })?;
    if is_yaml(path, &text) { from_yaml(path, &text) } else { from_ini(path, &text) }
}

/// The whole of a UTF-8 file of at most `max_bytes`, without the mark that some editors put before the text.
pub(super) fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let bytes = files::read_once(path, max_bytes)?;
    // The error of the conversion holds the bytes, so it does not go on.
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// By extension, else by the first line that is no comment: an INI file has to open its section there.
fn is_yaml(path: &Path, text: &str) -> bool {
    if path
        .extension()
        .is_some_and(|extension| ["yaml", "yml"].iter().any(|yaml| extension.eq_ignore_ascii_case(yaml)))
    {
        return true;
    }
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let Some(first) = lines.next() else { return false };
    let root = |spec: &Spec| spec.yaml.and_then(|path| path.split('.').next());
    let opens = |name| first.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(':'));
    first.starts_with("---") || first.starts_with('{') || SPECS.iter().filter_map(root).any(opens)
}

fn from_ini(path: &Path, text: &str) -> Result<Vec<Given>, Refusal> {
    let known: Vec<&str> = SPECS.iter().filter_map(|spec| spec.ini).collect();
    let entries = ini::read(text, &known).map_err(|fault| Refusal::Syntax {
        path: path.to_owned(),
        line: fault.line,
        what: fault.what.to_owned(),
    })?;
    let mut given = Vec::new();
    for ini::Entry { key, value, line } in entries {
        let spec = SPECS.iter().find(|spec| spec.ini == Some(key.as_str()));
        let Some((spec, name)) = spec.and_then(|spec| Some((spec, spec.ini?))) else {
            return Err(unknown(path, line, &key, &known));
        };
        let origin = Origin::File { path: path.to_owned(), line, key: name };
        given.push(Given { setting: spec.setting, text: value, origin });
    }
    Ok(given)
}

fn from_yaml(path: &Path, text: &str) -> Result<Vec<Given>, Refusal> {
    let known: Vec<&str> = SPECS.iter().filter_map(|spec| spec.yaml).collect();
    let content = yaml::read(text, &known).map_err(|fault| Refusal::Syntax {
        path: path.to_owned(),
        line: fault.line,
        what: format!("not the YAML that was expected, at column {}", fault.column),
    })?;
    if let Some((key, line)) = content.unknown.first() {
        return Err(unknown(path, *line, key, &known));
    }
    let mut given = Vec::new();
    for yaml::Entry { path: key, value, line } in content.entries {
        let spec = SPECS.iter().find(|spec| spec.yaml == Some(key.as_str()));
        let Some((spec, name)) = spec.and_then(|spec| Some((spec, spec.yaml?))) else {
            return Err(unknown(path, line, &key, &known));
        };
        let origin = Origin::File { path: path.to_owned(), line, key: name };
        given.push(Given { setting: spec.setting, text: value, origin });
    }
    Ok(given)
}

fn unknown(path: &Path, line: usize, key: &str, known: &[&str]) -> Refusal {
    let list = known.join(", ");
    let known = match nearest(key, known.iter().copied()) {
        Some(near) => format!("{list}; did you mean {near}?"),
        None => list,
    };
    Refusal::UnknownKey { path: PathBuf::from(path), line, key: showable(key), known }
}
