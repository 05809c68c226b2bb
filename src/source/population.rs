//! Reads every retained status and knows whether it did: rounds of passes over ever narrower filters, until there is
//! evidence that nothing is missing or nothing more to try. What a pass proves is judged in `evidence`, how one is read
//! is known to `pass`.
//!
//! ```text
//! every device -> proven? -> each type -> proven? -> devices by name -> every device again -> the broker's counters
//! ```

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::future::try_join_all;
use rand::RngExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::evidence::{BrokerCounters, Evidence, Pass, judge};
use super::live::LiveEvent;
use super::pass::{PassError, Reader};
use super::replay::Pong;
use super::transport::Dialer;
use super::{Source, sentence};
use crate::decode::iot_platform;
use crate::health::{Population as State, PopulationReport, TypeReport};

/// How often the plan is gone through before what is left counts as not to be had.
const SWEEPS_MAX: usize = 4;
/// How often one filter is read in one sweep, where the broker has no counters to ask.
const PASSES_MAX: usize = 4;
/// Filters in one SUBSCRIBE of devices by name: some 20 KB, which every broker takes.
const NAMES_MAX: u64 = 500;
/// How many retained messages must have come before a PINGRESP for it to count as an end mark on this broker.
const PONG_PROOF: u64 = 100;
/// How long the broker's counters are waited for; mosquitto publishes them every ten seconds.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the first of them are waited for: they are retained, and come at once or not at all.
const COUNTERS_FIRST_TIMEOUT: Duration = Duration::from_secs(3);
/// The counters of one moment arrive within this.
const COUNTERS_SETTLE: Duration = Duration::from_millis(250);
/// The reconcile interval is varied by this share either way, so that many instances do not ask at once.
const JITTER: f64 = 0.1;

/// The population of one source.
pub struct Population<'a> {
    source: &'a Source,
    dialer: &'a Dialer,
    counters: watch::Receiver<BrokerCounters>,
    counters_wanted: &'a Notify,
    trust_pong: Cell<bool>,
}

/// What one round has found out so far.
struct Round {
    /// Passes over every device.
    whole: Vec<Pass>,
    types: BTreeMap<String, TypePasses>,
    /// Why everything is known to be here, whatever the types say.
    proof: Option<Evidence>,
}

/// Passes over one type.
#[derive(Default)]
struct TypePasses {
    passes: Vec<Pass>,
    evidence: Option<Evidence>,
}

impl<'a> Population<'a> {
    pub fn new(
        source: &'a Source,
        dialer: &'a Dialer,
        counters: watch::Receiver<BrokerCounters>,
        counters_wanted: &'a Notify,
    ) -> Self {
        Self { source, dialer, counters, counters_wanted, trust_pong: Cell::new(false) }
    }

    /// Runs a round after each connect of the live subscription and from time to time, until the source ends.
    pub async fn run(&self, mut events: mpsc::UnboundedReceiver<LiveEvent>) {
        let mut backoff = Backoff::default();
        let mut link_up = false;
        let mut next = None;
        loop {
            let mut started = Instant::now();
            let first = tokio::select! {
                event = events.recv() => match event {
                    None => return,
                    Some(LiveEvent::Down) => {
                        link_up = false;
                        continue;
                    }
                    Some(LiveEvent::Subscribed) => {
                        link_up = true;
                        self.source.health.population_running();
                        if self.source.settings.identity.gets_retained() {
                            continue;
                        }
                        None
                    }
                    Some(LiveEvent::ReplayOver(replay)) => {
                        if replay.retained >= PONG_PROOF {
                            self.trust_pong.set(replay.pong == Pong::After(replay.retained));
                        }
                        let Some(tally) = self.source.backlog.drained(replay.pass).await else { return };
                        let new_devices = tally.new_devices;
                        started = replay.started;
                        Some(Pass { retained: tally.retained, new_devices, lost: replay.lost })
                    }
                },
                () = super::until(next), if link_up => {
                    self.source.health.population_running();
                    self.source.map.begin_round();
                    started = Instant::now();
                    None
                }
            };
            next = match self.round(first, started).await {
                Ok(report) => {
                    let again = report.state == State::Incomplete;
                    self.source.health.population_done(report);
                    if !again {
                        backoff.reset();
                    }
                    Some(Instant::now() + if again { backoff.wait() } else { self.interval() })
                }
                Err(PassError::Stopping) => return,
                Err(error) => {
                    tracing::warn!("reading the retained statuses was broken off: {}", sentence(&error));
                    Some(Instant::now() + backoff.wait())
                }
            };
        }
    }

