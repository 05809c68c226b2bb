//! Words of a private dialect that names and documents once had, and that the field's own words have replaced: none of them
//! comes back. Where names stand is checked in `layers.rs`, how files look in `tidy.rs`.

mod sources;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};

/// A word that was replaced, what stands for it now, and the paths where it means something else.
struct Replaced {
    word: &'static str,
    instead: &'static str,
    allowed: &'static [&'static str],
}

const fn replaced(word: &'static str, instead: &'static str) -> Replaced {
    Replaced { word, instead, allowed: &[] }
}

/// Where statements of SQL are named.
const SQL: &[&str] = &["crates/store/src/postgres/", "crates/store/src/sqlite/merge.rs"];

/// Parts of identifiers, as `heard` is of `heard_at` and `Told` of `DevicesTold`.
const IN_NAMES: &[Replaced] = &[
    Replaced { word: "statement", instead: "presence event", allowed: SQL },
    Replaced { word: "statements", instead: "presence events", allowed: SQL },
    replaced("belief", "device state"),
    replaced("beliefs", "device states"),
    replaced("verdict", "resolved status"),
    replaced("claim", "event kind"),
    replaced("heard", "received"),
    replaced("unheard", "not received"),
    replaced("bell", "change notification"),
    replaced("rang", "notified"),
    replaced("rung", "notified"),
    replaced("hear", "receive"),
    replaced("unhear", "uncount"),
    replaced("lane", "counter shard"),
    replaced("lanes", "counter shards"),
    replaced("told", "peer update"),
    replaced("horizon", "commit watermark"),
    replaced("recall", "read-through"),
    replaced("recalled", "fetched"),
    replaced("receipt", "pending ack"),
    replaced("receipts", "pending acks"),
    replaced("sieve", "index filter"),
    replaced("attend", "heartbeat"),
    replaced("attended", "heartbeat"),
    replaced("taught", "changed"),
    replaced("unsettled", "needs merge"),
    replaced("peace", "recovery"),
    replaced("upkeep", "maintenance"),
    replaced("whoever", "the one who acts, by name"),
    replaced("stands", "is"),
    replaced("bears", "has"),
];

/// Words of comments.
const IN_COMMENTS: &[Replaced] = &[
    replaced("belief", "device state"),
    replaced("beliefs", "device states"),
    replaced("verdict", "resolved status"),
    replaced("bell", "change notification"),
    replaced("rang", "notified"),
    replaced("sieve", "index filter"),
    replaced("lane", "counter shard"),
    replaced("lanes", "counter shards"),
    replaced("recall", "read-through"),
    replaced("receipts", "pending acks"),
    replaced("peace", "recovery"),
    replaced("upkeep", "maintenance"),
];

/// Words of the documents.
const IN_DOCUMENTS: &[Replaced] = &[
    replaced("heard_at", "received_at"),
    replaced("belief", "device state"),
    replaced("verdict", "resolved status"),
    replaced("bell", "change notification"),
    replaced("sieve", "index filter"),
    replaced("upkeep", "maintenance"),
    replaced("lane", "counter shard"),
    replaced("lanes", "counter shards"),
    replaced("recall", "read-through"),
    replaced("receipts", "pending acks"),
    replaced("peace", "recovery time"),
];

/// An identifier in its parts: `heard_at` and `HeardAt` are heard, at.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut was_lower = false;
    for letter in name.chars() {
        if letter == '_' || (letter.is_uppercase() && was_lower) {
            parts.push(String::new());
        }
        was_lower = letter.is_lowercase() || letter.is_ascii_digit();
        if letter != '_' {
            parts.last_mut().expect("there is a first part").extend(letter.to_lowercase());
        }
    }
    parts
}

fn names(tokens: TokenStream, found: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => {
                found.insert(name.to_string());
            }
            TokenTree::Group(group) => names(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// The replaced words in a text that was taken apart, a line each.
fn come_back<'a>(
    list: &[Replaced],
    path: &str,
    words: impl IntoIterator<Item = (&'a str, String)>,
) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, word) in words {
        let found = list.iter().find(|replaced| replaced.word == word);
        if let Some(Replaced { instead, .. }) =
            found.filter(|replaced| !replaced.allowed.iter().any(|start| path.starts_with(start)))
        {
            lines.push(format!("{path}: `{name}`: write {instead}"));
        }
    }
    lines
}

#[test]
fn no_replaced_word_comes_back_in_a_name() {
    let mut lines = Vec::new();
    for source in sources::read(&["crates", "tools"]) {
        let mut found = BTreeSet::new();
        names(source.tokens(), &mut found);
        // A list of the words names them.
        if source.path.ends_with("tests/words.rs") {
            continue;
        }
        let words = found.iter().flat_map(|name| parts(name).into_iter().map(|part| (name.as_str(), part)));
        lines.extend(come_back(IN_NAMES, &source.path, words));
    }
    assert!(lines.is_empty(), "replaced words:\n{}", lines.join("\n"));
}

#[test]
fn no_replaced_word_comes_back_in_a_comment() {
    let mut lines = Vec::new();
    for source in sources::read(&["crates", "tools"]) {
        let comments = source.text.lines().filter_map(|line| Some(line.split_once("//")?.1));
        let words = comments.flat_map(in_words);
        lines.extend(come_back(IN_COMMENTS, &source.path, words));
    }
    assert!(lines.is_empty(), "replaced words:\n{}", lines.join("\n"));
}

/// The words of a text, each as it is written and in lower case.
fn in_words(text: &str) -> impl Iterator<Item = (&str, String)> {
    let words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.map(|word| (word, word.to_lowercase()))
}

#[test]
fn no_replaced_word_comes_back_in_a_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut paths = vec![root.join("README.md"), root.join("ARCHITECTURE.md"), root.join("CONTRIBUTING.md")];
    let documents = fs::read_dir(root.join("docs")).expect("there are documents");
    paths.extend(documents.map(|entry| entry.expect("an entry of docs").path()));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut lines = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a document is text");
        let words = in_words(&text);
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        lines.extend(come_back(IN_DOCUMENTS, &name, words));
    }
    assert!(lines.is_empty(), "replaced words:\n{}", lines.join("\n"));
}

#[test]
fn a_replaced_word_is_found_in_every_form_of_a_name() {
    for name in ["heard_at", "newest_heard", "HeardAt", "DeviceHeard", "HEARD_MAX"] {
        let words = parts(name).into_iter().map(|part| (name, part));
        assert_eq!(come_back(IN_NAMES, "crates/a.rs", words).len(), 1, "{name}");
    }
    let words = |path| come_back(IN_NAMES, path, [("Statement", "statement".to_owned())]).len();
    assert_eq!(
        (words("crates/store/src/postgres/read.rs"), words("crates/store/src/sqlite/read.rs")),
        (0, 1)
    );
    assert!(come_back(IN_NAMES, "crates/a.rs", [("understands", "understands".to_owned())]).is_empty());
}
