//! Programs that stand in front of the service or read from it, as operators run them: HAProxy, Prometheus, promtool.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use testkit::child::ChildProcess;
use testkit::http::{self, Connection, Response};
use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::port::Port;
use testkit::service::{Launch, Service};
use testkit::{PATIENCE, poll};

/// A program that runs until the test is over.
struct Program {
    _child: ChildProcess,
    log: PathBuf,
    _directory: TempDir,
    _port: Port,
}

impl Program {
    fn start(mut command: Command, directory: TempDir, port: Port) -> Self {
        let log = directory.path().join("log");
        let file = std::fs::File::create(&log).expect("a log can be made");
        let errors = file.try_clone().expect("a file has two descriptors");
        let child = ChildProcess::start(command.stdin(Stdio::null()).stdout(file).stderr(errors));
        Self { _child: child, log, _directory: directory, _port: port }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// Where HAProxy says how its servers are.
const STATISTICS: &str = "/haproxy";

/// HAProxy in front of a server, with these lines in its `backend`; gives the port that it listens on.
fn haproxy(server: SocketAddr, backend: &str, server_options: &str) -> (Program, SocketAddr) {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let port = Port::take();
    let address = SocketAddr::from(([127, 0, 0, 1], port.number));
    let configuration = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
         frontend f\n  bind {address}\n  stats enable\n  stats uri {STATISTICS}\n  default_backend b\n\
         backend b\n{backend}\n  server s {server} {server_options}\n"
    );
    let file = directory.path().join("haproxy.cfg");
    std::fs::write(&file, configuration).expect("a file can be written");
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    (Program::start(command, directory, port), address)
}

/// An answer through a proxy; `None` while it is not there.
fn through(address: SocketAddr, path: &str) -> Option<Response> {
    let stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut connection = Connection::over(stream);
    connection.send_what_is_taken(&http::request("GET", path));
    connection.receive("GET").ok()
}

fn wait_for(program: &Program, what: &str, condition: impl Fn() -> bool) {
    let held = poll(PATIENCE, || condition().then_some(()));
    assert!(held.is_some(), "waited in vain until {what}; log:\n{}", program.log());
}

fn service() -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

#[test]
fn every_method_that_health_checkers_use_is_answered_on_every_route() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    let admin = keys.create("admin").bearer();
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let request = |method: &str, path: &str| service.request_with(method, path, &[("authorization", &admin)]);
    let document = request("GET", "/openapi.json").json();
    for (path, item) in document["paths"].as_object().expect("there are paths") {
        let path = path.replace("{type}", "pump").replace("{id}", "1").replace("{name}", "ops");
        let path = path.replace("{clientId}", "d:org:pump:1");
        let methods: Vec<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let options = request("OPTIONS", &path);
        assert_eq!(options.status, 204, "{path}");
        let allow = options.header("allow").expect("what is allowed is said").to_owned();
        assert!(allow.contains("OPTIONS"), "{path}: {allow}");
        assert!(methods.iter().all(|method| allow.contains(method.as_str())), "{path}: {allow}");
        let head = request("HEAD", &path);
        if methods.iter().any(|method| method == "GET") {
            assert!([200, 404].contains(&head.status), "HEAD {path}: {}", head.status);
        }
        let refused = request("PATCH", &path);
        assert_eq!((refused.status, refused.header("allow")), (405, Some(allow.as_str())), "{path}");
    }
    assert_eq!(request("OPTIONS", "*").status, 204);
    assert_eq!(request("OPTIONS", "/no/such/thing").status, 404);
    let encoded = request("GET", "/api/v1/devices%3Alookup");
    assert_eq!((encoded.status, encoded.header("allow")), (405, Some("POST,OPTIONS")));
}

#[test]
fn haproxys_health_check_finds_the_service_up() {
    let (_broker, service) = service();
    for check in [
        "  option httpchk",
        "  option httpchk GET /readyz",
        "  option httpchk HEAD / HTTP/1.1\\r\\nHost:\\ localhost",
    ] {
        let (proxy, address) = haproxy(service.address(), check, "check inter 50ms fall 1");
        // What the check has found, which a server that was not checked yet has nothing of.
        wait_for(&proxy, "a check has passed", || {
            through(address, STATISTICS).is_some_and(|statistics| statistics.text().contains("L7OK"))
        });
        assert_eq!(through(address, "/livez").map(|answer| answer.status), Some(200), "{check}");
    }
}

