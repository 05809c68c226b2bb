//! Shows what has happened since an earlier stream ended, out of the history and of what memory has beside it. What that is, and
//! whether it is everything, is decided in [`server::feed::resume`].

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::frame;
use super::stream::{Follower, joined};
use crate::devices::view::Viewer;
use presence::DeviceName;
use presence::history::StoredEvent;
use server::feed::resume::{
    EARLIER_EVENTS, EARLIER_READS_MAX, GapReason, HistoryResumption, LastWord, PastChange, PastStates,
    StreamPosition,
};
use server::feed::{Behind, Change};
use server::registry::Snapshot;
use store::StoreError;

/// Events that are read at once.
const PAGE: usize = 1_000;

/// What is shown in one step, some hundred microseconds: the other connections of a thread wait meanwhile.
const SHOWN_AT_ONCE: usize = 32;

/// Devices that are compared with the registry in one step, some hundred microseconds.
const COMPARED_AT_ONCE: usize = 512;

/// How far a replay is.
pub struct HistoryReplay {
    resumption: HistoryResumption,
    /// What has been read and not been shown.
    waiting: VecDeque<MissedItem>,
    states: PastStates,
}

/// Something that the client has missed.
enum MissedItem {
    /// It is in no history.
    Change(Arc<Change>),
    Event(StoredEvent),
}

impl HistoryReplay {
    pub fn new(resumption: HistoryResumption) -> Self {
        let states = PastStates::new(resumption.seen(), EARLIER_READS_MAX);
        Self { resumption, waiting: VecDeque::new(), states }
    }

    /// What comes next, which may be empty; `None`: the live changes follow.
    pub async fn next(
        &mut self,
        follower: &mut Follower,
        keep_alive_at: Instant,
    ) -> Result<Option<Bytes>, GapReason> {
        if let Some(block) = follower.wait_for_room(keep_alive_at).await {
            return Ok(Some(block));
        }
        if self.waiting.is_empty() && !self.read(follower).await? {
            let last = self.last_words(follower).await?;
            return Ok(Some(last).filter(|block| !block.is_empty()));
        }
        let context = follower.context.clone();
        let viewer = Viewer::of(&context);
        let step: Vec<MissedItem> = self.waiting.drain(..self.waiting.len().min(SHOWN_AT_ONCE)).collect();
        let mut blocks = Vec::new();
        for missed in step {
            match missed {
                MissedItem::Change(change) => {
                    self.states.note_unlogged(&change);
                    blocks.extend(follower.beside_history(&change, &viewer));
                }
                MissedItem::Event(entry) => blocks.extend(self.past_change(entry, follower, &viewer).await?),
            }
        }
        Ok(Some(joined(blocks.into_iter())))
    }

    /// Reads the next part of what was missed; says whether there was one.
    async fn read(&mut self, follower: &Follower) -> Result<bool, GapReason> {
        if let Some(changes) = follower.context.feed.unlogged_changes(&mut self.resumption)? {
            self.waiting.extend(changes.into_iter().map(MissedItem::Change));
            return Ok(true);
        }
        let Some(after) = self.resumption.next_page_after() else { return Ok(false) };
        let page = follower.context.history.events(after, PAGE).await.map_err(unreadable)?;
        self.waiting.extend(self.resumption.take_page(page)?.into_iter().map(MissedItem::Event));
        Ok(true)
    }

    /// What the client is shown now that this event comes.
    async fn past_change(
        &mut self,
        entry: StoredEvent,
        follower: &mut Follower,
        viewer: &Viewer<'_>,
    ) -> Result<Vec<Bytes>, GapReason> {
        let context = follower.context.clone();
        if self.states.needs_earlier(&entry, &*context.map) {
            let name = DeviceName { device_type: entry.device_type.clone(), id: entry.id.clone() };
            let earlier = context.history.history(name, Some(entry.row.sequence), EARLIER_EVENTS).await;
            self.states.take_earlier(&entry, earlier.map_err(unreadable)?);
        }
        let changes = self.states.offer(entry, &*context.map);
        let id = StreamPosition::in_history(self.states.position());
        Ok(changes.iter().flat_map(|change| shown(id, change, follower, viewer)).collect())
    }

    /// What is still to be shown after the last event, before the changes that follow.
    async fn last_words(&mut self, follower: &mut Follower) -> Result<Bytes, GapReason> {
        let context = follower.context.clone();
        let mut open = Vec::new();
        let mut devices = self.states.take_devices().into_iter();
        while !devices.as_slice().is_empty() {
            let compared = devices.by_ref().take(COMPARED_AT_ONCE);
            open.extend(compared.filter(|device| device.is_open(&*context.map)));
            yield_now().await;
        }
        if open.is_empty() {
            return Ok(Bytes::new());
        }
        let next = context.feed.next_changes(self.resumption.then_after());
        let mut next = next.map_err(|Behind| GapReason::TooMany)?;
        let id = StreamPosition::in_history(self.resumption.end());
        let viewer = Viewer::of(&context);
        let mut blocks = Vec::new();
        for device in open {
            let name = device.name.clone();
            let changes = match device.finish(next.remove(&name)) {
                LastWord::Held(changes) => changes,
                LastWord::Today(previous) => {
                    let now = context.map.read(name.device(), Snapshot::of).into_iter();
                    now.map(|device| PastChange { device, previous }).collect()
                }
                LastWord::Nothing => Vec::new(),
            };
            blocks.extend(changes.iter().flat_map(|change| shown(id, change, follower, &viewer)));
        }
        Ok(joined(blocks.into_iter()))
    }
}

fn unreadable(error: StoreError) -> GapReason {
    tracing::warn!(%error, "a stream cannot read the history");
    GapReason::Store
}

fn shown(
    id: StreamPosition,
    change: &PastChange,
    follower: &mut Follower,
    viewer: &Viewer<'_>,
) -> Vec<Bytes> {
    let PastChange { device, previous } = change;
    if let Some(blocks) = follower.settled_change(device, *previous, id, viewer) {
        return blocks;
    }
    let is_wanted = follower.admits(device);
    is_wanted.then(|| frame::past_change(id, device, *previous, viewer)).into_iter().collect()
}
