//! Runs a part again after it has failed: webhooks, alert rules or republishing, without which statuses are answered all the same. An
//! event that makes one of them fail at each start must not keep the whole service from starting.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use server::metrics::{Metrics, PartLabel};
use system::backoff::Backoff;

/// The first wait after a failure, and the longest.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_LONGEST: Duration = Duration::from_secs(60);

/// How a part is run.
pub(super) struct Repeat {
    /// As the metric calls it.
    pub(super) part: &'static str,
    pub(super) metrics: Metrics,
    pub(super) shutdown: CancellationToken,
    /// How long it rests after each failure.
    pub(super) backoff: Backoff,
}

impl Repeat {
    pub(super) fn new(part: &'static str, metrics: &Metrics, shutdown: &CancellationToken) -> Self {
        // It is there from the start, so that the first failure is seen as one more.
        drop(metrics.part_failures.get_or_create(&PartLabel { part }));
        let backoff = Backoff::between(WAIT_FIRST, WAIT_LONGEST);
        Self { part, metrics: metrics.clone(), shutdown: shutdown.clone(), backoff }
    }

    /// Runs the part until it ends without a failure, or until shutdown.
    pub(super) async fn run<F: Future<Output = ()>>(self, part: impl Fn(CancellationToken) -> F) {
        let Self { part: name, metrics, shutdown, mut backoff } = self;
        // What a part holds beyond a run is behind locks that are not held while it calls others, or is read anew.
        while AssertUnwindSafe(part(shutdown.clone())).catch_unwind().await.is_err() {
            metrics.part_failures.get_or_create(&PartLabel { part: name }).inc();
            let wait = backoff.wait();
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(
                part = name,
                wait_ms,
                "internal error: a part of the service has failed and begins anew"
            );
            if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_part_that_fails_is_counted_and_begins_anew() {
        let (metrics, runs) = (Metrics::default(), AtomicU32::new(0));
        let backoff = Backoff::between(Duration::ZERO, Duration::ZERO);
        let repeat = Repeat { backoff, ..Repeat::new("webhooks", &metrics, &CancellationToken::new()) };
        let runs_so_far = &runs;
        let part = |_| async move {
            assert!(runs_so_far.fetch_add(1, Ordering::Relaxed) == 3, "a test wants this part to fail");
        };
        repeat.run(part).await;
        assert_eq!(runs.into_inner(), 4, "the fourth ended in order");
        assert_eq!(metrics.part_failures.get_or_create(&PartLabel { part: "webhooks" }).get(), 3);
    }

    #[tokio::test]
    async fn a_part_that_fails_while_the_service_stops_does_not_begin_anew() {
        let repeat = Repeat::new("alerts", &Metrics::default(), &CancellationToken::new());
        let part = |shutdown: CancellationToken| async move {
            shutdown.cancel();
            panic!("a test wants this part to fail");
        };
        repeat.run(part).await;
    }
}
