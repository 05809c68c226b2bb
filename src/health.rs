//! What works and what does not: the state of the broker link and of the population, as one value that all may read.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

/// The link to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broker {
    /// Not connected yet, or again.
    Connecting,
    /// Connected and subscribed.
    Subscribed,
    /// The login is refused; the text says what to check.
    LoginRefused(String),
    /// The subscription is refused; the text says how.
    SubscriptionRefused(String),
    /// The connection failed or was lost; the text says why.
    Lost(String),
}

impl Broker {
    /// The word for it in answers, logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Broker::Connecting => "connecting",
            Broker::Subscribed => "subscribed",
            Broker::LoginRefused(_) => "login_refused",
            Broker::SubscriptionRefused(_) => "subscription_refused",
            Broker::Lost(_) => "lost",
        }
    }

    /// What is wrong, for a person; `None` where nothing is.
    pub fn complaint(&self) -> Option<String> {
        match self {
            Broker::Subscribed => None,
            Broker::Connecting => Some("The broker has not been reached yet.".to_owned()),
            Broker::LoginRefused(why) | Broker::SubscriptionRefused(why) | Broker::Lost(why) => {
                Some(why.clone())
            }
        }
    }
}

/// How far the retained statuses have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population {
    /// No replay has begun yet.
    Pending,
    /// The first replay is on its way.
    Running,
    /// Every retained status is known to be here.
    Complete,
    /// Nothing speaks against it, and nothing proves it.
    Unproven,
    /// Something is known to be missing.
    Incomplete,
}

impl Population {
    /// The word for it in answers, logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Population::Pending => "pending",
            Population::Running => "running",
            Population::Complete => "complete",
            Population::Unproven => "unproven",
            Population::Incomplete => "incomplete",
        }
    }
}

/// The state of the whole, shared by those who set it and those who show it.
#[derive(Debug)]
pub struct Health {
    state: RwLock<State>,
    /// Copy of `state.populated()` for the lookups, which must not share a lock.
    populated: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub broker: Broker,
    pub population: Population,
}

impl State {
    /// Whether a device that is not in the map may be called never connected.
    fn populated(&self) -> bool {
        match self.population {
            Population::Complete | Population::Unproven => true,
            Population::Pending | Population::Running | Population::Incomplete => false,
        }
    }

    /// What keeps the service from being ready, one sentence each; empty if it is.
    pub fn missing(&self) -> Vec<String> {
        let population = match self.population {
            Population::Complete | Population::Unproven => None,
            Population::Pending => Some("The retained statuses have not been asked for yet."),
            Population::Running => Some("The retained statuses are still being read."),
            Population::Incomplete => Some("Some retained statuses are known to be missing."),
        };
        self.broker.complaint().into_iter().chain(population.map(str::to_owned)).collect()
    }
}

impl Default for Health {
    fn default() -> Self {
        let state = State { broker: Broker::Connecting, population: Population::Pending };
        Self { state: RwLock::new(state), populated: AtomicBool::new(false) }
    }
}

impl Health {
    pub fn state(&self) -> State {
        self.state.read().clone()
    }

    /// Whether a device that is not in the map may be called never connected.
    pub fn populated(&self) -> bool {
        self.populated.load(Ordering::Acquire)
    }

    /// Sets the state of the link and says whether it is another than before.
    pub fn set_broker(&self, broker: Broker) -> bool {
        let mut state = self.state.write();
        let changed = state.broker != broker;
        state.broker = broker;
        changed
    }

    pub fn set_population(&self, population: Population) {
        let mut state = self.state.write();
        state.population = population;
        self.populated.store(state.populated(), Ordering::Release);
    }
}
