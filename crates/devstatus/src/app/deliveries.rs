//! What webhooks are given of the other parts.

use std::sync::Arc;

use http_api::Context;
use server::health::StoreHealth;
use server::persistence::writer::Writer;
use webhooks::Webhooks;
use webhooks::metrics::WebhookMetrics;
use webhooks::settings::EndpointSettings;

/// Whoever delivers to these endpoints; devices are shown as the API shows them.
pub(super) fn webhooks_of(
    endpoints: Vec<EndpointSettings>,
    metrics: WebhookMetrics,
    writer: &Writer,
    context: &Context,
) -> Webhooks {
    let context = context.clone();
    Webhooks {
        endpoints,
        store: Arc::clone(&writer.store),
        store_outlives: writer.good == StoreHealth::Good,
        registry: Arc::clone(&writer.map),
        feed: Arc::clone(&writer.feed),
        describe: Arc::new(move |device, previous| http_api::change_data(&context, device, previous)),
        metrics,
    }
}
