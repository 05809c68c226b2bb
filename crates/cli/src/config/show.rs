//! `devstatus config show`: the value of each setting of the service and where it comes from, in the form of a
//! `devstatus.toml`.

use std::ops::Range;

use clap::{Arg, Command, CommandFactory};
use toml::de::{DeTable, DeValue};

use super::arguments::PlatformArgs;
use super::build::sources::replaced;
use super::file_tables::Tables;
use super::grammar::Origins;
use super::refusal::Origin;
use super::toml::{OTHER_KEYS, SOURCES, line_of};

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
    for (name, _) in OTHER_KEYS {
        let Some((key, value)) = tables.document.get_key_value(name) else { continue };
        let mut add = |heading: &str, table: &DeTable<'_>| {
            shown_tables += &format!("\n{heading}\n{}", table_lines(tables, &format!("{name}."), "", table));
        };
        match value.get_ref() {
            DeValue::Table(table) => add(&format!("[{name}]"), table),
            // Of a flag of that name, which takes a list, no item is a table.
            DeValue::Array(items) => {
                let each = items.iter().filter_map(|item| item.get_ref().as_table());
                each.for_each(|table| add(&format!("[[{name}]]"), table));
            }
            _ if name == SOURCES => {}
            _ => lines += &line(tables, "", name, (key.span().start, value.span())),
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
    let (path, key) = (tables.path.to_owned(), Some(format!("{heading}{name}").into_boxed_str()));
    let origin = Origin::File { path, line: line_of(tables.text, at), key };
    format!("{name} = {written}  # {origin}\n")
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
    // TOML writes a text as JSON does.
    if is_bare { value } else { serde_json::Value::from(value).to_string() }
}
