//! One connection of HTTP/2, which a client of TLS may choose: many requests at once, each answered as it would be with
//! HTTP/1.1, and bounded as much.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use axum::http::uri::Parts;
use axum::http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use futures_util::FutureExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::connection::{ClientTimeouts, ConnectedClient, HEAD_MAX_BYTES, ServeContext};
use super::cut::Cut;
use super::direct::App;
use super::requests::{AnswerFuture, BusyBody, Multiplexed, Peer, Requests};
use super::signals::Signal;
use super::stream::{StreamProgress, WatchedStream};
use server::metrics::{CutConnection, HttpMetrics};

/// Requests that a connection may have at once; a further one waits at its client. A page has a few, and each of its tabs may
/// have a stream of changes where browsers cannot share one.
const STREAMS_MAX: u32 = 64;
/// What may arrive of all bodies before somebody reads them: the least that HTTP/2 allows for a connection.
const UNREAD_MAX_BYTES: u32 = 65_535;
/// What an answer may have waiting in the library beyond what its client has said it takes.
const UNSENT_MAX_BYTES: usize = 32 * 1024;
/// Requests that their client may give up within [`RESETS_PERIOD`]: a person who leaves a page gives up a handful. A flood of
/// them makes work without the limit of requests at once (CVE-2023-44487).
const RESETS_MAX: u32 = 100;
const RESETS_PERIOD: Duration = Duration::from_secs(10);
/// How long a client may take to notice that an idle connection ends. Less than others wait for its place.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why the connection ends.
enum End {
    Done,
    SlowReader,
    ResetFlood,
    /// It was idle, and has been told.
    Idle,
    GaveWay,
}

impl ServeContext {
    /// Serves one client to its end; at shutdown, to the end of the requests that run.
    pub async fn http2<T>(self, stream: T, client: ConnectedClient)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let ConnectedClient { peer, good_for, progress } = client;
        let App { router, direct: _ } = self.app;
        let stream = WatchedStream::new(stream, Arc::clone(&progress), self.timeouts.write).in_frames();
        let requests = Requests { router, peer: Peer(peer), good_for, progress: Arc::clone(&progress) };
        let (unsent, resets) = (Arc::new(Unsent::default()), Arc::new(Resets::default()));
        let service = Http2Service { requests, unsent: Arc::clone(&unsent), resets: Arc::clone(&resets) };
        let connection = http2::Builder::new(Streams { metrics: self.metrics.clone() })
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_MAX_BYTES as u32)
            .initial_stream_window_size(UNREAD_MAX_BYTES)
            .initial_connection_window_size(UNREAD_MAX_BYTES)
            .max_send_buf_size(UNSENT_MAX_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = Http2Connection {
            connection: Box::pin(connection),
            progress: Arc::clone(&progress),
            timeouts: self.timeouts,
            idle_timer: Box::pin(sleep_until(Instant::now() + self.timeouts.idle)),
            unsent,
            stall_timer: None,
            resets,
            goodbye: None,
            stopping: false,
        };
        match poll_fn(|cx| serving.poll(cx)).await {
            End::Done if progress.is_stalled() => self.metrics.cut(CutConnection::SlowReader),
            End::SlowReader => self.metrics.cut(CutConnection::SlowReader),
            End::ResetFlood => self.metrics.cut(CutConnection::ResetFlood),
            End::GaveWay => self.metrics.cut(CutConnection::GaveWay),
            End::Done | End::Idle => {}
        }
    }
}

/// Runs the requests of a connection beside it, which read and write through it.
#[derive(Clone)]
struct Streams {
    metrics: HttpMetrics,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, request: F) {
        let metrics = self.metrics.clone();
        tokio::spawn(async move {
            // A fault while an answer is on its way: no other can be given, so its stream is broken off.
            if AssertUnwindSafe(request).catch_unwind().await.is_err() {
                metrics.panics.inc();
            }
        });
    }
}

