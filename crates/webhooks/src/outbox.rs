//! The messages of a page that are to be sent, in a few queues, and the connection of each queue. Those of one device share a
//! queue, and so keep their order.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use parking_lot::Mutex;

use crate::answer::Failure;
use crate::client::{Client, OpenConnection};
use crate::desk::{Attempt, EndpointDesk, Orders};
use crate::latest::{ChangeFate, fate};
use crate::message::WebhookMessage;
use crate::metrics::EndpointMetrics;
use crate::rotation::SecretRotation;
use crate::service::Webhooks;
use crate::settings::{EndpointSettings, Mode};
use crate::states::StateChange;

/// A message that the endpoint rejects so often is given up, so that it does not hold up the others.
const REJECTIONS_MAX: u32 = 4;

/// Messages under way at once. Those of one device share a queue, so they stay in order.
const QUEUES: usize = 8;

/// Ids of messages that were sent before the reader came to their events. Beyond it the ids are forgotten, and the messages sent twice.
const RENEWED_MAX: usize = 10_000;

/// A message, and the change that it is about.
pub struct QueuedMessage {
    pub message: WebhookMessage,
    /// `None`: it is not about a change of a device.
    pub change: Option<StateChange>,
    /// How often the endpoint has rejected it.
    rejections: u32,
}

impl QueuedMessage {
    pub fn new(message: WebhookMessage, change: Option<StateChange>) -> Self {
        Self { message, change, rejections: 0 }
    }
}

/// The result of a round.
#[derive(Default)]
pub struct RoundResult {
    pub delivered: usize,
    /// Messages that were rejected for good.
    pub dead: Vec<QueuedMessage>,
    /// Why the remaining messages wait.
    pub failure: Option<Failure>,
}

/// The messages of some devices, and the connection that they take.
#[derive(Default)]
struct DeviceQueue {
    waiting: VecDeque<QueuedMessage>,
    connection: Option<OpenConnection>,
}

/// How many queues a round serves, and how far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendingRound {
    /// All queues, to their ends.
    All,
    /// One request: an endpoint that fails is tried with one, not with eight at once.
    Probe,
}

pub struct DeliveryQueues<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    client: Client,
    metrics: EndpointMetrics,
    desk: Arc<EndpointDesk>,
    queues: Vec<DeviceQueue>,
    renewed: Mutex<HashSet<String>>,
}

impl<'a> DeliveryQueues<'a> {
    pub fn new(
        all: &'a Webhooks,
        endpoint: &'a EndpointSettings,
        client: Client,
        metrics: EndpointMetrics,
        desk: Arc<EndpointDesk>,
    ) -> Self {
        let mut queues = Vec::new();
        // Batches hold several devices, and there is one at a time.
        queues.resize_with(if endpoint.batch_max == 1 { QUEUES } else { 1 }, DeviceQueue::default);
        Self { all, endpoint, client, metrics, desk, queues, renewed: Mutex::default() }
    }

    /// The secrets that were made for the endpoint.
    pub fn rotation(&self) -> Option<&SecretRotation> {
        self.client.rotation()
    }

    pub fn set_rotation(&mut self, rotation: Option<SecretRotation>) {
        self.client.set_rotation(rotation);
    }

    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.waiting.is_empty())
    }

    pub fn add(&mut self, item: QueuedMessage) {
        let queue = usize::try_from(item.message.order % self.queues.len() as u64).unwrap_or(0);
        self.queues[queue].waiting.push_back(item);
    }

    /// Drops all messages.
    pub fn clear(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.waiting.clear());
    }

    /// Sends the messages of each queue one after the other until one fails, or an order of an administrator waits.
    pub async fn send(&mut self, round: SendingRound, orders: &Orders) -> RoundResult {
        let Self { all, endpoint, client, metrics, desk, queues, renewed } = self;
        let (most_queues, most_requests) = match round {
            SendingRound::All => (usize::MAX, usize::MAX),
            SendingRound::Probe => (1, 1),
        };
        let has_failed = AtomicBool::new(false);
        let sender = QueueSender { all, endpoint, client, metrics, desk, renewed, has_failed };
        let is_stopped = || sender.has_failed.load(Ordering::Relaxed) || orders.is_waiting();
        let queues = queues.iter_mut().filter(|queue| !queue.waiting.is_empty()).take(most_queues);
        let each = join_all(queues.map(|queue| sender.drain(queue, most_requests, is_stopped))).await;
        let mut total = RoundResult::default();
        for sent in each {
            total.delivered += sent.delivered;
            total.dead.extend(sent.dead);
            // A failure of the endpoint takes precedence over the rejection of a message.
            let is_of_message = |failure: &Failure| failure.is_rejection();
            if total.failure.as_ref().is_none_or(is_of_message) {
                total.failure = sent.failure.or(total.failure);
            }
        }
        total
    }

    /// Sends one message beside the others, once.
    pub async fn send_beside(&mut self, message: &WebhookMessage) -> Result<(), Failure> {
        let Self { all, endpoint, client, metrics, desk, renewed, .. } = self;
        let has_failed = AtomicBool::new(false);
        let sender = QueueSender { all, endpoint, client, metrics, desk, renewed, has_failed };
        sender.post(&mut None, message).await
    }
}