/// The output of promtool's linter, which reads metrics as Go's parser of the text format does.
fn promtool(metrics: &str) -> (bool, String) {
    let mut command = Command::new("promtool");
    let command = command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is installed");
    child.stdin.take().expect("stdin is a pipe").write_all(metrics.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("a child can be waited for");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn promtool_reads_the_text_format_and_finds_nothing_to_blame() {
    let (_broker, service) = service();
    for accept in ["*/*", "text/plain;version=0.0.4"] {
        let answer = service.request_with("GET", "/metrics", &[("Accept", accept)]);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        assert!(answer.text().contains("# TYPE devstatus_build_info gauge\n"), "{}", answer.text());
        let (passes, said) = promtool(answer.text());
        assert!(passes, "{said}");
    }
}

/// Prometheus that scrapes the service; gives where it is asked.
fn prometheus(service: SocketAddr, directory: TempDir) -> (Program, SocketAddr) {
    let port = Port::take();
    let address = SocketAddr::from(([127, 0, 0, 1], port.number));
    let configuration = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: devstatus\n  static_configs:\n  - targets: ['{service}']\n"
    );
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("prometheus.yml"), configuration).expect("a file can be written");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", at("prometheus.yml")));
    command.arg(format!("--storage.tsdb.path={}", at("data")));
    command.arg(format!("--web.listen-address={address}"));
    (Program::start(command, directory, port), address)
}

#[test]
fn prometheus_scrapes_the_service() {
    let (_broker, service) = service();
    let (program, address) =
        prometheus(service.address(), tempfile::tempdir().expect("a directory can be made"));
    let query = |expression: &str| -> Option<serde_json::Value> {
        let mut stream = std::net::TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let path = format!("/api/v1/query?query={expression}");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let value: serde_json::Value = serde_json::from_str(body).ok()?;
        value["data"]["result"].get(0).map(|result| result["value"][1].clone())
    };
    wait_for(&program, "the target is up", || query("up") == Some("1".into()));
    wait_for(&program, "a metric is kept", || query("devstatus_build_info") == Some("1".into()));
}

/// The statuses of so many requests with a wrong key, from one of this machine's addresses through the proxy.
fn guesses(from: [u8; 4], proxy: SocketAddr, count: usize, headers: &[(&str, &str)]) -> Vec<u16> {
    let mut connection = Connection::over(http::connect_from(from.into(), proxy));
    let headers = [headers, &[("Authorization", "Bearer a-org-x.y")]].concat();
    let answers = (0..count).map(|_| {
        connection.send(&http::request_with("GET", "/pump/1", &headers));
        connection.receive("GET").expect("each is answered").status
    });
    answers.collect()
}

#[test]
fn limits_by_address_count_for_the_clients_of_a_trusted_proxy() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    keys.create("read");
    let trusted = ["--trusted-proxy", "127.0.0.1"];
    let forwarded = "  http-request add-header Forwarded for=%[src]";
    for (arguments, backend, server_options) in [
        (&[][..], "  option forwardfor", ""),
        (&["--forwarded-header", "Forwarded"], forwarded, ""),
        (&["--proxy-protocol"], "", "send-proxy"),
        (&["--proxy-protocol"], "", "send-proxy-v2"),
    ] {
        let service = keys.launch(&broker.url()).arguments(&trusted).arguments(arguments).start();
        let (proxy, address) = haproxy(service.address(), backend, server_options);
        wait_for(&proxy, "haproxy listens", || {
            through(address, "/livez").is_some_and(|answer| answer.status == 200)
        });
        // What a client says of itself changes nothing.
        let lies = [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")];
        let many = guesses([127, 0, 0, 2], address, 500, &lies);
        assert!(many[0] == 401 && many.contains(&429), "{backend} {server_options}: {many:?}");
        assert_eq!(
            guesses([127, 0, 0, 3], address, 1, &lies),
            [401],
            "{backend} {server_options}: another client"
        );
    }
    let service = keys.launch(&broker.url()).start();
    let (proxy, address) = haproxy(service.address(), "  option forwardfor", "");
    wait_for(&proxy, "haproxy listens", || {
        through(address, "/livez").is_some_and(|answer| answer.status == 200)
    });
    assert!(guesses([127, 0, 0, 2], address, 500, &[]).contains(&429));
    assert!(
        guesses([127, 0, 0, 3], address, 20, &[]).contains(&429),
        "a proxy that is not trusted is one client"
    );
}

#[test]
fn a_connection_of_a_trusted_proxy_without_a_proxy_header_is_closed_and_others_send_none() {
    let broker = Mosquitto::start();
    let service =
        Launch::to(&broker.url()).arguments(&["--trusted-proxy", "127.0.0.2", "--proxy-protocol"]).start();
    let mut proxy = Connection::over(http::connect_from([127, 0, 0, 2].into(), service.address()));
    proxy.send(&http::request("GET", "/livez"));
    assert!(proxy.is_closed());
    let mut announced = Connection::over(http::connect_from([127, 0, 0, 2].into(), service.address()));
    announced.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n");
    announced.send(&http::request("GET", "/livez"));
    assert_eq!(announced.receive("GET").expect("it is answered").status, 200);
    assert_eq!(service.get("/livez").status, 200);
    service.wait_until("it is counted", || {
        service.get("/metrics").text().contains("connections_cut_total{reason=\"proxy_protocol\"} 1\n")
    });
}
