//! Answers that are given before the router is asked.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::Response;
use axum::http::request::Parts;
use hyper::body::{Frame, SizeHint};

use super::turns::BodyInTurns;

/// Answers requests of one kind from their head alone.
pub trait Direct: Send + Sync {
    /// `None`: the request is of another kind, and the router answers it. Nothing has been counted of it then.
    fn answer(&self, head: &Parts, peer: IpAddr) -> Option<Response<AnswerBody>>;
}

/// What answers the requests of all connections.
#[derive(Clone)]
pub struct App {
    pub router: Router,
    /// Asked before the router.
    pub direct: Option<Arc<dyn Direct>>,
}

/// The body of an answer.
pub enum AnswerBody {
    Whole(Bytes),
    Routed(BodyInTurns),
}

impl AnswerBody {
    /// The body of an answer that the router has given.
    pub fn routed(body: Body) -> Self {
        AnswerBody::Routed(BodyInTurns::new(body))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match &mut *self {
            AnswerBody::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            AnswerBody::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            AnswerBody::Routed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            AnswerBody::Whole(bytes) => bytes.is_empty(),
            AnswerBody::Routed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            AnswerBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            AnswerBody::Routed(body) => body.size_hint(),
        }
    }
}
