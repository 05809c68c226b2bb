//! What is known of the broker link, the population, the store and the other instances, as values with a word for each.
//! What that means for a person is said in `complaint`.

use std::sync::Arc;
use std::time::Instant;

use super::report::PopulationReport;
use super::settings::ReadyOn;

/// The link to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerHealth {
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

impl BrokerHealth {
    /// The word for it in answers, logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            BrokerHealth::Connecting => "connecting",
            BrokerHealth::Subscribed => "subscribed",
            BrokerHealth::LoginRefused(_) => "login_refused",
            BrokerHealth::SubscriptionRefused(_) => "subscription_refused",
            BrokerHealth::Lost(_) => "lost",
        }
    }
}

/// How far the retained statuses have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopulationState {
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

impl PopulationState {
    pub const ALL: [PopulationState; 5] = [
        PopulationState::Pending,
        PopulationState::Running,
        PopulationState::Complete,
        PopulationState::Unproven,
        PopulationState::Incomplete,
    ];

    /// Whether "never connected" may be answered.
    pub(super) fn counts(self, ready_on: ReadyOn) -> bool {
        match (self, ready_on) {
            (PopulationState::Complete, _) | (PopulationState::Unproven, ReadyOn::Unproven) => true,
            (PopulationState::Unproven, ReadyOn::Complete)
            | (PopulationState::Pending | PopulationState::Running | PopulationState::Incomplete, _) => false,
        }
    }

    /// The word for it in answers, logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            PopulationState::Pending => "pending",
            PopulationState::Running => "running",
            PopulationState::Complete => "complete",
            PopulationState::Unproven => "unproven",
            PopulationState::Incomplete => "incomplete",
        }
    }
}

/// How far a round is: types read, of how many that are to be read one by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundProgress {
    pub types_done: usize,
    pub types_total: usize,
}

/// Whether what is learned outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// Nothing is to be kept.
    Off,
    /// Everything is kept within the flush interval.
    Good,
    /// The store refuses or does not answer; the text says why. What waits for it is caught up later.
    Failing(String),
}

impl StoreHealth {
    /// The word for it in answers, logs and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            StoreHealth::Off => "off",
            StoreHealth::Good => "good",
            StoreHealth::Failing(_) => "failing",
        }
    }
}

/// Whether what other instances learn arrives here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerHealth {
    /// No other instance shares the store.
    Off,
    /// Everything that had been written at that moment is here.
    Current { at: Instant },
    /// The store cannot be read, or was not read yet.
    Broken,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthState {
    pub broker: BrokerHealth,
    pub population: PopulationState,
    /// What the latest finished round came to.
    pub report: Option<Arc<PopulationReport>>,
    /// A round is going on in the background of a population that counts.
    pub repairing: bool,
    pub progress: RoundProgress,
    pub store: StoreHealth,
    /// Another client with this client id is likely to take turns with this one; the text says so and what to do.
    pub rival: Option<String>,
    /// Which devices the store refuses to keep, in a sentence; `None` if it takes all.
    pub refused_by_store: Option<String>,
    /// Why statuses are not republished, in a sentence; `None` if they are, or are not to be.
    pub republish: Option<String>,
    /// What the broker does not offer, one sentence each.
    pub broker_limits: Vec<String>,
    /// Why the broker's counters of its own cannot be read, in a sentence; `None` if they can, or were not asked for.
    pub hidden_counters: Option<String>,
    /// Why the latest reading of the retained statuses was broken off; `None` once one has ended by itself.
    pub reading_failed: Option<String>,
}

impl HealthState {
    /// Before anything is known.
    pub(super) fn at_the_start() -> Self {
        Self {
            broker: BrokerHealth::Connecting,
            population: PopulationState::Pending,
            report: None,
            repairing: false,
            progress: RoundProgress::default(),
            store: StoreHealth::Off,
            rival: None,
            refused_by_store: None,
            republish: None,
            broker_limits: Vec::new(),
            hidden_counters: None,
            reading_failed: None,
        }
    }

    /// Whether retained statuses are being read, for the first time or again.
    pub fn is_reading(&self) -> bool {
        self.population == PopulationState::Running || self.repairing
    }
}
