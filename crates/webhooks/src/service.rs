//! All endpoints: one worker for each, anew whenever their settings change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use presence::Status;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::dead_letters::DeadLetters;
use crate::desk::{EndpointState, EndpointView, Orders, WebhookDesk};
use crate::kept::KeptState;
use crate::message::Message;
use crate::metrics::WebhookMetrics;
use crate::settings::EndpointSettings;
use crate::states::Change;
use crate::worker::Worker;
use server::feed::Feed;
use server::registry::{DeviceRegistry, Snapshot};
use store::{Store, StoreError, WebhookState};

/// A store that fails is asked again after this.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Before the name of an endpoint in the name under which its dead letters are kept; no endpoint has a slash in its name.
const DEAD_LETTERS: &str = "dead/";

/// Shows a device as the API does, with the status before.
pub type Describe = Arc<dyn Fn(&Snapshot, Option<Status>) -> Box<RawValue> + Send + Sync>;

/// All endpoints, and what they read from.
pub struct Webhooks {
    /// They may be replaced at any time.
    pub endpoints: watch::Receiver<Vec<EndpointSettings>>,
    pub store: Arc<dyn Store>,
    /// Whether the store outlives the process: else nobody knows what an endpoint has missed since it last received something.
    pub store_outlives: bool,
    pub registry: Arc<DeviceRegistry>,
    pub feed: Arc<Feed>,
    pub describe: Describe,
    pub metrics: WebhookMetrics,
    pub desk: WebhookDesk,
}

/// What the store keeps of an endpoint.
#[derive(Default)]
pub struct Kept {
    pub state: Option<KeptState>,
    pub dead_letters: DeadLetters,
}

impl Webhooks {
    /// Delivers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut changed = self.endpoints.clone();
        loop {
            let endpoints = changed.borrow_and_update().clone();
            tokio::select! {
                () = shutdown.cancelled() => break,
                // What is under way is broken off, and comes again with the same id.
                Ok(()) = changed.changed() => {}
                () = self.deliver(&endpoints) => shutdown.cancelled().await,
            }
        }
    }

    async fn deliver(&self, endpoints: &[EndpointSettings]) {
        let views = endpoints.iter().map(|endpoint| (endpoint.name.clone(), view(endpoint)));
        let orders = self.desk.open(views);
        let mut kept = self.kept(endpoints).await;
        let workers = endpoints.iter().zip(orders).map(|(endpoint, orders)| {
            let kept = kept.remove(&endpoint.name).unwrap_or_default();
            self.work(endpoint, kept, orders)
        });
        join_all(workers).await;
    }

    async fn work(&self, endpoint: &EndpointSettings, kept: Kept, orders: Orders) {
        match Client::new(endpoint.clone()) {
            Ok(client) => {
                Worker::new(self, endpoint, client, orders, kept.dead_letters).run(kept.state).await
            }
            Err(error) => {
                tracing::error!(endpoint = %endpoint.name, %error, "a webhook cannot be delivered");
                self.metrics.of(&endpoint.name).failing.set(1);
                orders.desk.set_state(EndpointState::Broken);
            }
        }
    }

    /// What the store keeps of the endpoints; what it keeps of others is dropped.
    async fn kept(&self, endpoints: &[EndpointSettings]) -> BTreeMap<String, Kept> {
        let names: BTreeSet<&str> = endpoints.iter().map(|endpoint| &*endpoint.name).collect();
        let states = loop {
            match self.store.webhook_states().await {
                Ok(states) => break states,
                Err(error) => self.wait_for_store(&error).await,
            }
        };
        let mut all = BTreeMap::<String, Kept>::new();
        for WebhookState { name, state } in states {
            let (of, is_dead) = match name.strip_prefix(DEAD_LETTERS) {
                Some(of) => (of, true),
                None => (&*name, false),
            };
            if !names.contains(of) {
                tracing::info!(endpoint = %of, "a webhook is no longer in the settings: its position is dropped");
                self.set_state(&name, None).await;
                continue;
            }
            let kept = all.entry(of.to_owned()).or_default();
            if is_dead {
                kept.dead_letters = DeadLetters::parse(&state).unwrap_or_default();
            } else {
                kept.state = KeptState::parse(&state);
            }
        }
        all
    }

    pub(crate) async fn keep(&self, endpoint: &str, state: &KeptState) {
        self.set_state(endpoint, Some(state.text())).await;
    }

    pub(crate) async fn keep_dead_letters(&self, endpoint: &str, letters: &DeadLetters) {
        self.set_state(&format!("{DEAD_LETTERS}{endpoint}"), Some(letters.text())).await;
    }

    async fn set_state(&self, name: &str, state: Option<String>) {
        while let Err(error) = self.store.set_webhook_state(name, state.clone()).await {
            self.wait_for_store(&error).await;
        }
    }

    pub(crate) async fn wait_for_store(&self, error: &StoreError) {
        tracing::warn!(%error, "webhooks wait for the store");
        sleep(STORE_RETRY).await;
    }

    /// What an endpoint is told of a change.
    pub(crate) fn message_of(&self, change: &Change) -> Message {
        let device = &change.device;
        let received_ms = i64::from(device.received_at.0) * 1_000;
        let at_millis = device.event.time.nanos().map_or(received_ms, |nanos| nanos.div_euclid(1_000_000));
        let data = (self.describe)(device, change.previous);
        Message::of_change(change.id.clone(), device.device(), device.status, at_millis, &data)
    }
}

fn view(endpoint: &EndpointSettings) -> EndpointView {
    EndpointView {
        address: endpoint.url.address(),
        mode: endpoint.mode.word(),
        settle_s: endpoint.settle.as_secs(),
        ..EndpointView::default()
    }
}
