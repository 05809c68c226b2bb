//! What every store promises, held against each of them: merging in any order and any split, loading what was put, paging,
//! changes, history. What only one of them does (files, locks, damage) is in `tests/sqlite_file.rs`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what its functions share")]

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use devstatus::clock::UnixSeconds;
use devstatus::history::Event;
use devstatus::payload::Payload;
use devstatus::presence::{Belief, Claim, Moment, Statement, Status};
use devstatus::store::memory::MemoryStore;
use devstatus::store::sqlite::SqliteStore;
use devstatus::store::{
    Batch, Cursor, DeviceName, LoadSink, Mark, Order, Page, Query, Retention, Store, StoreError, StoredDevice,
};
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::runtime::Runtime;

#[path = "store_contract/events.rs"]
mod events_in_order;

/// The implementations.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Sqlite,
}

const KINDS: [Kind; 2] = [Kind::Memory, Kind::Sqlite];
const PER_DEVICE: usize = 5;

struct Fixture {
    store: Option<Arc<dyn Store>>,
    kind: Kind,
    directory: TempDir,
}

impl Fixture {
    fn new(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut fixture = Self { store: None, kind, directory };
        fixture.store = Some(fixture.open());
        fixture
    }

    fn open(&self) -> Arc<dyn Store> {
        let retention = Retention { per_device: PER_DEVICE };
        match self.kind {
            Kind::Memory => Arc::new(MemoryStore::new(retention)),
            Kind::Sqlite => Arc::new(SqliteStore::open(&self.path(), retention).unwrap().0),
        }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state/store.db")
    }

    fn store(&self) -> &dyn Store {
        &**self.store.as_ref().unwrap()
    }

    /// Closes the store and opens it again; the one in memory has nothing to be opened again.
    fn reopen(&mut self) {
        if !matches!(self.kind, Kind::Memory) {
            self.store = None;
            self.store = Some(self.open());
        }
    }

    fn put(&self, batch: Batch) {
        wait(self.store().upsert(Arc::new(batch))).unwrap();
    }

    fn all(&self) -> BTreeMap<DeviceName, (Belief, UnixSeconds)> {
        let sink = Arc::new(Collected::default());
        wait(self.store().load(Arc::clone(&sink) as Arc<dyn LoadSink>)).unwrap();
        let devices = std::mem::take(&mut *sink.0.lock().unwrap());
        let number = devices.len();
        let all: BTreeMap<_, _> =
            devices.into_iter().map(|device| (device.name, (device.belief, device.heard_at))).collect();
        assert_eq!(all.len(), number, "each device comes once");
        all
    }

    fn history(&self, id: &str, before: Option<u64>, limit: usize) -> Vec<devstatus::history::Row> {
        wait(self.store().history(name(id), before, limit)).unwrap()
    }
}

#[derive(Default)]
struct Collected(Mutex<Vec<StoredDevice>>);

impl LoadSink for Collected {
    fn expect(&self, _devices: usize) {}

    fn take(&self, devices: Vec<StoredDevice>) {
        self.0.lock().unwrap().extend(devices);
    }
}

/// On one runtime for all tests of the process: connections to a server live in it.
fn wait<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
    RUNTIME.block_on(future)
}

fn name(id: &str) -> DeviceName {
    DeviceName { device_type: "t".into(), id: id.into() }
}

