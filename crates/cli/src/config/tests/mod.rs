//! Tests of the settings as a whole, through `load`. What the platform's SDK makes of the same files is compared in
//! `tests/config_peers.rs`.

mod documents;
mod meaning;
mod population;
mod precedence;
mod refusals;
mod republish;
mod rules;
mod secrets;
mod toml;
mod webhooks;

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Command, Settings, Stop, load};

const KEY: &str = "a-abc123-1234567890";
const TOKEN: &str = "Tk0*(x)?&9";

/// A complete application.cfg.
const INI: &str = "[application]\norg=abc123\nid=cfgapp\nauth-method=apikey\nauth-key=a-abc123-1234567890\n\
                   auth-token=Tk0*(x)?&9\n";
/// The same in YAML.
const YAML: &str = "identity:\n  appId: cfgapp\nauth:\n  key: a-abc123-1234567890\n  token: Tk0*(x)?&9\n";

/// A directory of one test's files.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn add(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// Loads with the words of `line` as arguments; `{dir}` in a word stands for the directory of `files`.
fn run(files: &Files, line: &str, environment: &[(&str, &str)]) -> Result<Command, Stop> {
    let dir = files.0.path().to_str().unwrap();
    let fill = |text: &str| text.replace("{dir}", dir);
    let args =
        std::iter::once("devstatus").chain(line.split_whitespace()).map(|word| OsString::from(fill(word)));
    let environment: Vec<_> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), fill(value))).collect();
    load(args, environment)
}

fn serve(files: &Files, line: &str, environment: &[(&str, &str)]) -> Settings {
    match run(files, line, environment) {
        Ok(Command::Serve(settings)) => settings,
        Ok(other) => panic!("{line}: {other:?}"),
        Err(stop) => panic!("{line}: {stop}"),
    }
}

/// The line on stderr, with the directory taken out again.
fn refusal(files: &Files, line: &str, environment: &[(&str, &str)]) -> String {
    match run(files, line, environment) {
        Err(stop @ Stop::Refused(_)) => {
            assert_eq!(stop.exit_code(), 2);
            let text = stop.to_string().replace(files.0.path().to_str().unwrap(), "{dir}");
            assert!(!text.contains('\n'), "{line}: more than one line: {text}");
            text
        }
        other => panic!("{line} {environment:?}: {other:?}"),
    }
}
