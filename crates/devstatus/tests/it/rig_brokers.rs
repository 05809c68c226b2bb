//! The rig's own brokers and publisher do what the tests of the product rely on.

use std::time::{Duration, Instant};

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::link::Link;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::status::{Device, FILTER};
use testkit::subscriber::Subscriber;
use testkit::{packet, wait_until};

/// A filter that no message of these tests matches.
const OTHER_FILTER: &str = "iot-2/app/+/mon";

fn fill(broker: &PlatformBroker, kind: &str, count: usize) {
    for number in 0..count {
        let id = format!("{number:06}");
        let device = Device::new(kind, &id);
        broker.publish(&device.topic(), device.connect(1), true);
    }
}

/// What one SUBSCRIBE brings, after which the broker must fall silent.
fn replayed(subscriber: &mut Subscriber, filter: &str, expected: usize) -> usize {
    subscriber.subscribe(filter, 0);
    assert_eq!(subscriber.kinds_until(packet::SUBACK), [packet::SUBACK]);
    let received = subscriber.messages(expected);
    assert!(received.iter().all(|message| message.retain), "a replayed message is marked as retained");
    assert!(subscriber.is_quiet_for(Duration::from_millis(300)), "more than {expected} messages come");
    received.len()
}

#[test]
fn mosquitto_keeps_a_hundred_thousand_messages_within_seconds() {
    let extra = vec!["max_queued_messages 1000000".to_owned()];
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let started = Instant::now();
    let mut publisher = broker.publisher();
    for number in 0..100_000 {
        let id = format!("{number:06}");
        let device = Device::new("pump", &id);
        publisher.retain(&device.topic(), device.connect(1));
    }
    publisher.flush();
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());

    let mut subscriber = Subscriber::connect(broker.port(), "reader");
    subscriber.subscribe(FILTER, 0);
    let received = subscriber.messages(100_000);
    assert!(received.iter().all(|message| message.retain));
}

#[test]
fn mosquitto_passes_a_live_message_on_byte_for_byte() {
    let broker = Mosquitto::start();
    let mut subscriber = Subscriber::connect(broker.port(), "reader");
    subscriber.subscribe(FILTER, 0);
    subscriber.kinds_until(packet::SUBACK);
    let device = Device::new("pump", "1");
    let mut publisher = broker.publisher();
    publisher.publish(&device.topic(), device.connect(1));
    publisher.flush();
    let received = subscriber.messages(1).remove(0);
    assert_eq!(received.topic, device.topic());
    assert_eq!(received.payload, device.connect(1).into_bytes());
    assert!(!received.retain);
}

#[test]
fn mosquitto_keeps_retained_messages_over_a_stop_only_with_persistence() {
    for persistence in [false, true] {
        let mut broker = Mosquitto::start_with(Setup { persistence, ..Setup::default() });
        let device = Device::new("pump", "1");
        let mut publisher = broker.publisher();
        publisher.retain(&device.topic(), device.connect(1));
        publisher.flush();
        broker.stop();
        broker.start_again();
        let mut subscriber = Subscriber::connect(broker.port(), "reader");
        assert_eq!(replayed(&mut subscriber, FILTER, usize::from(persistence)), usize::from(persistence));
    }
}

#[test]
fn mosquitto_starts_again_after_a_kill() {
    let mut broker = Mosquitto::start();
    broker.kill();
    broker.start_again();
    broker.publisher().flush();
}

#[test]
fn mosquitto_lets_only_the_one_login_in() {
    let broker = Mosquitto::start_with(Setup { login: Some(("key", "token")), ..Setup::default() });
    broker.publisher().flush();
    assert!(
        Subscriber::try_connect(broker.port(), "reader").is_none(),
        "a client without a login is refused"
    );
}

#[test]
fn platform_drops_messages_beyond_its_buffer_and_a_repeated_subscribe_delivers_them() {
    let broker = PlatformBroker::start(Limits::default());
    fill(&broker, "pump", 12_000);
    let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
    assert_eq!(replayed(&mut subscriber, FILTER, 5_000), 5_000);
    assert_eq!(broker.dropped(), 7_000);
    assert_eq!(replayed(&mut subscriber, FILTER, 12_000), 12_000);
    assert_eq!(replayed(&mut subscriber, FILTER, 12_000), 12_000);
}

#[test]
fn platform_delivers_a_type_that_fits_and_can_drop_for_ever() {
    let limits = Limits { buffer_messages: 100, second_subscribe_brings_all: false, ..Limits::default() };
    let broker = PlatformBroker::start(limits);
    fill(&broker, "pump", 100);
    fill(&broker, "valve", 101);
    let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
    assert_eq!(replayed(&mut subscriber, "iot-2/type/pump/id/+/mon", 100), 100);
    assert_eq!(replayed(&mut subscriber, "iot-2/type/valve/id/+/mon", 100), 100);
    assert_eq!(replayed(&mut subscriber, "iot-2/type/valve/id/+/mon", 100), 100);
    assert_eq!(replayed(&mut subscriber, "iot-2/type/valve/id/000100/mon", 1), 1);
}

#[test]
fn platform_closes_at_qos_1_and_2_above_the_buffer_and_grants_below() {
    let broker = PlatformBroker::start(Limits { buffer_messages: 10, ..Limits::default() });
    fill(&broker, "pump", 11);
    for qos in [1, 2] {
        let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
        subscriber.subscribe("iot-2/type/pump/id/000001/mon", qos);
        assert_eq!(subscriber.messages(1).len(), 1);
        subscriber.subscribe(FILTER, qos);
        assert!(subscriber.next().is_none(), "closed without a SUBACK");
    }
    assert_eq!(broker.subscriptions().len(), 4);
}

