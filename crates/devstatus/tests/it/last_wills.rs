//! A fleet of paho clients with last wills on a stock mosquitto, on aedes and on RMQTT: killed, timed out, taken over, back. Three conventions
//! and what the broker tells of its clients are read by one service, and none of them may differ from what was done to the clients.
//! Beside them it reads devices of the IoT platform, which meet the same fates.
//!
//! By default there are 300 clients on mosquitto and 60 on aedes; `TEST_LONG=1` makes 5,040 on mosquitto, and builds RMQTT for 300.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use testkit::device_process::DeviceProcess;
use testkit::further_broker::FurtherBroker;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::poll;
use testkit::publisher::Publisher;
use testkit::service::{Launch, Service};
use testkit::status;

/// Seconds of a keep-alive that is to run out, and of one that is not.
const SHORT_KEEP_ALIVE: &str = "5";
const LONG_KEEP_ALIVE: &str = "600";
/// How long the service may take for what thousands of clients do on a busy machine.
const TRUTH_BOUND: Duration = Duration::from_secs(300);
/// Files that the broker needs for the long form, a client each.
const FILES: u64 = 12_000;

fn is_long() -> bool {
    std::env::var_os("TEST_LONG").is_some_and(|value| value == "1")
}

/// How a convention names the state of a device.
struct Convention {
    source: &'static str,
    device_type: &'static str,
    topic: fn(&str) -> String,
    /// By the birth, the will, and the goodbye before a clean end.
    payloads: [&'static str; 3],
}

const CONVENTIONS: [Convention; 3] = [
    Convention {
        source: "esphome",
        device_type: "esphome",
        topic: |id| format!("{id}/status"),
        payloads: ["online", "offline", "offline"],
    },
    Convention {
        source: "tasmota",
        device_type: "tasmota",
        topic: |id| format!("tele/{id}/LWT"),
        payloads: ["Online", "Offline", "Offline"],
    },
    Convention {
        source: "homie4",
        device_type: "homie",
        topic: |id| format!("homie/{id}/$state"),
        payloads: ["ready", "lost", "disconnected"],
    },
];

const IOT_PLATFORM: &str = "iot-platform";
/// Names of the tables, where the broker's own source has one.
const CONVENTIONS_TABLE: &str = "devices";
const OWN_TABLE: &str = "clients";

/// What is done to the clients of a process, in two acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Untouched,
    Killed,
    KilledAndBack,
    TimedOut,
    TimedOutAndBack,
    TakenOver,
    TakenOverAndKilled,
    /// The first connection hangs while another one takes over, and ends after it.
    HangingAndTakenOver,
    LeftAndBack,
    /// Connections end without a word, and the clients are back at once, in both acts.
    Dropped,
}

impl Fate {
    const ALL: [Self; 10] = [
        Self::Untouched,
        Self::Killed,
        Self::KilledAndBack,
        Self::TimedOut,
        Self::TimedOutAndBack,
        Self::TakenOver,
        Self::TakenOverAndKilled,
        Self::HangingAndTakenOver,
        Self::LeftAndBack,
        Self::Dropped,
    ];

    /// Whether its clients are connected after the first act, and after the second.
    fn connected(self) -> [bool; 2] {
        match self {
            Self::Untouched | Self::TakenOver | Self::HangingAndTakenOver | Self::Dropped => [true, true],
            Self::Killed | Self::TimedOut => [false, false],
            Self::KilledAndBack | Self::TimedOutAndBack | Self::LeftAndBack => [false, true],
            Self::TakenOverAndKilled => [true, false],
        }
    }

    /// The cause that the broker's log gives for the end in the first act.
    fn logged_cause(self) -> Option<&'static str> {
        match self {
            Self::Killed | Self::KilledAndBack => Some("connection"),
            Self::TimedOut | Self::TimedOutAndBack => Some("timeout"),
            Self::LeftAndBack => Some("ended"),
            Self::Untouched
            | Self::TakenOver
            | Self::TakenOverAndKilled
            | Self::HangingAndTakenOver
            | Self::Dropped => None,
        }
    }

    /// The keep-alive, and whether clients connect again when a connection is lost.
    fn habits(self) -> (&'static str, &'static str) {
        match self {
            Self::TimedOut | Self::TimedOutAndBack => (SHORT_KEEP_ALIVE, "returning"),
            Self::Untouched
            | Self::Killed
            | Self::KilledAndBack
            | Self::TakenOver
            | Self::TakenOverAndKilled
            | Self::HangingAndTakenOver
            | Self::LeftAndBack
            | Self::Dropped => (LONG_KEEP_ALIVE, "quiet"),
        }
    }
}

/// The clients of a process, and of the one that comes after it or takes over.
struct Group {
    conventions: &'static [Convention],
    fate: Fate,
    ids: Vec<String>,
    process: DeviceProcess,
    second: Option<DeviceProcess>,
}

impl Group {
    fn start(broker: &TestedBroker<'_>, number: usize, fate: Fate, clients: usize) -> Self {
        let ids: Vec<String> = (0..clients).map(|client| format!("will-{number:02}-{client:03}")).collect();
        let conventions = broker.conventions;
        let process = connect(broker.port, fate, conventions, &ids);
        Self { conventions, fate, ids, process, second: None }
    }

