//! Who shares a reading with whom, against a store that answers when it is told to.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::*;
use crate::sync::backlog::{Item, Pending, backlog};
use presence::payload::Payload;
use presence::{Claim, Moment, Statement, Status, UnixSeconds};

/// A reading under way: what is asked for, and where the answer goes.
type Reading = (Vec<DeviceName>, oneshot::Sender<Result<Vec<StoredDevice>, ReadError>>);

struct Slow(mpsc::UnboundedSender<Reading>);

impl ReadDevices for Slow {
    fn named(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, ReadError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((names, answer)).unwrap();
        Box::pin(async { answered.await.unwrap() })
    }

    fn listed(&self, _scan: Scan) -> BoxFuture<'_, Result<Scanned, ReadError>> {
        unreachable!("nothing is listed here")
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<presence::query::Total>, ReadError>> {
        unreachable!("nothing is counted here")
    }
}

struct Fixture {
    recall: Arc<Recall>,
    map: Arc<DeviceMap>,
    readings: mpsc::UnboundedReceiver<Reading>,
    pending: Pending,
    _backlog: Arc<Backlog>,
}

impl Fixture {
    fn new() -> Self {
        let (sender, readings) = mpsc::unbounded_channel();
        let (map, metrics) = (Arc::new(DeviceMap::holding(10)), Metrics::default());
        let (backlog, pending) = backlog(1 << 20, metrics.clone());
        let backlog = Arc::new(backlog);
        let recall = Recall::new(Arc::new(Slow(sender)), Arc::clone(&map), Arc::downgrade(&backlog), metrics);
        Self { recall: Arc::new(recall), map, readings, pending, _backlog: backlog }
    }

    /// Somebody asks and waits.
    fn ask(&self, ids: &[&str]) -> tokio::task::JoinHandle<Result<Vec<Option<Arc<Recalled>>>, Unavailable>> {
        let recall = Arc::clone(&self.recall);
        let names = ids.iter().map(|id| name(id)).collect();
        tokio::spawn(async move { recall.read_all(names).await })
    }

    /// Waits until so many names wait for a reading.
    async fn until_waiting(&self, names: usize) {
        while self.recall.asked.lock().waiting.len() != names {
            tokio::task::yield_now().await;
        }
    }
}

fn name(id: &str) -> DeviceName {
    DeviceName { device_type: "t".into(), id: id.into() }
}

fn statement(claim: Claim, at: i128) -> Statement {
    // Sessions far enough apart that none is simultaneous with another.
    let moment = Moment::from_nanos(at * 10_000_000_000);
    Statement { claim, session: moment, time: moment, close_code: 0, payload: Payload::pack(b"{}") }
}

fn told(id: &str, claim: Claim, at: i128) -> StoredDevice {
    let mut belief = Belief::default();
    belief.apply(statement(claim, at));
    StoredDevice { name: name(id), belief, heard_at: UnixSeconds(1) }
}

fn statuses(known: &[Option<Arc<Recalled>>]) -> Vec<Option<Status>> {
    known.iter().map(|one| Some(one.as_ref()?.belief.verdict()?.status)).collect()
}

const ON: Option<Status> = Some(Status::Connected);

#[tokio::test]
async fn what_is_asked_for_while_readings_are_under_way_goes_out_in_one_and_is_shared() {
    let mut fixture = Fixture::new();
    let first = fixture.ask(&["a"]);
    let (names, answer_first) = fixture.readings.recv().await.unwrap();
    assert_eq!(names, [name("a")]);
    let second = fixture.ask(&["b"]);
    let (names, answer_second) = fixture.readings.recv().await.unwrap();
    assert_eq!(names, [name("b")]);
    // Two are under way. The same device again is not answered by a reading that has begun before.
    let others = [fixture.ask(&["a", "c"]), fixture.ask(&["c", "d", "a"])];
    fixture.until_waiting(3).await;
    answer_first.send(Ok(vec![told("a", Claim::Disconnect, 1)])).unwrap();
    let (names, answer) = fixture.readings.recv().await.unwrap();
    let asked: std::collections::BTreeSet<DeviceName> = names.iter().cloned().collect();
    assert_eq!((names.len(), asked), (3, ["a", "c", "d"].map(name).into()));
    answer.send(Ok(vec![told("a", Claim::Connect, 5), told("c", Claim::Connect, 5)])).unwrap();
    answer_second.send(Ok(vec![])).unwrap();
    assert_eq!(statuses(&first.await.unwrap().unwrap()), [Some(Status::Disconnected)]);
    assert_eq!(statuses(&second.await.unwrap().unwrap()), [None]);
    let [one, other] = others;
    assert_eq!(statuses(&one.await.unwrap().unwrap()), [ON, ON]);
    assert_eq!(statuses(&other.await.unwrap().unwrap()), [ON, None, ON]);
}

