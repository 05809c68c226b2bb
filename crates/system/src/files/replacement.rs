//! Writing a file anew. Under its name there is all of the old content or all of the new, and owner and mode stay as they were.
//! Where that cannot be had, the content is written in place.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{FileTarget, directory_of, resolve};

/// Read and written by its owner, nobody else: a new file names devices, or keys.
const OWNER_ONLY: u32 = 0o600;
/// Of a mode, what can be set.
const MODE_BITS: u32 = 0o7777;

/// New content for a path. Without `commit` a regular file keeps what it had, unless it had to be written in place.
pub struct Replacement {
    file: File,
    how: How,
}

enum How {
    /// Written beside `target`, which gets it by a rename.
    Beside { temporary: PathBuf, target: PathBuf },
    /// A regular file that cannot be replaced.
    InPlace,
    /// A pipe, a device or a descriptor: what is written is gone.
    Stream,
}

impl Replacement {
    /// Begins to write what `path` is to hold. Links are followed; what exists and is no regular file is written to directly.
    pub fn begin(path: &Path) -> io::Result<Self> {
        match resolve(path)? {
            FileTarget::Descriptor(number) => Ok(Self { file: open_descriptor(number)?, how: How::Stream }),
            // Like a shell, this waits for the reader of a pipe.
            FileTarget::Special(path) => {
                Ok(Self { file: OpenOptions::new().write(true).open(path)?, how: How::Stream })
            }
            FileTarget::Absent(path) => Self::beside(path, None),
            FileTarget::Regular(path, metadata) => match Self::beside(path.clone(), Some(&metadata)) {
                // The directory may be read-only where the file is not, and only root can give a file away.
                Err(error) if is_refused(&error) => {
                    Ok(Self { file: OpenOptions::new().write(true).open(path)?, how: How::InPlace })
                }
                begun => begun,
            },
        }
    }

    fn beside(target: PathBuf, old: Option<&Metadata>) -> io::Result<Self> {
        let mut temporary = target.clone().into_os_string();
        temporary.push(format!(".unfinished-{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = match create(&temporary) {
            // Of a process that had this one's number and was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&temporary)?;
                create(&temporary)?
            }
            created => created?,
        };
        // From here on dropping it removes the temporary file.
        let replacement = Self { file, how: How::Beside { temporary, target } };
        if let Some(old) = old {
            take_over(&replacement.file, old)?;
        }
        Ok(replacement)
    }

    /// Gives the file to the owner of its directory, if this process may: what root writes for a service is then the service's.
    pub fn inherit_owner(&self) -> io::Result<()> {
        let How::Beside { target, .. } = &self.how else { return Ok(()) };
        let (directory, file) = (fs::metadata(directory_of(target))?, self.file.metadata()?);
        if (directory.uid(), directory.gid()) == (file.uid(), file.gid()) {
            return Ok(());
        }
        match fchown(&self.file, Some(directory.uid()), Some(directory.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Puts the content in force and onto the disk.
    pub fn commit(mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.how, How::Stream) {
            How::Stream => self.file.flush(),
            How::InPlace => end_in_place(&mut self.file),
            How::Beside { temporary, target } => {
                let done = self.file.sync_all().and_then(|()| fs::rename(&temporary, &target));
                match done {
                    // A file that is itself a mount point, as Compose mounts a single secret, has no other name to get.
                    Err(error) if is_mount_point(&error) => {
                        let copied = copy_in_place(&temporary, &target);
                        fs::remove_file(&temporary).and(copied)
                    }
                    Err(error) => {
                        drop(fs::remove_file(&temporary));
                        Err(error)
                    }
                    Ok(()) => sync_directory(directory_of(&target)),
                }
            }
        }
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        match &self.how {
            How::Beside { temporary, .. } => drop(fs::remove_file(temporary)),
            How::InPlace | How::Stream => {}
        }
    }
}

/// A descriptor that this process was given. The two that every process has are duplicated: opening them anew takes rights to what
/// is behind them, which the user of this process may not have.
fn open_descriptor(number: u32) -> io::Result<File> {
    let duplicate = |descriptor: BorrowedFd<'_>| descriptor.try_clone_to_owned().map(File::from);
    match number {
        1 => duplicate(io::stdout().as_fd()),
        2 => duplicate(io::stderr().as_fd()),
        // To the end, as its maker may have written before.
        _ => OpenOptions::new().append(true).open(format!("/proc/self/fd/{number}")),
    }
}

/// Never through a link that somebody else has put there.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(path)
}

/// Gives the file the owner, group and mode of another.
fn take_over(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(old.mode() & MODE_BITS))
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn is_mount_point(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices)
}

