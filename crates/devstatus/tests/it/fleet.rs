//! The simulated fleet on real brokers: every retained message arrives, in every transport, and again after a restart.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cli::config::{self, Command, DemoSettings, SimulateSettings};
use cli::simulate;
use service::demo;
use service::demo::broker::EmbeddedBroker;
use simulator::message::Millis;
use simulator::publisher::Publisher;
use simulator::running::Fleet;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use testkit::http::{Connection, Response, request};
use testkit::mosquitto::{Mosquitto, Setup, Transport};
use testkit::status::FILTER;
use testkit::subscriber::{Received, Subscriber};
use testkit::{PATIENCE, packet, poll, wait_until};

/// What the platform's broker holds for one subscription, and the embedded one exceeds.
const PLATFORM_BUFFER: usize = 5_000;

fn simulate_settings(broker_url: &str, more: &[&str]) -> SimulateSettings {
    let arguments = ["devstatus", "simulate", "-o", "org1", "--broker", broker_url];
    let arguments = arguments.iter().chain(more).map(|argument| (*argument).into());
    match config::load(arguments, Vec::<(String, String)>::new()) {
        Ok(Command::Simulate(settings)) => settings,
        other => panic!("these are settings of a simulation, not {other:?}"),
    }
}

fn demo_settings(more: &[&str]) -> DemoSettings {
    let arguments = ["devstatus", "demo", "-p", "0"].iter().chain(more).map(|argument| (*argument).into());
    match config::load(arguments, Vec::<(String, String)>::new()) {
        Ok(Command::Demo(settings)) => settings,
        other => panic!("these are settings of a demo, not {other:?}"),
    }
}

/// A publisher at work, and the means to end it.
struct Running {
    runtime: Runtime,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Fleet>,
}

impl Running {
    /// Returns once the broker has the first state of every device.
    fn start(runtime: Runtime, settings: SimulateSettings) -> Self {
        let shutdown = CancellationToken::new();
        let fleet = Fleet::new(settings.fleet, Millis(system::clock::now_millis()));
        let (publisher, populated) = Publisher::new(
            settings.source.connect(),
            settings.source.identity.client_id(),
            fleet,
            shutdown.clone(),
        );
        let task = runtime.spawn(async move { publisher.run().await.expect("the broker lets us in") });
        let populated = runtime.block_on(async { tokio::time::timeout(PATIENCE, populated).await });
        populated.expect("the fleet is published in time").expect("the publisher runs");
        Self { runtime, shutdown, task }
    }

    fn stop(self) -> Fleet {
        self.shutdown.cancel();
        let fleet = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, self.task).await });
        fleet.expect("the publisher ends in time").expect("the publisher does not panic")
    }
}

fn retained(fleet: &Fleet) -> BTreeMap<String, Vec<u8>> {
    fleet.retained_messages().map(|message| (message.topic, message.payload.into_bytes())).collect()
}

/// The first `count` messages that a fresh subscriber is given. They are counted because the embedded broker answers a
/// PINGREQ in the middle of a replay: there the answer is no end mark.
fn first(port: u16, count: usize) -> BTreeMap<String, Vec<u8>> {
    let mut subscriber = Subscriber::connect(port, "a:org1:fresh");
    subscriber.subscribe(FILTER, 0);
    let received = subscriber.messages(count);
    received.into_iter().map(|message| (message.topic, message.payload)).collect()
}

/// How many retained messages mosquitto has. It answers a PINGREQ after the replay.
fn count_in_mosquitto(broker: &Mosquitto) -> usize {
    let mut subscriber = Subscriber::connect(broker.port(), "counter");
    subscriber.subscribe(FILTER, 0);
    subscriber.kinds_until(packet::SUBACK);
    subscriber.ping();
    let kinds = subscriber.kinds_until(packet::PINGRESP);
    kinds.iter().filter(|kind| **kind == packet::PUBLISH).count()
}

#[test]
fn a_fresh_subscriber_gets_the_first_state_of_every_device_and_then_the_steps() {
    let runtime = Runtime::new().expect("a runtime");
    let broker = EmbeddedBroker::start();
    let url = format!("mqtt://{}", broker.address);
    let settings = simulate_settings(&url, &["--devices", "1000", "--events-per-second", "200"]);
    let running = Running::start(runtime, settings);

    let mut subscriber = Subscriber::connect(broker.address.port(), "a:org1:reader");
    subscriber.subscribe(FILTER, 0);
    let received = subscriber.messages(1_200);
    let replayed = received.iter().filter(|message| message.retain).count();
    assert_eq!(replayed, 950, "50 of the 1,000 devices were never connected");

    let fleet = running.stop();
    let expected = retained(&fleet);
    let arrived = poll(PATIENCE, || (first(broker.address.port(), expected.len()) == expected).then_some(()));
    assert!(arrived.is_some(), "the broker holds what the fleet says it holds");
}

