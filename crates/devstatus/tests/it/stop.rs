//! SIGINT and SIGTERM end the service cleanly and soon, whatever hangs on it.

use std::time::Duration;

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::http::{self, Connection};
use testkit::link::Link;
use testkit::packet::{self, Message};
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;

const STOP_BOUND: Duration = Duration::from_secs(5);

/// One retained status is proof enough, so the service needs no connection but its first.
fn ready_service() -> (ClosingBroker, Service) {
    let device = Device::new("pump", "p-1");
    let (topic, payload) = (device.topic(), device.connect(1));
    let mut retained = Vec::new();
    let message = Message { topic: &topic, payload: payload.as_bytes(), retain: true };
    packet::write_publish(&mut retained, 4, message);
    let subscribe = Reply { after: retained, ..Reply::code(0) };
    let broker = ClosingBroker::start(Script { subscribe, ..Script::default() });
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

fn assert_stops(service: Service, signal: Signal) {
    let ended = service.signal(signal);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.elapsed < STOP_BOUND, "{ended:?}");
}

#[test]
fn a_signal_ends_the_service_and_its_session_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let (broker, service) = ready_service();
        assert_stops(service, signal);
        assert_eq!(broker.disconnects(), 1, "the broker is told");
    }
}

#[test]
fn an_open_keep_alive_connection_does_not_hold_up_the_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_broker, service) = ready_service();
        let mut connection = Connection::open(service.address());
        for _ in 0..2 {
            connection.send(&http::request("GET", "/livez"));
            let answer = connection.receive("GET").expect("the connection stays open between requests");
            assert_eq!(answer.status, 200);
        }
        assert_stops(service, signal);
        assert!(connection.receive("GET").is_err(), "the connection is closed");
    }
}

#[test]
fn a_connection_that_has_sent_nothing_or_half_a_request_does_not_hold_up_the_stop() {
    for part in ["", "GET /pump/1 HT", "GET /pump/1 HTTP/1.1\r\nHost: local"] {
        let (_broker, service) = ready_service();
        let mut idle = Connection::open(service.address());
        idle.send(part.as_bytes());
        // The service accepts in order: once it answers a later connection it has taken this one.
        assert_eq!(service.get("/livez").status, 200);
        assert_stops(service, Signal::TERM);
    }
}

#[test]
fn a_broker_that_never_answers_does_not_hold_up_the_stop() {
    for script in [
        Script { connect: Reply::silence(), ..Script::default() },
        Script { connect: Reply::close(), ..Script::default() },
        Script { subscribe: Reply::silence(), ..Script::default() },
    ] {
        let broker = ClosingBroker::start(script);
        let service = Launch::to(&broker.url()).start();
        service.wait_until("the broker was asked", || !broker.connects().is_empty());
        assert_stops(service, Signal::TERM);
    }
}

#[test]
fn a_link_that_carries_nothing_does_not_hold_up_the_stop() {
    let broker = ClosingBroker::start(Script::default());
    let link = Link::to(broker.port());
    let service = Launch::to(&link.url()).start();
    service.wait_until_ready();
    link.pause();
    let ended = service.terminate();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.elapsed < STOP_BOUND, "{ended:?}");
}

#[test]
fn messages_that_wait_do_not_hold_up_the_stop_and_what_was_answered_is_kept() {
    // Some ten seconds of decoding, as it comes at once.
    const MESSAGES: usize = 300_000;
    let mut flood = Vec::new();
    for number in 0..MESSAGES {
        let id = format!("p-{number}");
        let device = Device { kind: "pump", id: &id };
        let (topic, payload) = (device.topic(), device.connect(1));
        let message = Message { topic: &topic, payload: payload.as_bytes(), retain: true };
        packet::write_publish(&mut flood, 4, message);
    }
    let subscribe = Reply { after: flood, ..Reply::code(0) };
    let broker = ClosingBroker::start(Script { subscribe, ..Script::default() });
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let service = Launch::to(&broker.url()).on_store(&store).start();
    let first = Device { kind: "pump", id: "p-0" };
    service.wait_for_answer(&first.path(), &first.connect(1));
    let waiting = |service: &Service| {
        let text = service.get("/metrics").text().to_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("devstatus_backlog_waiting_bytes "));
        line.expect("the metric").parse::<u64>().expect("a number")
    };
    assert!(waiting(&service) > 0, "it is not through yet");
    assert_stops(service, Signal::TERM);
    broker.follow(Script { subscribe: Reply::silence(), ..Script::default() });
    let service = Launch::to(&broker.url()).on_store(&store).start();
    service.wait_for_answer(&first.path(), &first.connect(1));
}