    fn interval(&self) -> Duration {
        let interval = self.source.settings.population.reconcile_interval;
        interval.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER))
    }

    /// Reads until there is evidence or nothing more to try. `first` is the replay of the live subscription.
    async fn round(&self, first: Option<Pass>, started: Instant) -> Result<PopulationReport, PassError> {
        let mut round = Round { whole: first.into_iter().collect(), types: BTreeMap::new(), proof: None };
        let mut reader = Reader::new(self.source, self.dialer, "all", self.trust_pong.get());
        let result = self.sweeps(&mut round, &mut reader).await;
        reader.close().await;
        result?;
        let report = self.report(&round);
        let passes = round.whole.len() + round.types.values().map(|t| t.passes.len()).sum::<usize>();
        tracing::info!(
            population = report.state.word(),
            evidence = report.evidence,
            devices = self.source.map.totals().total(),
            types = report.types.len(),
            passes,
            milliseconds = started.elapsed().as_millis(),
            "the retained statuses have been read"
        );
        Ok(report)
    }

    async fn sweeps(&self, round: &mut Round, all: &mut Reader<'_>) -> Result<(), PassError> {
        let everything = [iot_platform::ALL_DEVICES.to_owned()];
        if round.whole.is_empty() {
            round.whole.push(all.read(&everything).await?);
        }
        if self.is_settled(round) {
            return Ok(());
        }
        self.ask_for_counters().await;
        for _ in 0..SWEEPS_MAX {
            if self.is_settled(round) {
                return Ok(());
            }
            self.read_types(round).await?;
            if self.is_settled(round) {
                return Ok(());
            }
            let dropped_before = self.counters.borrow().dropped;
            round.whole.push(all.read(&everything).await?);
            if self.is_settled(round) || self.counters_prove(round, dropped_before).await {
                return Ok(());
            }
            let nothing_left =
                round.types.values().all(|t| t.evidence.is_some_and(|e| e >= Evidence::Repeated));
            let repeated = judge(&round.whole, &self.limits()) >= Evidence::Repeated;
            if nothing_left && repeated && self.unread_types(round).is_empty() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until the broker's counters are there, or known not to be.
    async fn ask_for_counters(&self) {
        self.counters_wanted.notify_one();
        let mut counters = self.counters.clone();
        let known = counters.wait_for(|counters| counters.offered.is_some());
        if let Ok(Ok(counters)) = timeout(COUNTERS_FIRST_TIMEOUT, known).await.map(|c| c.map(|c| *c))
            && counters.offered == Some(true)
        {
            sleep(COUNTERS_SETTLE).await;
        }
    }

    /// Whether there is proof for everything, by the whole or by each type.
    fn is_settled(&self, round: &mut Round) -> bool {
        let counts = self.source.map.round_counts();
        let heard = counts.iter().map(|count| count.heard).sum();
        let lost = round.whole.last().is_some_and(|pass| pass.lost);
        if self.counters.borrow().count_matches(heard) && !lost {
            round.proof = Some(Evidence::CountMatches);
        } else if judge(&round.whole, &self.limits()) == Evidence::BelowLimits {
            round.proof = Some(Evidence::BelowLimits);
        } else if self.each_type_is_proven(round) && self.no_type_is_hidden(round, heard) {
            round.proof = round.types.values().filter_map(|t| t.evidence).min();
        }
        round.proof.is_some()
    }

    fn each_type_is_proven(&self, round: &Round) -> bool {
        !round.types.is_empty()
            && self.unread_types(round).is_empty()
            && round.types.values().all(|t| t.evidence.is_some_and(Evidence::is_proof))
    }

    /// The operator has named all types, or the last pass over everything brought as much as is known and nothing new.
    fn no_type_is_hidden(&self, round: &Round, heard: u64) -> bool {
        !self.source.settings.population.types.is_empty()
            || round.whole.last().is_some_and(|pass| pass.retained >= heard && pass.new_devices == 0)
    }

    /// Waits until the broker has counted what came after `dropped_before`, if it counts at all.
    async fn counters_prove(&self, round: &mut Round, dropped_before: Option<u64>) -> bool {
        let Some(dropped_before) = dropped_before else { return false };
        let mut counters = self.counters.clone();
        let ticks = counters.borrow().ticks;
        let next = timeout(COUNTERS_TIMEOUT, counters.wait_for(|counters| counters.ticks > ticks)).await;
        if !matches!(next, Ok(Ok(_))) {
            return false;
        }
        sleep(COUNTERS_SETTLE).await;
        if self.is_settled(round) {
            return true;
        }
        let lost = round.whole.last().is_some_and(|pass| pass.lost);
        if self.counters.borrow().dropped == Some(dropped_before) && !lost {
            round.proof = Some(Evidence::NothingDropped);
        }
        round.proof.is_some()
    }

    /// Reads each type that is not proven yet, several side by side where each must be waited for in silence.
    async fn read_types(&self, round: &mut Round) -> Result<(), PassError> {
        let open: VecDeque<String> =
            self.source.known_types().into_iter().filter(|t| !round.is_proven(t)).collect();
        let connections = if self.trust_pong.get() { 1 } else { self.source.settings.population.connections };
        let total = open.len();
        let queue = RefCell::new(open);
        let types = RefCell::new(std::mem::take(&mut round.types));
        let workers = (0..connections.min(total)).map(|number| {
            let (queue, types) = (&queue, &types);
            async move {
                let role = format!("type{number}");
                let mut reader = Reader::new(self.source, self.dialer, &role, self.trust_pong.get());
                loop {
                    let Some(device_type) = queue.borrow_mut().pop_front() else { break };
                    self.source.health.population_progress(total - queue.borrow().len() - 1, total);
                    let mut read = types.borrow_mut().remove(&device_type).unwrap_or_default();
                    self.read_type(&mut reader, &device_type, &mut read).await?;
                    types.borrow_mut().insert(device_type, read);
                }
                reader.close().await;
                Ok(())
            }
        });
        let result = try_join_all(workers).await;
        round.types = types.into_inner();
        self.source.health.population_progress(total, total);
        result.map(|_: Vec<()>| ())
    }

    async fn read_type(
        &self,
        reader: &mut Reader<'_>,
        device_type: &str,
        read: &mut TypePasses,
    ) -> Result<(), PassError> {
        let filter = [iot_platform::devices_of(device_type)];
        // Where the broker counts itself, one pass over everything is cheaper than a second one over this type.
        let passes = if self.counters.borrow().retained.is_some() { 1 } else { PASSES_MAX };
        let limits = self.limits();
        for _ in 0..passes {
            read.passes.push(reader.read(&filter).await?);
            if judge(&read.passes, &limits) >= Evidence::Repeated {
                break;
            }
        }
        reader.leave(&filter).await;
        let evidence = judge(&read.passes, &limits);
        read.evidence = Some(if evidence.is_proof() {
            evidence
        } else {
            evidence.max(self.ask_by_name(reader, device_type).await?)
        });
        Ok(())
    }

    /// Asks for each known device of the type that no pass has brought.
    async fn ask_by_name(&self, reader: &mut Reader<'_>, device_type: &str) -> Result<Evidence, PassError> {
        let listed = self.source.settings.population.devices.get(device_type);
        let mut missing: BTreeSet<String> =
            self.source.map.ids_in_round(device_type, false).into_iter().collect();
        let heard: BTreeSet<String> = match listed {
            Some(_) => self.source.map.ids_in_round(device_type, true).into_iter().collect(),
            None => BTreeSet::new(),
        };
        missing.extend(listed.into_iter().flatten().filter(|id| !heard.contains(*id)).cloned());
        let lowest = self.limits().first().copied().unwrap_or(NAMES_MAX);
        let batch = usize::try_from(NAMES_MAX.min(lowest.saturating_sub(1)).max(1)).unwrap_or(1);
        let topics: Vec<String> = missing.iter().map(|id| iot_platform::topic(device_type, id)).collect();
        for names in topics.chunks(batch) {
            let pass = reader.read(names).await?;
            reader.leave(names).await;
            if pass.lost {
                return Ok(Evidence::Missing);
            }
        }
        let is_known = match listed {
            Some(listed) => {
                let listed: BTreeSet<&String> = listed.iter().collect();
                heard.iter().all(|id| listed.contains(id))
            }
            None => {
                let counts = self.source.map.round_counts();
                let count = counts.iter().find(|count| count.device_type == device_type);
                count.is_some_and(|count| count.before > 0 && count.total == count.before)
            }
        };
        Ok(if is_known { Evidence::KnownDevices } else { Evidence::None })
    }

    fn unread_types(&self, round: &Round) -> Vec<String> {
        self.source.known_types().into_iter().filter(|t| !round.types.contains_key(t)).collect()
    }

    fn limits(&self) -> Vec<u64> {
        self.source.settings.population.replay_limits.clone()
    }

    fn report(&self, round: &Round) -> PopulationReport {
        let (state, evidence) = match round.proof {
            Some(proof) => (State::Complete, proof),
            None if round.is_short() => (State::Incomplete, Evidence::Missing),
            None => (State::Unproven, Evidence::Repeated),
        };
        let types = self.source.map.round_counts().into_iter().map(|count| {
            let own = round.types.get(&count.device_type).and_then(|t| t.evidence);
            let (known, replayed) = (count.total, count.heard);
            let evidence = round.proof.or(own).unwrap_or(evidence).word();
            TypeReport { device_type: count.device_type, known, replayed, evidence }
        });
        PopulationReport { state, evidence: evidence.word(), types: types.collect() }
    }
}

impl Round {
    /// Something is known to be missing: the last pass over everything, or over a type that nothing proves, still brought
    /// new devices or lost messages.
    fn is_short(&self) -> bool {
        let short = |pass: &Pass| pass.lost || pass.new_devices > 0;
        let last_of_types = self.types.values().filter(|t| !t.evidence.is_some_and(Evidence::is_proof));
        let read_since = self.whole.len() > 1;
        self.whole.last().is_some_and(short)
            || self.types.values().any(|t| t.evidence == Some(Evidence::Missing))
            || !read_since && last_of_types.filter_map(|t| t.passes.last()).any(short)
    }

    fn is_proven(&self, device_type: &str) -> bool {
        self.types.get(device_type).and_then(|t| t.evidence).is_some_and(Evidence::is_proof)
    }
}
