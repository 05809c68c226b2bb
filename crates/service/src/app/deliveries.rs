//! Connects webhooks, alerts and what is republished with the settings, the store, the registry and the API.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ServeError;
use super::repeat::Repeat;
use super::republishing::Republishing;
use super::source_threads::spawn_with_runtime;
use alerting::metrics::AlertMetrics;
use alerting::{AlertService, LeaseHolder};
use alerts::RuleSet;
use futures_util::future::OptionFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prometheus_client::registry::Registry;
use republish::metrics::RepublishMetrics;
use republish::settings::RepublishSettings;
use server::health::StoreHealth;
use server::metrics::Metrics;
use server::persistence::writer::Writer;
use serving::api::{Api, ApiParts};
use store::settings::Location;
use system::log_limit::OnceAMinute;
use webhooks::metrics::WebhookMetrics;
use webhooks::settings::EndpointSettings;
use webhooks::{ChangeLog, HistoryTail, Leases, SystemClock, Webhooks};

/// What of the settings may change while the service runs.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    pub endpoints: Vec<EndpointSettings>,
    pub rules: RuleSet,
}

/// The settings as they are at the start, and how to read them again.
#[derive(Default)]
pub struct NotifySource {
    pub settings: NotifySettings,
    /// Reads the settings again, or says why they are bad; `None`: they cannot change.
    pub reread: Option<Reread>,
    /// Where statuses are republished; `None`: nowhere.
    pub republish: Option<RepublishSettings>,
}

/// The settings as they are now, and later ones.
pub(super) struct NotifyReceivers {
    pub endpoints: watch::Receiver<Vec<EndpointSettings>>,
    pub rules: watch::Receiver<Arc<RuleSet>>,
    pub republish: Option<RepublishSettings>,
}

struct NotifySenders {
    endpoints: watch::Sender<Vec<EndpointSettings>>,
    rules: watch::Sender<Arc<RuleSet>>,
}

/// Reads them out of the settings.
pub type Reread = Arc<dyn Fn() -> Result<NotifySettings, String> + Send + Sync>;

/// The settings file and the files that it names are read this often. Kubernetes replaces files by a link, and no notification
/// of that works everywhere.
const REREAD_INTERVAL: Duration = Duration::from_secs(5);

impl NotifySource {
    /// The settings as they are now, and later ones until `shutdown`. Bad settings leave them as they are.
    pub(super) fn follow(self, shutdown: CancellationToken) -> NotifyReceivers {
        let NotifySettings { endpoints, rules } = self.settings;
        let senders = NotifySenders {
            endpoints: watch::Sender::new(endpoints),
            rules: watch::Sender::new(Arc::new(rules)),
        };
        let receivers = NotifyReceivers {
            endpoints: senders.endpoints.subscribe(),
            rules: senders.rules.subscribe(),
            republish: self.republish,
        };
        if let Some(reread) = self.reread {
            tokio::spawn(async move {
                let mut fault = None;
                while shutdown.run_until_cancelled(sleep(REREAD_INTERVAL)).await.is_some() {
                    let reread = Arc::clone(&reread);
                    let read = spawn_blocking(move || reread()).await;
                    // They may be readable again once the file is another.
                    let read =
                        read.unwrap_or_else(|_panic| Err("internal error while they were read".to_owned()));
                    note(read, &senders, &mut fault);
                }
            });
        }
        receivers
    }
}

/// Applies the settings that were read; logs a fault once.
fn note(read: Result<NotifySettings, String>, senders: &NotifySenders, fault: &mut Option<String>) {
    match read {
        Ok(NotifySettings { endpoints, rules }) => {
            *fault = None;
            let number = endpoints.len();
            let is_changed = senders.endpoints.send_if_modified(|held| {
                let is_changed = *held != endpoints;
                *held = endpoints;
                is_changed
            });
            if is_changed {
                tracing::info!(endpoints = number, "the webhooks in the settings have changed");
            }
            senders.rules.send_if_modified(|held| {
                let is_changed = **held != rules;
                if is_changed {
                    *held = Arc::new(rules);
                }
                is_changed
            });
        }
        Err(error) if fault.as_ref() != Some(&error) => {
            tracing::error!(
                "webhooks and alert rules stay as they were, because the settings are bad: {error}"
            );
            *fault = Some(error);
        }
        Err(_) => {}
    }
}

/// Those who tell others.
pub(super) struct NotifyServices {
    webhooks: Webhooks,
    alerts: AlertService,
    republishing: Option<Republishing>,
    metrics: Metrics,
}

/// How much less of the processor the thread of [`NotifyServices`] gets where others want it, as for `nice`: nobody waits
/// for a delivery within milliseconds, as one does for a lookup.
const NICENESS: i32 = 10;

