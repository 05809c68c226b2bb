//! How the Rust files look, where clippy has no rule: opening comment, length, names, no ignored test. Which module may
//! name which is checked in `layers.rs`; the length of functions is clippy's (`clippy.toml`).

mod sources;

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use sources::Source;

/// Everything that is Rust and ours.
const DIRECTORIES: &[&str] = &["crates", "tools"];

/// More does not fit a head; part it by what it is about.
const FILE_LINES_MAX: usize = 500;

/// Words that say nothing about what lives in a module.
const EMPTY_WORDS: &[&str] = &["util", "utils", "helper", "helpers", "manager", "managers", "misc", "common"];

#[test]
fn every_file_is_tidy() {
    let faults: Vec<_> = sources::read(DIRECTORIES).iter().flat_map(faults_of).collect();
    assert!(faults.is_empty(), "untidy:\n{}", faults.join("\n"));
}

/// What is wrong with one file, a line each.
fn faults_of(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if !source.text.starts_with("//! ") {
        faults.push("does not open with `//!`: what lives here and what does not".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!("has {lines} lines, where at most {FILE_LINES_MAX} are read with ease"));
    }
    let words = source.path.split(['/', '.', '_']);
    faults.extend(words.filter(|word| EMPTY_WORDS.contains(word)).map(empty_word));
    read(source.tokens(), &mut faults);
    faults.iter().map(|fault| format!("{}: {fault}", source.path)).collect()
}

fn empty_word(word: &str) -> String {
    format!("`{word}` in a name says nothing about what lives there")
}

fn read(tokens: TokenStream, faults: &mut Vec<String>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for pair in tokens.windows(2) {
        match pair {
            [TokenTree::Ident(keyword), TokenTree::Ident(name)] => {
                faults.extend(fault_of_name(&keyword.to_string(), &name.to_string()));
            }
            [TokenTree::Punct(hash), TokenTree::Group(attribute)]
                if hash.as_char() == '#' && is_ignore(attribute) =>
            {
                faults.push("has an ignored test: mend it or delete it".to_owned());
            }
            _ => {}
        }
    }
    for token in tokens {
        if let TokenTree::Group(group) = token {
            read(group.stream(), faults);
        }
    }
}

fn fault_of_name(keyword: &str, name: &str) -> Option<String> {
    match keyword {
        "fn" if name.starts_with("get_") => {
            Some(format!("`fn {name}`: a getter bears the name of what it gives"))
        }
        "mod" => name.split('_').find(|word| EMPTY_WORDS.contains(word)).map(empty_word),
        "struct" | "enum" | "trait" if name.ends_with("Manager") || name.ends_with("Helper") => {
            Some(format!("`{name}` says nothing about what it does"))
        }
        _ => None,
    }
}

/// `#[ignore]`, `#[ignore = "why"]`, and the same behind `cfg_attr`.
fn is_ignore(attribute: &proc_macro2::Group) -> bool {
    let words: Vec<_> = attribute.stream().into_iter().collect();
    let is_word = |word: &str| matches!(words.first(), Some(TokenTree::Ident(first)) if first == word);
    let behind_condition = || {
        let condition = attribute.stream().to_string();
        condition.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ignore")
    };
    attribute.delimiter() == Delimiter::Bracket
        && (is_word("ignore") || (is_word("cfg_attr") && behind_condition()))
}

fn faults(path: &str, text: &str) -> usize {
    assert!(TokenStream::from_str(text).is_ok(), "{text}");
    faults_of(&Source { path: path.to_owned(), text: text.to_owned() }).len()
}

#[test]
fn a_tidy_file_has_no_violations() {
    let text = "//! What lives here.\n/// Not #[ignore].\nfn get() {}\nfn budget_ms() {}\n#[doc = \"#[ignore]\"]\nstruct A;";
    assert_eq!(faults("src/presence.rs", text), 0);
    assert_eq!(faults("src/presence.rs", &format!("//! Long.\n{}", "\n".repeat(499))), 0);
}

#[test]
fn every_rule_can_be_broken() {
    for (path, text) in [
        ("src/a.rs", "fn f() {}"),
        ("src/a.rs", "// Not documentation."),
        ("src/util.rs", "//! A."),
        ("src/http/helpers/page.rs", "//! A."),
        ("src/session_manager.rs", "//! A."),
        ("src/a.rs", "//! A.\nmod utils;"),
        ("src/a.rs", "//! A.\nmod tests { mod test_helpers {} }"),
        ("src/a.rs", "//! A.\nimpl A { pub fn get_name(&self) {} }"),
        ("src/a.rs", "//! A.\nstruct SessionManager;"),
        ("tests/a.rs", "//! A.\nmod tests { #[test] #[ignore] fn f() {} }"),
        ("tests/a.rs", "//! A.\n#[test] #[ignore = \"slow\"] fn f() {}"),
        ("tests/a.rs", "//! A.\n#[test] #[cfg_attr(miri, ignore)] fn f() {}"),
    ] {
        assert_eq!(faults(path, text), 1, "{path}: {text}");
    }
    assert_eq!(faults("src/a.rs", &format!("//! Long.\n{}", "\n".repeat(500))), 1);
}