    /// Begins the first act.
    fn strike(&mut self, port: u16) {
        match self.fate {
            Fate::Untouched => {}
            Fate::Killed | Fate::KilledAndBack => self.process.kill(),
            Fate::TimedOut | Fate::TimedOutAndBack => self.process.freeze(true),
            Fate::TakenOver | Fate::TakenOverAndKilled => self.start_second(port),
            Fate::HangingAndTakenOver => {
                self.process.freeze(true);
                self.start_second(port);
            }
            Fate::LeftAndBack => self.process.order("leave"),
            Fate::Dropped => self.process.order("drop"),
        }
    }

    /// Begins the second act.
    fn strike_again(&mut self, port: u16) {
        match self.fate {
            Fate::Untouched | Fate::Killed | Fate::TimedOut | Fate::TakenOver => {}
            Fate::KilledAndBack | Fate::LeftAndBack => self.start_second(port),
            Fate::TimedOutAndBack => self.process.freeze(false),
            Fate::TakenOverAndKilled => self.second.iter_mut().for_each(DeviceProcess::kill),
            Fate::HangingAndTakenOver => self.process.kill(),
            Fate::Dropped => self.process.order("drop"),
        }
    }

    /// Waits until the clients have done what an act wants of them.
    fn wait_for_act(&self, act: usize) {
        match (self.fate, act) {
            (Fate::TakenOver, 0) => {
                self.connected_again();
                self.process.wait_for("lost");
            }
            (Fate::TakenOverAndKilled | Fate::HangingAndTakenOver, 0)
            | (Fate::KilledAndBack | Fate::LeftAndBack, 1) => self.connected_again(),
            (Fate::LeftAndBack, 0) => self.process.wait_for("left"),
            (Fate::Dropped, _) | (Fate::TimedOutAndBack, 1) => self.process.wait_for("connected"),
            (_, _) => {}
        }
    }

    fn start_second(&mut self, port: u16) {
        self.second = Some(connect(port, self.fate, self.conventions, &self.ids));
    }

    fn connected_again(&self) {
        self.second.iter().for_each(|process| process.wait_for("connected"));
    }
}

fn connect(port: u16, fate: Fate, conventions: &'static [Convention], ids: &[String]) -> DeviceProcess {
    let (keep_alive, returning) = fate.habits();
    let mut process = DeviceProcess::start("last_wills.py", &[&port.to_string(), keep_alive, returning]);
    let clients = ids.iter().zip(conventions.iter().cycle()).map(|(id, convention)| {
        let Convention { topic, payloads: [birth, will, goodbye], .. } = convention;
        json!({"id": id, "topic": topic(id), "birth": birth, "will": will, "goodbye": goodbye})
    });
    process.order(&clients.collect::<Value>().to_string());
    process
}

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
            for (source, device_type) in [(*source, *device_type), (broker.own_source, "mqtt")] {
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

/// Waits until nothing differs from the truth.
fn expect_truth(service: &Service, truth: &Statuses, when: &str) {
    let mut last = Statuses::new();
    let equal = poll(TRUTH_BOUND, || {
        last = listed(service);
        (last == *truth).then_some(())
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

/// A broker, and the source that reads what it tells of its clients by itself.
struct TestedBroker<'a> {
    port: u16,
    url: &'a str,
    /// Those whose topics it takes.
    conventions: &'static [Convention],
    own_source: &'a str,
    /// What that source says of why a connection has ended in the first act.
    own_cause: fn(Fate) -> Option<&'static str>,
    own_link: OwnLink,
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
            OwnLink::Separate if source == self.own_source => OWN_TABLE.to_owned(),
            OwnLink::Separate => format!("{CONVENTIONS_TABLE}/{source}"),
        }
    }
}

fn expect_fleet_as_it_is(broker: &TestedBroker<'_>, processes: usize, clients: usize) {
    let TestedBroker { port, own_source, own_cause, .. } = *broker;
    let service = broker.launch("first", Some(own_source));
    let mut platform = PlatformDevices::start(port, clients);
    let fates = Fate::ALL.into_iter().flat_map(|fate| std::iter::repeat_n(fate, processes));
    let mut groups: Vec<Group> =
        fates.enumerate().map(|(number, fate)| Group::start(broker, number, fate, clients)).collect();
    groups.iter().for_each(|group| group.process.wait_for("connected"));
    expect_truth(&service, &truth((&groups, &platform), broker, |_| true), "all are connected");
    groups.iter_mut().for_each(|group| group.strike(port));
    platform.act(0);
    groups.iter().for_each(|group| group.wait_for_act(0));
    let first = truth((&groups, &platform), broker, |fate| fate.connected()[0]);
    expect_truth(&service, &first, "after the first act");
    for group in &groups {
        let device = service.get(&format!("/api/v1/devices/mqtt/{}", group.ids[0])).json();
        assert_eq!(device["cause"].as_str(), own_cause(group.fate), "{:?}: {device}", group.fate);
    }
    groups.iter_mut().for_each(|group| group.strike_again(port));
    platform.act(1);
    groups.iter().for_each(|group| group.wait_for_act(1));
    let end = truth((&groups, &platform), broker, |fate| fate.connected()[1]);
    expect_truth(&service, &end, "after the second act");
    // The conventions are retained, so a service that begins now knows as much of them.
    let newcomer = broker.launch("newcomer", None);
    let own = broker.label(own_source);
    let retained = end.into_iter().filter(|((source, _, _), _)| *source != own).collect();
    expect_truth(&newcomer, &retained, "to a newcomer");
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
        own_source: "mosquitto-log",
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
        own_source: "aedes",
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
        own_source: "rmqtt",
        own_cause: Fate::logged_cause,
        own_link: OwnLink::Shared,
    };
    expect_fleet_as_it_is(&tested, 1, if is_long() { 30 } else { 6 });
}
