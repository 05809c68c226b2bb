//! What works and what does not: the state of the broker link and of the population, as one value that all may read. What
//! the states are is in `state`, what is said of them in `complaint`, and what follows from the link for answers in `link`.

mod complaint;
mod link;
mod links;
mod report;
mod settings;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use self::link::LinkFreshness;
pub use self::links::LinkHealth;
pub use self::report::{
    NOTHING_REPLAYED, Observed, PopulationReport, READ_TYPES_MAX, REPORTED_TYPES_MAX, TypeReport,
};
pub use self::settings::ReadyOn;
pub use self::state::{BrokerHealth, HealthState, PeerHealth, PopulationState, RoundProgress, StoreHealth};
use crate::clock;
use crate::freshness::{Freshness, FreshnessBySource, RoundNumber};

/// The state of the whole, shared by those who set it and those who show it.
#[derive(Debug)]
pub struct Health {
    ready_on: ReadyOn,
    state: RwLock<HealthState>,
    /// Whether a device that is not in the registry may be called never connected: beside the lock, because lookups must not
    /// share one. Once it is true it stays so: later rounds only correct what was missed meanwhile.
    populated: AtomicBool,
    /// Which answers may be out of date because of the broker link; beside the lock for the same reason.
    link: LinkFreshness,
    /// Since when there has been a subscription; `None` while there is none.
    link_since: Mutex<Option<Instant>>,
    peer_health: Mutex<PeerHealth>,
    /// When everything that others had written was here for the last time.
    peers_read_at: Mutex<Option<Instant>>,
    /// Whether some devices are heard of through other instances only.
    relies_on_others: AtomicBool,
    /// Where there are several links: each has a health of its own, and what is about links here is unused.
    links: Vec<LinkHealth>,
}

/// How long what others write may take to come here until what is answered counts as out of date: some looks at the store.
const PEERS_READ_WITHIN: Duration = Duration::from_secs(5);

impl Health {
    pub fn new(ready_on: ReadyOn) -> Self {
        Self {
            ready_on,
            state: RwLock::new(HealthState::at_the_start()),
            populated: AtomicBool::new(false),
            link: LinkFreshness::default(),
            link_since: Mutex::default(),
            peer_health: Mutex::new(PeerHealth::Off),
            peers_read_at: Mutex::default(),
            relies_on_others: AtomicBool::new(false),
            links: Vec::new(),
        }
    }

    /// Of a service that reads several brokers.
    pub fn of_links(ready_on: ReadyOn, links: Vec<LinkHealth>) -> Self {
        Self { links, ..Self::new(ready_on) }
    }

    pub fn ready_on(&self) -> ReadyOn {
        self.ready_on
    }

    pub fn state(&self) -> HealthState {
        let own = self.state.read().clone();
        if self.links.is_empty() { own } else { self.state_of_links(own) }
    }

    /// Whether a device that is not in the registry may be called never connected.
    pub fn populated(&self) -> bool {
        if self.links.is_empty() {
            return self.populated.load(Ordering::Acquire);
        }
        self.links.iter().all(|link| link.health.populated())
    }

    /// Some devices are heard of through other instances only: while these cannot be followed, statuses may be out of date.
    pub fn rely_on_others(&self) {
        self.relies_on_others.store(true, Ordering::Release);
    }

    /// Which answers may be out of date: because of the broker link, or because others that are relied on cannot be
    /// followed. To be asked before a device is read, so that what is read is at least as new as this says.
    pub fn freshness(&self) -> FreshnessBySource {
        if self.links.is_empty() {
            FreshnessBySource::of_one_link(self.link_freshness())
        } else {
            self.freshness_of_links()
        }
    }

    /// The same of the only link, or of one of several.
    pub fn link_freshness(&self) -> Freshness {
        let others_are_lost =
            self.relies_on_others.load(Ordering::Acquire) && !self.peers_read_within(PEERS_READ_WITHIN);
        if others_are_lost { Freshness::Unconfirmed } else { self.link.freshness(clock::since_boot()) }
    }

    fn peers_read_within(&self, bound: Duration) -> bool {
        self.peers_read_at.lock().is_some_and(|at| at.elapsed() <= bound)
    }

