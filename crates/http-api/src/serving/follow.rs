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
type Stamp = (u64, u64, i64, i64);

/// Files that belong together.
pub struct Followed {
    paths: Vec<PathBuf>,
    /// `None`: there was none.
    seen: Vec<Option<Stamp>>,
}

impl Followed {
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

fn stamps(paths: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec()))
    };
    paths.iter().map(stamp).collect()
}
