//! An endpoint that is away for an hour in which 100,000 changes come. The deliveries go by a clock that passes the hour in a
//! moment; endpoint and store are real.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use futures_util::future::BoxFuture;
use presence::history::HistoryEvent;
use presence::payload::Payload;
use presence::query::Filter;
use presence::{Device, DeviceName, DeviceState, EventKind, Moment, PresenceEvent, Status, UnixSeconds};
use serde_json::json;
use serde_json::value::to_raw_value;
use server::feed::Feed;
use server::feed::settings::FeedSettings;
use server::health::{Health, ReadyOn};
use server::metrics::Metrics;
use server::registry::DeviceRegistry;
use store::sqlite::SqliteStore;
use store::{Batch, Retention, Store};
use system::log_limit::OnceAMinute;
use system::tls::ClientTls;
use testkit::private_ca::PrivateCa;
use testkit::{PATIENCE, poll};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use webhooks::desk::{CommandOutcome, EndpointState, EndpointView, WebhookDesk, WorkerCommand};
use webhooks::metrics::WebhookMetrics;
use webhooks::settings::{EndpointSettings, EndpointUrl, Format, HeaderMap, Mode, SigningSecret};
use webhooks::{ChangeLog, Clock, HistoryTail, Leases, RETRY_LONGEST, Webhooks};

use super::receiver::{Receiver, Reply, SECRET};

const DEVICES: u32 = 1_000;
const CHANGES: u32 = 100_000;
const AWAY_MS: i64 = 3_600_000;
/// When the changes begin.
const BEGIN_S: u32 = 1_795_000_000;

/// Which waits are not over until the test says so.
#[derive(Clone, Copy)]
enum Held {
    Nothing,
    Everything,
    /// Those of this length.
    Waits(Duration),
}

/// Waiting moves it on at once, but for waits that are held.
struct SimulatedClock {
    since_boot_ms: AtomicI64,
    /// When the machine started, as the wall clock is set.
    booted_ms: AtomicI64,
    /// How long was waited, each length once.
    waits: Mutex<BTreeSet<Duration>>,
    held: watch::Sender<Held>,
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.booted_ms.load(Ordering::SeqCst) + self.since_boot_ms()
    }

    fn since_boot_ms(&self) -> i64 {
        self.since_boot_ms.load(Ordering::SeqCst)
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'_, ()> {
        let wait_ms = i64::try_from(wait.as_millis()).expect("a wait is short");
        Box::pin(async move {
            self.waits.lock().expect("nothing panics with it").insert(wait);
            let goes_on = |held: &Held| match *held {
                Held::Nothing => true,
                Held::Everything => false,
                Held::Waits(length) => wait != length,
            };
            drop(self.held.subscribe().wait_for(goes_on).await.expect("the clock is there"));
            self.since_boot_ms.fetch_add(wait_ms, Ordering::SeqCst);
            tokio::task::yield_now().await;
        })
    }
}

/// The hour begins with the first attempt. The clock then stands still until all changes are in the store.
struct Outage {
    clock: Arc<SimulatedClock>,
    until_ms: AtomicI64,
    is_endless: AtomicBool,
    attempts: AtomicUsize,
}

impl Outage {
    fn is_on(&self) -> bool {
        let now_ms = self.clock.now_ms();
        let begins = self.until_ms.compare_exchange(0, now_ms + AWAY_MS, Ordering::SeqCst, Ordering::SeqCst);
        let is_endless = self.is_endless.load(Ordering::SeqCst);
        if begins.is_ok() && !is_endless {
            self.clock.held.send_replace(Held::Everything);
        }
        let is_on = is_endless || now_ms < self.until_ms.load(Ordering::SeqCst);
        self.attempts.fetch_add(usize::from(is_on), Ordering::SeqCst);
        is_on
    }
}

/// The change of a device that comes at that number: each device connects and disconnects in turn.
fn change(number: u32) -> HistoryEvent {
    let (device, turn) = (number % DEVICES, number / DEVICES);
    let at_s =
        BEGIN_S + u32::try_from(u64::from(number) * 3_600 / u64::from(CHANGES)).expect("within the hour");
    let moment = |second: u32| Moment::from_nanos(i128::from(second) * 1_000_000_000);
    // Half of them end connected.
    let is_connect = (turn + device).is_multiple_of(2);
    let begun_s = if is_connect { at_s } else { at_s - 36 };
    let event = PresenceEvent {
        kind: if is_connect { EventKind::Connect } else { EventKind::Disconnect },
        session: moment(begun_s),
        time: moment(at_s),
        close_code: 0,
        payload: Payload::pack(b"{}"),
    };
    let device = Device { device_type: "pump", id: &device.to_string() };
    HistoryEvent::of(device, event, UnixSeconds(at_s))
}

