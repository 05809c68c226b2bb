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
        match (text, file) {
            (Some(text), Some(file)) => {
                self.refuse_equal_rank(setting.text, setting.file, setting.why)?;
                let is_text = self.rank(setting.text) < self.rank(setting.file);
                if is_text { Ok(Some(text)) } else { self.secret_in(file, setting).map(Some) }
            }
            (None, Some(file)) => self.secret_in(file, setting).map(Some),
            (text, None) => Ok(text),
        }
    }

    /// The secret on the only line of its file.
    fn secret_in(&self, path: &Path, setting: &SecretSetting) -> Result<Secret, ConfigError> {
        file::read_secret(path, &self.origin(setting.file), &setting.what, setting.parse)
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
