//! What tests answer requests from: a service without a broker.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use prometheus_client::registry::Registry;

use crate::context::Context;
use presence::DeviceName;
use presence::history::{EventPage, HistoryPosition, HistoryRow};
use server::feed::Feed;
use server::health::{Health, ReadyOn};
use server::http_settings::HttpSettings;
use server::metrics::Metrics;
use server::series::SeriesReader;
use serving::api::ApiParts;
use serving::middleware::guard::Guard;
use serving::testing::has_metric_line;
use store::memory::MemoryStore;
use store::{ReadHistory, Retention, StoreError};

/// What the answers are made from, and what is counted.
pub struct Fixture {
    pub context: Context,
    pub metrics: Metrics,
    guard: Arc<Guard>,
}

impl Fixture {
    pub fn new(settings: &HttpSettings) -> Self {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let feed = Arc::new(Feed::new(settings.streams, Arc::clone(&health), metrics.clone()));
        let context = Context::new(ApiParts {
            map: Arc::default(),
            read_through: None,
            health,
            registry: Arc::new(registry),
            requests: metrics.requests.clone(),
            replay_limits: [].into(),
            formats: Box::new([Arc::default()]),
            organization: "org".into(),
            history: Arc::new(HistoryAfter(|_, _| Ok(None))),
            series: Arc::new(SeriesReader::new(Arc::new(MemoryStore::new(Retention { per_device: 1 })))),
            feed,
            removals: server::removal::queue().0,
            webhooks: Default::default(),
            alerts: Default::default(),
            history_retention: Duration::from_secs(1),
        });
        let guard = Arc::new(Guard::new(settings, metrics.http.clone()));
        Self { context, metrics, guard }
    }

    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Whether this line is among the metrics.
    pub fn counts(&self, line: &str) -> bool {
        has_metric_line(&self.context.registry, line)
    }
}

/// A history that tells nothing of one device, and of all of them after an event what it is made with.
pub struct HistoryAfter<F>(pub F);

impl<F> ReadHistory for HistoryAfter<F>
where
    F: Fn(HistoryPosition, usize) -> Result<Option<EventPage>, StoreError> + Send + Sync,
{
    fn history(
        &self,
        _: DeviceName,
        _: Option<u64>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn events(
        &self,
        after: HistoryPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        std::future::ready(self.0(after, limit)).boxed()
    }
}
