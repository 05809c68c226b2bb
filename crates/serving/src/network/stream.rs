//! The bytes of one connection, watched: whether a request has begun and not reached the end of its headers, whether its
//! framing is plain, and whether the client still takes what it is sent. A plain request that comes alone, between those that
//! the HTTP library is at, is answered here, without the library.

use std::cell::RefCell;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::direct::Direct;
use super::framing::{Framing, FramingError};
use super::signals::Signals;

/// What is known of the connection's request, shared by the stream and the service on top of it.
#[derive(Debug)]
pub struct StreamProgress {
    activity: Mutex<Activity>,
    /// Requests that are being answered. With HTTP/1.1 it is one, and what arrives meanwhile belongs to it or to one that has to
    /// wait.
    busy: AtomicUsize,
    /// The client took nothing for too long.
    stalled: AtomicBool,
    /// What the connection is told from outside.
    pub signals: Signals,
}

#[derive(Debug)]
struct Activity {
    /// When the first bytes of a request came that has not been handed over yet.
    head_since: Option<Instant>,
    /// When the last answer ended, or the connection began.
    idle_since: Instant,
    has_asked: bool,
}

/// What an idle connection waits for, in the order in which connections give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idle {
    /// The first byte.
    First(Instant),
    /// A further request.
    Next(Instant),
    /// The rest of a request.
    Rest(Instant),
}

impl Default for StreamProgress {
    fn default() -> Self {
        let activity = Activity { head_since: None, idle_since: Instant::now(), has_asked: false };
        Self {
            activity: Mutex::new(activity),
            busy: AtomicUsize::default(),
            stalled: AtomicBool::default(),
            signals: Signals::default(),
        }
    }
}

/// A request is being answered as long as this lives.
pub struct Busy(Arc<StreamProgress>);

