//! A service without a broker: what is around the resources, and the resources on a connection of the test's own. Its
//! parts are for the tests of other files, too.

mod openapi;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::router::resources;
use presence::DeviceName;
use presence::history::{EventPage, HistoryPosition, HistoryRow};
use server::feed::Feed;
use server::health::{Health, ReadyOn};
use server::http_settings::HttpSettings;
use server::metrics::Metrics;
use server::series::SeriesReader;
use serving::api::ApiParts;
use serving::middleware::guard::Guard;
use serving::middleware::surround::surrounded;
use serving::network::direct::App;
use serving::network::server::Server;
use store::memory::MemoryStore;
use store::{ReadHistory, Retention, StoreError};

use serving::testing::has_metric_line;
pub use serving::testing::{PATIENCE, ask};

/// Resources of a test's own.
pub type Resources = Router<Context>;

/// What the answers are made from, and what is counted.
pub struct Fixture {
    pub context: Context,
    pub metrics: Metrics,
    guard: Arc<Guard>,
}

impl Fixture {
    pub fn new(settings: &HttpSettings) -> Self {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let health = Arc::new(Health::new(ReadyOn::Unproven));
        let feed = Arc::new(Feed::new(settings.streams, Arc::clone(&health), metrics.clone()));
        let context = Context::new(ApiParts {
            map: Arc::default(),
            read_through: None,
            health,
            registry: Arc::new(registry),
            requests: metrics.requests.clone(),
            replay_limits: [].into(),
            formats: Box::new([Arc::default()]),
            organization: "org".into(),
            history: Arc::new(HistoryAfter(|_, _| Ok(None))),
            series: Arc::new(SeriesReader::new(Arc::new(MemoryStore::new(Retention { per_device: 1 })))),
            feed,
            removals: server::removal::queue().0,
            webhooks: Default::default(),
            alerts: Default::default(),
            history_retention: Duration::from_secs(1),
        });
        let guard = Arc::new(Guard::new(settings, metrics.http.clone()));
        Self { context, metrics, guard }
    }

    /// All resources and some more, with everything around them.
    pub fn router(&self, more: Resources) -> Router {
        let resources = resources(&self.guard).merge(more);
        let requests = self.context.requests.clone();
        surrounded(resources.with_state(self.context.clone()), requests, Arc::clone(&self.guard), &[])
    }

    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Whether this line is among the metrics.
    pub fn counts(&self, line: &str) -> bool {
        has_metric_line(&self.context.registry, line)
    }
}

/// A history that tells nothing of one device, and of all of them after an event what it is made with.
pub struct HistoryAfter<F>(pub F);

impl<F> ReadHistory for HistoryAfter<F>
where
    F: Fn(HistoryPosition, usize) -> Result<Option<EventPage>, StoreError> + Send + Sync,
{
    fn history(
        &self,
        _: DeviceName,
        _: Option<u64>,
        _: usize,
    ) -> BoxFuture<'_, Result<Vec<HistoryRow>, StoreError>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn events(
        &self,
        after: HistoryPosition,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<EventPage>, StoreError>> {
        std::future::ready(self.0(after, limit)).boxed()
    }
}

const SECRET: &str = "what no client may read";

async fn fails() -> &'static str {
    panic!("{SECRET}")
}

async fn fails_while_it_answers() -> Body {
    let blocks = stream::iter(["begun", SECRET]).map(|block| match block {
        SECRET => panic!("{SECRET}"),
        block => Ok::<_, std::convert::Infallible>(Bytes::from(block)),
    });
    Body::from_stream(blocks)
}

#[tokio::test]
async fn a_panic_is_a_problem_for_one_request_and_never_a_text_for_its_client() {
    let settings = HttpSettings::default();
    let fixture = Fixture::new(&settings);
    let more = Router::new().route("/fails", get(fails)).route("/fails/later", get(fails_while_it_answers));
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let http = fixture.metrics.http.clone();
    let app = App { router: fixture.router(more), direct: None };
    let server = Server::new(listener, app, &settings, None, http, shutdown.clone());
    let serving = tokio::spawn(server.run());
    let connect = async || TcpStream::connect(address).await.unwrap();

    let mut client = connect().await;
    let answer = ask(&mut client, "/fails").await.unwrap();
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.head.contains("content-type: application/problem+json\r\n"), "{answer:?}");
    assert!(answer.head.contains("x-content-type-options: nosniff\r\n"), "{answer:?}");
    let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(problem["type"], "urn:devstatus:problem:fault");
    assert!(!answer.body.contains(SECRET), "{answer:?}");
    assert_eq!(ask(&mut client, "/livez").await.unwrap().status, 200, "the connection goes on");

    // The answer has begun, so there is no other: the client sees that it is not whole.
    let mut broken = connect().await;
    broken.write_all(b"GET /fails/later HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut read = Vec::new();
    // Whether the connection is closed or reset is the kernel's choice.
    let _ = timeout(PATIENCE, broken.read_to_end(&mut read)).await.expect("the connection ends");
    let read = String::from_utf8(read).unwrap();
    assert!(!read.ends_with("0\r\n\r\n") && !read.contains(SECRET), "{read}");

    let metrics = ask(&mut connect().await, "/metrics").await.unwrap();
    assert!(metrics.body.contains("devstatus_http_panics_total 2\n"), "{}", metrics.body);
    shutdown.cancel();
    timeout(PATIENCE, serving).await.expect("the server ends").unwrap();
}
