//! What is around the resources, on a connection of the test's own: a service without a broker, with all resources and some more.

mod openapi;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::router::resources;
use http_views::context::Context;
use http_views::testing::Fixture;
use server::http_settings::HttpSettings;
use serving::middleware::surround::surrounded;
use serving::network::direct::App;
use serving::network::server::Server;
use serving::testing::{PATIENCE, ask};

/// Resources of a test's own.
pub type Resources = Router<Context>;

/// All resources and some more, with everything around them.
pub fn router(fixture: &Fixture, more: Resources) -> Router {
    let resources = resources(fixture.guard()).merge(more);
    let context = fixture.context.clone();
    let requests = context.requests.clone();
    surrounded(resources.with_state(context), requests, Arc::clone(fixture.guard()), &[])
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
    let app = App { router: router(&fixture, more), direct: None };
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
