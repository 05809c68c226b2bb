//! All endpoints: one worker for each, anew whenever their settings change.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use presence::history::HistoryRow;
use presence::{DeviceName, Status};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::clock::Clock;
use crate::dead_letters::{DeadLetters, EventPlace};
use crate::desk::{EndpointState, EndpointView, Orders, WebhookDesk};
use crate::leases::Leases;
use crate::log::ChangeLog;
use crate::message::{ChangeEvent, Envelope, WebhookMessage};
use crate::metrics::WebhookMetrics;
use crate::progress::EndpointProgress;
use crate::resync::StoredCursor;
use crate::rotation::SecretRotation;
use crate::settings::EndpointSettings;
use crate::states::{EventKey, Occurrence, StateChange};
use crate::tail::HistoryTail;
use crate::worker::Worker;
use server::feed::Feed;
use server::registry::{DeviceRegistry, Snapshot};
use store::{DeliveryState, REPEATS_WITHIN, Store, StoreError};
use system::log_limit::OnceAMinute;

/// A store that fails is asked again after this.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// The certificates to trust are looked for again after this, where there were none.
pub const TLS_RETRY: Duration = Duration::from_secs(60);

/// The prefixes of the names under which the store has an endpoint's dead letters and its cursor; no endpoint has a slash in its
/// name.
const DEAD_LETTERS: &str = "dead/";
const CURSOR: &str = "cursor/";
const SECRET: &str = "secret/";

/// Shows a device as the API does, with the status before, and the refused login that it is told for.
pub type Describe =
    Arc<dyn Fn(&Snapshot, Option<Status>, Option<&HistoryRow>) -> Box<RawValue> + Send + Sync>;

/// All endpoints, and what they read from.
pub struct Webhooks {
    /// They may be replaced at any time.
    pub endpoints: watch::Receiver<Vec<EndpointSettings>>,
    pub store: Arc<dyn Store>,
    /// Where changes are read.
    pub log: ChangeLog,
    /// The newest part of the history, which all endpoints that are up to date share.
    pub tail: HistoryTail,
    /// Whether the store outlives the process. If not, a start does not know what an endpoint has missed.
    pub store_outlives: bool,
    /// Whether other instances deliver from the same store.
    pub is_shared: bool,
    pub registry: Arc<DeviceRegistry>,
    pub feed: Arc<Feed>,
    pub describe: Describe,
    /// Where CloudEvents come from, as a URI.
    pub source: String,
    pub metrics: WebhookMetrics,
    pub desk: WebhookDesk,
    pub leases: Leases,
    /// That they wait for the store.
    pub store_log: OnceAMinute,
    pub clock: Arc<dyn Clock>,
}

/// What the store has of an endpoint.
#[derive(Default)]
pub struct StoredEndpoint {
    pub progress: Option<EndpointProgress>,
    pub dead_letters: DeadLetters,
    pub cursor: Option<StoredCursor>,
    pub rotation: Option<SecretRotation>,
}

/// The secrets that were made for an endpoint and count in place of those in its file; `None`: none were, or the file has
/// changed since.
pub async fn rotation_of(
    store: &dyn Store,
    endpoint: &EndpointSettings,
) -> Result<Option<SecretRotation>, StoreError> {
    let kept = store.delivery_states_of(vec![format!("{SECRET}{}", endpoint.name)]).await?;
    let rotation = kept.first().and_then(|DeliveryState { state, .. }| SecretRotation::parse(state));
    Ok(rotation.filter(|rotation| rotation.is_of(&endpoint.secrets)))
}

