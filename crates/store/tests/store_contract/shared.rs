//! What a store that several instances share promises besides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use presence::payload::Payload;
use presence::{Belief, Claim, Moment, Statement, UnixSeconds};
use proptest::test_runner::{RngAlgorithm, TestRng};
use store::{Instance, Mark, Store, StoredDevice};

use crate::fixture::{Fixture, device, devices, event, events, name, session, statement, wait};
use crate::places::Place;

/// Longer than anything takes that is waited for here.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A number below the bound.
fn below(rng: &mut TestRng, bound: u64) -> u64 {
    use proptest::prelude::Rng;
    rng.next_u64() % bound
}

/// Few moments, so that ties of every kind are common.
fn any_statement(rng: &mut TestRng) -> Statement {
    let claims = [Claim::Request, Claim::Connect, Claim::Takeover, Claim::Refusal, Claim::Disconnect];
    let claim = claims[below(rng, 5) as usize];
    // Some within a second of each other, some not.
    let mut moment = || Moment::from_nanos(i128::from(below(rng, 6)) * 700_000_000);
    let (session, time) = (moment(), moment());
    let payload = Payload::pack(&[below(rng, 4) as u8]);
    Statement { claim, session, time, close_code: below(rng, 2) as u16, payload }
}

/// Three instances write the same few devices at once, one statement or several at a time.
pub fn what_several_write_of_one_device_at_once_is_merged(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let ids = ["a", "b", "c", "d"];
    let mut expected: BTreeMap<&str, Belief> = BTreeMap::new();
    let mut writers = Vec::new();
    for writer in 0..3 {
        let mut rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[writer + 1; 32]);
        let batches = (0..60).map(|_| {
            let mut one = |rng: &mut TestRng| {
                let id = ids[below(rng, 4) as usize];
                let statements: Vec<_> = (0..=below(rng, 2)).map(|_| any_statement(rng)).collect();
                for told in &statements {
                    expected.entry(id).or_default().apply(told.clone());
                }
                device(id, statements, 1)
            };
            (0..=below(&mut rng, 3)).map(|_| one(&mut rng)).collect()
        });
        let batches: Vec<Vec<StoredDevice>> = batches.collect();
        writers.push((fixture.another(), batches));
    }
    std::thread::scope(|scope| {
        for (store, batches) in writers {
            scope.spawn(move || {
                for batch in batches {
                    wait(store.upsert(Arc::new(devices(batch)))).unwrap();
                }
            });
        }
    });
    let all = fixture.all();
    for id in ids {
        assert_eq!(all[&name(id)].0, expected[id], "{place:?}: {id}");
    }
}

/// An event that several instances hear is kept once.
pub fn what_several_hear_happened_once(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let stores: Vec<_> = (0..3).map(|_| fixture.another()).collect();
    std::thread::scope(|scope| {
        for store in stores {
            scope.spawn(move || {
                for at in 0..4 {
                    let heard = event("a", statement(Claim::Connect, at, at), 1);
                    wait(store.upsert(Arc::new(events(vec![heard])))).unwrap();
                }
            });
        }
    });
    let rows = fixture.history("a", None, 10);
    assert_eq!(rows.len(), 4, "{place:?}: {rows:?}");
}

/// The ids of all that changed after the mark.
fn read_on(store: &dyn Store, mark: &mut Mark, limit: usize) -> Vec<StoredDevice> {
    let mut found = Vec::new();
    loop {
        let changes = wait(store.changes(mark.clone(), limit)).unwrap();
        found.extend(changes.devices);
        if std::mem::replace(mark, changes.mark) == *mark {
            return found;
        }
    }
}

/// Who follows the changes from the bell alone comes to hold what the store holds.
pub fn a_bell_rings_for_what_others_change(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (reader, writer) = (fixture.shared(), fixture.another());
    let mut mark = wait(reader.mark()).unwrap();
    let mut known: BTreeMap<String, (Belief, UnixSeconds)> = BTreeMap::new();
    for round in 0..5 {
        let many: Vec<_> =
            (0..300).map(|n| device(&format!("{n}"), [statement(Claim::Connect, round, n)], 1)).collect();
        wait(writer.upsert(Arc::new(devices(many)))).unwrap();
        while known.len() < 300
            || known.values().any(|known| known.0.verdict().unwrap().statement.session != session(round))
        {
            let rung = async { tokio::time::timeout(PATIENCE, reader.bell()).await };
            assert!(wait(rung).is_ok(), "{place:?}: the bell rings in round {round}");
            for one in read_on(&*reader, &mut mark, 100) {
                known.insert(one.name.id.to_string(), (one.belief, one.heard_at));
            }
        }
    }
}

