//! The MQTT side: connect as an application, subscribe, and hand every status message over as it came.
//!
//! ```text
//! transport (bytes) <- connection (packets) <- live (one subscription for ever)  -> backlog -> ingest
//!                                           <- pass <- population (rounds, evidence) ->
//! ```
//!
//! Everything here runs on one thread of its own that only copies: a broker drops messages for a client that reads
//! slowly.

pub mod backlog;
mod broker_behavior;
mod broker_counters;
mod catalog;
mod evidence;
mod leadership;
mod link_watch;
mod live;
mod pass;
mod population;
mod replay;
mod rival;
mod round;
mod schedule;
pub mod settings;
#[cfg(test)]
mod slow_broker_tests;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::backlog::{Backlog, LinkId, PassId};
use self::broker_behavior::BrokerBehavior;
pub use self::catalog::DeviceCatalog;
use self::evidence::BrokerCounters;
pub use self::leadership::Leadership;
use self::live::{Live, Scaling, Way};
use self::population::PopulationReader;
use self::settings::{ApplicationKind, SourceSettings};
use crate::freshness::RoundNumber;
use crate::health::{BrokerHealth, Health, READ_TYPES_MAX};
use crate::metrics::Metrics;
use crate::registry::DeviceRegistry;
use formats::catalog::IOT_PLATFORM;
use mqtt::connection::OpenError;
use mqtt::offer::Offer;
use mqtt::transport::{DialError, Dialer};

/// One broker, read as one application.
pub struct Source {
    pub settings: SourceSettings,
    pub backlog: Backlog,
    /// Read only: which types and devices are known.
    pub registry: Arc<DeviceRegistry>,
    pub health: Arc<Health>,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    link: LinkId,
    /// The others go on if this one is refused.
    is_one_of_several: bool,
    last_pass: AtomicU64,
    /// The latest round of its own; another link may have begun a later one.
    round: AtomicU16,
    /// The broker has said that it keeps no retained messages.
    retains_nothing: AtomicBool,
    /// What the live subscription brought and the backlog did not take.
    live_loss: LiveLoss,
    link_log: Mutex<LinkLog>,
    /// A round has ended: types may be known that were not before.
    types_read: Notify,
    /// Whether this instance reads what is retained for all.
    leadership: Arc<Leadership>,
    /// Where the registry holds only some devices: what lists the others. `catalog_types` are the types of those.
    catalog: Option<Arc<dyn DeviceCatalog>>,
    catalog_types: Mutex<BTreeSet<String>>,
    /// Tells the members of a shared subscription apart, which have one client id.
    member: Option<String>,
}

/// How often the connection must end where a SUBACK is due until that counts as a refusal: a link can break at any moment.
const CLOSES_MAX: u32 = 2;

/// A state of the link that lasts is logged again after this time, so that the log tells that it lasts.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Which reports of the link's state are logged: each that is new, and the same again once in a while.
#[derive(Debug, Default)]
struct LinkLog {
    logged_at: Option<Instant>,
    /// How often the same was reported since.
    unlogged: u64,
}

impl LinkLog {
    /// Notes a report. Returns how many before it were not logged if it is to be logged.
    fn note(&mut self, is_new: bool, now: Instant) -> Option<u64> {
        let is_due = is_new || self.logged_at.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
        if !is_due {
            self.unlogged += 1;
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}

/// Counts batches of changes that were lost on our side, for the population to read again.
#[derive(Debug, Default)]
struct LiveLoss {
    count: AtomicU64,
    noticed: Notify,
}

impl LiveLoss {
    fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.noticed.notify_one();
    }

    fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until something is lost.
    async fn happened(&self) {
        self.noticed.notified().await;
    }
}

/// Why the source gave up: only before its first login was accepted.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("cannot prepare connections to the broker")]
    Prepare(#[source] DialError),
    #[error(transparent)]
    LoginRefused(OpenError),
}

impl Source {
    pub fn new(
        settings: SourceSettings,
        backlog: Backlog,
        registry: Arc<DeviceRegistry>,
        health: Arc<Health>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) -> Self {
        let member = match &settings.identity.kind {
            ApplicationKind::Client | ApplicationKind::Standalone => None,
            ApplicationKind::Scalable { instance: Some(instance) } => Some(instance.clone()),
            ApplicationKind::Scalable { instance: None } => Some(format!("{:08x}", rand::random::<u32>())),
        };
        let (last_pass, live_loss, types_read) = (AtomicU64::new(0), LiveLoss::default(), Notify::new());
        Self {
            settings,
            backlog,
            registry,
            health,
            metrics,
            shutdown,
            link: LinkId::default(),
            is_one_of_several: false,
            last_pass,
            round: AtomicU16::new(RoundNumber::NONE.to_bits()),
            retains_nothing: AtomicBool::new(false),
            live_loss,
            link_log: Mutex::default(),
            types_read,
            leadership: Arc::new(Leadership::of_one()),
            catalog: None,
            catalog_types: Mutex::default(),
            member,
        }
    }

