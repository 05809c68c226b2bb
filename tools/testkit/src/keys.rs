//! API keys, made and revoked by the binary in a file of the test's own.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::service::{Ended, Launch, Service};
use super::status::ORG;

/// A keys file in a directory of its own.
pub struct Keys {
    directory: TempDir,
}

/// A key as its owner has it.
#[derive(Clone, Debug)]
pub struct Key {
    pub id: String,
    pub secret: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

impl Keys {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory can be made") }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("keys")
    }

    /// `devstatus keys …` on this file.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let launch = Launch::default().arguments(&["keys"]).arguments(arguments);
        launch.arguments(&["-o", ORG, "--keys-file", text(&self.path())]).run()
    }

    /// Makes a key with these scopes.
    pub fn create(&self, scopes: &str) -> Key {
        self.create_with(scopes, &[])
    }

    /// The same with further flags.
    pub fn create_with(&self, scopes: &str, flags: &[&str]) -> Key {
        let ended = self.run(&[&["create", "a test", "--scopes", scopes], flags].concat());
        assert!(ended.status.success(), "{ended:?}");
        let line = |name: &str| {
            let found = ended.stdout.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {}", ended.stdout)).trim().to_owned()
        };
        let key = Key { id: line("key:"), secret: line("secret:") };
        assert_eq!(line("bearer:"), format!("{}.{}", key.id, key.secret));
        key
    }

    /// Makes a running service of this file's keys.
    pub fn launch(&self, broker_url: &str) -> Launch {
        Launch::to(broker_url).arguments(&["--keys-file", text(&self.path())])
    }
}

impl Key {
    pub fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.id, self.secret)))
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}.{}", self.id, self.secret)
    }

    /// A command that asks the service with this key, run to its end.
    pub fn ask(&self, service: &Service, arguments: &[&str]) -> Ended {
        let url = format!("http://{}", service.address());
        let key = format!("{}.{}", self.id, self.secret);
        Launch::default().arguments(arguments).arguments(&["--url", &url, "--api-key", &key]).run()
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("the directory of temporary files has a name in UTF-8")
}
