//! Connects webhooks with the settings, the store, the registry and the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use http_api::Context;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use server::health::StoreHealth;
use server::persistence::writer::Writer;
use webhooks::metrics::WebhookMetrics;
use webhooks::settings::EndpointSettings;
use webhooks::{Leases, Webhooks};

/// The endpoints, and how to read them again.
pub struct WebhookSource {
    pub endpoints: Vec<EndpointSettings>,
    /// Reads the settings again, or says why they are bad; `None`: they cannot change.
    pub reread: Option<Reread>,
}

/// Reads the endpoints out of the settings.
pub type Reread = Box<dyn Fn() -> Result<Vec<EndpointSettings>, String> + Send>;

/// The settings file and the files that it names are read this often. Kubernetes replaces files by a link, and no notification
/// of that works everywhere.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);

impl WebhookSource {
    /// No endpoints, now and later.
    pub fn none() -> Self {
        Self { endpoints: Vec::new(), reread: None }
    }

    /// The endpoints as they are now, and later ones until `shutdown`. Bad settings leave them as they are.
    pub(super) fn follow(self, shutdown: CancellationToken) -> watch::Receiver<Vec<EndpointSettings>> {
        let (sender, receiver) = watch::channel(self.endpoints);
        if let Some(mut reread) = self.reread {
            tokio::spawn(async move {
                let mut fault = None;
                while shutdown.run_until_cancelled(sleep(REREAD_INTERVAL)).await.is_some() {
                    let read = spawn_blocking(move || (reread(), reread)).await;
                    let Ok((read, again)) = read else { break };
                    reread = again;
                    note(read, &sender, &mut fault);
                }
            });
        }
        receiver
    }
}

/// Applies the settings that were read; logs a fault once.
fn note(
    read: Result<Vec<EndpointSettings>, String>,
    sender: &watch::Sender<Vec<EndpointSettings>>,
    fault: &mut Option<String>,
) {
    match read {
        Ok(endpoints) => {
            *fault = None;
            let number = endpoints.len();
            let is_changed = sender.send_if_modified(|held| {
                let is_changed = *held != endpoints;
                *held = endpoints;
                is_changed
            });
            if is_changed {
                tracing::info!(endpoints = number, "the webhooks in the settings have changed");
            }
        }
        Err(error) if fault.as_ref() != Some(&error) => {
            tracing::error!("the webhooks stay as they were, because the settings are bad: {error}");
            *fault = Some(error);
        }
        Err(_) => {}
    }
}

/// The deliveries to these endpoints; messages show devices as the API does.
pub(super) fn webhooks_of(
    endpoints: watch::Receiver<Vec<EndpointSettings>>,
    metrics: WebhookMetrics,
    writer: &Writer,
    context: &Context,
) -> Webhooks {
    let (context, desk) = (context.clone(), context.webhooks.clone());
    Webhooks {
        endpoints,
        store: Arc::clone(&writer.store),
        store_outlives: writer.good == StoreHealth::Good,
        is_shared: writer.settings.location.is_shared(),
        registry: Arc::clone(&writer.map),
        feed: Arc::clone(&writer.feed),
        source: format!("urn:devstatus:{}", utf8_percent_encode(&context.organization, NON_ALPHANUMERIC)),
        describe: Arc::new(move |device, previous| http_api::change_data(&context, device, previous)),
        metrics,
        desk,
        leases: Leases::default(),
    }
}
