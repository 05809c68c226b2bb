//! Who of the instances that share their messages reads what is retained: of those that have a link to the broker the one that
//! has lived longest, by the store's own clock. The others believe of the population what it says, once all that it had written
//! by then is here.

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
    BrokerHealth, Health, PeerHealth, PopulationReport, PopulationState, REPORTED_TYPES_MAX, TypeReport,
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
    pub map: Arc<DeviceRegistry>,
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
    /// How many rounds of the population this instance has read and written; 0 also from an instance that does not say.
    rounds: u64,
}

/// What is remembered from one beat to the next.
#[derive(Default)]
struct InstanceMemory {
    /// When the store last said that this instance lives.
    heartbeat_at: Option<Instant>,
    /// Since when it has been seen that the broker is out of reach.
    down_since: Option<Instant>,
    /// The others, as they were.
    others: BTreeMap<Box<str>, Note>,
    /// Those without a link, and when the broker will have noticed that; `None`: it has, and all has been read since.
    away: BTreeMap<Box<str>, Option<Instant>>,
    /// What this instance tells the others of the population.
    population: Option<PopulationState>,
    /// What the one that leads has said, and when that was heard.
    received: Option<(PopulationState, Instant)>,
    /// How many rounds this instance has read and written.
    rounds: u64,
    /// The connections to the broker that were seen so far.
    connects: u64,
    /// Which instance led when the own link was seen to be back, and how many rounds it had read: what the broker gave to
    /// this instance before is in a later one.
    round_awaited: Option<(Box<str>, u64)>,
    /// When it was heard that such a round has been read.
    read_again_at: Option<Instant>,
    /// The report that waits for all of it to be written.
    reported: Option<Arc<PopulationReport>>,
    written: Option<UnboundedReceiver<Vec<u16>>>,
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
        let population = memory.population.map(|population| population.word().to_owned());
        let connects = self.metrics.broker_connects.get();
        let note = Note { away: self.is_away(memory), connects, population, rounds: memory.rounds };
        let note = serde_json::to_string(&note).expect("a note is numbers and words");
        let asked_at = Instant::now();
        let heartbeat = self.store.heartbeat(Instance { id: id.into(), note: note.into() }, LIVES_FOR);
        match timeout(HEARTBEAT_TIMEOUT, heartbeat).await {
            Ok(Ok(live_members)) => {
                memory.heartbeat_at = Some(asked_at);
                self.consider(id, &live_members, memory);
            }
            Ok(Err(_)) | Err(_) => {
                // Others may think it dead by now, and one of them leads.
                if memory.heartbeat_at.is_none_or(|at| at.elapsed() >= LIVES_FOR)
                    && self.leadership.set(false)
                {
                    tracing::warn!("no longer the leader: the store cannot be reached");
                }
            }
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
        let lost = memory.others.iter().any(|(id, before)| {
            others.get(id).is_none_or(|now| now.connects > before.connects && before.connects > 0)
        });
        // What the broker gave to that instance may have gone with it.
        if (self.have_messages_gone(&others, memory) || lost) && is_leader {
            self.leadership.ask_again();
        }
        memory.others = others;
        if let Some(leader) = leader.filter(|_| !is_leader) {
            self.await_round(leader, &note(leader), memory);
        }
        if is_leader {
            (memory.received, memory.read_again_at, memory.round_awaited) = (None, None, None);
        } else if let Some(said) = leader.and_then(|leader| population(note(leader).population.as_deref()))
            && (memory.population != Some(said) || self.is_doubted(said))
            && memory.received.is_none_or(|(before, _)| before != said)
        {
            memory.received = Some((said, Instant::now()));
        }
    }

