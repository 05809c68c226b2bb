//! The changes in memory as a log that is read by position, for those who keep a position of their own and are no stream: nobody
//! ends them, and one that is too far behind is told so.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::watch;

use super::{BUFFER_MAX_BYTES, Change, Feed};
use crate::health::PeerHealth;

/// Consecutive changes.
#[derive(Debug)]
pub struct FeedPage {
    /// Oldest first.
    pub changes: Vec<Arc<Change>>,
    /// The position after the last of them.
    pub reached: u64,
    /// The position of the newest change.
    pub head: u64,
    /// Changes between the position that was asked for and the first of these are gone.
    pub is_incomplete: bool,
}

/// While one is held, the buffer keeps as many changes as for a stream.
pub struct FeedHold(Arc<Feed>);

impl Drop for FeedHold {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Feed {
    /// Tells the positions of this process from those of another.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Has the buffer keep as many changes as for a stream.
    pub fn hold(self: &Arc<Self>) -> FeedHold {
        self.followers.fetch_add(1, Ordering::SeqCst);
        FeedHold(Arc::clone(self))
    }

    /// At most so many changes after a position of this process, or those that are left of them.
    pub fn page_after(&self, position: u64, limit: usize) -> FeedPage {
        let buffer = self.buffer.read();
        let (first, head) = (buffer.reached(), buffer.next() - 1);
        let from = if buffer.reaches(position) { position } else { first };
        // The buffer reaches to where it begins.
        let changes = buffer.after(from, limit).map(|part| part.changes).unwrap_or_default();
        let reached = changes.last().map_or(from, |change| change.sequence);
        FeedPage { changes, reached, head, is_incomplete: from != position }
    }

    /// Whether everything is published here that the store had at that moment.
    pub fn has_published_until(&self, at: Instant) -> bool {
        match self.health.peer_health() {
            PeerHealth::Off => true,
            PeerHealth::Current { at: current } => at <= current,
            PeerHealth::Broken => false,
        }
    }

    /// A position so far back that the store has the changes before it, and so far from the oldest that it is not dropped soon.
    pub fn some_way_back(&self) -> u64 {
        let (most, buffer) = (u64::from(self.settings.stream_lag_max), self.buffer.read());
        let (oldest, head) = (buffer.reached(), buffer.next() - 1);
        let held = head - oldest;
        let is_half_full = held > most / 2 || buffer.bytes() > BUFFER_MAX_BYTES / 2;
        if is_half_full { head - held / 2 } else { oldest }
    }

    /// The position of the newest change, at the pace at which streams are woken. It moves while the feed is followed or held.
    pub fn heads(&self) -> watch::Receiver<u64> {
        self.heads.subscribe()
    }
}
