//! Between the API and the workers: what the API shows of each endpoint, and the orders that it gives to the endpoint's worker.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use presence::UnixSeconds;
use tokio::sync::{mpsc, oneshot};

use crate::answer::Failure;
use crate::dead_letters::DeadLetter;
use crate::message::WebhookMessage;
use crate::rotation::RotationRefusal;
use system::clock;
use system::secret::Secret;

/// Attempts that are remembered of one endpoint, some 200 bytes each, and 1 KiB more of one that was refused.
const ATTEMPTS_MAX: usize = 1_000;

/// Dead letters that are shown of one endpoint: the newest.
pub const DEAD_LETTERS_SHOWN: usize = 1_000;

/// Orders that may wait for one endpoint; one more is refused.
const ORDERS_MAX: usize = 16;

/// All endpoints by name. Cloning shares them.
#[derive(Clone, Default)]
pub struct WebhookDesk(Arc<Mutex<BTreeMap<String, Arc<EndpointDesk>>>>);

/// One endpoint.
pub struct EndpointDesk {
    orders: mpsc::Sender<PendingOrder>,
    pub view: Mutex<EndpointView>,
}

impl EndpointDesk {
    pub fn set_state(&self, state: EndpointState) {
        self.view.lock().state = state;
    }

    pub fn note(&self, attempt: Attempt) {
        let mut view = self.view.lock();
        if view.attempts.len() >= ATTEMPTS_MAX {
            view.attempts.pop_front();
        }
        view.attempts.push_back(Arc::new(attempt));
    }
}

/// What the API shows of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointView {
    /// Scheme, host and port: the rest may hold a token.
    pub address: String,
    pub mode: &'static str,
    pub settle_s: u64,
    pub state: EndpointState,
    /// Since when every attempt has failed, in milliseconds since 1970.
    pub failing_since_ms: Option<i64>,
    /// Up to where the endpoint has accepted the history, in the form of a stream's id.
    pub position: Option<String>,
    /// Until when messages are signed with secrets before the newest, too, in milliseconds since 1970; `None`: no secret was made.
    pub overlap_until_ms: Option<i64>,
    /// Newest last.
    pub attempts: VecDeque<Arc<Attempt>>,
    /// The newest [`DEAD_LETTERS_SHOWN`], newest first.
    pub dead_letters: Arc<[DeadLetter]>,
    pub dead_letters_total: usize,
}

/// The state of the deliveries to an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EndpointState {
    /// It waits for the store.
    #[default]
    Starting,
    Delivering,
    /// The last attempt has failed, and is made again.
    Failing,
    /// It has answered 410.
    Gone,
    /// It has failed for too long.
    GivenUp,
    /// Another instance delivers.
    Elsewhere,
    /// Its TLS settings cannot be used.
    Broken,
}

impl EndpointState {
    pub fn word(&self) -> &'static str {
        match self {
            EndpointState::Starting => "starting",
            EndpointState::Delivering => "delivering",
            EndpointState::Failing => "failing",
            EndpointState::Gone => "gone",
            EndpointState::GivenUp => "given_up",
            EndpointState::Elsewhere => "elsewhere",
            EndpointState::Broken => "broken",
        }
    }
}

/// One attempt to deliver a message.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The id of the message.
    pub id: String,
    pub event_type: &'static str,
    /// In milliseconds since 1970.
    pub at_ms: i64,
    pub took_ms: u64,
    /// The status of the answer; `None`: there was none.
    pub status: Option<u16>,
    /// Why the endpoint has not accepted the message; `None`: it has.
    pub failure: Option<String>,
    /// The beginning of what it has answered then.
    pub answer: Option<String>,
}

/// The beginning of an attempt.
pub struct AttemptStart {
    id: String,
    event_type: &'static str,
    at_ms: i64,
    began: Instant,
}

impl Attempt {
    pub fn begin(message: &WebhookMessage) -> AttemptStart {
        let (id, event_type) = (message.id.clone(), message.event_type);
        AttemptStart { id, event_type, at_ms: clock::now_millis(), began: Instant::now() }
    }
}

impl AttemptStart {
    /// The attempt, which has come to this answer of [`crate::Client::post`].
    pub fn end(self, answer: &Result<u16, Failure>) -> Attempt {
        Attempt {
            id: self.id,
            event_type: self.event_type,
            at_ms: self.at_ms,
            took_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            status: match answer {
                Ok(status) => Some(*status),
                Err(failure) => failure.status(),
            },
            failure: answer.as_ref().err().map(ToString::to_string),
            answer: answer.as_ref().err().and_then(Failure::answer).map(str::to_owned),
        }
    }
}

/// What an administrator can ask of an endpoint's worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerCommand {
    /// Send a `webhook.test`.
    Test,
    /// Send everything once more that the history has from that time on.
    RedeliverSince(UnixSeconds),
    /// Send one message of the dead letters once more.
    Redeliver(String),
    /// Go on with an endpoint that was disabled.
    Enable,
    /// Make a secret; those before it count so long.
    Rotate(Duration),
}

/// The outcome of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOutcome {
    Done,
    /// The endpoint has not accepted the message.
    Failed(String),
    /// There is no such message.
    Unknown,
    Rotated(NewSecret),
    NotRotated(RotationRefusal),
}

/// A secret that was made for an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSecret {
    /// With `whsec_` before it.
    pub text: Secret,
    /// Until when the secrets before it count, in milliseconds since 1970.
    pub overlap_until_ms: i64,
}

