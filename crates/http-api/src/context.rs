//! What the answers are made from.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use alerting::desk::AlertDesk;
use formats::catalog::Formats;
use presence::Device;
use prometheus_client::registry::Registry;
use server::feed::Feed;
use server::health::Health;
use server::metrics::RequestMetrics;
use server::read_through::ReadThrough;
use server::registry::DeviceRegistry;
use server::removal::RemovalQueue;
use server::series::SeriesReader;
use store::ReadHistory;
use webhooks::desk::WebhookDesk;

/// What the answers are made from. It is cloned for each request, so it is one pointer.
#[derive(Clone)]
pub struct Context(Arc<ContextParts>);

impl Context {
    pub fn new(parts: ContextParts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Context {
    type Target = ContextParts;

    fn deref(&self) -> &ContextParts {
        &self.0
    }
}

#[derive(Clone)]
pub struct ContextParts {
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

impl Context {
    /// Whether there can be such a device. A device of the IoT platform has a name that a topic can carry; other sources also
    /// have names with `/`, `+` and `#`.
    pub fn is_possible(&self, device: Device<'_>) -> bool {
        if self.reads_platform_only() { device.fits_topic_levels() } else { device.is_possible() }
    }

    /// The client id of a device that was never heard of: the IoT platform's form, or the device's id.
    pub fn client_id(&self, Device { device_type, id }: Device<'_>) -> String {
        if self.reads_platform_only() {
            format!("d:{}:{device_type}:{id}", self.organization)
        } else {
            id.to_owned()
        }
    }

    fn reads_platform_only(&self) -> bool {
        self.formats.iter().all(|formats| formats.are_platform_only())
    }

    /// Whether a device of this type that no message was about may be connected nevertheless: its source would not have said so.
    pub fn may_be_unreported(&self, device: Device<'_>) -> bool {
        self.formats.iter().any(|formats| formats.may_be_unreported(device.device_type))
    }
}