impl Webhooks {
    /// Delivers until `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        // What a run that has failed held may be another instance's by now.
        self.leases.end(&*self.store).await;
        let mut changed = self.endpoints.clone();
        loop {
            let endpoints = changed.borrow_and_update().clone();
            tokio::select! {
                () = shutdown.cancelled() => break,
                // Messages under way are broken off, and sent again with the same ids.
                Ok(()) = changed.changed() => {}
                () = self.deliver(&endpoints) => {}
            }
        }
        self.leases.end(&*self.store).await;
    }

    /// Delivers without an end.
    async fn deliver(&self, endpoints: &[EndpointSettings]) {
        let _hold = (self.log == ChangeLog::Feed && !endpoints.is_empty()).then(|| self.feed.hold());
        let views = endpoints.iter().map(|endpoint| (endpoint.name.clone(), view(endpoint)));
        let orders = self.desk.open(views);
        if !self.is_shared {
            self.drop_others(endpoints).await;
        }
        let names = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let workers = endpoints.iter().zip(orders).map(|(endpoint, orders)| self.serve(endpoint, orders));
        tokio::join!(self.leases.hold(&*self.store, names), join_all(workers));
    }

    /// Delivers to an endpoint whenever this instance is the one to do so.
    async fn serve(&self, endpoint: &EndpointSettings, mut orders: Orders) {
        let metrics = self.metrics.of(&endpoint.name);
        loop {
            tokio::select! {
                () = self.leases.wait_for(&endpoint.name) => {
                    tokio::select! {
                        never = self.work(endpoint, &mut orders) => match never {},
                        () = self.leases.wait_for_loss(&endpoint.name) => {}
                    }
                }
                () = self.leases.wait_for_loss(&endpoint.name) => {}
            }
            tracing::info!(endpoint = %endpoint.name, "another instance delivers to a webhook, or the store is away");
            metrics.failing.set(0);
            metrics.disabled.set(0);
            {
                let mut view = orders.desk.view.lock();
                (view.state, view.failing_since_ms) = (EndpointState::Elsewhere, None);
            }
            orders.refuse_until(self.leases.wait_for(&endpoint.name)).await;
        }
    }

    /// Delivers without an end.
    async fn work(&self, endpoint: &EndpointSettings, orders: &mut Orders) -> Infallible {
        let client = loop {
            match Client::new(endpoint.clone()) {
                Ok(client) => break client,
                Err(error) => {
                    tracing::error!(endpoint = %endpoint.name, %error, "a webhook cannot be delivered at present");
                    self.metrics.of(&endpoint.name).failing.set(1);
                    orders.desk.set_state(EndpointState::Broken);
                    orders.refuse_until(self.clock.sleep(TLS_RETRY)).await;
                }
            }
        };
        let stored = self.load(endpoint).await;
        let stored = self.without_secrets_of_another_file(endpoint, stored).await;
        Worker::new(self, endpoint, client, orders, stored).run().await
    }

    /// Reads what the store has of an endpoint.
    async fn load(&self, endpoint: &EndpointSettings) -> StoredEndpoint {
        let names = ["", DEAD_LETTERS, CURSOR, SECRET].map(|prefix| format!("{prefix}{}", endpoint.name));
        let mut stored = StoredEndpoint::default();
        for DeliveryState { name, state } in self.states(Some(names.to_vec())).await {
            if name.strip_prefix(DEAD_LETTERS).is_some_and(|of| of == endpoint.name) {
                stored.dead_letters = DeadLetters::parse(&state).unwrap_or_default();
            } else if name.strip_prefix(CURSOR).is_some_and(|of| of == endpoint.name) {
                stored.cursor = StoredCursor::parse(&state);
            } else if name.strip_prefix(SECRET).is_some_and(|of| of == endpoint.name) {
                stored.rotation = SecretRotation::parse(&state);
            } else if *name == *endpoint.name {
                stored.progress = EndpointProgress::parse(&state);
            }
        }
        stored
    }

    /// Drops the secrets that were made for an endpoint if its file has changed since.
    async fn without_secrets_of_another_file(
        &self,
        endpoint: &EndpointSettings,
        stored: StoredEndpoint,
    ) -> StoredEndpoint {
        if stored.rotation.as_ref().is_none_or(|rotation| rotation.is_of(&endpoint.secrets)) {
            return stored;
        }
        tracing::info!(endpoint = %endpoint.name, "the secret file of a webhook has changed: its secrets count again");
        self.set_state(&endpoint.name, &format!("{SECRET}{}", endpoint.name), None).await;
        StoredEndpoint { rotation: None, ..stored }
    }

    /// What is kept under these names; `None`: under all.
    async fn states(&self, names: Option<Vec<String>>) -> Vec<DeliveryState> {
        loop {
            let read = match &names {
                Some(names) => self.store.delivery_states_of(names.clone()).await,
                None => self.store.delivery_states().await,
            };
            match read {
                Ok(states) => return states,
                Err(error) => self.wait_for_store(&error).await,
            }
        }
    }

    /// Drops what is kept of endpoints that are no longer in the settings. Not for a shared store: another
    /// instance may still have them in its settings.
    async fn drop_others(&self, endpoints: &[EndpointSettings]) {
        let names: BTreeSet<&str> = endpoints.iter().map(|endpoint| &*endpoint.name).collect();
        for DeliveryState { name, .. } in self.states(None).await {
            let prefixes = [DEAD_LETTERS, CURSOR, SECRET];
            let of = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
            // A name with a slash is no endpoint's.
            if !names.contains(of) && !of.contains('/') {
                tracing::info!(endpoint = %of, "a webhook is no longer in the settings: its position is dropped");
                self.set_state(of, &name, None).await;
            }
        }
    }

    pub(crate) async fn save(&self, endpoint: &str, state: &EndpointProgress) {
        self.set_state(endpoint, endpoint, Some(state.text())).await;
    }

    pub(crate) async fn save_dead_letters(&self, endpoint: &str, letters: &DeadLetters) {
        self.set_state(endpoint, &format!("{DEAD_LETTERS}{endpoint}"), Some(letters.text())).await;
    }

    pub(crate) async fn save_rotation(&self, endpoint: &str, rotation: &SecretRotation) {
        self.set_state(endpoint, &format!("{SECRET}{endpoint}"), Some(rotation.text())).await;
    }

    pub(crate) async fn save_cursor(&self, endpoint: &str, cursor: &StoredCursor) {
        self.set_state(endpoint, &format!("{CURSOR}{endpoint}"), Some(cursor.text())).await;
    }

    /// Where the event of a change is in the history of its device; `None`: not among the newest there.
    pub(crate) async fn place_of(&self, change: &StateChange) -> Option<EventPlace> {
        let name = DeviceName::of(change.device.device());
        let sequence = match change.sequence {
            Some(sequence) => sequence,
            None => {
                let rows = loop {
                    match self.store.history(name.clone(), None, REPEATS_WITHIN).await {
                        Ok(rows) => break rows,
                        Err(error) => self.wait_for_store(&error).await,
                    }
                };
                let is_it =
                    |row: &&HistoryRow| EventKey::of(&row.event) == EventKey::of(&change.device.event);
                rows.iter().find(is_it)?.sequence
            }
        };
        Some(EventPlace { device_type: name.device_type.to_string(), id: name.id.to_string(), sequence })
    }

    /// Writes or drops a state; does not return if another instance has taken over.
    async fn set_state(&self, endpoint: &str, name: &str, state: Option<String>) {
        loop {
            match self.store.set_delivery_state(&self.leases.of(endpoint), name, state.clone()).await {
                Ok(true) => return,
                Ok(false) => {
                    self.leases.lose(endpoint);
                    pending::<()>().await;
                }
                Err(error) => self.wait_for_store(&error).await,
            }
        }
    }

    pub(crate) async fn wait_for_store(&self, error: &StoreError) {
        if let Some(times) = self.store_log.pass(Instant::now()) {
            tracing::warn!(%error, times, "webhooks wait for the store");
        }
        self.clock.sleep(STORE_RETRY).await;
    }

    /// The form of the messages of an endpoint.
    pub(crate) fn envelope<'a>(&'a self, endpoint: &'a EndpointSettings) -> Envelope<'a> {
        Envelope::of(endpoint, &self.source)
    }

    /// The message about a change, in the form that the endpoint has chosen.
    pub(crate) fn message_of(&self, endpoint: &EndpointSettings, change: &StateChange) -> WebhookMessage {
        let device = &change.device;
        let received_ms = i64::from(device.received_at.0) * 1_000;
        let at_millis = change.time().nanos().map_or(received_ms, |nanos| nanos.div_euclid(1_000_000));
        let refusal = match &change.what {
            Occurrence::Refused(row) => Some(&**row),
            Occurrence::Changed | Occurrence::FirstSeen(_) => None,
        };
        let data = (self.describe)(device, change.previous, refusal);
        let (id, event_type, position) = (change.id.clone(), change.event_type(), change.position);
        let event = ChangeEvent { id, device: device.device(), event_type, at_millis, position, data: &data };
        WebhookMessage::of_change(self.envelope(endpoint), event)
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
