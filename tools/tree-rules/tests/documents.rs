//! That the documents fit the tree: each relative link leads to a file, each anchor to a heading, and each path, module and type that
//! ARCHITECTURE.md names exists. What a document says is not checked here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Directories above the package; the repository's own has the lock file of the workspace.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|path| path.join("Cargo.lock").exists()).expect("the workspace has a lock file")
}

/// The files that git knows, relative to the root.
fn tracked() -> Vec<String> {
    let output = Command::new("git").arg("ls-files").current_dir(root()).output().expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("paths are UTF-8").lines().map(str::to_owned).collect()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines of a document without its blocks of code.
fn prose(document: &str) -> Vec<&str> {
    let mut in_code = false;
    let mut lines = Vec::new();
    for line in document.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            lines.push(line);
        }
    }
    lines
}

/// A line without what is between backticks, and what is there.
fn split_code(line: &str) -> (String, Vec<&str>) {
    let (mut plain, mut code) = (String::new(), Vec::new());
    for (number, part) in line.split('`').enumerate() {
        if number % 2 == 0 { plain.push_str(part) } else { code.push(part) }
    }
    (plain, code)
}

/// The targets of the links in a document.
fn links(document: &str) -> Vec<String> {
    let lines = prose(document).into_iter().map(|line| split_code(line).0);
    let targets = |line: String| -> Vec<String> {
        let ends = line.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
        ends.collect()
    };
    lines.flat_map(targets).collect()
}

/// The anchors that a document offers, made of its headings as the common renderers make them.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = prose(document).into_iter().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

/// A target relative to the document that names it, relative to the root.
fn resolve(document: &str, target: &str) -> String {
    let mut path = PathBuf::from(document);
    path.pop();
    for part in Path::new(target).components() {
        match part.as_os_str().to_str() {
            Some("..") => {
                path.pop();
            }
            Some(".") | None => {}
            Some(name) => path.push(name),
        }
    }
    path.to_string_lossy().into_owned()
}

/// What is wrong with the links of one document, a line each.
fn broken_links(document: &str, text_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let own = text_of(document).expect("the document exists");
    let mut broken = Vec::new();
    for link in links(&own).into_iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
        let (target, anchor) =
            link.split_once('#').map_or((&*link, None), |(target, anchor)| (target, Some(anchor)));
        let path = if target.is_empty() { document.to_owned() } else { resolve(document, target) };
        let Some(linked) = text_of(&path) else {
            broken.push(format!("{document}: {link}: there is no {path}"));
            continue;
        };
        if anchor.is_some_and(|anchor| path.ends_with(".md") && !anchors(&linked).contains(anchor)) {
            broken.push(format!("{document}: {link}: {path} has no such heading"));
        }
    }
    broken
}

