//! Memory that clients without a key, or clients that do not read, could take: bodies that nobody has to read, and answers that
//! nobody reads.

use std::fmt::Write as _;

use serde_json::{Value, json};

use testkit::http::{self, Connection};
use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

const LOOKUP: &str = "/api/v1/devices:lookup";
const LARGEST_BODY: (&str, &str) = ("Content-Length", "1048576");

#[test]
fn a_request_is_refused_by_its_headers_before_its_body_is_read() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    let bearer = key.bearer();
    for (method, path, authorization, status) in [
        ("POST", LOOKUP, None, 401),
        ("POST", LOOKUP, Some("Bearer a-org-x.y"), 401),
        ("POST", "/api/v1/summary", Some(bearer.as_str()), 405),
        ("POST", "/no/such/thing", None, 404),
        ("GET", "/pump/1", None, 401),
    ] {
        let mut headers = vec![LARGEST_BODY];
        headers.extend(authorization.map(|value| ("Authorization", value)));
        // Not a byte of the body is ever sent, so an answer shows that none is waited for.
        let mut connection = Connection::open(service.address());
        connection.send(&http::request_with(method, path, &headers));
        let answer = connection.receive("GET").expect("it is answered");
        assert_eq!(answer.status, status, "{method} {path} {authorization:?}");
        assert!(connection.is_closed(), "what follows would be taken for a request: {method} {path}");
    }
    let before = service.resident_bytes();
    let body = vec![b'x'; 1 << 20];
    let connections: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = Connection::open(service.address());
            connection.send(&http::request_with("POST", LOOKUP, &[LARGEST_BODY]));
            connection.send_what_is_taken(&body[..100_000]);
            connection
        })
        .collect();
    for mut connection in connections {
        let refused = connection.receive("POST").expect("it is answered").status;
        assert!([401, 429].contains(&refused), "{refused}");
    }
    let grown = service.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
}

/// Devices whose messages are as long as some clients make them.
fn service_of_long_messages(devices: usize) -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    let reason = "because ".repeat(900);
    for number in 0..devices {
        let id = format!("{number}");
        let device = Device { kind: "pump", id: &id };
        let message = device.disconnect(1, 2);
        let mut message: Value = serde_json::from_str(&message).expect("a status is JSON");
        message["Reason"] = reason.as_str().into();
        publisher.retain(&device.topic(), message.to_string());
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

#[test]
fn answers_that_nobody_reads_take_a_bounded_part_of_the_memory() {
    const DEVICES: usize = 500;
    let (_broker, service) = service_of_long_messages(DEVICES);
    let names: Vec<_> =
        (0..1_000).map(|number| json!({"type": "pump", "id": format!("{}", number)})).collect();
    let body = json!({"devices": names}).to_string();
    let length = body.len().to_string();
    let headers = [("Content-Type", "application/json"), ("Content-Length", length.as_str())];
    let lookup = [http::request_with("POST", LOOKUP, &headers), body.into_bytes()].concat();
    let list = http::request("GET", "/api/v1/devices?limit=1000");
    let csv = http::request_with("GET", "/api/v1/devices", &[("Accept", "text/csv")]);
    let before = service.resident_bytes();
    let idle: Vec<_> = (0..120)
        .map(|number| {
            let mut connection = Connection::open(service.address());
            connection.send([&lookup, &list, &csv][number % 3]);
            connection
        })
        .collect();
    assert_eq!(service.get("/livez").status, 200);
    // The last of them is answered, or refused, before the reader below is: so the memory is taken by now.
    let mut reader = Connection::open(service.address());
    reader.send(&lookup);
    let whole = reader.receive("POST").expect("who reads gets all of it");
    assert_eq!(whole.status, 200);
    let found = whole.json();
    let found = found["devices"].as_array().expect("a list");
    assert_eq!(found.len(), 1_000);
    for number in [0, 57, DEVICES - 1, DEVICES, 999] {
        assert_eq!(found[number], service.get(&format!("/api/v1/devices/pump/{number}")).json());
    }
    let grown = service.resident_bytes().saturating_sub(before);
    // Twice what answers may take: those that are refused have been made, and the allocator keeps their pages for a while.
    assert!(grown < 512 << 20, "grew by {grown} bytes");
    drop(idle);
    service.wait_until("the connections have ended", || {
        service.get("/metrics").text().contains("devstatus_http_connections 2\n")
    });
}

#[test]
fn a_page_of_long_messages_ends_early_with_a_cursor_that_leads_on() {
    const DEVICES: usize = 700;
    let (_broker, service) = service_of_long_messages(DEVICES);
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let mut path = "/api/v1/devices?limit=1000".to_owned();
        if !cursor.is_empty() {
            write!(path, "&cursor={cursor}").expect("a text takes all");
        }
        let page = service.get(&path);
        assert!(page.body.len() < 16 << 20, "{}", page.body.len());
        let page = page.json();
        let devices = page["devices"].as_array().expect("a list");
        found.extend(devices.iter().map(|device| device["id"].as_str().expect("a name").to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    let mut expected: Vec<_> = (0..DEVICES).map(|number| number.to_string()).collect();
    expected.sort();
    assert_eq!(found, expected);
    let lines = service.request_with("GET", "/api/v1/devices", &[("Accept", "application/x-ndjson")]);
    assert_eq!(lines.text().lines().count(), DEVICES);
}
