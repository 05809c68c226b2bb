//! Who shares a reading with whom, against a store that answers when it is told to.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::*;
use crate::sync::backlog::{Item, Pending, backlog};
use presence::payload::Payload;
use presence::query::{Page, Scan, Total};
use presence::{EventKind, Moment, PresenceEvent, Status, UnixSeconds};
use store::StoreError;

/// A reading under way: what is asked for, and where the answer goes.
type Reading = (Vec<DeviceName>, oneshot::Sender<Result<Vec<StoredDevice>, StoreError>>);

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

struct Slow(mpsc::UnboundedSender<Reading>);

impl ReadDevices for Slow {
    fn read(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, StoreError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send((names, answer)).unwrap();
        Box::pin(async { answered.await.unwrap() })
    }

    fn list(&self, _: Scan) -> BoxFuture<'_, Result<Page<StoredDevice>, StoreError>> {
        unreachable!("nothing is listed here")
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, StoreError>> {
        unreachable!("nothing is counted here")
    }
}

struct Fixture {
    read_through: Arc<ReadThrough>,
    registry: Arc<DeviceRegistry>,
    readings: mpsc::UnboundedReceiver<Reading>,
    pending: Pending,
    _backlog: Arc<Backlog>,
}

impl Fixture {
    fn new() -> Self {
        let (sender, readings) = mpsc::unbounded_channel();
        let (registry, metrics) = (Arc::new(DeviceRegistry::holding(10)), Metrics::default());
        let (backlog, pending) = backlog(1 << 20, metrics.clone());
        let backlog = Arc::new(backlog);
        let read_through = ReadThrough::new(
            Arc::new(Slow(sender)),
            Arc::clone(&registry),
            Arc::downgrade(&backlog),
            metrics,
        );
        Self { read_through: Arc::new(read_through), registry, readings, pending, _backlog: backlog }
    }

    /// Somebody asks and waits.
    fn ask(
        &self,
        ids: &[&str],
    ) -> tokio::task::JoinHandle<Result<Vec<Option<Arc<FetchedDevice>>>, StoreUnavailable>> {
        let read_through = Arc::clone(&self.read_through);
        let names = ids.iter().map(|id| name(id)).collect();
        tokio::spawn(async move { read_through.read_all(names).await })
    }

    /// Waits until so many names wait for a reading.
    async fn until_waiting(&self, names: usize) {
        while self.read_through.asked.lock().waiting.len() != names {
            tokio::task::yield_now().await;
        }
    }
}

fn name(id: &str) -> DeviceName {
    DeviceName { device_type: "t".into(), id: id.into() }
}

fn event(kind: EventKind, at: i128) -> PresenceEvent {
    // Sessions far enough apart that none is simultaneous with another.
    let moment = Moment::from_nanos(at * 10_000_000_000);
    PresenceEvent { kind, session: moment, time: moment, close_code: 0, payload: Payload::pack(b"{}") }
}

fn device(id: &str, kind: EventKind, at: i128) -> StoredDevice {
    let mut state = DeviceState::default();
    state.apply(event(kind, at));
    StoredDevice { name: name(id), state, received_at: UnixSeconds(1) }
}

fn statuses(known: &[Option<Arc<FetchedDevice>>]) -> Vec<Option<Status>> {
    known.iter().map(|one| Some(one.as_ref()?.state.resolve()?.status)).collect()
}

const ON: Option<Status> = Some(Status::Connected);

#[tokio::test]
async fn requests_during_a_read_share_the_next_read() {
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
    answer_first.send(Ok(vec![device("a", EventKind::Disconnect, 1)])).unwrap();
    let (names, answer) = fixture.readings.recv().await.unwrap();
    let asked: std::collections::BTreeSet<DeviceName> = names.iter().cloned().collect();
    assert_eq!((names.len(), asked), (3, ["a", "c", "d"].map(name).into()));
    answer.send(Ok(vec![device("a", EventKind::Connect, 5), device("c", EventKind::Connect, 5)])).unwrap();
    answer_second.send(Ok(vec![])).unwrap();
    assert_eq!(statuses(&first.await.unwrap().unwrap()), [Some(Status::Disconnected)]);
    assert_eq!(statuses(&second.await.unwrap().unwrap()), [None]);
    let [one, other] = others;
    assert_eq!(statuses(&one.await.unwrap().unwrap()), [ON, ON]);
    assert_eq!(statuses(&other.await.unwrap().unwrap()), [ON, None, ON]);
}

