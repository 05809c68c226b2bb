//! What the service answers over HTTP: the seed's three answers, health, the summary, and refusals in good form.

use serde_json::{Value, json};

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::http::Response;
use testkit::mosquitto::Mosquitto;
use testkit::packet::{self, Message};
use testkit::service::{Launch, Service};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const UNSEEN: Device<'_> = Device { kind: "pump", id: "unseen" };

/// A service that has read `statuses` from a mosquitto that retains them.
fn ready_with(statuses: &[(Device<'_>, String)]) -> (Mosquitto, Service) {
    let broker = Mosquitto::start().retaining(statuses.iter().cloned());
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

/// Errors are problem details (RFC 9457).
fn assert_problem(answer: &Response) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let body = answer.json();
    assert_eq!(body["status"], json!(answer.status), "{body}");
    for member in ["type", "title", "detail"] {
        assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {body}");
    }
}

#[test]
fn a_device_is_answered_with_its_deciding_message_byte_for_byte() {
    let odd = concat!(
        "{ \"Action\" : \"Connect\",\t\"Time\":\"2026-11-23T17:00:01.1860-04:00\",",
        "\"ClientID\":\"d:org:pump:1\", \"Novel\":{\"b\":[1, 2.50,1e3],\"a\":null},",
        "\"ConnectTime\":\"2026-11-23T17:00:01.1860-04:00\",\"Reason\":\"\\u00e9 é \\/\" }"
    );
    let (_broker, service) = ready_with(&[(PUMP, odd.to_owned())]);
    let answer = service.get(&PUMP.path());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.text(), odd);
}

/// The four messages that the platform sent of two simultaneous connections that were both seen to begin: the later one was
/// taken over by the earlier one, which was then ended by its client.
#[test]
fn two_simultaneous_resets_end_disconnected_in_any_order() {
    let message = |action: &str, began: &str, code: u16| {
        format!(
            r#"{{"Action":"{action}","Time":"2026-11-28T14:26:43.969Z","ConnectTime":"2026-11-28T14:26:43.{began}Z","CloseCode":{code}}}"#
        )
    };
    let messages = [
        message("Disconnect", "969", 288),
        message("Connect", "968", 0),
        message("Connect", "969", 0),
        message("Disconnect", "968", 91),
    ];
    let (broker, service) = ready_with(&[]);
    let mut publisher = broker.publisher();
    let mut ids = Vec::new();
    for number in 0..256 {
        let order = [number >> 6 & 3, number >> 4 & 3, number >> 2 & 3, number & 3];
        if (0..4).all(|one| order.contains(&one)) {
            let id = format!("order-{number}");
            let topic = Device::new("pump", &id).topic();
            order.iter().for_each(|one| publisher.publish(&topic, messages[*one].as_str()));
            ids.push(id);
        }
    }
    assert_eq!(ids.len(), 24);
    // The last message shows that the others have been read.
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    for id in ids {
        let answer = service.get(&Device::new("pump", &id).path());
        assert_eq!(answer.text(), messages[3], "{id}");
    }
}

#[test]
fn a_device_without_a_status_never_connected_once_the_replay_is_over() {
    let (_broker, service) = ready_with(&[(PUMP, PUMP.connect(1))]);
    let answer = service.get(&UNSEEN.path());
    assert_eq!((answer.status, answer.text()), (200, UNSEEN.never_connected().as_str()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
}

#[test]
fn before_the_replay_is_over_a_seen_device_is_answered_and_an_unseen_one_is_503() {
    let mut early = Vec::new();
    let payload = PUMP.connect(1);
    let message = Message { topic: &PUMP.topic(), payload: payload.as_bytes(), retain: true };
    packet::write_publish(&mut early, 4, message);
    let unanswered = Reply { before: early, ..Reply::silence() };
    let broker = ClosingBroker::start(Script { subscribe: unanswered, ..Script::default() });
    let service = Launch::to(&broker.url()).start();
    service.wait_for_answer(&PUMP.path(), &payload);

    let answer = service.get(&UNSEEN.path());
    assert_eq!(answer.status, 503);
    assert_problem(&answer);
    let seconds = answer.header("retry-after").expect("a 503 says when to ask again");
    assert!(seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0), "{seconds}");

    assert_eq!(service.get("/livez").status, 200);
    let ready = service.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["ready"], json!(false));
    assert!(!ready.json()["missing"].as_array().expect("a list").is_empty(), "{}", ready.text());
    let population = service.get("/api/v1/summary").json()["population"].clone();
    assert!(population != json!("complete") && population != json!("unproven"), "{population}");
}

#[test]
fn a_live_message_replaces_the_retained_one_and_an_older_one_does_not() {
    let (broker, service) = ready_with(&[(PUMP, PUMP.connect(10))]);
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.disconnect(10, 20));
    publisher.flush();
    service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(10, 20));
    // The second device shows that the service has read past the late message of the first.
    publisher.publish(&PUMP.topic(), PUMP.connect(5));
    publisher.publish(&UNSEEN.topic(), UNSEEN.connect(30));
    publisher.flush();
    service.wait_for_answer(&UNSEEN.path(), &UNSEEN.connect(30));
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.disconnect(10, 20));
}