#[tokio::test]
async fn what_is_held_and_not_written_yet_is_part_of_the_answer_and_what_was_read_goes_to_the_map() {
    let mut fixture = Fixture::new();
    let asked = fixture.ask(&["a", "b"]);
    let (_, answer) = fixture.readings.recv().await.unwrap();
    let round = RoundNumber::NONE;
    let heard = Arrival { evidence: Evidence::Live, at: UnixSeconds(9), round };
    fixture.map.apply(Device { device_type: "t", id: "a" }, statement(Claim::Disconnect, 7), heard);
    fixture.map.apply(Device { device_type: "t", id: "b" }, statement(Claim::Disconnect, 2), heard);
    answer.send(Ok(vec![told("a", Claim::Connect, 5), told("b", Claim::Connect, 5)])).unwrap();
    let known = asked.await.unwrap().unwrap();
    assert_eq!(statuses(&known), [Some(Status::Disconnected), ON]);
    let evidence: Vec<_> = known.iter().flatten().map(|known| known.heard).collect();
    assert_eq!(evidence, [heard, Arrival { evidence: Evidence::Restored, at: UnixSeconds(9), round }]);
    let Some(Item::Remembered { devices, .. }) = fixture.pending.next() else {
        panic!("what was read is handed over")
    };
    let kept: BTreeMap<DeviceName, bool> =
        devices.into_iter().map(|device| (device.name, device.kept.is_some())).collect();
    assert_eq!(kept, [(name("a"), true), (name("b"), true)].into());
}

#[tokio::test]
async fn a_store_that_fails_is_said_to_all_who_wait_and_asked_again_by_the_next() {
    let mut fixture = Fixture::new();
    let mut asked = Vec::new();
    for id in ["a", "b"] {
        asked.push(fixture.ask(&[id, "c"]));
        let (_, answer) = fixture.readings.recv().await.unwrap();
        answer.send(Err(ReadError("away".to_owned()))).unwrap();
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Err(Unavailable));
    }
    let again = fixture.ask(&["a"]);
    let (_, answer) = fixture.readings.recv().await.unwrap();
    answer.send(Ok(vec![told("a", Claim::Connect, 5)])).unwrap();
    assert_eq!(statuses(&again.await.unwrap().unwrap()), [ON]);
}

#[tokio::test]
async fn a_batch_has_a_bound_and_who_has_gone_is_not_asked_for() {
    let mut fixture = Fixture::new();
    let (mut under_way, mut answers) = (Vec::new(), Vec::new());
    for id in ["x", "y"] {
        under_way.push(fixture.ask(&[id]));
        answers.push(fixture.readings.recv().await.unwrap().1);
    }
    let gone = fixture.ask(&["gone"]);
    fixture.until_waiting(1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let ids: Vec<String> = (0..NAMES_MAX + 1).map(|n| n.to_string()).collect();
    let many = fixture.ask(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    fixture.until_waiting(NAMES_MAX + 2).await;
    answers.into_iter().for_each(|answer| answer.send(Ok(vec![])).unwrap());
    let mut sizes = Vec::new();
    for _ in 0..2 {
        let (names, answer) = fixture.readings.recv().await.unwrap();
        assert!(!names.contains(&name("gone")));
        sizes.push(names.len());
        answer.send(Ok(vec![])).unwrap();
    }
    assert_eq!(sizes, [NAMES_MAX, 1]);
    assert_eq!(many.await.unwrap().unwrap().len(), NAMES_MAX + 1);
    for asked in under_way {
        assert_eq!(statuses(&asked.await.unwrap().unwrap()), [None]);
    }
    let too_many = (0..WAITING_MAX + 1).map(|n| name(&n.to_string())).collect();
    assert_eq!(fixture.recall.read_all(too_many).await, Err(Unavailable));
}
