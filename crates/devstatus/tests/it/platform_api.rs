//! `/api/v0002/clientconnectionstates`: what the platform's own package makes of it, over TLS and with a key, and what it
//! answers to those who ask otherwise.

use serde_json::{Value, json};

use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::peers;
use testkit::private_ca::PrivateCa;
use testkit::service::{Launch, Service};
use testkit::status::Device;

const STATES: &str = "/api/v0002/clientconnectionstates";

/// More than two pages of the platform's package, which asks for fifty.
const PUMPS: u32 = 120;

/// Pumps that connect one second after the other, every third of which has disconnected; two valves; a gateway.
fn broker() -> Mosquitto {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    for number in 0..PUMPS {
        let id = format!("{number:03}");
        let pump = Device::new("pump", &id);
        let message =
            if number % 3 == 0 { pump.disconnect(number, number + 200) } else { pump.connect(number) };
        publisher.retain(&pump.topic(), message);
    }
    for id in ["a", "b"] {
        let valve = Device::new("valve", id);
        publisher.retain(&valve.topic(), valve.connect(500));
    }
    let hub = Device::new("hub", "1");
    publisher.retain(&hub.topic(), hub.connect(600).replace("d:org:hub:1", "g:org:hub:1"));
    publisher.flush();
    broker
}

/// What the package answers to the questions, each a kind and its argument.
fn ask_by_sdk(service: &Service, key: &Key, files: &PrivateCa, questions: &[Value]) -> Vec<Value> {
    let asked = json!({
        "key": key.id, "token": key.secret, "port": service.address().port(), "ca_file": files.ca_file,
        "questions": questions,
    });
    serde_json::from_str(&peers::run("client_states.py", &asked.to_string())).expect("the answers are JSON")
}

#[test]
fn the_platforms_own_package_works_against_it() {
    let (broker, keys, directory) = (broker(), Keys::new(), tempfile::tempdir().unwrap());
    let key = keys.create("read");
    let files = PrivateCa::issue(directory.path(), &["org.localhost", "localhost"]);
    let tls = ["--tls-cert", text(&files.certificate_file), "--tls-key", text(&files.key_file)];
    let service = keys.launch(&broker.url()).arguments(&tls).start();
    let client = testkit::tls_client::TlsClient::new(&files, None);
    service.wait_until("it is ready", || client.get(service.address(), "/readyz").unwrap().status == 200);
    let answers = ask_by_sdk(
        &service,
        &key,
        &files,
        &[
            json!(["item", "d:org:pump:001"]),
            json!(["item", "d:org:pump:003"]),
            json!(["item", "g:org:hub:1"]),
            json!(["in", "d:org:pump:119"]),
            json!(["in", "d:org:pump:120"]),
            json!(["item", "d:org:pump:120"]),
            json!(["all", null]),
            json!(["find", {"typeId": "valve"}]),
            json!(["find", {"typeId": "pump", "deviceId": "007"}]),
            json!(["find", {"connectionStatus": "disconnected"}]),
            json!(["find", {"connectedAfter": "2026-11-23T17:01:55Z", "typeId": "pump"}]),
            json!(["find", {"connectionStatus": "perhaps"}]),
        ],
    );
    let [connected, disconnected, hub, known, unknown, missing, all, valves, seventh, off, late, refused] =
        &answers[..]
    else {
        panic!("{answers:?}")
    };
    assert_eq!(
        *connected,
        json!({
            "id": "d:org:pump:001", "clientType": "device", "connectionStatus": "connected",
            "lastConnectTime": "2026-11-23T17:00:01.186Z",
            "lastActivityEvent": "mqttConnect", "lastActivityTime": "2026-11-23T17:00:01.186Z",
            "mqttConnectProtocol": "3.1.1",
        })
    );
    assert_eq!(
        *disconnected,
        json!({
            "id": "d:org:pump:003", "clientType": "device", "connectionStatus": "disconnected",
            "lastConnectTime": "2026-11-23T17:00:03.186Z", "lastDisconnectTime": "2026-11-23T17:03:23.186Z",
            "lastActivityEvent": "mqttDisconnect", "lastActivityTime": "2026-11-23T17:03:23.186Z",
            "mqttConnectProtocol": "3.1.1",
        })
    );
    assert_eq!((&hub["id"], &hub["clientType"]), (&json!("g:org:hub:1"), &json!("gateway")));
    assert_eq!((known, unknown), (&json!(true), &json!(false)));
    assert_eq!(missing["error"], "KeyError");
    let pumps = (0..PUMPS).map(|number| format!("d:org:pump:{number:03}"));
    let ids = |of: &dyn Fn(u32) -> bool| -> Vec<String> {
        (0..PUMPS).filter(|number| of(*number)).map(|number| format!("d:org:pump:{number:03}")).collect()
    };
    let everything: Vec<_> = std::iter::once("g:org:hub:1".to_owned())
        .chain(pumps)
        .chain(["a", "b"].map(|id| format!("d:org:valve:{id}")))
        .collect();
    assert_eq!(*all, json!(everything), "each once, over several pages");
    assert_eq!(*valves, json!(["d:org:valve:a", "d:org:valve:b"]));
    assert_eq!(*seventh, json!(["d:org:pump:007"]));
    assert_eq!(*off, json!(ids(&|number| number % 3 == 0)));
    assert_eq!(*late, json!(ids(&|number| number >= 115)), "connected or not");
    let text = refused["text"].as_str().unwrap();
    assert!(text.contains("400") && text.contains("connectionStatus"), "{text}");

    let wrong = Key { secret: "wrong".to_owned(), ..key };
    let answers = ask_by_sdk(&service, &wrong, &files, &[json!(["in", "d:org:pump:001"])]);
    assert_eq!((&answers[0]["error"], &answers[0]["id"]), (&json!("ApiException"), &json!("unauthorized")));
}

