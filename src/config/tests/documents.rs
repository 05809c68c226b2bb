//! The list of settings is in order, spelled once, and equal to `docs/settings.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::config::setting::Spec;
use crate::config::table::SPECS;

/// The rows of the table in `docs/settings.md`, written from the list.
fn rows() -> String {
    let code = |text: &str| format!("`{text}`");
    let mut rows = String::new();
    for spec in SPECS {
        let flag = spec.long.map(|long| {
            let short = spec.short.map(|short| code(&format!("-{short}")));
            let alias = spec.alias.map(|alias| code(&format!("--{alias}")));
            let names: Vec<_> = short.into_iter().chain([code(&format!("--{long}"))]).chain(alias).collect();
            names.join(" ")
        });
        let platform: Vec<_> = spec.platform.iter().map(|name| code(name)).collect();
        let cells = [
            flag,
            spec.variable().map(|name| code(&name)),
            Some(platform.join(" ")),
            spec.ini.map(code),
            spec.yaml.map(code),
            spec.default.map(code),
            Some(spec.help.replace('|', "\\|")),
        ];
        let cells: Vec<String> = cells.into_iter().map(Option::unwrap_or_default).collect();
        writeln!(rows, "| {} |", cells.join(" | ")).unwrap();
    }
    rows
}

#[test]
fn the_documented_table_is_the_list() {
    let document = include_str!("../../../docs/settings.md");
    let table: String = document
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .fold(String::new(), |all, row| all + row + "\n");
    assert_eq!(table, rows(), "the rows of docs/settings.md should be:\n{}", rows());
}

#[test]
fn other_documents_name_only_what_exists() {
    let known: BTreeSet<String> = SPECS
        .iter()
        .flat_map(|spec| {
            spec.variable().into_iter().chain(spec.platform.iter().map(|name| (*name).to_owned()))
        })
        .collect();
    let document = include_str!("../../../docs/settings.md");
    let words = document.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for word in words.filter(|word| word.starts_with("DEVSTATUS_") || word.starts_with("WIOTP_")) {
        assert!(known.contains(word) || word.ends_with('_'), "{word} is no variable");
    }
}

#[test]
fn the_list_is_in_the_order_of_the_variants() {
    for (index, spec) in SPECS.iter().enumerate() {
        assert_eq!(spec.setting as usize, index, "{:?}", spec.setting);
        assert!(spec.long.is_some() || spec.short.is_none() && spec.value.is_none());
        assert!(!spec.places().is_empty() && !spec.help.is_empty() && !spec.verbs.is_empty());
    }
}

#[test]
fn no_name_is_used_twice() {
    let names: Vec<fn(&Spec) -> Vec<String>> = vec![
        |spec| spec.long.iter().chain(&spec.alias).map(|name| (*name).to_owned()).collect(),
        |spec| spec.short.iter().map(char::to_string).collect(),
        |spec| {
            spec.variable().into_iter().chain(spec.platform.iter().map(|name| (*name).to_owned())).collect()
        },
        |spec| spec.ini.iter().map(|name| (*name).to_owned()).collect(),
        |spec| spec.yaml.iter().map(|name| (*name).to_owned()).collect(),
    ];
    for names in names {
        let all: Vec<String> = SPECS.iter().flat_map(names).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
    }
}
