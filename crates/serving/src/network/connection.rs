//! One connection of HTTP/1.1 from its first byte to its last, bounded against clients that are slow on purpose.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::cut::Cut;
use super::direct::App;
use super::places::Use;
use super::requests::{AnswerFuture, BusyBody, Peer, Requests};
use super::signals::Signal;
use super::stream::{Idle, StreamProgress, WatchedStream};
use server::metrics::{CutConnection, HttpMetrics, RefusedRequest};

/// What is read of a request before its headers end. The guard refuses less with a sentence; this is for what never ends.
pub const HEAD_MAX_BYTES: usize = 32 * 1024;
/// How long a connection that has to give way is still listened to. A request that has already come is known only after the
/// runtime has asked the system for events, which it does before any timer fires: so the time itself does not matter.
const GIVE_WAY_PAUSE: Duration = Duration::from_millis(1);
/// How long the last bytes may take to a client that has stopped reading.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// What is read and dropped after the last answer: bytes that nobody has read when a socket is closed make the kernel
/// throw the answer away.
const FAREWELL_MAX_BYTES: u64 = 256 * 1024;

/// The answer to headers that do not end.
const SLOW_HEADERS: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\
    content-type: application/problem+json\r\ncontent-length: 152\r\n\r\n\
    {\"type\":\"urn:devstatus:problem:slow-request\",\"title\":\"The request took too long\",\
    \"status\":408,\"detail\":\"The headers have to arrive within ten seconds.\"}";

/// How long a client may keep a connection waiting.
#[derive(Clone, Copy, Debug)]
pub struct ClientTimeouts {
    /// From the first byte of a request to the end of its headers.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
    /// A client that takes nothing of its answer for so long is cut off: what waits for it holds memory.
    pub write: Duration,
}

impl Default for ClientTimeouts {
    /// Idle connections live longer than the minute after which common proxies let go of theirs, so that it is not this side
    /// that closes under a request on its way. Nobody who waits for an answer waits 30 s to take any of it.
    fn default() -> Self {
        Self { head: Duration::from_secs(10), idle: Duration::from_secs(75), write: Duration::from_secs(30) }
    }
}

impl ClientTimeouts {
    /// When it ends, and why the connection is closed then; `None`: a request is being answered.
    fn end(self, progress: &StreamProgress) -> Option<(Instant, CloseReason)> {
        Some(match progress.idle()? {
            Idle::Rest(since) => (since + self.head, CloseReason::SlowHeaders),
            Idle::First(since) | Idle::Next(since) => (since + self.idle, CloseReason::Idle),
        })
    }

    /// Waits for the end. The timer is set only when it has fired, or when it would fire too late: to fire in vain now and then
    /// costs less than to be set with each request.
    pub fn poll(
        self,
        timer: &mut Pin<Box<Sleep>>,
        progress: &StreamProgress,
        cx: &mut Context<'_>,
    ) -> Poll<CloseReason> {
        loop {
            let end = self.end(progress);
            if let Some((end, _)) = end
                && end < timer.deadline()
            {
                timer.as_mut().reset(end);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            match end {
                Some((end, reason)) if end <= now => return Poll::Ready(reason),
                Some((end, _)) => timer.as_mut().reset(end),
                None => timer.as_mut().reset(now + self.idle),
            }
        }
    }
}

/// What a connection is served with.
#[derive(Clone)]
pub struct ServeContext {
    pub app: App,
    pub metrics: HttpMetrics,
    pub shutdown: CancellationToken,
    pub timeouts: ClientTimeouts,
}

/// Whose connection it is, and what it may be used for.
pub struct ConnectedClient {
    pub peer: IpAddr,
    pub good_for: Use,
    pub progress: Arc<StreamProgress>,
}

/// Why the connection ends.
pub enum CloseReason {
    Done(hyper::Result<()>),
    SlowHeaders,
    Idle,
    /// A stream's client reads too slowly.
    Cut,
    /// Another connection takes the place.
    GaveWay,
}

/// A connection that was told to give way.
struct GivingWay {
    /// What it waited for then.
    idle: Option<Idle>,
    timer: Pin<Box<Sleep>>,
}

/// The timeouts and signals by which a connection ends.
struct EndConditions {
    progress: Arc<StreamProgress>,
    timeouts: ClientTimeouts,
    timer: Pin<Box<Sleep>>,
    giving_way: Option<GivingWay>,
    /// The request that runs is the last.
    stopping: bool,
}

impl EndConditions {
    fn new(progress: &Arc<StreamProgress>, timeouts: ClientTimeouts) -> Self {
        Self {
            progress: Arc::clone(progress),
            timeouts,
            timer: Box::pin(sleep_until(Instant::now() + timeouts.idle)),
            giving_way: None,
            stopping: false,
        }
    }

    /// Why the connection is closed, or, once, that the request that runs is the last. It runs for each request, so what is rare
    /// must cost nothing here.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<CloseReason>> {
        if let Poll::Ready(end) = self.timeouts.poll(&mut self.timer, &self.progress, cx) {
            return Poll::Ready(ControlFlow::Break(end));
        }
        if self.stopping {
            return Poll::Pending;
        }
        if !self.progress.signals.take(Signal::Stop)
            && let ControlFlow::Break(end) = ready!(self.poll_give_way(cx))
        {
            return Poll::Ready(ControlFlow::Break(end));
        }
        self.stopping = true;
        Poll::Ready(ControlFlow::Continue(()))
    }

    /// Ready once the connection has been told to give way and time enough for a request that was on its way has passed. A
    /// request that came just then is answered before.
    fn poll_give_way(&mut self, cx: &mut Context<'_>) -> Poll<ControlFlow<CloseReason>> {
        if self.giving_way.is_none() && self.progress.signals.take(Signal::GiveWay) {
            self.giving_way =
                Some(GivingWay { idle: self.progress.idle(), timer: Box::pin(sleep(GIVE_WAY_PAUSE)) });
        }
        let Some(giving_way) = &mut self.giving_way else { return Poll::Pending };
        ready!(giving_way.timer.as_mut().poll(cx));
        let idle = self.progress.idle();
        let still_waits = matches!(idle, Some(Idle::Rest(_))) || idle.is_some() && giving_way.idle == idle;
        Poll::Ready(if still_waits {
            ControlFlow::Break(CloseReason::GaveWay)
        } else {
            ControlFlow::Continue(())
        })
    }

    /// Answers plain requests without the HTTP library. `Continue`: the library goes on.
    fn poll_plain<T>(
        &mut self,
        stream: &mut WatchedStream<T>,
        cx: &mut Context<'_>,
    ) -> Poll<ControlFlow<CloseReason>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        self.progress.signals.register(cx);
        // On an error the library reads again, and finds the error or the end.
        if stream.poll_plain(cx).is_ready() {
            return Poll::Ready(ControlFlow::Continue(()));
        }
        self.poll(cx)
    }
}