/// A connection that is told to end, and how long it may take.
struct Goodbye {
    timer: Pin<Box<Sleep>>,
    gave_way: bool,
}

/// A connection as the library has it.
type HttpConnection<T> = http2::Connection<TokioIo<WatchedStream<T>>, Http2Service, Streams>;

/// A connection while it is served.
struct Http2Connection<T>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    connection: Pin<Box<HttpConnection<T>>>,
    progress: Arc<StreamProgress>,
    timeouts: ClientTimeouts,
    idle_timer: Pin<Box<Sleep>>,
    unsent: Arc<Unsent>,
    /// Runs while something waits for the client.
    stall_timer: Option<Pin<Box<Sleep>>>,
    resets: Arc<Resets>,
    goodbye: Option<Goodbye>,
    /// The requests that run are the last.
    stopping: bool,
}

impl<T> Http2Connection<T>
where
    T: AsyncRead + AsyncWrite + Unpin + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.progress.signals.register(cx);
        loop {
            // A client that breaks off, or breaks the rules, has been told by the library.
            if self.connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Done);
            }
            if self.resets.are_a_flood() {
                return Poll::Ready(End::ResetFlood);
            }
            if self.poll_stalled(cx).is_ready() {
                return Poll::Ready(End::SlowReader);
            }
            if let Some(Goodbye { timer, gave_way }) = &mut self.goodbye {
                let end = if *gave_way { End::GaveWay } else { End::Idle };
                return timer.as_mut().poll(cx).map(|()| end);
            }
            if self.stopping {
                return Poll::Pending;
            }
            if self.progress.signals.take(Signal::Stop) {
                self.stopping = true;
            } else if self.progress.signals.take(Signal::GiveWay) && self.progress.idle().is_some() {
                self.goodbye = Some(Goodbye { timer: Box::pin(sleep(GOODBYE_TIMEOUT)), gave_way: true });
            } else {
                ready!(self.timeouts.poll(&mut self.idle_timer, &self.progress, cx));
                self.goodbye = Some(Goodbye { timer: Box::pin(sleep(GOODBYE_TIMEOUT)), gave_way: false });
            }
            // Requests that are on their way are answered; their client sends no further ones.
            self.connection.as_mut().graceful_shutdown();
        }
    }

    /// Ready once the client has left a piece of an answer for too long: that of one request, or of all.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(oldest) = self.unsent.oldest() else {
                self.stall_timer = None;
                return Poll::Pending;
            };
            let end = oldest + self.timeouts.write;
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            let timer = self.stall_timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(end);
        }
    }
}

/// The requests of the connection.
struct Http2Service {
    requests: Requests,
    unsent: Arc<Unsent>,
    resets: Arc<Resets>,
}

impl hyper::service::Service<Request<Incoming>> for Http2Service {
    type Response = Response<TrackedBody>;
    type Error = Infallible;
    type Future = PendingAnswer;

    fn call(&self, request: Request<Incoming>) -> PendingAnswer {
        let mut request = in_origin_form(request);
        request.extensions_mut().insert(Multiplexed);
        // A stream whose client reads too slowly ends alone.
        let cut = Cut::default();
        let unfinished = Some(Unfinished { resets: Arc::clone(&self.resets), is_finished: false });
        let answer = self.requests.answer(request, cut.clone());
        PendingAnswer { answer, cut, unfinished, unsent: Arc::clone(&self.unsent) }
    }
}

/// The request as a client of HTTP/1.1 would send it: `:authority` takes the place of `Host` (RFC 9113, section 8.3.1). If there are
/// both and they differ, both stay, and the request is refused.
fn in_origin_form(mut request: Request<Incoming>) -> Request<Incoming> {
    let Parts { authority: Some(authority), path_and_query: Some(path), .. } =
        request.uri().clone().into_parts()
    else {
        return request;
    };
    let named = HeaderValue::from_str(authority.as_str()).expect("an authority has no other characters");
    let host = request.headers_mut().entry(header::HOST).or_insert_with(|| named.clone());
    if *host == named {
        *request.uri_mut() = Uri::from(path);
    }
    request
}

