//! Reads every retained status and knows whether it did: rounds of passes over ever narrower filters, until there is
//! evidence that nothing is missing or nothing more to try. When a round is read is decided in `schedule`; what a pass proves
//! is judged in `evidence`, the result of a round in `round`; `pass` knows how a pass is read.
//!
//! ```text
//! every device -> proven? -> each type -> proven? -> devices by name -> every device again -> the broker's counters
//! ```

mod by_name;
mod by_type;
mod counted;

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep};

use super::Source;
use super::backlog::Tally;
use super::broker_behavior::BrokerBehavior;
use super::evidence::{BrokerCounters, Evidence, KnownBroker, Pass, judge};
use super::live::{LiveEvent, LiveReplay};
use super::pass::{PassError, PassReader};
use super::round::{Round, SeenReplay};
use super::schedule::{RoundEnd, RoundSchedule, ScheduleEvent, ScheduleStep};
use crate::freshness::RoundNumber;
use crate::health::{PopulationReport, PopulationState, READ_TYPES_MAX, REPORTED_TYPES_MAX, TypeReport};
use crate::metrics::OutcomeLabel;
use mqtt::transport::Dialer;
use system::sentence;

/// How often the plan is gone through before what is left counts as not to be had.
const SWEEPS_MAX: usize = 4;
/// How often one filter is read in one sweep, where the broker has no counters to ask.
const PASSES_MAX: usize = 4;
/// How often it is looked whether a first message has come from a fleet that none was replayed of.
const FIRST_MESSAGE_POLL: Duration = Duration::from_millis(500);
/// The reconcile interval is varied by this share either way, so that many instances do not ask at once.
const JITTER: f64 = 0.1;

/// The population of one source.
pub struct PopulationReader<'a> {
    source: &'a Source,
    dialer: &'a Dialer,
    counters: watch::Receiver<BrokerCounters>,
    counters_wanted: &'a Notify,
    behavior: &'a BrokerBehavior,
}

/// How a round begins.
struct Start {
    at: Instant,
    number: RoundNumber,
    /// The replay of the live subscription, if it was over every device.
    first: Option<Pass>,
}

impl<'a> PopulationReader<'a> {
    pub fn new(
        source: &'a Source,
        dialer: &'a Dialer,
        counters: watch::Receiver<BrokerCounters>,
        counters_wanted: &'a Notify,
        behavior: &'a BrokerBehavior,
    ) -> Self {
        Self { source, dialer, counters, counters_wanted, behavior }
    }

    /// Runs a round after each connect of the live subscription and from time to time, until the source ends.
    pub async fn run(&self, mut events: mpsc::UnboundedReceiver<LiveEvent>) {
        let leadership = &self.source.leadership;
        let longest_wait = self.source.settings.population.reconcile_interval;
        let mut schedule = RoundSchedule::new(leadership.is_leader(), longest_wait);
        // What had been received when a round began in which nothing was replayed.
        let mut unanswered_at: Option<u64> = None;
        loop {
            let event = tokio::select! {
                event = events.recv() => match event {
                    Some(event) => event.into(),
                    None => return,
                },
                () = super::until(schedule.due_at()) => ScheduleEvent::Due,
                () = leadership.asked_again(), if schedule.may_read() => ScheduleEvent::AskedAgain,
                () = leadership.changed_from(schedule.is_leader()) => ScheduleEvent::LeadershipChanged,
                () = self.source.live_loss.happened(), if schedule.may_read() => ScheduleEvent::MessageLost,
                () = self.received_more_than(unanswered_at), if schedule.may_read() => {
                    unanswered_at = None;
                    ScheduleEvent::FirstMessage
                }
            };
            if matches!(event, ScheduleEvent::LinkDown) {
                self.behavior.forget_replays();
            }
            let start = match schedule.on(event, Instant::now()) {
                ScheduleStep::Wait => continue,
                ScheduleStep::ShowRunning => {
                    self.source.health.population_running();
                    continue;
                }
                ScheduleStep::ShowIncomplete => {
                    self.source.health.population_incomplete();
                    continue;
                }
                ScheduleStep::Begin => self.begin_round(),
                ScheduleStep::BeginWith(replay) => match self.replayed(replay).await {
                    Some(start) => start,
                    None => return,
                },
            };
            let number = start.number;
            let received = self.source.metrics.bytes_received.get();
            let end = tokio::select! {
                ended = self.round(start) => match ended {
                    Ok(report) => {
                        unanswered_at = report.replayed_nothing().then_some(received);
                        self.finish(number, report)
                    }
                    Err(PassError::Stopping) => return,
                    Err(error) => self.broken_off(&error),
                },
                () = link_lost(&mut events) => RoundEnd::LinkLost,
                () = leadership.changed_from(true) => RoundEnd::LeadershipLost,
            };
            if end == RoundEnd::LinkLost {
                self.behavior.forget_replays();
            }
            schedule.ended(end, Instant::now());
        }
    }