    /// One of several sources of this process, each with a link of its own: it keeps trying where the only one would give up.
    pub fn with_link(self, link: LinkId) -> Self {
        // No two links may give one number to their passes; no process lives to see so many of them.
        let last_pass = AtomicU64::new(u64::from(link.0) << 48);
        Self { link, is_one_of_several: true, last_pass, ..self }
    }

    /// One of several sources that share their messages: of those, one reads what is retained.
    pub fn with_leadership(self, leadership: Arc<Leadership>) -> Self {
        Self { leadership, ..self }
    }

    /// Where the registry holds only some of the devices, others are asked for by what a store knows.
    pub fn knowing(self, catalog: Option<Arc<dyn DeviceCatalog>>) -> Self {
        Self { catalog, ..self }
    }

    /// Runs until shutdown; returns an error only if the very first login is refused.
    pub async fn run(&self) -> Result<(), SourceError> {
        let dialer = Dialer::new(&self.settings.connect()).map_err(SourceError::Prepare)?;
        let (events, received) = mpsc::unbounded_channel();
        let (counters_sender, counters) = watch::channel(BrokerCounters::default());
        let counters_wanted = Notify::new();
        let behavior = BrokerBehavior::default();
        let way = Cell::new(Way::first(&self.settings));
        let scaling = Cell::new(Scaling::AsConfigured);
        let live = Live {
            source: self,
            dialer: &dialer,
            events,
            way,
            scaling,
            subscribed_ms: Cell::new(0),
            counters_wanted: &counters_wanted,
            behavior: &behavior,
        };
        let population = PopulationReader::new(self, &dialer, counters, &counters_wanted, &behavior);
        let counting = async {
            broker_counters::watch(self, &dialer, &counters_wanted, counters_sender).await;
            // A broker that does not count ends this, and nothing else.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = live.run() => ended,
            () = population.run(received) => Ok(()),
            () = counting => Ok(()),
        }
    }

    /// Whether there are retained states to read.
    fn reads_retained(&self) -> bool {
        !self.settings.formats.retained_filters().is_empty()
    }

    /// The client id of the live subscription.
    fn live_client_id(&self, scaling: Scaling) -> String {
        match (scaling, &self.member) {
            (Scaling::AsInstance, Some(member)) => self.settings.identity.client_id_of_instance(member),
            (Scaling::AsInstance, None) | (Scaling::AsConfigured, _) => self.settings.identity.client_id(),
        }
    }

    /// The client id of a further connection: no two at a time may have the same, also among instances that share the
    /// application's.
    fn client_id_of(&self, role: &str) -> String {
        let identity = &self.settings.identity;
        match &self.member {
            Some(member) => identity.client_id_of(&format!("{member}-{role}")),
            None => identity.client_id_of(role),
        }
    }

    /// Whether more types are known than are read one by one, beside those that are configured.
    fn has_too_many_types(&self) -> bool {
        self.registry.types_total() > READ_TYPES_MAX || self.catalog_types.lock().len() > READ_TYPES_MAX
    }

    /// The device types that are this instance's to read one by one: those that are configured, and all others that anybody
    /// knows of unless they are too many.
    fn known_types(&self) -> BTreeSet<String> {
        let others = if self.has_too_many_types() { 0 } else { READ_TYPES_MAX };
        self.types_with_others(others)
    }

    /// The types that a subscription names which cannot be to every device.
    fn subscribed_types(&self) -> BTreeSet<String> {
        self.types_with_others(READ_TYPES_MAX)
    }

