//! Which of the instances that share their messages reads what is retained, the leader: of those with a link to the broker the
//! oldest, by the store's own clock. The others take over what it says of the population, once all that it had written by
//! then is here.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::freshness::Freshness;
use crate::health::{
    BrokerHealth, Health, NOTHING_REPLAYED, PeerHealth, PopulationReport, PopulationState,
    REPORTED_TYPES_MAX, TypeReport,
};
use crate::metrics::Metrics;
use crate::pending_ack::{PendingAck, PendingAcks};
use crate::registry::DeviceRegistry;
use crate::sync::Leadership;
use store::{Instance, Store};

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Who gives none for so long is taken for dead: whatever it did is done by another within ten seconds.
const LIVES_FOR: Duration = Duration::from_secs(6);
/// A store that does not answer within this is asked again.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);
/// A link to the broker that is down for so long makes others do what this instance did; one that is mended sooner does not.
const AWAY_AFTER: Duration = Duration::from_secs(3);
/// How long saying goodbye may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Stands for the evidence of a population that another instance has read.
const OTHER_INSTANCE: &str = "other_instance";

/// This instance among the others.
pub struct Instances {
    pub store: Arc<dyn Store>,
    pub health: Arc<Health>,
    pub registry: Arc<DeviceRegistry>,
    pub metrics: Metrics,
    pub pending_acks: Arc<PendingAcks>,
    pub leadership: Arc<Leadership>,
    /// When the broker has noticed at the latest that an instance is gone: until then it gives it messages.
    pub broker_notices: Duration,
}

/// What an instance tells the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// It has no link to the broker.
    away: bool,
    /// Connections to the broker so far. Between two of them the broker may have given it messages that it never got.
    connects: u64,
    /// What the population came to, if all of it is in the store.
    population: Option<String>,
    /// The broker was not seen to replay anything.
    nothing_replayed: bool,
    /// How many rounds of the population this instance has read and written; 0 also from an instance that does not say.
    rounds: u64,
}

/// What is remembered from one heartbeat to the next.
#[derive(Default)]
struct InstanceMemory {
    /// When the store last said that this instance lives.
    heartbeat_at: Option<Instant>,
    /// Since when it has been seen that the broker is out of reach.
    down_since: Option<Instant>,
    others: Others,
    /// What this instance tells the others of the population.
    population: Option<SharedPopulation>,
    /// How many rounds this instance has read and written.
    rounds: u64,
    report: ReportToShare,
    /// What the leader has said of the population, until it counts here.
    received: Option<ReceivedPopulation>,
    /// The connections to the broker that were seen so far.
    connects: u64,
    repair: Repair,
}

/// The other instances, as they were at the last heartbeat.
#[derive(Default)]
struct Others {
    notes: BTreeMap<Box<str>, Note>,
    /// Those without a link, and when the broker will have noticed that; `None`: it has, and all has been read since.
    away: BTreeMap<Box<str>, Option<Instant>>,
}

/// The report of the latest round, which the others are told of once all that it brought is in the store.
#[derive(Default)]
enum ReportToShare {
    #[default]
    None,
    Unwritten {
        report: Arc<PopulationReport>,
        written: UnboundedReceiver<Vec<u16>>,
    },
    Written(Arc<PopulationReport>),
}

impl ReportToShare {
    fn is_of(&self, report: &Arc<PopulationReport>) -> bool {
        match self {
            ReportToShare::None => false,
            ReportToShare::Unwritten { report: known, .. } | ReportToShare::Written(known) => {
                Arc::ptr_eq(known, report)
            }
        }
    }
}

/// What an instance tells the others of its population.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SharedPopulation {
    state: PopulationState,
    /// The broker was not seen to replay anything, so a device that has sent nothing may well be connected.
    nothing_replayed: bool,
}

/// What the leader said of the population, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReceivedPopulation {
    said: SharedPopulation,
    at: Instant,
}

/// How far it is that what was missed while the own link was down has been read by the leader.
#[derive(Default)]
enum Repair {
    /// By any round.
    #[default]
    AnyRound,
    /// By a later round than the leader had read when the link was back, or by any of another leader.
    LaterRound { leader: Box<str>, rounds: u64 },
    /// The leader said at that moment that it has.
    Read { at: Instant },
}

