//! The engine with what it observes: every device at the beginning, every change since then, and what of the fleet is observed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use alerts::{Engine, GroupBy, Kind, Now, Observation, Part, RuleSet, UNOBSERVED_RULE, WallMillis};
use presence::{Device, DeviceName, EventKind, Status};
use server::feed::{Behind, Change, ChangeReader, Feed, FleetWalk};
use server::health::{Health, Observed, PopulationReport};
use server::registry::{DeviceRegistry, Snapshot};
use system::clock;
use tokio::task::yield_now;

use crate::service::AlertService;

/// The engine, and where it is in the feed.
pub struct Evaluator {
    pub engine: Engine,
    reader: ChangeReader,
    registry: Arc<DeviceRegistry>,
    feed: Arc<Feed>,
    health: Arc<Health>,
    /// Some rule looks at addresses, which may have to be read out of the message.
    needs_addresses: bool,
    /// What is known of populations in which devices may be missing, and the types that it does not prove.
    reports: Vec<Arc<PopulationReport>>,
    unproven: BTreeSet<String>,
}

/// What time it is.
pub fn now() -> Now {
    let ticks = u64::try_from(clock::since_boot().as_millis()).unwrap_or(u64::MAX);
    Now { ticks, wall: WallMillis(clock::now_millis()) }
}

impl Evaluator {
    pub fn new(all: &AlertService, engine: Engine, rules: &RuleSet) -> Self {
        Self {
            engine,
            reader: all.feed.follow_internally(),
            registry: Arc::clone(&all.registry),
            feed: Arc::clone(&all.feed),
            health: Arc::clone(&all.health),
            needs_addresses: needs_addresses(rules),
            reports: Vec::new(),
            unproven: BTreeSet::new(),
        }
    }

    /// Replaces the rules.
    pub async fn set_rules(&mut self, rules: Arc<RuleSet>) {
        self.needs_addresses = needs_addresses(&rules);
        if self.engine.set_rules(rules, now()) {
            self.observe_all().await;
        }
    }

    /// Waits until there are changes.
    pub async fn wait(&mut self) {
        self.reader.wait().await
    }

    /// Observes what has changed, or everything if that is known no longer.
    pub async fn observe_changes(&mut self) {
        loop {
            match self.reader.take() {
                Ok(batch) if batch.changes().is_empty() => break,
                Ok(batch) => batch.changes().iter().for_each(|change| self.observe_change(change)),
                Err(Behind) => {
                    tracing::warn!(
                        "changes came faster than alert rules look at them: every device is read again"
                    );
                    self.observe_all().await;
                }
            }
            yield_now().await;
        }
        for device in self.feed.failed_logins.take() {
            self.observe_failed_login(&device);
        }
    }

    /// Says what is observed now.
    pub fn observe_health(&mut self) {
        let now = now();
        let links = self.health.links();
        let mut reports = Vec::new();
        let mut is_observed = |observed: Observed| match observed {
            Observed::Nothing => false,
            Observed::Everything => true,
            Observed::ProvenTypes(report) => {
                reports.push(report);
                true
            }
        };
        let mut is_any_observed = links.is_empty() && is_observed(self.health.observed());
        for link in links {
            let is_observed = is_observed(link.health.observed());
            is_any_observed |= is_observed;
            for source in &link.sources {
                self.engine.set_observed(now, Part::Source(source), is_observed);
            }
        }
        self.engine.set_observed(now, Part::Fleet, is_any_observed);
        self.observe_types(now, reports);
    }

    /// Of a type that nothing proves to be whole, devices may be missing.
    fn observe_types(&mut self, now: Now, reports: Vec<Arc<PopulationReport>>) {
        let pairs = reports.iter().zip(&self.reports);
        if reports.len() == self.reports.len()
            && pairs.into_iter().all(|(one, other)| Arc::ptr_eq(one, other))
        {
            return;
        }
        let unproven = reports.iter().flat_map(|report| &report.types).filter(|of_type| !of_type.proven);
        let unproven: BTreeSet<String> = unproven.map(|of_type| of_type.device_type.clone()).collect();
        for device_type in self.unproven.difference(&unproven) {
            self.engine.set_observed(now, Part::Type(device_type), true);
        }
        for device_type in unproven.difference(&self.unproven) {
            self.engine.set_observed(now, Part::Type(device_type), false);
        }
        (self.unproven, self.reports) = (unproven, reports);
    }

