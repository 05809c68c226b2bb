//! Embeds the files of `web/`: compressed, and under a name that changes with any of them, so that browsers may keep them for ever.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

/// What the page refers to in place of the hash.
const PLACEHOLDER: &str = "HASH";
/// What the page has in place of links to its modules. A browser that is told of all asks for them at once, and not for each only
/// when it has read another that imports it.
const MODULES: &str = "MODULES\n";
/// Scripts that are no modules of the page itself.
const OTHER_SCRIPTS: [&str; 2] = ["theme.js", "stream-worker.js"];
const INDEX: &str = "index.html";

struct File {
    name: String,
    media_type: &'static str,
    content: Vec<u8>,
}

fn main() {
    // As it is when the script runs: a build directory that was copied holds a script that was compiled elsewhere.
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let root = Path::new(&package).join("../../web");
    println!("cargo::rerun-if-changed={}", root.display());
    let mut files = read(&root);
    let hash = hash_of(&files);
    let modules = preloads(&files);
    for file in files.iter_mut().filter(|file| file.name == INDEX) {
        let text = String::from_utf8(std::mem::take(&mut file.content)).expect("the page is UTF-8");
        file.content = text.replace(MODULES, &modules).replace(PLACEHOLDER, &hash).into_bytes();
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut table = format!("pub const HASH: &str = {hash:?};\n\nstatic FILES: &[File] = &[\n");
    for File { name, media_type, content } in &files {
        fs::write(out.join(name), content).expect("the directory for what is built is writable");
        fs::write(out.join(format!("{name}.gz")), gzip(content)).expect("the directory is writable");
        writeln!(
            table,
            "    File {{ name: {name:?}, media_type: {media_type:?}, content: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")), \
             gzip: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.gz\")) }},"
        )
        .expect("a string takes everything");
    }
    table.push_str("];\n");
    fs::write(out.join("files.rs"), table).expect("the directory is writable");
}

/// The files that are served, by name.
fn read(root: &Path) -> Vec<File> {
    let entries = fs::read_dir(root).expect("web/ is part of the sources");
    let mut files: Vec<File> = entries
        .filter_map(|entry| {
            let path = entry.expect("web/ can be read").path();
            let name = path.file_name()?.to_str()?.to_owned();
            let media_type = match path.extension()?.to_str()? {
                "html" => "text/html; charset=utf-8",
                "js" => "text/javascript; charset=utf-8",
                "css" => "text/css; charset=utf-8",
                "svg" => "image/svg+xml",
                // Types for the checker, and its settings.
                _ => return None,
            };
            let content = fs::read(&path).expect("web/ can be read");
            Some(File { name, media_type, content })
        })
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// A link to each module of the page.
fn preloads(files: &[File]) -> String {
    let names = files.iter().map(|file| file.name.as_str());
    let modules = names.filter(|name| name.ends_with(".js") && !OTHER_SCRIPTS.contains(name));
    modules
        .map(|name| format!("<link rel=\"modulepreload\" href=\"/assets/{PLACEHOLDER}/{name}\">\n"))
        .collect()
}

/// A hash of names and contents: the same in every build of one compiler, and different after any change.
fn hash_of(files: &[File]) -> String {
    let mut hasher = DefaultHasher::new();
    for File { name, content, .. } in files {
        (name, content).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}
