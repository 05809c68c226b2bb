//! A fleet of paho clients with last wills on a stock mosquitto, on aedes, on RMQTT and on RabbitMQ: killed, timed out, taken over,
//! back. Three conventions and what the broker tells of its clients, if it does, are read by one service, and none of them may differ
//! from what was done to the clients. Beside them it reads devices of the IoT platform, which meet the same fates.
//!
//! By default there are 300 clients on mosquitto, 60 on aedes and 60 on RabbitMQ; `TEST_LONG=1` makes 5,040 on mosquitto, and builds
//! RMQTT for 300.

mod clients;

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testkit::further_broker::FurtherBroker;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::poll;
use testkit::publisher::Publisher;
use testkit::rabbitmq::RabbitMq;
use testkit::service::{Launch, Service};
use testkit::status;
use testkit::subscriber::{Received, Subscriber};

use self::clients::{CONVENTIONS, Convention, Fate, Group};

/// How long the service may take for what thousands of clients do on a busy machine.
const TRUTH_BOUND: Duration = Duration::from_secs(120);
/// Files that the broker needs for the long form, a client each.
const FILES: u64 = 12_000;

fn is_long() -> bool {
    std::env::var_os("TEST_LONG").is_some_and(|value| value == "1")
}

const IOT_PLATFORM: &str = "iot-platform";
/// Names of the tables, where the broker's own source has one.
const CONVENTIONS_TABLE: &str = "devices";
const OWN_TABLE: &str = "clients";

/// Devices of the IoT platform, one for each fate and client, whose statuses somebody publishes.
struct PlatformDevices {
    publisher: Publisher,
    ids: Vec<(Fate, String)>,
}

impl PlatformDevices {
    const TYPE: &str = "platform";

    fn start(port: u16, clients: usize) -> Self {
        let of = |fate: Fate| {
            (0..clients).map(move |client| (fate, format!("will-{fate:?}-{client:03}").to_lowercase()))
        };
        let ids = Fate::ALL.into_iter().flat_map(of).collect();
        let mut devices = Self { publisher: Publisher::connect(port, None), ids };
        devices.publish(|_, device| Some(device.connect(1)));
        devices
    }

    /// Publishes what the platform says after an act, of sessions that began and end at the second of an act.
    fn act(&mut self, act: usize) {
        self.publish(|fate, device| match (act, fate.connected()) {
            (0, [false, _]) => Some(device.disconnect(1, 2)),
            (1, [false, true]) => Some(device.connect(3)),
            (1, [true, false]) => Some(device.disconnect(1, 3)),
            (_, _) => None,
        });
    }

