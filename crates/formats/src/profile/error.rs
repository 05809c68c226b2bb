//! What is wrong with a profile.

use std::ops::Range;

/// A profile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{problem}", self.profile.as_ref().map(|name| format!("profile `{name}`: ")).unwrap_or_default(),
    self.key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct ProfileError {
    /// The name of the profile, if it could be read.
    pub profile: Option<String>,
    /// The key whose value is at fault.
    pub key: Option<&'static str>,
    /// What was expected, in a sentence.
    pub problem: String,
    /// Where in the text, in bytes.
    pub span: Option<Range<usize>>,
}

impl ProfileError {
    /// The line of the text that was read, from 1.
    pub fn line(&self, text: &str) -> Option<usize> {
        let start = self.span.as_ref()?.start;
        let before = text.as_bytes().get(..start)?;
        Some(before.iter().filter(|byte| **byte == b'\n').count() + 1)
    }
}

/// The name of the profile that is written around a place of a text that is no valid TOML, or has an unknown key.
pub(super) fn name_before(text: &str, at: usize) -> Option<String> {
    let header = text.get(..at)?.rfind("[[profile]]")?;
    let table = text[header + 2..].split("[[profile]]").next()?;
    let name = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("name")?.trim_start().strip_prefix('='))?;
    Some(name.trim().trim_matches('"').to_owned())
}

/// The key whose value is written around a place of such a text.
pub(super) fn key_before(text: &str, at: usize) -> Option<&str> {
    let after = text.get(at..)?;
    let line_end = at + after.find('\n').unwrap_or(after.len());
    let lines = text[..line_end].lines().rev();
    let is_bare = |key: &str| {
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    lines
        .take_while(|line| !line.trim_start().starts_with("[["))
        .find_map(|line| Some(line.split_once('=')?.0.trim()).filter(|key| is_bare(key)))
}
