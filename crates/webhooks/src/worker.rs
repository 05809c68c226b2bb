//! One worker for each endpoint: reads on in the history, sends what the endpoint wants, in order per device, and keeps the
//! position once everything up to it was taken.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use presence::Status;
use presence::history::{HistoryPosition, StoredEvent};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer::{Failure, RETRY_FIRST, RETRY_LONGEST};
use crate::client::{Client, OpenConnection};
use crate::kept::KeptState;
use crate::message::{self, Message};
use crate::metrics::{EndpointMetrics, WebhookMetrics};
use crate::settings::EndpointSettings;
use crate::states::DeviceStates;
use server::feed::Feed;
use server::feed::resume::{GapReason, HistoryTail};
use server::registry::{DeviceRegistry, Snapshot};
use store::{Store, StoreError, WebhookState};
use system::backoff::Backoff;
use system::clock;

/// Events that are read at once. What they make is in memory until the endpoint has taken all of it: two megabytes at most, as
/// a device is shown in less than 8 KiB.
const PAGE_EVENTS: usize = 256;

/// Messages under way at once. Those of one device share a queue, so they stay in order.
const QUEUES: usize = 8;

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
        let mut queues = Vec::new();
        queues.resize_with(QUEUES, DeviceQueue::default);
        let worker = Worker {
            all: self,
            endpoint,
            client,
            metrics,
            queues,
            states: DeviceStates::default(),
            backoff: Backoff::between(RETRY_FIRST, RETRY_LONGEST),
            kept_at: Instant::now(),
        };
        worker.run(kept).await;
    }

    async fn wait_for_store(&self, error: &StoreError) {
        tracing::warn!(%error, "webhooks wait for the store");
        sleep(STORE_RETRY).await;
    }
}

/// The messages of some devices, and the connection that they take.
#[derive(Default)]
struct DeviceQueue {
    waiting: VecDeque<Message>,
    connection: Option<OpenConnection>,
}

struct Worker<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    client: Client,
    metrics: EndpointMetrics,
    queues: Vec<DeviceQueue>,
    states: DeviceStates,
    backoff: Backoff,
    kept_at: Instant,
}

/// The endpoint wants nothing any more.
struct Gone;

