//! Reads a settings file, `devstatus.toml` or the platform's INI or YAML, into texts with their origin.

use std::io;
use std::path::{Path, PathBuf};

use super::layers::SettingText;
use super::platform::{self, PlatformNames};
use super::refusal::{ConfigError, Origin, unknown_key};
use super::{ini, toml, yaml};
use system::files;
use system::secret::Secret;

/// Far above any settings or token; more is some other file, and is refused before it fills the memory.
pub(super) const SETTINGS_MAX_BYTES: u64 = 1 << 20;

/// One value of a file.
#[derive(Debug)]
pub(super) struct FileEntry {
    pub key: String,
    /// `None`: the key stands where no setting can.
    pub value: Option<Secret>,
    pub line: usize,
}

/// Where a parser gave up, and why, without quoting the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub line: usize,
    pub what: String,
}

/// The settings file, read once.
pub(super) struct SettingsFile {
    pub path: PathBuf,
    text: String,
}

impl SettingsFile {
    /// Reads the file at `path`, which `origin` named.
    pub fn read(path: PathBuf, origin: Origin) -> Result<Self, ConfigError> {
        match read_text(&path, SETTINGS_MAX_BYTES) {
            Ok(text) => Ok(Self { path, text }),
            Err(source) => Err(ConfigError::ReadConfig { origin, path, source }),
        }
    }

    /// The values by the name of the setting. `flags` are the names that `devstatus.toml` may use.
    pub fn settings(&self, flags: &[String]) -> Result<Vec<(String, SettingText)>, ConfigError> {
        let Self { path, text } = self;
        if let Some(toml) = self.toml() {
            let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
            let mut known = flags.clone();
            known.extend(toml::OTHER_KEYS.map(|(key, _)| key));
            let flag = |key: &str| flags.contains(&key).then(|| key.to_owned());
            return settings(path, toml::read(toml, &flags), &known, flag);
        }
        platform_settings(path, text)
    }

    /// The text, if it is that of a file which can have tables.
    pub fn toml(&self) -> Option<&str> {
        has_extension(&self.path, &["toml"]).then_some(&self.text)
    }
}

fn platform_settings(path: &Path, text: &str) -> Result<Vec<(String, SettingText)>, ConfigError> {
    let by = |name: fn(&PlatformNames) -> Option<&'static str>| {
        let known: Vec<&str> = platform::ALL.iter().filter_map(name).collect();
        let setting = move |key: &str| {
            let names = platform::ALL.iter().find(|names| name(names) == Some(key));
            names.map(|names| names.setting.to_owned())
        };
        (known, setting)
    };
    if is_yaml(path, text) {
        let (known, setting) = by(|names| names.yaml);
        settings(path, yaml::read(text, &known), &known, setting)
    } else {
        let (known, setting) = by(|names| names.ini);
        settings(path, ini::read(text, &known), &known, setting)
    }
}

pub(super) fn settings(
    path: &Path,
    entries: Result<Vec<FileEntry>, SyntaxError>,
    known: &[&str],
    setting: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, SettingText)>, ConfigError> {
    let entries = entries.map_err(|SyntaxError { line, what }| ConfigError::Syntax {
        path: path.into(),
        line,
        what,
    })?;
    let mut settings = Vec::with_capacity(entries.len());
    for FileEntry { key, value, line } in entries {
        let known_setting = setting(&key).filter(|_| known.contains(&key.as_str()));
        let Some((setting, text)) = known_setting.zip(value) else {
            return Err(unknown_key(path, line, "", &key, known));
        };
        let origin = Origin::File { path: path.into(), line, key: key.into_boxed_str() };
        settings.push((setting, SettingText { text, origin }));
    }
    Ok(settings)
}

/// The text of a file that `origin` named and that is not the settings file.
pub(super) fn read_named(path: &Path, max_bytes: u64, origin: &Origin) -> Result<String, ConfigError> {
    read_text(path, max_bytes).map_err(|source| ConfigError::ReadFile { origin: origin.clone(), source })
}

/// The whole of a UTF-8 file of at most `max_bytes`, without the mark that some editors put before the text.
fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    let bytes = files::read_once(path, max_bytes)?;
    // The error of the conversion holds the bytes, so it does not go on.
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn has_extension(path: &Path, names: &[&str]) -> bool {
    path.extension().is_some_and(|extension| names.iter().any(|name| extension.eq_ignore_ascii_case(name)))
}

/// By extension, else by the first line that is no comment: an INI file has to open its section there.
fn is_yaml(path: &Path, text: &str) -> bool {
    if has_extension(path, &["yaml", "yml"]) {
        return true;
    }
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let Some(first) = lines.next() else { return false };
    let roots = platform::ALL.iter().filter_map(|names| names.yaml?.split('.').next());
    let opens = |name| first.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(':'));
    first.starts_with("---") || first.starts_with('{') || roots.into_iter().any(opens)
}
