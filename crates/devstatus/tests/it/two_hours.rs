//! Two hours of an organization's life in simulated time, while its broker restarts, the link breaks and messages are
//! dropped at random: after each repair, what the service answers is what is true.
//!
//! By default eight minutes are lived through; `TEST_LONG=1` makes it two hours. `TWO_HOURS_SEED` repeats a run.

use std::collections::BTreeMap;

use formats::iot_platform::{self, PlatformMessage};
use presence::{DeviceState, Status};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use simulator::message::{Millis, StatusMessage};
use simulator::platform::Truth;
use simulator::running::Fleet;
use simulator::settings::{Endings, FleetSettings};

use testkit::http::{self, Connection};
use testkit::link::Link;
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::service::{Launch, Service};
use testkit::status::ORG;

/// More than the stand-in keeps for one subscription, and each type fits.
const DEVICES: u32 = 900;
const BUFFER: usize = 450;
const EVENTS_PER_SECOND: f64 = 5.0;
/// 2026-11-23T12:00:00Z
const BEGINNING: Millis = Millis(1_795_435_200_000);
const MINUTE_MS: i64 = 60_000;
/// The most of the organization's devices of which the broker itself may hold a message that misleads.
const MISLED_MAX: usize = DEVICES as usize / 10;

/// What happens between two repairs, beside the dropping.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// Messages are dropped on the way to the service, nothing else.
    Drops,
    /// The connections break; new ones are carried at once.
    Cut,
    /// Nothing is carried for a while.
    Outage,
    /// The broker ends every session, and is back after a while with what it retained.
    Restart,
}

fn minutes() -> i64 {
    if std::env::var_os("TEST_LONG").is_some_and(|value| value == "1") { 120 } else { 8 }
}