#[test]
fn every_link_of_every_document_leads_somewhere() {
    let text_of = |path: &str| {
        let path = root().join(path);
        if path.is_dir() {
            Some(String::new())
        } else {
            fs::read(path).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
    };
    let documents = tracked().into_iter().filter(|path| path.ends_with(".md"));
    let broken: Vec<_> = documents.flat_map(|document| broken_links(&document, text_of)).collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn a_link_to_nothing_is_noticed() {
    let files = BTreeMap::from([
        (
            "a.md",
            "# A\n[b](docs/b.md#one-two), [self](#a), [out](https://example.org/x), `[no](link.md)`\n```\n[no](code.md)\n```",
        ),
        ("docs/b.md", "## One, *two*\n[up](../a.md) [gone](c.md) [nowhere](../a.md#b)"),
    ]);
    let text_of = |path: &str| files.get(path).map(|text| (*text).to_owned());
    assert_eq!(broken_links("a.md", text_of), Vec::<String>::new());
    assert_eq!(
        broken_links("docs/b.md", text_of),
        ["docs/b.md: c.md: there is no docs/c.md", "docs/b.md: ../a.md#b: a.md has no such heading"]
    );
}

/// A name of ARCHITECTURE.md and where it would have to be.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Path(&'a str),
    Type(&'a str),
    /// A module, or what is in one: each of the words is a name of the code.
    Module(Vec<&'a str>),
}

/// What a word between backticks names of the code; `None` if it names none: a setting, a status, a statement.
fn named(code: &str) -> Option<Named<'_>> {
    let is_word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let ends = [".rs", ".sql", ".lua", ".md", ".toml"];
    if ends.iter().any(|end| code.ends_with(end))
        && code.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
    {
        return Some(Named::Path(code));
    }
    if code.contains("::") {
        let parts: Vec<_> = code.split("::").collect();
        return parts.iter().all(|part| is_word(part)).then_some(Named::Module(parts));
    }
    let is_type = is_word(code)
        && code.starts_with(|c: char| c.is_ascii_uppercase())
        && code.contains(|c: char| c.is_ascii_lowercase());
    is_type.then_some(Named::Type(code))
}

/// Files of users.
const NO_PATHS: &[&str] = &["devstatus.toml"];

/// Words that look like types and are fields of a message, or kinds of a lock.
const NO_TYPES: &[&str] = &["ConnectTime", "Time", "Debug"];

#[test]
fn every_path_module_and_type_of_the_architecture_exists() {
    let files = tracked();
    let sources: Vec<String> =
        files.iter().filter(|path| path.ends_with(".rs")).map(|path| text(path)).collect();
    let words: BTreeSet<&str> = sources
        .iter()
        .flat_map(|source| source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let defined: BTreeSet<&str> = sources.iter().flat_map(|source| definitions(source)).collect();
    let stems: BTreeSet<&str> = files.iter().flat_map(|path| path.split(['/', '.'])).collect();
    let architecture = text("ARCHITECTURE.md");
    let mut missing = Vec::new();
    for code in prose(&architecture).into_iter().flat_map(|line| split_code(line).1) {
        let exists = match named(code) {
            None => true,
            Some(Named::Path(path)) => {
                NO_PATHS.contains(&path)
                    || files.iter().any(|file| file == path || file.ends_with(&format!("/{path}")))
            }
            Some(Named::Type(name)) => NO_TYPES.contains(&name) || defined.contains(name),
            Some(Named::Module(parts)) => {
                parts.iter().all(|part| stems.contains(part) || words.contains(part))
            }
        };
        if !exists {
            missing.push(code);
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names what is not there: {missing:?}");
}

/// The rows of the tables whose last column is headed "test": what each is about, and the tests that it names.
fn tested_rows(document: &str) -> Vec<(&str, Vec<&str>)> {
    let mut rows = Vec::new();
    let mut lines = document.lines().peekable();
    while let Some(header) = lines.next() {
        if !header.starts_with('|') {
            continue;
        }
        let mut table = Vec::new();
        while let Some(row) = lines.next_if(|row| row.starts_with('|')) {
            table.push(row);
        }
        if last_cell(header) == "test" {
            // The first is the line below the header.
            rows.extend(table.into_iter().skip(1).map(|row| (row, split_code(last_cell(row)).1)));
        }
    }
    rows
}

fn last_cell(row: &str) -> &str {
    row.trim_end().trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let files = tracked();
    let sources: Vec<String> =
        files.iter().filter(|path| path.ends_with(".rs")).map(|path| text(path)).collect();
    let exists = |test: &&str| match test.strip_suffix("::tests") {
        Some(module) => {
            let path = module.replace("::", "/");
            let places = ["", "/mod", "/tests"].map(|end| format!("/{path}{end}.rs"));
            files.iter().any(|file| places.iter().any(|place| file.ends_with(place)))
        }
        None if test.ends_with(".rs") => {
            files.iter().any(|file| file.ends_with(&format!("/{test}")) || file == test)
        }
        None => sources.iter().any(|source| source.contains(&format!("fn {test}("))),
    };
    let documents: Vec<String> = files
        .iter()
        .filter(|path| path.starts_with("docs/") && path.ends_with(".md"))
        .map(|path| text(path))
        .collect();
    let rows: Vec<_> = documents.iter().flat_map(|document| tested_rows(document)).collect();
    assert!(rows.len() > 60, "the tables are found: {} rows", rows.len());
    let untested: Vec<_> =
        rows.into_iter().filter(|(_, tests)| tests.is_empty() || !tests.iter().all(exists)).collect();
    assert!(untested.is_empty(), "rows without a test that exists: {untested:#?}");
}

#[test]
fn the_page_explains_every_evidence_that_is_documented() {
    let (document, page) = (text("docs/population.md"), text("web/population.js"));
    let table = document.split("| `evidence` |").nth(1).expect("the table is there");
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `")?.split('`').next());
    let words: Vec<_> = rows.collect();
    assert!(words.len() > 5, "{words:?}");
    let unexplained: Vec<_> =
        words.into_iter().filter(|word| !page.contains(&format!("  {word}: \""))).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

/// The types that a file defines.
fn definitions(source: &str) -> impl Iterator<Item = &str> {
    let keywords = ["struct ", "enum ", "trait ", "type "];
    let lines = source.lines().map(|line| {
        let line = line.trim_start();
        let behind = line.strip_prefix("pub").unwrap_or(line);
        let behind = behind
            .strip_prefix('(')
            .and_then(|place| place.split_once(')'))
            .map_or(behind, |(_, behind)| behind);
        behind.trim_start()
    });
    lines.filter_map(move |line| {
        let rest = keywords.iter().find_map(|keyword| line.strip_prefix(keyword))?;
        rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()
    })
}

#[test]
fn names_of_the_code_differ_from_other_words() {
    assert_eq!(named("presence/src/state.rs"), Some(Named::Path("presence/src/state.rs")));
    assert_eq!(named("DeviceState"), Some(Named::Type("DeviceState")));
    assert_eq!(named("sync::live"), Some(Named::Module(vec!["sync", "live"])));
    for other in ["--map-limit", "NOTIFY", "unproven", "GET /livez", "iot-2/type/+/id/+/mon"] {
        assert_eq!(named(other), None, "{other}");
    }
    let source = "pub struct One<'a>(&'a str);\n    enum Two {\nlet three = 3;\npub(super) type Four = u8;\npub(in a::b) struct Five;";
    assert_eq!(definitions(source).collect::<Vec<_>>(), ["One", "Two", "Four", "Five"]);
}
