//! What an endpoint is sent next: a page's messages in a few queues, those of one device in one queue and so in order, and the
//! connection of each queue.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use parking_lot::Mutex;

use crate::answer::Failure;
use crate::client::{Client, OpenConnection};
use crate::latest::{Fate, fate};
use crate::message::Message;
use crate::metrics::EndpointMetrics;
use crate::settings::{EndpointSettings, Mode};
use crate::states::Change;
use crate::worker::{Webhooks, message_of};

/// Messages under way at once. Those of one device share a queue, so they stay in order.
const QUEUES: usize = 8;

/// Ids of messages that were sent before their events came out of the history. Beyond it they are forgotten, and come twice.
const RENEWED_MAX: usize = 10_000;

/// A message, and the change that it tells of.
pub struct Item {
    pub message: Message,
    /// `None`: it is no change of a device.
    pub change: Option<Change>,
}

/// The messages of some devices, and the connection that they take.
#[derive(Default)]
struct DeviceQueue {
    waiting: VecDeque<Item>,
    connection: Option<OpenConnection>,
}

/// How many queues a round serves, and how far.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Round {
    /// All queues, to their ends.
    All,
    /// One message: an endpoint that fails is tried with one, not with eight at once.
    Probe,
}

pub struct Outbox<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    client: Client,
    metrics: EndpointMetrics,
    queues: Vec<DeviceQueue>,
    renewed: Mutex<HashSet<String>>,
}

impl<'a> Outbox<'a> {
    pub fn new(
        all: &'a Webhooks,
        endpoint: &'a EndpointSettings,
        client: Client,
        metrics: EndpointMetrics,
    ) -> Self {
        let mut queues = Vec::new();
        queues.resize_with(QUEUES, DeviceQueue::default);
        Self { all, endpoint, client, metrics, queues, renewed: Mutex::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.waiting.is_empty())
    }

    pub fn add(&mut self, item: Item) {
        let queue = usize::try_from(item.message.order % QUEUES as u64).unwrap_or(0);
        self.queues[queue].waiting.push_back(item);
    }

    /// Sends the messages of each queue one after the other until one fails.
    pub async fn send(&mut self, round: Round) -> Result<(), Failure> {
        let Self { all, endpoint, client, metrics, queues, renewed } = self;
        let (most_queues, most_messages) = match round {
            Round::All => (usize::MAX, usize::MAX),
            Round::Probe => (1, 1),
        };
        let has_failed = &AtomicBool::new(false);
        let sender = &Sender { all, endpoint, renewed };
        let (client, metrics) = (&*client, &*metrics);
        let queues = queues.iter_mut().filter(|queue| !queue.waiting.is_empty()).take(most_queues);
        let sent = queues.map(|queue| async move {
            let mut sent = 0;
            while sent < most_messages && !has_failed.load(Ordering::Relaxed) {
                let Some(item) = queue.waiting.front_mut() else { break };
                if !sender.is_due(item).await {
                    metrics.overtaken.inc();
                } else if let Err(failure) = client.post(&mut queue.connection, &item.message).await {
                    has_failed.store(true, Ordering::Relaxed);
                    metrics.failed.inc();
                    return Err(failure);
                } else {
                    metrics.delivered.inc();
                    sender.note_sent(item);
                    sent += 1;
                }
                queue.waiting.pop_front();
            }
            Ok(())
        });
        join_all(sent).await.into_iter().collect()
    }
}

/// What the queues share while they send.
struct Sender<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    renewed: &'a Mutex<HashSet<String>>,
}

impl Sender<'_> {
    /// Remembers a message that was sent before its event came.
    fn note_sent(&self, item: &Item) {
        if item.change.as_ref().is_some_and(|change| change.id != item.message.id) {
            let mut renewed = self.renewed.lock();
            if renewed.len() >= RENEWED_MAX {
                renewed.clear();
            }
            renewed.insert(item.message.id.clone());
        }
    }

    /// Whether the message is to be sent now; with `mode = "latest"` it may change, or be overtaken.
    async fn is_due(&self, item: &mut Item) -> bool {
        let Some(change) = item.change.as_ref().filter(|_| self.endpoint.mode == Mode::Latest) else {
            return true;
        };
        let fate = loop {
            match fate(change, self.endpoint.settle, &self.all.registry, &*self.all.store).await {
                Ok(fate) => break fate,
                Err(error) => self.all.wait_for_store(&error).await,
            }
        };
        match fate {
            Fate::Newest => {}
            Fate::Overtaken => return false,
            Fate::Renewed(device) => item.message = message_of(self.all, &change.renewed(*device)),
        }
        !self.renewed.lock().contains(&item.message.id)
    }
}