impl Instances {
    /// Lives until `stop`, then leaves.
    pub async fn run(self, stop: CancellationToken) {
        let id: Box<str> = format!("{:016x}", rand::random::<u64>()).into();
        let mut memory = InstanceMemory::default();
        while !stop.is_cancelled() {
            self.beat(&id, &mut memory).await;
            tokio::select! {
                () = sleep(BEAT) => {}
                () = stop.cancelled() => {}
            }
        }
        let gone = Instance { id, note: "".into() };
        // In vain if the store is away: then the others find out by themselves.
        let _ = timeout(LEAVE_TIMEOUT, self.store.heartbeat(gone, Duration::ZERO)).await;
    }

    async fn beat(&self, id: &str, memory: &mut InstanceMemory) {
        let population = memory.population.map(|population| population.state.word().to_owned());
        let nothing_replayed = memory.population.is_some_and(|population| population.nothing_replayed);
        let connects = self.metrics.broker_connects.get();
        let rounds = memory.rounds;
        let note = Note { away: self.is_away(memory), connects, population, nothing_replayed, rounds };
        let note = serde_json::to_string(&note).expect("a note is numbers and words");
        let asked_at = Instant::now();
        let heartbeat = self.store.heartbeat(Instance { id: id.into(), note: note.into() }, LIVES_FOR);
        let failure = match timeout(HEARTBEAT_TIMEOUT, heartbeat).await {
            Ok(Ok(live_members)) => {
                memory.heartbeat_at = Some(asked_at);
                self.consider(id, &live_members, memory);
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_elapsed) => Some(format!("no answer for {} s", HEARTBEAT_TIMEOUT.as_secs())),
        };
        // Others may think it dead by now, and one of them leads.
        if let Some(error) = failure
            && memory.heartbeat_at.is_none_or(|at| at.elapsed() >= LIVES_FOR)
            && self.leadership.set(false)
        {
            tracing::warn!(error, "no longer the leader: the store cannot be reached");
        }
        if self.leadership.is_leader() { self.share_population(memory) } else { self.follow(memory) }
    }

    fn is_away(&self, memory: &mut InstanceMemory) -> bool {
        if self.health.state().broker == BrokerHealth::Subscribed {
            memory.down_since = None;
            return false;
        }
        memory.down_since.get_or_insert_with(Instant::now).elapsed() >= AWAY_AFTER
    }

    fn consider(&self, id: &str, live_members: &[Instance], memory: &mut InstanceMemory) {
        let note = |instance: &Instance| serde_json::from_str::<Note>(&instance.note).unwrap_or_default();
        // Where nobody has a link, it does not matter who waits for one.
        let leader = live_members.iter().find(|one| !note(one).away).or(live_members.first());
        let is_leader = leader.is_some_and(|first| *first.id == *id);
        if self.leadership.set(is_leader) && is_leader {
            tracing::info!(instances = live_members.len(), "reads the retained statuses for all instances");
        }
        let others = live_members.iter().filter(|one| *one.id != *id);
        let others: BTreeMap<Box<str>, Note> = others.map(|one| (one.id.clone(), note(one))).collect();
        // What the broker gave to an instance that has gone may have gone with it.
        if memory.others.update(others, self.broker_notices) && is_leader {
            self.leadership.ask_again();
        }
        let Some(leader) = leader.filter(|_| !is_leader) else {
            if is_leader {
                (memory.received, memory.repair) = (None, Repair::AnyRound);
            }
            return;
        };
        let said = note(leader);
        self.await_round(leader, &said, memory);
        let shared = population(said.population.as_deref());
        let nothing_replayed = said.nothing_replayed;
        if let Some(said) = shared.map(|state| SharedPopulation { state, nothing_replayed })
            && (memory.population != Some(said) || self.is_doubted(said))
            && memory.received.is_none_or(|before| before.said != said)
        {
            memory.received = Some(ReceivedPopulation { said, at: Instant::now() });
        }
    }

