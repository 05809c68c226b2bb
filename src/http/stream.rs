//! The bytes of one connection, watched: whether a request has begun and not come to the end of its headers, and whether the
//! client still takes what it is sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What is known of the connection's request, shared by the stream and the service on top of it.
#[derive(Debug, Default)]
pub struct Progress {
    /// When the first bytes of a request came that has not been handed over yet.
    head_since: Mutex<Option<Instant>>,
    /// A request is being answered, so what arrives meanwhile belongs to it or to one that has to wait.
    busy: AtomicBool,
    /// The client took nothing for too long.
    stalled: AtomicBool,
}

/// A request is being answered as long as this lives.
pub struct Busy(Arc<Progress>);

impl Progress {
    pub fn head_since(&self) -> Option<Instant> {
        *self.head_since.lock()
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// The headers are complete.
    pub fn request(self: &Arc<Self>) -> Busy {
        self.busy.store(true, Ordering::Relaxed);
        *self.head_since.lock() = None;
        Busy(Arc::clone(self))
    }

    fn arrived(&self) {
        if !self.busy.load(Ordering::Relaxed) {
            self.head_since.lock().get_or_insert_with(Instant::now);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Relaxed);
    }
}

/// A stream whose reads and writes are watched.
pub struct Watched<T> {
    inner: T,
    progress: Arc<Progress>,
    /// A client that takes nothing for so long is cut off.
    write_timeout: Duration,
    /// Runs while a write waits for the client.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<T> Watched<T> {
    pub fn new(inner: T, progress: Arc<Progress>, write_timeout: Duration) -> Self {
        Self { inner, progress, write_timeout, waiting: None }
    }

    pub fn into_inner(self) -> T {
        self.inner
    }

    /// The outcome of a write, or that it has waited too long.
    fn bounded<R>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.waiting = None;
            return outcome;
        }
        let bound = self.write_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(bound)));
        if waiting.as_mut().poll(cx).is_ready() {
            self.progress.stalled.store(true, Ordering::Relaxed);
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.progress.arrived();
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.bounded(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.bounded(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.bounded(cx, outcome)
    }
}
