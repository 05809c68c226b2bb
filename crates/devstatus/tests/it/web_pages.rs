//! What a web page that somebody on this machine has open can do to a service without keys: read nothing by a name of its
//! own, change nothing from another origin.

use testkit::http::{Connection, Response};
use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

/// The answer to these bytes.
fn answer(service: &Service, request: &str) -> Response {
    let mut connection = Connection::open(service.address());
    connection.send(request.as_bytes());
    connection.receive("GET").unwrap_or_else(|error| panic!("{error}: {request:?}"))
}

fn status_for(service: &Service, path: &str, host: &str) -> u16 {
    answer(service, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status
}

#[test]
fn a_page_that_points_its_name_at_loopback_reads_nothing() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let paths = [
        "/",
        "/metrics",
        "/openapi.json",
        "/readyz",
        "/api/v1/summary",
        "/api/v1/devices",
        "/api/v1/events",
        "/pump/1",
    ];
    for path in paths {
        let refused =
            answer(&service, &format!("GET {path} HTTP/1.1\r\nHost: attacker.example:5000\r\n\r\n"));
        assert_eq!(refused.status, 421, "{path}");
        assert_eq!(refused.json()["type"], "urn:devstatus:problem:other-host", "{path}");
    }
    for (header, value) in [
        ("X-Forwarded-Host", "localhost"),
        ("Forwarded", "host=localhost"),
        ("Origin", "http://localhost"),
        ("Sec-Fetch-Site", "same-origin"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: attacker.example\r\n{header}: {value}\r\n\r\n");
        assert_eq!(answer(&service, &request).status, 421, "{header}");
    }
    for host in
        ["localhost", "LOCALHOST.:5000", "wall.localhost:1", "127.0.0.1", "127.0.0.9:5000", "[::1]:5000"]
    {
        assert_eq!(status_for(&service, "/metrics", host), 200, "{host}");
    }
    assert_eq!(status_for(&service, "/livez", "attacker.example"), 200, "nobody restarts it for that");
    assert_eq!(answer(&service, "GET /metrics HTTP/1.0\r\n\r\n").status, 200, "no browser sends that");
    assert_eq!(
        answer(&service, "GET http://localhost/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").status,
        200
    );
    for (target, hosts) in [
        ("/metrics", ""),
        ("/metrics", "Host: localhost\r\nHost: localhost\r\n"),
        ("/metrics", "Host: localhost\r\nHost: attacker.example\r\n"),
        ("http://attacker.example/metrics", "Host: localhost\r\n"),
        ("http://localhost/metrics", "Host: attacker.example\r\n"),
    ] {
        let refused = answer(&service, &format!("GET {target} HTTP/1.1\r\n{hosts}\r\n"));
        assert_eq!(refused.status, 400, "{target} {hosts:?}");
        assert_eq!(refused.json()["type"], "urn:devstatus:problem:bad-host");
    }
    let counted = service.get("/metrics").text().to_owned();
    assert!(counted.contains("requests_refused_total{reason=\"other_host\"} 12\n"), "{counted}");
    assert!(counted.contains("requests_refused_total{reason=\"bad_host\"} 5\n"), "{counted}");
}

#[test]
fn hosts_of_the_setting_are_answered_and_with_keys_every_host_is() {
    let broker = Mosquitto::start();
    let hosts = ["--allowed-host", "Wall.example", "--allowed-host", "192.0.2.7,[2001:db8::7]"];
    let service = Launch::to(&broker.url()).arguments(&hosts).start();
    for host in ["wall.example", "WALL.example.:8443", "192.0.2.7:80", "[2001:DB8::7]", "localhost"] {
        assert_eq!(status_for(&service, "/metrics", host), 200, "{host}");
    }
    assert_eq!(status_for(&service, "/metrics", "other.example"), 421);
    for host in ["https://wall.example", "wall.example:80", "*", "a b", ""] {
        let refused =
            Launch::to(&broker.url()).arguments(&["--allowed-host", host, "--allowed-host", "a"]).run();
        assert_eq!(refused.status.code(), Some(2), "{host:?}: {refused:?}");
    }
    drop(service);
    let keys = Keys::new();
    let key = keys.create("read");
    let service = keys.launch(&broker.url()).start();
    assert_eq!(status_for(&service, "/metrics", "attacker.example"), 401);
    let headers = format!("Host: public.example\r\nAuthorization: {}", key.bearer());
    assert_eq!(answer(&service, &format!("GET /metrics HTTP/1.1\r\n{headers}\r\n\r\n")).status, 200);
}

#[test]
fn a_page_of_another_origin_changes_nothing() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).arguments(&["--cors-origin", "https://wall.example"]).start();
    let body = "{\"devices\":[]}";
    let post = |headers: &str| {
        let request = format!(
            "POST /api/v1/devices:lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        );
        answer(&service, &request)
    };
    for headers in
        ["", "Origin: http://localhost\r\n", "Origin: https://wall.example\r\nSec-Fetch-Site: cross-site\r\n"]
    {
        assert_eq!(post(headers).status, 200, "{headers:?}");
    }
    for headers in ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        let refused = post(headers);
        assert_eq!(refused.status, 403, "{headers:?}");
        assert_eq!(refused.json()["type"], "urn:devstatus:problem:cross-origin");
    }
}
