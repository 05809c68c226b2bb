//! `docs/settings.md` lists all settings, and each name is used once.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::{Arg, Command};

use crate::config::Origin;
use crate::config::grammar::{grammar, setting_names};
use crate::config::platform::{self, PlatformNames};

/// The first flag of that name, whichever subcommand has it.
fn find(command: &Command, setting: &str) -> Option<Arg> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(setting)).cloned();
    own.or_else(|| command.get_subcommands().find_map(|subcommand| find(subcommand, setting)))
}

fn names_of(setting: &str) -> Option<&'static PlatformNames> {
    platform::ALL.iter().find(|names| names.setting == setting)
}

/// One row of the table for each setting, as the program has it.
fn rows() -> String {
    let code = |text: &str| format!("`{text}`");
    let grammar = grammar();
    let mut rows = String::new();
    let mut row = |arg: &Arg, setting: &str, flag: Option<String>| {
        let names = names_of(setting);
        let platform: Vec<_> =
            names.iter().flat_map(|names| names.variables).map(|name| code(name)).collect();
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let default = arg.get_default_values().first().filter(|_| !arg.is_hide_default_value_set());
        let cells = [
            flag.clone(),
            flag.map(|_| code(&Origin::variable_of(setting))),
            Some(platform.join(" ")),
            names.and_then(|names| names.ini).map(code),
            names.and_then(|names| names.yaml).map(code),
            default.map(|text| code(&text.to_string_lossy())),
            Some(help.split(" [env: ").next().unwrap().replace('|', "\\|")),
        ];
        let cells: Vec<String> = cells.into_iter().map(Option::unwrap_or_default).collect();
        writeln!(rows, "| {} |", cells.join(" | ")).unwrap();
    };
    for setting in setting_names(grammar) {
        let arg = find(grammar, &setting).unwrap();
        let short = arg.get_short().map(|short| code(&format!("-{short}")));
        let aliases = arg.get_visible_aliases().unwrap_or_default();
        let flag: Vec<_> = short
            .into_iter()
            .chain([code(&format!("--{setting}"))])
            .chain(aliases.iter().map(|alias| code(&format!("--{alias}"))))
            .collect();
        row(&arg, &setting, Some(flag.join(" ")));
    }
    let platform = <crate::config::arguments::PlatformArgs as clap::CommandFactory>::command();
    for arg in platform.get_arguments() {
        row(arg, arg.get_long().unwrap(), None);
    }
    rows
}

#[test]
fn the_documented_table_is_the_list() {
    let document = include_str!("../../../../../docs/settings.md");
    // The other tables are narrower.
    let start = document.find("|---|---|---|").unwrap();
    let start = start + document[start..].find('\n').unwrap() + 1;
    let end = start + document[start..].find("\n\n").unwrap() + 1;
    if std::env::var_os("WRITE_SETTINGS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/settings.md");
        std::fs::write(path, format!("{}{}{}", &document[..start], rows(), &document[end..])).unwrap();
        return;
    }
    assert_eq!(&document[start..end], rows(), "`make settings` writes the rows of docs/settings.md anew");
}

#[test]
fn other_documents_name_only_what_exists() {
    let own = setting_names(grammar()).into_iter().map(|setting| Origin::variable_of(&setting));
    let platform = platform::ALL.iter().flat_map(|names| names.variables).map(|name| (*name).to_owned());
    let known: BTreeSet<String> = own.chain(platform).collect();
    let document = include_str!("../../../../../docs/settings.md");
    let words = document.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for word in words.filter(|word| word.starts_with("DEVSTATUS_") || word.starts_with("WIOTP_")) {
        assert!(known.contains(word) || word.ends_with('_'), "{word} is no variable");
    }
}

#[test]
fn the_grammar_is_sound() {
    grammar().clone().debug_assert();
    let own = setting_names(grammar());
    let platform = <crate::config::arguments::PlatformArgs as clap::CommandFactory>::command();
    for names in platform::ALL {
        let is_platform = platform.get_arguments().any(|arg| arg.get_long() == Some(names.setting));
        assert!(is_platform || own.iter().any(|name| name == names.setting), "{}", names.setting);
    }
}

#[test]
fn no_name_of_the_platform_is_used_twice() {
    let names: [fn(&PlatformNames) -> Vec<&str>; 3] = [
        |names| names.variables.to_vec(),
        |names| names.ini.into_iter().collect(),
        |names| names.yaml.into_iter().collect(),
    ];
    for names in names {
        let all: Vec<&str> = platform::ALL.iter().flat_map(names).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    }
}