impl Worker<'_> {
    async fn run(mut self, kept: Option<KeptState>) {
        if kept.as_ref().is_some_and(|kept| kept.is_gone(&self.endpoint.url)) {
            tracing::warn!(endpoint = %self.endpoint.name, "a webhook is disabled: its endpoint has answered 410 Gone");
            self.metrics.disabled.set(1);
            return;
        }
        let (mut tail, is_known) = self.begin(kept).await;
        if !is_known
            && !self.all.store_outlives
            && self.tell_gap(&mut tail, GapReason::NotLogged).await.is_err()
        {
            return;
        }
        let mut grown = self.all.feed.history_grown();
        while let Ok(has_more) = self.step(&mut tail).await {
            if !has_more {
                // The feed lives as long as this; without a sign it is looked at all the same.
                let _ = timeout(POLL_INTERVAL, changed(&mut grown)).await;
            }
        }
    }

    /// Where the endpoint goes on: where it was, or, if it is new, at the end of the history.
    async fn begin(&mut self, kept: Option<KeptState>) -> (HistoryTail, bool) {
        if let Some(position) = kept.and_then(|kept| kept.position()) {
            return (HistoryTail::after(position), true);
        }
        let newest = self.newest().await;
        self.keep(KeptState::at(newest)).await;
        (HistoryTail::after(newest), false)
    }

    async fn newest(&self) -> HistoryPosition {
        loop {
            match self.all.store.events(HistoryPosition::BEGINNING, 0).await {
                Ok(page) => return page.map_or(HistoryPosition::BEGINNING, |page| page.newest),
                Err(error) => self.all.wait_for_store(&error).await,
            }
        }
    }

    /// Delivers the next page; says whether there was one.
    async fn step(&mut self, tail: &mut HistoryTail) -> Result<bool, Gone> {
        let (before, newest) = (tail.position(), self.all.store.events(tail.position(), PAGE_EVENTS).await);
        let page = match newest {
            Ok(page) => page,
            Err(error) => {
                self.all.wait_for_store(&error).await;
                return Ok(true);
            }
        };
        let events = match tail.take_page(page) {
            Ok(events) => events,
            Err(reason) => {
                self.tell_gap(tail, reason).await?;
                return Ok(true);
            }
        };
        let has_more = events.len() >= PAGE_EVENTS;
        let messages = self.messages(&events).await;
        let has_sent = !messages.is_empty();
        for message in messages {
            let queue = usize::try_from(message.order % QUEUES as u64).unwrap_or(0);
            self.queues[queue].waiting.push_back(message);
        }
        self.deliver(before).await?;
        let is_due = self.kept_at.elapsed() >= IDLE_KEEP_INTERVAL;
        if tail.position() != before && (has_sent || is_due) {
            self.keep(KeptState::at(tail.position())).await;
        }
        Ok(has_more)
    }

    /// What the endpoint wants of a page.
    async fn messages(&mut self, events: &[StoredEvent]) -> Vec<Message> {
        let mut messages = Vec::new();
        for entry in events {
            let change = loop {
                match self.states.change(entry, &*self.all.store, &self.all.registry).await {
                    Ok(change) => break change,
                    Err(error) => self.all.wait_for_store(&error).await,
                }
            };
            let Some(change) = change else { continue };
            let device = &change.device;
            if !self.endpoint.wants(message::event_type(device.status))
                || !self.endpoint.selector.admits(device)
            {
                continue;
            }
            let received_ms = i64::from(entry.row.received_at.0) * 1_000;
            let at_millis =
                device.event.time.nanos().map_or(received_ms, |nanos| nanos.div_euclid(1_000_000));
            let data = (self.all.describe)(device, change.previous);
            let id = message::id_of(entry);
            messages.push(Message::of_change(id, device.device(), device.status, at_millis, &data));
        }
        messages
    }

    /// Says once that the history does not tell of everything, and goes on at its end.
    async fn tell_gap(&mut self, tail: &mut HistoryTail, reason: GapReason) -> Result<(), Gone> {
        let (before, newest) = (tail.position(), self.newest().await);
        tracing::warn!(endpoint = %self.endpoint.name, ?reason, "a webhook has missed changes: it receives fleet.gap");
        self.states = DeviceStates::default();
        self.queues[0].waiting.push_back(Message::of_gap(before, reason, clock::now_millis()));
        self.deliver(before).await?;
        self.metrics.gaps.inc();
        *tail = HistoryTail::after(newest);
        self.keep(KeptState::at(newest)).await;
        Ok(())
    }

    /// Sends what waits in the queues until all of it is taken.
    async fn deliver(&mut self, before: HistoryPosition) -> Result<(), Gone> {
        let mut is_failing = false;
        while self.queues.iter().any(|queue| !queue.waiting.is_empty()) {
            // An endpoint that fails is tried with one message, not with eight at once.
            let most = if is_failing { 1 } else { usize::MAX };
            let Err(failure) = self.round(most).await else {
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
                self.keep(KeptState::gone(before, &self.endpoint.url)).await;
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

    /// Sends the messages of each queue one after the other, of at most so many queues at once, until one fails.
    async fn round(&mut self, most_queues: usize) -> Result<(), Failure> {
        let (client, metrics, has_failed) = (&self.client, &self.metrics, &AtomicBool::new(false));
        let most_messages = if most_queues == 1 { 1 } else { usize::MAX };
        let queues = self.queues.iter_mut().filter(|queue| !queue.waiting.is_empty()).take(most_queues);
        let sent = queues.map(|queue| async move {
            for _ in 0..most_messages {
                let Some(message) = queue.waiting.front() else { break };
                if has_failed.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(failure) = client.post(&mut queue.connection, message).await {
                    has_failed.store(true, Ordering::Relaxed);
                    metrics.failed.inc();
                    return Err(failure);
                }
                metrics.delivered.inc();
                queue.waiting.pop_front();
            }
            Ok(())
        });
        join_all(sent).await.into_iter().collect()
    }

    async fn keep(&mut self, state: KeptState) {
        while let Err(error) = self.all.store.set_webhook_state(&self.endpoint.name, Some(state.text())).await
        {
            self.all.wait_for_store(&error).await;
        }
        self.kept_at = Instant::now();
    }
}

async fn changed(grown: &mut watch::Receiver<()>) {
    if grown.changed().await.is_err() {
        std::future::pending().await
    }
}