    /// Where statuses may be out of date because the own link was lost: notes when the leader has read a round since.
    fn await_round(&self, leader: &Instance, said: &Note, memory: &mut InstanceMemory) {
        let connects = self.metrics.broker_connects.get();
        // The first link has lost nothing, whatever was read before it.
        if std::mem::replace(&mut memory.connects, connects) != connects && connects > 1 {
            memory.repair = Repair::LaterRound { leader: leader.id.clone(), rounds: said.rounds };
        }
        let counts = match population(said.population.as_deref()) {
            Some(PopulationState::Complete | PopulationState::Unproven) => true,
            Some(PopulationState::Pending | PopulationState::Running | PopulationState::Incomplete)
            | None => false,
        };
        let is_read = match &memory.repair {
            Repair::AnyRound => true,
            Repair::LaterRound { leader: id, rounds } => {
                *id != leader.id || said.rounds > *rounds || said.rounds == 0
            }
            Repair::Read { .. } => false,
        };
        if counts && is_read && matches!(self.health.link_freshness(), Freshness::ReadingAgain { .. }) {
            memory.repair = Repair::Read { at: Instant::now() };
        }
    }

    /// Whether the result of the population counts no longer, because the store has lost something, and this would again.
    fn is_doubted(&self, said: SharedPopulation) -> bool {
        let counts = matches!(said.state, PopulationState::Complete | PopulationState::Unproven);
        counts && !said.nothing_replayed && !self.health.populated()
    }

    /// Tells the others what the population came to, once all of it is in the store.
    fn share_population(&self, memory: &mut InstanceMemory) {
        if let ReportToShare::Unwritten { report, written } = &mut memory.report
            && written.try_recv().is_ok()
        {
            let report = Arc::clone(report);
            let (state, nothing_replayed) = (report.state, report.replayed_nothing());
            memory.population = Some(SharedPopulation { state, nothing_replayed });
            memory.rounds += 1;
            memory.report = ReportToShare::Written(report);
        }
        let Some(report) = self.health.state().report else { return };
        if !memory.report.is_of(&report) {
            let (sender, written) = unbounded_channel();
            self.pending_acks.push(PendingAck::new(Vec::new(), sender));
            memory.report = ReportToShare::Unwritten { report, written };
        }
    }

    /// Takes over what was said of the population, once all that had been written by then is here.
    fn follow(&self, memory: &mut InstanceMemory) {
        let is_here = |then| matches!(self.health.peer_health(), PeerHealth::Current { at } if at >= then);
        if let Repair::Read { at } = memory.repair
            && is_here(at)
        {
            self.health.others_have_read();
            memory.repair = Repair::AnyRound;
        }
        let Some(ReceivedPopulation { said, at }) = memory.received else { return };
        if !is_here(at) {
            return;
        }
        let is_complete = said.state == PopulationState::Complete;
        let types = self.registry.totals_by_type(None, REPORTED_TYPES_MAX);
        let types = types.into_iter().map(|(device_type, totals)| TypeReport {
            device_type: device_type.to_string(),
            known: totals.total(),
            replayed: 0,
            proven: is_complete,
            evidence: OTHER_INSTANCE,
        });
        let types_total = self.registry.types_total();
        let types_proven = if is_complete { types_total } else { 0 };
        self.health.population_done(PopulationReport {
            state: said.state,
            evidence: if said.nothing_replayed { NOTHING_REPLAYED } else { OTHER_INSTANCE },
            types_total,
            types_proven,
            types: types.collect(),
        });
        (memory.population, memory.received) = (Some(said), None);
    }
}

impl Others {
    /// Takes the others as they are now; says whether messages of the broker may have gone with one of them: it has gone itself,
    /// or had lost its link meanwhile, or has lost it, which counts once more when the broker has noticed.
    fn update(&mut self, notes: BTreeMap<Box<str>, Note>, broker_notices: Duration) -> bool {
        let mut gone = self.notes.iter().any(|(id, before)| {
            notes.get(id).is_none_or(|now| now.connects > before.connects && before.connects > 0)
        });
        self.away.retain(|id, _| notes.get(id).is_some_and(|note| note.away));
        for (id, _) in notes.iter().filter(|(_, note)| note.away) {
            match self.away.get_mut(id) {
                Some(noticed) => gone |= noticed.take_if(|at| *at <= Instant::now()).is_some(),
                None => {
                    self.away.insert(id.clone(), Some(Instant::now() + broker_notices));
                    gone = true;
                }
            }
        }
        self.notes = notes;
        gone
    }
}

fn population(word: Option<&str>) -> Option<PopulationState> {
    PopulationState::ALL.into_iter().find(|population| Some(population.word()) == word)
}
