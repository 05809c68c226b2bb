//! Holds the arrows between the modules of the crates that have several layers: what each of their files names of its own
//! crate must stand above it. The order is the table [`CRATES`]; how the files look otherwise is checked in `tidy.rs`.
//!
//! The check reads tokens, not the parsed syntax: a path inside a macro call counts as much as one in a `use`.

mod sources;

use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A crate of several layers: its modules in reading order. A module may name those of the rows above its own, and none of
/// its own row. What crates may name of each other is Cargo's to hold.
struct Layers {
    /// The name by which other crates know it.
    name: &'static str,
    source: &'static str,
    rows: &'static [&'static [&'static str]],
    /// Modules of which the tests of every other one take parts; they stand below all rows.
    shared_by_tests: &'static [&'static str],
}

const CRATES: &[Layers] = &[
    Layers {
        name: "server",
        source: "crates/server/src/",
        rows: &[
            &["clock", "freshness"],
            &["metrics"],
            &["health"],
            &["history", "pending_ack", "access", "retention", "removal"],
            &["registry"],
            &["sync", "feed"],
            &["http_settings"],
            &["ingest", "read_through", "series", "gauges"],
            &["persistence"],
        ],
        shared_by_tests: &[],
    },
    Layers {
        name: "serving",
        source: "crates/serving/src/",
        rows: &[&["error"], &["network"], &["middleware"], &["api"], &["frontend"]],
        shared_by_tests: &["testing", "tests"],
    },
    Layers {
        name: "http_views",
        source: "crates/http-views/src/",
        rows: &[
            &["accept", "context", "describe", "parameters", "stale"],
            &["known", "metrics_format", "devices"],
            &["events"],
        ],
        shared_by_tests: &["testing"],
    },
    Layers {
        name: "http_api",
        source: "crates/http-api/src/",
        rows: &[&["describe"], &["api"], &["platform"], &["openapi"], &["router", "fast_lookup"]],
        shared_by_tests: &["tests"],
    },
    Layers {
        name: "cli",
        source: "crates/cli/src/",
        rows: &[&["exchange"], &["config"], &["client"], &["simulate", "sources", "keys", "rules"]],
        shared_by_tests: &[],
    },
    Layers {
        name: "service",
        source: "crates/service/src/",
        rows: &[&["memory", "progress"], &["app"], &["demo", "hide_secrets", "log"], &["command"]],
        shared_by_tests: &[],
    },
];

/// The module that fills in the settings of all parts and knows nothing else of them, and the parts: crates, and modules
/// beside it.
const CONFIG: [&str; 2] = ["cli", "config"];
const CONFIGURED_CRATES: &[&str] = &["mqtt", "republish", "server", "simulator", "store", "webhooks"];
const CONFIGURED_MODULES: &[&str] = &["exchange"];

/// What `config` may name beside settings: the words of `--ready-on` are those that health has for it.
const NAMED_BY_CONFIG: &[&[&str]] = &[&["server", "health", "ReadyOn"]];

/// Formats with a decoder of their own, by the modules of `formats`.
const DECODERS: &[&str] = &[
    "aws_iot",
    "chirpstack",
    "emqx",
    "homie5",
    "iot_platform",
    "mosquitto_log",
    "nanomq",
    "rmqtt",
    "sparkplug",
];

/// Crates that must not know one source from another, and the places in them that must: where messages are decoded, and the
/// IoT platform's own API.
const SOURCE_BLIND: &[&str] = &[
    "crates/presence/src/",
    "crates/store/src/",
    "crates/server/src/",
    "crates/serving/src/",
    "crates/http-views/src/",
    "crates/http-api/src/",
];
const DECODING: &[&str] = &["crates/server/src/ingest", "crates/http-api/src/platform/"];

#[test]
fn only_what_decodes_names_a_format() {
    let mut faults = Vec::new();
    for source in sources::read(SOURCE_BLIND) {
        if !DECODING.iter().any(|place| source.path.starts_with(place)) {
            let named = DECODERS.iter().filter(|decoder| names(source.tokens(), decoder));
            faults.extend(named.map(|decoder| format!("{}: names `{decoder}`", source.path)));
        }
    }
    assert!(faults.is_empty(), "ask `formats::catalog` or `formats::held`:\n{}", faults.join("\n"));
    assert!(names("fn f() { g(&[iot_platform::topic()]) }".parse().expect("Rust"), "iot_platform"));
}

