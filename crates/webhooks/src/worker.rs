//! One worker for each endpoint: reads on in the history, sends what the endpoint wants, in order per device, and keeps the
//! position once everything up to it was taken.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use presence::Status;
use presence::history::HistoryPosition;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer::{Failure, RETRY_FIRST, RETRY_LONGEST};
use crate::client::Client;
use crate::kept::KeptState;
use crate::message::Message;
use crate::metrics::{EndpointMetrics, WebhookMetrics};
use crate::settings::EndpointSettings;
use crate::states::Change;
use crate::outbox::{Item, Outbox, Round};
use crate::reader::{Found, HistoryReader};
use server::feed::Feed;
use server::feed::resume::GapReason;
use server::registry::{DeviceRegistry, Snapshot};
use store::{Store, StoreError, WebhookState};
use system::backoff::Backoff;
use system::clock;

/// The history is looked at this often even if nobody says that it has grown.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// A position is kept this often where nothing was sent: whoever goes on from an older one reads more and sends the same.
const IDLE_KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// A store that fails is asked again after this.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// Shows a device as the API does, with the status before.
pub type Describe = Arc<dyn Fn(&Snapshot, Option<Status>) -> Box<RawValue> + Send + Sync>;

/// All endpoints, and what they read from.
pub struct Webhooks {
    pub endpoints: Vec<EndpointSettings>,
    pub store: Arc<dyn Store>,
    /// Whether the store outlives the process: else nobody knows what an endpoint has missed since it last received something.
    pub store_outlives: bool,
    pub registry: Arc<DeviceRegistry>,
    pub feed: Arc<Feed>,
    pub describe: Describe,
    pub metrics: WebhookMetrics,
}

impl Webhooks {
    /// Delivers until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let names: BTreeSet<&str> = self.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
        let deliver = async {
            let kept = self.kept_states(&names).await;
            let workers = self.endpoints.iter().map(|endpoint| {
                let kept = kept.iter().find(|kept| *kept.name == *endpoint.name);
                self.worker(endpoint, kept.and_then(|kept| KeptState::parse(&kept.state)))
            });
            join_all(workers).await;
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = deliver => shutdown.cancelled().await,
        }
    }

    /// What the store keeps of the endpoints; what it keeps of others is dropped.
    async fn kept_states(&self, names: &BTreeSet<&str>) -> Vec<WebhookState> {
        let kept = loop {
            match self.store.webhook_states().await {
                Ok(kept) => break kept,
                Err(error) => self.wait_for_store(&error).await,
            }
        };
        for WebhookState { name, .. } in kept.iter().filter(|kept| !names.contains(&*kept.name)) {
            tracing::info!(endpoint = %name, "a webhook is no longer in the settings: its position is dropped");
            while let Err(error) = self.store.set_webhook_state(name, None).await {
                self.wait_for_store(&error).await;
            }
        }
        kept
    }

    async fn worker(&self, endpoint: &EndpointSettings, kept: Option<KeptState>) {
        let metrics = self.metrics.of(&endpoint.name);
        let client = match Client::new(endpoint.clone()) {
            Ok(client) => client,
            Err(error) => {
                tracing::error!(endpoint = %endpoint.name, %error, "a webhook cannot be delivered");
                metrics.failing.set(1);
                return;
            }
        };
        let outbox = Outbox::new(self, endpoint, client, metrics.clone());
        let worker = Worker {
            all: self,
            endpoint,
            metrics,
            outbox,
            backoff: Backoff::between(RETRY_FIRST, RETRY_LONGEST),
            kept_at: Instant::now(),
        };
        worker.run(kept).await;
    }

    pub(crate) async fn wait_for_store(&self, error: &StoreError) {
        tracing::warn!(%error, "webhooks wait for the store");
        sleep(STORE_RETRY).await;
    }
}

struct Worker<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    metrics: EndpointMetrics,
    outbox: Outbox<'a>,
    backoff: Backoff,
    kept_at: Instant,
}

/// The endpoint wants nothing any more.
struct Gone;

impl<'a> Worker<'a> {
    async fn run(mut self, kept: Option<KeptState>) {
        if kept.as_ref().is_some_and(|kept| kept.is_gone(&self.endpoint.url)) {
            tracing::warn!(endpoint = %self.endpoint.name, "a webhook is disabled: its endpoint has answered 410 Gone");
            self.metrics.disabled.set(1);
            return;
        }
        let (mut reader, is_known) = self.begin(kept).await;
        if !is_known
            && !self.all.store_outlives
            && self.tell_gap(&mut reader, GapReason::NotLogged).await.is_err()
        {
            return;
        }
        let mut grown = self.all.feed.history_grown();
        while let Ok(has_more) = self.step(&mut reader).await {
            if !has_more {
                // The feed lives as long as this; without a sign it is looked at all the same.
                let wait = reader.due_in().map_or(POLL_INTERVAL, |due| due.min(POLL_INTERVAL));
                let _ = timeout(wait, changed(&mut grown)).await;
            }
        }
    }

