//! What the API sees of the endpoints, and what it asks of those who deliver to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use presence::UnixSeconds;
use tokio::sync::{mpsc, oneshot};

use crate::dead_letters::DeadLetter;

/// Attempts that are remembered of one endpoint, some 200 bytes each.
pub const ATTEMPTS_MAX: usize = 200;

/// Orders that may wait for one endpoint: whoever gives more is refused.
const ORDERS_MAX: usize = 16;

/// All endpoints by name. Cloning shares them.
#[derive(Clone, Default)]
pub struct WebhookDesk(Arc<Mutex<BTreeMap<String, Arc<EndpointDesk>>>>);

/// One endpoint.
pub struct EndpointDesk {
    orders: mpsc::Sender<Given>,
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
        view.attempts.push_back(attempt);
    }
}

/// What is known of an endpoint.
#[derive(Clone, Debug, Default)]
pub struct EndpointView {
    /// Scheme, host and port: the rest may hold a token.
    pub address: String,
    pub mode: &'static str,
    pub settle_s: u64,
    pub state: EndpointState,
    /// Since when every attempt has failed, in milliseconds since 1970.
    pub failing_since_ms: Option<i64>,
    /// Up to where the endpoint has taken the history, as a stream's id has it.
    pub position: Option<String>,
    /// Newest last.
    pub attempts: VecDeque<Attempt>,
    /// Newest first.
    pub dead_letters: Vec<DeadLetter>,
}

/// What becomes of what there is to deliver.
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
    /// It cannot be delivered to from here.
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
    /// What was answered; `None`: nothing.
    pub status: Option<u16>,
    /// Why the message was not taken; `None`: it was.
    pub failure: Option<String>,
}

/// What is asked of whoever delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Send a message that tells of nothing.
    Test,
    /// Send what the history has from that time on once more.
    RedeliverSince(UnixSeconds),
    /// Send one message of the dead letters once more.
    Redeliver(String),
    /// Go on with an endpoint that was disabled.
    Enable,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The endpoint has not taken the message.
    Failed(String),
    /// There is no such message.
    Unknown,
}

/// An order, and where its outcome goes.
pub struct Given {
    pub order: Order,
    pub outcome: oneshot::Sender<Outcome>,
}

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    Unknown,
    /// Too many wait, or nobody delivers to this endpoint here.
    Busy,
}

impl WebhookDesk {
    /// Replaces the endpoints; returns where the orders of each come.
    pub fn open(&self, endpoints: impl Iterator<Item = (String, EndpointView)>) -> Vec<Orders> {
        let mut desks = BTreeMap::new();
        let mut all = Vec::new();
        for (name, view) in endpoints {
            let (sender, receiver) = mpsc::channel(ORDERS_MAX);
            let desk = Arc::new(EndpointDesk { orders: sender, view: Mutex::new(view) });
            desks.insert(name, Arc::clone(&desk));
            all.push(Orders { receiver, desk });
        }
        *self.0.lock() = desks;
        all
    }

    /// The names and what is known of each.
    pub fn views(&self) -> Vec<(String, EndpointView)> {
        let desks = self.0.lock().clone();
        desks.into_iter().map(|(name, desk)| (name, desk.view.lock().clone())).collect()
    }

    pub fn view(&self, name: &str) -> Option<EndpointView> {
        let desk = self.0.lock().get(name).cloned()?;
        let view = desk.view.lock().clone();
        Some(view)
    }

    /// Gives an order and waits for its outcome.
    pub async fn order(&self, name: &str, order: Order) -> Result<Outcome, NotTaken> {
        let desk = self.0.lock().get(name).cloned().ok_or(NotTaken::Unknown)?;
        let (outcome, done) = oneshot::channel();
        desk.orders.try_send(Given { order, outcome }).map_err(|_| NotTaken::Busy)?;
        done.await.map_err(|_| NotTaken::Busy)
    }
}

/// The end of whoever delivers to an endpoint.
pub struct Orders {
    receiver: mpsc::Receiver<Given>,
    pub desk: Arc<EndpointDesk>,
}

impl Orders {
    /// The next order; none comes any more once the endpoint was replaced, so this waits for ever then.
    pub async fn next(&mut self) -> Given {
        match self.receiver.recv().await {
            Some(given) => given,
            None => std::future::pending().await,
        }
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
        }
    }

    #[tokio::test]
    async fn the_newest_attempts_are_shown_and_an_order_beyond_those_that_may_wait_is_refused() {
        let desks = WebhookDesk::default();
        let mut orders = desks.open([("ops".to_owned(), EndpointView::default())].into_iter());
        let mut orders = orders.remove(0);
        (0..=ATTEMPTS_MAX).for_each(|number| orders.desk.note(attempt(number)));
        let shown = desks.view("ops").unwrap().attempts;
        assert_eq!((shown.len(), &*shown[0].id), (ATTEMPTS_MAX, "evt_1"));
        let desk = Arc::clone(&orders.desk);
        let waiting: Vec<_> = (0..ORDERS_MAX)
            .map(|_| {
                let (outcome, done) = oneshot::channel();
                assert!(desk.orders.try_send(Given { order: Order::Test, outcome }).is_ok());
                done
            })
            .collect();
        assert_eq!(desks.order("ops", Order::Test).await, Err(NotTaken::Busy));
        assert_eq!(desks.order("other", Order::Test).await, Err(NotTaken::Unknown));
        for waiting in waiting {
            assert!(orders.next().await.outcome.send(Outcome::Done).is_ok());
            assert_eq!(waiting.await, Ok(Outcome::Done));
        }
    }
}
