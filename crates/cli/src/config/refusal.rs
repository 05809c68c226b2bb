//! Why settings are refused, in one line that names the place and never a value.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

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
    /// A line of the settings file, and the key in it where one is meant.
    File { path: PathBuf, line: usize, key: Option<Box<str>> },
}

impl Origin {
    /// Our own variable of a setting: `DEVSTATUS_` and its name in capitals.
    pub(super) fn variable_of(setting: &str) -> String {
        format!("DEVSTATUS_{}", setting.replace('-', "_").to_uppercase())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(long) => write!(f, "--{long}"),
            Origin::Own(name) => f.write_str(name),
            Origin::Platform(name) => f.write_str(name),
            Origin::File { path, line, key: Some(key) } => write!(f, "{} line {line}, {key}", shown(path)),
            Origin::File { path, line, key: None } => write!(f, "{} line {line}", shown(path)),
        }
    }
}

/// Why the settings are refused, in one line. The start stops with it, so a cause is in the line and is no `source`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The arguments, or the name of a variable, mean nothing.
    #[error("{what} (see --help)")]
    Arguments { what: String },
    /// The settings file has a key that nobody reads.
    #[error("{origin}: {what}")]
    UnknownKey { origin: Origin, what: String },
    /// What is at a place cannot be used.
    #[error("{origin}: {why}")]
    Unusable { origin: Origin, why: String },
    /// A line of a file that is not the settings file, and that `origin` named, is not what was expected.
    #[error("line {line} of the file of {origin}: expected {expected}")]
    Line { origin: Origin, line: usize, expected: String },
    /// Two values cannot both be meant.
    #[error("{one} contradicts {other}: {why}")]
    Contradiction { one: Origin, other: Origin, why: &'static str },
    /// Settings without a default are given nowhere.
    #[error("{}", missing(.0))]
    Missing(Vec<&'static str>),
    /// The organization is given nowhere, or what else would do.
    #[error("{}; or {or}", missing(&["organization"]))]
    MissingOrganization { or: &'static str },
}

impl ConfigError {
    /// The refusal of the value that is there.
    pub(super) fn expected(origin: &Origin, expected: impl Into<String>) -> Self {
        ConfigError::Unusable { origin: origin.clone(), why: format!("expected {}", expected.into()) }
    }

    /// The refusal of a file that a setting names. Its path is not shown: a token may stand there by mistake.
    pub(super) fn unreadable(origin: &Origin, error: &io::Error) -> Self {
        ConfigError::Unusable { origin: origin.clone(), why: format!("cannot read the file: {error}") }
    }
}

fn missing(settings: &[&str]) -> String {
    let each = settings.iter().map(|setting| format!("missing {}", platform::places(setting).join(" or ")));
    each.collect::<Vec<_>>().join("; ")
}

/// A path in an error: a line break in a file's name must not break the line.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().replace(char::is_control, "?")
}

/// `name` if it can be shown: letters and the signs of our names only, so that it is hardly a token in a wrong place.
pub(super) fn showable(name: &str) -> Option<String> {
    const LONGEST: usize = 48;
    let harmless = |c: char| c.is_ascii_alphabetic() || matches!(c, '-' | '_' | '.');
    (!name.is_empty() && name.len() <= LONGEST && name.chars().all(harmless)).then(|| name.to_owned())
}

/// The refusal of the key `name`, which the text shows with `prefix` before it unless it may be a token in a wrong place.
pub(super) fn unknown_key(origin: Origin, prefix: &str, name: &str, known: &[&str]) -> ConfigError {
    /// More keys are not listed.
    const LISTED_MAX: usize = 20;
    let key = showable(name).map(|name| format!(" {prefix}{name}")).unwrap_or_default();
    let listed = (known.len() <= LISTED_MAX).then(|| known.join(", "));
    let hint = match (nearest(name, known.iter().copied()), listed) {
        (Some(near), Some(listed)) => format!(": did you mean {near}? Known are {listed}"),
        (Some(near), None) => format!(": did you mean {near}?"),
        (None, Some(listed)) => format!("; known are {listed}"),
        (None, None) => "; known are the flags of devstatus serve (see --help)".to_owned(),
    };
    ConfigError::UnknownKey { origin, what: format!("unknown key{key}{hint}") }
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