fn statement(claim: Claim, session: i128, time: i128) -> Statement {
    let payload =
        Payload::pack(format!(r#"{{"Time":{time},"ClientAddr":"192.0.2.1","Reason":"r"}}"#).as_bytes());
    let (session, time) = (Moment::from_nanos(session), Moment::from_nanos(time));
    Statement { claim, session, time, close_code: 0, payload }
}

fn device(id: &str, statements: impl IntoIterator<Item = Statement>, heard_at: u32) -> StoredDevice {
    let mut belief = Belief::default();
    for statement in statements {
        belief.apply(statement);
    }
    StoredDevice { name: name(id), belief, heard_at: UnixSeconds(heard_at) }
}

fn event(id: &str, statement: Statement, heard_at: u32) -> Event {
    let DeviceName { device_type, id } = name(id);
    Event { device_type, id, statement, heard_at: UnixSeconds(heard_at) }
}

fn devices(devices: Vec<StoredDevice>) -> Batch {
    Batch { devices, ..Batch::default() }
}

fn events(events: Vec<Event>) -> Batch {
    Batch { events, ..Batch::default() }
}

/// Few moments and codes, so that ties of every kind are common; devices with odd names among them.
fn any_step() -> impl Strategy<Value = (usize, Statement, u32)> {
    let claim = prop_oneof![
        Just(Claim::Request),
        Just(Claim::Connect),
        Just(Claim::Takeover),
        Just(Claim::Refusal),
        Just(Claim::Disconnect),
    ];
    let moment = prop_oneof![Just(Moment::UNKNOWN), (0i128..4).prop_map(Moment::from_nanos)];
    let payload = prop::collection::vec(any::<u8>(), 0..3);
    (0usize..3, claim, moment.clone(), moment, 0u16..2, payload, 1u32..4).prop_map(
        |(device, claim, session, time, close_code, payload, heard_at)| {
            let payload = Payload::pack(&payload);
            (device, Statement { claim, session, time, close_code, payload }, heard_at)
        },
    )
}

const IDS: [&str; 3] = ["plain", "ünï'\"%_ ", "\u{1}\u{10ffff}"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the order, the repetition and the split into batches, the same is kept: the merge of all of it.
    #[test]
    fn what_is_kept_is_the_merge_of_what_was_put(
        steps in prop::collection::vec(any_step(), 1..20),
        order in prop::collection::vec(any::<Index>(), 30),
        cuts: u64,
    ) {
        let mut expected: BTreeMap<DeviceName, (Belief, UnixSeconds)> = BTreeMap::new();
        for (id, statement, heard_at) in &steps {
            let entry = expected.entry(name(IDS[*id])).or_insert((Belief::default(), UnixSeconds(0)));
            entry.0.apply(statement.clone());
            entry.1 = entry.1.max(UnixSeconds(*heard_at));
        }
        for kind in KINDS {
            let mut fixture = Fixture::new(kind);
            let mut batch = Vec::new();
            let shuffled = order.iter().map(|index| index.get(&steps)).chain(&steps);
            for (at, (id, statement, heard_at)) in shuffled.enumerate() {
                batch.push(device(IDS[*id], [statement.clone()], *heard_at));
                if cuts >> (at % 64) & 1 == 1 {
                    fixture.put(devices(std::mem::take(&mut batch)));
                }
            }
            fixture.put(devices(batch));
            prop_assert_eq!(&fixture.all(), &expected, "{:?}", kind);
            // A belief as a whole changes nothing either.
            let again = expected.iter().map(|(name, (belief, heard_at))| StoredDevice {
                name: name.clone(), belief: belief.clone(), heard_at: *heard_at,
            });
            fixture.put(devices(again.collect()));
            fixture.reopen();
            prop_assert_eq!(&fixture.all(), &expected, "{:?} opened again", kind);
        }
    }
}

#[test]
fn many_devices_are_loaded_by_several_threads_each_once() {
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        for part in 0..12 {
            let some =
                (0..5_000).map(|n| device(&format!("{part}-{n}"), [statement(Claim::Connect, n, n)], 1));
            fixture.put(devices(some.collect()));
        }
        let all = fixture.all();
        assert_eq!(all.len(), 60_000, "{kind:?}");
        let (belief, _) = &all[&name("7-4999")];
        assert_eq!(belief.verdict().unwrap().statement, &statement(Claim::Connect, 4999, 4999));
    }
}

/// All pages of a list, and what stands in them.
fn pages(fixture: &Fixture, query: &Query) -> Vec<StoredDevice> {
    let (mut query, mut found) = (query.clone(), Vec::new());
    loop {
        let Page { devices, next } = wait(fixture.store().list(query.clone())).unwrap();
        assert!(devices.len() <= query.limit);
        found.extend(devices);
        match next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

#[test]
fn a_list_neither_skips_nor_repeats_whatever_the_order_the_filter_and_the_size_of_a_page() {
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        let mut all = Vec::new();
        for n in 0..40 {
            let claim = if n % 3 == 0 { Claim::Disconnect } else { Claim::Connect };
            // Times with many ties; one is unknown.
            let mut told = statement(claim, 5, i128::from(n % 4));
            if n == 7 {
                told.time = Moment::UNKNOWN;
            }
            let mut one = device(&format!("{n:02}"), [told], 1);
            one.name.device_type = if n % 2 == 0 { "a".into() } else { "b".into() };
            all.push(one);
        }
        fixture.put(devices(all.clone()));
        for (order, device_type, status) in [
            (Order::Name, None, None),
            (Order::Latest, None, None),
            (Order::Name, Some("b"), None),
            (Order::Latest, Some("a"), Some(Status::Disconnected)),
            (Order::Name, None, Some(Status::Connected)),
            (Order::Name, Some("absent"), None),
        ] {
            let mut expected: Vec<_> = all
                .iter()
                .filter(|one| device_type.is_none_or(|wanted| &*one.name.device_type == wanted))
                .filter(|one| status.is_none_or(|wanted| one.belief.verdict().unwrap().status == wanted))
                .cloned()
                .collect();
            expected.sort_by_key(|one| {
                let latest = std::cmp::Reverse(Cursor::at(one).time);
                ((order == Order::Latest).then_some(latest), one.name.clone())
            });
            for limit in [1, 7, 40, 1_000] {
                let device_type = device_type.map(str::to_owned);
                let query = Query { device_type, status, order, after: None, limit };
                assert_eq!(pages(&fixture, &query), expected, "{kind:?} {query:?}");
            }
        }
    }
}

#[test]
fn a_change_between_two_pages_moves_nobody_else() {
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        fixture.put(devices(
            (0..9).map(|n| device(&n.to_string(), [statement(Claim::Connect, n, n)], 1)).collect(),
        ));
        let mut query = Query { device_type: None, status: None, order: Order::Name, after: None, limit: 4 };
        let first = wait(fixture.store().list(query.clone())).unwrap();
        // A device of the first page changes, one is added before and one after it.
        fixture.put(devices(
            ["0", "00", "9"].map(|id| device(id, [statement(Claim::Disconnect, 50, 50)], 2)).to_vec(),
        ));
        query.after = first.next;
        let rest: Vec<_> = pages(&fixture, &query).into_iter().map(|one| one.name.id).collect();
        assert_eq!(rest, ["4", "5", "6", "7", "8", "9"].map(Box::<str>::from), "{kind:?}");
    }
}

#[test]
fn changes_since_a_mark_are_all_changes_and_only_those() {
    for kind in KINDS {
        let mut fixture = Fixture::new(kind);
        let changes = |fixture: &Fixture, since, limit| {
            let changes = wait(fixture.store().changes(since, limit)).unwrap();
            let ids: Vec<String> = changes.devices.iter().map(|one| one.name.id.to_string()).collect();
            (ids, changes.mark)
        };
        assert_eq!(changes(&fixture, Mark::BEGINNING, 10), (vec![], Mark::BEGINNING));
        let connect = |id: &str, at| device(id, [statement(Claim::Connect, at, at)], 1);
        fixture.put(devices(vec![connect("a", 1), connect("b", 1), connect("c", 1)]));
        let (mut ids, mark) = changes(&fixture, Mark::BEGINNING, 2);
        let (rest, mark) = changes(&fixture, mark, 2);
        ids.extend(rest);
        assert_eq!(ids, ["a", "b", "c"], "{kind:?}");
        // What is known changes nothing; what is newer does, once, however often.
        fixture.put(devices(vec![connect("a", 1), connect("b", 2)]));
        fixture.put(devices(vec![connect("b", 3)]));
        fixture.reopen();
        let (ids, mark) = changes(&fixture, mark, 10);
        assert_eq!(ids, ["b"], "{kind:?}");
        assert_eq!(changes(&fixture, mark.clone(), 10), (vec![], mark.clone()), "{kind:?}");
        assert_eq!(wait(fixture.store().mark()).unwrap(), mark, "{kind:?}: where the newest change stands");
    }
}

#[test]
fn history_is_paged_newest_first_and_ends_at_the_number_that_is_kept() {
    for kind in KINDS {
        let mut fixture = Fixture::new(kind);
        for at in 0..8 {
            fixture.put(events(vec![
                event("a", statement(Claim::Connect, at, at), 1),
                event("b", statement(Claim::Connect, at, at), 1),
            ]));
        }
        let times = |rows: &[devstatus::history::Row]| -> Vec<i64> {
            rows.iter().map(|row| row.statement.time.nanos().unwrap()).collect()
        };
        for reopened in [false, true] {
            let first = fixture.history("a", None, 3);
            let rest = fixture.history("a", Some(first[2].sequence), 10);
            assert_eq!(times(&first), [7, 6, 5], "{kind:?} reopened: {reopened}");
            assert_eq!(times(&rest), [4, 3], "{kind:?} reopened: {reopened}");
            assert!(fixture.history("absent", None, 10).is_empty());
            // Pruning takes nothing that is to be kept.
            wait(fixture.store().prune(UnixSeconds(1))).unwrap();
            fixture.reopen();
        }
        assert_eq!(fixture.all().len(), 2, "an event is evidence of its device");
    }
}

#[test]
fn the_same_event_is_kept_once_and_one_that_changes_no_belief_is_kept_too() {
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        let late = event("a", statement(Claim::Disconnect, 1, 2), 1);
        fixture.put(events(vec![event("a", statement(Claim::Connect, 9, 9), 1), late.clone(), late.clone()]));
        fixture.put(events(vec![late.clone()]));
        let claims: Vec<_> = fixture.history("a", None, 10).iter().map(|row| row.statement.claim).collect();
        assert_eq!(claims, [Claim::Disconnect, Claim::Connect], "{kind:?}");
        let belief = &fixture.all()[&name("a")].0;
        assert_eq!(belief.verdict().unwrap().status, Status::Connected, "{kind:?}");
    }
}

