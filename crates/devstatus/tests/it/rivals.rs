//! Two clients with one client id, and the shared subscription of a scalable application that is too large for the broker.

use std::cell::RefCell;

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::mosquitto::Mosquitto;
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::service::Launch;
use testkit::status::{APPLICATION, Device, KEY, ORG, TOKEN};
use testkit::subscriber::Subscriber;

const BUFFER: usize = 100;
const DEVICES: usize = 250;

#[test]
fn two_clients_that_take_turns_are_named_as_the_likely_cause() {
    for version in ["3.1.1", "5"] {
        let broker = Mosquitto::start();
        let service = Launch::to(&broker.url()).arguments(&["--mqtt-version", version]).start();
        service.wait_until_ready();
        assert!(service.log_lines(&["client id", "--id"]).is_empty());
        let rival = RefCell::new(None);
        service.wait_until("the log names the likely cause", || {
            if service.get("/readyz").json()["broker"] == "subscribed" {
                *rival.borrow_mut() = Some(Subscriber::connect(broker.port(), "a:org:app"));
            }
            !service.log_lines(&["take turns", "a:org:app", "--id"]).is_empty()
        });
        rival.take();
        service.wait_until("the service has its turn", || {
            service.get("/readyz").json()["broker"] == "subscribed"
        });
        let readiness = service.get("/readyz");
        assert!(readiness.text().contains("take turns"), "{}", readiness.text());
        // The other client has gone, so all is well, and the cause is named for some time.
        service.wait_until_ready();
    }
}

#[test]
fn a_broker_that_says_that_another_client_took_over_is_believed_at_once() {
    // DISCONNECT with the reason "session taken over".
    let taken_over = Reply { after: vec![0xe0, 2, 0x8e, 0], close: true, ..Reply::code(0) };
    let broker = ClosingBroker::start(Script { subscribe: taken_over, ..Script::default() });
    let service = Launch::to(&broker.url()).arguments(&["--mqtt-version", "5"]).start();
    service.wait_until("the log names the cause", || {
        !service.log_lines(&["Another client has connected", "a:org:app", "--id"]).is_empty()
    });
    assert!(service.get("/readyz").text().contains("Another client has connected"));
}

#[test]
fn a_shared_subscription_that_the_broker_refuses_is_replaced_by_that_of_an_instance() {
    let configuration = format!(
        "[application]\norg = {ORG}\nid = {APPLICATION}\nauth-method = apikey\nauth-key = {KEY}\nauth-token = {TOKEN}\n\
         type = shared\n"
    );
    for version in ["3.1.1", "5"] {
        let broker = PlatformBroker::start(Limits { buffer_messages: BUFFER, ..Limits::default() });
        let ids: Vec<String> = (0..DEVICES).map(|number| number.to_string()).collect();
        for id in &ids {
            let device = Device::new("pump", id);
            broker.publish(&device.topic(), device.connect(1), true);
        }
        let proof =
            ["--quiet-interval-ms", "300", "--replay-limits", "100,5000", "--broker-counters", "false"];
        let service = Launch::default()
            .file("application.cfg", &configuration)
            .arguments(&[
                "-c",
                "application.cfg",
                "-p",
                "0",
                "--broker",
                &broker.url(),
                "--mqtt-version",
                version,
            ])
            .arguments(&proof)
            .start();
        service.wait_until_ready();
        for id in &ids {
            let device = Device::new("pump", id);
            let answer = service.get(&device.path());
            assert_eq!((answer.text(), answer.header("devstatus-stale")), (device.connect(1).as_str(), None));
        }
        let said = if version == "5" { "0x97" } else { "closed the connection instead of sending a SUBACK" };
        assert!(!service.log_lines(&[said]).is_empty(), "{}", service.log());
        let fallback = service.log_lines(&["connecting as an instance", "A:org:app:", "--scalable"]);
        assert_eq!(fallback.len(), 1, "{}", service.log());
        // What changes comes over the other subscription.
        let device = Device::new("pump", "7");
        broker.publish(&device.topic(), device.disconnect(1, 2), true);
        service.wait_for_answer(&device.path(), &device.disconnect(1, 2));
    }
}
