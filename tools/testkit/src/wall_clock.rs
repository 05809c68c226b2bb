//! A wall clock that a test sets, for one service: libfaketime between it and the system. Its monotonic clock stays real.

use std::path::PathBuf;

use tempfile::TempDir;

use super::service::Launch;

/// How far the clock is off, in a file that the library reads at each call.
pub struct WallClock {
    directory: TempDir,
}

impl WallClock {
    /// Off by that, as `faketime` writes it: `+50d`.
    pub fn off_by(off: &str) -> Self {
        let clock = Self { directory: tempfile::tempdir().expect("a directory can be made") };
        clock.set(off);
        clock
    }

    /// Sets the clock of those who run with it.
    pub fn set(&self, off: &str) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, off).expect("a file can be written");
        std::fs::rename(new, self.file()).expect("a file can be renamed");
    }

    pub fn of(&self, launch: Launch) -> Launch {
        let file = self.file();
        launch
            .environment("LD_PRELOAD", library().to_str().expect("a path of the system"))
            .environment("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("a path of temporary files"))
            .environment("FAKETIME_NO_CACHE", "1")
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }
}

/// Debian has it in the directory of the machine's architecture.
fn library() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").expect("every system has it");
    let libraries = directories.flatten().map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"));
    libraries.into_iter().find(|path| path.exists()).expect("libfaketime is installed")
}