impl StreamProgress {
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }

    /// What the connection waits for; `None`: a request is being answered.
    pub fn idle(&self) -> Option<Idle> {
        if self.is_busy() {
            return None;
        }
        let activity = self.activity.lock();
        Some(match (activity.head_since, activity.has_asked) {
            (Some(since), _) => Idle::Rest(since),
            (None, true) => Idle::Next(activity.idle_since),
            (None, false) => Idle::First(activity.idle_since),
        })
    }

    pub fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// A request came whole and was answered at once, at this time.
    fn answered(&self, at: Instant) {
        let mut activity = self.activity.lock();
        activity.idle_since = at;
        // An empty line before it has begun no request.
        activity.head_since = None;
        activity.has_asked = true;
    }

    /// The headers are complete.
    pub fn request(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        let mut activity = self.activity.lock();
        activity.head_since = None;
        activity.has_asked = true;
        drop(activity);
        Busy(Arc::clone(self))
    }

    fn arrived(&self) {
        if !self.is_busy() {
            self.activity.lock().head_since.get_or_insert_with(Instant::now);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.activity.lock().idle_since = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is read at once of requests that may be plain.
const READ_MAX_BYTES: usize = 4 * 1024;

thread_local! {
    /// Where requests are read that may be plain: what is not is copied.
    static REQUEST: RefCell<[u8; READ_MAX_BYTES]> = const { RefCell::new([0; READ_MAX_BYTES]) };
    /// Where answers are written: most are sent at once, and what is not is copied. It grows to the longest of the small answers
    /// that are given here.
    static ANSWER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A stream whose reads and writes are watched.
pub struct WatchedStream<T> {
    inner: T,
    progress: Arc<StreamProgress>,
    /// `None`: HTTP/2, whose frames can be read in one way only.
    framing: Option<Framing>,
    /// The framing had a fault, and nothing is read any more.
    refused: Option<FramingError>,
    /// A client that takes nothing for so long is cut off.
    write_timeout: Duration,
    /// Runs while a write waits for the client.
    waiting: Option<Pin<Box<Sleep>>>,
    /// What answers plain requests, and whose they are.
    direct: Option<(Arc<dyn Direct>, IpAddr)>,
    /// What was read here and is not plain: the library gets it first.
    unread: Vec<u8>,
    /// The library has written what it has not flushed.
    unflushed: bool,
    reply: Option<Reply>,
}

/// What was answered here and is not on its way yet.
struct Reply {
    bytes: Vec<u8>,
    sent: usize,
    _busy: Busy,
}

impl<T> WatchedStream<T> {
    pub fn new(inner: T, progress: Arc<StreamProgress>, write_timeout: Duration) -> Self {
        Self {
            inner,
            progress,
            framing: Some(Framing::default()),
            refused: None,
            write_timeout,
            waiting: None,
            direct: None,
            unread: Vec::new(),
            unflushed: false,
            reply: None,
        }
    }

    /// Answers plain requests of this client.
    pub fn answering(self, direct: Option<Arc<dyn Direct>>, peer: IpAddr) -> Self {
        Self { direct: direct.map(|direct| (direct, peer)), ..self }
    }

    /// For HTTP/2: only writes are watched.
    pub fn in_frames(self) -> Self {
        Self { framing: None, ..self }
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

impl<T: AsyncWrite + Unpin> WatchedStream<T> {
    /// Sends what was answered here. What the client does not take at once is sent before anything else is read.
    fn send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<()>> {
        let sent = match Pin::new(&mut self.inner).poll_write(cx, bytes) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if sent == bytes.len() && Pin::new(&mut self.inner).poll_flush(cx)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        let bytes = bytes[sent..].to_vec();
        self.reply = Some(Reply { bytes, sent: 0, _busy: self.progress.request() });
        self.poll_reply(cx)
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(reply) = &mut self.reply {
            let rest = &reply.bytes[reply.sent..];
            if rest.is_empty() {
                let flushed = Pin::new(&mut self.inner).poll_flush(cx);
                ready!(self.bounded(cx, flushed))?;
                self.reply = None;
                break;
            }
            let written = Pin::new(&mut self.inner).poll_write(cx, rest);
            let written = ready!(self.bounded(cx, written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            if let Some(reply) = &mut self.reply {
                reply.sent += written;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> WatchedStream<T> {
    /// Answers plain requests for as long as they come, each alone. Ready: the library goes on with what it reads.
    pub fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_reply(cx))?;
            if !self.is_between_requests() {
                return Poll::Ready(Ok(()));
            }
            let answered = REQUEST.with_borrow_mut(|request| {
                ANSWER.with_borrow_mut(|answer| self.poll_answer(cx, &mut ReadBuf::new(request), answer))
            });
            if !ready!(answered)? {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Whether what came is answered.
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
        answer: &mut Vec<u8>,
    ) -> Poll<io::Result<bool>> {
        let Some((direct, peer)) = &self.direct else { return Poll::Ready(Ok(false)) };
        ready!(Pin::new(&mut self.inner).poll_read(cx, read))?;
        answer.clear();
        let Some(at) = direct.answer(read.filled(), *peer, answer) else {
            self.unread.extend_from_slice(read.filled());
            return Poll::Ready(Ok(false));
        };
        self.progress.answered(Instant::from_std(at));
        self.send(cx, answer).map_ok(|()| true)
    }

    /// Whether nothing is half read or half written.
    fn is_between_requests(&self) -> bool {
        self.refused.is_none()
            && self.unread.is_empty()
            && !self.unflushed
            && !self.progress.is_busy()
            && self.framing.as_ref().is_some_and(Framing::is_between_requests)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for WatchedStream<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.refused {
            None => {}
            // The answer to it, or to the request before it, is on its way.
            Some(FramingError::Head { .. }) => return Poll::Pending,
            Some(FramingError::Body { .. }) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
        ready!(self.poll_plain(cx))?;
        let before = buffer.filled().len();
        if self.unread.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        } else {
            let length = buffer.remaining().min(self.unread.len());
            buffer.put_slice(&self.unread[..length]);
            self.unread.drain(..length);
            if self.unread.is_empty() {
                // Few connections need it again, and there may be thousands.
                self.unread = Vec::new();
            }
        }
        if buffer.filled().len() == before {
            return Poll::Ready(Ok(()));
        }
        let Some(framing) = &mut self.framing else { return Poll::Ready(Ok(())) };
        let checked = framing.check(&buffer.filled()[before..]);
        self.progress.arrived();
        match checked {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => self.refuse(error, before, buffer),
        }
    }
}

impl<T> WatchedStream<T> {
    /// Keeps the library from reading on behind a fault.
    fn refuse(
        &mut self,
        error: FramingError,
        before: usize,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.refused = Some(error);
        match error {
            FramingError::Head { at } => {
                // No head has such a byte, so the HTTP library answers 400, once the requests before it are answered.
                buffer.set_filled(before + at);
                buffer.put_slice(b"\0");
                Poll::Ready(Ok(()))
            }
            FramingError::Body { at: 0 } => {
                buffer.set_filled(before);
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
            FramingError::Body { at } => {
                buffer.set_filled(before + at);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WatchedStream<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_reply(cx))?;
        self.unflushed = true;
        let outcome = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_reply(cx))?;
        self.unflushed = true;
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.bounded(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_flush(cx);
        self.unflushed &= !outcome.is_ready();
        self.bounded(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_reply(cx))?;
        let outcome = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.bounded(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_before_an_answered_request_begins_no_other() {
        let progress = StreamProgress::default();
        assert!(matches!(progress.idle(), Some(Idle::First(_))));
        progress.arrived();
        assert!(matches!(progress.idle(), Some(Idle::Rest(_))));
        progress.answered(Instant::now());
        assert!(matches!(progress.idle(), Some(Idle::Next(_))));
    }
}
