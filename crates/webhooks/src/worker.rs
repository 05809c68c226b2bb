//! One worker for each endpoint: sends the changes that the reader finds, in order per device, and saves the position once
//! the endpoint has accepted everything up to it, or the worker has given it up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use presence::UnixSeconds;

use crate::answer::{Failure, RETRY_FIRST, RETRY_LONGEST};
use crate::client::Client;
use crate::dead_letters::{DeadLetter, DeadLetters};
use crate::desk::{DEAD_LETTERS_SHOWN, EndpointDesk, EndpointState, Orders, PendingOrder};
use crate::failing::{ClockReading, FailingSince};
use crate::log::ChangeLog;
use crate::message::{FleetGap, WebhookMessage};
use crate::metrics::EndpointMetrics;
use crate::orders::NextStep;
use crate::outbox::{DeliveryQueues, QueuedMessage, RoundResult, SendingRound};
use crate::progress::{Disabled, EndpointProgress};
use crate::reader::{ChangePage, LogReader};
use crate::resync::CursorTracker;
use crate::rotation::SecretRotation;
use crate::service::{StoredEndpoint, Webhooks};
use crate::settings::{EndpointSettings, Mode};
use system::backoff::Backoff;
use system::turn::give_way;

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
    pub outbox: DeliveryQueues<'a>,
    pub orders: &'a mut Orders,
    pub desk: Arc<EndpointDesk>,
    pub dead_letters: DeadLetters,
    /// `None`: what the endpoint has missed is found in the log alone.
    cursor: Option<CursorTracker>,
    /// As the store had it at the beginning.
    progress: Option<EndpointProgress>,
    metrics: EndpointMetrics,
    backoff: Backoff,
    failing: Option<FailingSince>,
    saved: Option<EndpointProgress>,
    saved_at: Instant,
    /// Everything up to that number of the log was sent before the messages in the outbox.
    pub unsent_after: u64,
    /// A gap that the endpoint does not know of yet.
    pub unsent_gap: Option<FleetGap>,
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
        stored: StoredEndpoint,
    ) -> Self {
        let has_cursor = all.log == ChangeLog::Feed && endpoint.mode == Mode::Latest;
        let (dead_letters, progress) = (stored.dead_letters, stored.progress);
        let (metrics, desk) = (all.metrics.of(&endpoint.name), Arc::clone(&orders.desk));
        let mut worker = Self {
            all,
            endpoint,
            outbox: DeliveryQueues::new(all, endpoint, client, metrics.clone(), Arc::clone(&desk)),
            orders,
            desk,
            dead_letters,
            progress,
            cursor: has_cursor.then(|| CursorTracker::new(stored.cursor)),
            metrics,
            backoff: Backoff::between(RETRY_FIRST, RETRY_LONGEST),
            failing: None,
            saved: None,
            saved_at: Instant::now(),
            unsent_after: 0,
            unsent_gap: None,
        };
        worker.use_rotation(stored.rotation);
        worker
    }

    /// Signs with the secrets that were made for the endpoint from now on.
    pub fn use_rotation(&mut self, rotation: Option<SecretRotation>) {
        self.desk.view.lock().overlap_until_ms = rotation.as_ref().map(SecretRotation::overlap_until_ms);
        self.outbox.set_rotation(rotation);
    }

    /// Delivers without an end.
    pub async fn run(mut self) -> Infallible {
        self.show_dead_letters();
        let mut progress = self.progress.take();
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
            let since_ms = progress.as_ref().and_then(EndpointProgress::failing_since_ms);
            self.failing = since_ms.map(|since_ms| FailingSince::restored(since_ms, self.clocks()));
            let mut reader = self.begin(progress).await;
            if let Some(since) = since.take() {
                self.reread(&mut reader, since).await;
            }
            progress = Some(self.follow(&mut reader).await);
        }
    }

    /// Delivers until the endpoint is disabled; returns its progress then.
    async fn follow(&mut self, reader: &mut LogReader<'a>) -> EndpointProgress {
        self.desk.set_state(EndpointState::Delivering);
        let mut growth = self.all.growth();
        loop {
            let stopped = match self.step(reader).await {
                Ok(true) => continue,
                Ok(false) => {
                    // Without a notification the log is read all the same.
                    let wait = reader.due_in().map_or(POLL_INTERVAL, |due| due.min(POLL_INTERVAL));
                    let pending = tokio::select! {
                        () = growth.wait() => continue,
                        () = self.all.clock.sleep(wait) => continue,
                        pending = self.orders.next() => pending,
                    };
                    match self.carry_out(pending).await {
                        NextStep::GoOn | NextStep::Enable => continue,
                        NextStep::TryAgain => {
                            self.note_delivered();
                            continue;
                        }
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

    /// Carries out the orders that wait.
    async fn carry_out_waiting(&mut self) -> Result<(), StopReason> {
        while let Some(pending) = self.orders.try_next() {
            match self.carry_out(pending).await {
                NextStep::GoOn | NextStep::Enable => {}
                NextStep::TryAgain => self.note_delivered(),
                NextStep::Reread(since) => return Err(StopReason::Reread(since)),
            }
        }
        Ok(())
    }

    /// Begins where the endpoint was, or, if it is new, at the end of the log.
    async fn begin(&mut self, progress: Option<EndpointProgress>) -> LogReader<'a> {
        let resumed = progress.and_then(|progress| LogReader::resume(self.all, self.endpoint, &progress));
        if let Some(mut reader) = resumed {
            // The positions of another process lead to a gap, which begins another one.
            let cursor = self.cursor.as_ref().and_then(CursorTracker::resync_from);
            if let Some(cursor) = cursor.filter(|_| reader.position().order == self.all.feed.epoch()) {
                reader.resync_from(cursor);
            }
            return reader;
        }
        let mut reader = LogReader::new(self.all, self.endpoint, self.all.newest().await);
        self.save(reader.progress()).await;
        // A store that keeps no order may have lost the position of an endpoint that is not new.
        if !self.all.store_outlives || self.all.log == ChangeLog::Feed {
            reader.note_gap(FleetGap::NotLogged);
        }
        reader
    }

    /// Delivers the next page; says whether there may be more.
    async fn step(&mut self, reader: &mut LogReader<'a>) -> Result<bool, StopReason> {
        self.carry_out_waiting().await?;
        let before = reader.progress();
        self.unsent_after = reader.decided();
        let ChangePage { changes, has_more } = match self.next_page(reader).await {
            Ok(found) => found,
            Err(gap) => {
                self.send_gap(reader, gap).await?;
                return Ok(true);
            }
        };
        for change in changes {
            give_way();
            self.outbox.add(QueuedMessage::new(self.all.message_of(self.endpoint, &change), Some(change)));
        }
        let has_sent = !self.outbox.is_empty();
        self.deliver(&before).await?;
        self.keep_cursor(reader).await;
        let is_due = self.saved_at.elapsed() >= IDLE_SAVE_INTERVAL;
        let progress = reader.progress();
        if self.saved.as_ref() != Some(&progress) && !reader.is_catching_up() && (has_sent || is_due) {
            self.save(progress).await;
        }
        Ok(has_more)
    }

    /// The next changes. If they are less than a batch, those that come within the time that batches wait for follow them.
    async fn next_page(&self, reader: &mut LogReader<'a>) -> Result<ChangePage, FleetGap> {
        let mut page = reader.next().await?;
        let EndpointSettings { linger, batch_max, .. } = *self.endpoint;
        if linger.is_zero() || page.has_more || page.changes.is_empty() || page.changes.len() >= batch_max {
            return Ok(page);
        }
        self.all.clock.sleep(linger).await;
        match reader.next().await {
            Ok(further) => {
                page.changes.extend(further.changes);
                page.has_more = further.has_more;
            }
            // The next step returns it, after these.
            Err(gap) => {
                reader.note_gap(gap);
                page.has_more = true;
            }
        }
        Ok(page)
    }

    /// Sends one `fleet.gap`, because the log does not have every change, and continues at its end. If the store knows what has
    /// changed since, an endpoint that wants the newest states receives those first.
    async fn send_gap(&mut self, reader: &mut LogReader<'a>, gap: FleetGap) -> Result<(), StopReason> {
        let resync = self.cursor.as_ref().and_then(CursorTracker::delivered).cloned();
        let (before, mut next) = (reader.progress(), self.all.newest().await);
        if resync.is_some() {
            // What was not stored yet is in memory.
            next.number = self.all.feed.some_way_back();
        }
        tracing::warn!(endpoint = %self.endpoint.name, ?gap, "a webhook has missed changes: it receives fleet.gap");
        let message = WebhookMessage::of_gap(
            self.all.envelope(self.endpoint),
            reader.position(),
            gap,
            self.all.clock.now_ms(),
        );
        if !self.endpoint.format.is_for_alerts_alone() {
            self.outbox.add(QueuedMessage::new(message, None));
            self.unsent_gap = Some(gap);
            self.deliver(&before).await?;
            self.unsent_gap = None;
        }
        self.metrics.gaps.inc();
        reader.go_to(next);
        if let Some(cursor) = resync {
            reader.resync_from(cursor);
            self.keep_cursor(reader).await;
        }
        self.save(reader.progress()).await;
        Ok(())
    }

    /// Saves up to where the endpoint has what the store has.
    async fn keep_cursor(&mut self, reader: &LogReader<'a>) {
        let Some(tracker) = &mut self.cursor else { return };
        let is_new = if reader.resync().is_some() || tracker.resync_from().is_some() {
            tracker.note_resync(reader.resync().cloned());
            true
        } else {
            tracker.advance(self.all, reader.decided()).await
        };
        if let Some(stored) = tracker.stored().filter(|_| is_new) {
            self.all.save_cursor(&self.endpoint.name, &stored).await;
        }
    }

    /// Sends the messages in the outbox until the endpoint has accepted each, or it is given up.
    async fn deliver(&mut self, before: &EndpointProgress) -> Result<(), StopReason> {
        let mut round = SendingRound::All;
        while !self.outbox.is_empty() {
            let RoundResult { delivered, dead, failure } = self.outbox.send(round, self.orders).await;
            if delivered > 0 {
                self.note_delivered();
            }
            if !dead.is_empty() {
                self.give_up(dead, failure.as_ref()).await;
            }
            let Some(failure) = failure else {
                self.carry_out_waiting().await?;
                round = SendingRound::All;
                continue;
            };
            // An endpoint that rejects one message takes others.
            round = if failure.is_rejection() { SendingRound::All } else { SendingRound::Probe };
            self.wait_after(&failure, before).await?;
        }
        Ok(())
    }

    fn note_delivered(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!(endpoint = %self.endpoint.name, "a webhook is delivered again");
            self.desk.view.lock().failing_since_ms = None;
        }
        self.desk.set_state(EndpointState::Delivering);
        self.metrics.failing.set(0);
        self.backoff.reset();
    }

    /// Waits until the next attempt, or until an order ends the wait.
    async fn wait_after(&mut self, failure: &Failure, before: &EndpointProgress) -> Result<(), StopReason> {
        let now = self.clocks();
        let lasting = self.failing.get_or_insert_with(|| FailingSince::begin(now));
        let (failing_ms, since_ms) = (lasting.lasted_ms(now), lasting.since_ms());
        self.metrics.failing.set(1);
        self.desk.view.lock().failing_since_ms = Some(since_ms);
        self.desk.set_state(EndpointState::Failing);
        if matches!(failure, Failure::Gone) {
            return Err(StopReason::Disabled(before.clone(), Disabled::Gone));
        }
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
        let all = self.all;
        let mut waited = all.clock.sleep(wait);
        loop {
            let pending: PendingOrder = tokio::select! {
                () = &mut waited => return Ok(()),
                pending = self.orders.next() => pending,
            };
            match self.carry_out(pending).await {
                NextStep::GoOn => {}
                NextStep::Enable => return Ok(()),
                NextStep::TryAgain => {
                    self.note_delivered();
                    return Ok(());
                }
                NextStep::Reread(since) => return Err(StopReason::Reread(since)),
            }
        }
    }

    fn clocks(&self) -> ClockReading {
        ClockReading { wall_ms: self.all.clock.now_ms(), since_boot_ms: self.all.clock.since_boot_ms() }
    }

    /// Makes dead letters of messages that the endpoint rejects.
    async fn give_up(&mut self, dead: Vec<QueuedMessage>, failure: Option<&Failure>) {
        let why = failure.map(ToString::to_string).unwrap_or_default();
        for QueuedMessage { message, change, .. } in dead {
            tracing::error!(endpoint = %self.endpoint.name, id = %message.id, why, "a message of a webhook is given up");
            self.metrics.dead_letters.inc();
            let event = match change {
                Some(change) => self.all.place_of(&change).await,
                None => None,
            };
            let (id, event_type) = (message.id, message.event_type.to_owned());
            let (at_ms, why) = (self.all.clock.now_ms(), why.clone());
            self.dead_letters.add(DeadLetter { id, event_type, event, at_ms, why });
        }
        self.all.save_dead_letters(&self.endpoint.name, &self.dead_letters).await;
        self.show_dead_letters();
    }

    pub fn show_dead_letters(&self) {
        let mut view = self.desk.view.lock();
        view.dead_letters = self.dead_letters.newest_first().take(DEAD_LETTERS_SHOWN).cloned().collect();
        view.dead_letters_total = self.dead_letters.total();
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