#[test]
fn percent_encoding_in_the_path_is_decoded_once_and_a_query_is_passed_over() {
    let device = Device::new("pump a", "ä b%41:c");
    let (_broker, service) = ready_with(&[(device, device.connect(1)), (PUMP, PUMP.connect(1))]);
    assert_eq!(service.get("/pump%20a/%C3%A4%20b%2541%3Ac").text(), device.connect(1));
    assert_eq!(service.get("/%70ump/%31").text(), PUMP.connect(1));
    assert_eq!(service.get("/pump/1?fresh=yes").text(), PUMP.connect(1));
    let quoted = service.get("/pump/%22quoted%22");
    assert_eq!(quoted.json()["ClientID"], json!("d:org:pump:\"quoted\""));
    let broken = service.get("/pump/%FF");
    assert!((400..500).contains(&broken.status), "{broken:?}");
    assert_problem(&broken);
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let (_broker, service) = ready_with(&[(PUMP, PUMP.connect(1))]);
    for path in [PUMP.path().as_str(), UNSEEN.path().as_str(), "/livez", "/readyz", "/api/v1/summary", "/a"] {
        let (get, head) = (service.get(path), service.request("HEAD", path));
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
}

#[test]
fn another_method_is_405_with_the_methods_allowed() {
    let (_broker, service) = ready_with(&[]);
    for path in ["/", "/pump/1", "/livez", "/readyz", "/api/v1/summary"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = service.request(method, path);
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_problem(&answer);
            let allowed = answer.header("allow").expect("a 405 says what is allowed");
            let allowed = allowed.split(',').map(str::trim).collect::<Vec<_>>();
            assert!(allowed.contains(&"GET") && allowed.contains(&"HEAD"), "{allowed:?}");
        }
    }
}

#[test]
fn any_other_path_is_404_with_a_problem() {
    let (_broker, service) = ready_with(&[(PUMP, PUMP.connect(1))]);
    let too_long = format!("/pump/{}", "x".repeat(257));
    let of_no_resource = [
        "/pump",
        "/pump/",
        "//1",
        "/pump/1/",
        "/pump/1/more",
        "/pump%2F1",
        "/api/v1/nothing",
        "/api/v2",
        "/api/v1",
        "/favicon.ico",
        "/robots.txt",
        "/.well-known/security.txt",
    ];
    let of_no_device = [
        "/pump/%00",
        "/pump/a%0Ab",
        "/pump/%2B",
        "/pump/%23",
        "/pump/a%2Fb",
        "/p+mp/1",
        "/api/v1/devices/pump/+/history",
        "/pump/%C2%85",
        "/%7F/1",
        "/api/v1/devices/pump/%01",
        "/api/v1/devices/pump/%02/history",
        "/api/v1/devices/pump/a%09",
        "/api/v0002/clientconnectionstates/d:org:pump:+",
        &too_long,
    ];
    for path in of_no_resource.into_iter().chain(of_no_device) {
        let answer = service.get(path);
        assert_eq!(answer.status, 404, "{path}");
        if !path.starts_with("/api/v0002") {
            assert_problem(&answer);
        }
    }
    assert_eq!(service.get("/pump/a%20%E2%80%AEb").status, 200, "an unusual name is one");
}

#[test]
fn health_and_summary_count_the_known_devices() {
    let others = [Device::new("pump", "2"), Device::new("valve", "3")];
    let (_broker, service) = ready_with(&[
        (PUMP, PUMP.connect(1)),
        (others[0], others[0].connect(1)),
        (others[1], others[1].disconnect(1, 2)),
    ]);
    assert_eq!(service.get("/livez").status, 200);
    let ready = service.get("/readyz").json();
    assert_eq!(ready["ready"], json!(true));
    assert_eq!(ready["missing"], json!([]));
    let summary = service.get("/api/v1/summary");
    assert_eq!(summary.header("content-type"), Some("application/json"));
    let summary = summary.json();
    assert_eq!(
        (&summary["total"], &summary["connected"], &summary["disconnected"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert!([json!("complete"), json!("unproven")].contains(&summary["population"]), "{summary}");
}

#[test]
fn the_root_page_names_the_service_and_counts_devices() {
    let others = [Device::new("pump", "2"), Device::new("pump", "3")];
    let statuses = [PUMP, others[0], others[1]].map(|device| (device, device.connect(1)));
    let (_broker, service) = ready_with(&statuses);
    let page = service.get("/");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("devstatus"), "{}", page.text());
    assert!(page.text().contains('3'), "{}", page.text());
}

#[test]
fn applications_are_no_devices_and_gateways_are() {
    let application = Device::new("", "app1");
    let gateway = Device::new("edge", "g1");
    let (_broker, service) = ready_with(&[
        (application, application.connect(1).replace("d:org::app1", "a:org:app1")),
        (gateway, gateway.connect(1).replace("d:org:", "g:org:")),
    ]);
    assert_eq!(service.get("/api/v1/summary").json()["total"], json!(1));
    assert_eq!(service.get("/edge/g1").json()["ClientID"], json!("g:org:edge:g1"));
}

#[test]
fn the_topic_says_which_device_a_message_is_about() {
    let (_broker, service) = ready_with(&[(PUMP, UNSEEN.connect(1))]);
    assert_eq!(service.get(&PUMP.path()).text(), UNSEEN.connect(1));
    assert_eq!(service.get(&UNSEEN.path()).json()["Action"], Value::from("Never Connected"));
}
