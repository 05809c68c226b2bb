//! The API as the service knows it that is wired together. The wiring names none of the resources, so it is not built again
//! when one of them changes.

use std::sync::Arc;
use std::time::Duration;

use alerting::desk::AlertDesk;
use formats::catalog::Formats;
use futures_util::future::BoxFuture;
use presence::Status;
use presence::history::HistoryRow;
use prometheus_client::registry::Registry;
use serde_json::value::RawValue;
use server::feed::Feed;
use server::health::Health;
use server::metrics::RequestMetrics;
use server::read_through::ReadThrough;
use server::registry::{DeviceRegistry, Snapshot};
use server::removal::RemovalQueue;
use server::series::SeriesReader;
use store::ReadHistory;
use webhooks::desk::WebhookDesk;

use crate::middleware::guard::Guard;
use crate::network::direct::App;

/// Makes the API of its parts.
pub type MakeApi = fn(ApiParts) -> Arc<dyn Api>;

/// What answers requests, and shows devices in other messages as it shows them to those who ask.
pub trait Api: Send + Sync {
    /// Answers every request that the guard lets in.
    fn app(&self, guard: &Arc<Guard>, cors_origins: &[String]) -> App;

    /// A device as a change in a stream shows it, with the refused login that it is told for.
    fn change_data(
        &self,
        device: &Snapshot,
        previous: Option<Status>,
        refusal: Option<&HistoryRow>,
    ) -> Box<RawValue>;

    /// A device as it is republished.
    fn retained_device(&self, device: &Snapshot) -> Vec<u8>;

    /// The fleet at a glance; `None` while the store cannot be read.
    fn summary(&self) -> BoxFuture<'_, Option<Vec<u8>>>;
}

/// What the answers are made from.
#[derive(Clone)]
pub struct ApiParts {
    pub map: Arc<DeviceRegistry>,
    /// For what the map does not hold; `None`: it holds all devices.
    pub read_through: Option<Arc<ReadThrough>>,
    pub health: Arc<Health>,
    pub registry: Arc<Registry>,
    pub requests: RequestMetrics,
    /// How many retained messages brokers are known to send to one subscription.
    pub replay_limits: Arc<[u64]>,
    /// Stands in the client id of a device that was never heard of.
    pub organization: Arc<str>,
    /// How the messages of each broker are read.
    pub formats: Box<[Arc<Formats>]>,
    pub history: Arc<dyn ReadHistory>,
    pub series: Arc<SeriesReader>,
    pub feed: Arc<Feed>,
    /// Where the wish to forget a device goes.
    pub removals: RemovalQueue,
    /// The endpoints of webhooks.
    pub webhooks: WebhookDesk,
    /// The evaluation of alert rules.
    pub alerts: AlertDesk,
    /// How long an event is kept.
    pub history_retention: Duration,
}