/// Whether an identifier is among the tokens.
fn names(tokens: TokenStream, identifier: &str) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == identifier,
        TokenTree::Group(group) => names(group.stream(), identifier),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

#[test]
fn every_module_names_only_those_above_it() {
    let mut faults = Vec::new();
    for layers in CRATES {
        for source in sources::read(&[layers.source]) {
            faults.extend(layers.faults_of(&source.path, source.tokens()));
        }
    }
    assert!(faults.is_empty(), "arrows that point the wrong way:\n{}", faults.join("\n"));
}

impl Layers {
    /// What is wrong with one file, a line each.
    fn faults_of(&self, path: &str, tokens: TokenStream) -> Vec<String> {
        let file = self.module_of(path);
        // The root of a library only lists the modules.
        let Some(module) = file.get(1) else { return Vec::new() };
        if self.shared_by_tests.contains(&module.as_str()) {
            return Vec::new();
        }
        if self.row(module).is_none() {
            return vec![format!(
                "{path}: module `{module}` is not in the table of rows; decide where it stands"
            )];
        }
        let mut named = Vec::new();
        Reader { layers: self, named: &mut named }.read(tokens, &file);
        let forbidden = named.iter().filter_map(|found| {
            let why = self.forbidden(module, &found.path)?;
            Some(format!("{path}:{}: names `{}`: {why}", found.line, found.path.join("::")))
        });
        forbidden.collect()
    }

    /// Where the file is: `crates/server/src/feed/buffer.rs` is `server::feed::buffer`, `lib.rs` is the crate itself.
    fn module_of(&self, path: &str) -> Vec<String> {
        let inner = path.strip_prefix(self.source).and_then(|path| path.strip_suffix(".rs"));
        let parts = inner.expect("a file of the crate").split('/');
        let mut module: Vec<_> = [self.name].into_iter().chain(parts).map(str::to_owned).collect();
        module.pop_if(|last| last == "mod" || last == "lib");
        module
    }

    fn row(&self, module: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.contains(&module))
    }

    /// Why `module` must not name `path`, if so.
    fn forbidden(&self, module: &str, path: &[String]) -> Option<String> {
        if [self.name, module] == CONFIG && !may_be_configured(path) {
            return Some("`config` fills in settings and knows nothing else of what they are for".to_owned());
        }
        if path.first().is_none_or(|first| first != self.name) {
            return None;
        }
        let Some(target) = path.get(1) else {
            return Some("name the module instead of the root".to_owned());
        };
        if target == module || self.shared_by_tests.contains(&target.as_str()) {
            return None;
        }
        let Some(target_row) = self.row(target) else {
            return Some(format!("`{target}` is not in the table of rows; decide where it stands"));
        };
        let is_above = self.row(module).is_some_and(|own_row| own_row > target_row);
        (!is_above).then(|| format!("`{target}` does not stand above `{module}`"))
    }

    /// Where a path leads that begins with this word; none if nothing is held of what it begins.
    fn start_of_path(&self, word: &str, here: &[String]) -> Option<Vec<String>> {
        match word {
            "crate" => Some(vec![self.name.to_owned()]),
            "super" => Some(here[..here.len().saturating_sub(1)].to_vec()),
            _ if word == self.name || CONFIGURED_CRATES.contains(&word) => Some(vec![word.to_owned()]),
            _ => None,
        }
    }
}

/// Whether `config` may name the path.
fn may_be_configured(path: &[String]) -> bool {
    let is_part = match path {
        [own, module, ..] if own == CONFIG[0] => CONFIGURED_MODULES.contains(&module.as_str()),
        [first, ..] => CONFIGURED_CRATES.contains(&first.as_str()),
        [] => false,
    };
    !is_part
        || path.iter().any(|part| part == "settings" || part == "http_settings")
        || NAMED_BY_CONFIG.iter().any(|allowed| path.iter().eq(allowed.iter()))
}

/// A path of the crate, from its root, and where it was named.
struct Named {
    path: Vec<String>,
    line: usize,
}

