//! Follows what other instances write into a shared store and hands it to `ingest`, which alone writes the registry. How the
//! store numbers changes and sends notifications is decided there.
//!
//! ```text
//! other instances -> Store -notification, changes since the cursor-> peers -> backlog -> ingest -> registry
//! ```
//!
//! What this instance wrote may come back, too, and changes nothing. A device that is read from the store does not become dirty,
//! so no update goes round in circles.

#[cfg(test)]
mod tests;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::health::{Health, PeerHealth};
use crate::metrics::Metrics;
use crate::registry::DeviceRegistry;
use crate::sync::Leadership;
use crate::sync::backlog::Backlog;
use presence::query::{Scan, Sort, SortBy};
use store::{ChangeCursor, Changes, Store, StoreError};
use system::backoff::Backoff;

/// Devices that are read and handed over at once: some milliseconds of the decoder, which then turns to the broker's messages.
const PAGE: usize = 2_000;

/// How long a poll waits for the notification: one may be lost with a connection.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The least time between two polls, so that changes that come one by one are read a few at a time: as long as the last one took,
/// within these bounds.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// After a failure the next poll waits this long, then twice as long, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// A store that is back is noticed within this time.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A poll that takes longer has failed: the connection may be dead although nobody has closed it.
const POLL_TIMEOUT: Duration = Duration::from_secs(10);

/// What the changes of other instances come from and go to.
pub struct Peers {
    pub store: Arc<dyn Store>,
    pub backlog: Backlog,
    pub registry: Arc<DeviceRegistry>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
    pub feed: Arc<Feed>,
    /// Who reads what the broker has retained.
    pub leadership: Arc<Leadership>,
}

/// Why a poll ended early.
enum PollError {
    /// The program stops.
    Stopping,
    Failed(StoreError),
}

impl Peers {
    /// Follows every change after the cursor until `stop`.
    pub async fn run(self, mut cursor: ChangeCursor, stop: CancellationToken) {
        tokio::select! {
            () = self.follow(&mut cursor) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&self, cursor: &mut ChangeCursor) {
        let mut backoff = Backoff::between(RETRY_MIN, RETRY_MAX);
        // Nothing has been logged yet: a store that cannot be read from the start is worth a line, too.
        let mut said = None;
        loop {
            let polled_at = Instant::now();
            match self.catch_up(cursor).await {
                Ok(()) => {
                    // Everything that had been written when the poll began is here.
                    self.health.set_peer_health(PeerHealth::Current { at: polled_at.into_std() });
                    if said.replace(true) != Some(true) {
                        tracing::info!("the changes of other instances are followed");
                    }
                    backoff.reset();
                    sleep(polled_at.elapsed().clamp(PAUSE_MIN, PAUSE_MAX)).await;
                    // After a notification or without one: the next poll comes in either case.
                    let _ = timeout(POLL_INTERVAL, self.store.change_notified()).await;
                }
                // The end of the decoder ends the whole service.
                Err(PollError::Stopping) => return pending().await,
                Err(PollError::Failed(error)) => {
                    self.metrics.store.follow_failures.inc();
                    self.health.set_peer_health(PeerHealth::Broken);
                    if said.replace(false) != Some(false) {
                        tracing::warn!(%error, "the changes of other instances cannot be followed at present");
                    }
                    sleep(backoff.wait()).await;
                }
            }
        }
    }

    /// Reads everything that has changed since the cursor.
    async fn catch_up(&self, cursor: &mut ChangeCursor) -> Result<(), PollError> {
        loop {
            let changes = match bounded(self.store.changes_of_others(cursor.clone(), PAGE)).await {
                Err(PollError::Failed(StoreError::Gap(why))) => {
                    tracing::warn!(why, "changes of other instances were missed: everything is read again");
                    *cursor = self.read_again().await?;
                    continue;
                }
                changes => changes?,
            };
            let (reached, is_all) = (changes.cursor.clone(), changes.is_all);
            if !changes.devices.is_empty() || !changes.forgotten.is_empty() {
                self.hand_over(changes).await?;
            }
            // Only now: what is not in the registry yet must be read again if this is broken off.
            let has_moved = *cursor != reached;
            *cursor = reached;
            if is_all || !has_moved {
                return Ok(());
            }
        }
    }

    /// Reads every device, and writes every one: the store may have lost what this instance knows.
    async fn read_again(&self) -> Result<ChangeCursor, PollError> {
        let cursor = bounded(self.store.cursor()).await?;
        self.drop_forgotten(&cursor).await?;
        self.registry.mark_all_dirty();
        // Events that were written may be gone, and are not written again.
        self.feed.note_lost();
        if self.registry.is_limited() {
            // What only the store held may be lost: the broker is asked for it again. The rest is read when it is asked for.
            self.registry.doubt_all();
            self.health.unpopulate();
            self.leadership.ask_again();
            return Ok(cursor);
        }
        let mut query = Scan {
            device_type: None,
            status: None,
            sort: Sort { by: SortBy::Id, descending: false },
            after: None,
            limit: PAGE,
        };
        loop {
            let page = bounded(self.store.list(query.clone())).await?;
            let (forgotten, devices) = (Vec::new(), page.devices);
            self.hand_over(Changes { forgotten, devices, cursor: cursor.clone(), is_all: false }).await?;
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(cursor),
            }
        }
    }

    /// Drops what was forgotten while changes were missed: devices of which nothing was received since.
    async fn drop_forgotten(&self, cursor: &ChangeCursor) -> Result<(), PollError> {
        let mut forgotten = bounded(self.store.forgotten()).await?;
        forgotten.retain(|one| {
            self.registry
                .read(one.name.device(), |record| record.reception.received_at <= one.at)
                .unwrap_or(false)
        });
        self.hand_over(Changes { forgotten, devices: Vec::new(), cursor: cursor.clone(), is_all: false })
            .await
    }

    async fn hand_over(&self, changes: Changes) -> Result<(), PollError> {
        self.backlog.send_peer_updates(changes).await.ok_or(PollError::Stopping)
    }
}

async fn bounded<T>(poll: impl Future<Output = Result<T, StoreError>>) -> Result<T, PollError> {
    match timeout(POLL_TIMEOUT, poll).await {
        Ok(done) => done.map_err(PollError::Failed),
        Err(_) => {
            let seconds = POLL_TIMEOUT.as_secs();
            Err(PollError::Failed(StoreError::Read(format!("the store has not answered for {seconds} s"))))
        }
    }
}
