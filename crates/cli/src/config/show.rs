//! `devstatus config show`: the value of each setting of the service and where it comes from, in the form of a
//! `devstatus.toml`.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use clap::{Arg, Command, CommandFactory};
use toml::de::{DeTable, DeValue};

use super::arguments::PlatformArgs;
use super::file_tables::FileTables;
use super::grammar::Origins;
use super::refusal::Origin;
use super::source_tables::{KEYS, REPLACED};
use super::toml::{SOURCES, line_of, other_keys};

/// A line for each setting; what has no value, and what `devstatus.toml` cannot hold, is a comment.
pub(super) fn settings(grammar: &Command, origins: &Origins, tables: &FileTables) -> String {
    let serve = grammar.find_subcommand("serve").unwrap_or(grammar);
    let mut lines = String::new();
    for (setting, arg) in named(serve) {
        if !tables.sources.is_empty() && REPLACED.contains(&setting) {
            continue;
        }
        let line = match effective(setting, arg, origins) {
            Some((value, origin)) => format!("{setting} = {}  # {origin}", shown(setting, &value)),
            None => format!("# {setting} is not set"),
        };
        lines = lines + &line + "\n";
    }
    for (setting, arg) in named(&PlatformArgs::command()) {
        let line = match effective(setting, arg, origins) {
            Some((value, origin)) => format!("# {setting} is {value}, from {origin}"),
            None => format!("# {setting} is not set"),
        };
        lines = lines + &line + "\n";
    }
    let other_keys = OtherKeys::of(tables);
    lines.push_str(&other_keys.values);
    for source in &tables.sources {
        lines.push_str("\n[[source]]\n");
        for &key in &*KEYS {
            if let (Some(value), Some(origin)) = (source.origins.text(key), source.origins.of(key)) {
                lines = lines + &format!("{key} = {}  # {origin}\n", shown(key, &value));
            }
        }
    }
    lines + &other_keys.tables
}

/// What a settings file says under keys that no flag has: values, and tables with their headings.
#[derive(Default)]
struct OtherKeys {
    values: String,
    tables: String,
}

impl OtherKeys {
    fn of(tables: &FileTables) -> Self {
        let mut shown = Self::default();
        let Some(file) = &tables.file else { return shown };
        let Some(text) = file.toml() else { return shown };
        let Ok(document) = DeTable::parse(text) else { return shown };
        let file = WrittenFile { path: &file.path, text };
        for name in other_keys().filter(|name| *name != SOURCES) {
            let Some((key, value)) = document.get_ref().iter().find(|(key, _)| key.get_ref() == name) else {
                continue;
            };
            match value.get_ref() {
                DeValue::Array(items) => {
                    for table in items.iter().filter_map(|item| item.get_ref().as_table()) {
                        let lines = file.lines(&format!("{name}."), "", table);
                        shown.tables = shown.tables + "\n[[" + name + "]]\n" + &lines;
                    }
                }
                DeValue::Table(table) => {
                    let lines = file.lines(&format!("{name}."), "", table);
                    shown.tables = shown.tables + "\n[" + name + "]\n" + &lines;
                }
                _ => shown.values.push_str(&file.line("", name, key.span().start, value.span())),
            }
        }
        shown
    }
}

/// A settings file, of which values are shown as they are written.
struct WrittenFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl WrittenFile<'_> {
    /// The keys of a table; `heading` is what the table is called, `within` what is before a key in it.
    fn lines(&self, heading: &str, within: &str, table: &DeTable<'_>) -> String {
        let mut lines = String::new();
        let mut keys: Vec<_> = table.iter().collect();
        keys.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in keys {
            let name = format!("{within}{}", key.get_ref());
            match value.get_ref() {
                // One that is not written in one place.
                DeValue::Table(inner) if !self.text[value.span()].starts_with('{') => {
                    lines.push_str(&self.lines(heading, &format!("{name}."), inner));
                }
                _ => lines.push_str(&self.line(heading, &name, key.span().start, value.span())),
            }
        }
        lines
    }

    fn line(&self, heading: &str, name: &str, at: usize, value: Range<usize>) -> String {
        // Who knows the URL of a chat's webhook can write to it, and a header may be a password.
        let written = if ["url", "headers"].contains(&name) { "\"(hidden)\"" } else { &self.text[value] };
        let (path, key) = (self.path.to_owned(), format!("{heading}{name}").into_boxed_str());
        let origin = Origin::File { path, line: line_of(self.text, at), key };
        format!("{name} = {written}  # {origin}\n")
    }
}

/// A line for each built-in source.
pub(super) fn sources() -> String {
    let infos: Vec<_> = formats::catalog::infos().collect();
    let width = infos.iter().map(|info| info.name.len()).max().unwrap_or_default();
    let mut lines = String::new();
    for info in infos {
        let note = if info.is_retained { "" } else { " (nothing is retained)" };
        let line = format!("{:width$}  {}, type {}{note}\n", info.name, info.description, info.device_type);
        lines.push_str(&line);
    }
    lines
}

fn named(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
    // No file of settings can name itself.
    named.filter(|(setting, _)| !matches!(*setting, "config" | "help" | "version"))
}

/// The value of a setting as text, and where it comes from.
fn effective(setting: &str, arg: &Arg, origins: &Origins) -> Option<(String, String)> {
    if let (Some(value), Some(origin)) = (origins.text(setting), origins.of(setting)) {
        return Some((value, origin.to_string()));
    }
    let default = arg.get_default_values().first()?;
    Some((default.to_string_lossy().into_owned(), "default".to_owned()))
}

/// As TOML writes it. A store's URL is shown without its password.
fn shown(setting: &str, value: &str) -> String {
    let login = value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    let value = match login {
        _ if setting == "token" => "(hidden)".to_owned(),
        Some((scheme, (login, rest))) => {
            let user = login.split(':').next().unwrap_or_default();
            let password = if login.contains(':') { ":(hidden)" } else { "" };
            format!("{scheme}://{user}{password}@{rest}")
        }
        None => value.to_owned(),
    };
    let is_bare = matches!(value.as_str(), "true" | "false") || value.parse::<u64>().is_ok();
    if is_bare { value } else { toml_string(&value) }
}

fn toml_string(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