    /// Where the endpoint goes on: where it was, or, if it is new, at the end of the history.
    async fn begin(&mut self, kept: Option<KeptState>) -> (HistoryReader<'a>, bool) {
        if let Some(reader) = kept.and_then(|kept| HistoryReader::resume(self.all, self.endpoint, &kept)) {
            return (reader, true);
        }
        let reader = HistoryReader::new(self.all, self.endpoint, self.newest().await);
        self.keep(reader.kept()).await;
        (reader, false)
    }

    async fn newest(&self) -> HistoryPosition {
        loop {
            match self.all.store.events(HistoryPosition::BEGINNING, 0).await {
                Ok(page) => return page.map_or(HistoryPosition::BEGINNING, |page| page.newest),
                Err(error) => self.all.wait_for_store(&error).await,
            }
        }
    }

    /// Delivers the next page; says whether there may be more.
    async fn step(&mut self, reader: &mut HistoryReader<'a>) -> Result<bool, Gone> {
        let before = reader.kept();
        let Found { changes, has_more } = match reader.next().await {
            Ok(found) => found,
            Err(reason) => {
                self.tell_gap(reader, reason).await?;
                return Ok(true);
            }
        };
        for change in changes {
            let message = message_of(self.all, &change);
            self.outbox.add(Item { message, change: Some(change) });
        }
        let has_sent = !self.outbox.is_empty();
        self.deliver(&before).await?;
        let is_due = self.kept_at.elapsed() >= IDLE_KEEP_INTERVAL;
        let kept = reader.kept();
        if kept != before && !reader.is_catching_up() && (has_sent || is_due) {
            self.keep(kept).await;
        }
        Ok(has_more)
    }

    /// Says once that the history does not tell of everything, and goes on at its end.
    async fn tell_gap(&mut self, reader: &mut HistoryReader<'a>, reason: GapReason) -> Result<(), Gone> {
        let (before, newest) = (reader.kept(), self.newest().await);
        tracing::warn!(endpoint = %self.endpoint.name, ?reason, "a webhook has missed changes: it receives fleet.gap");
        let message = Message::of_gap(reader.position(), reason, clock::now_millis());
        self.outbox.add(Item { message, change: None });
        self.deliver(&before).await?;
        self.metrics.gaps.inc();
        reader.go_to(newest);
        self.keep(reader.kept()).await;
        Ok(())
    }

    /// Sends what waits in the outbox until all of it is taken.
    async fn deliver(&mut self, before: &KeptState) -> Result<(), Gone> {
        let mut is_failing = false;
        while !self.outbox.is_empty() {
            let round = if is_failing { Round::Probe } else { Round::All };
            let Err(failure) = self.outbox.send(round).await else {
                if std::mem::take(&mut is_failing) {
                    tracing::info!(endpoint = %self.endpoint.name, "a webhook is delivered again");
                }
                self.metrics.failing.set(0);
                self.backoff.reset();
                continue;
            };
            is_failing = true;
            self.metrics.failing.set(1);
            if matches!(failure, Failure::Gone) {
                self.keep(before.gone(&self.endpoint.url)).await;
                self.metrics.disabled.set(1);
                tracing::error!(endpoint = %self.endpoint.name, "a webhook is disabled: its endpoint answers 410 Gone");
                return Err(Gone);
            }
            let wait = self.backoff.wait().max(failure.retry_after().unwrap_or_default());
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(endpoint = %self.endpoint.name, %failure, wait_ms, "a webhook is not delivered and tried again");
            sleep(wait).await;
        }
        Ok(())
    }

    async fn keep(&mut self, state: KeptState) {
        while let Err(error) = self.all.store.set_webhook_state(&self.endpoint.name, Some(state.text())).await
        {
            self.all.wait_for_store(&error).await;
        }
        self.kept_at = Instant::now();
    }
}

/// What an endpoint is told of a change.
pub fn message_of(all: &Webhooks, change: &Change) -> Message {
    let device = &change.device;
    let received_ms = i64::from(device.received_at.0) * 1_000;
    let at_millis = device.event.time.nanos().map_or(received_ms, |nanos| nanos.div_euclid(1_000_000));
    let data = (all.describe)(device, change.previous);
    Message::of_change(change.id.clone(), device.device(), device.status, at_millis, &data)
}

async fn changed(grown: &mut watch::Receiver<()>) {
    if grown.changed().await.is_err() {
        std::future::pending().await
    }
}