/// An order, and where its outcome goes.
pub struct PendingOrder {
    pub order: WorkerCommand,
    pub outcome: oneshot::Sender<CommandOutcome>,
}

/// Why an order was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandError {
    Unknown,
    /// Too many wait, or this instance does not deliver to the endpoint.
    Busy,
}

impl WebhookDesk {
    /// Replaces the endpoints; returns the receiver of each one's orders. The attempts at endpoints that stay are kept.
    pub fn open(&self, endpoints: impl Iterator<Item = (String, EndpointView)>) -> Vec<Orders> {
        let mut desks = BTreeMap::new();
        let mut all = Vec::new();
        let before = self.0.lock().clone();
        for (name, mut view) in endpoints {
            if let Some(desk) = before.get(&name) {
                view.attempts.clone_from(&desk.view.lock().attempts);
            }
            let (sender, receiver) = mpsc::channel(ORDERS_MAX);
            let desk = Arc::new(EndpointDesk { orders: sender, view: Mutex::new(view) });
            desks.insert(name, Arc::clone(&desk));
            all.push(Orders { receiver, desk });
        }
        *self.0.lock() = desks;
        all
    }

    /// All endpoints by name.
    pub fn views(&self) -> Vec<(String, EndpointView)> {
        let desks = self.0.lock().clone();
        desks.into_iter().map(|(name, desk)| (name, desk.view.lock().clone())).collect()
    }

    pub fn view(&self, name: &str) -> Option<EndpointView> {
        let desk = self.0.lock().get(name).cloned()?;
        let view = desk.view.lock().clone();
        Some(view)
    }

    /// Notes an attempt at an endpoint that was not its worker's.
    pub fn note(&self, name: &str, attempt: Attempt) {
        let desk = self.0.lock().get(name).cloned();
        if let Some(desk) = desk {
            desk.note(attempt);
        }
    }

    /// Gives an order and waits for its outcome.
    pub async fn order(&self, name: &str, order: WorkerCommand) -> Result<CommandOutcome, CommandError> {
        let desk = self.0.lock().get(name).cloned().ok_or(CommandError::Unknown)?;
        let (outcome, done) = oneshot::channel();
        desk.orders.try_send(PendingOrder { order, outcome }).map_err(|_| CommandError::Busy)?;
        done.await.map_err(|_| CommandError::Busy)
    }
}

/// The worker's end: the orders for an endpoint.
pub struct Orders {
    receiver: mpsc::Receiver<PendingOrder>,
    pub desk: Arc<EndpointDesk>,
}

impl Orders {
    /// The next order; none comes any more once the endpoint was replaced, so this waits for ever then. An order that nobody
    /// waits for any more is not carried out: a secret that it makes would be lost.
    pub async fn next(&mut self) -> PendingOrder {
        loop {
            match self.receiver.recv().await {
                Some(pending) if pending.outcome.is_closed() => {}
                Some(pending) => return pending,
                None => std::future::pending().await,
            }
        }
    }

    /// Waits for something. Orders that come meanwhile are dropped, which tells who gave them that nobody carries them out.
    pub async fn refuse_until(&mut self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                pending = self.next() => drop(pending),
            }
        }
    }

    /// Whether there is an order.
    pub fn is_waiting(&self) -> bool {
        !self.receiver.is_empty()
    }

    /// The next order, if there is one.
    pub fn try_next(&mut self) -> Option<PendingOrder> {
        std::iter::from_fn(|| self.receiver.try_recv().ok()).find(|pending| !pending.outcome.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: usize) -> Attempt {
        Attempt {
            id: format!("evt_{number}"),
            event_type: "device.connected",
            at_ms: 1,
            took_ms: 1,
            status: Some(200),
            failure: None,
            answer: None,
        }
    }

    #[tokio::test]
    async fn the_newest_attempts_are_shown_and_an_order_beyond_those_that_may_wait_is_refused() {
        let desks = WebhookDesk::default();
        let mut orders = desks.open([("ops".to_owned(), EndpointView::default())].into_iter());
        let orders = orders.remove(0);
        (0..=ATTEMPTS_MAX).for_each(|number| orders.desk.note(attempt(number)));
        // The settings have changed, and the endpoint stays.
        let mut orders = {
            let names = ["ops", "new"].map(|name| (name.to_owned(), EndpointView::default()));
            desks.open(names.into_iter()).remove(0)
        };
        assert!(desks.view("new").unwrap().attempts.is_empty());
        let shown = desks.view("ops").unwrap().attempts;
        assert_eq!((shown.len(), &*shown[0].id), (ATTEMPTS_MAX, "evt_1"));
        let desk = Arc::clone(&orders.desk);
        let waiting: Vec<_> = (0..ORDERS_MAX)
            .map(|_| {
                let (outcome, done) = oneshot::channel();
                assert!(desk.orders.try_send(PendingOrder { order: WorkerCommand::Test, outcome }).is_ok());
                done
            })
            .collect();
        assert_eq!(desks.order("ops", WorkerCommand::Test).await, Err(CommandError::Busy));
        assert_eq!(desks.order("other", WorkerCommand::Test).await, Err(CommandError::Unknown));
        for waiting in waiting {
            assert!(orders.next().await.outcome.send(CommandOutcome::Done).is_ok());
            assert_eq!(waiting.await, Ok(CommandOutcome::Done));
        }
    }
}
