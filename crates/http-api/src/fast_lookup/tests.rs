//! The same requests to a connection with the fast lookup and to one without: the answers are the same bytes. A connection of HTTP/2
//! answers the same, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tests::router;
use http_views::testing::Fixture;
use presence::payload::Payload;
use presence::{EventKind, Moment, PresenceEvent, UnixSeconds};
use server::access::{ApiKey, Digest, FileContent, Scopes};
use server::freshness::RoundNumber;
use server::health::{PopulationReport, PopulationState};
use server::http_settings::HttpSettings;
use server::registry::{Arrival, Provenance};
use serving::network::connection::{ClientTimeouts, ConnectedClient, ServeContext};
use serving::network::direct::App;
use serving::network::places::Use;
use serving::testing::PATIENCE;

const KEY: &str = "Bearer a-org-x.secret";
const READ_NOTHING: &str = "Bearer a-org-y.secret";

/// Asked last on each connection, which ends with it.
const LAST: &str = "/livez";

/// A request as it is written, and whether the fast lookup answers it where everybody may ask.
struct Case {
    request: String,
    is_direct: bool,
}

fn case(is_direct: bool, line: &str, headers: &str) -> Case {
    Case { request: format!("{line} HTTP/1.1\r\n{headers}\r\n"), is_direct }
}

/// Good requests and bad ones.
fn corpus() -> Vec<Case> {
    let host = "Host: localhost\r\n";
    let plain = |is_direct, line: &str| case(is_direct, line, host);
    let with = |is_direct, headers: &str| case(is_direct, "GET /pump/1", &format!("{host}{headers}\r\n"));
    let mut corpus = vec![
        plain(true, "GET /pump/1"),
        plain(true, "HEAD /pump/1"),
        plain(true, "GET /pump/2"),
        plain(false, "GET /pump/2?x=/y&%41"),
        plain(true, "GET /pump/unknown"),
        plain(true, "HEAD /pump/unknown"),
        plain(false, "GET http://localhost/pump/1"),
        plain(true, "GET /pump/~a.b_c:d@e"),
        plain(true, "GET /assets/x"),
        plain(false, "GET /pump/large"),
        plain(false, "GET /p%75mp/1"),
        plain(false, "GET /pump/%2B"),
        plain(false, "GET /pump/+"),
        plain(false, "GET /pump/%ff"),
        plain(false, "GET /pump/"),
        plain(false, "GET //1"),
        plain(false, "GET /pump"),
        plain(false, "GET /pump/1/"),
        plain(false, "GET /pump/./1"),
        plain(false, "GET /api/v2"),
        plain(false, "GET /.well-known/security.txt"),
        plain(false, "GET /livez"),
        plain(true, "GET /api/v1/devices/pump/1"),
        plain(true, "HEAD /api/v1/devices/pump/2"),
        plain(true, "GET /api/v1/devices/pump/unknown"),
        plain(true, "GET /api/v1/devices/api/v2"),
        plain(false, "GET /api/v1/devices/pump/1?x=1"),
        plain(false, "GET /api/v1/devices/pump/1/other"),
        plain(false, "GET /api/v1/devices/pump"),
        plain(false, "GET /api/v1/devices//1"),
        plain(false, "DELETE /api/v1/devices/pump/unknown"),
        plain(false, "POST /pump/1"),
        plain(false, "OPTIONS /pump/1"),
        plain(false, &format!("GET /pump/{}", "x".repeat(1_000))),
        plain(false, &format!("GET /pump/1?{}", "x".repeat(9_000))),
        case(false, "GET /pump/1", ""),
        case(false, "GET /pump/1", "Host: a\r\nHost: b\r\n"),
        case(false, "GET /pump/1", "Host: evil.example\r\n"),
        case(false, "HEAD /pump/1", "Host: evil.example\r\n"),
        case(false, "GET /pump/1", "Host: a b\r\n"),
        case(true, "GET /pump/1", "host:LOCALHOST:5000 \r\n"),
        case(true, "GET /pump/1", "Host: [::1]:80\r\n"),
        case(false, "GET /pump/1", "Host: localhost\r\nContent-Length: 2\r\n\r\nab"),
        with(true, "User-Agent: curl/8\r\nAccept: */*"),
        with(true, "Accept-Encoding: gzip, br\r\nConnection: keep-alive\r\nAccept: text/html"),
        with(false, "Origin: http://evil.example"),
        with(false, "Sec-Fetch-Mode: cors"),
        with(false, "Cookie: __Host-devstatus=x"),
        with(false, "Connection: close"),
        with(false, "X-Forwarded-For: 198.51.100.7"),
        with(false, &format!("X-Large: {}", "x".repeat(17_000))),
        with(true, "Authorization: Bearer a-org-x.wrong"),
        with(true, "Authorization: Digest x"),
        with(true, "Authorization: Basic \u{e4}"),
        with(true, &format!("Authorization: {KEY}")),
        with(false, &format!("Authorization: {KEY}\r\nAuthorization: {KEY}")),
        with(true, &format!("Authorization: {READ_NOTHING}")),
    ];
    corpus.push(Case { request: "GET /pump/1 HTTP/1.0\r\n\r\n".to_owned(), is_direct: false });
    corpus.push(Case { request: "GET /pump/1 HTTP/1.1\nHost: localhost\n\n".to_owned(), is_direct: false });
    corpus.push(Case {
        request: "\r\nGET /pump/1 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        is_direct: false,
    });
    corpus
}