    fn types_with_others(&self, most: usize) -> BTreeSet<String> {
        if !self.settings.formats.are_platform_only() {
            // Of other formats no subscription can name a type.
            return BTreeSet::new();
        }
        let settings = &self.settings.population;
        let seen = self.registry.totals_by_type(None, most).into_iter().map(|(name, _)| name.to_string());
        let stored = self.catalog_types.lock();
        let known = seen.chain(settings.types.iter().cloned()).chain(settings.devices.keys().cloned());
        let known = known.chain(stored.iter().take(most).cloned());
        known.filter(|device_type| self.settings.takes(device_type)).collect()
    }

    /// Begins a round: devices that messages are about from now on count in it.
    fn begin_round(&self) -> RoundNumber {
        let round = self.next_round();
        self.health.round_begun(round);
        round
    }

    fn next_round(&self) -> RoundNumber {
        let round = self.registry.begin_round();
        self.round.store(round.to_bits(), Ordering::Relaxed);
        round
    }

    /// The round that is on.
    fn round(&self) -> RoundNumber {
        if self.is_one_of_several {
            RoundNumber::from_bits(self.round.load(Ordering::Relaxed))
        } else {
            self.registry.round()
        }
    }

    /// Devices that messages of it were about, whatever rounds other links have begun meanwhile.
    fn received_in_round(&self) -> Option<u64> {
        self.registry.received_in(self.round())
    }

    /// Whether the round brought no message about some device whose state the broker should have retained.
    fn holds_unreplayed(&self) -> bool {
        let (round, formats) = (self.round(), &self.settings.formats);
        self.registry.holds_unreceived(round, |source| formats.is_retained(source.unwrap_or(IOT_PLATFORM)))
    }

    fn next_pass(&self) -> PassId {
        PassId(self.last_pass.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Shows what the broker does not offer, and logs it if it is something else than before.
    fn report_limits(&self, offer: &Offer, granted: Option<String>) {
        self.retains_nothing.store(!offer.retains, Ordering::Relaxed);
        let limits: Vec<String> = offer.limits.iter().cloned().chain(granted).collect();
        if self.health.set_broker_limits(limits.clone()) {
            for limit in limits {
                tracing::warn!(broker = %self.settings.endpoint, "{limit}");
            }
        }
    }

    /// Shows why the broker's own counters cannot be read, and logs it if that is new.
    fn report_hidden_counters(&self, why: Option<String>) {
        if self.health.set_hidden_counters(why.clone())
            && let Some(why) = why
        {
            tracing::warn!(broker = %self.settings.endpoint, "{why}");
        }
    }

    /// Shows that another client with this client id is likely to take turns with this one, and logs it if that is new.
    fn report_rival(&self, rival: Option<String>) {
        if self.health.set_rival(rival.clone())
            && let Some(rival) = rival
        {
            tracing::warn!(broker = %self.settings.endpoint, "{rival}");
        }
    }

    /// Shows the state of the link, and logs it if it is another than before.
    fn report(&self, broker: BrokerHealth) {
        let is_new = self.health.set_broker(broker.clone());
        let Some(unlogged) = self.link_log.lock().note(is_new, Instant::now()) else { return };
        let endpoint = &self.settings.endpoint;
        match &broker {
            BrokerHealth::Subscribed => tracing::info!(broker = %endpoint, "subscribed to every device"),
            BrokerHealth::Connecting => tracing::info!(broker = %endpoint, "connecting"),
            BrokerHealth::LoginRefused(why)
            | BrokerHealth::SubscriptionRefused(why)
            | BrokerHealth::Lost(why) => {
                tracing::warn!(broker = %endpoint, unlogged_before = unlogged, "{why}; trying again");
            }
        }
    }
}

/// Waits until `deadline`, for ever without one.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_lasts_is_logged_once_a_minute() {
        let (mut log, start) = (LinkLog::default(), Instant::now());
        assert_eq!(log.note(true, start), Some(0));
        for seconds in 1..60 {
            assert_eq!(log.note(false, start + Duration::from_secs(seconds)), None, "after {seconds} s");
        }
        assert_eq!(log.note(false, start + LOG_INTERVAL), Some(59));
        assert_eq!(log.note(true, start + LOG_INTERVAL), Some(0), "a change is logged at once");
    }
}
