//! `devstatus config show`: the value of each setting of the service and where it comes from, in the form of a
//! `devstatus.toml`.

use std::fmt::Write;

use clap::{Arg, Command, CommandFactory};

use super::arguments::PlatformArgs;
use super::grammar::Origins;
use super::republish_table::RepublishTable;
use super::source_tables::{KEYS, REPLACED, SourceTable};

/// A line for each setting; what has no value, and what `devstatus.toml` cannot hold, is a comment.
pub(super) fn settings(
    grammar: &Command,
    origins: &Origins,
    sources: &[SourceTable],
    republish: Option<&RepublishTable>,
) -> String {
    let serve = grammar.find_subcommand("serve").unwrap_or(grammar);
    let mut lines = String::new();
    for (setting, arg) in named(serve) {
        if !sources.is_empty() && REPLACED.contains(&setting) {
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
    for source in sources {
        lines.push_str("\n[[source]]\n");
        for &key in &*KEYS {
            if let (Some(value), Some(origin)) = (source.origins.text(key), source.origins.of(key)) {
                lines = lines + &format!("{key} = {}  # {origin}\n", shown(key, &value));
            }
        }
    }
    if let Some(table) = republish {
        lines = lines + "\n[republish]\n" + &table.lines.join("\n") + "\n";
    }
    lines
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