fn word(event: &PresenceEvent) -> &'static str {
    if event.kind == EventKind::Connect { "device.connected" } else { "device.disconnected" }
}

/// The deliveries to an endpoint that is away for an hour, on a store with nothing in it.
struct Deliveries {
    runtime: Runtime,
    store: Arc<dyn Store>,
    registry: Arc<DeviceRegistry>,
    outage: Arc<Outage>,
    desk: WebhookDesk,
    /// Id and type of each change that the endpoint has taken.
    taken: mpsc::Receiver<(String, String)>,
    _directory: tempfile::TempDir,
}

fn endpoint(
    name: &str,
    receiver: &Receiver,
    mode: Mode,
    (format, batch_max): (Format, usize),
) -> EndpointSettings {
    EndpointSettings {
        name: name.to_owned(),
        url: EndpointUrl::parse(&receiver.url()).expect("it is a URL"),
        secrets: vec![SigningSecret::parse(SECRET).expect("it is a secret")],
        events: Vec::new(),
        selector: Filter::default(),
        mode,
        settle: Duration::ZERO,
        format,
        routing_key: None,
        batch_max,
        linger: Duration::ZERO,
        schemas: None,
        headers: HeaderMap::new(),
        tls: ClientTls { ca_file: None, certificate: None, alpn: Vec::new() },
        allow_private: true,
    }
}

/// A receiver that sends id and type of each change on, unless it is away.
fn receiver(
    is_away: impl Fn() -> bool + Send + Sync + 'static,
) -> (Receiver, mpsc::Receiver<(String, String)>) {
    let (sender, taken) = mpsc::channel();
    let receiver = Receiver::start(move |delivery, _| {
        if is_away() {
            return Reply::CutInHead;
        }
        let body = delivery.json();
        for event in body.as_array().map_or(std::slice::from_ref(&body), Vec::as_slice) {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let _ = sender.send((text(&event["data"]["id"]), text(&event["type"])));
        }
        Reply::Status(200)
    });
    (receiver, taken)
}

impl Deliveries {
    fn start(mode: Mode, form: (Format, usize)) -> Self {
        Self::beside(mode, form, Vec::new())
    }

