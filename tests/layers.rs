//! Holds the arrows between the modules: what each file of `src/` names of the crate must stand above it. The order is
//! the table [`ROWS`]; how the files look otherwise is checked in `tidy.rs`.
//!
//! The check reads tokens, not the parsed syntax: a path inside a macro call counts as much as one in a `use`.

mod sources;

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules in reading order. A module may name those of the rows above its own, and none of its own row.
const ROWS: &[&[&str]] = &[
    &["secret", "freshness", "files"],
    &["clock", "metrics", "descriptors", "memory", "tls"],
    &["health"],
    &["history", "receipt", "access", "retention", "removal"],
    &["map"],
    &["source", "feed"],
    &["ingest", "recall"],
    &["store", "http", "progress"],
    &["fleet", "exchange", "client"],
    &["config"],
    &["app"],
    &["demo", "simulate", "keys", "hide_secrets", "log_escape"],
    &["main"],
];

/// The simulated fleet is no part of the service: it may use little of it, and little may use it. It publishes over the
/// source's connections, so that every transport is written and tested once.
const FLEET_MAY_NAME: &[&[&str]] = &[&["secret"], &["clock"], &["source"]];
const MAY_NAME_FLEET: &[&str] = &["demo", "simulate", "main"];

/// What has settings of its own; `config` fills these in and knows nothing else of it.
const CONFIGURED: &[&str] =
    &["source", "feed", "ingest", "store", "http", "access", "fleet", "exchange", "client"];

#[test]
fn every_module_names_only_those_above_it() {
    let mut faults = Vec::new();
    for source in sources::read(&["src"]) {
        faults.extend(faults_of(&source.path, source.tokens()));
    }
    assert!(faults.is_empty(), "arrows that point the wrong way:\n{}", faults.join("\n"));
}

/// What is wrong with one file, a line each.
fn faults_of(path: &str, tokens: TokenStream) -> Vec<String> {
    let file = module_of(path);
    // The root of the library only lists the modules.
    let Some(module) = file.first() else { return Vec::new() };
    if row(module).is_none() {
        return vec![format!(
            "{path}: module `{module}` is not in the table of rows; decide where it stands"
        )];
    }
    let mut named = Vec::new();
    Reader { named: &mut named }.read(tokens, &file);
    let forbidden = named.iter().filter_map(|found| {
        let why = forbidden(module, &found.path)?;
        Some(format!("{path}:{}: names `{}`: {why}", found.line, found.path.join("::")))
    });
    forbidden.collect()
}

/// Where the file stands in the crate: `src/source/packet.rs` is `source::packet`, `src/lib.rs` is the root.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).expect("a file of src");
    let mut parts: Vec<_> = inner.split('/').map(str::to_owned).collect();
    parts.pop_if(|last| last == "mod" || last == "lib");
    parts
}

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&module))
}

/// Why `module` must not name `path`, if so.
fn forbidden(module: &str, path: &[String]) -> Option<String> {
    let Some(target) = path.first() else { return Some("name the module instead of the root".to_owned()) };
    if target == module {
        return None;
    }
    let Some(target_row) = row(target) else {
        return Some(format!("`{target}` is not in the table of rows; decide where it stands"));
    };
    if row(module).is_some_and(|own_row| own_row <= target_row) {
        return Some(format!("`{target}` does not stand above `{module}`"));
    }
    if target == "fleet" && !MAY_NAME_FLEET.contains(&module) && !(module == "config" && is_settings(path)) {
        return Some("the service knows nothing of the simulated fleet".to_owned());
    }
    if module == "fleet" && !FLEET_MAY_NAME.iter().any(|allowed| starts_with(path, allowed)) {
        return Some("the fleet stands on its own".to_owned());
    }
    if module == "config" && CONFIGURED.contains(&target.as_str()) && !is_settings(path) {
        return Some(format!("`config` fills in `{target}::settings` and knows nothing else of it"));
    }
    None
}