#[test]
fn a_failed_login_is_kept_of_a_known_device_and_changes_no_belief() {
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        let failed = |id| event(id, statement(Claim::FailedLogin, 5, 5), 1);
        fixture.put(events(vec![failed("known"), failed("unknown")]));
        assert!(fixture.all().is_empty(), "{kind:?}: a failed login makes no device");
        fixture.put(events(vec![event("known", statement(Claim::Connect, 1, 1), 1)]));
        fixture.put(events(vec![failed("known"), failed("unknown"), failed("known")]));
        let claims: Vec<_> =
            fixture.history("known", None, 10).iter().map(|row| row.statement.claim).collect();
        assert_eq!(claims, [Claim::FailedLogin, Claim::Connect], "{kind:?}");
        assert!(fixture.history("unknown", None, 10).is_empty(), "{kind:?}");
        let all = fixture.all();
        let verdict = all[&name("known")].0.verdict().unwrap();
        assert_eq!((all.len(), verdict.statement.claim), (1, Claim::Connect), "{kind:?}");
    }
}

#[test]
fn pruning_drops_what_was_heard_before_and_nothing_else() {
    for kind in KINDS {
        let mut fixture = Fixture::new(kind);
        for (at, heard_at) in [(1, 10), (2, 20), (3, 30)] {
            fixture.put(events(vec![event("a", statement(Claim::Connect, at, at), heard_at)]));
        }
        wait(fixture.store().prune(UnixSeconds(20))).unwrap();
        let heard: Vec<_> = fixture.history("a", None, 10).iter().map(|row| row.heard_at.0).collect();
        assert_eq!(heard, [30, 20], "{kind:?}");
        fixture.reopen();
        assert_eq!(fixture.history("a", None, 10).len(), 2, "{kind:?}");
        fixture.put(events(vec![event("a", statement(Claim::Connect, 4, 4), 40)]));
        assert_eq!(fixture.history("a", None, 10).len(), 3, "{kind:?}");
    }
}

