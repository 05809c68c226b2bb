//! Connections that are opened to keep others out, and requests that are written so that a proxy in front reads them
//! otherwise.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use testkit::events::EventStream;
use testkit::http::{self, Connection};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

fn service(connections_max: &str) -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).arguments(&["--connections-max", connections_max]).start();
    service.wait_until_ready();
    (broker, service)
}

/// Lets this process have as many connections as it is allowed to.
fn raise_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum is allowed");
}

#[test]
fn thousands_of_idle_connections_keep_nobody_out() {
    raise_descriptors();
    let (_broker, service) = service("500");
    let mut resting = Connection::open(service.address());
    resting.send(&http::request("GET", "/pump/1"));
    assert_eq!(resting.receive("GET").expect("it is answered").status, 200);
    let mut silent = Vec::new();
    for number in 0..3_000 {
        silent.push(Connection::open(service.address()));
        if number % 500 == 499 {
            for path in ["/livez", "/readyz", "/metrics", "/pump/1"] {
                assert_eq!(service.get(path).status, 200, "{path} beside {number}");
            }
        }
    }
    resting.send(&http::request("GET", "/pump/1"));
    let kept = resting.receive("GET").expect("a connection that was used gives way after the silent ones");
    assert_eq!(kept.status, 200);
    let metrics = service.get("/metrics").text().to_owned();
    let cut = metrics
        .lines()
        .find_map(|line| line.strip_prefix("devstatus_http_connections_cut_total{reason=\"idle\"} "));
    assert!(cut.is_some_and(|cut| cut.parse::<u64>().is_ok_and(|cut| cut >= 2_500)), "{cut:?}");
    assert!(!service.log_lines(&["WARN", "--connections-max allows"]).is_empty(), "{}", service.log());
}

#[test]
fn probes_and_metrics_are_answered_while_all_connections_are_busy() {
    let (_broker, service) = service("4");
    let streams: Vec<_> = (0..4)
        .map(|_| {
            EventStream::ask_with(service.address(), "", &[]).unwrap_or_else(|_| panic!("a stream begins"))
        })
        .collect();
    for path in ["/livez", "/readyz", "/metrics"] {
        let mut connection = Connection::open(service.address());
        connection.send(&http::request("GET", path));
        assert_eq!(connection.receive("GET").expect("it is answered").status, 200, "{path}");
        assert!(connection.is_closed(), "{path}: others need the place");
    }
    let refused = service.get("/pump/1");
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json()["type"], "urn:devstatus:problem:too-many-connections");
    assert!(refused.header("retry-after").is_some());
    drop(streams);
    service.wait_until("there is room again", || service.get("/pump/1").status == 200);
}

#[test]
fn a_request_that_a_proxy_may_read_otherwise_is_400_and_the_end_of_the_connection() {
    let (_broker, service) = service("1000");
    let head =
        "POST /api/v1/devices:lookup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let hidden = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for rest in [
        "Content-Length: 14\n\n{\"devices\":[]}",
        "Content-Length: 14\r\n\n{\"devices\":[]}",
        "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 14\r\nContent-Length: 14\r\n\r\n{\"devices\":[]}",
        "Content-Length: +14\r\n\r\n{\"devices\":[]}",
        "Content-Length: 1 4\r\n\r\n{\"devices\":[]}",
        "Transfer-Encoding: chunked\r\n\r\ne\n{\"devices\":[]}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\ne;a\nb\r\n{\"devices\":[]}\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0xe\r\n{\"devices\":[]}\r\n0\r\n\r\n",
    ] {
        let mut connection = Connection::open(service.address());
        // A request before it is answered all the same, and what is hidden behind it never is.
        connection.send_what_is_taken(format!("{hidden}{head}{rest}{hidden}").as_bytes());
        assert_eq!(connection.receive("GET").expect("the first is answered").status, 200, "{rest:?}");
        assert_eq!(connection.receive("POST").expect("it is refused").status, 400, "{rest:?}");
        assert!(connection.is_closed(), "{rest:?}");
    }
    let old = "POST /api/v1/devices:lookup HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for request in [old, "GET /livez HTTP/1.1\nHost: localhost\n\n", " GET /livez HTTP/1.1\r\n\r\n"] {
        let mut connection = Connection::open(service.address());
        connection.send_what_is_taken(request.as_bytes());
        assert_eq!(connection.receive("GET").expect("it is refused").status, 400, "{request:?}");
        assert!(connection.is_closed(), "{request:?}");
    }
    let chunked = "Transfer-Encoding: chunked\r\n\r\n7;note=\"x\"\r\n{\"devic\r\n7\r\nes\":[]}\r\n0\r\nTrailer: 1\r\n\r\n";
    let mut connection = Connection::open(service.address());
    connection.send(format!("{head}{chunked}{hidden}").as_bytes());
    for _ in 0..2 {
        assert_eq!(connection.receive("POST").expect("both are answered").status, 200);
    }
}
