//! Where the log is in memory alone, an endpoint with `mode = "latest"` has a cursor in the store's changes besides: up to it,
//! everything was delivered. After a gap the store says which devices have changed since, and the endpoint receives the newest
//! state of each.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use store::ChangeCursor;

use crate::service::Webhooks;

/// A new cursor is taken this often. An older one repeats more after a gap.
const CURSOR_INTERVAL: Duration = Duration::from_secs(5);

/// A cursor, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredCursor {
    cursor: Vec<u64>,
    /// The endpoint receives what has changed since.
    is_resync: bool,
}

impl StoredCursor {
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers are JSON")
    }
}

/// A cursor that is waiting for its changes to be delivered.
struct Candidate {
    cursor: ChangeCursor,
    taken_at: Instant,
    /// The newest change in memory once everything up to the cursor had been published; `None`: it has not.
    head: Option<u64>,
}

/// The cursor of one endpoint.
pub struct CursorTracker {
    delivered: Option<ChangeCursor>,
    is_resync: bool,
    candidate: Option<Candidate>,
    taken_at: Option<Instant>,
}

impl CursorTracker {
    pub fn new(stored: Option<StoredCursor>) -> Self {
        let (delivered, is_resync) = match stored {
            Some(StoredCursor { cursor, is_resync }) => (Some(ChangeCursor(cursor)), is_resync),
            None => (None, false),
        };
        Self { delivered, is_resync, candidate: None, taken_at: None }
    }

    /// The cursor up to which everything was delivered, if one is known.
    pub fn delivered(&self) -> Option<&ChangeCursor> {
        self.delivered.as_ref()
    }

    /// Where the endpoint still receives what has changed; `None`: it has everything.
    pub fn resync_from(&self) -> Option<ChangeCursor> {
        self.delivered.clone().filter(|_| self.is_resync)
    }

    /// Notes up to where the endpoint has received what has changed, and whether there is more.
    pub fn note_resync(&mut self, cursor: Option<ChangeCursor>) {
        self.is_resync = cursor.is_some();
        self.delivered = cursor.or(self.delivered.take());
        self.candidate = None;
    }

    pub fn stored(&self) -> Option<StoredCursor> {
        let cursor = self.delivered.as_ref()?.0.clone();
        Some(StoredCursor { cursor, is_resync: self.is_resync })
    }

    /// Takes a cursor now and then; says whether one counts now because everything up to `delivered` in the feed was
    /// delivered.
    pub async fn advance(&mut self, all: &Webhooks, delivered: u64) -> bool {
        let Some(candidate) = &mut self.candidate else {
            if self.taken_at.is_none_or(|at| at.elapsed() >= CURSOR_INTERVAL) {
                let taken_at = Instant::now();
                self.taken_at = Some(taken_at);
                // If the store is away, the older cursor serves.
                let cursor = all.store.cursor().await.ok();
                self.candidate = cursor.map(|cursor| Candidate { cursor, taken_at, head: None });
            }
            return false;
        };
        if candidate.head.is_none() && all.feed.has_published_until(candidate.taken_at) {
            candidate.head = Some(all.feed.head());
        }
        if candidate.head.is_none_or(|head| delivered < head) {
            return false;
        }
        let cursor = self.candidate.take().map(|candidate| candidate.cursor);
        let is_new = cursor != self.delivered;
        self.delivered = cursor;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resync_goes_on_where_it_was_and_ends_with_a_cursor() {
        let mut tracker = CursorTracker::new(None);
        assert_eq!((tracker.delivered(), tracker.stored()), (None, None));
        tracker.note_resync(Some(ChangeCursor(vec![3, 7])));
        let stored = tracker.stored().expect("it has a cursor");
        assert_eq!(stored.text(), r#"{"cursor":[3,7],"is_resync":true}"#);
        let mut tracker = CursorTracker::new(StoredCursor::parse(&stored.text()));
        assert_eq!(tracker.resync_from(), Some(ChangeCursor(vec![3, 7])));
        tracker.note_resync(None);
        assert_eq!((tracker.resync_from(), tracker.delivered()), (None, Some(&ChangeCursor(vec![3, 7]))));
        assert_eq!(StoredCursor::parse("{}"), None);
    }
}
