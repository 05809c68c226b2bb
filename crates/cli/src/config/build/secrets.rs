//! Secrets and certificates that settings name: which of two places wins, and whether the file can be used.

use std::io;
use std::path::{Path, PathBuf};

use super::super::arguments::SYSTEM_TRUST_STORE;
use super::super::grammar::Origins;
use super::super::value::Parsed;
use super::super::{ConfigError, file};
use system::files;
use system::secret::Secret;

/// A secret that is given as a text, or as the file it is in.
pub(super) struct SecretSetting {
    pub text: &'static str,
    pub file: &'static str,
    /// What the file holds.
    pub what: String,
    pub parse: fn(&str) -> Parsed<Secret>,
    /// Why the two contradict each other.
    pub why: &'static str,
}

impl Origins {
    /// The stronger of both.
    pub(super) fn secret(
        &self,
        setting: &SecretSetting,
        text: Option<Secret>,
        file: Option<&Path>,
    ) -> Result<Option<Secret>, ConfigError> {
        match (text, file, self.of(setting.text), self.of(setting.file)) {
            (Some(_), Some(_), Some(one), Some(other)) if one.same_layer(&other) => {
                Err(ConfigError::Contradiction { one, other, why: setting.why })
            }
            (Some(text), Some(_), Some(one), Some(other)) if one.rank() < other.rank() => Ok(Some(text)),
            (_, Some(file), _, _) => self.secret_in(file, setting).map(Some),
            (text, None, _, _) => Ok(text),
        }
    }

    /// The secret on the only line of its file.
    fn secret_in(&self, path: &Path, setting: &SecretSetting) -> Result<Secret, ConfigError> {
        let text = file::read_named(path, file::SETTINGS_MAX_BYTES, &self.origin(setting.file))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let unfit = |_| self.expected(setting.file, format!("a file that holds {}", setting.what));
        (setting.parse)(line).map_err(unfit)
    }

    /// The file of certificates that a setting names, `None` for the system's trust store.
    pub(super) fn certificates(&self, setting: &str, path: PathBuf) -> Result<Option<PathBuf>, ConfigError> {
        if path == Path::new(SYSTEM_TRUST_STORE) { Ok(None) } else { self.readable(setting, path).map(Some) }
    }

    /// A file that can be opened; what it holds is for its reader.
    pub(super) fn readable(&self, setting: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
        files::check_readable(&path).map_err(|error| self.unreadable(setting, &error))?;
        Ok(path)
    }

    pub(super) fn unreadable(&self, setting: &str, error: &io::Error) -> ConfigError {
        ConfigError::unreadable(&self.origin(setting), error)
    }
}

/// Two settings that are given together or not at all.
pub(super) fn together<A, B>(
    (first_name, first): (&'static str, Option<A>),
    (second_name, second): (&'static str, Option<B>),
) -> Result<Option<(A, B)>, ConfigError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::Missing(vec![second_name])),
        (None, Some(_)) => Err(ConfigError::Missing(vec![first_name])),
    }
}