    fn publish(&mut self, message: impl Fn(Fate, status::Device<'_>) -> Option<String>) {
        for (fate, id) in &self.ids {
            let device = status::Device::new(Self::TYPE, id);
            if let Some(message) = message(*fate, device) {
                self.publisher.retain(&device.topic(), message);
            }
        }
        self.publisher.flush();
    }
}

/// By source, type and id, whether a device is connected.
type Statuses = BTreeMap<(String, String, String), bool>;

/// Corrects what conventions must say of clients that have taken over from others, where that is left to chance: what the broker
/// retains.
fn correct(truth: &mut Statuses, groups: &[Group], broker: &TestedBroker<'_>) {
    if broker.at_takeover != AtTakeover::PublishedLate {
        return;
    }
    let mut subscriber = Subscriber::connect(broker.port, "corrector");
    for group in groups.iter().filter(|group| group.fate.is_taken_over()) {
        for (id, convention) in group.ids.iter().zip(group.conventions.iter().cycle()) {
            let key = (broker.label(convention.source), convention.device_type.to_owned(), id.clone());
            let Some(is_connected) = truth.get_mut(&key).filter(|is_connected| **is_connected) else {
                continue;
            };
            let topic = (convention.topic)(id);
            subscriber.subscribe(&topic, 0);
            let is_ours = |message: &Received| message.topic == topic;
            let retained = std::iter::repeat_with(|| subscriber.messages(1).remove(0)).find(is_ours);
            let [birth, _, _] = convention.payloads;
            *is_connected = retained.is_some_and(|retained| retained.payload == birth.as_bytes());
        }
    }
}

/// What every source must say.
fn truth(
    (groups, platform): (&[Group], &PlatformDevices),
    broker: &TestedBroker<'_>,
    is_connected: impl Fn(Fate) -> bool,
) -> Statuses {
    let mut truth = Statuses::new();
    for (fate, id) in &platform.ids {
        let key = (IOT_PLATFORM.to_owned(), PlatformDevices::TYPE.to_owned(), id.clone());
        truth.insert(key, is_connected(*fate));
    }
    for group in groups {
        for (id, convention) in group.ids.iter().zip(group.conventions.iter().cycle()) {
            let Convention { source, device_type, .. } = convention;
            let own = broker.own_source.map(|own_source| (own_source, "mqtt"));
            for (source, device_type) in [(*source, *device_type)].into_iter().chain(own) {
                let key = (broker.label(source), device_type.to_owned(), id.clone());
                truth.insert(key, is_connected(group.fate));
            }
        }
    }
    truth
}

/// What the service says of all clients of the fleet.
fn listed(service: &Service) -> Statuses {
    let mut statuses = Statuses::new();
    let mut cursor = String::new();
    loop {
        let page = service.get(&format!("/api/v1/devices?id_prefix=will-&limit=1000{cursor}")).json();
        for device in page["devices"].as_array().expect("a list") {
            let text = |field: &str| device[field].as_str().expect("a text").to_owned();
            statuses.insert((text("source"), text("type"), text("id")), device["status"] == "connected");
        }
        let Some(next) = page["next_cursor"].as_str() else { return statuses };
        cursor = format!("&cursor={next}");
    }
}

/// Waits until nothing differs from the truth as it is corrected at that moment.
fn expect_truth(service: &Service, uncorrected: &Statuses, correct: impl Fn(&mut Statuses), when: &str) {
    let (mut truth, mut last) = (Statuses::new(), Statuses::new());
    let equal = poll(TRUTH_BOUND, || {
        truth = uncorrected.clone();
        correct(&mut truth);
        last = listed(service);
        (last == truth).then_some(())
    });
    if equal.is_none() {
        let wrong: Vec<_> =
            truth.iter().filter(|(key, is_connected)| last.get(*key) != Some(*is_connected)).collect();
        let more: Vec<_> = last.keys().filter(|key| !truth.contains_key(*key)).collect();
        panic!(
            "{when}: {} of {} differ from the truth, {} are too many: {:?} {:?}\n{}",
            wrong.len(),
            truth.len(),
            more.len(),
            &wrong[..wrong.len().min(10)],
            &more[..more.len().min(10)],
            service.log()
        );
    }
}

fn allow_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < FILES) {
        let limit = Rlimit { current: Some(FILES), maximum };
        setrlimit(Resource::Nofile, limit).expect("the long form needs as many open files");
    }
}

/// A broker, what it does with wills, and the source that reads what it tells of its clients by itself.
struct TestedBroker<'a> {
    port: u16,
    url: &'a str,
    /// Those whose topics it takes.
    conventions: &'static [Convention],
    at_takeover: AtTakeover,
    to_newcomers: Replay,
    /// `None`: it tells nothing of its clients.
    own_source: Option<&'a str>,
    /// What that source says of why a connection has ended in the first act.
    own_cause: fn(Fate) -> Option<&'static str>,
    own_link: OwnLink,
}

/// What a broker does with the will of a client whose id another one takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AtTakeover {
    Published,
    /// It lets the new client in before it publishes the will, so the will may come after the birth and remain.
    PublishedLate,
    Dropped,
}

/// What a broker sends of retained messages to a new subscriber with wildcards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replay {
    Everything,
    Nothing,
}