#[test]
fn replays_larger_than_the_platforms_buffer_are_not_cut() {
    let runtime = Runtime::new().expect("a runtime");
    let broker = EmbeddedBroker::start();
    let url = format!("mqtt://{}", broker.address);
    let settings = simulate_settings(&url, &["--devices", "12000", "--events-per-second", "0"]);
    let running = Running::start(runtime, settings);
    let mut subscriber = Subscriber::connect(broker.address.port(), "a:org1:reader");
    // Three replays wait at once, before the first message is read.
    for _ in 0..3 {
        subscriber.subscribe(FILTER, 0);
    }
    let fleet = running.stop();
    let each = retained(&fleet).len();
    assert!(each > PLATFORM_BUFFER);
    let received: Vec<Received> = subscriber.messages(3 * each);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for message in &received {
        *counts.entry(&message.topic).or_default() += 1;
    }
    assert_eq!(counts.len(), each);
    assert!(counts.values().all(|count| *count == 3), "each replay is whole");
}

#[test]
fn the_fleet_is_published_over_every_transport() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
        for version in ["3.1.1", "5"] {
            let broker = Mosquitto::start_with(Setup { transport, ..Setup::default() });
            let ca_file = broker.ca_file().to_str().expect("a path of ASCII").to_owned();
            let mut more = vec!["--devices", "300", "--events-per-second", "0", "--mqtt-version", version];
            if matches!(transport, Transport::Tls | Transport::Wss) {
                more.extend(["--ca-file", ca_file.as_str()]);
            }
            let settings = simulate_settings(&broker.url(), &more);
            let running = Running::start(Runtime::new().expect("a runtime"), settings);
            let expected = retained(&running.stop());
            assert_eq!(first(broker.port(), expected.len()), expected, "{transport:?} in MQTT {version}");
        }
    }
}

#[test]
fn a_broker_that_forgot_everything_gets_it_again() {
    let mut broker = Mosquitto::start();
    let settings = simulate_settings(&broker.url(), &["--devices", "300", "--events-per-second", "0"]);
    let running = Running::start(Runtime::new().expect("a runtime"), settings);
    broker.kill();
    broker.start_again();
    wait_until("every retained message is back", || count_in_mosquitto(&broker) == 285);
    running.stop();
}

#[test]
fn a_simulation_ends_after_its_duration() {
    let broker = Mosquitto::start();
    let settings = simulate_settings(&broker.url(), &["--devices", "10", "--duration", "1"]);
    let runtime = Runtime::new().expect("a runtime");
    let simulation =
        async { tokio::time::timeout(PATIENCE, simulate::run(settings, CancellationToken::new())).await };
    runtime.block_on(simulation).expect("it ends by itself").expect("the broker lets it in");
}

fn get(address: SocketAddr, path: &str) -> Response {
    let mut connection = Connection::open(address);
    connection.send(&request("GET", path));
    connection.receive("GET").expect("an answer")
}

#[test]
fn the_demo_prints_three_working_lines_and_ends_on_a_signal() {
    let runtime = Runtime::new().expect("a runtime");
    let shutdown = CancellationToken::new();
    let (said, text) = std::sync::mpsc::channel();
    let settings = demo_settings(&["--events-per-second", "200"]);
    let stop = shutdown.clone();
    let demo = runtime.spawn(async move {
        let say = |text: &str| said.send(text.to_owned()).expect("the test listens");
        demo::run(settings, http_api::api, stop, say).await
    });
    let text = text.recv_timeout(PATIENCE).expect("the demo speaks in time");
    let lines: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix("curl http://")).collect();
    let actions: Vec<String> = lines
        .iter()
        .map(|line| {
            let url = line.split_whitespace().next().expect("a URL");
            let (address, path) = url.split_once('/').expect("a path");
            let answer = get(address.parse().expect("an address"), &format!("/{path}"));
            assert_eq!(answer.status, 200, "{line}");
            answer.json()["Action"].as_str().expect("an action").to_owned()
        })
        .collect();
    assert_eq!(actions, ["Connect", "Disconnect", "Never Connected"], "{text}");
    shutdown.cancel();
    let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, demo).await });
    ended.expect("the demo ends in time").expect("no panic").expect("no error");
}

#[test]
fn the_demo_speaks_other_sources() {
    let runtime = Runtime::new().expect("a runtime");
    for source in ["tasmota", "zigbee2mqtt", "emqx", "sparkplug"] {
        let shutdown = CancellationToken::new();
        let (said, text) = std::sync::mpsc::channel();
        let settings = demo_settings(&["--events-per-second", "500", "--source", source]);
        let stop = shutdown.clone();
        let demo = runtime.spawn(async move {
            let say = |text: &str| said.send(text.to_owned()).expect("the test listens");
            demo::run(settings, http_api::api, stop, say).await
        });
        let text = text.recv_timeout(PATIENCE).expect("the demo speaks in time");
        let url = text.split_once("http://").and_then(|(_, rest)| rest.split_once('/'));
        let (address, _) = url.expect("an address is in the text");
        let address = address.parse().expect("an address");
        testkit::wait_until(&format!("devices of {source}"), || {
            let summary = get(address, "/api/v1/summary").json();
            let both = [&summary["connected"], &summary["disconnected"]];
            both.iter().all(|number| number.as_u64() > Some(0))
        });
        let listed = get(address, &format!("/api/v1/devices?source={source}&limit=1")).json();
        assert_eq!(listed["devices"].as_array().map(Vec::len), Some(1), "{listed}");
        shutdown.cancel();
        let ended = runtime.block_on(async { tokio::time::timeout(PATIENCE, demo).await });
        ended.expect("the demo ends in time").expect("no panic").expect("no error");
    }
}
