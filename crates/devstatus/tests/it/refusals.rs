//! A broker that refuses, closes, keeps silent or talks nonsense: what the service says of it, and that it stays alive.

use std::time::{Duration, Instant};

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::packet::{self, Message};
use testkit::service::{Launch, Service, mentions};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// An MQTT version and a code that it gives.
type Refusal = (&'static str, u8);

fn launch(broker: &ClosingBroker, version: &str) -> Launch {
    Launch::to(&broker.url()).arguments(&["--mqtt-version", version])
}

/// A broker that has one status, in MQTT 3.1.1.
fn script_with_a_status() -> Script {
    let mut replay = Vec::new();
    let payload = PUMP.connect(1);
    let message = Message { topic: &PUMP.topic(), payload: payload.as_bytes(), retain: true };
    packet::write_publish(&mut replay, 4, message);
    Script { subscribe: Reply { after: replay, ..Reply::code(0) }, ..Script::default() }
}

/// Waits until one line of the log and `/readyz` say all of the words.
fn wait_until_logged(service: &Service, words: &[&str]) {
    service.wait_until(&format!("a line of the log has {words:?}"), || !service.log_lines(words).is_empty());
    service.wait_until(&format!("/readyz has {words:?}"), || {
        let ready = service.get("/readyz");
        let missing = ready.json()["missing"].as_array().cloned().unwrap_or_default();
        let said =
            missing.iter().filter_map(|sentence| sentence.as_str()).any(|sentence| mentions(sentence, words));
        ready.status == 503 && said
    });
}

#[test]
fn a_login_refused_at_the_first_connect_ends_the_program() {
    let refusals: [Refusal; 4] = [("3.1.1", 4), ("3.1.1", 5), ("5", 0x86), ("5", 0x87)];
    for (version, code) in refusals {
        let broker = ClosingBroker::start(Script { connect: Reply::code(code), ..Script::default() });
        let ended = launch(&broker, version).run();
        assert_eq!(ended.status.code(), Some(1), "MQTT {version}, code {code:#x}: {ended:?}");
        assert!(mentions(&ended.stderr, &["key", "token"]), "{}", ended.stderr);
        assert_eq!(broker.connects().len(), 1, "a refused login is not tried again");
    }
}

#[test]
fn a_broker_that_is_not_available_is_tried_again() {
    let refusals: [Refusal; 3] = [("3.1.1", 3), ("5", 0x88), ("5", 0x89)];
    for (version, code) in refusals {
        let broker = ClosingBroker::start(Script { connect: Reply::code(code), ..Script::default() });
        let service = launch(&broker, version).start();
        service.wait_until("it is tried again", || broker.connects().len() >= 2);
        assert_eq!(service.get("/readyz").status, 503);
        broker.follow(Script::default());
        service.wait_until_ready();
    }
}

#[test]
fn a_login_refused_later_is_retried_logged_once_and_changes_no_status() {
    let broker = ClosingBroker::start(script_with_a_status());
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    broker.follow(Script { connect: Reply::code(5), ..Script::default() });
    broker.cut();
    service.wait_until("the refused login is tried again", || broker.connects().len() >= 4);
    wait_until_logged(&service, &["refused"]);
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(1));
    let said = service.log_lines(&["refused"]);
    assert_eq!(said.len(), 1, "one line for the change, not one per attempt: {said:#?}");
    broker.follow(script_with_a_status());
    service.wait_until_ready();
}

#[test]
fn an_unreachable_broker_is_logged_once() {
    let broker = ClosingBroker::start(Script { connect: Reply::close(), ..Script::default() });
    let service = Launch::to(&broker.url()).start();
    service.wait_until("the first failure is logged", || broker.connects().len() >= 2);
    let lines = service.log().lines().count();
    service.wait_until("it is tried again and again", || broker.connects().len() >= 4);
    assert_eq!(
        service.log().lines().count(),
        lines,
        "a line per change, not per attempt:\n{}",
        service.log()
    );
}

