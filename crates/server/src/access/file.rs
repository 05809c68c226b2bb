//! The file of the API keys: JSON, replaced as a whole so that a reader never sees half of one, for its owner only unless somebody
//! has given it to others. Two who change it at once take turns.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::key::{ApiKey, is_name};
use super::scope::{Scope, Scopes};
use presence::UnixSeconds;
use system::files::{self, Replacement};

/// Read and written by its owner, nobody else.
const OWNER_ONLY: u32 = 0o600;
/// A directory that only its owner can enter, as the store's own is.
const OWNER_ONLY_DIRECTORY: u32 = 0o700;
/// Who may write the file decides who is let in.
const WRITABLE_BY_OTHERS: u32 = 0o022;
/// Some ten thousand keys; a larger file is something else.
const FILE_MAX_BYTES: u64 = 4 << 20;

/// Where the keys are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysFile(PathBuf);

/// The keys in the file, and the SHA-256 of its bytes, which tells whether two processes have read the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileContent {
    pub keys: Vec<ApiKey>,
    pub sha256: Digest,
}

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
    keys: Vec<KeyRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRow {
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

    /// What the file holds; `None`: there is no such file.
    pub fn read(&self) -> Result<Option<FileContent>, FileError> {
        let failed = |error| FileError::Read(self.0.clone(), error);
        let text = match files::read_regular(&self.0, FILE_MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if fs::metadata(&self.0).is_ok_and(|metadata| metadata.mode() & WRITABLE_BY_OTHERS != 0) {
            tracing::warn!(path = %self.0.display(), "the keys file can be written by others than its owner");
        }
        let document: Document = serde_json::from_slice(&text)
            .map_err(|error| FileError::Syntax { path: self.0.clone(), line: error.line() })?;
        let keys = document.keys.into_iter().enumerate().map(|(at, row)| {
            row.key().map_err(|what| FileError::Key { path: self.0.clone(), number: at + 1, what })
        });
        let keys = keys.collect::<Result<_, _>>()?;
        Ok(Some(FileContent { keys, sha256: Digest::of(&text) }))
    }

    /// Reads the keys, lets `change` change them, and writes them back, with nobody else between. Returns what the file holds then.
    pub fn change(&self, change: impl FnOnce(&mut Vec<ApiKey>)) -> Result<FileContent, FileError> {
        let failed = |error| FileError::Write(self.0.clone(), error);
        // The file itself, so that all who change it take the same lock, whatever links they come by.
        let path = files::resolve_regular(&self.0).map_err(failed)?;
        if let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIRECTORY).create(directory).map_err(failed)?;
        }
        let lock = lock_file(&path).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut keys = self.read()?.map(|content| content.keys).unwrap_or_default();
        change(&mut keys);
        let document = Document { keys: keys.iter().map(KeyRow::of).collect() };
        let mut text = serde_json::to_vec_pretty(&document).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let is_new = !path.exists();
        let mut file = Replacement::begin(&path).map_err(failed)?;
        if is_new {
            file.inherit_owner().map_err(failed)?;
        }
        file.write_all(&text).and_then(|()| file.commit()).map_err(failed)?;
        Ok(FileContent { keys, sha256: Digest::of(&text) })
    }

    /// Whether the file has no name any more although it can be read: it is mounted as a single file, and was replaced where it
    /// comes from. Later changes there will not be seen either.
    pub fn is_detached(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|metadata| metadata.nlink() == 0)
    }
}

/// What those who change the keys lock: a file beside them, as theirs is replaced; where none can be made, the keys file is not
/// replaced either, and is locked itself.
fn lock_file(path: &Path) -> io::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    match OpenOptions::new().create(true).truncate(false).write(true).mode(OWNER_ONLY).open(beside) {
        Ok(lock) => {
            // One that root has made is for the owner of the keys as well. Who is not root cannot give it away, and need not.
            if let Ok(keys) = fs::metadata(path) {
                drop(fchown(&lock, Some(keys.uid()), Some(keys.gid())));
            }
            Ok(lock)
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            OpenOptions::new().write(true).open(path).map_err(|_| error)
        }
        Err(error) => Err(error),
    }
}

impl KeyRow {
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
            id: Some(self.id).filter(|id| is_id(id)).ok_or("an invalid id")?,
            name: Some(self.name).filter(|name| is_name(name)).ok_or("an invalid name")?,
            scopes: scopes.filter(|scopes| !scopes.is_empty()).ok_or("scopes that are none")?,
            digest: Digest::parse(&self.sha256).ok_or("an invalid sha256")?,
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
    use std::os::unix::fs::{PermissionsExt, symlink};

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
    fn a_written_file_is_readable_by_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = KeysFile::at(directory.path().join("state/org.keys"));
        assert_eq!(file.read().unwrap(), None);
        let keys = [key("first", None), key("second \"ü\"", Some(UnixSeconds(1_900_000_000)))];
        for key in keys.clone() {
            file.change(|keys| keys.push(key)).unwrap();
        }
        assert_eq!(file.read().unwrap().unwrap().keys, keys);
        assert_eq!((mode(file.path()), mode(file.path().parent().unwrap())), (0o600, 0o700));
        let written = file.change(Vec::clear).unwrap();
        assert_eq!(written.keys, [], "no keys is another thing than no file");
        assert_eq!(file.read().unwrap(), Some(written), "who has written it knows its digest");
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
        assert_eq!(file.read().unwrap().unwrap().keys.len(), 40);
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

    #[test]
    fn a_file_that_others_may_read_stays_so_and_a_link_to_it_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        let (by_target, by_link) = (KeysFile::at(&target), KeysFile::at(&link));
        by_target.change(|keys| keys.push(key("one", None))).unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("target", &link).unwrap();
        by_link.change(Vec::clear).unwrap();
        assert_eq!(by_target.read().unwrap().unwrap().keys, []);
        assert_eq!(mode(&target), 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(!directory.path().join("link.lock").exists(), "there is one lock, beside the file itself");
    }

    #[test]
    fn an_irregular_file_is_neither_read_nor_written() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from(0o600)).unwrap();
        for path in [&pipe, directory.path()] {
            let file = KeysFile::at(path);
            assert!(matches!(file.read(), Err(FileError::Read(..))), "{}", path.display());
            assert!(matches!(file.change(Vec::clear), Err(FileError::Write(..))), "{}", path.display());
        }
    }
}