    /// Ends the outages that an earlier process announced of sources that there are no longer.
    pub fn end_outages_of_others(&mut self) {
        let is_known = |source: &str| {
            let mut known = self.health.links().iter().flat_map(|link| &link.sources);
            source.is_empty() || known.any(|known| **known == *source)
        };
        let announced = self.engine.announced().into_iter();
        let outages = announced.filter(|alert| *alert.rule == *UNOBSERVED_RULE && !is_known(&alert.group));
        for alert in outages.collect::<Vec<_>>() {
            self.engine.set_observed(now(), Part::Source(&alert.group), true);
        }
    }

    /// Observes every device as it is now, and the changes after that.
    pub async fn observe_all(&mut self) {
        loop {
            self.reader.go_to(self.feed.head());
            self.engine.begin_anew();
            match self.walk().await {
                Ok(()) => break,
                Err(Behind) => yield_now().await,
            }
        }
        // Of a device that was forgotten meanwhile, no change tells.
        let is_gone = |device: Device<'_>| self.registry.read(device, |_| ()).is_none();
        for device in self.engine.devices(is_gone) {
            self.engine.observe(now(), &forgotten(&device));
        }
    }

    async fn walk(&mut self) -> Result<(), Behind> {
        let mut walk = FleetWalk::default();
        while walk.advance(&self.registry, &self.feed, |_| true).await {
            for snapshot in walk.read_step(&self.registry, &self.feed) {
                self.observe(&snapshot, None, None);
            }
            self.catch_up(&walk)?;
            yield_now().await;
        }
        Ok(())
    }

    /// Observes the changes up to what was read, as far as they are not in it.
    fn catch_up(&mut self, walk: &FleetWalk) -> Result<(), Behind> {
        let registry = Arc::clone(&self.registry);
        while self.reader.position() < walk.read_up_to() {
            let batch = self.reader.take()?;
            let news = batch.changes().iter().filter(|change| walk.is_news(&registry, change));
            news.for_each(|change| self.observe_change(change));
        }
        Ok(())
    }

    fn observe_change(&mut self, change: &Change) {
        let snapshot = &change.snapshot;
        if change.removal.is_some() {
            let name = DeviceName::of(snapshot.device());
            let observation = Observation { before: change.previous, ..forgotten(&name) };
            let observation = Observation { source: Some(snapshot.source()), ..observation };
            return self.engine.observe(now(), &observation);
        }
        // What is in no history did not happen: it was found, or repeated.
        let event = change.in_history.then_some(snapshot.latest.kind);
        self.observe(snapshot, change.previous, event);
    }

    fn observe_failed_login(&mut self, device: &DeviceName) {
        if let Some(snapshot) = self.registry.read(device.device(), Snapshot::of) {
            self.observe(&snapshot, Some(snapshot.status), Some(EventKind::FailedLogin));
        }
    }

    fn observe(&mut self, snapshot: &Snapshot, before: Option<Status>, event: Option<EventKind>) {
        let address: Option<IpAddr> = if self.needs_addresses { snapshot.address() } else { None };
        let received_ms = i64::from(snapshot.received_at.0) * 1_000;
        let since = snapshot.event.time.nanos().map_or(received_ms, |nanos| nanos.div_euclid(1_000_000));
        let observation = Observation {
            device: snapshot.device(),
            source: Some(snapshot.source()),
            before,
            status: Some(snapshot.status),
            cause: snapshot.cause_class(),
            address,
            since: WallMillis(since),
            event,
        };
        self.engine.observe(now(), &observation);
    }
}

fn needs_addresses(rules: &RuleSet) -> bool {
    let needs = |rule: &alerts::Rule| {
        rule.group_by == GroupBy::AddressBlock || matches!(rule.kind, Kind::DuplicateIdentity(_))
    };
    rules.rules.iter().any(needs)
}

fn forgotten(device: &DeviceName) -> Observation<'_> {
    Observation {
        device: device.device(),
        source: None,
        before: None,
        status: None,
        cause: None,
        address: None,
        since: WallMillis(clock::now_millis()),
        event: None,
    }
}
