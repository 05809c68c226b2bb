//! The files of `--types-file` and `--devices-file`: what is known beforehand of the fleet, a name on each line.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::file;
use super::grammar::Origins;
use super::refusal::{ConfigError, Origin};
use super::value::{TOPIC_LEVEL, is_topic_level};

/// A list of ten million devices fits.
const NAMES_FILE_MAX_BYTES: u64 = 1 << 30;

/// The device types in the file.
pub(super) fn types(path: &Path, origins: &Origins) -> Result<Vec<String>, ConfigError> {
    let expected = format!("a device type, {TOPIC_LEVEL}");
    let device_type = |line: &str| is_topic_level(line).then(|| line.to_owned());
    lines(path, &origins.origin("types-file"), &expected, device_type)
}

/// The devices in the file, by type.
pub(super) fn devices(path: &Path, origins: &Origins) -> Result<BTreeMap<String, Vec<String>>, ConfigError> {
    let expected = format!("type/id or type,id, each {TOPIC_LEVEL}");
    let devices = lines(path, &origins.origin("devices-file"), &expected, |line| {
        let (device_type, id) = line.split_once('/').or_else(|| line.split_once(','))?;
        let (device_type, id) = (device_type.trim(), id.trim());
        (is_topic_level(device_type) && is_topic_level(id)).then(|| (device_type.to_owned(), id.to_owned()))
    })?;
    let mut by_type: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (device_type, id) in devices {
        by_type.entry(device_type).or_default().insert(id);
    }
    Ok(by_type.into_iter().map(|(device_type, ids)| (device_type, ids.into_iter().collect())).collect())
}

/// What `parse` makes of each line of the file that `origin` named; empty lines and comments are passed over.
fn lines<T>(
    path: &Path,
    origin: &Origin,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ConfigError> {
    let text = file::read_named(path, NAMES_FILE_MAX_BYTES, origin)?;
    // No name holds a '#', so that one can only begin a comment.
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let named = (1..).zip(lines).filter(|(_, line)| !line.is_empty());
    let parsed = named.map(|(line, text)| {
        let unfit = || ConfigError::Line { origin: origin.clone(), line, expected: expected.to_owned() };
        parse(text).ok_or_else(unfit)
    });
    parsed.collect()
}