/// A connection while the HTTP library serves it.
struct Http1Connection<T>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    connection: http1::Connection<TokioIo<WatchedStream<T>>, Http1Service>,
    ends: EndConditions,
    cut: Cut,
    /// Waits for the cut, from the first request on that the router answers: nothing else can be cut.
    cut_comes: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl<T> Http1Connection<T>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    /// Goes on until nothing is left to do.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        self.ends.progress.signals.register(cx);
        loop {
            if let Poll::Ready(done) = Pin::new(&mut self.connection).poll(cx) {
                return Poll::Ready(CloseReason::Done(done));
            }
            match self.ends.poll(cx) {
                Poll::Ready(ControlFlow::Break(end)) => return Poll::Ready(end),
                Poll::Ready(ControlFlow::Continue(())) => Pin::new(&mut self.connection).graceful_shutdown(),
                Poll::Pending => return self.poll_cut(cx).map(|()| CloseReason::Cut),
            }
        }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.cut_comes.is_none() && self.ends.progress.is_busy() {
            self.cut_comes = Some(Box::pin(self.cut.0.clone().cancelled_owned()));
        }
        match &mut self.cut_comes {
            Some(cut_comes) => cut_comes.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}

impl ServeContext {
    /// Serves one client to its end; at shutdown, to the end of the request that runs.
    pub async fn connection<T>(self, stream: T, client: ConnectedClient)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ConnectedClient { peer, good_for, progress } = client;
        let App { router, direct } = self.app;
        // In a reserved place only health checks are answered.
        let direct = direct.filter(|_| good_for == Use::Anything);
        let stream = WatchedStream::new(stream, Arc::clone(&progress), self.timeouts.write);
        let mut stream = stream.answering(direct, peer);
        let mut ends = EndConditions::new(&progress, self.timeouts);
        let (end, mut stream) = match poll_fn(|cx| ends.poll_plain(&mut stream, cx)).await {
            ControlFlow::Break(end) => (end, stream.into_inner()),
            ControlFlow::Continue(()) => {
                let requests =
                    Requests { router, peer: Peer(peer), good_for, progress: Arc::clone(&progress) };
                serve_with_library(stream, requests, ends).await
            }
        };
        match end {
            CloseReason::Cut => return,
            CloseReason::GaveWay => return self.metrics.cut(CutConnection::GaveWay),
            CloseReason::Done(_) | CloseReason::SlowHeaders | CloseReason::Idle => {}
        }
        if count(&self.metrics, &end, &progress) {
            return;
        }
        if matches!(end, CloseReason::SlowHeaders) {
            // Whether it arrives is the client's business.
            let _ = timeout(FAREWELL_TIMEOUT, stream.write_all(SLOW_HEADERS)).await;
        }
        let wait_for_client = !self.shutdown.is_cancelled();
        let _ = timeout(FAREWELL_TIMEOUT, farewell(&mut stream, wait_for_client)).await;
    }
}