    /// For how many seconds answers may have been out of date, at most; `None` before the first link.
    pub fn stale_seconds(&self) -> Option<u64> {
        if !self.links.is_empty() {
            return self.links.iter().filter_map(|link| link.health.stale_seconds()).max();
        }
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

    /// Whether the whole fleet is known as it is now, and every link has held for so long: what was counted in that time is
    /// all that happened.
    pub fn has_observed_for(&self, time: Duration) -> bool {
        if !self.links.is_empty() {
            return self.links.iter().all(|link| link.health.has_observed_for(time));
        }
        self.state.read().population.counts(self.ready_on)
            && self.populated()
            && !self.link_freshness().is_any_stale()
            && self.link_since().is_some_and(|since| since.elapsed() >= time)
    }

    /// What of the fleet is known as it is now, of the only link or of one of several.
    pub fn observed(&self) -> Observed {
        if self.has_observed_for(Duration::ZERO) {
            return Observed::Everything;
        }
        if self.link_freshness().is_any_stale() || self.link_since().is_none() {
            return Observed::Nothing;
        }
        let state = self.state.read();
        let has_ended = matches!(state.population, PopulationState::Unproven | PopulationState::Incomplete);
        let report = state.report.as_ref().filter(|report| has_ended && report.types_proven > 0);
        report.map_or(Observed::Nothing, |report| Observed::ProvenTypes(Arc::clone(report)))
    }

    /// Since when everything that the broker sends has been received; `None` while it may not be.
    pub fn link_since(&self) -> Option<Instant> {
        let since = *self.link_since.lock();
        since.filter(|_| self.link.freshness(clock::since_boot()) != Freshness::Unconfirmed)
    }

    /// The link has ended; the broker had been silent for so long.
    pub fn link_lost(&self, silent_for: Duration) {
        *self.link_since.lock() = None;
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
        if !self.links.is_empty() {
            return self.missing_of_links();
        }
        let missing = complaint::missing(&self.state.read(), self.ready_on);
        if !missing.is_empty() {
            return missing;
        }
        let now = clock::since_boot();
        let lost_seconds = self.link.lost_at(now).map(|at| now.saturating_sub(at).as_secs());
        complaint::outdated(self.link.freshness(now), lost_seconds).into_iter().collect()
    }

    /// Sets what the broker does not offer and says whether it is something else than before.
    pub fn set_broker_limits(&self, limits: Vec<String>) -> bool {
        let mut state = self.state.write();
        let changed = state.broker_limits != limits;
        state.broker_limits = limits;
        changed
    }

    /// Sets why the broker's own counters cannot be read, and says whether that is another sentence than before.
    pub fn set_hidden_counters(&self, why: Option<String>) -> bool {
        let mut state = self.state.write();
        let changed = state.hidden_counters != why;
        state.hidden_counters = why;
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
            BrokerHealth::Subscribed => {
                self.link_since.lock().get_or_insert_with(Instant::now);
                self.link.restore();
            }
            BrokerHealth::Connecting
            | BrokerHealth::LoginRefused(_)
            | BrokerHealth::SubscriptionRefused(_)
            | BrokerHealth::Lost(_) => {
                *self.link_since.lock() = None;
                self.link.lose(clock::since_boot());
            }
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

    /// Sets why statuses are not republished, and says whether that is another sentence than before.
    pub fn set_republish(&self, sentence: Option<String>) -> bool {
        let mut state = self.state.write();
        let changed = state.republish != sentence;
        state.republish = sentence;
        changed
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
        // Of which type it was is not known.
        let unproven = |report: &TypeReport| TypeReport { proven: false, ..report.clone() };
        let lost = PopulationReport {
            state: PopulationState::Incomplete,
            evidence: "missing",
            types_total: report.types_total,
            types_proven: 0,
            types: report.types.iter().map(unproven).collect(),
        };
        state.population = lost.state;
        state.report = Some(Arc::new(lost));
    }

    /// What was known of devices that are not held may be lost: as at the start, it is too early to say that one never
    /// connected.
    pub fn unpopulate(&self) {
        self.links.iter().for_each(|link| link.health.unpopulate());
        self.population_incomplete();
        self.populated.store(false, Ordering::Release);
    }

    /// The first round goes on: this is its result so far.
    pub fn population_so_far(&self, report: PopulationReport) {
        if self.state.read().report.is_none() {
            self.population_done(report);
        }
    }

    /// A round has ended.
    pub fn population_done(&self, report: PopulationReport) {
        let mut state = self.state.write();
        state.population = report.state;
        state.repairing = false;
        state.reading_failed = None;
        let may_say_never = report.state.counts(self.ready_on) && !report.replayed_nothing();
        state.report = Some(Arc::new(report));
        if may_say_never {
            self.populated.store(true, Ordering::Release);
        }
    }
}