fn is_settings(path: &[String]) -> bool {
    path.get(1).is_some_and(|part| part == "settings")
}

fn starts_with(path: &[String], start: &[&str]) -> bool {
    path.len() >= start.len() && path.iter().zip(start).all(|(part, wanted)| part == wanted)
}

/// A path of the crate, from its root, and where it was named.
struct Named {
    path: Vec<String>,
    line: usize,
}

/// Finds the paths in a stream of tokens.
struct Reader<'a> {
    named: &'a mut Vec<Named>,
}

impl Reader<'_> {
    /// Reads what stands in the module `here`.
    fn read(&mut self, tokens: TokenStream, here: &[String]) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.step(&tokens, at, here);
        }
    }

    /// Reads one item that begins at `at`; returns where the next one begins.
    fn step(&mut self, tokens: &[TokenTree], at: usize, here: &[String]) -> usize {
        match &tokens[at] {
            TokenTree::Group(group) => {
                let inner = inline_module(tokens, at).map(|name| [here, &[name]].concat());
                self.read(group.stream(), inner.as_deref().unwrap_or(here));
                at + 1
            }
            TokenTree::Ident(ident) => match start_of_path(&ident.to_string(), here) {
                Some(start) if is_path_separator(tokens, at + 1) => self.follow(tokens, at + 3, &start),
                _ => at + 1,
            },
            TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
        }
    }

    /// Follows a path whose next part is at `at`; returns where the tokens after it begin.
    fn follow(&mut self, tokens: &[TokenTree], at: usize, prefix: &[String]) -> usize {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => {
                let part = ident.to_string();
                let path = match part.as_str() {
                    "super" => prefix[..prefix.len().saturating_sub(1)].to_vec(),
                    "self" => prefix.to_vec(),
                    _ => [prefix, &[part]].concat(),
                };
                if is_path_separator(tokens, at + 1) {
                    return self.follow(tokens, at + 3, &path);
                }
                self.found(path, ident.span().start().line);
                at + 1
            }
            // The braces of a use tree: each of its entries goes on with the same prefix.
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let entries: Vec<_> = group.stream().into_iter().collect();
                let mut entry = 0;
                while entry < entries.len() {
                    let next = self.follow(&entries, entry, prefix);
                    let comma = entries[next..].iter().position(|token| is_punct(token, ','));
                    entry = comma.map_or(entries.len(), |comma| next + comma + 1);
                }
                at + 1
            }
            // `*`, or the `<` of generic arguments.
            Some(token) => {
                self.found(prefix.to_vec(), token.span().start().line);
                at + 1
            }
            None => at,
        }
    }

    fn found(&mut self, path: Vec<String>, line: usize) {
        self.named.push(Named { path, line });
    }
}

/// Where a path leads that begins with this word; none if the word begins no path of the crate.
fn start_of_path(word: &str, here: &[String]) -> Option<Vec<String>> {
    match word {
        // The binary names the library by its name.
        "crate" | "devstatus" => Some(Vec::new()),
        "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
        _ => None,
    }
}

