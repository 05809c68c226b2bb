//! `devstatus rules`: what alert rules say, and what alert rules would have announced on the history that a store keeps. The same engine decides as
//! in a running service; the time is that of the history.

mod description;
mod observed;
mod report;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alerts::{Engine, GroupBy, Kind, Now, Observation, Part, RuleSet, SuppressedAlerts, WallMillis};
use formats::held;
use presence::history::{HistoryPosition, StoredEvent};
use presence::{DeviceName, DeviceState, PresenceEvent, Status, UnixSeconds};
use store::{LoadSink, PAGE_MAX, Store, StoreError, StoredDevice};
use system::clock;
use tokio_util::sync::CancellationToken;

use crate::config::RulesTestSettings;
pub use description::description;
use observed::ObservedTimes;
use report::TrialReport;

/// How far the time goes on at once: what would have fired is as exact as that.
const STEP: Duration = Duration::from_secs(10);

/// Why a trial ended early.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "this store keeps no order over all devices, so rules cannot be tried on it: sqlite: and postgres:// do"
    )]
    NoOrder,
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
    #[error("interrupted")]
    Interrupted,
}

/// Tries the rules; `say` gets the text for the user.
pub async fn test(
    settings: RulesTestSettings,
    shutdown: CancellationToken,
    say: impl FnOnce(&str) -> io::Result<()>,
) -> Result<(), RulesError> {
    let json = settings.json;
    let now = clock::now_millis();
    let report = tokio::select! {
        report = replay(settings, now) => report?,
        () = shutdown.cancelled() => return Err(RulesError::Interrupted),
    };
    let text = if json { report.json() } else { report.text() };
    match say(&text) {
        // The reader has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        said => said.map_err(RulesError::Output),
    }
}

async fn replay(settings: RulesTestSettings, now_millis: i64) -> Result<TrialReport, RulesError> {
    let RulesTestSettings { rules, store, since, .. } = settings;
    let store = store::open_to_read(&store).await?;
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let from = now_millis.saturating_sub(since).max(0);
    let observed = ObservedTimes::read(&*store, from, now_millis).await?;
    let mut replay = HistoryTrial::new(rules, observed, (from, now_millis));
    let mut after = HistoryPosition::BEGINNING;
    let mut end = None;
    let mut begun = false;
    loop {
        let page = store.events(after, PAGE_MAX).await?.ok_or(RulesError::NoOrder)?;
        // What a running service stores from now on is left out, or the reading might never end.
        let end = *end.get_or_insert(page.begun);
        for event in &page.events {
            let received = millis_of(event.row.received_at);
            if received < from {
                replay.remember(event);
                continue;
            }
            if !std::mem::replace(&mut begun, true) {
                replay.begin(&*store).await?;
            }
            replay.take(event, received.min(now_millis));
        }
        if page.events.is_empty() || page.reached == after || page.reached >= end {
            break;
        }
        after = page.reached;
    }
    if !begun {
        replay.begin(&*store).await?;
    }
    Ok(replay.finish())
}

/// The history on its way through the engine.
struct HistoryTrial {
    engine: Engine,
    now: Now,
    end: WallMillis,
    observed: ObservedTimes,
    states: HashMap<DeviceName, DeviceState>,
    needs_addresses: bool,
    report: TrialReport,
}

impl HistoryTrial {
    fn new(rules: RuleSet, observed: ObservedTimes, (from, end): (i64, i64)) -> Self {
        let needs_address = |rule: &alerts::Rule| {
            rule.group_by == GroupBy::AddressBlock || matches!(rule.kind, Kind::DuplicateIdentity(_))
        };
        let now = Now::at_wall(WallMillis(from));
        let needs_addresses = rules.rules.iter().any(needs_address);
        let report = TrialReport::new(&rules, (from, end), observed.total_millis());
        let mut engine = Engine::new(Arc::new(rules), now);
        engine.name_all_alerts();
        let end = WallMillis(end);
        Self { engine, now, end, observed, states: HashMap::new(), needs_addresses, report }
    }

    /// What happened before the time that is tried.
    fn remember(&mut self, event: &StoredEvent) {
        let name = DeviceName { device_type: event.device_type.clone(), id: event.id.clone() };
        self.states.entry(name).or_default().apply(event.row.event.clone());
    }

