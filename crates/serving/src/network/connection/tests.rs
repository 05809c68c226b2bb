//! Connections from their first byte to their last: slow readers, slow writers, those that give way.

use axum::Router;
use axum::routing::get;
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::network::direct::Direct;
use crate::network::plain_request::PlainRequest;
use crate::tests::{Fixture, PATIENCE, ask};
use server::http_settings::HttpSettings;

const LARGE: usize = 1 << 20;

/// Answers `/plain` before the library.
struct PlainAnswers;

const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain";

impl Direct for PlainAnswers {
    fn answer(&self, request: &[u8], _peer: IpAddr, answer: &mut Vec<u8>) -> Option<std::time::Instant> {
        (PlainRequest::read(request)?.path == "/plain").then(|| {
            answer.extend_from_slice(PLAIN.as_bytes());
            std::time::Instant::now()
        })
    }
}

/// Both kinds of connection: one that the library has from the beginning, and one that it gets with the first request that is not
/// plain.
fn both_ways() -> [Option<Arc<dyn Direct>>; 2] {
    [None, Some(Arc::new(PlainAnswers))]
}

async fn large() -> String {
    "x".repeat(LARGE)
}

/// A service that cuts a client off after so long, and a connection to it that holds little of a large answer.
fn connected(fixture: &Fixture, write: Duration) -> (impl Future<Output = ()> + use<>, DuplexStream) {
    let (ours, theirs) = duplex(64 * 1024);
    let app = App { router: fixture.router(Router::new().route("/large", get(large))), direct: None };
    let metrics = fixture.metrics.http.clone();
    let timeouts = ClientTimeouts { write, ..ClientTimeouts::default() };
    let served = ServeContext { app, metrics, shutdown: CancellationToken::new(), timeouts };
    let client =
        ConnectedClient { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress: Arc::default() };
    (served.connection(ours, client), theirs)
}

const SLOW_READER: &str = "devstatus_http_connections_cut_total{reason=\"slow_reader\"}";

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_off() {
    let fixture = Fixture::new(&HttpSettings::default());
    let (serving, mut client) = connected(&fixture, Duration::from_millis(50));
    client.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    timeout(PATIENCE, serving).await.expect("the connection ends by itself");
    assert!(fixture.counts(&format!("{SLOW_READER} 1")));
    let mut taken = Vec::new();
    client.read_to_end(&mut taken).await.unwrap();
    assert!((1..LARGE).contains(&taken.len()), "what was on its way is all: {}", taken.len());
}

#[tokio::test]
async fn a_client_that_takes_its_answer_gets_all_of_it() {
    let fixture = Fixture::new(&HttpSettings::default());
    let (serving, mut client) = connected(&fixture, PATIENCE);
    let serving = tokio::spawn(serving);
    let answer = ask(&mut client, "/large").await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, LARGE));
    drop(client);
    timeout(PATIENCE, serving).await.expect("the connection ends with its client").unwrap();
    assert!(fixture.counts(&format!("{SLOW_READER} 0")));
}

/// A socket of which the runtime does not know yet that there is something to read: so it is when the first look at it fails.
struct Unseen {
    stream: DuplexStream,
    is_seen: bool,
}

