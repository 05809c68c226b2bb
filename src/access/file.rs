//! The file of the API keys: JSON, for its owner only, replaced as a whole so that a reader never sees half of one. Two
//! who change it at once take turns.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::key::{ApiKey, is_name};
use super::scope::{Scope, Scopes};
use crate::clock::UnixSeconds;

/// Read and written by its owner, nobody else.
const OWNER_ONLY: u32 = 0o600;
/// The mode of a directory that is made for it.
const DIRECTORY_OWNER_ONLY: u32 = 0o700;
/// Who may write the file decides who is let in.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Some ten thousand keys; a larger file is something else.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Where the keys are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysFile(PathBuf);

/// What is wrong with the file, or why it could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot read the keys file {0}")]
    Read(PathBuf, #[source] io::Error),
    #[error("cannot write the keys file {0}")]
    Write(PathBuf, #[source] io::Error),
    /// The parser's own text quotes the file, so it is left out.
    #[error("the keys file {path} is not as devstatus writes it, at line {line}")]
    Syntax { path: PathBuf, line: usize },
    #[error("the key number {number} of the keys file {path} has {what}")]
    Key { path: PathBuf, number: usize, what: &'static str },
}

/// The file as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    name: String,
    scopes: Vec<String>,
    /// Of the secret, in hexadecimal.
    sha256: String,
    created_at: Timestamp,
    expires_at: Option<Timestamp>,
}

impl KeysFile {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The keys; `None`: there is no such file.
    pub fn read(&self) -> Result<Option<Vec<ApiKey>>, FileError> {
        let failed = |error| FileError::Read(self.0.clone(), error);
        let file = match File::open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & WRITABLE_BY_OTHERS != 0 {
            tracing::warn!(path = %self.0.display(), "the keys file can be written by others than its owner");
        }
        let mut text = Vec::new();
        file.take(FILE_MAX_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
        if text.len() as u64 > FILE_MAX_BYTES {
            return Err(failed(io::Error::other("it is larger than 4 MiB")));
        }
        let document: Document = serde_json::from_slice(&text)
            .map_err(|error| FileError::Syntax { path: self.0.clone(), line: error.line() })?;
        let keys = document.keys.into_iter().enumerate().map(|(at, row)| {
            row.key().map_err(|what| FileError::Key { path: self.0.clone(), number: at + 1, what })
        });
        keys.collect::<Result<_, _>>().map(Some)
    }

    /// Reads the keys, lets `change` change them, and writes them back, with nobody else between.
    pub fn change<T>(&self, change: impl FnOnce(&mut Vec<ApiKey>) -> T) -> Result<T, FileError> {
        let failed = |error| FileError::Write(self.0.clone(), error);
        if let Some(directory) = self.0.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_OWNER_ONLY)
                .create(directory)
                .map_err(failed)?;
        }
        let lock = owner_only().open(self.beside(".lock")).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut keys = self.read()?.unwrap_or_default();
        let changed = change(&mut keys);
        self.write(&keys).map_err(failed)?;
        Ok(changed)
    }

    fn write(&self, keys: &[ApiKey]) -> io::Result<()> {
        let document = Document { keys: keys.iter().map(Row::of).collect() };
        let new = self.beside(".new");
        let mut file = owner_only().truncate(true).open(&new)?;
        // One left behind by a crash may have another mode.
        file.set_permissions(fs::Permissions::from_mode(OWNER_ONLY))?;
        serde_json::to_writer_pretty(&mut file, &document)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, &self.0)?;
        let directory = self.0.parent().filter(|path| !path.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(&self.0);
        name.push(ending);
        name.into()
    }
}

fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).write(true).mode(OWNER_ONLY);
    options
}

impl Row {
    fn of(key: &ApiKey) -> Self {
        Self {
            id: key.id.clone(),
            name: key.name.clone(),
            scopes: key.scopes.iter().map(|scope| scope.word().to_owned()).collect(),
            sha256: key.digest.to_string(),
            created_at: timestamp(key.created_at),
            expires_at: key.expires_at.map(timestamp),
        }
    }