/// An answer on its way.
struct PendingAnswer {
    answer: AnswerFuture,
    cut: Cut,
    unfinished: Option<Unfinished>,
    unsent: Arc<Unsent>,
}

impl Future for PendingAnswer {
    type Output = Result<Response<TrackedBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(Pin::new(&mut self.answer).poll(cx))?;
        let mut unfinished = self.unfinished.take().expect("an answer is given once");
        // Of a body that is empty nothing is asked.
        unfinished.is_finished = response.body().is_end_stream();
        let (cut, unsent) = (self.cut.clone(), Arc::clone(&self.unsent));
        let waits = (!unfinished.is_finished).then(|| unsent.begin());
        let mut response = response.map(|inner| TrackedBody { inner, cut, unfinished, unsent, waits });
        if response.status() == StatusCode::NO_CONTENT {
            // It must not tell a length (RFC 9110, section 8.6); for HTTP/1.1 the library sees to that.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Poll::Ready(Ok(response))
    }
}

/// A body whose pieces are known until the client has taken them.
struct TrackedBody {
    inner: BusyBody,
    cut: Cut,
    unfinished: Unfinished,
    unsent: Arc<Unsent>,
    /// The library asks for a further piece once the client takes one.
    waits: Option<Waiting>,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.waits = None;
        if self.cut.0.is_cancelled() {
            self.unfinished.is_finished = true;
            return Poll::Ready(Some(Err(axum::Error::new("the client reads too slowly"))));
        }
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        if frame.is_none() || self.inner.is_end_stream() {
            self.unfinished.is_finished = true;
        }
        if !self.unfinished.is_finished {
            self.waits = Some(self.unsent.begin());
        }
        let piece = |bytes| Bytes::from_owner(AnswerPiece { bytes, _waits: self.unsent.begin() });
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What waits for the client to take it, and since when.
#[derive(Default)]
struct Unsent(Mutex<WaitingSince>);

#[derive(Default)]
struct WaitingSince {
    last_number: u64,
    since: BTreeMap<u64, Instant>,
}

/// Something waits for the client as long as this lives.
struct Waiting {
    number: u64,
    unsent: Arc<Unsent>,
}

impl Unsent {
    fn begin(self: &Arc<Self>) -> Waiting {
        let mut waiting = self.0.lock();
        waiting.last_number += 1;
        let number = waiting.last_number;
        waiting.since.insert(number, Instant::now());
        Waiting { number, unsent: Arc::clone(self) }
    }

    fn oldest(&self) -> Option<Instant> {
        self.0.lock().since.first_key_value().map(|(_, since)| *since)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.unsent.0.lock().since.remove(&self.number);
    }
}

/// Bytes of an answer. The library lets go of them when they are on their way.
struct AnswerPiece {
    bytes: Bytes,
    _waits: Waiting,
}

impl AsRef<[u8]> for AnswerPiece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Requests that the client has given up of late.
#[derive(Default)]
struct Resets(Mutex<ResetCount>);

#[derive(Default)]
struct ResetCount {
    /// When the first of them came.
    since: Option<Instant>,
    number: u32,
}

impl Resets {
    fn are_a_flood(&self) -> bool {
        self.0.lock().number > RESETS_MAX
    }

    fn count(&self, now: Instant) {
        let mut count = self.0.lock();
        if count.since.is_none_or(|since| now - since > RESETS_PERIOD) {
            *count = ResetCount { since: Some(now), number: 0 };
        }
        count.number += 1;
    }
}

/// A request whose answer is not complete. The library drops it when the client gives it up.
struct Unfinished {
    resets: Arc<Resets>,
    is_finished: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            self.resets.count(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
