//! One stream from its first block to its last: where it begins, what comes before the live changes, and the live changes.
//! How the history and the snapshot are gone through is in files of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::OptionFuture;
use futures_util::stream::{self, Stream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::replay::HistoryReplay;
use super::settling::{SettledChange, Settling};
use super::walk::SnapshotWalk;
use super::{alerts, frame};
use crate::context::Context;
use crate::devices::view::Viewer;
use alerting::stream::AlertReader;
use presence::Status;
use presence::history::HistoryPosition;
use presence::query::Filter;
use presence::settle::IfConnected;
use server::feed::resume::{GapReason, Resumption, StreamPosition};
use server::feed::{Behind, Change, ChangeBatch, ChangeReader, SHOWN_AT_ONCE};
use server::registry::Snapshot;
use system::turn::give_way;

/// A stream says at least this often that it is alive: shorter than the half minute after which common proxies give up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream that may hold back no more disconnects looks this often whether it may again.
const ROOM_RECHECK: Duration = Duration::from_secs(1);

/// What a client asks for.
#[derive(Default)]
pub struct Wish {
    pub filter: Filter,
    /// How long a disconnect must have lasted before it is shown.
    pub settle: Duration,
    /// Every device first.
    pub snapshot: bool,
    /// What is announced about alerts, too.
    pub alerts: bool,
    pub last_event_id: Option<String>,
}

/// A client that follows.
pub struct Follower {
    pub context: Context,
    pub filter: Filter,
    pub reader: ChangeReader,
    /// `None`: every change is shown as it comes.
    pub settling: Option<Settling>,
    alerts: Option<AlertReader>,
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
    Snapshot(Option<Box<SnapshotWalk>>),
    Live,
    End,
}

/// The blocks, until the client is too slow or the service stops.
pub fn blocks(
    context: Context,
    reader: ChangeReader,
    wish: Wish,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let Wish { filter, settle, snapshot, alerts, last_event_id } = wish;
    let begun_at = context.feed.position_after(reader.position(), None);
    let settling = (!settle.is_zero())
        .then(|| Settling::new(settle, &filter, Arc::clone(context.feed.undecided()), begun_at));
    let alerts = alerts.then(|| context.alerts.follow());
    let follower = Follower { context, filter, reader, settling, alerts, watermark: None, batch: None };
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
            if let Some(block) = self.alerts() {
                return Some(block);
            }
            let sent = match &mut self.stage {
                Stage::Begin(last_event_id) => {
                    let last_event_id = last_event_id.take();
                    if let Some(id) = &last_event_id {
                        self.follower.context.feed.wait_for_watermark(id).await;
                    }
                    Some(self.begin(last_event_id))
                }
                Stage::Replay(replay) => match replay.next(&mut self.follower, self.keep_alive_at).await {
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
                give_way();
                return Some(block);
            }
            // Steps that show nothing follow one another here, and other connections are served in between.
            give_way();
            yield_now().await;
        }
    }

    /// What there is to tell about alerts, once the stream has begun.
    fn alerts(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Begin(_) | Stage::End => None,
            Stage::Replay(_) | Stage::Snapshot(_) | Stage::Live => {
                let events = self.follower.alerts.as_mut()?.take();
                (!events.is_empty()).then(|| alerts::blocks(&events))
            }
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
                if let (Some(settling), Ok(position)) = (&mut self.follower.settling, id.parse()) {
                    settling.go_to(position);
                }
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
        if let Some(settling) = &mut self.follower.settling {
            settling.clear();
        }
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
        let reached = self.reached();
        self.settling.as_ref().map_or(reached, |settling| settling.id(reached))
    }

    /// Up to where changes were read.
    fn reached(&self) -> StreamPosition {
        self.context.feed.position_after(self.reader.position(), self.watermark)
    }

    /// Disconnects are held back that come from here on.
    pub fn begin_settling(&mut self) {
        let reached = self.reached();
        if let Some(settling) = &mut self.settling {
            settling.go_to(reached);
        }
    }

    /// The events that a change causes now, with ids; `None`: disconnects are not held back.
    pub fn settled(&mut self, change: &Change, viewer: &Viewer<'_>) -> Option<Vec<Bytes>> {
        let reached = self.context.feed.position_of(change);
        if change.removal.is_some() {
            let is_wanted = self.admits_change(change);
            let settling = self.settling.as_mut()?;
            settling.forget(&change.snapshot, reached);
            return Some(
                is_wanted.then(|| frame::change(settling.id(reached), change, viewer)).into_iter().collect(),
            );
        }
        self.settled_change(&change.snapshot, change.previous, reached, viewer)
    }

    /// The events that a change causes now, without ids, while the client could not be resumed from there.
    pub fn without_ids(&mut self, change: &Change, viewer: &Viewer<'_>) -> Vec<Bytes> {
        let blocks = self.settled(change, viewer).unwrap_or_else(|| {
            let is_wanted = self.admits_change(change);
            is_wanted.then(|| self.shown(change, viewer)).into_iter().collect()
        });
        blocks.iter().map(frame::without_id).collect()
    }

    /// The same during a replay of the history, in which the change does not advance the client.
    pub fn beside_history(&mut self, change: &Change, viewer: &Viewer<'_>) -> Vec<Bytes> {
        let reached = self.settling.as_ref().map(Settling::position);
        let blocks = self.without_ids(change, viewer);
        if let (Some(settling), Some(reached)) = (&mut self.settling, reached) {
            settling.go_to(reached);
        }
        blocks
    }

    /// The events that a change, live or out of the history, causes now; `None`: disconnects are not held back.
    pub fn settled_change(
        &mut self,
        device: &Snapshot,
        previous: Option<Status>,
        reached: StreamPosition,
        viewer: &Viewer<'_>,
    ) -> Option<Vec<Bytes>> {
        let settling = self.settling.as_mut()?;
        let changes = settling.offer(device, previous, reached);
        Some(blocks_of(&changes, settling.id(reached), viewer))
    }

    /// Waits if no more disconnects may be held back, and returns those that have settled; `None`: there is room.
    pub async fn wait_for_room(&mut self, keep_alive_at: Instant) -> Option<Bytes> {
        let settling = self.settling.as_mut().filter(|settling| !settling.has_room(SHOWN_AT_ONCE))?;
        let recheck_at = Instant::now() + settling.due_in().unwrap_or(ROOM_RECHECK).min(ROOM_RECHECK);
        sleep_until(recheck_at.min(keep_alive_at)).await;
        let changes = settling.due(&self.context.map, IfConnected::Drop);
        let blocks = blocks_of(&changes, self.position(), &Viewer::of(&self.context));
        if blocks.is_empty() && Instant::now() >= keep_alive_at {
            return Some(frame::keep_alive(Some(self.position())));
        }
        Some(joined(blocks.into_iter()))
    }

    /// Waits for the next change, or for something about alerts; what is sent in its place if none comes before something else is due.
    async fn wait_for_change(&mut self, keep_alive_at: Instant) -> Option<Bytes> {
        let due_at = self.settling.as_ref().and_then(Settling::due_in).map(|due| Instant::now() + due);
        let until = due_at.map_or(keep_alive_at, |due_at| due_at.min(keep_alive_at));
        let alerts = OptionFuture::from(self.alerts.as_mut().map(AlertReader::wait));
        tokio::select! {
            () = self.reader.wait() => return None,
            Some(()) = alerts => return Some(Bytes::new()),
            () = sleep_until(until) => {}
        }
        if let Some(settling) = &mut self.settling {
            let changes = settling.due(&self.context.map, IfConnected::Wait);
            let blocks = blocks_of(&changes, self.position(), &Viewer::of(&self.context));
            if !blocks.is_empty() || Instant::now() < keep_alive_at {
                return Some(joined(blocks.into_iter()));
            }
        }
        Some(frame::keep_alive(Some(self.position())))
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
                if let Some(block) = self.wait_for_room(keep_alive_at).await {
                    return Ok(block);
                }
                if let Some(block) = self.wait_for_change(keep_alive_at).await {
                    return Ok(block);
                }
                self.begin_settling();
                let batch = self.reader.take()?;
                let Some(last) = batch.changes().last() else { return Ok(Bytes::new()) };
                self.watermark = last.watermark;
                PartlyShown { batch, next: 0 }
            }
        };
        let context = self.context.clone();
        let viewer = Viewer::of(&context);
        let shown = if self.settling.is_some() {
            let blocks = batch.part(next).iter().filter_map(|change| self.settled(change, &viewer));
            joined(blocks.flatten())
        } else if self.filter == Filter::default() {
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

fn blocks_of(changes: &[SettledChange], id: StreamPosition, viewer: &Viewer<'_>) -> Vec<Bytes> {
    let block = |change: &SettledChange| frame::past_change(id, &change.device, change.previous, viewer);
    changes.iter().map(block).collect()
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