/// A service that holds some devices.
fn service(settings: &HttpSettings) -> Fixture {
    let fixture = Fixture::new(settings);
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let large = format!("{{\"Action\":\"Connect\",\"Text\":\"{}\"}}", "x".repeat(20_000));
    let devices = [
        ("1", EventKind::Connect, "{\"Action\":\"Connect\"}"),
        ("2", EventKind::Disconnect, "{\"Action\":\"Disconnect\"}"),
        ("~a.b_c:d@e", EventKind::Connect, ""),
        ("+", EventKind::Connect, "not JSON"),
        ("large", EventKind::Connect, &large),
    ];
    for (id, kind, message) in devices {
        let at = Moment::from_nanos(1_000_000_000);
        let payload = Payload::pack(message.as_bytes());
        let event = PresenceEvent { kind, session: at, time: at, close_code: 0, payload };
        fixture.context.map.apply(Device { device_type: "pump", id }, event, arrival);
    }
    fixture
}

fn populate(fixture: &Fixture) {
    fixture.context.health.population_done(PopulationReport {
        state: PopulationState::Complete,
        evidence: "test",
        types_total: 1,
        types_proven: 1,
        types: Vec::new(),
    });
}

fn put_keys_in_force(fixture: &Fixture) {
    let key = |id: &str, scopes| ApiKey {
        id: id.to_owned(),
        name: String::new(),
        scopes,
        digest: Digest::of(b"secret"),
        created_at: UnixSeconds(1),
        expires_at: None,
    };
    let keys = vec![key("a-org-x", Scopes::read_only()), key("a-org-y", Scopes::default())];
    fixture.guard().put_in_force(FileContent { keys, sha256: Digest::of(b"file") });
}