    /// Others receive changes meanwhile.
    fn beside(mode: Mode, form: (Format, usize), mut endpoints: Vec<EndpointSettings>) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let retention = Retention { per_device: CHANGES as usize };
        let store =
            SqliteStore::open(&directory.path().join("store.db"), retention).expect("a store can be made");
        let booted_ms = AtomicI64::new(i64::from(BEGIN_S) * 1_000);
        let clock = Arc::new(SimulatedClock {
            since_boot_ms: AtomicI64::new(0),
            booted_ms,
            waits: Mutex::default(),
            held: watch::Sender::new(Held::Nothing),
        });
        let outage = Arc::new(Outage {
            clock: Arc::clone(&clock),
            until_ms: AtomicI64::new(0),
            is_endless: AtomicBool::new(false),
            attempts: AtomicUsize::new(0),
        });
        let of_receiver = Arc::clone(&outage);
        let (receiver, taken) = receiver(move || of_receiver.is_on());
        endpoints.push(endpoint("ops", &receiver, mode, form));
        let names: Vec<_> = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let (store, registry): (Arc<dyn Store>, _) = (Arc::new(store), Arc::<DeviceRegistry>::default());
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let desk = WebhookDesk::default();
        let webhooks = Webhooks {
            endpoints: watch::Sender::new(endpoints).subscribe(),
            store: Arc::clone(&store),
            log: ChangeLog::History,
            tail: HistoryTail::default(),
            store_outlives: true,
            is_shared: false,
            registry: Arc::clone(&registry),
            feed: Arc::new(Feed::new(FeedSettings::default(), health, Metrics::default())),
            describe: Arc::new(|device, previous, _| {
                let previous = previous.map(Status::word);
                let shown = json!({"id": device.device().id, "previous_status": previous});
                to_raw_value(&shown).expect("texts are JSON")
            }),
            source: "urn:devstatus:test".to_owned(),
            metrics: WebhookMetrics::default(),
            desk: desk.clone(),
            leases: Leases::default(),
            store_log: OnceAMinute::default(),
            clock,
        };
        let runtime = Runtime::new().expect("a runtime can be made");
        runtime.spawn(async move { webhooks.run(CancellationToken::new()).await });
        let begins = |view: &EndpointView| view.position.is_some() || view.state == EndpointState::Broken;
        let begin = || names.iter().all(|name| desk.view(name).as_ref().is_some_and(begins));
        assert!(poll(PATIENCE, || begin().then_some(())).is_some(), "the endpoints begin with what comes");
        Self { runtime, store, registry, outage, desk, taken, _directory: directory }
    }

    /// Writes changes to the store, and makes the newest state of their devices known.
    fn write(&self, events: Vec<HistoryEvent>) {
        let mut states: BTreeMap<DeviceName, (DeviceState, UnixSeconds)> = BTreeMap::new();
        for event in &events {
            let entry = states.entry(DeviceName::of(event.device()));
            let newest = entry.or_insert_with(|| (DeviceState::default(), event.received_at));
            newest.0.apply(event.event.clone());
            newest.1 = event.received_at;
        }
        for (name, (state, received_at)) in states {
            self.registry.restore(name.device(), state, received_at);
        }
        for part in events.chunks(4_000) {
            let batch = Batch { events: part.to_vec(), ..Batch::default() };
            self.runtime.block_on(self.store.upsert(Arc::new(batch))).expect("the store works");
        }
    }

    /// A device connects, and the first attempt to say so fails. The clock stands still then.
    fn fail_once(&self) {
        self.write(vec![HistoryEvent { id: "first".into(), ..change(0) }]);
        let begun = poll(PATIENCE, || (self.outage.attempts.load(Ordering::SeqCst) > 0).then_some(()));
        assert!(begun.is_some(), "an attempt fails");
    }

    /// A device connects, and the first attempt to say so begins the hour, in which the other changes come.
    fn be_away(&self) {
        self.fail_once();
        self.write((0..CHANGES).map(change).collect());
        self.outage.clock.held.send_replace(Held::Nothing);
    }

    /// How long was waited so far, each length once.
    fn waits(&self) -> BTreeSet<Duration> {
        self.outage.clock.waits.lock().expect("nothing panics with it").clone()
    }

    /// Whatever comes until so many changes have come, and one more.
    fn take(&self, number: usize) -> Vec<(String, String)> {
        let next = || self.taken.recv_timeout(PATIENCE).expect("more changes come");
        let mut taken: Vec<_> = (0..number).map(|_| next()).collect();
        let last = change(0);
        self.write(vec![HistoryEvent { id: "last".into(), ..last }]);
        while taken.last().is_none_or(|(id, _)| id != "last") {
            taken.push(next());
        }
        assert!(self.waits().last().is_some_and(|longest| *longest <= RETRY_LONGEST));
        let attempts = self.outage.attempts.load(Ordering::SeqCst);
        assert!(attempts >= 20, "an hour in at most five minutes each, and not {attempts} attempts");
        taken
    }
}

fn by_device(taken: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, Vec<String>> {
    let mut by_device: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, event_type) in taken {
        by_device.entry(id).or_default().push(event_type);
    }
    by_device
}

#[test]
fn after_an_hour_every_change_comes_in_its_order() {
    // Another endpoint takes everything meanwhile, so what it has read is no longer remembered when the first one is back.
    let (other, taken_meanwhile) = receiver(|| false);
    let form = (Format::CloudEvents, 256);
    let other = endpoint("other", &other, Mode::Every, form);
    let deliveries = Deliveries::beside(Mode::Every, form, vec![other]);
    deliveries.be_away();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in (0..CHANGES).map(change) {
        expected.entry(event.id.to_string()).or_default().push(word(&event.event).to_owned());
    }
    for id in ["first", "last"] {
        expected.insert(id.to_owned(), vec!["device.connected".to_owned()]);
    }
    let taken = by_device(deliveries.take(CHANGES as usize + 1));
    assert!(taken == expected, "each device in its order, and each change once");
    let next = || taken_meanwhile.recv_timeout(PATIENCE).expect("more changes come");
    let meanwhile = by_device((0..CHANGES as usize + 2).map(|_| next()));
    assert!(meanwhile == expected, "the other endpoint receives the same");
}

#[test]
fn after_an_hour_latest_sends_each_device_once_and_as_it_is() {
    let deliveries = Deliveries::start(Mode::Latest, (Format::Standard, 1));
    deliveries.be_away();
    let newest = (CHANGES - DEVICES..CHANGES).map(change);
    let mut expected: Vec<_> =
        newest.map(|event| (event.id.to_string(), word(&event.event).to_owned())).collect();
    expected.extend(["first", "last"].map(|id| (id.to_owned(), "device.connected".to_owned())));
    expected.sort();
    let mut taken = deliveries.take(DEVICES as usize + 1);
    taken.sort();
    assert!(taken == expected, "each device once, and no disconnect that is no longer true");
}

