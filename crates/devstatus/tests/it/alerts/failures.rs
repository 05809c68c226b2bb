//! What dies around the evaluation, or tells a wrong time: the fleet stays as it is, so nothing is announced, and what happens
//! afterwards is, once.

use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::redis::{RedisCluster, RedisServer};
use testkit::service::{Service, Signal};
use testkit::status::Device;
use testkit::wall_clock::WallClock;
use testkit::{PATIENCE, poll};

use super::{
    OFFLINE, OTHER_PUMP, PUMP, VALVE, announced, launch, launch_on, settings, summaries, wait_until_evaluated,
};
use crate::webhooks::receiver::{Receiver, Reply, verify};

const PUMP_IS_AWAY: &str = "alert.firing offline pump/p-1 1/0";
const PUMP_IS_BACK: &str = "alert.resolved offline pump/p-1 0/1";
const OTHER_IS_AWAY: &str = "alert.firing offline pump/q-2 1/0";

/// A fleet that stays connected whatever happens to the service.
fn fleet() -> Mosquitto {
    let broker = Mosquitto::start();
    let ids: Vec<_> = (0..300).map(|number| format!("f-{number}")).collect();
    let devices = ids.iter().map(|id| Device { kind: "fan", id }).chain([PUMP, OTHER_PUMP, VALVE]);
    broker.retain(&devices.map(|device| (device, device.connect(1))).collect::<Vec<_>>());
    broker
}

fn receiver() -> Receiver {
    Receiver::start(|_, _| Reply::Status(200))
}

/// Waits until exactly one of them evaluates, and gives its place.
fn evaluating(services: &[Service]) -> usize {
    let evaluates =
        |service: &Service| service.get("/metrics").text().contains("\ndevstatus_alerts_evaluating 1\n");
    let one = poll(PATIENCE, || {
        let all: Vec<_> = services.iter().map(evaluates).collect();
        let first = all.iter().position(|evaluates| *evaluates)?;
        (all.iter().filter(|evaluates| **evaluates).count() == 1).then_some(first)
    });
    one.unwrap_or_else(|| panic!("one of them evaluates: {}", services[0].log()))
}

#[test]
fn a_restart_of_the_database_announces_nothing_and_what_happened_meanwhile_once() {
    let (broker, mut database, receiver) = (fleet(), PostgresServer::start(), receiver());
    let service = launch_on(&database.url(), &broker, &settings(&receiver.url(), OFFLINE)).start_ready();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    assert_eq!(announced(&receiver, 1), [PUMP_IS_AWAY]);
    database.stop();
    service.wait_until("the store is away", || !service.log_lines(&["or the store is away"]).is_empty());
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.disconnect(1, 3))]);
    database.start_again();
    wait_until_evaluated(&service);
    assert_eq!(announced(&receiver, 2)[1..], [OTHER_IS_AWAY]);
    broker.retain(&[(PUMP, PUMP.connect(4))]);
    verify(&receiver.deliveries());
    assert_eq!(announced(&receiver, 3)[2..], [PUMP_IS_BACK]);
}

#[test]
fn the_loss_of_one_of_three_instances_announces_nothing() {
    let (broker, database, receiver) = (fleet(), PostgresServer::start(), receiver());
    let start = |application: &str| {
        let settings = settings(&receiver.url(), OFFLINE);
        launch_on(&database.url(), &broker, &settings).application(application).start_ready()
    };
    let mut services = ["one", "two", "three"].map(start).into_iter().collect::<Vec<_>>();
    let leader = evaluating(&services);
    services.swap_remove((leader + 1) % 3).signal(Signal::KILL);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    assert_eq!(announced(&receiver, 1), [PUMP_IS_AWAY]);
    let leader = evaluating(&services);
    services.swap_remove(leader).signal(Signal::KILL);
    evaluating(&services);
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.disconnect(1, 3))]);
    assert_eq!(announced(&receiver, 2)[1..], [OTHER_IS_AWAY]);
    broker.retain(&[(PUMP, PUMP.connect(4))]);
    assert_eq!(announced(&receiver, 3)[2..], [PUMP_IS_BACK]);
}

#[test]
fn the_death_of_an_instance_and_of_a_master_on_a_grid_neither_loses_nor_repeats() {
    let (broker, mut cluster, receiver) = (fleet(), RedisCluster::start(), receiver());
    let store = format!("redis://{}", cluster.hosts());
    let start = |application: &str| {
        let settings = settings(&receiver.url(), OFFLINE);
        launch_on(&store, &broker, &settings).application(application).start_ready()
    };
    let mut services = ["one", "two"].map(start).into_iter().collect::<Vec<_>>();
    let leader = evaluating(&services);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    assert_eq!(announced(&receiver, 1), [PUMP_IS_AWAY]);
    services.swap_remove(leader).signal(Signal::KILL);
    evaluating(&services);
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.disconnect(1, 3))]);
    assert_eq!(announced(&receiver, 2)[1..], [OTHER_IS_AWAY]);
    let holds_alerts = |node: &RedisServer| {
        let keys: Vec<String> = node.ask(&["KEYS", "*webhooks*"]).expect("the node answers");
        !keys.is_empty()
    };
    let master = cluster.nodes[..3].iter().position(holds_alerts).expect("some master has what is kept");
    cluster.kill_master(master);
    wait_until_evaluated(&services[0]);
    broker.retain(&[(PUMP, PUMP.connect(4))]);
    assert_eq!(announced(&receiver, 3)[2..], [PUMP_IS_BACK]);
}

#[test]
fn a_wrong_clock_announces_nothing_and_delays_nothing() {
    let (broker, receiver, directory) = (fleet(), receiver(), tempfile::tempdir().unwrap());
    let clock = WallClock::off_by("+0d");
    let launch = launch(directory.path(), &broker, &settings(&receiver.url(), OFFLINE));
    let service = clock.of(launch).start_ready();
    wait_until_evaluated(&service);
    for (off, (device, away)) in [("+50d", (PUMP, PUMP_IS_AWAY)), ("-50d", (OTHER_PUMP, OTHER_IS_AWAY))] {
        let jumps = || service.log_lines(&["the clock of this machine has jumped"]).len();
        let before = jumps();
        clock.set(off);
        service.wait_until("the jump was noticed", || jumps() > before);
        let number = receiver.deliveries().len();
        broker.retain(&[(device, device.disconnect(1, 2))]);
        assert_eq!(summaries(&receiver.wait_for(number + 1)[number..]), [away], "{off}");
    }
    broker.retain(&[(PUMP, PUMP.connect(4))]);
    assert_eq!(summaries(&receiver.wait_for(3)[2..]), [PUMP_IS_BACK]);
}