    fn key(self) -> Result<ApiKey, &'static str> {
        let scopes: Option<Scopes> = self.scopes.iter().map(|word| Scope::parse(word)).collect();
        Ok(ApiKey {
            id: Some(self.id).filter(|id| is_id(id)).ok_or("an id that is none")?,
            name: Some(self.name).filter(|name| is_name(name)).ok_or("a name that is none")?,
            scopes: scopes.filter(|scopes| !scopes.is_empty()).ok_or("scopes that are none")?,
            digest: Digest::parse(&self.sha256).ok_or("a sha256 that is none")?,
            created_at: seconds(self.created_at),
            expires_at: self.expires_at.map(seconds),
        })
    }
}

/// Basic ends the user name at a colon.
fn is_id(id: &str) -> bool {
    const LONGEST: usize = 128;
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_graphic() && c != b':')
}

fn timestamp(seconds: UnixSeconds) -> Timestamp {
    Timestamp::from_second(seconds.0.into()).expect("every u32 is in the range of a timestamp")
}

/// Before 1970 counts as 1970, after 2106 as 2106: an expiry stays one.
fn seconds(timestamp: Timestamp) -> UnixSeconds {
    UnixSeconds(u32::try_from(timestamp.as_second().max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::NewKey;

    fn key(name: &str, expires_at: Option<UnixSeconds>) -> ApiKey {
        let scopes = Scopes::default().with(Scope::Read).with(Scope::Events);
        let organization = "org".to_owned();
        let created_at = UnixSeconds(1_800_000_000);
        NewKey { organization, name: name.to_owned(), scopes, created_at, expires_at }.generate().0
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_written_is_read_and_only_the_owner_can() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeysFile::at(directory.path().join("state/org.keys"));
        assert_eq!(file.read().unwrap(), None);
        let keys = [key("first", None), key("second \"ü\"", Some(UnixSeconds(1_900_000_000)))];
        for key in keys.clone() {
            file.change(|keys| keys.push(key)).unwrap();
        }
        assert_eq!(file.read().unwrap(), Some(keys.to_vec()));
        assert_eq!(mode(file.path()), 0o600);
        assert_eq!(mode(file.path().parent().unwrap()), 0o700, "the store will be there, too");
        file.change(Vec::clear).unwrap();
        assert_eq!(file.read().unwrap(), Some(Vec::new()), "no keys is another thing than no file");
    }

    #[test]
    fn those_who_change_it_at_once_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeysFile::at(directory.path().join("keys"));
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let file = &file;
                scope.spawn(move || {
                    for number in 0..5 {
                        file.change(|keys| keys.push(key(&format!("{writer}-{number}"), None))).unwrap();
                    }
                });
            }
            for _ in 0..100 {
                file.read().expect("a reader never sees half of a file");
            }
        });
        assert_eq!(file.read().unwrap().unwrap().len(), 40);
    }

    #[test]
    fn a_file_that_is_not_as_it_was_written_is_refused_and_not_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeysFile::at(directory.path().join("keys"));
        file.change(|keys| keys.push(key("one", None))).unwrap();
        let good = fs::read_to_string(file.path()).unwrap();
        let digest = key("other", None).digest.to_string();
        for (from, to, words) in [
            ("\"read\"", "\"write\"", "scopes"),
            ("\"expires_at\"", "\"expiry\"", "line"),
            ("\"a-org-", "\"a:org-", "id"),
            ("\"sha256\": \"", "\"sha256\": \"0", "sha256"),
            ("{", "", "line"),
        ] {
            assert!(good.contains(from), "{from} in {good}");
            fs::write(file.path(), good.replacen(from, to, 1)).unwrap();
            let error = file.read().unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains(&digest), "{error}");
            assert!(file.change(Vec::clear).is_err(), "it is not overwritten either");
        }
    }
}
