//! Notices that a file is another than before. Looks at it once a second: that works on every file system and through the
//! links that container platforms swap, where notifications do not.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
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
    paths: Arc<[PathBuf]>,
    /// `None`: there was none.
    seen: Vec<Option<FileStamp>>,
}

impl FileWatch {
    /// To be called before the files are first read, so that no change is missed.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let seen = stamps(&paths);
        Self { paths: paths.into(), seen }
    }

    /// Calls `reread` after each change of any of the files, until shutdown. It may block. If it fails, it is called again after
    /// the next change.
    pub async fn run(mut self, reread: Arc<dyn Fn() + Send + Sync>, shutdown: CancellationToken) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.cancelled() => return,
            }
            let paths = Arc::clone(&self.paths);
            let now = spawn_blocking(move || stamps(&paths)).await;
            let Some(now) = now.ok().filter(|now| *now != self.seen) else { continue };
            self.seen = now;
            let reread = Arc::clone(&reread);
            // The log has its failure, and the earlier content stays in force.
            let _ = spawn_blocking(move || reread()).await;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::tests::PATIENCE;

    #[tokio::test]
    async fn files_are_followed_after_a_failure_to_read_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        let watch = FileWatch::new(vec![path.clone()]);
        let (calls, shutdown) = (Arc::new(AtomicU32::new(0)), CancellationToken::new());
        let counted = Arc::clone(&calls);
        let reread = move || {
            let before = counted.fetch_add(1, Ordering::Relaxed);
            assert!(before > 0, "a test wants the first reading to fail");
        };
        tokio::spawn(watch.run(Arc::new(reread), shutdown.clone()));
        for (times, content) in ["one", "and another"].iter().enumerate() {
            std::fs::write(&path, content).unwrap();
            let called = async {
                while calls.load(Ordering::Relaxed) <= times as u32 {
                    sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(PATIENCE, called).await.expect("the change is noticed");
        }
        shutdown.cancel();
    }
}