/// The organization, what is true of it, and the way from it to the service.
struct World {
    fleet: Fleet,
    now: Millis,
    broker: PlatformBroker,
    link: Link,
    random: ChaCha8Rng,
    dropped: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let endings = Endings { clean: 5.0, dropped: 2.0, timed_out: 2.0, takeover: 1.0, refused: 0.2 };
        let settings = FleetSettings {
            organization: ORG.to_owned(),
            devices: DEVICES,
            types: 5,
            events_per_second: EVENTS_PER_SECOND,
            endings,
            seed,
        };
        let fleet = Fleet::new(settings, BEGINNING);
        let broker = PlatformBroker::start(Limits { buffer_messages: BUFFER, ..Limits::default() });
        fleet.retained_messages().for_each(|message| broker.publish(&message.topic, message.payload, true));
        let link = Link::to(broker.port());
        Self { fleet, now: BEGINNING, broker, link, random: ChaCha8Rng::seed_from_u64(seed), dropped: 0 }
    }

    /// Lets time pass; of the messages, this share reaches nobody.
    fn live(&mut self, ms: i64, dropped: f64) {
        self.now = self.now.plus(ms);
        for message in self.fleet.step(self.now) {
            let drop = self.random.random_bool(dropped);
            self.send(&message, drop);
        }
    }

    fn send(&mut self, message: &StatusMessage, drop: bool) {
        let StatusMessage { topic, payload, retain } = message;
        if !drop {
            return self.broker.publish(topic, payload, *retain);
        }
        self.dropped += 1;
        if *retain {
            self.broker.publish_unforwarded(topic, payload);
        }
    }

    /// A part of the simulated time, with a fault in its middle and messages lost all the while.
    fn suffer(&mut self, disturbance: Disturbance) {
        let (before, during, after) = self.thirds();
        self.live(before, 0.2);
        match disturbance {
            Disturbance::Drops => self.live(during, 0.5),
            Disturbance::Cut => {
                self.link.cut();
                self.live(during, 0.2);
                self.link.cut();
            }
            Disturbance::Outage => {
                self.link.down();
                self.live(during, 0.2);
                self.link.up();
            }
            Disturbance::Restart => {
                self.broker.refuse(true);
                self.broker.cut();
                self.now = self.now.plus(during);
                for message in self.fleet.restart_broker(self.now) {
                    self.send(&message, false);
                }
                self.broker.refuse(false);
            }
        }
        self.live(after, 0.2);
    }

    /// Three parts of half a minute to two minutes.
    fn thirds(&mut self) -> (i64, i64, i64) {
        let total = self.random.random_range(MINUTE_MS / 2..2 * MINUTE_MS);
        let first = self.random.random_range(0..total / 2);
        let second = self.random.random_range(0..total / 2);
        (first, second, total - first - second)
    }

    /// What the service must answer for each device that anything is known of, by its path. Where even the broker's own
    /// message misleads, the truth cannot be had by reading it: those are only counted.
    fn expected(&self) -> (BTreeMap<String, Truth>, usize) {
        let retained: BTreeMap<String, String> =
            self.fleet.retained_messages().map(|message| (message.topic, message.payload)).collect();
        let mut misled = 0;
        let mut expected = BTreeMap::new();
        for index in 0..self.fleet.len() {
            let (device, truth) = (self.fleet.device(index), self.fleet.truth(index));
            let topic = format!("iot-2/type/{}/id/{}/mon", device.device_type, device.device_id);
            let payload = retained.get(&topic);
            let said = payload.map_or(Truth::NeverConnected, |payload| said(&topic, payload));
            // Without the Connect of its session, the end by a withdrawn right looks like a refused login.
            let refusal = payload.is_some_and(|payload| payload.contains(r#""CloseCode":180"#));
            if said == truth && !refusal && !self.fleet.may_have_misled(index) {
                expected.insert(format!("/{}/{}", device.device_type, device.device_id), truth);
            } else {
                misled += 1;
            }
        }
        (expected, misled)
    }
}

/// What a retained message alone means.
fn said(topic: &str, payload: &str) -> Truth {
    let PlatformMessage::Event { event, .. } = iot_platform::decode(topic.as_bytes(), payload.as_bytes())
    else {
        panic!("the fleet sends statuses: {payload}");
    };
    let mut state = DeviceState::default();
    state.apply(event);
    match state.resolve().expect("an event decides").status {
        Status::Connected => Truth::Connected,
        Status::Disconnected => Truth::Disconnected,
    }
}

/// What the service answers for a device.
fn answered(connection: &mut Connection, path: &str) -> Option<Truth> {
    connection.send(&http::request("GET", path));
    let answer = connection.receive("GET").expect("an answer");
    match answer.header("devstatus-status") {
        Some("connected") => Some(Truth::Connected),
        Some("disconnected") => Some(Truth::Disconnected),
        Some("never_connected") => Some(Truth::NeverConnected),
        Some(_) | None => None,
    }
}

/// A device that was never connected but has posted over HTTP has been heard of: it is disconnected.
fn agrees(answered: Truth, truth: Truth) -> bool {
    answered == truth || (answered, truth) == (Truth::Disconnected, Truth::NeverConnected)
}

/// How many rounds the population has gone through.
fn rounds(service: &Service) -> u64 {
    let text = service.get("/metrics").text().to_owned();
    let lines = text.lines().filter(|line| line.starts_with("devstatus_population_rounds_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// Waits until every status has been read in a round that began after now; nobody sees fewer devices meanwhile.
fn wait_for_repair(service: &Service) {
    let total = || service.get("/api/v1/summary").json()["total"].as_u64().expect("a number");
    let (before, known) = (rounds(service), total());
    service.wait_until("two more rounds have been gone through", || {
        let now = total();
        assert!(now >= known, "{now} devices are known during a repair, {known} were before");
        // The first of them may have begun before.
        rounds(service) >= before + 2
    });
}

#[test]
fn after_each_repair_there_is_no_difference_from_the_truth() {
    let seed = std::env::var("TWO_HOURS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(11);
    println!("TWO_HOURS_SEED={seed}");
    let mut world = World::new(seed);
    let flags = [
        "--quiet-interval-ms",
        "150",
        "--replay-limits",
        "450,5000",
        "--broker-counters",
        "false",
        "--reconcile-interval",
        "1",
    ];
    let service = Launch::to(&world.link.url()).arguments(&flags).start();
    service.wait_until_ready();
    let end = BEGINNING.plus(minutes() * MINUTE_MS);
    let (mut repairs, mut compared) = (0, 0);
    while world.now < end {
        let disturbance = [Disturbance::Drops, Disturbance::Cut, Disturbance::Outage, Disturbance::Restart]
            [world.random.random_range(0..4)];
        world.suffer(disturbance);
        wait_for_repair(&service);
        let (expected, misled) = world.expected();
        assert!(misled <= MISLED_MAX, "seed {seed}: the broker misleads about {misled} devices");
        let mut connection = Connection::open(service.address());
        for (path, truth) in expected {
            let answered = answered(&mut connection, &path);
            assert!(
                answered.is_some_and(|answered| agrees(answered, truth)),
                "seed {seed}, repair {repairs} after {disturbance:?}: {path} is {answered:?}, in truth {truth:?}; log:\n{}",
                service.log()
            );
            compared += 1;
        }
        repairs += 1;
    }
    assert!(world.dropped > 100, "messages were lost: {}", world.dropped);
    assert!(world.link.connections() > 1 && repairs > 3, "the link broke: {}", world.link.connections());
    println!("{repairs} repairs, {} messages lost, {compared} answers compared", world.dropped);
}