/// Everything that the service answers to a request and, once that has come, to one more on a connection of their own, without
/// the time of day.
async fn answer(fixture: &Fixture, direct: Option<Arc<dyn Direct>>, request: &str) -> String {
    let (ours, mut theirs) = duplex(64 * 1024);
    let served = ServeContext {
        app: App { router: router(fixture, Router::new()), direct },
        metrics: fixture.metrics.http.clone(),
        shutdown: CancellationToken::new(),
        timeouts: ClientTimeouts::default(),
    };
    let client =
        ConnectedClient { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress: Arc::default() };
    let serving = tokio::spawn(served.connection(ours, client));
    theirs.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = whole_answer(&mut theirs, request.starts_with("HEAD ")).await;
    let last = format!("GET {LAST} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // After some bad requests the connection has ended.
    let _ = theirs.write_all(last.as_bytes()).await;
    timeout(PATIENCE, theirs.read_to_end(&mut bytes)).await.expect("the connection ends").unwrap();
    drop(theirs);
    timeout(PATIENCE, serving).await.expect("the service ends it, too").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

/// The request in HTTP/2; `None`: it cannot be said there.
fn in_http2(request: &str) -> Option<Request<Full<Bytes>>> {
    let mut headers = [httparse::EMPTY_HEADER; 16];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(request.as_bytes()).ok()? else { return None };
    let (method, path) = (head.method?, head.path?);
    let hosts = head.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let [host] = hosts.collect::<Vec<_>>()[..] else { return None };
    let host = std::str::from_utf8(host.value).ok()?;
    if head.version != Some(1) || !path.starts_with('/') {
        return None;
    }
    let uri = Uri::builder().scheme("https").authority(host).path_and_query(path).build().ok()?;
    let mut builder = Request::builder().method(method).uri(uri);
    for header in head.headers.iter() {
        if !["host", "connection", "content-length"].contains(&&*header.name.to_ascii_lowercase()) {
            builder = builder.header(header.name, header.value);
        }
    }
    builder.body(Full::from(request[length..].to_owned())).ok()
}

/// Status, headers in order of their names, and body of the answer in HTTP/2, and then one more request as [`answer`] has it.
async fn answer_in_http2(fixture: &Fixture, request: Request<Full<Bytes>>) -> Vec<String> {
    let (ours, theirs) = duplex(64 * 1024);
    let served = ServeContext {
        app: App { router: router(fixture, Router::new()), direct: None },
        metrics: fixture.metrics.http.clone(),
        shutdown: CancellationToken::new(),
        timeouts: ClientTimeouts::default(),
    };
    let client =
        ConnectedClient { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress: Arc::default() };
    let serving = tokio::spawn(served.http2(ours, client));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(theirs)).await.expect("the service agrees");
    tokio::spawn(connection);
    let response = timeout(PATIENCE, sender.send_request(request)).await.expect("an answer comes").unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("all of it comes").to_bytes();
    let last = Request::get(format!("https://localhost{LAST}")).body(Full::default()).unwrap();
    let last = timeout(PATIENCE, sender.send_request(last)).await.expect("an answer comes").unwrap();
    assert_eq!(last.status(), 200);
    last.into_body().collect().await.expect("all of it comes");
    drop(sender);
    timeout(PATIENCE, serving).await.expect("the connection ends").unwrap();
    let headers = head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let mut lines: Vec<_> = headers.filter(|line| !line.starts_with("date: ")).collect();
    lines.sort();
    lines.insert(0, head.status.as_u16().to_string());
    lines.push(String::from_utf8(body.to_vec()).unwrap());
    lines
}

/// The same of the first answer of a connection of HTTP/1.1.
fn first_of(answers: &str) -> Vec<String> {
    let (head, rest) = answers.split_once("\r\n\r\n").expect("headers end");
    let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
    let status = lines.remove(0)["HTTP/1.1 ".len()..][..3].to_owned();
    lines.sort();
    lines.insert(0, status);
    // The last request is answered behind it.
    lines.push(rest.rsplit_once("HTTP/1.1 200 OK").map_or(rest, |(body, _)| body).to_owned());
    lines
}

/// One answer, or what comes before the end of the connection.
async fn whole_answer(client: &mut (impl AsyncRead + Unpin), is_head: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut whole = None;
    while whole.is_none_or(|whole| bytes.len() < whole) {
        let Ok(byte) = timeout(PATIENCE, client.read_u8()).await.expect("an answer comes") else { break };
        bytes.push(byte);
        if whole.is_none() && bytes.ends_with(b"\r\n\r\n") {
            let head = std::str::from_utf8(&bytes).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.filter(|_| !is_head).map_or(0, |length| length.parse().unwrap());
            whole = Some(bytes.len() + length);
        }
    }
    bytes
}

/// Sends every request of the corpus both ways, and in HTTP/2, to a service each that differ in nothing else.
async fn compare(settings: &HttpSettings, prepare: impl Fn(&Fixture)) -> Vec<String> {
    let (mut answers, mut compared) = (Vec::new(), 0);
    for Case { request, is_direct } in corpus() {
        let (fast, routed) = (service(settings), service(settings));
        prepare(&fast);
        prepare(&routed);
        let lookup = FastLookup::new(&fast.context, fast.guard(), &[]).unwrap();
        let direct = Arc::new(Counted { lookup, answered: AtomicUsize::new(0) });
        let answered = answer(&fast, Some(Arc::clone(&direct) as _), &request).await;
        // With keys it does not matter by which name a service is asked.
        let by_any_name = fast.guard().keyring.is_in_use() && request.contains("Host: evil.example\r\n\r\n");
        let expected = usize::from(is_direct || by_any_name);
        assert_eq!(direct.answered.load(Ordering::Relaxed), expected, "{request:.200}");
        assert_eq!(answered, answer(&routed, None, &request).await, "{request:.200}");
        let difference: Vec<_> = counted(&fast).symmetric_difference(&counted(&routed)).cloned().collect();
        assert_eq!(difference, Vec::<String>::new(), "{request:.200}");
        // A connection that is to be closed says so in HTTP/1.1 only.
        let first = first_of(&answered);
        let ends = first.iter().any(|line| line == "connection: close");
        if let Some(in_http2) = in_http2(&request).filter(|_| !ends) {
            let multiplexed = service(settings);
            prepare(&multiplexed);
            let in_frames = answer_in_http2(&multiplexed, in_http2).await;
            assert_eq!(in_frames, first, "{request:.200}");
            let difference: Vec<_> =
                counted(&multiplexed).symmetric_difference(&counted(&fast)).cloned().collect();
            assert_eq!(difference, Vec::<String>::new(), "{request:.200}");
            compared += 1;
        }
        answers.push(answered);
    }
    assert!(compared > 40, "{compared} of them can be said in HTTP/2");
    answers
}

/// The counters of requests: the durations themselves differ.
fn counted(fixture: &Fixture) -> BTreeSet<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &fixture.context.registry).unwrap();
    let is_counter = |line: &&str| {
        line.starts_with("devstatus_http_") && !line.contains("_seconds_sum") && !line.contains("_bucket")
    };
    text.lines().filter(is_counter).map(str::to_owned).collect()
}