    /// Where statuses may be out of date because the own link was lost: notes when the one that leads has read a round since.
    fn await_round(&self, leader: &Instance, said: &Note, memory: &mut InstanceMemory) {
        let connects = self.metrics.broker_connects.get();
        // The first link has lost nothing, whatever was read before it.
        if std::mem::replace(&mut memory.connects, connects) != connects && connects > 1 {
            memory.round_awaited = Some((leader.id.clone(), said.rounds));
            memory.read_again_at = None;
        }
        let counts = match population(said.population.as_deref()) {
            Some(PopulationState::Complete | PopulationState::Unproven) => true,
            Some(PopulationState::Pending | PopulationState::Running | PopulationState::Incomplete)
            | None => false,
        };
        let is_read = match &memory.round_awaited {
            Some((id, rounds)) => *id != leader.id || said.rounds > *rounds || said.rounds == 0,
            None => true,
        };
        if counts && is_read && matches!(self.health.freshness(), Freshness::ReadingAgain { .. }) {
            memory.read_again_at.get_or_insert_with(Instant::now);
        }
    }

    /// Whether the broker may have given messages to an instance that has no link: when it has just lost it, and once more when
    /// the broker has noticed that, too.
    fn have_messages_gone(&self, others: &BTreeMap<Box<str>, Note>, memory: &mut InstanceMemory) -> bool {
        memory.away.retain(|id, _| others.get(id).is_some_and(|note| note.away));
        let mut gone = false;
        for (id, _) in others.iter().filter(|(_, note)| note.away) {
            match memory.away.get_mut(id) {
                Some(noticed) => gone |= noticed.take_if(|at| *at <= Instant::now()).is_some(),
                None => {
                    memory.away.insert(id.clone(), Some(Instant::now() + self.broker_notices));
                    gone = true;
                }
            }
        }
        gone
    }

    /// Whether what was believed of the population counts no longer, because the store has lost something, and this would again.
    fn is_doubted(&self, said: PopulationState) -> bool {
        matches!(said, PopulationState::Complete | PopulationState::Unproven) && !self.health.populated()
    }

    /// Tells the others what the population came to, once all of it is in the store.
    fn share_population(&self, memory: &mut InstanceMemory) {
        let state = self.health.state();
        if memory.written.as_mut().is_some_and(|written| written.try_recv().is_ok()) {
            memory.population = memory.reported.as_ref().map(|report| report.state);
            memory.rounds += 1;
            memory.written = None;
        }
        let Some(report) = state.report else { return };
        if memory.reported.as_ref().is_none_or(|before| !Arc::ptr_eq(before, &report)) {
            let (sender, written) = unbounded_channel();
            self.pending_acks.push(PendingAck::new(Vec::new(), sender));
            (memory.reported, memory.written) = (Some(report), Some(written));
        }
    }

    /// Believes what was said of the population, once all that had been written by then is here.
    fn follow(&self, memory: &mut InstanceMemory) {
        let is_here = |received_at| matches!(self.health.peer_health(), PeerHealth::Current { at } if at >= received_at);
        if memory.read_again_at.is_some_and(is_here) {
            self.health.others_have_read();
            (memory.read_again_at, memory.round_awaited) = (None, None);
        }
        let Some((said, received_at)) = memory.received else { return };
        if !is_here(received_at) {
            return;
        }
        let types = self.map.totals_by_type(None, REPORTED_TYPES_MAX);
        let types = types.into_iter().map(|(device_type, totals)| TypeReport {
            device_type: device_type.to_string(),
            known: totals.total(),
            replayed: 0,
            proven: said == PopulationState::Complete,
            evidence: OTHER_INSTANCE,
        });
        let types_total = self.map.types_total();
        let types_proven = if said == PopulationState::Complete { types_total } else { 0 };
        self.health.population_done(PopulationReport {
            state: said,
            evidence: OTHER_INSTANCE,
            types_total,
            types_proven,
            types: types.collect(),
        });
        (memory.population, memory.received) = (Some(said), None);
    }
}

fn population(word: Option<&str>) -> Option<PopulationState> {
    PopulationState::ALL.into_iter().find(|population| Some(population.word()) == word)
}