    /// Waits until devices have sent something since so many bytes had been received: then there may be something to replay.
    async fn received_more_than(&self, bytes: Option<u64>) {
        let Some(bytes) = bytes else { return std::future::pending().await };
        while self.source.metrics.bytes_received.get() == bytes {
            sleep(FIRST_MESSAGE_POLL).await;
        }
    }

    /// Shows why a round was broken off.
    fn broken_off(&self, error: &PassError) -> RoundEnd {
        let why = sentence(error);
        tracing::warn!("reading the retained statuses was broken off: {why}");
        self.source.health.reading_failed(why);
        RoundEnd::BrokenOff
    }

    fn begin_round(&self) -> Start {
        self.source.health.population_running();
        let number = self.source.begin_round();
        Start { at: Instant::now(), number, first: None }
    }

    /// Shows what a round came to.
    fn finish(&self, number: RoundNumber, report: PopulationReport) -> RoundEnd {
        let is_incomplete = report.state == PopulationState::Incomplete;
        let outcome = OutcomeLabel { outcome: report.state.word() };
        self.source.metrics.population_rounds.get_or_create(&outcome).inc();
        self.source.health.population_done(report);
        if !is_incomplete {
            // What it has not heard of is no longer retained. A round that knows of something missing cannot tell.
            self.source.health.round_ended(number);
        }
        // Where the live subscription goes type by type, it may have to follow types that are new.
        self.source.types_read.notify_one();
        if is_incomplete {
            return RoundEnd::Incomplete;
        }
        let interval = self.source.settings.population.reconcile_interval;
        RoundEnd::Read { next_after: interval.mul_f64(rand::rng().random_range(1.0 - JITTER..=1.0 + JITTER)) }
    }

    /// A round whose first pass is the replay of the live subscription; `None` if the program stops.
    async fn replayed(&self, replay: LiveReplay) -> Option<Start> {
        if replay.shows_replay {
            self.behavior.note_replay();
        }
        let tally = self.source.backlog.drained(replay.pass).await?;
        let LiveReplay { lost, early_silence, is_fenced, .. } = replay;
        let Tally { retained, new_devices, expired, .. } = tally;
        let pass =
            Pass { retained, new_devices, expired, lost, early_silence, is_fenced, is_confirmed: false };
        Some(Start {
            at: replay.started,
            number: replay.round,
            first: replay.of_every_device.then_some(pass),
        })
    }

    /// Reads until there is evidence or nothing more to try.
    async fn round(&self, start: Start) -> Result<PopulationReport, PassError> {
        if !self.source.reads_retained() {
            return Ok(PopulationReport::unproven(Evidence::None.word()));
        }
        let losses_before = self.source.live_loss.count();
        let mut round = Round::new(start.first);
        self.sweeps(&mut round, &start).await?;
        let mut report = self.report(&round);
        if self.source.settings.formats.lack_retained() && report.state == PopulationState::Complete {
            (report.state, report.evidence) = (PopulationState::Unproven, Evidence::None.word());
        }
        let retains_nothing = self.source.retains_nothing.load(Ordering::Relaxed);
        if self.source.live_loss.count() != losses_before || retains_nothing {
            (report.state, report.evidence) = (PopulationState::Incomplete, Evidence::Missing.word());
        }
        tracing::info!(
            population = report.state.word(),
            evidence = report.evidence,
            devices = self.source.registry.totals().total(),
            types = report.types_total,
            passes = round.passes(),
            milliseconds = start.at.elapsed().as_millis(),
            "the retained statuses have been read"
        );
        Ok(report)
    }

