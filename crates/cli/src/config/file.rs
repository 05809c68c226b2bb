//! Reads a settings file, `devstatus.toml` or the platform's INI or YAML, into texts with their origin.

use std::io;
use std::path::{Path, PathBuf};

use super::layers::SettingText;
use super::platform::{self, PlatformNames};
use super::refusal::{ConfigError, Origin, shown, unknown_key};
use super::value::Parsed;
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

/// Reads the text of a file of one kind; the names are those of the keys that mean something.
type Reader = fn(&str, &[&str]) -> Result<Vec<FileEntry>, SyntaxError>;

impl SettingsFile {
    /// Reads the file at `path`, which `origin` named.
    pub fn read(path: PathBuf, origin: Origin) -> Result<Self, ConfigError> {
        match read_text(&path, SETTINGS_MAX_BYTES) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => {
                let why = format!("cannot read {}: {error}", shown(&path));
                Err(ConfigError::Unusable { origin, why })
            }
        }
    }

    /// The values by the name of the setting. `flags` are the names that `devstatus.toml` may use.
    pub fn settings(&self, flags: &[String]) -> Result<Vec<(String, SettingText)>, ConfigError> {
        if self.toml().is_some() {
            let keys = flags.iter().map(String::as_str).chain(toml::OTHER_KEYS.map(|(key, _)| key));
            return self.settings_by(toml::read, &keys.map(|key| (key, key)).collect::<Vec<_>>());
        }
        let is_yaml = is_yaml(&self.path, &self.text);
        let key = |names: &PlatformNames| if is_yaml { names.yaml } else { names.ini };
        let names = platform::ALL.iter().filter_map(|names| Some((key(names)?, names.setting)));
        let reader = if is_yaml { yaml::read } else { ini::read };
        self.settings_by(reader, &names.collect::<Vec<_>>())
    }

    /// The values of the keys with these names, each with the setting that it is.
    fn settings_by(
        &self,
        reader: Reader,
        names: &[(&str, &str)],
    ) -> Result<Vec<(String, SettingText)>, ConfigError> {
        let place = |line, key| Origin::File { path: self.path.clone(), line, key };
        let known: Vec<&str> = names.iter().map(|(key, _)| *key).collect();
        let entries = reader(&self.text, &known).map_err(|SyntaxError { line, what }| {
            ConfigError::Unusable { origin: place(line, None), why: what }
        })?;
        let settings = entries.into_iter().map(|FileEntry { key, value, line }| {
            let setting = names.iter().find(|(name, _)| *name == key).map(|(_, setting)| *setting);
            match setting.zip(value) {
                Some((setting, text)) => {
                    let origin = place(line, Some(key.into_boxed_str()));
                    Ok((setting.to_owned(), SettingText { text, origin }))
                }
                None => Err(unknown_key(place(line, None), "", &key, &known)),
            }
        });
        settings.collect()
    }

    /// The text, if it is that of a file which can have tables.
    pub fn toml(&self) -> Option<&str> {
        has_extension(&self.path, &["toml"]).then_some(&self.text)
    }
}

/// The text of a file that `origin` named and that is not the settings file.
pub(super) fn read_named(path: &Path, max_bytes: u64, origin: &Origin) -> Result<String, ConfigError> {
    read_text(path, max_bytes).map_err(|error| ConfigError::unreadable(origin, &error))
}

/// The secret on the only line of a file that `origin` named; `what` says what it is.
pub(super) fn read_secret(
    path: &Path,
    origin: &Origin,
    what: &str,
    parse: impl Fn(&str) -> Parsed<Secret>,
) -> Result<Secret, ConfigError> {
    let text = read_named(path, SETTINGS_MAX_BYTES, origin)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    parse(line).map_err(|_unfit| ConfigError::expected(origin, format!("a file that holds {what}")))
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
