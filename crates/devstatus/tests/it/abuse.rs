//! Clients that are slow, large, wrong or many on purpose: each gets the documented answer, and others do not notice.

use serde_json::Value;

use testkit::http::{self, Connection, Response};
use testkit::keys::{Key, Keys};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

/// The resource that takes a body.
const LOOKUP: &str = "/api/v1/devices:lookup";
const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

fn ready_service() -> (Mosquitto, Service) {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(1))]);
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

/// Sends the bytes and reads the one answer to them.
fn answer(service: &Service, bytes: &[u8]) -> Response {
    let mut connection = Connection::open(service.address());
    connection.send_what_is_taken(bytes);
    connection.receive("GET").expect("there is an answer")
}

fn assert_problem(answer: &Response, status: u16, kind: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let problem: Value = answer.json();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["type"], format!("urn:devstatus:problem:{kind}"));
}

fn assert_counted(service: &Service, sample: &str) {
    service.wait_until(&format!("{sample} is counted"), || service.get("/metrics").text().contains(sample));
}

#[test]
fn headers_that_never_end_are_answered_408_and_hold_up_nobody() {
    let (_broker, service) = ready_service();
    let mut slow: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = Connection::open(service.address());
            connection.send(b"GET /pump/1 HTTP/1.1\r\nHost: localhost\r\nX-Slow: a");
            connection
        })
        .collect();
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(1));
    for connection in &mut slow {
        let answer = connection.receive("GET").expect("the answer comes before the connection ends");
        assert_problem(&answer, 408, "slow-request");
        assert!(connection.is_closed());
    }
    assert_counted(&service, "devstatus_http_requests_refused_total{reason=\"slow_headers\"} 200");
}

#[test]
fn a_body_that_never_comes_is_answered_408() {
    let (_broker, service) = ready_service();
    let request = http::request_with("POST", LOOKUP, &[("Content-Length", "10")]);
    assert_problem(&answer(&service, &request), 408, "slow-request");
    assert_counted(&service, "reason=\"slow_body\"} 1");
}

#[test]
fn oversized_requests_are_refused_with_their_own_status() {
    let (_broker, service) = ready_service();
    let long = "x".repeat(9_000);
    assert_problem(&service.get(&format!("/pump/{long}")), 414, "url-too-long");
    let headers = [("A", long.as_str()), ("B", &long)];
    assert_problem(&service.request_with("GET", &PUMP.path(), &headers), 431, "headers-too-large");
    let large = http::request_with("POST", LOOKUP, &[("Content-Length", "1200000")]);
    assert_problem(&answer(&service, &large), 413, "body-too-large");
    // In chunks, so that its size is not known before.
    let mut chunked = http::request_with("POST", LOOKUP, &[("Transfer-Encoding", "chunked")]);
    for _ in 0..120 {
        chunked.extend_from_slice(format!("{:x}\r\n{}\r\n", 10_000, "y".repeat(10_000)).as_bytes());
    }
    assert_problem(&answer(&service, &chunked), 413, "body-too-large");
    // What exceeds even what is read of a request is answered without a body.
    let endless = format!("GET / HTTP/1.1\r\nA: {}", "z".repeat(100_000));
    assert_eq!(answer(&service, endless.as_bytes()).status, 431);
    let many: String = (0..200).map(|number| format!("H{number}: 1\r\n")).collect();
    assert_eq!(answer(&service, format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).status, 431);
    for reason in ["url_too_long", "headers_too_large", "body_too_large"] {
        let sample = format!("devstatus_http_requests_refused_total{{reason=\"{reason}\"}}");
        let metrics = service.get("/metrics");
        let line = metrics.text().lines().find(|line| line.starts_with(&sample)).unwrap().to_owned();
        assert!(!line.ends_with(" 0"), "{line}");
    }
    assert_eq!(service.get(&PUMP.path()).status, 200);
}

