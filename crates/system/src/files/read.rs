//! Reading a file whole, with a limit on its bytes and on how long that may take.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::not_regular;

/// How long a pipe may take until its writer has closed it: time enough for a program that asks a vault for a secret.
const PIPE_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a regular file of at most `max_bytes`. Anything else is refused: a pipe would keep the reader waiting for a writer, and
/// a device may never end.
pub fn read_regular(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    within(bytes, max_bytes)
}

/// Reads a regular file, or a pipe as a process substitution makes it, of at most `max_bytes`; for what is read once, at the start.
/// A pipe that nobody writes counts as empty, and one that is not closed in time is an error.
pub fn read_once(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let (file, metadata) = open(path)?;
    check_kind(&metadata)?;
    let deadline = Instant::now() + PIPE_TIMEOUT;
    let mut bytes = Vec::new();
    let mut rest = (&file).take(max_bytes + 1);
    loop {
        // What was read before an error is kept.
        match rest.read_to_end(&mut bytes) {
            Ok(_) => return within(bytes, max_bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => wait_for_bytes(&file, deadline)?,
            Err(error) => return Err(error),
        }
    }
}

/// Checks that a file can be opened and read by `read_once`, without taking anything out of a pipe.
pub fn check_readable(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    check_kind(&metadata)?;
    if metadata.is_file() { open(path).map(drop) } else { Ok(()) }
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if metadata.is_file() || metadata.file_type().is_fifo() { Ok(()) } else { Err(not_regular()) }
}

/// Opens without waiting for the other end of a pipe.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

fn wait_for_bytes(file: &File, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(file, PollFlags::IN)], Some(&timeout)) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "its writer does not close it")),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn within(bytes: Vec<u8>, max_bytes: u64) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::other(format!("it is larger than {} MiB", max_bytes >> 20)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::*;

    const MAX: u64 = 1 << 20;

    #[test]
    fn a_pipe_is_never_waited_for_where_only_a_regular_file_will_do() {
        let directory = tempfile::tempdir().unwrap();
        let (pipe, file) = (directory.path().join("pipe"), directory.path().join("file"));
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        fs::write(&file, "text").unwrap();
        assert_eq!(read_regular(&file, MAX).unwrap(), b"text");
        for path in [&pipe, directory.path(), Path::new("/dev/zero")] {
            assert!(read_regular(path, MAX).is_err(), "{}", path.display());
        }
        assert_eq!(read_once(&pipe, MAX).unwrap(), b"", "nobody writes it");
        assert!(read_once(Path::new("/dev/zero"), MAX).is_err());
        assert!(check_readable(&pipe).is_ok() && check_readable(&file).is_ok());
        assert!(check_readable(directory.path()).is_err());
    }

    #[test]
    fn a_pipe_is_read_until_its_writer_closes_it() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        std::thread::scope(|scope| {
            let read = scope.spawn(|| read_once(Path::new(&path), MAX).unwrap());
            for part in ["a ", "secret\n"] {
                writer.write_all(part.as_bytes()).unwrap();
                std::thread::yield_now();
            }
            drop(writer);
            assert_eq!(read.join().unwrap(), b"a secret\n");
        });
    }

    #[test]
    fn no_more_is_read_than_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        for read in [read_regular, read_once] {
            let error = read(&path, MAX).unwrap_err().to_string();
            assert_eq!(error, "it is larger than 1 MiB");
        }
    }
}