    /// Every device as it was when that time begins: by its earlier history, or by its state if that has not changed since.
    async fn begin(&mut self, store: &dyn Store) -> Result<(), RulesError> {
        let states = Mutex::new(std::mem::take(&mut self.states));
        let sink = Arc::new(UnchangedDevices { from: self.now.wall.0, states });
        store.load(sink.clone()).await?;
        self.states = std::mem::take(&mut *sink.states.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, state) in &self.states {
            if let Some(observation) = observation(name, (None, state), None, None) {
                self.engine.observe(self.now, &observation);
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &StoredEvent, received: i64) {
        self.advance(WallMillis(received));
        let name = DeviceName { device_type: event.device_type.clone(), id: event.id.clone() };
        let address = if self.needs_addresses { address(&event.row.event) } else { None };
        let state = self.states.entry(name.clone()).or_default();
        let before = state.resolve().map(|resolved| resolved.status);
        state.apply(event.row.event.clone());
        if let Some(observation) = observation(&name, (before, &*state), Some(&event.row.event), address) {
            self.engine.observe(self.now, &observation);
        }
        self.report.events += 1;
    }

    /// Lets the time pass until then, with the gaps in which nobody observed the fleet.
    fn advance(&mut self, until: WallMillis) {
        while self.now.wall < until {
            let step = Duration::from_millis(u64::try_from(until.0 - self.now.wall.0).unwrap_or(0)).min(STEP);
            self.now = self.now.later(step);
            let is_observed = self.observed.is_observed(self.now.wall.0);
            self.engine.set_observed(self.now, Part::Fleet, is_observed);
            for notification in self.engine.advance(self.now) {
                self.report.add(&notification);
            }
        }
    }

    fn finish(mut self) -> TrialReport {
        self.advance(self.end);
        self.report.devices = self.states.len();
        for SuppressedAlerts { rule, reason, alerts } in self.engine.suppressed() {
            self.report.held_back(rule, reason, alerts);
        }
        self.report
    }
}

/// What is known of a device, if anything is.
fn observation<'a>(
    name: &'a DeviceName,
    (before, state): (Option<Status>, &'a DeviceState),
    event: Option<&PresenceEvent>,
    address: Option<IpAddr>,
) -> Option<Observation<'a>> {
    let resolved = state.resolve();
    let deciding = resolved.as_ref().map(|resolved| resolved.event);
    // A refused login of a device that is not known otherwise is an observation, too.
    if deciding.is_none() && event.is_none() {
        return None;
    }
    let is_off = resolved.as_ref().is_some_and(|resolved| resolved.status == Status::Disconnected);
    Some(Observation {
        device: name.device(),
        source: Some(deciding.map_or(formats::catalog::IOT_PLATFORM, |event| held::source(&event.payload))),
        before,
        status: resolved.as_ref().map(|resolved| resolved.status),
        cause: deciding.filter(|_| is_off).map(|event| held::cause_class(&event.payload, event.close_code)),
        address,
        since: WallMillis(deciding.and_then(|event| event.time.nanos()).unwrap_or(0) / 1_000_000),
        event: event.map(|event| event.kind),
    })
}

/// Where the device of an event connected from.
fn address(event: &PresenceEvent) -> Option<IpAddr> {
    match held::ipv4(&event.payload) {
        Some(address) => Some(address.into()),
        None => held::details(&event.payload.document()).address?.parse().ok(),
    }
}

fn seconds_of(millis: i64) -> UnixSeconds {
    UnixSeconds(u32::try_from(millis / 1_000).unwrap_or(u32::MAX))
}

fn millis_of(seconds: UnixSeconds) -> i64 {
    i64::from(seconds.0) * 1_000
}

/// Takes the state of every device that has not changed since a time.
struct UnchangedDevices {
    from: i64,
    states: Mutex<HashMap<DeviceName, DeviceState>>,
}

impl LoadSink for UnchangedDevices {
    fn expect(&self, _devices: usize) {}

    fn take(&self, devices: Vec<StoredDevice>) {
        let unchanged = devices.into_iter().filter(|device| millis_of(device.received_at) < self.from);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.extend(unchanged.map(|device| (device.name, device.state)));
    }
}
