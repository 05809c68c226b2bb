//! The file itself: who may use it, whose it is, and what becomes of a damaged one. What is in it is in `schema`.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{Access, access};

use super::schema;
use crate::StoreError;
use system::{clock, files};

/// How long a statement waits for another program that writes the file, which none should.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Memory for pages of the writer, in KiB: the inner pages of ten million devices. More of it spares reads from the page cache of
/// the system, but no processor time that could be measured, since the devices of a batch are in the order of their names.
const CACHE_KIB: i64 = 8 * 1024;
/// Pages that the log may hold before they are moved into the file, 32 MiB: a page that is written often is then moved once.
const CHECKPOINT_PAGES: i64 = 8 * 1024;
/// What the log is cut down to once it has been moved.
const LOG_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// The right to use a file, held until this is dropped or the process ends, in whatever way.
pub struct Lock {
    _file: File,
}

/// Takes the file for this process, making it and its directory if need be.
pub fn take(path: &Path) -> Result<Lock, StoreError> {
    let cannot = |error| cannot_write(path, &error);
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|error| cannot_write(directory, &error))?;
        // SQLite makes files beside it whenever it likes.
        access(directory, Access::WRITE_OK).map_err(|error| cannot_write(directory, &error.into()))?;
    }
    // A file beside it, because closing any handle of the file itself would end the locks that SQLite holds on it.
    let lock = beside(path, ".lock");
    let file = private(&lock).map_err(|error| cannot_write(&lock, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::Locked(path.to_owned())),
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    drop(private(path).map_err(cannot)?);
    Ok(Lock { _file: file })
}

fn cannot_write(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), why: files::write_refusal(error) }
}

/// Opens or makes a file that only its owner can read.
fn private(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
    }
    Ok(file)
}

/// Why a file cannot be used as it is.
pub enum Unusable {
    /// What is in it makes no sense.
    Damaged(String),
    Refused(StoreError),
}

/// Opens a file that is ours to use, and brings it to the form of this version.
pub fn open(path: &Path) -> Result<Connection, Unusable> {
    let failed = |error: rusqlite::Error| {
        if is_damage(&error) {
            Unusable::Damaged(error.to_string())
        } else {
            Unusable::Refused(StoreError::Open { path: path.to_owned(), why: error.to_string() })
        }
    };
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let (application, version) = schema::found(&connection).map_err(failed)?;
    if version > schema::VERSION && application == schema::APPLICATION_ID {
        let (found, known) = (version, schema::VERSION);
        return Err(Unusable::Refused(StoreError::Newer { path: path.to_owned(), found, known }));
    }
    if application != schema::APPLICATION_ID && !schema::is_empty(&connection).map_err(failed)? {
        return Err(Unusable::Refused(StoreError::Foreign(path.to_owned())));
    }
    settle(&connection).map_err(failed)?;
    if version < schema::VERSION {
        schema::migrate(&mut connection, version).map_err(failed)?;
    }
    Ok(connection)
}

/// Opens a file to be read only, if it is ours and of this version.
pub fn check(path: &Path) -> Result<Connection, StoreError> {
    let failed = |error: rusqlite::Error| {
        let why = if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) && path.is_file() {
            "SQLite makes files beside it also to read it, and may not do so there: copy it to a directory that can be written"
                .to_owned()
        } else {
            error.to_string()
        };
        StoreError::Open { path: path.to_owned(), why }
    };
    let connection = open_to_read(path).map_err(failed)?;
    let (application, version) = schema::found(&connection).map_err(failed)?;
    if application != schema::APPLICATION_ID {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    match version.cmp(&schema::VERSION) {
        Ordering::Equal => Ok(connection),
        Ordering::Greater => {
            Err(StoreError::Newer { path: path.to_owned(), found: version, known: schema::VERSION })
        }
        Ordering::Less => {
            let why =
                "an older devstatus has written it: start this one on it once, which brings it up to date";
            Err(StoreError::Open { path: path.to_owned(), why: why.to_owned() })
        }
    }
}

/// A connection that only reads, beside the one that writes.
pub fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn connect(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// A write-ahead log, so that readers and the writer do not wait for each other. It is not forced to the disk with each
/// batch: a process that is killed loses nothing, a machine that loses its power the last moments.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT_PAGES, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |_| Ok(()))
}

pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Whether an error is about what was to be written, or about the row that it was to be merged with, and not about the file.
pub fn is_refusal(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    let by_code = matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::ConstraintViolation
                | ErrorCode::TooBig
                | ErrorCode::TypeMismatch
                | ErrorCode::ParameterOutOfRange
        )
    );
    by_code
        || matches!(
            error,
            Error::InvalidColumnType(..)
                | Error::IntegralValueOutOfRange(..)
                | Error::FromSqlConversionFailure(..)
                | Error::ToSqlConversionFailure(..)
        )
}

/// The file that a path leads to. A lock and a log stand beside the file itself, whatever links lead to it.
pub fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    files::resolve_regular(path)
        .map_err(|error| StoreError::Open { path: path.to_owned(), why: error.to_string() })
}

/// Renames the file and its log, so that nothing is lost that a person may still get out of them.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = beside(path, &format!(".damaged-{}", clock::now_millis()));
    let old = fs::metadata(path)?;
    match fs::rename(path, &aside) {
        // The file is itself a mount point, so it can have no other name: it is copied, and an empty one is a new one.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
            fs::copy(path, &aside)?;
            OpenOptions::new().write(true).open(path)?.set_len(0)?;
        }
        renamed => renamed?,
    }
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let new = private(path)?;
    // A repair as root leaves it to the service's user.
    if (old.uid(), old.gid()) != (new.metadata()?.uid(), new.metadata()?.gid()) {
        fchown(&new, Some(old.uid()), Some(old.gid()))?;
    }
    Ok(aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
