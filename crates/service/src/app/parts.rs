//! Tasks that go on until the service stops. One that ends before has failed, and the service must not go on without it: it would
//! answer nothing, or for ever what was true by then.

use std::future::pending;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// What runs, by the name that an error calls it.
pub(super) struct Parts {
    running: FuturesUnordered<BoxFuture<'static, EndedPart>>,
    shutdown: CancellationToken,
}

struct EndedPart {
    name: &'static str,
    ended: Result<(), JoinError>,
}

impl Parts {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { running: FuturesUnordered::new(), shutdown }
    }

    /// Starts one. It ends soon after the shutdown.
    pub(super) fn spawn(&self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        let running = tokio::spawn(part);
        self.running.push(Box::pin(async move { EndedPart { name, ended: running.await } }));
    }

    /// Waits until one has failed, and returns its name.
    pub(super) async fn failed(&mut self) -> &'static str {
        while let Some(EndedPart { name, ended }) = self.running.next().await {
            if ended.is_err() || !self.shutdown.is_cancelled() {
                return name;
            }
        }
        pending().await
    }

    /// Waits, after the shutdown, until all have ended. The error is the name of one that has failed meanwhile.
    pub(super) async fn end(mut self) -> Result<(), &'static str> {
        let mut outcome = Ok(());
        while let Some(EndedPart { name, ended }) = self.running.next().await {
            outcome = outcome.and(ended.map_err(|_panic| name));
        }
        outcome
    }
}