/// The fast lookup, and how often it has answered.
struct Counted {
    lookup: FastLookup,
    answered: AtomicUsize,
}

impl Direct for Counted {
    fn answer(&self, request: &[u8], peer: IpAddr, answer: &mut Vec<u8>) -> Option<Instant> {
        let answered = self.lookup.answer(request, peer, answer);
        self.answered.fetch_add(usize::from(answered.is_some()), Ordering::Relaxed);
        answered
    }
}

#[tokio::test]
async fn the_fast_lookup_answers_as_the_router_does() {
    let settings = HttpSettings::default();
    let answers = compare(&settings, |_| {}).await;
    assert!(answers[4].starts_with("HTTP/1.1 503 "), "{}", answers[4]);
    let answers = compare(&settings, populate).await;
    assert!(answers[0].contains("\r\n\r\n{\"Action\":\"Connect\"}"), "{}", answers[0]);
    assert!(answers[4].contains("devstatus-status: never_connected\r\n"), "{}", answers[4]);
}

#[tokio::test]
async fn the_fast_lookup_marks_what_may_be_out_of_date() {
    let settings = HttpSettings::default();
    let lose_the_link = |fixture: &Fixture| {
        populate(fixture);
        fixture.context.health.link_lost(std::time::Duration::ZERO);
    };
    let answers = compare(&settings, lose_the_link).await;
    assert!(answers[0].contains("devstatus-stale: true\r\n"), "{}", answers[0]);
}