impl NotifyServices {
    /// Runs webhooks, alert rules and republishing until `shutdown`, on a thread and a runtime of their own, so that ten thousand
    /// deliveries a second do not keep lookups waiting. The receiver resolves once all have ended.
    pub fn spawn(self, shutdown: CancellationToken) -> Result<oneshot::Receiver<()>, ServeError> {
        spawn_with_runtime("notify", move |runtime, ended| {
            // On Linux this is the thread alone, and those that it starts. Where it is refused, deliveries compete with lookups.
            if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
                tracing::debug!(%error, "deliveries run at the priority of lookups");
            }
            runtime.block_on(self.run(shutdown));
            // The receiver is gone only if the whole service is.
            let _ = ended.send(());
        })
    }

    async fn run(self, shutdown: CancellationToken) {
        let Self { webhooks, alerts, republishing, metrics } = self;
        let [of_webhooks, of_alerts, of_republishing] =
            ["webhooks", "alerts", "republish"].map(|part| Repeat::new(part, &metrics, &shutdown));
        let webhooks = tokio::spawn(async move { of_webhooks.run(|shutdown| webhooks.run(shutdown)).await });
        let alerts = tokio::spawn(async move { of_alerts.run(|shutdown| alerts.run(shutdown)).await });
        let republishing = republishing.map(|republishing| {
            tokio::spawn(async move { of_republishing.run(|shutdown| republishing.run(shutdown)).await })
        });
        // None of them fails: what it runs does, and begins anew.
        let _ = tokio::join!(webhooks, alerts, OptionFuture::from(republishing));
    }
}

impl NotifyReceivers {
    /// Those who tell others, by these settings.
    pub fn services(
        self,
        metrics: NotifyMetrics,
        writer: &Writer,
        api: &Arc<dyn Api>,
        parts: &ApiParts,
    ) -> NotifyServices {
        let webhooks = self.webhooks(metrics.webhooks, writer, api, parts);
        let republishing = self.republish.clone();
        let republishing =
            republishing.map(|settings| Republishing::new(settings, metrics.republish, writer, api));
        let alerts = self.alerts(metrics.alerts, writer, parts);
        NotifyServices { webhooks, alerts, republishing, metrics: writer.metrics.clone() }
    }

    /// The deliveries to the endpoints; messages show devices as the API does.
    fn webhooks(
        &self,
        metrics: WebhookMetrics,
        writer: &Writer,
        api: &Arc<dyn Api>,
        parts: &ApiParts,
    ) -> Webhooks {
        let (api, desk) = (Arc::clone(api), parts.webhooks.clone());
        Webhooks {
            endpoints: self.endpoints.clone(),
            store: Arc::clone(&writer.store),
            log: match &writer.settings.location {
                Location::Valkey(_) => ChangeLog::Feed,
                Location::Memory | Location::Sqlite(_) | Location::Postgres(_) => ChangeLog::History,
            },
            tail: HistoryTail::default(),
            store_outlives: writer.good == StoreHealth::Good,
            is_shared: writer.settings.location.is_shared(),
            registry: Arc::clone(&writer.registry),
            feed: Arc::clone(&writer.feed),
            source: source_of(parts),
            describe: Arc::new(move |device, previous, refusal| api.change_data(device, previous, refusal)),
            metrics,
            desk,
            leases: Leases::default(),
            store_log: OnceAMinute::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The evaluation of the rules.
    fn alerts(self, metrics: AlertMetrics, writer: &Writer, parts: &ApiParts) -> AlertService {
        AlertService {
            rules: self.rules,
            endpoints: self.endpoints,
            registry: Arc::clone(&writer.registry),
            feed: Arc::clone(&writer.feed),
            health: Arc::clone(&writer.health),
            holder: Arc::new(LeaseHolder::new(Arc::clone(&writer.store))),
            source: source_of(parts).into(),
            metrics,
            desk: parts.alerts.clone(),
            webhooks: parts.webhooks.clone(),
        }
    }
}

/// The metrics of those who tell others.
#[derive(Default)]
pub(super) struct NotifyMetrics {
    webhooks: WebhookMetrics,
    alerts: AlertMetrics,
    republish: RepublishMetrics,
}

/// The metrics of all parts; some are still to be handed to their parts.
pub(super) fn register(metrics: &Metrics) -> (Registry, NotifyMetrics) {
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let notify = NotifyMetrics::default();
    notify.webhooks.register(&mut registry);
    notify.alerts.register(&mut registry);
    notify.republish.register(&mut registry);
    (registry, notify)
}

/// Where CloudEvents come from, as a URI.
fn source_of(parts: &ApiParts) -> String {
    format!("urn:devstatus:{}", utf8_percent_encode(&parts.organization, NON_ALPHANUMERIC))
}
