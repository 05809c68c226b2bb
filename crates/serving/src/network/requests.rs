//! From a request that a connection has read to the answer that the connection sends, whatever version of HTTP it speaks.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use axum::routing::future::RouteFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use tower::Service as _;

use super::cut::Cut;
use super::path;
use super::places::Use;
use super::stream::{Busy, StreamProgress};
use super::turns::BodyInTurns;

/// Where a request came from, for whatever handles it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Stands among the extensions of a request that shares its connection with others.
#[derive(Clone, Copy, Debug)]
pub struct Multiplexed;

/// What the requests of a connection are answered with, and what each says of its connection, among its extensions.
pub struct Requests {
    pub router: Router,
    pub peer: Peer,
    pub good_for: Use,
    pub progress: Arc<StreamProgress>,
}

impl Requests {
    pub fn answer(&self, mut request: Request<Incoming>, cut: Cut) -> AnswerFuture {
        let busy = Some(self.progress.request());
        if let Some(plain) = path::normalized(request.uri()) {
            *request.uri_mut() = plain;
        }
        request.extensions_mut().insert(self.peer);
        request.extensions_mut().insert(self.good_for);
        request.extensions_mut().insert(cut);
        AnswerFuture { route: self.router.clone().call(request), busy }
    }
}

/// An answer on its way.
pub struct AnswerFuture {
    route: RouteFuture<Infallible>,
    busy: Option<Busy>,
}

impl Future for AnswerFuture {
    type Output = Result<Response<BusyBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(Pin::new(&mut self.route).poll(cx))?;
        if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::METHOD_NOT_ALLOWED) {
            allow_options(response.headers_mut());
        }
        let busy = self.busy.take();
        Poll::Ready(Ok(response.map(|body| BusyBody { inner: BodyInTurns::new(body), _busy: busy })))
    }
}

/// The router lists the methods of a resource, outside of all its layers; every resource has this one besides.
fn allow_options(headers: &mut HeaderMap) {
    if let Some(methods) = headers.get(header::ALLOW).and_then(|methods| methods.to_str().ok()) {
        let methods = HeaderValue::try_from(format!("{methods},OPTIONS"));
        headers.insert(header::ALLOW, methods.expect("methods are words, and so are these"));
    }
}

/// A body that says when it is over.
pub struct BusyBody {
    inner: BodyInTurns,
    _busy: Option<Busy>,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
