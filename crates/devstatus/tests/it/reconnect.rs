//! The broker or the way to it goes away and comes back: no status changes meanwhile, and nothing is missed after.

use testkit::closing_broker::{ClosingBroker, Script};
use testkit::link::Link;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::service::Launch;
use testkit::status::{Device, FILTER};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "2" };

fn broker_with_a_status() -> Mosquitto {
    Mosquitto::start().retaining([(PUMP, PUMP.connect(1))])
}

#[test]
fn a_broker_that_restarts_is_found_again_and_no_status_changes_meanwhile() {
    for version in ["3.1.1", "5"] {
        let mut broker = broker_with_a_status();
        let service = Launch::to(&broker.url()).arguments(&["--mqtt-version", version]).start();
        service.wait_until_ready();
        broker.stop();
        service.wait_until_not_ready();
        let answer = service.get(&PUMP.path());
        assert_eq!(answer.text(), PUMP.connect(1));
        assert_eq!(answer.header("devstatus-stale"), Some("true"));
        assert_eq!(service.get("/livez").status, 200);
        broker.start_again();
        service.wait_until_ready();
        let answer = service.get(&PUMP.path());
        assert_eq!(answer.text(), PUMP.connect(1));
        assert_eq!(answer.header("devstatus-stale"), None);
        let mut publisher = broker.publisher();
        publisher.publish(&PUMP.topic(), PUMP.disconnect(1, 2));
        publisher.flush();
        service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
    }
}

#[test]
fn a_killed_broker_with_persistence_is_read_again() {
    let mut broker = Mosquitto::start_with(Setup { persistence: true, ..Setup::default() });
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    broker.stop();
    broker.start_again();
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    broker.kill();
    service.wait_until_not_ready();
    broker.start_again();
    service.wait_until_ready();
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(1));
}

#[test]
fn a_service_started_before_its_broker_finds_it_later() {
    let mut broker = Mosquitto::start_with(Setup { persistence: true, ..Setup::default() });
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    broker.stop();
    let service = Launch::to(&broker.url()).start();
    assert_eq!(service.get("/livez").status, 200);
    assert_eq!(service.get("/readyz").status, 503);
    assert_eq!(service.get(&PUMP.path()).status, 503);
    broker.start_again();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
}

#[test]
fn every_connection_subscribes_again() {
    let broker = ClosingBroker::start(Script::default());
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    for earlier in 1..3 {
        let asked = broker.subscribes().len();
        broker.cut();
        service.wait_until("the service connects again", || broker.connects().len() > earlier);
        service.wait_until("the service subscribes again", || broker.subscribes().len() > asked);
    }
    assert!(broker.subscribes().iter().any(|asked| asked.subscriptions[0].filter == FILTER));
}

#[test]
fn messages_published_during_a_link_loss_are_read_afterwards() {
    let broker = broker_with_a_status();
    let link = Link::to(broker.port());
    let service = Launch::to(&link.url()).start();
    service.wait_until_ready();
    link.down();
    service.wait_until_not_ready();
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.disconnect(1, 2));
    publisher.retain(&VALVE.topic(), VALVE.connect(3));
    publisher.flush();
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(1));
    link.up();
    service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
    service.wait_for_answer(&VALVE.path(), &VALVE.connect(3));
    service.wait_until_ready();
}

#[test]
fn nothing_is_never_connected_while_the_first_replay_is_held_back() {
    let broker = broker_with_a_status();
    let link = Link::to(broker.port());
    link.stall();
    let service = Launch::to(&link.url()).start();
    service.wait_until("the service is on its way to the broker", || link.connections() > 0);
    assert_eq!(service.get(&PUMP.path()).status, 503);
    assert_eq!(service.get("/readyz").status, 503);
    link.resume();
    service.wait_until_ready();
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(1));
    assert_eq!(service.get(&VALVE.path()).text(), VALVE.never_connected());
}

#[test]
fn the_platform_is_read_as_far_as_one_subscription_reaches() {
    let broker = PlatformBroker::start(Limits::default());
    let ids = (0..1_000).map(|number| number.to_string()).collect::<Vec<_>>();
    for id in &ids {
        let device = Device::new("pump", id);
        broker.publish(&device.topic(), device.connect(1), true);
    }
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    for id in &ids {
        let device = Device::new("pump", id);
        assert_eq!(service.get(&device.path()).text(), device.connect(1));
    }
    broker.publish(&PUMP.topic(), PUMP.disconnect(1, 2), false);
    service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
    assert_eq!(broker.dropped(), 0);
}