/// What the queues share while they send.
struct QueueSender<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    client: &'a Client,
    metrics: &'a EndpointMetrics,
    desk: &'a EndpointDesk,
    renewed: &'a Mutex<HashSet<String>>,
    has_failed: AtomicBool,
}

impl QueueSender<'_> {
    /// Sends the messages of a queue until one fails or the round ends; a rejected one holds up its own queue alone.
    async fn drain(
        &self,
        queue: &mut DeviceQueue,
        most_requests: usize,
        is_stopped: impl Fn() -> bool,
    ) -> RoundResult {
        let mut sent = RoundResult::default();
        for _ in 0..most_requests {
            let number = self.next_due(queue).await;
            if number == 0 || is_stopped() {
                break;
            }
            let answer = match queue.waiting.front() {
                Some(item) if self.endpoint.batch_max == 1 => {
                    self.post(&mut queue.connection, &item.message).await
                }
                Some(_) | None => {
                    let messages: Vec<_> = queue.waiting.range(..number).map(|item| &item.message).collect();
                    self.post(&mut queue.connection, &WebhookMessage::batch(&messages)).await
                }
            };
            match answer {
                Ok(()) => {
                    queue.waiting.range(..number).for_each(|item| self.note_sent(item));
                    queue.waiting.drain(..number);
                    sent.delivered += number;
                }
                Err(failure) if failure.is_rejection() => {
                    // Which message of a batch was rejected is unknown, so they are sent one by one from now on.
                    queue.waiting.range_mut(..number).for_each(|item| item.rejections += 1);
                    let is_dead = |item: &mut QueuedMessage| item.rejections >= REJECTIONS_MAX;
                    sent.dead.extend(queue.waiting.pop_front_if(is_dead));
                    sent.failure = Some(failure);
                    break;
                }
                Err(failure) => {
                    self.has_failed.store(true, Ordering::Relaxed);
                    sent.failure = Some(failure);
                    break;
                }
            }
        }
        sent
    }

    /// How many messages the next request of a queue has. Overtaken ones are dropped.
    async fn next_due(&self, queue: &mut DeviceQueue) -> usize {
        let mut number = 0;
        while let Some(item) = queue.waiting.get_mut(number) {
            let was_rejected = item.rejections > 0;
            if number >= self.endpoint.batch_max || (was_rejected && number > 0) {
                break;
            }
            if self.is_due(item).await {
                number += 1;
            } else {
                self.metrics.overtaken.inc();
                queue.waiting.remove(number);
            }
            if was_rejected && number > 0 {
                break;
            }
        }
        number
    }

    /// Makes an attempt, and notes its result.
    async fn post(
        &self,
        connection: &mut Option<OpenConnection>,
        message: &WebhookMessage,
    ) -> Result<(), Failure> {
        let attempt = Attempt::begin(message);
        let answer = self.client.post(connection, message).await;
        match &answer {
            Ok(_) => self.metrics.delivered.inc(),
            Err(_) => self.metrics.failed.inc(),
        };
        self.desk.note(attempt.end(&answer));
        answer.map(drop)
    }

    /// Remembers a message that was sent before the reader came to its event.
    fn note_sent(&self, item: &QueuedMessage) {
        if item.change.as_ref().is_some_and(|change| change.id != item.message.id) {
            let mut renewed = self.renewed.lock();
            if renewed.len() >= RENEWED_MAX {
                renewed.clear();
            }
            renewed.insert(item.message.id.clone());
        }
    }

    /// Whether the message is to be sent now; with `mode = "latest"` it may change, or be overtaken.
    async fn is_due(&self, item: &mut QueuedMessage) -> bool {
        let Some(change) = item.change.as_ref().filter(|_| self.endpoint.mode == Mode::Latest) else {
            return true;
        };
        let fate = loop {
            let (now_ms, registry) = (self.all.clock.now_ms(), &self.all.registry);
            match fate(change, self.endpoint, now_ms, registry, &*self.all.store).await {
                Ok(fate) => break fate,
                Err(error) => self.all.wait_for_store(&error).await,
            }
        };
        match fate {
            ChangeFate::Newest => {}
            ChangeFate::Overtaken => return false,
            ChangeFate::Renewed(device) => {
                item.message = self.all.message_of(self.endpoint, &change.renewed(*device))
            }
        }
        !self.renewed.lock().contains(&item.message.id)
    }
}
