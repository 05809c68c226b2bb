//! A reader of the change buffer: its position, a notification to wait for, and a token by which others end it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::buffer::{BATCH_MAX, Behind, BufferPart};
use super::{Change, Feed, SharedText};
use crate::freshness::FreshnessBySource;

/// Whom a reader serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderKind {
    /// A client.
    Stream,
    /// The service itself, which notices by itself that it is too far behind.
    Internal,
}

/// What the feed knows of a reader.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) kind: ReaderKind,
    position: AtomicU64,
    pub(super) cut: CancellationToken,
    /// It is too far behind and has been counted as that.
    is_slow: AtomicBool,
}

impl Subscription {
    pub(super) fn position(&self) -> u64 {
        self.position.load(Ordering::Relaxed)
    }

    /// Notes that it is too far behind, and says whether that is news.
    pub(super) fn note_slow(&self) -> bool {
        !self.is_slow.swap(true, Ordering::Relaxed)
    }
}

/// Changes whose text is made at once, some hundred microseconds at most: other streams and requests have their turn after each such
/// part.
pub const SHOWN_AT_ONCE: usize = 32;

/// Consecutive changes, shared by all readers that want the same.
#[derive(Debug)]
pub struct ChangeBatch {
    /// The position before the first.
    from: u64,
    /// The position after the last.
    to: u64,
    changes: Vec<Arc<Change>>,
    /// It is as long as a batch may be.
    is_full: bool,
    /// The text of each part of [`SHOWN_AT_ONCE`] changes.
    shown: Vec<SharedText>,
}

impl ChangeBatch {
    pub fn changes(&self) -> &[Arc<Change>] {
        &self.changes
    }

    /// In how many parts it is shown.
    pub fn parts(&self) -> usize {
        self.shown.len()
    }

    /// The changes of one part.
    pub fn part(&self, number: usize) -> &[Arc<Change>] {
        self.changes.chunks(SHOWN_AT_ONCE).nth(number).unwrap_or_default()
    }

    /// One part as a text that is made once, by the first reader, and shared by all who call the same answers stale.
    pub fn shown(
        &self,
        number: usize,
        freshness: &FreshnessBySource,
        show: impl FnOnce(&[Arc<Change>]) -> Bytes,
    ) -> Bytes {
        let show = || show(self.part(number));
        match self.shown.get(number) {
            Some(shown) => shown.get(freshness, show),
            None => Bytes::new(),
        }
    }
}

/// Follows the changes; dropping it gives the place back.
pub struct ChangeReader {
    feed: Arc<Feed>,
    number: u64,
    subscription: Arc<Subscription>,
    heads: watch::Receiver<u64>,
}

impl Feed {
    /// Begins to follow at the newest change; `None` if too many do. `cut` ends the reader's connection: it is called for
    /// when the reader is too far behind, or does not end by itself at the shutdown.
    pub fn follow(self: &Arc<Self>, cut: CancellationToken) -> Option<ChangeReader> {
        let mut subscriptions = self.subscriptions.lock();
        let streams =
            subscriptions.values().filter(|subscription| subscription.kind == ReaderKind::Stream).count();
        if streams >= self.settings.streams_max as usize {
            drop(subscriptions);
            self.metrics.feed.refused("too_many");
            return None;
        }
        let number = self.metrics.feed.streams_begun.inc();
        self.metrics.feed.streams.inc();
        Some(self.subscribe(&mut subscriptions, (ReaderKind::Stream, number), cut))
    }

    /// The same for a part of the service, which is no stream: it has a place in any case, and is not ended when it is too far
    /// behind.
    pub fn follow_internally(self: &Arc<Self>) -> ChangeReader {
        let mut subscriptions = self.subscriptions.lock();
        // Streams are numbered from below.
        let taken = |number: &u64| subscriptions.contains_key(number);
        let number = (0..=u64::MAX).rev().find(|number| !taken(number)).unwrap_or_default();
        self.subscribe(&mut subscriptions, (ReaderKind::Internal, number), CancellationToken::new())
    }

    fn subscribe(
        self: &Arc<Self>,
        subscriptions: &mut HashMap<u64, Arc<Subscription>>,
        (kind, number): (ReaderKind, u64),
        cut: CancellationToken,
    ) -> ChangeReader {
        self.followers.fetch_add(1, Ordering::SeqCst);
        let position = AtomicU64::new(self.head());
        let subscription = Arc::new(Subscription { kind, position, cut, is_slow: AtomicBool::new(false) });
        subscriptions.insert(number, Arc::clone(&subscription));
        ChangeReader { feed: Arc::clone(self), number, subscription, heads: self.heads.subscribe() }
    }
}

impl ChangeReader {
    /// The sequence of the last change that was read, or after which it began.
    pub fn position(&self) -> u64 {
        self.subscription.position()
    }

    /// Goes to another position.
    pub fn go_to(&mut self, position: u64) {
        self.subscription.position.store(position, Ordering::Relaxed);
        self.feed.change_notification.notify_one();
    }

    /// Waits until there are changes after the position, and it is the readers' turn.
    pub async fn wait(&mut self) {
        while self.position() >= *self.heads.borrow_and_update() {
            // The feed lives as long as its readers.
            if self.heads.changed().await.is_err() {
                return;
            }
        }
    }

    /// The changes after the position, at most a thousand or so, and goes on behind them; none if there are none.
    pub fn take(&mut self) -> Result<Arc<ChangeBatch>, Behind> {
        let from = self.position();
        let latest = self.feed.latest_batch.lock().clone();
        let batch = match latest.filter(|batch| batch.from == from && batch.is_up_to_date(&self.feed)) {
            Some(batch) => batch,
            None => self.read(from)?,
        };
        self.subscription.position.store(batch.to, Ordering::Relaxed);
        Ok(batch)
    }

    fn read(&self, from: u64) -> Result<Arc<ChangeBatch>, Behind> {
        let BufferPart { changes, is_full } = self.feed.buffer.read().after(from, BATCH_MAX)?;
        let to = changes.last().map_or(from, |change| change.sequence);
        let parts = changes.len().div_ceil(SHOWN_AT_ONCE);
        let shown = std::iter::repeat_with(SharedText::default).take(parts).collect();
        let batch = Arc::new(ChangeBatch { from, to, changes, is_full, shown });
        if batch.is_up_to_date(&self.feed) {
            *self.feed.latest_batch.lock() = Some(Arc::clone(&batch));
        }
        Ok(batch)
    }

    /// The service is about to stop.
    pub fn ending(&self) -> CancellationToken {
        self.feed.ending.clone()
    }

    /// Counts this reader as one that is ended because it is too far behind.
    pub fn note_slow(&self) {
        if self.subscription.note_slow() {
            self.feed.metrics.feed.refused("slow");
        }
    }
}

impl ChangeBatch {
    /// Whether it is what a reader at its beginning wants: all that it was woken for, or as much as is handed over at once.
    fn is_up_to_date(&self, feed: &Feed) -> bool {
        let is_all = self.to >= *feed.heads.borrow() && !self.changes.is_empty();
        is_all || self.is_full
    }
}

impl Drop for ChangeReader {
    fn drop(&mut self) {
        // At the end of the service a connection must go also if its stream is over: what is left of it may wait for a client that
        // does not read.
        if !self.feed.ending.is_cancelled() {
            self.feed.subscriptions.lock().remove(&self.number);
        }
        self.feed.followers.fetch_sub(1, Ordering::SeqCst);
        if self.subscription.kind == ReaderKind::Stream {
            self.feed.metrics.feed.streams.dec();
        }
    }
}
