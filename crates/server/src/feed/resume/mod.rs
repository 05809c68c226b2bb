//! How a stream goes on that was broken off: what its client has missed, and where that is found. Everything that decides this
//! is here; the code that serves a stream asks, and shows what it is given.
//!
//! The id of each event names two places ([`StreamPosition`]): a change of this process, and a position in the store's history
//! up to which the client has missed nothing. The client gives the id back ([`Feed::resume`]), and its stream goes on
//!
//! 1. **in memory**, if the id is of this process and the next change is still in the buffer: exactly where it was;
//! 2. **in the history** otherwise. The [`HistoryWatermark`] says "all changes up to W that are in the history at all are at
//!    positions up to P". So the client gets the events after its own position, up to P, and then the changes after W. Changes
//!    up to W that are in no history come first, out of the buffer;
//! 3. **with a gap** ([`GapReason`]) where neither tells of everything. Nothing is left out without a word.
//!
//! *Why first:* a change in no history is the first of its device in this process, or the removal of a device, with which its
//! events were deleted, or it repeats the status before it. So whatever the history tells of the device is later, or ends in
//! the same status; shown after it, the change would undo what is newer.
//!
//! *Which events are shown:* those that changed the state of their device. How that is found, and what the client is told at
//! the end where it cannot be, is in [`past`].
//!
//! *When a change in no history has left the buffer*, a client that has not seen it gets a gap, unless it has seen it in the
//! history of another instance: where a store is shared, [`WatermarkTracker`] remembers from which position of the history
//! on the change was in the store.
//!
//! *How the watermark is found:* after a batch that held everything, the writer asks the store how far its events reach.
//! [`CommitWatermark`] waits for transactions that began earlier and may still add events before that place;
//! [`WatermarkTracker`] waits until the changes of other instances up to then have been read.

mod commits;
mod past;
mod position;
#[cfg(test)]
mod tests;
mod watermark;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

pub use self::commits::CommitWatermark;
pub use self::past::{
    CurrentStates, EARLIER_EVENTS, EARLIER_READS_MAX, LastWord, PastChange, PastDevice, PastStates,
    is_refusal_without_effect,
};
pub use self::position::StreamPosition;
pub use self::watermark::HistoryWatermark;
pub(super) use self::watermark::{UnloggedChanges, WatermarkTracker};
use super::{Change, Feed};
use presence::history::{EventPage, HistoryPosition, StoredEvent};

/// More events are not shown again: a client that has missed so many is better served by a snapshot.
pub const EVENTS_MAX: usize = 100_000;

/// How long a stream waits for a watermark: a few flushes, and the changes of other instances.
const WATERMARK_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a stream goes on.
#[derive(Debug)]
pub enum Resumption {
    /// After this change, up to which the client has seen that much of the history: the buffer has all that came later.
    Memory { after: u64, history: Option<HistoryPosition> },
    /// After what the history tells, and then after [`HistoryResumption::then_after`].
    History(HistoryResumption),
}

/// Why a stream cannot show all that its client has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The id is none that was given here.
    UnknownId,
    /// What has happened is not kept in order, or not all of it is.
    NotLogged,
    /// The history no longer has all of it.
    Dropped,
    /// More has happened than is shown again.
    TooMany,
    /// The history cannot be read at present.
    Store,
}

/// A stream that goes on in the history, and how far it is.
#[derive(Debug)]
pub struct HistoryResumption {
    /// What the client has seen of the history when it came.
    seen: HistoryPosition,
    /// Changes up to this one have been shown, or were seen before, as far as they are in no history.
    unlogged_after: u64,
    /// Up to where events have been given out.
    after: HistoryPosition,
    /// Where the history ends for this stream, and the feed goes on.
    until: HistoryWatermark,
    events: usize,
    is_over: bool,
}

impl Feed {
    /// Waits, for a bounded time, until the history is known to reach the changes in memory, if that decides where a stream goes on whose
    /// client had an event with that id last. After a start it is not known for some tenths of a second where other instances write
    /// the history, too, and after a burst the history follows by a flush. A client that comes back then should not be told of a gap.
    pub async fn wait_for_watermark(&self, id: &str) {
        let Ok(StreamPosition { epoch, sequence, history: Some(_) }) = id.parse() else { return };
        if epoch == self.epoch && (self.buffer.read().reaches(sequence) || sequence > self.head()) {
            return;
        }
        let mut grown = self.history_grown();
        let reached = async { while !self.history_reaches_memory() && grown.changed().await.is_ok() {} };
        // What is not reached then is a gap.
        let _ = timeout(WATERMARK_TIMEOUT, reached).await;
    }

    fn history_reaches_memory(&self) -> bool {
        let confirmed = self.watermark.lock().confirmed();
        confirmed.is_some_and(|watermark| self.buffer.read().reaches(watermark.changes))
    }

    /// Decides where a stream goes on whose client had an event with that id last.
    pub fn resume(&self, id: &str) -> Result<Resumption, GapReason> {
        let StreamPosition { epoch, sequence, history } = id.parse().map_err(|()| GapReason::UnknownId)?;
        let is_ours = epoch == self.epoch;
        if is_ours && self.buffer.read().reaches(sequence) {
            return Ok(Resumption::Memory { after: sequence, history });
        }
        if is_ours && sequence > self.head() {
            return Err(GapReason::UnknownId);
        }
        let seen = history.ok_or(GapReason::NotLogged)?;
        let until = self.watermark.lock().confirmed().ok_or(GapReason::NotLogged)?;
        let unlogged_after = if is_ours { sequence } else { 0 };
        let resumption =
            HistoryResumption { seen, unlogged_after, after: seen, until, events: 0, is_over: false };
        let (is_in_memory, unlogged) = {
            let buffer = self.buffer.read();
            (buffer.reaches(until.changes), buffer.unlogged())
        };
        if !is_in_memory || self.may_miss(unlogged_after, seen, unlogged) {
            return Err(GapReason::NotLogged);
        }
        Ok(Resumption::History(resumption))
    }