#[test]
fn an_endpoint_without_certificates_to_trust_begins_once_there_are_some() {
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("later.pem");
    let (receiver, _taken) = receiver(|| false);
    let other = EndpointSettings {
        url: EndpointUrl::parse("https://127.0.0.1:1/").unwrap(),
        tls: ClientTls { ca_file: Some(ca_file.clone()), ..ClientTls::default() },
        ..endpoint("other", &receiver, Mode::Every, (Format::Standard, 1))
    };
    let deliveries = Deliveries::beside(Mode::Every, (Format::Standard, 1), vec![other]);
    let view = || deliveries.desk.view("other").unwrap();
    assert_eq!((view().state, view().position), (EndpointState::Broken, None));
    std::fs::copy(&PrivateCa::issue_for_client(directory.path()).ca_file, ca_file).unwrap();
    assert!(poll(PATIENCE, || view().position).is_some(), "not {:?}", view().state);
}

#[test]
fn a_clock_that_is_set_forward_by_days_disables_no_endpoint() {
    let deliveries = Deliveries::start(Mode::Every, (Format::Standard, 1));
    let Outage { clock, is_endless, .. } = &*deliveries.outage;
    deliveries.fail_once();
    is_endless.store(true, Ordering::SeqCst);
    clock.booted_ms.fetch_add(10 * 24 * 3_600_000, Ordering::SeqCst);
    let began_ms = clock.since_boot_ms();
    clock.held.send_replace(Held::Nothing);
    let state = || deliveries.desk.view("ops").map(|view| view.state);
    let given_up = poll(PATIENCE, || state().filter(|state| *state == EndpointState::GivenUp));
    assert!(given_up.is_some(), "it is given up in the end, not {:?}", state());
    let failed_ms = clock.since_boot_ms() - began_ms;
    assert!(failed_ms >= 5 * 24 * 3_600_000, "after five days, not {failed_ms} ms");
}

#[test]
fn an_endpoint_that_fails_for_five_days_is_disabled_until_an_administrator_enables_it() {
    let deliveries = Deliveries::start(Mode::Every, (Format::Standard, 1));
    deliveries.outage.is_endless.store(true, Ordering::SeqCst);
    deliveries.write(vec![HistoryEvent { id: "first".into(), ..change(0) }]);
    let state = || deliveries.desk.view("ops").map(|view| view.state);
    let given_up = poll(PATIENCE, || state().filter(|state| *state == EndpointState::GivenUp));
    assert!(given_up.is_some(), "it is given up, not {:?}", state());
    let failed_ms =
        deliveries.outage.clock.now_ms() - (deliveries.outage.until_ms.load(Ordering::SeqCst) - AWAY_MS);
    assert!(failed_ms >= 5 * 24 * 3_600_000, "after five days, not {failed_ms} ms");
    deliveries.outage.is_endless.store(false, Ordering::SeqCst);
    assert!(deliveries.taken.try_recv().is_err(), "nothing is sent any more");
    let enabled = deliveries.runtime.block_on(deliveries.desk.order("ops", WorkerCommand::Enable));
    assert_eq!(enabled, Ok(CommandOutcome::Done));
    let (id, _) = deliveries.taken.recv_timeout(PATIENCE).expect("it goes on where it was");
    assert_eq!(id, "first");
}

#[test]
fn a_batch_waits_for_further_events_unless_it_is_full() {
    const LINGER: Duration = Duration::from_millis(700);
    let (sender, sizes) = mpsc::channel();
    let receiver = Receiver::start(move |delivery, _| {
        let _ = sender.send(delivery.json().as_array().map(Vec::len));
        Reply::Status(200)
    });
    let form = (Format::CloudEvents, 3);
    let lingering =
        EndpointSettings { linger: LINGER, ..endpoint("lingering", &receiver, Mode::Every, form) };
    let deliveries = Deliveries::beside(Mode::Every, form, vec![lingering]);
    // The other endpoint is of no interest here.
    deliveries.outage.is_endless.store(true, Ordering::SeqCst);
    let changes = |ids: &[&str]| {
        let change = |id: &&str| HistoryEvent { id: (*id).into(), ..change(0) };
        deliveries.write(ids.iter().map(change).collect());
    };
    let size = || sizes.recv_timeout(PATIENCE).expect("a batch comes");

    deliveries.outage.clock.held.send_replace(Held::Waits(LINGER));
    changes(&["one"]);
    let waits = poll(PATIENCE, || deliveries.waits().contains(&LINGER).then_some(()));
    assert!(waits.is_some(), "it waits for more");
    changes(&["two"]);
    assert!(sizes.try_recv().is_err(), "the time is not over");
    deliveries.outage.clock.held.send_replace(Held::Nothing);
    assert_eq!(size(), Some(2));

    deliveries.outage.clock.held.send_replace(Held::Waits(LINGER));
    changes(&["three", "four", "five"]);
    assert_eq!(size(), Some(3), "without a wait");
}