#[test]
fn pages_follow_each_other_in_every_order_and_bookmarks_are_of_one_list() {
    let broker = broker();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let pages = |query: &str| {
        let (mut times, mut bookmark, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = service.get(&format!("{STATES}?{query}{bookmark}")).json();
            let results = page["results"].as_array().expect("results").clone();
            times.extend(results.iter().map(|state| state["lastActivityTime"].as_str().unwrap().to_owned()));
            pages += 1;
            match page["bookmark"].as_str() {
                Some(next) => bookmark = format!("&_bookmark={next}"),
                None => return (times, pages),
            }
        }
    };
    let (times, count) = pages("_limit=41&_sort=-lastActivityTime");
    assert_eq!((times.len(), count), (123, 3));
    assert!(times.is_sorted_by(|one, other| one >= other), "{times:?}");
    let (times, _) = pages("_limit=100&_sort=lastActivityTime&deviceType=pump");
    assert!(times.len() == 120 && times.is_sorted(), "{times:?}");
    assert_eq!(pages("").1, 5, "twenty-five at a time");

    let first = service.get(&format!("{STATES}?_limit=10")).json();
    let bookmark = first["bookmark"].as_str().expect("there is more");
    let other_list = service.get(&format!("{STATES}?_limit=10&deviceType=pump&_bookmark={bookmark}"));
    assert_eq!(other_list.status, 400, "{}", other_list.text());
}

#[test]
fn refusals_have_the_platforms_form() {
    let broker = broker();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let long = format!("{STATES}/{}", "x".repeat(9_000));
    for (path, status, id, properties) in [
        (format!("{STATES}/d:org:pump:nobody"), 404, "not-found", json!([])),
        (format!("{STATES}/d:other:pump:001"), 404, "not-found", json!([])),
        (format!("{STATES}/g:org:pump:001"), 404, "not-found", json!([])),
        ("/api/v0002/nothing/here".to_owned(), 404, "not-found", json!([])),
        (format!("{STATES}?_limit=0"), 400, "bad-parameter", json!(["_limit"])),
        (format!("{STATES}?_limit=101"), 400, "bad-parameter", json!(["_limit"])),
        (format!("{STATES}?_bookmark=abc"), 400, "bad-parameter", json!(["_bookmark"])),
        (format!("{STATES}?_sort=clientType"), 400, "bad-parameter", json!(["_sort"])),
        (format!("{STATES}?connectedAfter=yesterday"), 400, "bad-parameter", json!(["connectedAfter"])),
        (format!("{STATES}?devicetype=pump"), 400, "unknown-parameter", json!(["devicetype"])),
        (long, 414, "url-too-long", json!([])),
    ] {
        let answer = service.get(&path);
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let error = answer.json();
        assert!(!error["message"].as_str().unwrap().is_empty());
        assert_eq!(error["exception"], json!({"id": id, "properties": properties}), "{path}");
    }
    assert_eq!(service.request("POST", STATES).json()["exception"]["id"], "method-not-allowed");
    assert_eq!(service.request("HEAD", &format!("{STATES}/d:org:pump:nobody")).status, 404);
}

#[test]
fn a_client_is_not_called_unknown_before_everything_is_read() {
    let broker = testkit::closing_broker::ClosingBroker::start(testkit::closing_broker::Script {
        subscribe: testkit::closing_broker::Reply::silence(),
        ..Default::default()
    });
    let service = Launch::to(&broker.url()).start();
    let answer = service.get(&format!("{STATES}/d:org:pump:1"));
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.json()["exception"]["id"], "not-populated");
}
