//! Connections of HTTP/2: what they bound, what they count, how they end; with the library's client, and with frames of the test's own.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Extension;
use axum::routing::get;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::network::places::Use;
use crate::tests::{Fixture, PATIENCE};
use server::http_settings::HttpSettings;

const LARGE: usize = 1 << 20;
const SHORT: Duration = Duration::from_millis(50);

/// A service, and one connection to it.
struct Connection {
    fixture: Fixture,
    progress: Arc<StreamProgress>,
    serving: JoinHandle<()>,
    stream: Option<DuplexStream>,
}

impl Connection {
    fn new(timeouts: ClientTimeouts, more: Router) -> Self {
        let fixture = Fixture::new(&HttpSettings::default());
        let (ours, theirs) = duplex(64 * 1024);
        let served = ServeContext {
            app: App { router: fixture.router(more), direct: None },
            metrics: fixture.metrics.http.clone(),
            shutdown: CancellationToken::new(),
            timeouts,
        };
        let progress = Arc::new(StreamProgress::default());
        let client = ConnectedClient {
            peer: [192, 0, 2, 1].into(),
            good_for: Use::Anything,
            progress: Arc::clone(&progress),
        };
        Self { fixture, progress, serving: tokio::spawn(served.http2(ours, client)), stream: Some(theirs) }
    }

    async fn client(&mut self) -> Requester {
        let stream = TokioIo::new(self.stream.take().expect("one client"));
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.expect("the service agrees");
        tokio::spawn(connection);
        Requester(sender)
    }

    /// Frames that no polite client would send.
    fn frames(&mut self) -> Frames {
        Frames(self.stream.take().expect("one client"))
    }

    async fn ends(self, counted: &str) {
        timeout(PATIENCE, self.serving).await.expect("the connection ends").expect("without a fault");
        assert!(self.fixture.counts(counted), "{counted}");
    }
}

struct Requester(SendRequest<Empty<Bytes>>);

impl Requester {
    async fn ask(&mut self, path: &str) -> hyper::Result<Response<Incoming>> {
        self.0.ready().await?;
        let request = Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap();
        timeout(PATIENCE, self.0.send_request(request)).await.expect("an answer comes")
    }

    async fn status(&mut self, path: &str) -> u16 {
        self.ask(path).await.unwrap().status().as_u16()
    }
}

/// A connection that is written frame by frame.
struct Frames(DuplexStream);

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_OF_HEADERS_AND_STREAM: u8 = 5;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;

impl Frames {
    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.0.write_all(&frame).await
    }

    async fn begin(&mut self, settings: &[(u16, u32)]) {
        self.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(setting, value)| [&setting.to_be_bytes()[..], &value.to_be_bytes()[..]].concat())
            .collect();
        self.write(SETTINGS, 0, 0, &payload).await.unwrap();
    }

    async fn get(&mut self, stream: u32, path: &str) -> std::io::Result<()> {
        // GET, https, and two literals of the static table: the path and the authority.
        let mut block = vec![0x82, 0x87, 0x04, u8::try_from(path.len()).unwrap()];
        block.extend(path.as_bytes());
        block.extend([0x01, 9]);
        block.extend(b"localhost");
        self.write(HEADERS, END_OF_HEADERS_AND_STREAM, stream, &block).await
    }

    /// The settings that the service announces.
    async fn settings(&mut self) -> BTreeMap<u16, u32> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        assert_eq!(head[3], SETTINGS);
        let mut payload = vec![0; usize::from(head[2])];
        self.0.read_exact(&mut payload).await.unwrap();
        let setting = |entry: &[u8]| {
            let (id, value) = entry.split_at(2);
            (u16::from_be_bytes(id.try_into().unwrap()), u32::from_be_bytes(value.try_into().unwrap()))
        };
        payload.chunks_exact(6).map(setting).collect()
    }
}

async fn large() -> String {
    "x".repeat(LARGE)
}