impl AsyncRead for Unseen {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if std::mem::replace(&mut self.is_seen, true) {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Unseen {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What a client gets that has sent so much when its connection is told to give way before it was looked at.
async fn answer_of_a_yielding_connection(sent: &[u8], direct: Option<Arc<dyn Direct>>) -> String {
    let fixture = Fixture::new(&HttpSettings::default());
    let app = App { router: fixture.router(Router::new()), direct };
    let metrics = fixture.metrics.http.clone();
    let timeouts = ClientTimeouts { write: PATIENCE, ..ClientTimeouts::default() };
    let served = ServeContext { app, metrics, shutdown: CancellationToken::new(), timeouts };
    let (stream, mut client) = duplex(64 * 1024);
    client.write_all(sent).await.unwrap();
    let progress = Arc::new(StreamProgress::default());
    progress.signals.give(Signal::GiveWay);
    let whose = ConnectedClient { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress };
    let serving = tokio::spawn(served.connection(Unseen { stream, is_seen: false }, whose));
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("the connection ends").unwrap();
    drop(client);
    serving.await.unwrap();
    answer
}

#[tokio::test]
async fn a_request_that_has_come_is_answered_before_its_connection_gives_way() {
    for direct in both_ways() {
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let answer = answer_of_a_yielding_connection(request, direct.clone()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        for sent in [&b""[..], b"GET /livez HT"] {
            let answer = answer_of_a_yielding_connection(sent, direct.clone()).await;
            assert_eq!(answer, "", "there is nothing to answer");
        }
    }
    let plain = b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(answer_of_a_yielding_connection(plain, Some(Arc::new(PlainAnswers))).await, PLAIN);
}

/// What a client gets that sends so much and no more, from a service whose timeouts ends soon.
async fn answer_to_a_waiting_client(
    timeouts: ClientTimeouts,
    sent: &[u8],
    direct: Option<Arc<dyn Direct>>,
) -> (String, Fixture) {
    let fixture = Fixture::new(&HttpSettings::default());
    let app = App { router: fixture.router(Router::new()), direct };
    let metrics = fixture.metrics.http.clone();
    let served = ServeContext { app, metrics, shutdown: CancellationToken::new(), timeouts };
    let (stream, mut client) = duplex(64 * 1024);
    let whose =
        ConnectedClient { peer: [192, 0, 2, 1].into(), good_for: Use::Anything, progress: Arc::default() };
    let serving = tokio::spawn(served.connection(stream, whose));
    client.write_all(sent).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("the connection ends").unwrap();
    drop(client);
    serving.await.unwrap();
    (answer, fixture)
}

const SLOW_HEADS: &str = "devstatus_http_requests_refused_total{reason=\"slow_headers\"}";

#[tokio::test]
async fn a_connection_without_requests_ends_in_silence() {
    let timeouts = ClientTimeouts { idle: Duration::from_millis(50), ..ClientTimeouts::default() };
    for direct in both_ways() {
        let (answer, fixture) = answer_to_a_waiting_client(timeouts, b"", direct.clone()).await;
        assert_eq!(answer, "");
        assert!(fixture.counts(&format!("{SLOW_HEADS} 0")));
        let request = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let (answer, _) = answer_to_a_waiting_client(timeouts, request, direct).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.matches("HTTP/1.1").count() == 1, "{answer}");
    }
    let plain = b"GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (answer, _) = answer_to_a_waiting_client(timeouts, plain, Some(Arc::new(PlainAnswers))).await;
    assert_eq!(answer, PLAIN);
}

#[tokio::test]
async fn headers_that_do_not_end_are_answered_and_counted() {
    let timeouts = ClientTimeouts { head: Duration::from_millis(50), ..ClientTimeouts::default() };
    for direct in both_ways() {
        for sent in
            ["G", "GET /livez HTTP/1.1\r\nHost: localhost\r\n", "GET /plain HTTP/1.1\r\nHost: localhost\r\n"]
        {
            let (answer, fixture) =
                answer_to_a_waiting_client(timeouts, sent.as_bytes(), direct.clone()).await;
            assert!(answer.contains("HTTP/1.1 408 Request Timeout\r\n"), "{answer}");
            assert!(fixture.counts(&format!("{SLOW_HEADS} 1")));
        }
    }
}

#[tokio::test]
async fn a_stop_waits_for_a_plain_answer_that_is_half_sent() {
    let fixture = Fixture::new(&HttpSettings::default());
    let app = App { router: fixture.router(Router::new()), direct: Some(Arc::new(PlainAnswers)) };
    let metrics = fixture.metrics.http.clone();
    let served = ServeContext {
        app,
        metrics,
        shutdown: CancellationToken::new(),
        timeouts: ClientTimeouts::default(),
    };
    // Less than the answer.
    let (stream, mut client) = duplex(PLAIN.len() - 10);
    let progress = Arc::new(StreamProgress::default());
    let whose = ConnectedClient {
        peer: [192, 0, 2, 1].into(),
        good_for: Use::Anything,
        progress: Arc::clone(&progress),
    };
    let serving = tokio::spawn(served.connection(stream, whose));
    client.write_all(b"GET /plain HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0];
    client.read_exact(&mut first).await.unwrap();
    progress.signals.give(Signal::Stop);
    let mut rest = String::new();
    timeout(PATIENCE, client.read_to_string(&mut rest)).await.expect("the connection ends").unwrap();
    assert_eq!(rest, PLAIN[1..]);
    drop(client);
    serving.await.unwrap();
}

#[test]
fn the_answer_to_slow_headers_is_one() {
    let text = std::str::from_utf8(SLOW_HEADERS).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["status"], 408);
}
