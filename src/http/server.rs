//! Connections: accept, bound, serve, and end them all within the time that a stop may take.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::cut::Cut;

/// Open connections. Each costs some ten kilobytes and a file descriptor; further ones wait in the listen queue.
const CONNECTIONS_MAX: usize = 10_000;
/// From the first byte of a request to the end of its headers, and as long for an idle connection to ask again.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Headers of one request.
const HEADERS_MAX_BYTES: usize = 16 * 1024;
/// What the kernel holds of an answer that is not on its way yet. Without a limit it holds megabytes for each client that
/// reads slowly, and some thousands of them take the memory of all sockets.
const UNSENT_MAX_BYTES: u32 = 128 * 1024;
/// How long requests that run may go on once a stop is asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause after a failed accept: mostly there are no file descriptors left, and trying at once only burns the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until shutdown, then lets what runs finish.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, slot)) => {
                let cut = Cut::default();
                let connection = graceful.watch(connection(stream, router.clone(), cut.clone()));
                tokio::spawn(async move {
                    tokio::select! {
                        // A client that breaks off, or sends no HTTP, is its own business.
                        _ = connection => {}
                        () = cut.0.cancelled() => {}
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections were still busy and are cut");
    }
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _address) = listener.accept().await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_MAX_BYTES)?;
    Ok((stream, slot))
}

fn connection(
    stream: TcpStream,
    router: Router,
    cut: Cut,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>,
> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(cut.clone());
        router.clone().call(request)
    });
    // Without `pipeline_flush`: with it, hyper gathers an answer that a slow client does not take without any limit.
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ_TIMEOUT)
        .max_buf_size(HEADERS_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}
