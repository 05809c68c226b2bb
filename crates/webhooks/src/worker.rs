//! One worker for each endpoint: sends the changes that the reader finds, in order per device, and saves the position once
//! the endpoint has accepted everything up to it, or the worker has given it up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use presence::UnixSeconds;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::answer::{Failure, RETRY_FIRST, RETRY_LONGEST};
use crate::client::Client;
use crate::dead_letters::{DeadLetter, DeadLetters, EventPlace};
use crate::desk::{EndpointDesk, EndpointState, Orders, PendingOrder};
use crate::message::Message;
use crate::metrics::EndpointMetrics;
use crate::orders::NextStep;
use crate::outbox::{Item, Outbox, Round, RoundResult};
use crate::progress::{Disabled, EndpointProgress};
use crate::reader::{ChangePage, HistoryReader, newest};
use crate::service::Webhooks;
use crate::settings::EndpointSettings;
use server::feed::resume::GapReason;
use system::backoff::Backoff;
use system::clock;

/// The worker reads the history this often even without a notification that it has grown.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// While nothing is sent, the position is saved this often. A restart from an older one reads more and sends the same.
const IDLE_SAVE_INTERVAL: Duration = Duration::from_secs(10);

/// An endpoint of which every attempt has failed for so long is disabled.
const GIVEN_UP_AFTER_MS: i64 = 5 * 24 * 3_600_000;

/// The time since when an endpoint fails is saved once it is so long ago, so that a restart does not count anew.
const SAVE_FAILING_AFTER_MS: i64 = 60_000;

pub struct Worker<'a> {
    pub all: &'a Webhooks,
    pub endpoint: &'a EndpointSettings,
    pub outbox: Outbox<'a>,
    pub orders: &'a mut Orders,
    pub desk: Arc<EndpointDesk>,
    pub dead_letters: DeadLetters,
    metrics: EndpointMetrics,
    backoff: Backoff,
    failing_since_ms: Option<i64>,
    saved: Option<EndpointProgress>,
    saved_at: Instant,
}

/// Why a worker stops reading on.
enum StopReason {
    Disabled(EndpointProgress, Disabled),
    /// An administrator asked for everything from that time on.
    Reread(UnixSeconds),
}

impl<'a> Worker<'a> {
    pub fn new(
        all: &'a Webhooks,
        endpoint: &'a EndpointSettings,
        client: Client,
        orders: &'a mut Orders,
        dead_letters: DeadLetters,
    ) -> Self {
        let (metrics, desk) = (all.metrics.of(&endpoint.name), Arc::clone(&orders.desk));
        Self {
            all,
            endpoint,
            outbox: Outbox::new(all, endpoint, client, metrics.clone(), Arc::clone(&desk)),
            orders,
            desk,
            dead_letters,
            metrics,
            backoff: Backoff::between(RETRY_FIRST, RETRY_LONGEST),
            failing_since_ms: None,
            saved: None,
            saved_at: Instant::now(),
        }
    }

    pub async fn run(mut self, mut progress: Option<EndpointProgress>) {
        self.show_dead_letters();
        let mut since = None;
        loop {
            if let Some(state) = &progress
                && let Some(why) = state.why_disabled(&self.endpoint.url)
            {
                self.note_disabled(why);
                since = self.wait_until_enabled().await;
                let enabled = state.enabled();
                self.save(enabled.clone()).await;
                progress = Some(enabled);
            }
            self.metrics.disabled.set(0);
            self.failing_since_ms = progress.as_ref().and_then(EndpointProgress::failing_since_ms);
            let mut reader = self.begin(progress).await;
            if let Some(since) = since.take() {
                self.reread(&mut reader, since).await;
            }
            progress = Some(self.follow(&mut reader).await);
        }
    }

