//! Bodies that are sent part by part, and other connections have their turn after each part. A client that reads as fast as it
//! is sent to would otherwise keep its thread for as long as there is something to send.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use system::turn::give_way;
use tokio::task::yield_now;

/// What is sent before the others have their turn: the kernel takes some ten microseconds for it.
const PART_MAX_BYTES: usize = 32 << 10;

/// The end of an answer is sent at once up to this size, which a page of a hundred devices seldom exceeds. Sending it in two turns
/// costs more than the others wait: between them, the runtime often moves the connection to another thread.
const LAST_PART_MAX_BYTES: usize = 96 << 10;

/// A body that lets others have their turn.
pub struct BodyInTurns {
    body: Body,
    /// What the body has given and was not sent.
    rest: Bytes,
    sent_in_turn: usize,
}

impl BodyInTurns {
    pub fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new(), sent_in_turn: 0 }
    }
}

impl HttpBody for BodyInTurns {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.sent_in_turn >= PART_MAX_BYTES {
            self.sent_in_turn = 0;
            give_way();
            // Polled once, it has the runtime wake this task after the other tasks and after a look at the sockets.
            let _pending = pin!(yield_now()).poll(cx);
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let is_last =
            self.sent_in_turn == 0 && self.rest.len() <= LAST_PART_MAX_BYTES && self.body.is_end_stream();
        let room = if is_last { LAST_PART_MAX_BYTES } else { PART_MAX_BYTES - self.sent_in_turn };
        let part_bytes = self.rest.len().min(room);
        self.sent_in_turn += part_bytes;
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(part_bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(rest + body.lower());
        if let Some(upper) = body.upper() {
            hint.set_upper(rest + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::poll_fn;

    use futures_util::stream;

    use super::*;

    /// The parts that are sent in each turn, until the end.
    async fn turns(body: Body) -> Vec<Vec<usize>> {
        let mut body = BodyInTurns::new(body);
        let mut turns = vec![Vec::new()];
        while !body.is_end_stream() {
            let part = poll_fn(|cx| {
                let polled = Pin::new(&mut body).poll_frame(cx);
                if polled.is_pending() {
                    turns.push(Vec::new());
                }
                polled
            });
            let Some(frame) = part.await else { break };
            let bytes = frame.unwrap().into_data().unwrap().len();
            turns.last_mut().unwrap().push(bytes);
        }
        turns
    }

    #[tokio::test]
    async fn others_have_their_turn_after_each_part_of_a_large_answer() {
        let body = Body::from(vec![0; 2 * PART_MAX_BYTES + LAST_PART_MAX_BYTES + 10]);
        let part = vec![PART_MAX_BYTES];
        let last = vec![LAST_PART_MAX_BYTES - PART_MAX_BYTES + 10];
        assert_eq!(turns(body).await, [part.clone(), part.clone(), part, last]);
    }

    #[tokio::test]
    async fn a_page_of_a_hundred_devices_is_sent_in_one_turn() {
        let page = || vec![0; LAST_PART_MAX_BYTES];
        assert_eq!(turns(Body::from(page())).await, [[LAST_PART_MAX_BYTES]]);
        let part_of_many = stream::iter([Ok::<_, Infallible>(Bytes::from(page()))]);
        assert_eq!(turns(Body::from_stream(part_of_many)).await[0], [PART_MAX_BYTES]);
    }

    #[tokio::test]
    async fn small_parts_share_a_turn_up_to_its_size() {
        let parts =
            [1_000, PART_MAX_BYTES, 1_000].map(|bytes| Ok::<_, Infallible>(Bytes::from(vec![0; bytes])));
        let body = Body::from_stream(stream::iter(parts));
        assert_eq!(turns(body).await, [vec![1_000, PART_MAX_BYTES - 1_000], vec![1_000, 1_000]]);
    }

    #[tokio::test]
    async fn the_size_of_an_answer_is_known_while_it_is_sent() {
        let mut body = BodyInTurns::new(Body::from(vec![0; PART_MAX_BYTES + LAST_PART_MAX_BYTES]));
        assert_eq!(body.size_hint().exact(), Some((PART_MAX_BYTES + LAST_PART_MAX_BYTES) as u64));
        poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        assert_eq!(
            (body.size_hint().exact(), body.is_end_stream()),
            (Some(LAST_PART_MAX_BYTES as u64), false)
        );
    }
}
