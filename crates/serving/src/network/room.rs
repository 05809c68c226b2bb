//! Memory for bodies: what all requests and all answers together may hold. What does not fit is refused with 503 and asked
//! again, so that no number of clients takes the memory of the process.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies of requests that are being read or worked on, all together: sixty-four of the largest.
pub const REQUESTS_MAX_BYTES: usize = 64 << 20;
/// Answers that clients have not taken yet, all together: what sixty-four clients that do not read can hold of the largest
/// pages.
pub const ANSWERS_MAX_BYTES: usize = 256 << 20;
/// An answer up to this size is not counted if its connection has no other: `--connections-max` bounds them, and nearly all answers
/// are.
pub const SMALL_ANSWER_BYTES: u64 = 16 * 1024;
/// What an answer counts whose size is not known before: streams send about so much at once, and hold no more.
pub const STREAM_PART_BYTES: usize = 256 * 1024;
const KIB: u64 = 1024;

/// There is no room left.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// Marks an answer that costs no memory of its own, because all clients share its bytes or another limit bounds it.
#[derive(Clone, Copy, Debug)]
pub struct Uncounted;

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyError {
    TooLarge,
    Broken,
    Full,
}

/// The bytes of a request and the room that they take.
pub struct WholeBody {
    pub bytes: Bytes,
    pub room: Option<OwnedSemaphorePermit>,
}

/// The memory for requests and for answers.
#[derive(Debug)]
pub struct Room {
    /// One permit is one byte.
    requests: Arc<Semaphore>,
    /// One permit is one KiB.
    answers: Arc<Semaphore>,
}

impl Room {
    pub fn new(requests_max_bytes: usize, answers_max_bytes: usize) -> Self {
        let answers = Semaphore::new(answers_max_bytes / KIB as usize);
        Self { requests: Arc::new(Semaphore::new(requests_max_bytes)), answers: Arc::new(answers) }
    }

    /// Reads a body of at most so many bytes. It takes room as its bytes arrive, so one that is only announced takes none.
    pub async fn read(&self, mut body: Body, most: usize) -> Result<WholeBody, BodyError> {
        let mut bytes = Vec::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_broken| BodyError::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(BodyError::TooLarge);
            }
            let permits = u32::try_from(data.len()).map_err(|_| BodyError::TooLarge)?;
            let more = Arc::clone(&self.requests).try_acquire_many_owned(permits);
            let more = more.map_err(|_none_left| BodyError::Full)?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            bytes.extend_from_slice(&data);
        }
        Ok(WholeBody { bytes: bytes.into(), room })
    }

    /// The answer with its room, which it gives back when its last byte is on its way to the client. Up to `uncounted_bytes` it needs
    /// none.
    pub fn hold(&self, response: Response, uncounted_bytes: u64) -> Result<Response, Full> {
        let size = response.body().size_hint().exact();
        let bytes = size.unwrap_or(STREAM_PART_BYTES as u64);
        if bytes <= uncounted_bytes || response.extensions().get::<Uncounted>().is_some() {
            return Ok(response);
        }
        let permits = u32::try_from(bytes.div_ceil(KIB)).map_err(|_| Full)?;
        let room = Arc::clone(&self.answers).try_acquire_many_owned(permits).map_err(|_none_left| Full)?;
        let room = Arc::new(room);
        Ok(response.map(|body| Body::new(ReservedBody { body, room })))
    }
}

/// A body whose bytes keep its room, wherever the connection holds them.
struct ReservedBody {
    body: Body,
    room: Arc<OwnedSemaphorePermit>,
}

/// Bytes of an answer. The connection has them until the client takes them, which is long after the body has ended.
struct HeldBytes {
    bytes: Bytes,
    _room: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for ReservedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let room = Arc::clone(&self.room);
        Pin::new(&mut self.body).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                frame.map(|frame| frame.map_data(|bytes| Bytes::from_owner(HeldBytes { bytes, _room: room })))
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;

    use super::*;

    const LARGE: usize = 100 * 1024;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![0; bytes]))
    }

    #[tokio::test]
    async fn a_response_holds_its_memory_until_it_is_sent() {
        let room = Room::new(0, 2 * LARGE);
        let first = room.hold(answer(LARGE), SMALL_ANSWER_BYTES).unwrap();
        let second = room.hold(answer(LARGE), SMALL_ANSWER_BYTES).unwrap();
        assert_eq!(room.hold(answer(LARGE), SMALL_ANSWER_BYTES).unwrap_err(), Full);
        assert!(room.hold(answer(1_000), SMALL_ANSWER_BYTES).is_ok(), "a small answer is always given");
        let mut shared = answer(LARGE);
        shared.extensions_mut().insert(Uncounted);
        assert!(room.hold(shared, SMALL_ANSWER_BYTES).is_ok());
        let mut body = first.into_body();
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(body);
        assert_eq!(
            room.hold(answer(LARGE), SMALL_ANSWER_BYTES).unwrap_err(),
            Full,
            "the connection still has the bytes"
        );
        drop(bytes);
        let third = room.hold(answer(LARGE), SMALL_ANSWER_BYTES).unwrap();
        drop((second, third));
        assert_eq!(room.answers.available_permits(), 200);
    }

    #[tokio::test]
    async fn a_stream_counts_as_one_part() {
        let room = Room::new(0, STREAM_PART_BYTES);
        let parts = || stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"a"))]);
        let first = room.hold(Response::new(Body::from_stream(parts())), SMALL_ANSWER_BYTES).unwrap();
        assert_eq!(
            room.hold(Response::new(Body::from_stream(parts())), SMALL_ANSWER_BYTES).unwrap_err(),
            Full
        );
        drop(first);
        assert!(room.hold(Response::new(Body::from_stream(parts())), SMALL_ANSWER_BYTES).is_ok());
    }

    #[tokio::test]
    async fn bodies_share_their_room_and_give_it_back() {
        let room = Room::new(10, 0);
        let read = async |bytes: usize, most: usize| room.read(Body::from(vec![1; bytes]), most).await;
        let first = read(6, 8).await.map_err(|_| ()).unwrap();
        assert_eq!(first.bytes.len(), 6);
        assert_eq!(read(6, 8).await.err(), Some(BodyError::Full));
        assert_eq!(read(9, 8).await.err(), Some(BodyError::TooLarge));
        assert!(read(4, 8).await.is_ok());
        drop(first);
        assert!(read(8, 8).await.is_ok());
        let broken = stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("cut"))]);
        assert_eq!(room.read(Body::from_stream(broken), 8).await.err(), Some(BodyError::Broken));
        assert_eq!(room.requests.available_permits(), 10);
    }
}