    /// Delivers until the endpoint is disabled; returns its progress then.
    async fn follow(&mut self, reader: &mut HistoryReader<'a>) -> EndpointProgress {
        self.desk.set_state(EndpointState::Delivering);
        let mut grown = self.all.feed.history_grown();
        loop {
            let stopped = match self.step(reader).await {
                Ok(true) => continue,
                Ok(false) => {
                    // The feed lives as long as this; without a notification the history is read all the same.
                    let wait = reader.due_in().map_or(POLL_INTERVAL, |due| due.min(POLL_INTERVAL));
                    let pending = tokio::select! {
                        _ = timeout(wait, changed(&mut grown)) => continue,
                        pending = self.orders.next() => pending,
                    };
                    match self.carry_out(pending).await {
                        NextStep::GoOn | NextStep::Retry => continue,
                        NextStep::Reread(since) => StopReason::Reread(since),
                    }
                }
                Err(stopped) => stopped,
            };
            match stopped {
                StopReason::Disabled(progress, why) => {
                    self.outbox.clear();
                    let progress = progress.disabled(why, &self.endpoint.url);
                    self.save(progress.clone()).await;
                    return progress;
                }
                StopReason::Reread(since) => self.reread(reader, since).await,
            }
        }
    }

    /// Begins where the endpoint was, or, if it is new, at the end of the history.
    async fn begin(&mut self, progress: Option<EndpointProgress>) -> HistoryReader<'a> {
        if let Some(reader) =
            progress.and_then(|progress| HistoryReader::resume(self.all, self.endpoint, &progress))
        {
            return reader;
        }
        let mut reader = HistoryReader::new(self.all, self.endpoint, newest(self.all).await);
        self.save(reader.progress()).await;
        if !self.all.store_outlives {
            reader.note_gap(GapReason::NotLogged);
        }
        reader
    }

    /// Delivers the next page; says whether there may be more.
    async fn step(&mut self, reader: &mut HistoryReader<'a>) -> Result<bool, StopReason> {
        let before = reader.progress();
        let ChangePage { changes, has_more } = match reader.next().await {
            Ok(found) => found,
            Err(reason) => {
                self.send_gap(reader, reason).await?;
                return Ok(true);
            }
        };
        for change in changes {
            self.outbox.add(Item::new(self.all.message_of(self.endpoint, &change), Some(change)));
        }
        let has_sent = !self.outbox.is_empty();
        self.deliver(&before).await?;
        let is_due = self.saved_at.elapsed() >= IDLE_SAVE_INTERVAL;
        let progress = reader.progress();
        if self.saved.as_ref() != Some(&progress) && !reader.is_catching_up() && (has_sent || is_due) {
            self.save(progress).await;
        }
        Ok(has_more)
    }

    /// Sends one `fleet.gap`, because the history does not have every change, and continues at its end.
    async fn send_gap(
        &mut self,
        reader: &mut HistoryReader<'a>,
        reason: GapReason,
    ) -> Result<(), StopReason> {
        let (before, newest) = (reader.progress(), newest(self.all).await);
        tracing::warn!(endpoint = %self.endpoint.name, ?reason, "a webhook has missed changes: it receives fleet.gap");
        let message =
            Message::of_gap(self.all.envelope(self.endpoint), reader.position(), reason, clock::now_millis());
        self.outbox.add(Item::new(message, None));
        self.deliver(&before).await?;
        self.metrics.gaps.inc();
        reader.go_to(newest);
        self.save(reader.progress()).await;
        Ok(())
    }

    /// Sends the messages in the outbox until the endpoint has accepted each, or it is given up.
    async fn deliver(&mut self, before: &EndpointProgress) -> Result<(), StopReason> {
        let mut round = Round::All;
        while !self.outbox.is_empty() {
            let RoundResult { delivered, dead, failure } = self.outbox.send(round).await;
            if delivered > 0 {
                self.note_delivered();
            }
            if !dead.is_empty() {
                self.give_up(dead, failure.as_ref()).await;
            }
            let Some(failure) = failure else {
                round = Round::All;
                continue;
            };
            // An endpoint that rejects one message takes others.
            round = if failure.is_rejection() { Round::All } else { Round::Probe };
            self.wait_after(&failure, before).await?;
        }
        Ok(())
    }

    fn note_delivered(&mut self) {
        if self.failing_since_ms.take().is_some() {
            tracing::info!(endpoint = %self.endpoint.name, "a webhook is delivered again");
            self.desk.view.lock().failing_since_ms = None;
        }
        self.desk.set_state(EndpointState::Delivering);
        self.metrics.failing.set(0);
        self.backoff.reset();
    }

    /// Waits until the next attempt, or until an order ends the wait.
    async fn wait_after(&mut self, failure: &Failure, before: &EndpointProgress) -> Result<(), StopReason> {
        let now_ms = clock::now_millis();
        let since_ms = *self.failing_since_ms.get_or_insert(now_ms);
        self.metrics.failing.set(1);
        self.desk.view.lock().failing_since_ms = Some(since_ms);
        self.desk.set_state(EndpointState::Failing);
        if matches!(failure, Failure::Gone) {
            return Err(StopReason::Disabled(before.clone(), Disabled::Gone));
        }
        let failing_ms = now_ms.saturating_sub(since_ms);
        if failing_ms >= GIVEN_UP_AFTER_MS {
            return Err(StopReason::Disabled(before.clone(), Disabled::GivenUp));
        }
        let failing = before.failing_since(Some(since_ms));
        if failing_ms >= SAVE_FAILING_AFTER_MS && self.saved.as_ref() != Some(&failing) {
            self.save(failing).await;
        }
        let wait = self.backoff.wait().max(failure.retry_after().unwrap_or_default());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(endpoint = %self.endpoint.name, %failure, wait_ms, "a webhook is not delivered and tried again");
        let until = Instant::now() + wait;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let pending: PendingOrder = tokio::select! {
                () = sleep(left) => return Ok(()),
                pending = self.orders.next() => pending,
            };
            match self.carry_out(pending).await {
                NextStep::GoOn => {}
                NextStep::Retry => return Ok(()),
                NextStep::Reread(since) => return Err(StopReason::Reread(since)),
            }
        }
    }

    /// Makes dead letters of messages that the endpoint rejects.
    async fn give_up(&mut self, dead: Vec<Item>, failure: Option<&Failure>) {
        let why = failure.map(ToString::to_string).unwrap_or_default();
        for Item { message, change, .. } in dead {
            tracing::error!(endpoint = %self.endpoint.name, id = %message.id, why, "a message of a webhook is given up");
            self.metrics.dead_letters.inc();
            let event = change.map(|change| EventPlace {
                device_type: change.device.device_type.to_string(),
                id: change.device.id.to_string(),
                sequence: change.sequence,
            });
            let (id, event_type) = (message.id, message.event_type.to_owned());
            let (at_ms, why) = (clock::now_millis(), why.clone());
            self.dead_letters.add(DeadLetter { id, event_type, event, at_ms, why });
        }
        self.all.save_dead_letters(&self.endpoint.name, &self.dead_letters).await;
        self.show_dead_letters();
    }

    pub fn show_dead_letters(&self) {
        self.desk.view.lock().dead_letters = self.dead_letters.newest_first().cloned().collect();
    }

    fn note_disabled(&self, why: Disabled) {
        let (state, what) = match why {
            Disabled::Gone => (EndpointState::Gone, "its endpoint has answered 410 Gone"),
            Disabled::GivenUp => (EndpointState::GivenUp, "every attempt has failed for five days"),
        };
        tracing::error!(endpoint = %self.endpoint.name, "a webhook is disabled: {what}");
        self.metrics.disabled.set(1);
        self.desk.set_state(state);
    }

    pub async fn save(&mut self, state: EndpointProgress) {
        self.all.save(&self.endpoint.name, &state).await;
        self.desk.view.lock().position = Some(state.after().to_owned());
        self.saved = Some(state);
        self.saved_at = Instant::now();
    }
}

async fn changed(grown: &mut watch::Receiver<()>) {
    if grown.changed().await.is_err() {
        std::future::pending().await
    }
}
