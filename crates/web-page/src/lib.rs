//! The files of the web page (`web/`), embedded by the build script. How they are served is not known here.

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// One file of the page.
#[derive(Debug)]
pub struct File {
    pub name: &'static str,
    pub media_type: &'static str,
    pub content: &'static [u8],
    /// The same, compressed.
    pub gzip: &'static [u8],
}

const INDEX: &str = "index.html";

/// The page itself; it refers to the other files under [`HASH`].
pub fn index() -> &'static File {
    FILES.iter().find(|file| file.name == INDEX).expect("web/ has an index")
}

/// A file that the page refers to.
pub fn asset(hash: &str, name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| hash == HASH && file.name == name && name != INDEX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the whole page may weigh on its way to a browser.
    const GZIP_MAX_BYTES: usize = 150_000;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.content).unwrap()
    }

    #[test]
    fn whatever_the_page_refers_to_is_there() {
        let index = text(index());
        let names: Vec<_> =
            index.split("/assets/").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert!(names.len() > 20, "all modules are named: {names:?}");
        assert!(!index.contains("MODULES") && !index.contains("HASH"), "{index}");
        for name in names {
            let (hash, name) = name.split_once('/').unwrap();
            assert!(asset(hash, name).is_some(), "{hash}/{name}");
        }
        for script in FILES.iter().filter(|file| file.name.ends_with(".js")) {
            for part in text(script).split(" from \"./").skip(1) {
                let imported = part.split('"').next().unwrap();
                assert!(asset(HASH, imported).is_some(), "{} imports {imported}", script.name);
            }
        }
    }

    #[test]
    fn another_hash_has_no_files_and_the_page_is_no_asset() {
        assert!(asset("0000000000000000", "main.js").is_none());
        assert!(asset(HASH, "index.html").is_none());
        assert!(asset(HASH, "types.d.ts").is_none() && asset(HASH, "tsconfig.json").is_none());
    }

    #[test]
    fn all_files_together_are_small() {
        let bytes: usize = FILES.iter().map(|file| file.gzip.len()).sum();
        assert!(bytes <= GZIP_MAX_BYTES, "{bytes}");
    }

    /// The page must not be able to make HTML of what a device sends, nor to load anything from elsewhere.
    #[test]
    fn no_script_parses_html_and_nothing_comes_from_elsewhere() {
        for file in FILES {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"]
            {
                assert!(!text(file).contains(word), "{}: {word}", file.name);
            }
            let elsewhere = text(file).replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{}", file.name);
        }
    }
}
