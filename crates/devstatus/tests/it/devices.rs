//! `/api/v1/devices/{type}/{id}`: what is known of a device, and what that rests on.

use serde_json::{Value, json};

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::mosquitto::Mosquitto;
use testkit::packet::{self, Message};
use testkit::service::{Launch, Service};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const UNSEEN: Device<'_> = Device { kind: "pump", id: "unseen" };

fn native(device: Device<'_>) -> String {
    format!("/api/v1/devices{}", device.path())
}

/// Asks for a device whose `confirmed_at` is the time of the test, which is taken out and returned apart.
fn ask(service: &Service, device: Device<'_>) -> (Value, Option<String>) {
    let answer = service.get(&native(device));
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let mut body = answer.json();
    let confirmed_at = body.as_object_mut().expect("an object").remove("confirmed_at").expect("a field");
    (body, confirmed_at.as_str().map(str::to_owned))
}

#[test]
fn a_connected_and_a_disconnected_device_show_every_field() {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(5))]);
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let (body, confirmed_at) = ask(&service, PUMP);
    let session = json!({"connect_time": "2026-11-23T17:00:05.186Z", "protocol": "mqtt4", "secure": true});
    assert_eq!(
        body,
        json!({
            "type": "pump", "id": "1", "source": "iot-platform", "client_id": "d:org:pump:1", "status": "connected",
            "since": "2026-11-23T17:00:05.186Z", "address": "198.51.100.7", "close_code": null,
            "reason": null, "cause": null, "cause_class": null, "session": session,
            "last_event": {"event": "connect", "time": "2026-11-23T17:00:05.186Z", "close_code": null},
            "provenance": "retained", "stale": false, "dated_ahead": false
        })
    );
    assert!(confirmed_at.is_some_and(|time| time.ends_with('Z') && time.len() == 20));

    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.disconnect(5, 9));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(5, 9));
    let (body, _) = ask(&service, PUMP);
    assert_eq!(
        body,
        json!({
            "type": "pump", "id": "1", "source": "iot-platform", "client_id": "d:org:pump:1", "status": "disconnected",
            "since": "2026-11-23T17:00:09.186Z", "address": "198.51.100.7", "close_code": 91,
            "reason": "The connection was closed by the client.",
            "cause": "closed by the client, or its TCP connection was lost", "cause_class": "connection",
            "session": session,
            "last_event": {"event": "disconnect", "time": "2026-11-23T17:00:09.186Z", "close_code": 91},
            "provenance": "live", "stale": false, "dated_ahead": false
        })
    );
}

#[test]
fn a_takeover_of_an_unseen_session_is_connected_by_inference_and_a_refusal_is_only_the_last_event() {
    let (taken_over, refused) = (Device::new("pump", "taken"), Device::new("pump", "refused"));
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    let takeover = taken_over.disconnect(1, 20).replace("\"CloseCode\":91", "\"CloseCode\":288");
    let refusal = refused.disconnect(30, 30).replace("\"CloseCode\":91", "\"CloseCode\":180");
    publisher.publish(&taken_over.topic(), takeover.as_str());
    publisher.publish(&refused.topic(), refused.connect(1));
    publisher.publish(&refused.topic(), refusal.as_str());
    // The last message shows that the others have been read.
    publisher.publish(&PUMP.topic(), PUMP.connect(40));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(40));
    let (body, _) = ask(&service, taken_over);
    assert_eq!((&body["status"], &body["provenance"]), (&json!("connected"), &json!("inferred")), "{body}");
    assert_eq!((&body["close_code"], &body["last_event"]["close_code"]), (&Value::Null, &json!(288)));
    let (body, _) = ask(&service, refused);
    assert_eq!((&body["status"], &body["provenance"]), (&json!("connected"), &json!("live")), "{body}");
    assert_eq!(body["last_event"]["event"], json!("refusal"), "{body}");
}

#[test]
fn an_unseen_device_is_unknown_until_the_population_counts() {
    let mut early = Vec::new();
    let payload = PUMP.connect(1);
    let message = Message { topic: &PUMP.topic(), payload: payload.as_bytes(), retain: true };
    packet::write_publish(&mut early, 4, message);
    let unanswered = Reply { before: early, ..Reply::silence() };
    let unfinished = ClosingBroker::start(Script { subscribe: unanswered, ..Script::default() });
    let service = Launch::to(&unfinished.url()).start();
    service.wait_for_answer(&PUMP.path(), &payload);
    let expected = |status: &str, stale: bool| {
        json!({
            "type": "pump", "id": "unseen", "source": null, "client_id": "d:org:pump:unseen", "status": status,
            "since": null, "address": null, "close_code": null, "reason": null, "cause": null,
            "cause_class": null, "session": null, "last_event": null, "provenance": null, "stale": stale,
            "dated_ahead": false
        })
    };
    assert_eq!(ask(&service, UNSEEN), (expected("unknown", true), None));

    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    assert_eq!(ask(&service, UNSEEN), (expected("never_connected", false), None));
}

#[test]
fn names_that_no_device_can_have_are_404_and_undecodable_ones_400() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    for (path, status) in [("a/b%07c", 404), ("a%0Ab/c", 404), ("a/b/c", 404), ("a/%2B", 404), ("a/%FF", 400)]
    {
        assert_eq!(service.get(&format!("/api/v1/devices/{path}")).status, status, "{path}");
    }
}