/// A resource that says when it is asked, and never answers.
fn silent() -> (Router, UnboundedReceiver<()>) {
    let (sender, asked) = unbounded_channel();
    let handler = move || {
        sender.send(()).expect("the test lives");
        std::future::pending::<()>()
    };
    (Router::new().route("/silent", get(handler)), asked)
}

#[tokio::test]
async fn requests_share_a_connection_and_none_waits_for_another() {
    let (more, mut asked) = silent();
    let mut connection = Connection::new(ClientTimeouts::default(), more.route("/large", get(large)));
    let mut client = connection.client().await;
    let mut other = Requester(client.0.clone());
    let waiting = tokio::spawn(async move { other.ask("/silent").await.is_ok() });
    asked.recv().await.unwrap();
    for _ in 0..3 * STREAMS_MAX {
        assert_eq!(client.status("/livez").await, 200);
    }
    let large = client.ask("/large").await.unwrap();
    assert_eq!(large.headers()["content-length"], LARGE.to_string());
    let body = timeout(PATIENCE, large.into_body().collect()).await.expect("it comes").unwrap();
    assert_eq!(body.to_bytes().len(), LARGE);
    waiting.abort();
    drop(client);
    connection.ends("devstatus_http_panics_total 0").await;
}

#[tokio::test]
async fn limits_are_announced() {
    let mut connection = Connection::new(ClientTimeouts::default(), Router::new());
    let mut frames = connection.frames();
    frames.begin(&[]).await;
    let settings = frames.settings().await;
    assert_eq!(settings[&MAX_CONCURRENT_STREAMS], STREAMS_MAX);
    assert_eq!(settings[&MAX_HEADER_LIST_SIZE], HEAD_MAX_BYTES as u32);
    drop(frames);
    connection.ends("devstatus_http_panics_total 0").await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_one_answer_is_cut_off() {
    let cut = "devstatus_http_connections_cut_total{reason=\"slow_reader\"} 1";
    let timeouts = ClientTimeouts { write: SHORT, ..ClientTimeouts::default() };
    // No room for any answer, and room for the beginning of one.
    for window in [0, 10] {
        let mut connection = Connection::new(timeouts, Router::new().route("/large", get(large)));
        let mut frames = connection.frames();
        frames.begin(&[(INITIAL_WINDOW_SIZE, window)]).await;
        frames.get(1, "/large").await.unwrap();
        connection.ends(cut).await;
    }
}

#[tokio::test]
async fn a_client_that_gives_up_requests_all_the_time_is_cut_off() {
    let (more, mut asked) = silent();
    let mut connection = Connection::new(ClientTimeouts::default(), more);
    let mut frames = connection.frames();
    frames.begin(&[]).await;
    for request in 0..=RESETS_MAX {
        let stream = 2 * request + 1;
        frames.get(stream, "/silent").await.unwrap();
        timeout(PATIENCE, asked.recv()).await.expect("it is asked");
        frames.write(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await.unwrap();
    }
    // Whatever comes next: the connection is not read any further.
    let drained = async { while frames.0.read_u8().await.is_ok() {} };
    timeout(PATIENCE, drained).await.expect("the connection ends");
    connection.ends("devstatus_http_connections_cut_total{reason=\"reset_flood\"} 1").await;
}

#[tokio::test]
async fn an_idle_connection_ends_and_one_gives_way_when_others_need_its_place() {
    let mut connection =
        Connection::new(ClientTimeouts { idle: SHORT, ..ClientTimeouts::default() }, Router::new());
    let mut client = connection.client().await;
    assert_eq!(client.status("/livez").await, 200);
    connection.ends("devstatus_http_connections_cut_total{reason=\"idle\"} 0").await;

    let mut connection = Connection::new(ClientTimeouts::default(), Router::new());
    let mut client = connection.client().await;
    assert_eq!(client.status("/livez").await, 200);
    connection.progress.signals.give(Signal::GiveWay);
    timeout(PATIENCE, connection.serving).await.expect("it gives way").unwrap();
    assert!(client.ask("/livez").await.is_err());
}

#[tokio::test]
async fn at_shutdown_what_runs_is_answered() {
    let (sender, asked) = unbounded_channel();
    let release = CancellationToken::new();
    let handler = {
        let release = release.clone();
        move || async move {
            sender.send(()).expect("the test lives");
            release.cancelled().await;
            "answered"
        }
    };
    let mut asked = asked;
    let mut connection =
        Connection::new(ClientTimeouts::default(), Router::new().route("/slow", get(handler)));
    let mut client = connection.client().await;
    let mut other = Requester(client.0.clone());
    let answer = tokio::spawn(async move { other.status("/slow").await });
    asked.recv().await.unwrap();
    connection.progress.signals.give(Signal::Stop);
    let refused = async { while client.ask("/livez").await.is_ok() {} };
    timeout(PATIENCE, refused).await.expect("no further request is taken");
    release.cancel();
    assert_eq!(answer.await.unwrap(), 200);
    connection.ends("devstatus_http_panics_total 0").await;
}

#[tokio::test]
async fn faults_end_only_their_own_stream() {
    async fn fails() -> &'static str {
        panic!("on purpose")
    }
    async fn breaks_off() -> axum::body::Body {
        let pieces = stream::iter([1, 2]).map(|piece| match piece {
            1 => Ok::<_, Infallible>(Bytes::from_static(b"begun")),
            _ => panic!("on purpose"),
        });
        axum::body::Body::from_stream(pieces)
    }
    async fn is_cut(Extension(Cut(cut)): Extension<Cut>) -> axum::body::Body {
        let pieces = stream::iter([1, 2]).map(move |_| {
            cut.cancel();
            Ok::<_, Infallible>(Bytes::from_static(b"begun"))
        });
        axum::body::Body::from_stream(pieces)
    }
    let more = Router::new()
        .route("/fails", get(fails))
        .route("/breaks-off", get(breaks_off))
        .route("/is-cut", get(is_cut));
    let mut connection = Connection::new(ClientTimeouts::default(), more);
    let mut client = connection.client().await;
    assert_eq!(client.status("/fails").await, 500);
    for path in ["/breaks-off", "/is-cut"] {
        let is_whole = async { client.ask(path).await?.into_body().collect().await };
        let whole = timeout(PATIENCE, is_whole).await.expect("it ends");
        assert!(whole.is_err(), "{path}: the client sees that it is not whole");
    }
    assert_eq!(client.status("/livez").await, 200, "the connection goes on");
    drop(client);
    connection.ends("devstatus_http_panics_total 2").await;
}

#[tokio::test]
async fn headers_are_bounded_and_the_host_is_checked() {
    let mut connection = Connection::new(ClientTimeouts::default(), Router::new());
    let mut client = connection.client().await;
    let ask = async |client: &mut Requester, request: Request<Empty<Bytes>>| {
        timeout(PATIENCE, client.0.send_request(request)).await.expect("an answer comes").unwrap().status()
    };
    let request = |uri: &str| Request::get(uri);
    let large = request("https://localhost/livez").header("x-large", "x".repeat(20_000));
    assert_eq!(ask(&mut client, large.body(Empty::new()).unwrap()).await, 431);
    let same = request("https://localhost/pump/1").header("host", "localhost");
    assert_eq!(ask(&mut client, same.body(Empty::new()).unwrap()).await, 200);
    for (uri, host) in [
        ("https://localhost/pump/1", Some("other.example")),
        ("https://evil.example/pump/1", None),
        ("https://evil.example/pump/1", Some("localhost")),
    ] {
        let mut refused = request(uri);
        if let Some(host) = host {
            refused = refused.header("host", host);
        }
        let status = ask(&mut client, refused.body(Empty::new()).unwrap()).await;
        assert!(status.is_client_error(), "{uri} {host:?}: {status}");
    }
    assert_eq!(client.status("/livez").await, 200);
}
