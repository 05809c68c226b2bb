//! Sends notifications to one endpoint, one after the other, until each is accepted or rejected for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::kept;
use crate::metrics::NotificationMetrics;
use crate::outbox::{AcceptedNumbers, NotificationQueue, QueueEntry};
use crate::service::{LeaseHolder, STORE_RETRY};
use system::backoff::Backoff;
use system::clock;
use webhooks::desk::{Attempt, WebhookDesk};
use webhooks::settings::{EndpointSettings, Format};
use webhooks::{
    Client, Envelope, Failure, OpenConnection, RETRY_FIRST, RETRY_LONGEST, TLS_RETRY, WebhookMessage,
};

/// A notification that the endpoint rejects so often is given up, so that it does not hold up the others.
const REJECTIONS_MAX: u32 = 4;

/// How long the store may take to say which secrets count.
const SECRETS_TIMEOUT: Duration = Duration::from_secs(2);

/// The sender of one endpoint.
pub struct Sender {
    pub endpoint: EndpointSettings,
    /// What may be sent, because the store has it.
    pub outbox: watch::Receiver<Arc<NotificationQueue>>,
    /// What fires now, which Alertmanager forgets unless it is told again.
    pub standing: watch::Receiver<Arc<[StandingGroup]>>,
    pub positions: Arc<Mutex<AcceptedNumbers>>,
    pub holder: Arc<LeaseHolder>,
    pub source: Arc<str>,
    pub desk: WebhookDesk,
    pub metrics: NotificationMetrics,
    pub state: Arc<SenderState>,
}

/// A group that fires.
#[derive(Clone, Debug)]
pub struct StandingGroup {
    pub key: u64,
    pub data: Box<RawValue>,
    pub webhooks: Vec<Arc<str>>,
}

/// Whether an endpoint accepts notifications.
#[derive(Debug, Default)]
pub struct SenderState {
    /// An attempt was made.
    is_known: AtomicBool,
    works: AtomicBool,
}

impl SenderState {
    fn set(&self, works: bool) {
        self.works.store(works, Ordering::Relaxed);
        self.is_known.store(true, Ordering::Release);
    }

    /// `None`: no attempt was made yet.
    pub fn works(&self) -> Option<bool> {
        self.is_known.load(Ordering::Acquire).then(|| self.works.load(Ordering::Relaxed))
    }
}

impl Sender {
    /// Sends without an end.
    pub async fn run(mut self) {
        let mut client = loop {
            match Client::new(self.endpoint.clone()) {
                Ok(client) => break client,
                Err(error) => {
                    tracing::error!(endpoint = %self.endpoint.name, %error, "alerts cannot be sent to a webhook at present");
                    self.state.set(false);
                    sleep(TLS_RETRY).await;
                }
            }
        };
        let mut connection = None;
        let mut backoff = Backoff::between(RETRY_FIRST, RETRY_LONGEST);
        let mut rejections = 0;
        loop {
            let next = self.next();
            let Some(entry) = next else {
                tokio::select! {
                    Ok(()) = self.outbox.changed() => {}
                    Ok(()) = self.standing.changed(), if self.endpoint.format == Format::Alertmanager => {
                        self.repeat_standing(&mut client, &mut connection).await;
                    }
                    else => return,
                }
                continue;
            };
            let answer = self.post(&mut client, &mut connection, &entry).await;
            self.state.set(answer.is_ok());
            let Err(failure) = answer else {
                self.metrics.delivered.inc();
                (rejections, backoff) = (0, Backoff::between(RETRY_FIRST, RETRY_LONGEST));
                self.go_on_after(entry.number).await;
                continue;
            };
            self.metrics.failed.inc();
            rejections += u32::from(failure.is_rejection());
            let wait = backoff.wait().max(failure.retry_after().unwrap_or_default());
            if rejections >= REJECTIONS_MAX {
                tracing::error!(endpoint = %self.endpoint.name, %failure, "a notification about alerts is given up");
                self.metrics.given_up.inc();
                rejections = 0;
                self.go_on_after(entry.number).await;
            } else {
                let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                tracing::warn!(endpoint = %self.endpoint.name, %failure, wait_ms, "a notification about alerts is not delivered and tried again");
                sleep(wait).await;
            }
        }
    }

    fn next(&mut self) -> Option<Arc<QueueEntry>> {
        let name = &self.endpoint.name;
        let position = self.positions.lock().get(name).copied().unwrap_or(0);
        self.outbox.borrow_and_update().next_of(name, position).cloned()
    }

    async fn post(
        &self,
        client: &mut Client,
        connection: &mut Option<OpenConnection>,
        entry: &QueueEntry,
    ) -> Result<(), Failure> {
        let envelope = Envelope::of(&self.endpoint, &self.source);
        let id = (entry.key, entry.number);
        // To Alertmanager a message says what is true when it is sent.
        let is_now = self.endpoint.format == Format::Alertmanager;
        let said_ms = if is_now { clock::now_millis() } else { entry.at_ms };
        let message = WebhookMessage::of_alert(envelope, id, entry.event_type(), said_ms, &entry.data);
        self.read_secrets(client).await;
        let attempt = Attempt::begin(&message);
        let answer = client.post(connection, &message).await;
        self.desk.note(&self.endpoint.name, attempt.end(&answer));
        answer.map(drop)
    }

    /// Reads which secrets count: another instance may deliver the changes to the endpoint, and have made one. If the store does
    /// not say so in time, those before it count on.
    async fn read_secrets(&self, client: &mut Client) {
        if self.endpoint.secrets.is_empty() {
            return;
        }
        let read = webhooks::rotation_of(self.holder.store(), &self.endpoint);
        if let Ok(Ok(rotation)) = timeout(SECRETS_TIMEOUT, read).await {
            client.set_rotation(rotation);
        }
    }

    /// Says again what fires. What is not accepted is said again a minute later.
    async fn repeat_standing(&mut self, client: &mut Client, connection: &mut Option<OpenConnection>) {
        let standing = self.standing.borrow_and_update().clone();
        let is_mine =
            |group: &&StandingGroup| group.webhooks.iter().any(|name| **name == *self.endpoint.name);
        for group in standing.iter().filter(is_mine) {
            let entry = QueueEntry {
                number: 0,
                key: group.key,
                is_firing: true,
                at_ms: clock::now_millis(),
                data: group.data.clone(),
                webhooks: Vec::new(),
            };
            let answer = self.post(client, connection, &entry).await;
            self.state.set(answer.is_ok());
            if let Err(failure) = answer {
                self.metrics.failed.inc();
                return tracing::warn!(endpoint = %self.endpoint.name, %failure, "Alertmanager is not told what fires");
            }
        }
    }

    /// Keeps that the endpoint has everything up to that number.
    async fn go_on_after(&self, number: u64) {
        let name = &self.endpoint.name;
        self.positions.lock().insert(name.clone(), number);
        loop {
            match self.holder.set(&kept::position_name(name), Some(number.to_string())).await {
                Ok(()) => return,
                Err(error) => {
                    self.holder.log_wait(&error);
                    sleep(STORE_RETRY).await;
                }
            }
        }
    }
}
