//! Notices that a file is another than before. Looks at it once a second: that works on every file system and through the
//! links that container platforms swap, where notifications do not.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Soon enough for a revoked key.
const INTERVAL: Duration = Duration::from_secs(1);

/// What changes whenever a file is written or replaced: inode, size, and when either last changed.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    inode: u64,
    bytes: u64,
    changed_s: i64,
    changed_ns: i64,
}

/// Files that belong together.
pub struct FileWatch {
    paths: Vec<PathBuf>,
    /// `None`: there was none.
    seen: Vec<Option<FileStamp>>,
}

impl FileWatch {
    /// To be called before the files are first read, so that no change is missed.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = stamps(&paths);
        Self { paths, seen }
    }

    /// Calls `reread` after each change of any of the files, until shutdown. It may block.
    pub async fn run(mut self, reread: Arc<dyn Fn() + Send + Sync>, shutdown: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let reread = Arc::clone(&reread);
            let read = tokio::task::spawn_blocking(move || {
                let now = stamps(&self.paths);
                if now != self.seen {
                    self.seen = now;
                    reread();
                }
                self
            });
            match read.await {
                Ok(followed) => self = followed,
                // The runtime ends, or the closure has failed, which it has logged.
                Err(_ended) => return,
            }
        }
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Option<FileStamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some(FileStamp {
            inode: metadata.ino(),
            bytes: metadata.size(),
            changed_s: metadata.ctime(),
            changed_ns: metadata.ctime_nsec(),
        })
    };
    paths.iter().map(stamp).collect()
}
