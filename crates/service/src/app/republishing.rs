//! Connects the republishing of statuses with the store's leases and with what the API shows.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use republish::metrics::RepublishMetrics;
use republish::settings::RepublishSettings;
use republish::{Describe, Republisher};
use server::persistence::writer::Writer;
use server::registry::Snapshot;
use serving::api::Api;
use store::Store;
use webhooks::Leases;

/// The lease of the instance that republishes. No webhook has a space in its name.
const LEASE: &str = "mqtt republish";

/// Republishes while this instance holds the lease.
pub(super) struct Republishing {
    republisher: Republisher,
    store: Arc<dyn Store>,
    leases: Leases,
}

/// Shows devices as the API does.
struct ApiTexts(Arc<dyn Api>);

impl Describe for ApiTexts {
    fn device(&self, device: &Snapshot) -> Vec<u8> {
        self.0.retained_device(device)
    }

    fn summary(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        self.0.summary()
    }
}

impl Republishing {
    pub(super) fn new(
        settings: RepublishSettings,
        metrics: RepublishMetrics,
        writer: &Writer,
        api: &Arc<dyn Api>,
    ) -> Self {
        let endpoint = &settings.connect.endpoint;
        if settings.connect.login.is_some() && endpoint.is_readable_by_others() {
            tracing::warn!(
                "the password of [republish] goes to {} without encryption, where others may read it: use mqtts:// or wss://",
                endpoint.host
            );
        }
        let republisher = Republisher {
            settings,
            registry: Arc::clone(&writer.registry),
            feed: Arc::clone(&writer.feed),
            health: Arc::clone(&writer.health),
            describe: Arc::new(ApiTexts(Arc::clone(api))),
            metrics,
        };
        Self { republisher, store: Arc::clone(&writer.store), leases: Leases::default() }
    }

    pub(super) async fn run(&self, shutdown: CancellationToken) {
        // What a run that has failed held may be another instance's by now.
        self.leases.end(&*self.store).await;
        tokio::select! {
            () = self.leases.hold(&*self.store, vec![LEASE.to_owned()]) => {}
            () = self.republish(&shutdown) => {}
        }
        self.leases.end(&*self.store).await;
    }

    async fn republish(&self, shutdown: &CancellationToken) {
        while shutdown.run_until_cancelled(self.leases.wait_for(LEASE)).await.is_some() {
            let end = shutdown.child_token();
            let republishing = self.republisher.run(end.clone());
            tokio::pin!(republishing);
            tokio::select! {
                () = &mut republishing => {}
                () = self.leases.wait_for_loss(LEASE) => {
                    tracing::info!("another instance republishes, or the store is away");
                    end.cancel();
                    republishing.await;
                }
            }
        }
    }
}