#[tokio::test]
async fn the_fast_lookup_checks_keys_and_rates_once() {
    let answers = compare(&HttpSettings::default(), put_keys_in_force).await;
    assert!(answers[0].starts_with("HTTP/1.1 401 "), "{}", answers[0]);
    let settings = HttpSettings { requests_per_second: 1, ..HttpSettings::default() };
    let fixture = service(&settings);
    let direct: Arc<dyn Direct> = Arc::new(FastLookup::new(&fixture.context, fixture.guard(), &[]).unwrap());
    let request = "GET /pump/1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut answers = String::new();
    // Three in a row: at most one more than one is allowed by a second that ends in between.
    for _ in 0..3 {
        answers += &answer(&fixture, Some(Arc::clone(&direct)), request).await;
    }
    assert!(answers.starts_with("HTTP/1.1 200 "), "{answers}");
    assert!(answers.contains("HTTP/1.1 429 "), "{answers}");
}

/// A service on one end of a pipe that holds few bytes.
fn narrow(fixture: &Fixture, bytes: usize) -> (tokio::task::JoinHandle<()>, tokio::io::DuplexStream) {
    let (ours, theirs) = duplex(bytes);
    let lookup = FastLookup::new(&fixture.context, fixture.guard(), &[]).unwrap();
    let served = ServeContext {
        app: App { router: router(fixture, Router::new()), direct: Some(Arc::new(lookup)) },
        metrics: fixture.metrics.http.clone(),
        shutdown: CancellationToken::new(),
        timeouts: ClientTimeouts::default(),
    };
    let client =
        ConnectedClient { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress: Arc::default() };
    (tokio::spawn(served.connection(ours, client)), theirs)
}

#[tokio::test]
async fn answers_come_whole_and_in_order_however_the_client_reads_and_writes() {
    let fixture = service(&HttpSettings::default());
    populate(&fixture);
    let paths =
        ["/pump/1", "/livez", "/pump/2", "/pump/1", "/pump/unknown", "/pump/2", "/pump/large", "/pump/1"];
    let requests = paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    // In one go, each by itself, and cut anywhere; through a pipe that takes all, and through one that takes less than an answer.
    let all = requests.concat();
    let cuts: Vec<Vec<&str>> = vec![
        vec![&all],
        requests.iter().map(String::as_str).collect(),
        all.as_bytes().chunks(7).map(|piece| std::str::from_utf8(piece).unwrap()).collect(),
    ];
    for (pieces, room) in cuts.iter().flat_map(|pieces| [(pieces, 64 * 1024), (pieces, 100)]) {
        let (serving, client) = narrow(&fixture, room);
        let (mut reader, mut writer) = tokio::io::split(client);
        let write = async {
            for piece in pieces {
                writer.write_all(piece.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let read = async {
            let mut bodies = Vec::new();
            for _ in paths {
                let answer = String::from_utf8(whole_answer(&mut reader, false).await).unwrap();
                bodies.push(answer.split_once("\r\n\r\n").unwrap().1.to_owned());
            }
            bodies
        };
        let ((), bodies) = tokio::join!(write, read);
        let starts = bodies.iter().map(|body| body.get(..20).unwrap_or(body)).collect::<Vec<_>>();
        let connect = "{\"Action\":\"Connect\"}";
        assert_eq!(bodies[0], connect, "{starts:?}");
        assert_eq!((&bodies[2], &bodies[5]), (&bodies[5], &bodies[2]), "{starts:?}");
        assert!(bodies[2].contains("Disconnect") && bodies[4].contains("Never Connected"), "{starts:?}");
        assert_eq!(
            (bodies[3].as_str(), bodies[7].as_str(), bodies[6].len() > 20_000),
            (connect, connect, true)
        );
        drop((reader, writer));
        timeout(PATIENCE, serving).await.expect("the connection ends with its client").unwrap();
    }
}

#[test]
fn where_other_pages_may_read_the_router_answers_all() {
    let fixture = service(&HttpSettings::default());
    let origins = ["https://wall.example".to_owned()];
    assert!(FastLookup::new(&fixture.context, fixture.guard(), &origins).is_none());
}
