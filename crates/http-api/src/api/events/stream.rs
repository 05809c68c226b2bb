//! One stream from its first block to its last: where it begins, what comes before the live changes, and the live changes.
//! How the history and the snapshot are gone through is in files of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};

use super::frame;
use super::replay::HistoryReplay;
use super::walk::Walk;
use crate::api::devices::view::Viewer;
use crate::context::Context;
use presence::history::HistoryPosition;
use presence::query::Filter;
use server::feed::resume::{GapReason, Resumption, StreamPosition};
use server::feed::{Behind, Change, ChangeBatch, ChangeReader};
use server::registry::Snapshot;

/// A stream says at least this often that it is alive: shorter than the half minute after which common proxies give up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// What a client asks for.
pub struct Wish {
    pub filter: Filter,
    /// Every device first.
    pub snapshot: bool,
    pub last_event_id: Option<String>,
}

/// A client that follows.
pub struct Follower {
    pub context: Context,
    pub filter: Filter,
    pub reader: ChangeReader,
    /// Of the last change that was read.
    watermark: Option<HistoryPosition>,
    /// Changes that were read and not all shown.
    batch: Option<PartlyShown>,
}

struct PartlyShown {
    batch: Arc<ChangeBatch>,
    /// The part that comes next.
    next: usize,
}

struct OpenStream {
    follower: Follower,
    snapshot: bool,
    stage: Stage,
    keep_alive_at: Instant,
}

enum Stage {
    Begin(Option<String>),
    Replay(Box<HistoryReplay>),
    Snapshot(Option<Box<Walk>>),
    Live,
    End,
}

/// The blocks, until the client is too slow or the service stops.
pub fn blocks(
    context: Context,
    reader: ChangeReader,
    wish: Wish,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let Wish { filter, snapshot, last_event_id } = wish;
    let follower = Follower { context, filter, reader, watermark: None, batch: None };
    let stage = Stage::Begin(last_event_id);
    let running = OpenStream { follower, snapshot, stage, keep_alive_at: Instant::now() + KEEP_ALIVE };
    stream::unfold(running, |mut running| async move {
        let ending = running.follower.reader.ending();
        let block = tokio::select! {
            biased;
            () = ending.cancelled() => None,
            block = running.next() => block,
        };
        running.keep_alive_at = Instant::now() + KEEP_ALIVE;
        block.map(|block| (Ok(block), running))
    })
}

impl OpenStream {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let sent = match &mut self.stage {
                Stage::Begin(last_event_id) => {
                    let last_event_id = last_event_id.take();
                    Some(self.begin(last_event_id))
                }
                Stage::Replay(replay) => match replay.next(&self.follower).await {
                    Ok(Some(block)) => Some(block),
                    Ok(None) => {
                        self.stage = Stage::Live;
                        None
                    }
                    Err(reason) => Some(self.begin_after(reason)),
                },
                Stage::Snapshot(walk) => match self.follower.walk(walk, self.keep_alive_at).await {
                    Ok((block, done)) => {
                        if done {
                            self.stage = Stage::Live;
                        }
                        Some(block)
                    }
                    Err(Behind) => return self.end_slow(),
                },
                Stage::Live => match self.follower.live(self.keep_alive_at).await {
                    Ok(block) => Some(block),
                    Err(Behind) => return self.end_slow(),
                },
                Stage::End => return None,
            };
            if let Some(block) = sent.filter(|block| !block.is_empty()) {
                return Some(block);
            }
            // Steps that show nothing follow one another here, and other connections are served in between.
            yield_now().await;
        }
    }

    fn end_slow(&mut self) -> Option<Bytes> {
        self.follower.reader.note_slow();
        self.stage = Stage::End;
        None
    }

    fn begin(&mut self, last_event_id: Option<String>) -> Bytes {
        let Some(id) = last_event_id else {
            return self.begin_anew();
        };
        match self.follower.context.feed.resume(&id) {
            Ok(Resumption::Memory { after, history }) => {
                self.follower.reader.go_to(after);
                self.follower.watermark = history;
                self.stage = Stage::Live;
            }
            Ok(Resumption::History(resumption)) => {
                self.follower.reader.go_to(resumption.then_after());
                self.stage = Stage::Replay(Box::new(HistoryReplay::new(resumption)));
            }
            Err(reason) => return self.begin_after(reason),
        }
        frame::begin(None)
    }

    /// Says that something is missing, and goes on with what is now.
    fn begin_after(&mut self, reason: GapReason) -> Bytes {
        self.follower.context.feed.note_gap();
        let mut blocks = BytesMut::from(frame::gap(reason));
        blocks.extend_from_slice(&self.begin_anew());
        blocks.freeze()
    }

    fn begin_anew(&mut self) -> Bytes {
        let head = self.follower.context.feed.head();
        self.follower.reader.go_to(head);
        if self.snapshot {
            self.stage = Stage::Snapshot(None);
            return frame::begin(None);
        }
        self.stage = Stage::Live;
        frame::begin(Some(self.follower.position()))
    }
}

impl Follower {
    /// The id with which a client goes on from here.
    pub fn position(&self) -> StreamPosition {
        self.context.feed.position_after(self.reader.position(), self.watermark)
    }

    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        self.filter.admits(&snapshot.traits(&self.filter))
    }

    pub fn admits_change(&self, change: &Change) -> bool {
        self.filter.admits(&change.traits(&self.filter))
    }

    /// A change as it is shown to everybody, with its id.
    pub fn shown(&self, change: &Change, viewer: &Viewer<'_>) -> Bytes {
        let feed = &self.context.feed;
        change.shown(viewer.freshness(), |change| frame::change(feed.position_of(change), change, viewer))
    }

    /// The next part of the changes, as far as the client wants them; nothing if there is none among them.
    async fn live(&mut self, keep_alive_at: Instant) -> Result<Bytes, Behind> {
        let PartlyShown { batch, next } = match self.batch.take() {
            Some(partly) => partly,
            None => {
                if timeout_at(keep_alive_at, self.reader.wait()).await.is_err() {
                    return Ok(frame::keep_alive(Some(self.position())));
                }
                let batch = self.reader.take()?;
                let Some(last) = batch.changes().last() else { return Ok(Bytes::new()) };
                self.watermark = last.watermark;
                PartlyShown { batch, next: 0 }
            }
        };
        let viewer = Viewer::of(&self.context);
        let shown = if self.filter == Filter::default() {
            batch.shown(next, viewer.freshness(), |changes| {
                joined(changes.iter().map(|change| self.shown(change, &viewer)))
            })
        } else {
            let wanted = batch.part(next).iter().filter(|change| self.admits_change(change));
            joined(wanted.map(|change| self.shown(change, &viewer)))
        };
        if next + 1 < batch.parts() {
            self.batch = Some(PartlyShown { batch, next: next + 1 });
        }
        Ok(shown)
    }
}

/// One after the other in one piece.
pub fn joined(blocks: impl Iterator<Item = Bytes>) -> Bytes {
    let blocks: Vec<Bytes> = blocks.collect();
    match blocks.as_slice() {
        [] => Bytes::new(),
        [one] => one.clone(),
        blocks => {
            let mut all = BytesMut::with_capacity(blocks.iter().map(Bytes::len).sum());
            blocks.iter().for_each(|block| all.extend_from_slice(block));
            all.freeze()
        }
    }
}