/// Without the bell, too: looking again is enough.
pub fn a_look_finds_what_others_change(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (reader, writer) = (fixture.shared(), fixture.another());
    let mut mark = wait(reader.mark()).unwrap();
    assert!(read_on(&*reader, &mut mark, 10).is_empty(), "{place:?}");
    wait(writer.upsert(Arc::new(devices(vec![device("a", [statement(Claim::Connect, 1, 1)], 1)])))).unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while read_on(&*reader, &mut mark, 10).is_empty() {
        assert!(std::time::Instant::now() < deadline, "{place:?}: the change is found");
    }
}

/// Those that attend are known in the order in which they came, until they leave or their time is over.
pub fn those_who_live_are_known_in_the_order_of_their_coming(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let store = fixture.store();
    let long = PATIENCE * 10;
    let attend = |id: &str, lives_for: Duration| -> Vec<String> {
        let instance = Instance { id: id.into(), note: format!("note of {id}").into() };
        let living = wait(store.attend(instance, lives_for)).unwrap();
        living.iter().for_each(|one| assert_eq!(*one.note, *format!("note of {}", one.id), "{place:?}"));
        living.into_iter().map(|one| one.id.into()).collect()
    };
    // On a busy machine its time is over before the answer is made.
    let with_c = attend("c", Duration::from_millis(1));
    assert!(with_c == ["c"] || with_c.is_empty(), "{place:?}: {with_c:?}");
    let deadline = std::time::Instant::now() + PATIENCE;
    while attend("b", long) != ["b"] {
        assert!(std::time::Instant::now() < deadline, "{place:?}: the time of c is over");
    }
    assert_eq!(attend("a", long), ["b", "a"], "{place:?}");
    assert_eq!(attend("b", long), ["b", "a"], "{place:?}");
    assert_eq!(attend("b", Duration::ZERO), ["a"], "{place:?}");
    assert_eq!(attend("b", long), ["a", "b"], "{place:?}: whoever comes again is the youngest");
}

/// A lease that lasts longer than leases do is one of before the store's clock was set back: its instance may be dead.
pub fn a_clock_of_the_store_that_is_set_back_keeps_nobody_alive(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let store = fixture.store();
    let attend = |id: &str, lives_for: Duration| {
        let living = wait(store.attend(Instance { id: id.into(), note: "".into() }, lives_for)).unwrap();
        living.iter().map(|one| one.id.to_string()).collect::<Vec<_>>()
    };
    attend("dead", PATIENCE * 10);
    let deadline = std::time::Instant::now() + PATIENCE;
    while attend("b", Duration::from_millis(100)).contains(&"dead".to_owned()) {
        assert!(std::time::Instant::now() < deadline, "{place:?}: it is known to be dead");
    }
}

/// What is believed does not depend on whose clock is wrong; of two times of hearing, the later is kept.
pub fn clocks_of_instances_decide_nothing(place: &dyn Place) {
    let fixture = Fixture::new(place);
    let (slow, fast) = (fixture.shared(), fixture.another());
    let (minutes, truth) = (600, statement(Claim::Disconnect, 5, 9));
    let put = |store: &Arc<dyn Store>, id: &str, told, at| {
        wait(store.upsert(Arc::new(devices(vec![device(id, [told], at)])))).unwrap();
    };
    put(&slow, "a", statement(Claim::Connect, 5, 5), 1_000 + minutes);
    put(&fast, "a", truth.clone(), 1_000);
    put(&fast, "b", truth.clone(), 1_000 + minutes);
    put(&slow, "b", statement(Claim::Connect, 5, 5), 1_000);
    for id in ["a", "b"] {
        let (belief, heard_at) = &fixture.all()[&name(id)];
        assert_eq!(belief.verdict().unwrap().statement, &truth, "{place:?}: {id}");
        assert_eq!(*heard_at, UnixSeconds(1_000 + minutes), "{place:?}: {id}");
    }
}

/// All of them.
pub const SHARED: &[crate::contract::Promise] = &[
    (
        "what_several_write_of_one_device_at_once_is_merged",
        what_several_write_of_one_device_at_once_is_merged,
    ),
    ("clocks_of_instances_decide_nothing", clocks_of_instances_decide_nothing),
    ("what_several_hear_happened_once", what_several_hear_happened_once),
    ("a_bell_rings_for_what_others_change", a_bell_rings_for_what_others_change),
    ("a_look_finds_what_others_change", a_look_finds_what_others_change),
    (
        "those_who_live_are_known_in_the_order_of_their_coming",
        those_who_live_are_known_in_the_order_of_their_coming,
    ),
    (
        "a_clock_of_the_store_that_is_set_back_keeps_nobody_alive",
        a_clock_of_the_store_that_is_set_back_keeps_nobody_alive,
    ),
];