/// Finds the paths in a stream of tokens.
struct Reader<'a> {
    layers: &'a Layers,
    named: &'a mut Vec<Named>,
}

impl Reader<'_> {
    /// Reads what is in the module `here`.
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
            TokenTree::Ident(ident) => match self.layers.start_of_path(&ident.to_string(), here) {
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

/// Whether `::` is at `at`.
fn is_path_separator(tokens: &[TokenTree], at: usize) -> bool {
    tokens.get(at..at + 2).is_some_and(|two| two.iter().all(|token| is_punct(token, ':')))
}

fn check(path: &str, code: &str) -> Vec<String> {
    let layers = CRATES.iter().find(|layers| path.starts_with(layers.source)).expect("a crate with layers");
    layers.faults_of(path, TokenStream::from_str(code).expect("the examples are Rust"))
}

#[test]
fn a_module_above_may_be_named_in_every_way() {
    let code = "
        //! [`crate::persistence`] may be spoken of.
        use crate::{clock, registry::{Record, Applied as Said}};
        use crate::history::*;
        use super::sync::settings::Share;
        use presence::Device;
        pub(crate) fn f() { crate::registry::f(\"crate::persistence\"); tracing::info!(n = crate::metrics::N); }
        mod tests { use super::super::sync; use super::*; use self::inner; }
    ";
    assert_eq!(check("crates/server/src/ingest.rs", code), Vec::<String>::new());
    assert_eq!(check("crates/server/src/ingest/mod.rs", code), Vec::<String>::new());
}

#[test]
fn a_module_below_may_be_named_in_no_way() {
    for code in [
        "use crate::persistence;",
        "use crate::persistence::Writer;",
        "use ::server::persistence;",
        "use crate::{clock, registry::{Record, Applied}, persistence::{self, Writer}};",
        "use super::persistence;",
        "use super::{clock, persistence};",
        "use self::super::persistence;",
        "fn f() { crate::persistence::write() }",
        "fn f(writer: &crate::persistence::Writer<u8>) {}",
        "fn f() { tracing::info!(n = %crate::persistence::N) }",
        "mod tests { use super::super::persistence; }",
        "mod tests { fn f() { vec![super::super::persistence::N] } }",
        "use crate::unheard_of;",
        "use crate::*;",
    ] {
        assert!(!check("crates/server/src/ingest.rs", code).is_empty(), "{code}");
    }
}

#[test]
fn a_file_inside_a_module_answers_for_its_module() {
    let none = Vec::<String>::new();
    assert_eq!(check("crates/server/src/sync/pass.rs", "use super::settings::Share;"), none);
    assert_eq!(check("crates/server/src/sync/pass.rs", "use super::super::registry;"), none);
    assert_eq!(check("crates/server/src/sync/pass.rs", "use super::super::ingest;").len(), 1);
    assert_eq!(
        check("crates/server/src/sync/mod.rs", "\n\nuse super::ingest::run;"),
        [
            "crates/server/src/sync/mod.rs:3: names `server::ingest::run`: `ingest` does not stand above `sync`"
        ]
    );
}

#[test]
fn neighbours_and_unknown_modules_are_refused() {
    assert_eq!(check("crates/server/src/feed/buffer.rs", "use crate::sync::Lead;").len(), 1);
    assert_eq!(check("crates/server/src/unheard_of.rs", "").len(), 1);
    assert_eq!(check("crates/server/src/lib.rs", "pub mod unheard_of;"), Vec::<String>::new());
}

#[test]
fn config_knows_settings_only() {
    let path = "crates/cli/src/config/mod.rs";
    for code in [
        "use mqtt::settings::Endpoint;",
        "use server::health::ReadyOn;",
        "use simulator::settings::Endings;",
        "use crate::exchange::settings::ExportFormat;",
        "use presence::query::Network;",
    ] {
        assert_eq!(check(path, code), Vec::<String>::new(), "{code}");
    }
    for code in [
        "use server::sync::Source;",
        "use store::Store;",
        "use crate::client::Service;",
        "use simulator::running::Fleet;",
    ] {
        assert_eq!(check(path, code).len(), 1, "{code}");
    }
}