/// Over which connection the broker's own source is read.
#[derive(Clone, Copy)]
enum OwnLink {
    Shared,
    /// By a table of its own.
    Separate,
}

impl TestedBroker<'_> {
    /// A service that reads the conventions, and the broker's own source if `own_source` says so.
    fn launch(&self, name: &str, own_source: Option<&str>) -> Service {
        let launch = match self.own_link {
            OwnLink::Shared => {
                let sources: Vec<&str> = self.retained_sources().into_iter().chain(own_source).collect();
                Launch::default()
                    .arguments(&["--broker", self.url, "--source", &sources.join(",")])
                    .arguments(&["-o", "org", "-i", name, "--quiet-interval-ms", "300"])
            }
            OwnLink::Separate => {
                let table = |(name, formats): (&str, &[&str])| {
                    let broker = format!("broker = \"{}\"\nquiet-interval-ms = 300\n", self.url);
                    format!("[[source]]\nname = \"{name}\"\nformat = {formats:?}\n{broker}")
                };
                let own = own_source.map(|source| table((OWN_TABLE, &[source])));
                let retained = self.retained_sources();
                let tables = table((CONVENTIONS_TABLE, &retained)) + &own.unwrap_or_default();
                Launch::default()
                    .arguments(&["--name", name, "-c", "devstatus.toml"])
                    .file("devstatus.toml", &tables)
            }
        };
        let service = launch.arguments(&["-p", "0"]).start();
        service.wait_until_ready();
        service
    }

    /// Everything that is retained.
    fn retained_sources(&self) -> Vec<&str> {
        let conventions = self.conventions.iter().map(|convention| convention.source);
        std::iter::once(IOT_PLATFORM).chain(conventions).collect()
    }

    /// What its devices show as their source.
    fn label(&self, source: &str) -> String {
        match self.own_link {
            OwnLink::Shared => source.to_owned(),
            OwnLink::Separate if Some(source) == self.own_source => OWN_TABLE.to_owned(),
            OwnLink::Separate => format!("{CONVENTIONS_TABLE}/{source}"),
        }
    }
}

/// How many times the first device of a group was shown as disconnected.
fn disconnects(service: &Service, group: &Group) -> usize {
    let (device_type, id) = (group.conventions[0].device_type, &group.ids[0]);
    let history = service.get(&format!("/api/v1/devices/{device_type}/{id}/history")).json();
    let events = history["events"].as_array().expect("a history");
    events.iter().filter(|event| event["event"] == "disconnect").count()
}

fn expect_fleet_as_it_is(broker: &TestedBroker<'_>, processes: usize, clients: usize) {
    let TestedBroker { port, own_source, own_cause, .. } = *broker;
    let service = broker.launch("first", own_source);
    let mut platform = PlatformDevices::start(port, clients);
    let fates = Fate::ALL.into_iter().flat_map(|fate| std::iter::repeat_n(fate, processes));
    let mut groups: Vec<Group> =
        fates.enumerate().map(|(number, fate)| Group::start(broker, number, fate, clients)).collect();
    groups.iter().for_each(|group| group.process.wait_for("connected"));
    expect_truth(&service, &truth((&groups, &platform), broker, |_| true), |_| (), "all are connected");
    groups.iter_mut().for_each(|group| group.strike(port));
    platform.act(0);
    groups.iter().for_each(|group| group.wait_for_act(0));
    let first = truth((&groups, &platform), broker, |fate| fate.connected()[0]);
    expect_truth(&service, &first, |truth| correct(truth, &groups, broker), "after the first act");
    if own_source.is_some() {
        for group in &groups {
            let device = service.get(&format!("/api/v1/devices/mqtt/{}", group.ids[0])).json();
            assert_eq!(device["cause"].as_str(), own_cause(group.fate), "{:?}: {device}", group.fate);
        }
    }
    groups.iter().filter(|group| group.fate == Fate::TakenOver).for_each(|group| {
        assert_eq!(disconnects(&service, group) > 0, broker.at_takeover != AtTakeover::Dropped);
    });
    groups.iter_mut().for_each(|group| group.strike_again(port));
    platform.act(1);
    groups.iter().for_each(|group| group.wait_for_act(1));
    let end = truth((&groups, &platform), broker, |fate| fate.connected()[1]);
    expect_truth(&service, &end, |truth| correct(truth, &groups, broker), "after the second act");
    // The conventions are retained, so a service that begins now knows as much of them, if the broker replays it.
    let newcomer = broker.launch("newcomer", None);
    let own = own_source.map(|own_source| broker.label(own_source));
    let is_replayed =
        |source: &String| broker.to_newcomers == Replay::Everything && Some(source) != own.as_ref();
    let retained = end.into_iter().filter(|((source, _, _), _)| is_replayed(source)).collect();
    expect_truth(&newcomer, &retained, |truth| correct(truth, &groups, broker), "to a newcomer");
    if broker.to_newcomers == Replay::Nothing {
        let unknown = newcomer.get(&format!("/{}/nobody", PlatformDevices::TYPE));
        assert_eq!(unknown.status, 503, "that a device never connected is not said: {}", unknown.text());
    }
    println!("{} clients, {} processes", groups.len() * clients, groups.len());
}

