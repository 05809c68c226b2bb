//! Follows what other instances write into a shared store and hands it to `ingest`, which alone writes the map. Where the
//! changes stand, and what rings the bell, is the store's affair.
//!
//! ```text
//! other instances -> Store -bell, changes since the mark-> peers -> backlog -> ingest -> map
//! ```
//!
//! What this instance wrote comes back, too, and is then known. Nothing that comes from the store becomes dirty, so nothing
//! goes round in circles.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::feed::Feed;
use crate::health::{Following, Health};
use crate::metrics::Metrics;
use crate::registry::DeviceMap;
use crate::sync::Lead;
use crate::sync::backlog::Backlog;
use presence::query::{Sort, SortBy};
use store::{Mark, Query, Store, StoreError, StoredDevice};

/// Devices that are read and handed over at once: some milliseconds of the decoder, which then turns to the socket's runs.
const PAGE: usize = 2_000;

/// How long the bell is waited for before looking all the same: a bell may be lost with a connection.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Looks at least so far apart, so that changes that come one by one are read a few at a time.
const PAUSE: Duration = Duration::from_millis(20);

/// After a failure the next look waits this long, then twice as long, up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
/// A store that is back is noticed within this time.
const RETRY_MAX: Duration = Duration::from_secs(2);

/// A look that takes longer has failed: the connection may be dead without anyone having closed it.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);

/// What the changes of other instances come from and go to.
pub struct Peers {
    pub store: Arc<dyn Store>,
    pub backlog: Backlog,
    pub map: Arc<DeviceMap>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
    pub feed: Arc<Feed>,
    /// Who reads what the broker has retained.
    pub lead: Arc<Lead>,
}

/// Why a look ended early.
enum Broken {
    /// The program stops.
    Stopping,
    Failed(StoreError),
}

impl Peers {
    /// Follows every change after the mark until `stop`.
    pub async fn run(self, mut mark: Mark, stop: CancellationToken) {
        tokio::select! {
            () = self.follow(&mut mark) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&self, mark: &mut Mark) {
        let mut pause = RETRY_MIN;
        // Nothing has been said yet: a store that cannot be read from the start is worth a line, too.
        let mut said = None;
        loop {
            let looked_at = Instant::now();
            match self.catch_up(mark).await {
                Ok(()) => {
                    // Everything that had been written when the look began is here.
                    self.health.set_following(Following::Current { at: looked_at.into_std() });
                    if said.replace(true) != Some(true) {
                        tracing::info!("the changes of other instances are followed");
                    }
                    pause = RETRY_MIN;
                    sleep(PAUSE).await;
                    // Whether it rang or not: both are reasons to look.
                    let _ = timeout(LOOK_INTERVAL, self.store.bell()).await;
                }
                Err(Broken::Stopping) => return,
                Err(Broken::Failed(error)) => {
                    self.metrics.store.follow_failures.inc();
                    self.health.set_following(Following::Broken);
                    if said.replace(false) != Some(false) {
                        tracing::warn!(%error, "the changes of other instances cannot be followed at present");
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// Reads until nothing has changed since the mark.
    async fn catch_up(&self, mark: &mut Mark) -> Result<(), Broken> {
        loop {
            let changes = match bounded(self.store.changes(mark.clone(), PAGE)).await {
                Err(Broken::Failed(StoreError::Gap(why))) => {
                    tracing::warn!(
                        why,
                        "what other instances changed cannot be told: everything is read again"
                    );
                    *mark = self.read_again().await?;
                    continue;
                }
                changes => changes?,
            };
            if !changes.devices.is_empty() {
                self.tell(changes.devices).await?;
            }
            // Only now: what is not in the map yet must be read again if this is broken off.
            if std::mem::replace(mark, changes.mark) == *mark {
                return Ok(());
            }
        }
    }

    /// Reads every device, and writes every one: the store may have lost what this instance knows.
    async fn read_again(&self) -> Result<Mark, Broken> {
        let mark = bounded(self.store.mark()).await?;
        self.map.mark_all_dirty();
        // Events that were written may be gone, and are not written again.
        self.feed.note_lost();
        if self.map.is_limited() {
            // What only the store held may be lost: the broker is asked for it again. The rest is read when it is asked for.
            self.map.doubt_all();
            self.health.unpopulate();
            self.lead.ask_again();
            return Ok(mark);
        }
        let mut query = Query {
            device_type: None,
            status: None,
            sort: Sort { by: SortBy::Id, descending: false },
            after: None,
            limit: PAGE,
        };
        loop {
            let page = bounded(self.store.list(query.clone())).await?;
            self.tell(page.devices).await?;
            match page.next {
                Some(next) => query.after = Some(next),
                None => return Ok(mark),
            }
        }
    }

    async fn tell(&self, devices: Vec<StoredDevice>) -> Result<(), Broken> {
        self.backlog.tell(devices).await.ok_or(Broken::Stopping)
    }
}

async fn bounded<T>(look: impl Future<Output = Result<T, StoreError>>) -> Result<T, Broken> {
    match timeout(LOOK_TIMEOUT, look).await {
        Ok(done) => done.map_err(Broken::Failed),
        Err(_) => {
            let seconds = LOOK_TIMEOUT.as_secs();
            Err(Broken::Failed(StoreError::Read(format!("the store has not answered for {seconds} s"))))
        }
    }
}