/// The name of the inline module whose body is the group at `at`.
fn inline_module(tokens: &[TokenTree], at: usize) -> Option<String> {
    match tokens.get(at.checked_sub(2)?..at)? {
        [TokenTree::Ident(keyword), TokenTree::Ident(name)] if keyword == "mod" => Some(name.to_string()),
        _ => None,
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// Whether `::` stands at `at`.
fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    tokens.get(at..at + 2).is_some_and(|two| two.iter().all(|token| is_punct(token, ':')))
}

fn check(path: &str, code: &str) -> Vec<String> {
    faults_of(path, TokenStream::from_str(code).expect("the examples are Rust"))
}

#[test]
fn a_module_above_may_be_named_in_every_way() {
    let code = "
        //! [`crate::http`] may be spoken of.
        use crate::{clock, map::{Record, Applied as Said}};
        use crate::history::*;
        use super::source::settings::Endpoint;
        pub(crate) fn f() { crate::map::f(\"crate::http\"); tracing::info!(n = crate::metrics::N); }
        mod tests { use super::super::source; use super::*; use self::inner; }
    ";
    assert_eq!(check("src/ingest.rs", code), Vec::<String>::new());
    assert_eq!(check("src/ingest/mod.rs", code), Vec::<String>::new());
}

#[test]
fn a_module_below_may_be_named_in_no_way() {
    for code in [
        "use crate::http;",
        "use crate::http::Page;",
        "use ::devstatus::http;",
        "use crate::{clock, map::{Record, Applied}, http::{self, Page}};",
        "use super::http;",
        "use super::{clock, http};",
        "use self::super::http;",
        "fn f() { crate::http::serve() }",
        "fn f(page: &crate::http::Page<u8>) {}",
        "fn f() { tracing::info!(n = %crate::http::N) }",
        "mod tests { use super::super::http; }",
        "mod tests { fn f() { vec![super::super::http::N] } }",
        "use crate::unheard_of;",
        "use crate::*;",
    ] {
        assert!(!check("src/ingest.rs", code).is_empty(), "{code}");
    }
}

#[test]
fn a_file_inside_a_module_answers_for_its_module() {
    assert_eq!(check("src/source/packet.rs", "use super::settings::MqttVersion;"), Vec::<String>::new());
    assert_eq!(check("src/source/packet.rs", "use super::super::map;"), Vec::<String>::new());
    assert_eq!(check("src/source/packet.rs", "use super::super::ingest;").len(), 1);
    assert_eq!(
        check("src/source/mod.rs", "\n\nuse super::ingest::run;"),
        ["src/source/mod.rs:3: names `ingest::run`: `ingest` does not stand above `source`"]
    );
}

#[test]
fn modules_of_one_row_never_name_each_other() {
    assert_eq!(check("src/store/sqlite.rs", "use crate::http::Page;").len(), 1);
    assert_eq!(check("src/http/devices.rs", "use crate::store::Store;").len(), 1);
    assert_eq!(check("src/http/devices.rs", "use crate::http::page::Page;"), Vec::<String>::new());
}

#[test]
fn the_fleet_stands_apart() {
    let allowed = "use crate::{secret::Secret, clock, source::connection::Connection};";
    assert_eq!(check("src/fleet/mod.rs", allowed), Vec::<String>::new());
    assert_eq!(check("src/fleet/mod.rs", "use crate::http::Page;").len(), 1);
    assert_eq!(check("src/fleet/mod.rs", "use crate::presence::Claim;").len(), 1);
    assert_eq!(check("src/demo.rs", "use crate::fleet::Fleet; use crate::app;"), Vec::<String>::new());
    assert_eq!(check("src/app.rs", "use crate::fleet::Fleet;").len(), 1);
    assert_eq!(check("src/config/mod.rs", "use crate::fleet::settings::Endings;"), Vec::<String>::new());
    assert_eq!(check("src/config/mod.rs", "use crate::fleet::Fleet;").len(), 1);
}

#[test]
fn config_knows_the_settings_of_a_module_and_nothing_else_of_it() {
    assert_eq!(check("src/config.rs", "use crate::source::settings::Endpoint;"), Vec::<String>::new());
    assert_eq!(check("src/config.rs", "use crate::source::Source;").len(), 1);
    assert_eq!(check("src/config.rs", "use crate::source;").len(), 1);
}

#[test]
fn a_new_module_must_be_given_a_place() {
    assert_eq!(check("src/extra.rs", "").len(), 1);
    assert_eq!(check("src/lib.rs", "pub mod extra;"), Vec::<String>::new());
    assert_eq!(check("src/main.rs", "use devstatus::{app, config::Config};"), Vec::<String>::new());
}
