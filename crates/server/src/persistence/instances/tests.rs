//! Who leads, and what the others believe of the population, beat by beat.

use super::*;
use crate::health::ReadyOn;
use store::Retention;
use store::memory::MemoryStore;

const ME: &str = "me";

fn instances() -> Instances {
    let metrics = Metrics::default();
    let health = Arc::new(Health::new(ReadyOn::Unproven));
    health.set_peer_health(PeerHealth::Current { at: Instant::now() });
    Instances {
        store: Arc::new(MemoryStore::new(Retention { per_device: 1 })),
        health,
        registry: Arc::default(),
        metrics,
        pending_acks: Arc::default(),
        leadership: Arc::new(Leadership::of_several()),
        broker_notices: Duration::ZERO,
    }
}

fn instance(id: &str, note: &Note) -> Instance {
    Instance { id: id.into(), note: serde_json::to_string(note).unwrap().into() }
}

fn me() -> Instance {
    instance(ME, &Note::default())
}

fn connected() -> Note {
    Note { connects: 1, ..Note::default() }
}

impl Instances {
    /// Whether it has been asked for another round since this was last asked.
    fn is_asked_again(&self) -> bool {
        use futures_util::FutureExt;
        self.leadership.asked_again().now_or_never().is_some()
    }
}

#[test]
fn the_oldest_with_a_link_leads_and_the_oldest_of_all_if_none_has() {
    let instances = instances();
    let memory = &mut InstanceMemory::default();
    let away = Note { away: true, ..connected() };
    for (others, leads) in [
        (vec![instance("a", &connected()), me()], false),
        (vec![instance("a", &away), me()], true),
        (vec![me(), instance("a", &connected())], true),
        (vec![instance("a", &away), instance(ME, &away)], false),
        (vec![me()], true),
    ] {
        instances.consider(ME, &others, memory);
        assert_eq!(instances.leadership.is_leader(), leads, "{others:?}");
    }
}

#[test]
fn the_leader_reads_again_when_another_has_gone_or_was_gone_meanwhile() {
    let instances = instances();
    let memory = &mut InstanceMemory::default();
    let mut consider = |others: Vec<Instance>| {
        let live: Vec<_> = std::iter::once(me()).chain(others).collect();
        instances.consider(ME, &live, memory);
        instances.is_asked_again()
    };
    assert!(!consider(vec![instance("b", &connected())]), "it is there for the first time");
    assert!(!consider(vec![instance("b", &connected())]));
    assert!(consider(vec![instance("b", &Note { connects: 2, ..Note::default() })]), "it had lost its link");
    assert!(consider(vec![]), "it is gone, and what the broker gave to it with it");
    assert!(!consider(vec![]));
    let away = || instance("b", &Note { away: true, connects: 2, ..Note::default() });
    assert!(consider(vec![away()]), "it has just lost its link");
    assert!(consider(vec![away()]), "once more when the broker has noticed");
    assert!(!consider(vec![away()]), "and then no more");
}

#[test]
fn a_population_is_believed_once_what_was_written_by_then_is_here() {
    let instances = instances();
    let memory = &mut InstanceMemory::default();
    let said = Note { population: Some("complete".to_owned()), rounds: 1, ..connected() };
    instances.consider(ME, &[instance("a", &said), me()], memory);
    instances.follow(memory);
    assert_eq!(instances.health.state().population, PopulationState::Pending, "the store was read before");
    instances.health.set_peer_health(PeerHealth::Current { at: Instant::now() });
    instances.follow(memory);
    let state = instances.health.state();
    assert_eq!(state.population, PopulationState::Complete);
    assert_eq!(state.report.map(|report| report.evidence), Some(OTHER_INSTANCE));
    // The same again is no news.
    instances.consider(ME, &[instance("a", &said), me()], memory);
    assert_eq!(memory.received, None);
}

#[test]
fn a_population_of_which_nothing_was_replayed_is_not_enough_for_others_either() {
    let instances = instances();
    let memory = &mut InstanceMemory::default();
    instances.health.set_peer_health(PeerHealth::Current { at: Instant::now() });
    let mut receive = |nothing_replayed| {
        let said = Note { population: Some("unproven".to_owned()), nothing_replayed, ..connected() };
        instances.consider(ME, &[instance("a", &said), me()], memory);
        instances.health.set_peer_health(PeerHealth::Current { at: Instant::now() });
        instances.follow(memory);
        (instances.health.state().population, instances.health.populated())
    };
    assert_eq!(receive(true), (PopulationState::Unproven, false));
    assert_eq!(receive(false), (PopulationState::Unproven, true));
}

#[test]
fn the_leader_tells_of_its_population_only_when_all_of_it_is_written() {
    let instances = instances();
    let memory = &mut InstanceMemory::default();
    instances.consider(ME, &[me()], memory);
    instances.health.population_done(PopulationReport {
        state: PopulationState::Unproven,
        evidence: "repeated",
        types_total: 0,
        types_proven: 0,
        types: Vec::new(),
    });
    instances.share_population(memory);
    assert_eq!((memory.population, memory.rounds), (None, 0));
    instances.pending_acks.take().into_iter().for_each(PendingAck::give);
    instances.share_population(memory);
    let shared = SharedPopulation { state: PopulationState::Unproven, nothing_replayed: false };
    assert_eq!((memory.population, memory.rounds), (Some(shared), 1));
}

#[test]
fn a_note_that_cannot_be_read_says_nothing() {
    let instances = instances();
    let memory = &mut InstanceMemory::default();
    let strange = Instance { id: "a".into(), note: "from a later version".into() };
    instances.consider(ME, &[strange, me()], memory);
    assert_eq!((instances.leadership.is_leader(), memory.received), (false, None));
}