    async fn sweeps(&self, round: &mut Round, start: &Start) -> Result<(), PassError> {
        if round.whole.is_empty() {
            self.read_whole(round, 1).await?;
        }
        if self.is_settled(round) {
            return Ok(());
        }
        self.learn_catalog_types().await;
        self.ask_for_counters().await;
        if self.is_settled(round) {
            return Ok(());
        }
        if !self.broker().replays {
            // A fleet that is new and empty looks the same, and is not kept waiting for what can be told of it.
            self.show_so_far(round, start.number);
            self.read_whole(round, 1).await?;
            if !self.broker().replays && self.source.known_types().is_empty() {
                return Ok(());
            }
        }
        if !self.is_settled(round) && (self.passes() > 1 || self.may_agree(round)) {
            // Not all types may have been seen yet. On some brokers the same SUBSCRIBE again shows them.
            let dropped_before = self.counters.borrow().dropped;
            self.read_whole_or_count(round, self.passes()).await?;
            if self.agrees(round, start.number).await
                && (self.is_settled(round) || self.counters_prove(round, dropped_before).await)
            {
                return Ok(());
            }
        }
        // Until then a reading that ended early proves nothing.
        self.behavior.live_seen().await;
        for _ in 0..SWEEPS_MAX {
            if self.is_settled(round) {
                return Ok(());
            }
            self.read_types(round).await?;
            if self.is_settled(round) {
                return Ok(());
            }
            let dropped_before = self.counters.borrow().dropped;
            // Where every type was shown before, and nothing has come since, the same again would be.
            if dropped_before.is_some() || !self.shows_every_type(round) {
                self.read_whole(round, self.passes()).await?;
                if self.is_settled(round) || self.counters_prove(round, dropped_before).await {
                    return Ok(());
                }
            }
            if round.is_exhausted(self.broker()) && self.unread_types(round) == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How often one filter is read in one sweep. Where the broker counts itself, one pass over everything is cheaper than
    /// a second one over each filter.
    fn passes(&self) -> usize {
        if self.counters.borrow().retained.is_some() { 1 } else { PASSES_MAX }
    }

    /// Whether there is proof for everything, by the whole or by each type.
    fn is_settled(&self, round: &mut Round) -> bool {
        let lost = round.whole.last().is_some_and(|pass| pass.lost);
        let types_are_known = !self.source.settings.population.types.is_empty();
        if !lost && (self.count_matches(round.expired()) || self.count_matches_pass(round)) {
            round.proof = Some(Evidence::CountMatches);
        } else if judge(&round.whole, self.broker()) == Evidence::BelowLimits {
            round.proof = Some(Evidence::BelowLimits);
        } else if !self.source.has_too_many_types()
            && self.unread_types(round) == 0
            && (types_are_known || self.shows_every_type(round))
        {
            round.proof =
                round.proof_by_types(&self.source.registry.round_counts(self.source.round(), READ_TYPES_MAX));
        }
        round.proof.is_some()
    }

    /// Whether the last pass over every device brought all that was heard of, and nothing new.
    fn shows_every_type(&self, round: &Round) -> bool {
        let received = self.source.received_in_round().filter(|_| !self.source.registry.evicted_in_round());
        received.is_some_and(|received| round.whole_shows_every_type(received))
    }

    /// Whether the broker counts as many retained messages as devices have been heard of in this round, `expired` of which are
    /// held no longer. No device may have been let go meanwhile, or it may have been counted twice.
    fn count_matches(&self, expired: u64) -> bool {
        !self.source.registry.evicted_in_round()
            && self.source.received_in_round().is_some_and(|received| self.broker_counts(received + expired))
    }

    /// Whether it counts as many as the last pass over every device has brought, each of another device.
    fn count_matches_pass(&self, round: &Round) -> bool {
        let last = round.whole.last().filter(|_| self.source.registry.is_limited());
        last.is_some_and(|pass| self.broker_counts(pass.retained))
    }

    fn broker_counts(&self, retained: u64) -> bool {
        // It counts what is retained for everybody's types. Where some formats are not retained, not all that was heard of is.
        let settings = &self.source.settings;
        settings.share.partition().is_none()
            && !settings.formats.lack_retained()
            && self.counters.borrow().count_matches(retained)
    }

    /// A pass, as far as what is new in it can be told.
    fn seen(&self, pass: Pass, before: &[Pass]) -> Pass {
        if self.source.registry.evicted_in_round() { pass.new_by_number(before) } else { pass }
    }

    /// Reads every device on a connection of its own, up to so many times: until it brings nothing new.
    async fn read_whole(&self, round: &mut Round, passes: usize) -> Result<(), PassError> {
        if round.whole_refused {
            return Ok(());
        }
        let everything = self.source.settings.formats.retained_filters();
        let mut reader = PassReader::new(self.source, self.dialer, "all", self.behavior);
        let before = round.whole.len();
        for _ in 0..passes {
            match reader.read(&everything).await {
                Ok(pass) => {
                    self.behavior.note_answer(&everything, pass.retained);
                    round.whole.push(self.seen(pass, &round.whole));
                }
                Err(error) if error.is_refusal() => {
                    tracing::warn!(
                        "every device at once cannot be read, only type by type: {}",
                        sentence(&error)
                    );
                    round.whole_refused = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            if judge(&round.whole[before..], self.broker()) >= Evidence::NothingReplayed {
                break;
            }
        }
        round.types_read_last = false;
        reader.close().await;
        Ok(())
    }

    /// What is known of the broker by now.
    fn broker(&self) -> KnownBroker<'_> {
        let limits = &self.source.settings.population.replay_limits;
        let replays = self.behavior.replays() || self.counters.borrow().replayed;
        let early_silence = self.behavior.early_silence(self.source.settings.quiet_interval);
        KnownBroker { limits, replays, early_silence }
    }

    fn seen_replay(&self) -> SeenReplay {
        if self.broker().replays {
            SeenReplay::Some
        } else if self.source.holds_unreplayed() {
            SeenReplay::NoneOfKnown
        } else {
            SeenReplay::NoneOfNothing
        }
    }

    fn report(&self, round: &Round) -> PopulationReport {
        let (state, evidence) = round.outcome(self.seen_replay());
        let counts = self.source.registry.round_counts(self.source.round(), REPORTED_TYPES_MAX).into_iter();
        let ours = counts.filter(|count| self.source.settings.takes(&count.device_type));
        let types = ours.map(|count| {
            let own = round.types.get(&count.device_type).and_then(|read| read.evidence);
            let (known, replayed) = (count.total, count.received);
            let evidence = round.proof.or(own).unwrap_or(evidence);
            let (evidence, proven) = (evidence.word(), evidence.is_proof());
            TypeReport { device_type: count.device_type, known, replayed, evidence, proven }
        });
        let types: Vec<TypeReport> = types.collect();
        let listed = types.len();
        let others = self.source.registry.types_total().saturating_sub(REPORTED_TYPES_MAX);
        let proven = types.iter().filter(|t| t.proven).count();
        PopulationReport {
            state,
            evidence: evidence.word(),
            types_total: listed + others,
            types_proven: proven + if round.proof.is_some() { others } else { 0 },
            types,
        }
    }
}

impl From<LiveEvent> for ScheduleEvent {
    fn from(event: LiveEvent) -> Self {
        match event {
            LiveEvent::Down => ScheduleEvent::LinkDown,
            LiveEvent::Subscribed { replays: true } => ScheduleEvent::ReplayComes,
            LiveEvent::Subscribed { replays: false } => ScheduleEvent::SubscribedWithoutReplay,
            LiveEvent::ReplayOver(replay) => ScheduleEvent::ReplayOver(replay),
        }
    }
}

/// Waits until the live subscription is lost.
async fn link_lost(events: &mut mpsc::UnboundedReceiver<LiveEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            LiveEvent::Down => return,
            LiveEvent::Subscribed { .. } | LiveEvent::ReplayOver(_) => {}
        }
    }
}