    /// The next changes that are in no history, looked for among at most [`super::buffer::BATCH_MAX`]; `None` after the last.
    pub fn unlogged_changes(
        &self,
        resumption: &mut HistoryResumption,
    ) -> Result<Option<Vec<Arc<Change>>>, GapReason> {
        let HistoryResumption { seen, unlogged_after, until, .. } = resumption;
        if *unlogged_after >= until.changes {
            return Ok(None);
        }
        let (part, examined, unlogged) = {
            let buffer = self.buffer.read();
            let (part, examined) = buffer.unlogged_changes(*unlogged_after, until.changes);
            (part, examined, buffer.unlogged())
        };
        // Some may have left the buffer since the part before.
        if self.may_miss(*unlogged_after, *seen, unlogged) {
            return Err(GapReason::NotLogged);
        }
        *unlogged_after = examined;
        Ok(Some(part))
    }

    /// Whether a client that has seen the changes of this process up to that one, and the history up to that position, may miss
    /// a change that has left the buffer and is in no history.
    fn may_miss(&self, seen: u64, history: HistoryPosition, unlogged: UnloggedChanges) -> bool {
        unlogged.lost > seen && !self.watermark.lock().commit_seen_at(unlogged.committed_by, history)
    }

    /// The id of a change.
    pub fn position_of(&self, change: &Change) -> StreamPosition {
        StreamPosition { epoch: self.epoch, sequence: change.sequence, history: change.watermark }
    }

    /// The id for a client that has seen all changes up to that one, the newest of them with that watermark.
    pub fn position_after(&self, sequence: u64, watermark: Option<HistoryPosition>) -> StreamPosition {
        // What the history tells now serves if it tells of nothing that is still to be read, and the devices have been found.
        let now = self.watermark.lock().seen_at(sequence).filter(|_| self.health.populated());
        StreamPosition { epoch: self.epoch, sequence, history: now.or(watermark) }
    }

    /// The watermark that a change gets which is published now; `None` while it is not known, or the devices are still being
    /// found.
    pub(super) fn watermark_of_next(&self) -> Option<HistoryPosition> {
        let confirmed = self.watermark.lock().confirmed();
        confirmed.filter(|_| self.health.populated()).map(|watermark| watermark.events)
    }

    /// Whether the history is known to tell of all changes up to that one, as far as it tells of them at all.
    pub fn is_followed_to(&self, change: u64) -> bool {
        self.watermark.lock().confirmed().is_some_and(|watermark| watermark.changes >= change)
    }

    /// Notes how far the history follows, as the store said at that moment. Where other instances write it, too, it may tell of
    /// what has not arrived here yet; then it counts once that has.
    pub fn note_watermark(&self, watermark: HistoryWatermark, at: Instant) {
        let (mut tracker, unlogged) = (self.watermark.lock(), self.buffer.read().unlogged());
        tracker.note(watermark, at, self.health.peer_health(), unlogged, self.head());
        drop(tracker);
        self.history_grown.send_replace(());
    }

    /// Changes when the history may have grown.
    pub fn history_grown(&self) -> watch::Receiver<()> {
        self.history_grown.subscribe()
    }

    /// Notes that the history does not tell of everything up to now: some of it could not wait for the store, or the store
    /// has lost it.
    pub fn note_lost(&self) {
        self.buffer.write().note_lost();
    }
}

impl HistoryResumption {
    /// The change after which the feed goes on. The stream's reader waits there meanwhile, so that it is noticed if the buffer
    /// goes past it.
    pub fn then_after(&self) -> u64 {
        self.until.changes
    }

    /// What the client has seen of the history when it came.
    pub fn seen(&self) -> HistoryPosition {
        self.seen
    }

    /// Up to here of the history the client has been shown what it missed, once all has been given out.
    pub fn end(&self) -> HistoryPosition {
        self.until.events
    }

    /// The position after which the next page of the history is read; `None`: all has been given out.
    pub fn next_page_after(&self) -> Option<HistoryPosition> {
        (!self.is_over).then_some(self.after)
    }

    /// The events of the page that was read there, as far as they belong to this stream. `None`: the store keeps no order.
    pub fn take_page(&mut self, page: Option<EventPage>) -> Result<Vec<StoredEvent>, GapReason> {
        let mut page = page.ok_or(GapReason::NotLogged)?;
        // The positions of another store cannot be compared.
        if page.incomplete || page.reached.order != self.until.events.order {
            return Err(GapReason::Dropped);
        }
        self.events += page.events.len();
        if self.events > EVENTS_MAX {
            return Err(GapReason::TooMany);
        }
        // A page that does not lead on is the last one, too.
        self.is_over = page.reached >= self.until.events || page.reached <= self.after;
        self.after = page.reached;
        let end = page.events.iter().position(|entry| entry.position > self.until.events);
        if let Some(end) = end {
            self.is_over = true;
            page.events.truncate(end);
        }
        Ok(page.events)
    }
}
