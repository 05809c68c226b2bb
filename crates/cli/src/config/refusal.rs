//! Why settings are refused, in one line that names the place and never a value.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::platform;

/// Where a text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, by its long name.
    Flag(String),
    /// One of our own variables.
    Own(String),
    /// One of the platform's variables.
    Platform(&'static str),
    /// A key of the settings file.
    File { path: PathBuf, line: usize, key: Box<str> },
}

impl Origin {
    /// Our own variable of a setting: `DEVSTATUS_` and its name in capitals.
    pub(super) fn variable_of(setting: &str) -> String {
        format!("DEVSTATUS_{}", setting.replace('-', "_").to_uppercase())
    }

    /// Whether neither can override the other: both flags, both of our variables, and so on.
    pub(super) fn same_layer(&self, other: &Origin) -> bool {
        self.rank() == other.rank()
    }

    pub(super) fn stronger_than(&self, other: &Origin) -> bool {
        self.rank() < other.rank()
    }

    /// The order of precedence, the strongest first.
    fn rank(&self) -> u8 {
        match self {
            Origin::Flag(_) => 0,
            Origin::Own(_) => 1,
            Origin::Platform(_) => 2,
            Origin::File { .. } => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(long) => write!(f, "--{long}"),
            Origin::Own(name) => f.write_str(name),
            Origin::Platform(name) => f.write_str(name),
            Origin::File { path, line, key } => write!(f, "{} line {line}, {key}", Path(path)),
        }
    }
}

/// More keys than that are not listed in an error.
const LISTED_KEYS_MAX: usize = 20;

/// Why the settings are refused. `Display` is one line.
#[derive(Debug)]
pub enum ConfigError {
    /// The arguments cannot be taken apart.
    Arguments { what: String },
    /// A variable that begins like ours is none of ours.
    UnknownVariable { name: Option<String>, near: Option<String> },
    /// The settings file has a key that nobody reads. `key` is left out if it may be a token in a wrong place.
    UnknownKey { path: PathBuf, line: usize, key: Option<String>, near: Option<String>, known: Vec<String> },
    /// The settings file cannot be taken apart.
    Syntax { path: PathBuf, line: usize, what: String },
    /// The settings file, named by `origin`, cannot be read.
    ReadConfig { origin: Origin, path: PathBuf, source: io::Error },
    /// Another file cannot be read. Its path is not shown: a token may stand there by mistake.
    ReadFile { origin: Origin, source: io::Error },
    /// A value is not what was expected.
    Invalid { origin: Origin, expected: String },
    /// A line of a file that is not the settings file, and that `origin` named, is not what was expected.
    Line { origin: Origin, line: usize, expected: String },
    /// A source cannot be used as it is named.
    Source { origin: Origin, why: String },
    /// Two values cannot both be meant.
    Contradiction { one: Origin, other: Origin, why: &'static str },
    /// Settings without a default are given nowhere.
    Missing(Vec<&'static str>),
    /// The organization is given nowhere, or what else would do.
    MissingOrganization { or: &'static str },
}

impl ConfigError {
    /// The refusal of the value that is there.
    pub(super) fn expected(origin: &Origin, expected: impl Into<String>) -> Self {
        ConfigError::Invalid { origin: origin.clone(), expected: expected.into() }
    }
}

// The start stops with one line, so the causes are in it, and `source` has none.
impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Arguments { what } => write!(f, "{what} (see --help)"),
            ConfigError::UnknownVariable { name: Some(name), near: Some(near) } => {
                write!(f, "unknown variable {name}: did you mean {near}?")
            }
            ConfigError::UnknownVariable { name: Some(name), near: None } => {
                write!(f, "unknown variable {name}: no setting of this name exists (see --help)")
            }
            ConfigError::UnknownVariable { name: None, .. } => f.write_str(
                "an unknown variable begins with DEVSTATUS_: no setting of its name exists (see --help)",
            ),
            ConfigError::UnknownKey { path, line, key, near, known } => {
                write!(f, "{} line {line}: unknown key", Path(path))?;
                if let Some(key) = key {
                    write!(f, " {key}")?;
                }
                let is_listed = known.len() <= LISTED_KEYS_MAX;
                match near {
                    Some(near) if is_listed => {
                        write!(f, ": did you mean {near}? Known are {}", known.join(", "))
                    }
                    Some(near) => write!(f, ": did you mean {near}?"),
                    None if is_listed => write!(f, "; known are {}", known.join(", ")),
                    None => f.write_str("; known are the flags of devstatus serve (see --help)"),
                }
            }
            ConfigError::Syntax { path, line, what } => write!(f, "{} line {line}: {what}", Path(path)),
            ConfigError::ReadConfig { origin, path, source } => {
                write!(f, "{origin}: cannot read {}: {source}", Path(path))
            }
            ConfigError::ReadFile { origin, source } => write!(f, "{origin}: cannot read the file: {source}"),
            ConfigError::Invalid { origin, expected } => write!(f, "{origin}: expected {expected}"),
            ConfigError::Line { origin, line, expected } => {
                write!(f, "line {line} of the file of {origin}: expected {expected}")
            }
            ConfigError::Source { origin, why } => write!(f, "{origin}: {why}"),
            ConfigError::Contradiction { one, other, why } => write!(f, "{one} contradicts {other}: {why}"),
            ConfigError::Missing(settings) => {
                let each: Vec<String> =
                    settings.iter().map(|setting| platform::places(setting).join(" or ")).collect();
                write!(f, "missing {}", each.join("; missing "))
            }
            ConfigError::MissingOrganization { or } => {
                write!(f, "missing {}; or {or}", platform::places("organization").join(" or "))
            }
        }
    }
}

/// A path in an error: a line break in a file's name must not break the line.
struct Path<'a>(&'a PathBuf);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string_lossy().chars() {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// `name` if it can be shown: letters and the signs of our names only, so that it is hardly a token in a wrong place.
pub(super) fn showable(name: &str) -> Option<String> {
    const LONGEST: usize = 48;
    let harmless = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_' | '.');
    (!name.is_empty() && name.len() <= LONGEST && name.chars().all(harmless)).then(|| name.to_owned())
}

/// The refusal of the key `name`, which the text shows with `prefix` before it.
pub(super) fn unknown_key(
    path: &std::path::Path,
    line: usize,
    prefix: &str,
    name: &str,
    known: &[&str],
) -> ConfigError {
    ConfigError::UnknownKey {
        path: path.to_owned(),
        line,
        key: showable(name).map(|name| format!("{prefix}{name}")),
        near: nearest(name, known.iter().copied()).map(str::to_owned),
        known: known.iter().map(|key| (*key).to_owned()).collect(),
    }
}

/// The known name that `name` was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.8;
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= NEAR)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, candidate)| candidate)
}