#[test]
fn a_refused_subscription_is_reported_as_such() {
    let refusals: [Refusal; 4] = [("3.1.1", 0x80), ("5", 0x80), ("5", 0x87), ("5", 0x8F)];
    for (version, code) in refusals {
        let broker = ClosingBroker::start(Script { subscribe: Reply::code(code), ..Script::default() });
        let service = launch(&broker, version).start();
        wait_until_logged(&service, &["subscription", "refused", &format!("{code:#04x}")]);
        broker.follow(Script::default());
        broker.cut();
        service.wait_until_ready();
    }
}

#[test]
fn a_connection_closed_instead_of_a_suback_is_reported_as_such() {
    for version in ["3.1.1", "5"] {
        let broker = ClosingBroker::start(Script { subscribe: Reply::close(), ..Script::default() });
        let service = launch(&broker, version).start();
        wait_until_logged(&service, &["closed", "instead", "subscription"]);
        broker.follow(Script::default());
        service.wait_until_ready();
    }
}

#[test]
fn a_broker_that_closes_after_every_suback_is_not_hammered() {
    let broker = ClosingBroker::start(Script {
        subscribe: Reply { close: true, ..Reply::code(0) },
        ..Script::default()
    });
    let service = Launch::to(&broker.url()).start();
    let started = Instant::now();
    // Five equal waits of at most a quarter of a second stay below the bound, five that double stay above it.
    service.wait_until("it connects again and again", || broker.connects().len() >= 6);
    assert!(started.elapsed() > Duration::from_secs(2), "five reconnects in {:?}", started.elapsed());
}

#[test]
fn a_broker_that_never_answers_makes_no_one_ready() {
    for script in [
        Script { connect: Reply::silence(), ..Script::default() },
        Script { subscribe: Reply::silence(), ..Script::default() },
    ] {
        let broker = ClosingBroker::start(script);
        let service = Launch::to(&broker.url()).start();
        service.wait_until("the broker was asked", || !broker.connects().is_empty());
        assert_eq!(service.get("/readyz").status, 503);
        assert_eq!(service.get("/livez").status, 200);
        assert_eq!(service.get(&PUMP.path()).status, 503);
    }
}

#[test]
fn nonsense_instead_of_an_answer_is_survived() {
    let nonsense: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        // A remaining length of five bytes.
        &[0x20, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        // A packet type that does not exist, and a CONNACK cut short.
        &[0x00, 0x00],
        &[0x20, 0x02, 0x00],
    ];
    for bytes in nonsense {
        let broker = ClosingBroker::start(Script { connect: Reply::raw(bytes), ..Script::default() });
        let service = Launch::to(&broker.url()).start();
        service.wait_until("it is tried again", || broker.connects().len() >= 2);
        assert_eq!(service.get("/readyz").status, 503);
        broker.follow(script_with_a_status());
        service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    }
}

#[test]
fn nonsense_among_the_messages_is_survived_and_changes_no_status() {
    let nonsense: [&[u8]; 4] = [
        // A PUBLISH cut short: the connection closes in its middle.
        &[0x30, 0x40, 0x00, 0x10, b'i', b'o'],
        // A PUBLISH whose topic is longer than the packet, one with a QoS that does not exist, one of 256 MiB.
        &[0x30, 0x04, 0x7F, 0xFF, b'i', b'o'],
        &[0x36, 0x05, 0x00, 0x01, b't', 0x00, 0x01],
        &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
    ];
    for bytes in nonsense {
        let mut script = script_with_a_status();
        script.subscribe.after.extend_from_slice(bytes);
        script.subscribe.close = true;
        let broker = ClosingBroker::start(script);
        let service = Launch::to(&broker.url()).start();
        service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
        service.wait_until("it connects again", || broker.connects().len() >= 2);
        assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(1));
        broker.follow(script_with_a_status());
        service.wait_until_ready();
    }
}
