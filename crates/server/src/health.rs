//! What works and what does not: the state of the broker link and of the population, as one value that all may read.

mod link;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use self::link::LinkFreshness;
pub use self::report::{PopulationReport, READ_TYPES_MAX, REPORTED_TYPES_MAX, TypeReport};
use crate::clock;
use crate::freshness::{Freshness, RoundNumber};

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

    /// What is wrong, for a person; `None` where nothing is.
    pub fn complaint(&self) -> Option<String> {
        match self {
            BrokerHealth::Subscribed => None,
            BrokerHealth::Connecting => Some("The broker has not been reached yet.".to_owned()),
            BrokerHealth::LoginRefused(why)
            | BrokerHealth::SubscriptionRefused(why)
            | BrokerHealth::Lost(why) => Some(why.clone()),
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

/// How sure the population must be before the service counts as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadyOn {
    /// Every retained status is known to be here.
    Complete,
    /// Nothing speaks against it, and a further pass added nothing.
    Unproven,
}

impl ReadyOn {
    /// The word for it in settings and answers.
    pub fn word(self) -> &'static str {
        match self {
            ReadyOn::Complete => "complete",
            ReadyOn::Unproven => "unproven",
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

    /// What is wrong, for a person; `None` where nothing is.
    pub fn complaint(&self) -> Option<String> {
        match self {
            StoreHealth::Off | StoreHealth::Good => None,
            StoreHealth::Failing(why) => Some(format!("Changes are not stored at present: {why}.")),
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

/// The state of the whole, shared by those who set it and those who show it.
#[derive(Debug)]
pub struct Health {
    ready_on: ReadyOn,
    state: RwLock<HealthState>,
    /// Whether a device that is not in the map may be called never connected: beside the lock, because lookups must not
    /// share one. Once it is true it stays so: later rounds only correct what was missed meanwhile.
    populated: AtomicBool,
    /// Which answers may be out of date because of the broker link; beside the lock for the same reason.
    link: LinkFreshness,
    peer_health: Mutex<PeerHealth>,
    /// When everything that others had written was here for the last time.
    peers_read_at: Mutex<Option<Instant>>,
    /// Whether some devices are heard of through other instances only.
    relies_on_others: AtomicBool,
}

/// How long what others write may take to come here until what is answered counts as out of date: some looks at the store.
const PEERS_READ_WITHIN: Duration = Duration::from_secs(5);

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
    /// What the broker does not offer, one sentence each.
    pub broker_limits: Vec<String>,
    /// Why the latest reading of the retained statuses was broken off; `None` once one has ended by itself.
    pub reading_failed: Option<String>,
}

impl HealthState {
    /// Whether retained statuses are being read, for the first time or again.
    pub fn is_reading(&self) -> bool {
        self.population == PopulationState::Running || self.repairing
    }
}

impl Health {
    pub fn new(ready_on: ReadyOn) -> Self {
        let state = HealthState {
            broker: BrokerHealth::Connecting,
            population: PopulationState::Pending,
            report: None,
            repairing: false,
            progress: RoundProgress::default(),
            store: StoreHealth::Off,
            rival: None,
            refused_by_store: None,
            broker_limits: Vec::new(),
            reading_failed: None,
        };
        Self {
            ready_on,
            state: RwLock::new(state),
            populated: AtomicBool::new(false),
            link: LinkFreshness::default(),
            peer_health: Mutex::new(PeerHealth::Off),
            peers_read_at: Mutex::default(),
            relies_on_others: AtomicBool::new(false),
        }
    }

    pub fn ready_on(&self) -> ReadyOn {
        self.ready_on
    }

    pub fn state(&self) -> HealthState {
        self.state.read().clone()
    }

    /// Whether a device that is not in the map may be called never connected.
    pub fn populated(&self) -> bool {
        self.populated.load(Ordering::Acquire)
    }

    /// Some devices are heard of through other instances only: while these cannot be followed, statuses may be out of date.
    pub fn rely_on_others(&self) {
        self.relies_on_others.store(true, Ordering::Release);
    }

    /// Which answers may be out of date: because of the broker link, or because others that are relied on cannot be
    /// followed. To be asked before a device is read, so that what is read is at least as new as this says.
    pub fn freshness(&self) -> Freshness {
        let others_are_lost =
            self.relies_on_others.load(Ordering::Acquire) && !self.peers_read_within(PEERS_READ_WITHIN);
        if others_are_lost { Freshness::Unconfirmed } else { self.link.freshness(clock::since_boot()) }
    }

    fn peers_read_within(&self, bound: Duration) -> bool {
        self.peers_read_at.lock().is_some_and(|at| at.elapsed() <= bound)
    }

    /// For how many seconds answers may have been out of date, at most; `None` before the first link.
    pub fn stale_seconds(&self) -> Option<u64> {
        let now = clock::since_boot();
        let link = self.link.lost_at(now).map(|at| now.saturating_sub(at));
        let others = (*self.peers_read_at.lock()).filter(|_| self.relies_on_others.load(Ordering::Acquire));
        let longest = [link, others.map(|at| at.elapsed())].into_iter().flatten().max()?;
        Some(longest.as_secs())
    }

    /// The source looks at the link, as it does every second. Returns whether too much time has gone by since the last look
    /// to tell if the broker is still there: then answers count as out of date until [`Health::link_is_alive`].
    pub fn check_link(&self) -> bool {
        self.link.check(clock::since_boot()).is_some()
    }

    /// Nothing has come from the broker for so long that the link may be dead.
    pub fn link_is_silent(&self, silent_for: Duration) {
        self.link.doubt(clock::since_boot().saturating_sub(silent_for));
    }

    /// The broker has given a sign of life over the link that was doubted.
    pub fn link_is_alive(&self) {
        self.link.trust();
    }

    /// The link has ended; the broker had been silent for so long.
    pub fn link_lost(&self, silent_for: Duration) {
        self.link.lose(clock::since_boot().saturating_sub(silent_for));
    }

    /// A round of the population begins.
    pub fn round_begun(&self, number: RoundNumber) {
        self.link.round_begun(number);
    }

    /// A round of the population has ended: what it has not heard of is as it is known to be, unless the round itself knows
    /// that it has missed something.
    pub fn round_ended(&self, number: RoundNumber) {
        self.link.round_ended(number);
    }

    /// Another instance has read everything again, and all of it is here.
    pub fn others_have_read(&self) {
        self.link.others_have_read();
    }

    /// What keeps the service from being ready, one sentence each; empty if it is.
    pub fn missing(&self) -> Vec<String> {
        let state = self.state.read();
        let population = match (state.population, self.ready_on) {
            (PopulationState::Complete, _) | (PopulationState::Unproven, ReadyOn::Unproven) => None,
            (PopulationState::Unproven, ReadyOn::Complete) => {
                Some("The retained statuses have been read, and nothing proves that none is missing.")
            }
            (PopulationState::Pending, _) => Some("The retained statuses have not been asked for yet."),
            (PopulationState::Running, _) => Some("The retained statuses are still being read."),
            (PopulationState::Incomplete, _) => Some("Some retained statuses are known to be missing."),
        };
        let types = state.report.as_ref().map(|report| report.unproven_types()).unwrap_or_default();
        let population = population.map(|sentence| format!("{sentence}{types}"));
        let mut missing: Vec<String> = state.broker.complaint().into_iter().chain(population).collect();
        if !missing.is_empty() {
            // What may be the cause; a service that is ready does well without.
            let failed = state.reading_failed.iter();
            missing
                .extend(failed.map(|why| format!("Reading them was broken off and is tried again: {why}.")));
            missing.extend(state.broker_limits.iter().cloned());
            return missing;
        }
        drop(state);
        self.outdated().into_iter().collect()
    }

    /// Why some answers may be out of date though link and population are good.
    fn outdated(&self) -> Option<String> {
        let seconds = |at: Duration| clock::since_boot().saturating_sub(at).as_secs();
        let lost_at = self.link.lost_at(clock::since_boot()).map(seconds);
        match (self.link.freshness(clock::since_boot()), lost_at) {
            (Freshness::Current, _) => None,
            (Freshness::ReadingAgain { .. }, Some(seconds)) => Some(format!(
                "The link to the broker was lost {seconds} s ago and is back; the retained statuses are being read again, \
                 and devices that have not been read since are stale."
            )),
            (Freshness::ReadingAgain { .. }, None) => {
                Some("The retained statuses are still being read; devices that have not been read yet are stale.".to_owned())
            }
            (Freshness::Unconfirmed, _) => Some(
                "The broker has been silent, so the link may be dead: every answer is called stale until it answers."
                    .to_owned(),
            ),
        }
    }

    /// Sets what the broker does not offer and says whether it is something else than before.
    pub fn set_broker_limits(&self, limits: Vec<String>) -> bool {
        let mut state = self.state.write();
        let changed = state.broker_limits != limits;
        state.broker_limits = limits;
        changed
    }

    /// A reading of the retained statuses was broken off.
    pub fn reading_failed(&self, why: String) {
        self.state.write().reading_failed = Some(why);
    }

    /// Sets the state of the link and says whether it is another than before.
    pub fn set_broker(&self, broker: BrokerHealth) -> bool {
        let mut state = self.state.write();
        let changed = state.broker != broker;
        match broker {
            BrokerHealth::Subscribed => self.link.restore(),
            BrokerHealth::Connecting
            | BrokerHealth::LoginRefused(_)
            | BrokerHealth::SubscriptionRefused(_)
            | BrokerHealth::Lost(_) => self.link.lose(clock::since_boot()),
        }
        state.broker = broker;
        changed
    }

    /// Sets whether another client is likely to take turns with this one, and says whether that is another text than before.
    pub fn set_rival(&self, rival: Option<String>) -> bool {
        if self.state.read().rival == rival {
            return false;
        }
        self.state.write().rival = rival;
        true
    }

    pub fn set_store(&self, store: StoreHealth) {
        self.state.write().store = store;
    }

    /// Sets the sentence that says which devices the store refuses to keep.
    pub fn set_refused_by_store(&self, sentence: Option<String>) {
        self.state.write().refused_by_store = sentence;
    }

    pub fn peer_health(&self) -> PeerHealth {
        *self.peer_health.lock()
    }

    /// Sets whether other instances can be followed.
    pub fn set_peer_health(&self, peer_health: PeerHealth) {
        if let PeerHealth::Current { at } = peer_health {
            *self.peers_read_at.lock() = Some(at);
        }
        *self.peer_health.lock() = peer_health;
    }

    /// A round begins; what earlier rounds came to stays in force until it ends.
    pub fn population_running(&self) {
        let mut state = self.state.write();
        state.progress = RoundProgress::default();
        state.repairing = state.report.is_some();
        if !state.repairing {
            state.population = PopulationState::Running;
        }
    }

    pub fn population_progress(&self, types_done: usize, types_total: usize) {
        self.state.write().progress = RoundProgress { types_done, types_total };
    }

    /// Something that was received has been lost since the latest round, so it must be read again.
    pub fn population_incomplete(&self) {
        let mut state = self.state.write();
        let Some(report) = &state.report else { return };
        let lost = PopulationReport {
            state: PopulationState::Incomplete,
            evidence: "missing",
            ..(**report).clone()
        };
        state.population = lost.state;
        state.report = Some(Arc::new(lost));
    }

    /// What was known of devices that are not held may be lost: as at the start, it is too early to say that one never
    /// connected.
    pub fn unpopulate(&self) {
        self.population_incomplete();
        self.populated.store(false, Ordering::Release);
    }

    /// A round has ended.
    pub fn population_done(&self, report: PopulationReport) {
        let mut state = self.state.write();
        state.population = report.state;
        state.repairing = false;
        state.reading_failed = None;
        state.report = Some(Arc::new(report));
        let counts = match (state.population, self.ready_on) {
            (PopulationState::Complete, _) | (PopulationState::Unproven, ReadyOn::Unproven) => true,
            (PopulationState::Unproven, ReadyOn::Complete) => false,
            (PopulationState::Pending | PopulationState::Running | PopulationState::Incomplete, _) => false,
        };
        if counts {
            self.populated.store(true, Ordering::Release);
        }
    }
}