#[tokio::test]
async fn a_device_is_in_one_reading_at_a_time_so_no_answer_is_older_than_one_before() {
    let mut fixture = Fixture::new();
    let first = fixture.ask(&["a"]);
    let (names, answer_first) = fixture.readings.recv().await.unwrap();
    assert_eq!(names, [name("a")]);
    // A reading of its own might answer before the first, with something newer.
    let second = fixture.ask(&["a"]);
    let other = fixture.ask(&["b"]);
    let (names, answer_other) = fixture.readings.recv().await.unwrap();
    assert_eq!(names, [name("b")]);
    answer_other.send(Ok(vec![])).unwrap();
    assert_eq!(statuses(&other.await.unwrap().unwrap()), [None]);
    fixture.until_waiting(1).await;
    answer_first.send(Ok(vec![device("a", EventKind::Disconnect, 1)])).unwrap();
    let (names, answer_second) = fixture.readings.recv().await.unwrap();
    assert_eq!(names, [name("a")]);
    answer_second.send(Ok(vec![device("a", EventKind::Connect, 5)])).unwrap();
    assert_eq!(statuses(&first.await.unwrap().unwrap()), [Some(Status::Disconnected)]);
    assert_eq!(statuses(&second.await.unwrap().unwrap()), [ON]);
}

#[tokio::test]
async fn an_unwritten_change_is_merged_into_the_fetched_state_which_is_cached() {
    let mut fixture = Fixture::new();
    let asked = fixture.ask(&["a", "b"]);
    let (_, answer) = fixture.readings.recv().await.unwrap();
    let round = RoundNumber::NONE;
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(9), round };
    fixture.registry.apply(Device { device_type: "t", id: "a" }, event(EventKind::Disconnect, 7), arrival);
    fixture.registry.apply(Device { device_type: "t", id: "b" }, event(EventKind::Disconnect, 2), arrival);
    answer.send(Ok(vec![device("a", EventKind::Connect, 5), device("b", EventKind::Connect, 5)])).unwrap();
    let known = asked.await.unwrap().unwrap();
    assert_eq!(statuses(&known), [Some(Status::Disconnected), ON]);
    let provenance: Vec<_> = known.iter().flatten().map(|known| known.arrival).collect();
    assert_eq!(
        provenance,
        [arrival, Arrival { provenance: Provenance::Restored, at: UnixSeconds(9), round }]
    );
    let Some(Item::FetchedDevices { devices, .. }) = fixture.pending.next() else {
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
        answer.send(Err(StoreError::Read("away".to_owned()))).unwrap();
    }
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Err(StoreUnavailable));
    }
    let again = fixture.ask(&["a"]);
    let (_, answer) = fixture.readings.recv().await.unwrap();
    answer.send(Ok(vec![device("a", EventKind::Connect, 5)])).unwrap();
    assert_eq!(statuses(&again.await.unwrap().unwrap()), [ON]);
}

#[tokio::test]
async fn a_batch_is_bounded_and_skips_cancelled_requests() {
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
    assert_eq!(fixture.read_through.read_all(too_many).await, Err(StoreUnavailable));
}

#[tokio::test]
async fn more_questions_than_may_wait_are_refused() {
    let mut fixture = Fixture::new();
    let _first = fixture.ask(&["a"]);
    let _one = fixture.readings.recv().await.unwrap();
    let _second = fixture.ask(&["b"]);
    let _other = fixture.readings.recv().await.unwrap();
    let ids: Vec<String> = (0..WAITING_MAX).map(|number| number.to_string()).collect();
    let _waiting = fixture.ask(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    fixture.until_waiting(WAITING_MAX).await;
    assert!(matches!(fixture.ask(&["one more"]).await.unwrap(), Err(StoreUnavailable)));
}

#[tokio::test]
async fn a_reading_that_fails_keeps_no_other_from_being_answered() {
    let mut fixture = Fixture::new();
    for _ in 0..=READS_MAX {
        let asked = fixture.ask(&["a"]);
        let reading = timeout(PATIENCE, fixture.readings.recv()).await.expect("it is read");
        // The store of this test panics without an answer.
        drop(reading);
        assert_eq!(asked.await.unwrap(), Err(StoreUnavailable));
    }
    let asked = fixture.ask(&["a"]);
    let reading = timeout(PATIENCE, fixture.readings.recv()).await.expect("it is read");
    let (_names, answer) = reading.unwrap();
    answer.send(Ok(vec![device("a", EventKind::Connect, 1)])).unwrap();
    assert_eq!(statuses(&asked.await.unwrap().unwrap()), [ON]);
}
