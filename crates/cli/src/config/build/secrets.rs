//! Secrets and certificates that settings name: which of two places wins, and whether the file can be read.

use std::path::{Path, PathBuf};

use super::super::arguments::SYSTEM_TRUST_STORE;
use super::super::value::is_login;
use super::super::{ConfigError, file};
use super::BuildContext;
use system::files;
use system::secret::Secret;

/// The two settings of one secret.
pub(super) struct SecretNames {
    pub text: &'static str,
    pub file: &'static str,
    /// Why they contradict each other.
    pub why: &'static str,
}

impl BuildContext {
    /// A secret that is given as a text or as the file it is in: the stronger of both.
    pub(super) fn secret(
        &self,
        names: &SecretNames,
        text: Option<Secret>,
        file: Option<&Path>,
        read: impl FnOnce(&Path) -> Result<Secret, ConfigError>,
    ) -> Result<Option<Secret>, ConfigError> {
        match (text, file, self.origins.of(names.text), self.origins.of(names.file)) {
            (Some(_), Some(_), Some(one), Some(other)) if one.same_layer(&other) => {
                Err(ConfigError::Contradiction { one, other, why: names.why })
            }
            (Some(text), Some(_), Some(one), Some(other)) if one.stronger_than(&other) => Ok(Some(text)),
            (_, Some(file), _, _) => read(file).map(Some),
            (text, None, _, _) => Ok(text),
        }
    }

    /// The only line of a file, `None` if it is not fit for a login.
    pub(super) fn secret_line(&self, setting: &str, path: &Path) -> Result<Option<Secret>, ConfigError> {
        let text = file::read_named(path, file::SETTINGS_MAX_BYTES, &self.origins.origin(setting))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Ok(is_login(line).then(|| Secret::new(line)))
    }

    /// The file of certificates that a setting names, `None` for the system's trust store.
    pub(super) fn certificates(&self, setting: &str, path: PathBuf) -> Result<Option<PathBuf>, ConfigError> {
        if path == Path::new(SYSTEM_TRUST_STORE) { Ok(None) } else { self.readable(setting, &path).map(Some) }
    }

    /// A file that can be opened; what it holds is for its reader.
    pub(super) fn readable(&self, setting: &str, path: &Path) -> Result<PathBuf, ConfigError> {
        files::check_readable(path)
            .map_err(|source| ConfigError::ReadFile { origin: self.origins.origin(setting), source })?;
        Ok(path.to_owned())
    }
}

/// Two settings that are given together or not at all.
pub(super) fn together<T>(
    (first_name, first): (&'static str, Option<T>),
    (second_name, second): (&'static str, Option<T>),
) -> Result<Option<(T, T)>, ConfigError> {
    match (first, second) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ConfigError::Missing(vec![second_name])),
        (None, Some(_)) => Err(ConfigError::Missing(vec![first_name])),
    }
}