fn copy_in_place(from: &Path, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).open(to)?;
    io::copy(&mut File::open(from)?, &mut to)?;
    end_in_place(&mut to)
}

/// Cuts off what is left of an older, longer content.
fn end_in_place(file: &mut File) -> io::Result<()> {
    let end = file.stream_position()?;
    file.set_len(end)?;
    file.sync_all()
}

/// So that the new name outlives a loss of power, where the directory may be read and its file system knows how to.
fn sync_directory(directory: &Path) -> io::Result<()> {
    match File::open(directory).and_then(|directory| directory.sync_all()) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    fn replace(path: &Path, text: &str) -> io::Result<()> {
        let mut replacement = Replacement::begin(path)?;
        replacement.write_all(text.as_bytes())?;
        replacement.commit()
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_file_is_replaced_through_links_and_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("data")).unwrap();
        fs::write(path("data/target"), "old and longer").unwrap();
        fs::set_permissions(path("data/target"), Permissions::from_mode(0o640)).unwrap();
        // As Kubernetes links the files of a volume.
        symlink("data", path("..data")).unwrap();
        symlink("..data/target", path("link")).unwrap();
        symlink("link", path("second")).unwrap();
        let before = fs::metadata(path("data/target")).unwrap();
        replace(&path("second"), "new").unwrap();
        let after = fs::metadata(path("data/target")).unwrap();
        assert_eq!(fs::read_to_string(path("data/target")).unwrap(), "new");
        assert_eq!(after.mode() & MODE_BITS, 0o640);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "a reader of the old one goes on reading it");
        assert_eq!(names(directory.path()), ["..data", "data", "link", "second"]);
        assert_eq!(names(&path("data")), ["target"]);
    }

    #[test]
    fn a_link_to_nothing_makes_the_file_that_it_names() {
        let directory = tempfile::tempdir().unwrap();
        let (link, target) = (directory.path().join("link"), directory.path().join("target"));
        symlink("target", &link).unwrap();
        replace(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&target).unwrap().mode() & MODE_BITS, OWNER_ONLY);
        symlink("loop", directory.path().join("loop")).unwrap();
        assert!(replace(&directory.path().join("loop"), "").is_err());
        assert!(replace(directory.path(), "").is_err(), "a directory is none");
    }

    #[test]
    fn a_pipe_gets_the_content_and_stays_a_pipe() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, link) = (directory.path().join("pipe"), directory.path().join("link"));
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        symlink("pipe", &link).unwrap();
        for path in [&pipe, &link] {
            let reader = {
                let pipe = pipe.clone();
                std::thread::spawn(move || fs::read_to_string(pipe).unwrap())
            };
            replace(path, "content").unwrap();
            assert_eq!(reader.join().unwrap(), "content");
        }
        assert_eq!(names(directory.path()), ["link", "pipe"]);
        assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
    }

    #[test]
    fn a_descriptor_of_this_process_is_written_to() {
        let directory = tempfile::tempdir().unwrap();
        for root in ["/dev/fd", "/proc/self/fd"] {
            let (mut reader, writer) = io::pipe().unwrap();
            let path = format!("{root}/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
            replace(Path::new(&path), "content").unwrap();
            drop(writer);
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            assert_eq!(text, "content");
        }
        // Also where a regular file is behind it: replacing that one would leave the descriptor's owner with the old one.
        let mut file = File::create(directory.path().join("file")).unwrap();
        file.write_all(b"before ").unwrap();
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        replace(Path::new(&path), "content").unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("file")).unwrap(), "before content");
    }

    #[test]
    fn an_uncommitted_replacement_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let mut replacement = Replacement::begin(&path).unwrap();
        replacement.write_all(b"new").unwrap();
        drop(replacement);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["file"]);
    }

    #[test]
    fn content_in_place_is_cut_to_its_length() {
        let directory = tempfile::tempdir().unwrap();
        let (from, to) = (directory.path().join("from"), directory.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old and longer").unwrap();
        let before = fs::metadata(&to).unwrap().ino();
        copy_in_place(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(fs::metadata(&to).unwrap().ino(), before);
    }
}