#[test]
fn non_http_bytes_get_400_or_nothing_and_are_counted() {
    let (_broker, service) = ready_service();
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"G\x00T / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ] {
        assert_eq!(answer(&service, bytes).status, 400, "{}", bytes.escape_ascii());
    }
    assert_counted(&service, "devstatus_http_requests_refused_total{reason=\"malformed\"} 6");
    assert_eq!(service.get(&PUMP.path()).status, 200);
}

#[test]
fn a_request_that_breaks_off_anywhere_harms_nobody() {
    let (_broker, service) = ready_service();
    let whole = http::request_with("GET", &PUMP.path(), &[("Content-Length", "3")]);
    let whole = [whole.as_slice(), b"abc"].concat();
    for end in 0..whole.len() {
        Connection::open(service.address()).send(&whole[..end]);
    }
    assert_eq!(answer(&service, &whole).status, 200);
    assert_counted(&service, "devstatus_http_connections 1\n");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let (_broker, service) = ready_service();
    let mut connection = Connection::open(service.address());
    let mut bytes = Vec::new();
    for number in 0..300 {
        bytes.extend(http::request("GET", &format!("/pump/{number}")));
    }
    connection.send(&bytes);
    for number in 0..300 {
        let answer = connection.receive("GET").expect("each is answered");
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains(&format!("d:org:pump:{number}\"")), "{number}: {}", answer.text());
    }
}

#[test]
fn a_hundred_thousand_keys_tried_find_nothing_and_cost_no_memory() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let tried = |from: usize, to: usize| {
        let mut statuses = std::collections::BTreeMap::new();
        let mut connection = Connection::open(service.address());
        for batch in (from..to).collect::<Vec<_>>().chunks(500) {
            let mut bytes = Vec::new();
            for number in batch {
                let guess = Key { id: format!("a-org-{number:010}"), secret: format!("{number:032}") };
                bytes.extend(http::request_with("GET", "/pump/1", &[("Authorization", &guess.bearer())]));
            }
            connection.send(&bytes);
            for _ in batch {
                let answer = connection.receive("GET").expect("each try is answered");
                *statuses.entry(answer.status).or_insert(0) += 1;
            }
        }
        statuses
    };
    let mut statuses = tried(0, 10_000);
    // What is remembered of each key would show in every batch; what the allocator takes and gives back does not.
    let growths = [10_000, 40_000, 70_000].map(|from| {
        let before = service.resident_bytes();
        statuses.extend(tried(from, from + 30_000));
        service.resident_bytes().saturating_sub(before)
    });
    assert!(statuses.keys().all(|status| [401, 429].contains(status)), "{statuses:?}");
    assert!(statuses.contains_key(&429), "{statuses:?}");
    assert!(growths.iter().any(|grown| *grown < 1 << 20), "grew by {growths:?} bytes");
    let right = service.request_with("GET", "/openapi.json", &[("Authorization", &key.bearer())]);
    assert_eq!(right.status, 200, "the right key is let in whatever others try");
}

#[test]
fn responses_carry_browser_security_headers() {
    let broker = Mosquitto::start();
    let origin = "https://wall.example";
    let service = Launch::to(&broker.url()).arguments(&["--cors-origin", origin]);
    let service = service.arguments(&["--cors-origin", "http://localhost:8080"]).start();
    service.wait_until_ready();
    for path in ["/", "/pump/1", "/livez", "/no/such/thing"] {
        let answer = service.get(path);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
        assert!(
            answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert_eq!(answer.header("strict-transport-security"), None, "{path}: that is for TLS");
    }
    for (from, allowed) in
        [(origin, true), ("http://localhost:8080", true), ("https://evil.example", false), ("null", false)]
    {
        let answer = service.request_with("GET", "/pump/1", &[("Origin", from)]);
        let named = answer.header("access-control-allow-origin");
        assert_eq!(named, allowed.then_some(from));
        let preflight = [("Origin", from), ("Access-Control-Request-Method", "GET")];
        let answer = service.request_with("OPTIONS", "/pump/1", &preflight);
        assert_eq!(answer.header("access-control-allow-origin"), allowed.then_some(from));
    }
}