#[test]
fn only_what_is_still_disconnected_is_forgotten() {
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        fixture.put(devices(vec![
            device("gone", [statement(Claim::Disconnect, 1, 9)], 1),
            device("back", [statement(Claim::Disconnect, 1, 9), statement(Claim::Connect, 10, 10)], 1),
            device("later", [statement(Claim::Disconnect, 1, 10)], 1),
            device("unknown", [Statement { time: Moment::UNKNOWN, ..statement(Claim::Disconnect, 1, 1) }], 1),
        ]));
        let names = ["gone", "back", "later", "unknown", "absent"].map(name).to_vec();
        wait(fixture.store().forget(names, 10)).unwrap();
        let left: Vec<_> = fixture.all().into_keys().map(|name| name.id).collect();
        assert_eq!(left, ["back", "later", "unknown"].map(Box::<str>::from), "{kind:?}");
        // Who comes back begins a new history.
        fixture.put(events(vec![event("gone", statement(Claim::Connect, 20, 20), 1)]));
        assert_eq!(fixture.history("gone", None, 10).len(), 1, "{kind:?}");
    }
}

#[test]
fn a_store_is_an_object_that_any_thread_may_use() {
    fn usable(_: impl Send + Sync) {}
    for kind in KINDS {
        let fixture = Fixture::new(kind);
        usable(Arc::clone(fixture.store.as_ref().unwrap()));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let fixture = &fixture;
                let store = Arc::clone(fixture.store.as_ref().unwrap());
                scope.spawn(move || {
                    for at in 0..20 {
                        let batch =
                            devices(vec![device("one", [statement(Claim::Connect, at * 8 + n, 1)], 1)]);
                        let done: Result<(), StoreError> = wait(store.upsert(Arc::new(batch)));
                        done.unwrap();
                    }
                });
            }
        });
        let belief = &fixture.all()[&name("one")].0;
        assert_eq!(belief.verdict().unwrap().statement.session, Moment::from_nanos(159), "{kind:?}");
    }
}
