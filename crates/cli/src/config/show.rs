//! `devstatus config show`: the value of each setting of the service and where it comes from, in the form of a
//! `devstatus.toml`.

use std::fmt::Write;
use std::ops::Range;

use clap::{Arg, Command, CommandFactory};
use toml::de::{DeTable, DeValue};

use super::arguments::PlatformArgs;
use super::file_tables::Tables;
use super::grammar::Origins;
use super::refusal::Origin;
use super::source_tables::replaced;
use super::toml::{OTHER_KEYS, SOURCES, Shape, line_of};

/// A line for each setting; what has no value, and what `devstatus.toml` cannot hold, is a comment. Tables are shown as they are
/// written.
pub(super) fn settings(grammar: &Command, origins: &Origins, tables: &Tables<'_>) -> String {
    let serve = grammar.find_subcommand("serve").unwrap_or(grammar);
    let replaced: Vec<_> = tables.place(SOURCES).into_iter().flat_map(|_| replaced()).collect();
    let mut lines = String::new();
    for (setting, arg) in named(serve).filter(|(setting, _)| !replaced.contains(setting)) {
        lines += &match effective(setting, arg, origins) {
            Some((value, origin)) => format!("{setting} = {}  # {origin}\n", shown(setting, &value)),
            None => format!("# {setting} is not set\n"),
        };
    }
    for (setting, arg) in named(&PlatformArgs::command()) {
        lines += &match effective(setting, arg, origins) {
            Some((value, origin)) => format!("# {setting} is {value}, from {origin}\n"),
            None => format!("# {setting} is not set\n"),
        };
    }
    let mut shown_tables = String::new();
    for (name, shape) in OTHER_KEYS {
        let Some((key, value)) = tables.document.iter().find(|(key, _)| key.get_ref() == name) else {
            continue;
        };
        match (shape, value.get_ref()) {
            (Shape::Tables, DeValue::Array(items)) => {
                for table in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    shown_tables +=
                        &format!("\n[[{name}]]\n{}", table_lines(tables, &format!("{name}."), "", table));
                }
            }
            (Shape::Table, DeValue::Table(table)) => {
                shown_tables +=
                    &format!("\n[{name}]\n{}", table_lines(tables, &format!("{name}."), "", table));
            }
            (Shape::Value, _) => lines += &line(tables, "", name, (key.span().start, value.span())),
            // The value of the flag of that name.
            (Shape::Tables | Shape::Table, _) => {}
        }
    }
    lines + &shown_tables
}

/// The keys of a table; `heading` is what the table is called, `within` what is before a key in it.
fn table_lines(tables: &Tables<'_>, heading: &str, within: &str, table: &DeTable<'_>) -> String {
    let mut lines = String::new();
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in keys {
        let name = format!("{within}{}", key.get_ref());
        lines += &match value.get_ref() {
            // One that is not written in one place.
            DeValue::Table(inner) if !tables.text[value.span()].starts_with('{') => {
                table_lines(tables, heading, &format!("{name}."), inner)
            }
            _ => line(tables, heading, &name, (key.span().start, value.span())),
        };
    }
    lines
}

fn line(tables: &Tables<'_>, heading: &str, name: &str, (at, value): (usize, Range<usize>)) -> String {
    // Who knows the URL of a chat's webhook can write to it, and a header may be a password.
    let written = if ["url", "headers"].contains(&name) { "\"(hidden)\"" } else { &tables.text[value] };
    let (path, key) = (tables.path.to_owned(), format!("{heading}{name}").into_boxed_str());
    let origin = Origin::File { path, line: line_of(tables.text, at), key };
    format!("{name} = {written}  # {origin}\n")
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