#[test]
fn platform_refuses_wildcards_of_many_levels_and_foreign_topics() {
    let broker = PlatformBroker::start(Limits::default());
    for filter in ["#", "iot-2/#", "$SYS/broker/retained messages/count", "any/other/topic"] {
        let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
        subscriber.subscribe(filter, 0);
        assert!(subscriber.next().is_none(), "{filter} is closed without a SUBACK");
    }
}

#[test]
fn platform_answers_a_ping_before_the_replay() {
    let broker = PlatformBroker::start(Limits::default());
    fill(&broker, "pump", 2_000);
    let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
    subscriber.subscribe(FILTER, 0);
    subscriber.ping();
    assert_eq!(subscriber.kinds_until(packet::PINGRESP), [packet::SUBACK, packet::PINGRESP]);
    assert_eq!(subscriber.messages(2_000).len(), 2_000);
}

#[test]
fn platform_gives_scalable_applications_live_messages_only() {
    let broker = PlatformBroker::start(Limits::default());
    fill(&broker, "pump", 3);
    let mut subscriber = Subscriber::connect(broker.port(), "A:org:app:1");
    subscriber.subscribe(FILTER, 0);
    subscriber.kinds_until(packet::SUBACK);
    let device = Device::new("pump", "live");
    broker.publish(&device.topic(), device.connect(1), true);
    let received = subscriber.messages(1).remove(0);
    assert_eq!((received.topic, received.retain), (device.topic(), false));
}

#[test]
fn platform_clears_retained_messages_and_delivers_to_matching_filters_only() {
    let broker = PlatformBroker::start(Limits::default());
    let device = Device::new("pump", "1");
    broker.publish(&device.topic(), device.connect(1), true);
    broker.publish(&device.topic(), "", true);
    let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
    assert_eq!(replayed(&mut subscriber, FILTER, 0), 0);
    let mut other = Subscriber::connect(broker.port(), "a:org:other");
    other.subscribe(OTHER_FILTER, 0);
    other.kinds_until(packet::SUBACK);
    broker.publish(&device.topic(), device.connect(2), false);
    assert_eq!(subscriber.messages(1).remove(0).payload, device.connect(2).into_bytes());
    assert!(other.is_quiet_for(Duration::from_millis(100)));
}

#[test]
fn platform_sends_an_earlier_session_of_the_same_client_away() {
    let broker = PlatformBroker::start(Limits::default());
    let mut first = Subscriber::connect(broker.port(), "a:org:app");
    let mut second = Subscriber::connect(broker.port(), "a:org:app");
    assert!(first.next().is_none());
    second.subscribe(FILTER, 0);
    second.kinds_until(packet::SUBACK);
}

#[test]
fn platform_cuts_and_refuses_connections() {
    let broker = PlatformBroker::start(Limits::default());
    let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
    broker.refuse(true);
    broker.cut();
    assert!(subscriber.next().is_none());
    assert!(Subscriber::try_connect(broker.port(), "a:org:app").is_none(), "a new connection is refused");
    broker.refuse(false);
    Subscriber::connect(broker.port(), "a:org:app");
    assert_eq!(broker.connections(), 3);
}

#[test]
fn platform_replays_two_hundred_thousand_devices_within_seconds() {
    let broker = PlatformBroker::start(Limits { buffer_messages: 1_000_000, ..Limits::default() });
    fill(&broker, "pump", 200_000);
    let mut subscriber = Subscriber::connect(broker.port(), "a:org:app");
    let started = Instant::now();
    subscriber.subscribe(FILTER, 0);
    assert_eq!(subscriber.messages(200_000).len(), 200_000);
    assert!(started.elapsed() < Duration::from_secs(10), "took {:?}", started.elapsed());
}

#[test]
fn closing_broker_follows_its_script_and_records_requests() {
    let broker = ClosingBroker::start(Script { subscribe: Reply::code(0x80), ..Script::default() });
    let mut subscriber = Subscriber::connect(broker.port(), "reader");
    subscriber.subscribe(FILTER, 1);
    let answer = subscriber.next().expect("the broker answers");
    assert_eq!((answer.kind(), answer.body), (packet::SUBACK, vec![0, 7, 0x80]));
    broker.follow(Script { subscribe: Reply::close(), ..Script::default() });
    subscriber.subscribe(FILTER, 0);
    assert!(subscriber.next().is_none(), "closed instead of a SUBACK");
    assert_eq!(broker.connects()[0].client_id, "reader");
    assert_eq!(broker.connects()[0].keep_alive_secs, 60);
    assert_eq!(broker.subscribes()[0].subscriptions[0].filter, FILTER);
    assert_eq!(broker.subscribes()[0].subscriptions[0].qos, 1);
}

#[test]
fn link_holds_back_breaks_and_carries_again() {
    let broker = PlatformBroker::start(Limits::default());
    let link = Link::to(broker.port());
    let mut subscriber = Subscriber::connect(link.port(), "a:org:app");
    for hold in [Link::pause, Link::stall] {
        hold(&link);
        subscriber.ping();
        assert!(subscriber.is_quiet_for(Duration::from_millis(100)));
        link.resume();
        assert_eq!(subscriber.kinds_until(packet::PINGRESP), [packet::PINGRESP]);
    }
    let started = Instant::now();
    link.delay(Duration::from_millis(100));
    subscriber.ping();
    subscriber.kinds_until(packet::PINGRESP);
    assert!(started.elapsed() >= Duration::from_millis(200), "delayed there and back");
    link.down();
    assert!(subscriber.next().is_none());
    link.up();
    link.delay(Duration::ZERO);
    let mut subscriber = Subscriber::connect(link.port(), "a:org:app");
    link.cut();
    assert!(subscriber.next().is_none());
    wait_until("both connections were counted", || link.connections() == 2);
}
