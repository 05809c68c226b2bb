//! The same requests to a connection with the fast lookup and to one without: the answers are the same bytes.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::serving::connection::{Client, Served};
use crate::serving::direct::App;
use crate::serving::places::Use;
use crate::settings::HttpSettings;
use crate::tests::{Fixture, PATIENCE};
use presence::payload::Payload;
use presence::{EventKind, Moment, PresenceEvent, UnixSeconds};
use server::access::{ApiKey, Digest, FileContent, Scopes};
use server::freshness::RoundNumber;
use server::health::{PopulationReport, PopulationState};
use server::registry::{Arrival, Provenance};

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
    let with = |headers: &str| case(true, "GET /pump/1", &format!("{host}{headers}\r\n"));
    let mut corpus = vec![
        plain(true, "GET /pump/1"),
        plain(true, "HEAD /pump/1"),
        plain(true, "GET /pump/2?x=/y&%41"),
        plain(true, "GET /pump/unknown"),
        plain(true, "HEAD /pump/unknown"),
        plain(true, "GET http://localhost/pump/1"),
        plain(true, "GET /pump/~a.b_c:d@e"),
        plain(true, "GET /assets/x"),
        plain(false, "GET /pump/large"),
        plain(false, "GET /p%75mp/1"),
        plain(false, "GET /pump/%2B"),
        plain(true, "GET /pump/+"),
        plain(false, "GET /pump/%ff"),
        plain(false, "GET /pump/"),
        plain(false, "GET //1"),
        plain(false, "GET /pump"),
        plain(false, "GET /pump/1/"),
        plain(false, "GET /api/v2"),
        plain(false, "GET /.well-known/security.txt"),
        plain(false, "GET /livez"),
        plain(false, "GET /api/v1/devices/pump/1"),
        plain(false, "POST /pump/1"),
        plain(false, "OPTIONS /pump/1"),
        plain(false, &format!("GET /pump/{}", "x".repeat(1_000))),
        plain(true, &format!("GET /pump/1?{}", "x".repeat(9_000))),
        case(true, "GET /pump/1", ""),
        case(true, "GET /pump/1", "Host: a\r\nHost: b\r\n"),
        case(true, "GET /pump/1", "Host: evil.example\r\n"),
        case(true, "HEAD /pump/1", "Host: evil.example\r\n"),
        case(false, "GET /pump/1", "Host: localhost\r\nContent-Length: 2\r\n\r\nab"),
        with("Origin: http://evil.example"),
        with("Connection: close"),
        with("Accept: text/html"),
        with("X-Forwarded-For: 198.51.100.7"),
        with(&format!("X-Large: {}", "x".repeat(17_000))),
        with("Authorization: Bearer a-org-x.wrong"),
        with("Authorization: Digest x"),
        with(&format!("Authorization: {KEY}")),
        with(&format!("Authorization: {READ_NOTHING}")),
    ];
    corpus.push(Case { request: "GET /pump/1 HTTP/1.0\r\n\r\n".to_owned(), is_direct: true });
    corpus
}

/// A service that holds three devices.
fn service(settings: &HttpSettings) -> Fixture {
    let fixture = Fixture::new(settings);
    let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
    let large = format!("{{\"Action\":\"Connect\",\"Text\":\"{}\"}}", "x".repeat(20_000));
    let devices = [
        ("1", EventKind::Connect, "{\"Action\":\"Connect\"}"),
        ("2", EventKind::Disconnect, "{\"Action\":\"Disconnect\"}"),
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

/// Everything that the service answers to a request and one more on a connection of their own, without the time of day.
async fn answer(fixture: &Fixture, direct: Option<Arc<dyn Direct>>, request: &str) -> String {
    let (ours, mut theirs) = duplex(64 * 1024);
    let served = Served {
        app: App { router: fixture.router(Router::new()), direct },
        metrics: fixture.metrics.http.clone(),
        shutdown: CancellationToken::new(),
        write_timeout: PATIENCE,
    };
    let client = Client { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress: Arc::default() };
    let serving = tokio::spawn(served.connection(ours, client));
    let last = format!("GET {LAST} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    theirs.write_all(format!("{request}{last}").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    timeout(PATIENCE, theirs.read_to_end(&mut bytes)).await.expect("the connection ends").unwrap();
    drop(theirs);
    timeout(PATIENCE, serving).await.expect("the service ends it, too").unwrap();
    let text = String::from_utf8(bytes).unwrap();
    text.split_inclusive("\r\n").filter(|line| !line.starts_with("date: ")).collect()
}

/// Sends every request of the corpus both ways, to a service each that differ in nothing else.
async fn compare(settings: &HttpSettings, prepare: impl Fn(&Fixture)) -> Vec<String> {
    let mut answers = Vec::new();
    for Case { request, is_direct } in corpus() {
        let (fast, routed) = (service(settings), service(settings));
        prepare(&fast);
        prepare(&routed);
        let lookup = FastLookup::new(&fast.context, fast.guard(), &[]).unwrap();
        let direct: Arc<dyn Direct> = Arc::new(Answered { lookup, is_direct });
        let answered = answer(&fast, Some(direct), &request).await;
        assert_eq!(answered, answer(&routed, None, &request).await, "{request:.200}");
        let difference: Vec<_> = counted(&fast).symmetric_difference(&counted(&routed)).cloned().collect();
        assert_eq!(difference, Vec::<String>::new(), "{request:.200}");
        answers.push(answered);
    }
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

/// The fast lookup, which answers what the case says and nothing else.
struct Answered {
    lookup: FastLookup,
    is_direct: bool,
}

impl Direct for Answered {
    fn answer(&self, head: &Parts, peer: IpAddr) -> Option<Response<AnswerBody>> {
        let answer = self.lookup.answer(head, peer);
        let is_direct = self.is_direct && head.uri.path() != LAST;
        assert_eq!(answer.is_some(), is_direct, "{} {}", head.method, head.uri);
        answer
    }
}

#[tokio::test]
async fn the_fast_lookup_answers_as_the_router_does() {
    let settings = HttpSettings::default();
    let answers = compare(&settings, |_| {}).await;
    assert!(answers[3].starts_with("HTTP/1.1 503 "), "{}", answers[3]);
    let answers = compare(&settings, populate).await;
    assert!(answers[0].contains("\r\n\r\n{\"Action\":\"Connect\"}"), "{}", answers[0]);
    assert!(answers[3].contains("devstatus-status: never_connected\r\n"), "{}", answers[3]);
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
    assert!(answer(&fixture, Some(Arc::clone(&direct)), request).await.starts_with("HTTP/1.1 200 "));
    // Two at once: at most one more is allowed by a second that ends in between.
    let answers = answer(&fixture, Some(direct), &request.repeat(3)).await;
    assert!(answers.contains("HTTP/1.1 429 "), "{answers}");
}

#[test]
fn where_other_pages_may_read_the_router_answers_all() {
    let fixture = service(&HttpSettings::default());
    let origins = ["https://wall.example".to_owned()];
    assert!(FastLookup::new(&fixture.context, fixture.guard(), &origins).is_none());
}
