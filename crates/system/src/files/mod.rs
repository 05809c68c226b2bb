//! Files as a user names them: reading one whole without waiting for ever, and replacing one so that a reader never sees half
//! of it. What is in a file is not known here.

mod read;
mod replacement;

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

pub use read::{check_readable, read_once, read_regular};
pub use replacement::Replacement;

/// As many links as Linux follows in one path.
const LINKS_MAX: usize = 40;

/// What a path leads to once its links are followed.
#[derive(Debug)]
pub enum FileTarget {
    /// A descriptor of this process, as `/dev/stdout` and the `/dev/fd/63` of a process substitution name it.
    Descriptor(u32),
    /// A pipe or a device.
    Special(PathBuf),
    Regular(PathBuf, Metadata),
    /// Nothing yet.
    Absent(PathBuf),
}

/// Follows the links of the last part of `path`, one after the other: a link may lead to a file that does not exist yet, and the
/// links to a process's descriptors lead to no path at all.
pub fn resolve(path: &Path) -> io::Result<FileTarget> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        if let Some(number) = descriptor(&path) {
            return Ok(FileTarget::Descriptor(number));
        }
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => path = directory_of(&path).join(fs::read_link(&path)?),
            Ok(metadata) if metadata.is_file() => return Ok(FileTarget::Regular(path, metadata)),
            Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => return Ok(FileTarget::Special(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileTarget::Absent(path)),
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many links lead from one to the next"))
}

/// Why a file or directory cannot be written, and what to do about it where the answer is in its owner, its mode or its file
/// system.
pub fn write_refusal(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: mount it writable, or name a place elsewhere".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            let uid = rustix::process::geteuid().as_raw();
            format!(
                "the user with uid {uid}, as whom this process runs, may not read and write it: change its owner or mode, or \
                 name a place elsewhere"
            )
        }
        _ => error.to_string(),
    }
}

/// The path of a regular file, or of one that may be made, with its links followed.
pub fn resolve_regular(path: &Path) -> io::Result<PathBuf> {
    match resolve(path)? {
        FileTarget::Regular(path, _) | FileTarget::Absent(path) => Ok(path),
        FileTarget::Descriptor(_) | FileTarget::Special(_) => Err(not_regular()),
    }
}

/// The number of the descriptor that the path names.
fn descriptor(path: &Path) -> Option<u32> {
    let number = path.file_name()?.to_str()?.parse().ok()?;
    let directory = fs::canonicalize(directory_of(path)).ok()?;
    let ours = Path::new("/proc").join(std::process::id().to_string()).join("fd");
    (directory == ours).then_some(number)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")
}