#[test]
fn a_fleet_with_last_wills_is_shown_as_it_is_by_every_convention_and_by_the_log() {
    if is_long() {
        allow_files();
    }
    let log = ["log_dest topic", "connection_messages true"].map(str::to_owned).to_vec();
    let broker = Mosquitto::start_with(Setup { extra: log, ..Setup::default() });
    let tested = TestedBroker {
        port: broker.port(),
        url: &broker.url(),
        conventions: &CONVENTIONS,
        at_takeover: AtTakeover::Published,
        to_newcomers: Replay::Everything,
        own_source: Some("mosquitto-log"),
        own_cause: Fate::logged_cause,
        own_link: OwnLink::Shared,
    };
    let (processes, clients) = if is_long() { (4, 126) } else { (1, 30) };
    expect_fleet_as_it_is(&tested, processes, clients);
}

#[test]
fn a_fleet_with_last_wills_on_aedes_is_shown_as_it_is_by_every_convention_and_by_its_events() {
    let broker = FurtherBroker::aedes();
    let tested = TestedBroker {
        port: broker.port(),
        url: &broker.url(),
        conventions: &CONVENTIONS,
        at_takeover: AtTakeover::Published,
        to_newcomers: Replay::Everything,
        own_source: Some("aedes"),
        own_cause: |_| None,
        // Over a shared one, aedes drops retained wills.
        own_link: OwnLink::Separate,
    };
    expect_fleet_as_it_is(&tested, 1, 6);
}

/// Of the long profile alone, since the broker must be built.
#[test]
fn a_fleet_with_last_wills_on_rmqtt_is_shown_as_it_is_by_every_convention_and_by_its_events() {
    let broker = FurtherBroker::rmqtt();
    let tested = TestedBroker {
        port: broker.port(),
        url: &broker.url(),
        // It takes no topic of Homie.
        conventions: &CONVENTIONS[..2],
        at_takeover: AtTakeover::PublishedLate,
        to_newcomers: Replay::Everything,
        own_source: Some("rmqtt"),
        own_cause: Fate::logged_cause,
        own_link: OwnLink::Shared,
    };
    expect_fleet_as_it_is(&tested, 1, if is_long() { 30 } else { 6 });
}

#[test]
fn a_fleet_with_last_wills_on_rabbitmq_is_shown_as_it_is_by_every_convention() {
    let broker = RabbitMq::start();
    let tested = TestedBroker {
        port: broker.port(),
        url: &broker.url(),
        conventions: &CONVENTIONS,
        at_takeover: AtTakeover::Dropped,
        to_newcomers: Replay::Nothing,
        own_source: None,
        own_cause: |_| None,
        own_link: OwnLink::Shared,
    };
    expect_fleet_as_it_is(&tested, 1, 6);
}