/// Why the connection ended, and what is left of it.
async fn serve_with_library<T>(
    stream: WatchedStream<T>,
    requests: Requests,
    ends: EndConditions,
) -> (CloseReason, T)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = Cut::default();
    let keep_alive = requests.good_for == Use::Anything;
    // Without `pipeline_flush`: with it, hyper gathers an answer that a slow client does not take without any limit, and keeps
    // the answer to a request that it cannot read.
    let mut connection = http1::Builder::new()
        // Here the library would set a timer for each request.
        .header_read_timeout(None)
        .max_buf_size(HEAD_MAX_BYTES)
        .keep_alive(keep_alive)
        .serve_connection(TokioIo::new(stream), Http1Service { requests, cut: cut.clone() });
    if ends.stopping {
        Pin::new(&mut connection).graceful_shutdown();
    }
    let mut serving = Http1Connection { connection, ends, cut, cut_comes: None };
    let end = poll_fn(|cx| serving.poll(cx)).await;
    (end, serving.connection.into_parts().io.into_inner().into_inner())
}

/// Ends the sending side and waits until the client has seen it, unless a stop is pressing.
async fn farewell<T>(stream: &mut T, wait_for_client: bool) -> std::io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    if !wait_for_client {
        return Ok(());
    }
    tokio::io::copy(&mut stream.take(FAREWELL_MAX_BYTES), &mut tokio::io::sink()).await?;
    Ok(())
}

/// Counts what was wrong; whether there is nobody left to say farewell to.
fn count(metrics: &HttpMetrics, end: &CloseReason, progress: &StreamProgress) -> bool {
    match end {
        CloseReason::SlowHeaders => {
            metrics.refused(RefusedRequest::SlowHeaders);
            false
        }
        CloseReason::Done(_) if progress.is_stalled() => {
            metrics.cut(CutConnection::SlowReader);
            true
        }
        CloseReason::Done(Err(error)) if error.is_parse_too_large() => {
            metrics.refused(RefusedRequest::HeadersTooLarge);
            false
        }
        CloseReason::Done(Err(error)) if error.is_parse() => {
            metrics.refused(RefusedRequest::Malformed);
            false
        }
        // A client that breaks off is its own business.
        CloseReason::Done(_) | CloseReason::Idle => false,
        // Counted before.
        CloseReason::Cut | CloseReason::GaveWay => true,
    }
}

/// The requests of the connection; a stream whose client reads too slowly ends all of it.
struct Http1Service {
    requests: Requests,
    cut: Cut,
}

impl hyper::service::Service<Request<Incoming>> for Http1Service {
    type Response = Response<BusyBody>;
    type Error = Infallible;
    type Future = AnswerFuture;

    fn call(&self, request: Request<Incoming>) -> AnswerFuture {
        self.requests.answer(request, self.cut.clone())
    }
}

#[cfg(test)]
mod tests;
