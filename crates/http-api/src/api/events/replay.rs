//! Shows what has happened since an earlier stream ended, out of the history and of what memory has beside it. What that is, and
//! whether it is everything, is decided in [`server::feed::resume`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use super::frame;
use super::stream::{Follower, joined};
use crate::api::devices::view::Viewer;
use presence::history::StoredEvent;
use presence::{DeviceName, DeviceState, EventKind, UnixSeconds};
use server::feed::Change;
use server::feed::resume::{GapReason, HistoryResumption, StreamPosition};
use server::freshness::RoundNumber;
use server::registry::{Arrival, Provenance, Snapshot};

/// Events that are read at once.
const PAGE: usize = 1_000;

/// What is shown in one step, some hundred microseconds: the other connections of a thread wait meanwhile.
const SHOWN_AT_ONCE: usize = 32;

/// How far a replay is.
pub struct HistoryReplay {
    resumption: HistoryResumption,
    /// What has been read and not been shown.
    waiting: VecDeque<MissedItem>,
    /// Of each device that was shown, what the history has told so far.
    states: HashMap<DeviceName, DeviceState>,
}

/// Something that the client has missed.
enum MissedItem {
    /// It is in no history.
    Change(Arc<Change>),
    Event(StoredEvent),
}

impl HistoryReplay {
    pub fn new(resumption: HistoryResumption) -> Self {
        Self { resumption, waiting: VecDeque::new(), states: HashMap::new() }
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
            return Ok(None);
        }
        let context = follower.context.clone();
        let viewer = Viewer::of(&context);
        let step: Vec<MissedItem> = self.waiting.drain(..self.waiting.len().min(SHOWN_AT_ONCE)).collect();
        let blocks = step.into_iter().map(|missed| match missed {
            MissedItem::Change(change) => follower.beside_history(&change, &viewer),
            MissedItem::Event(entry) => self.past_change(entry, follower, &viewer),
        });
        Ok(Some(joined(blocks.flatten())))
    }

    /// Reads the next part of what was missed; says whether there was one.
    async fn read(&mut self, follower: &Follower) -> Result<bool, GapReason> {
        if let Some(changes) = follower.context.feed.unlogged_changes(&mut self.resumption)? {
            self.waiting.extend(changes.into_iter().map(MissedItem::Change));
            return Ok(true);
        }
        let Some(after) = self.resumption.next_page_after() else { return Ok(false) };
        let page = follower.context.history.events(after, PAGE).await.map_err(|error| {
            tracing::warn!(%error, "a stream cannot read the history");
            GapReason::Store
        })?;
        self.waiting.extend(self.resumption.take_page(page)?.into_iter().map(MissedItem::Event));
        Ok(true)
    }

    /// What the client is shown for an event, if it is a change of the device's state.
    fn past_change(
        &mut self,
        entry: StoredEvent,
        follower: &mut Follower,
        viewer: &Viewer<'_>,
    ) -> Vec<Bytes> {
        let StoredEvent { device_type, id, position, row } = entry;
        let name = DeviceName { device_type, id };
        let is_refusal = row.event.kind == EventKind::Refusal;
        // A refused login changes nothing, unless nothing else is known; the history alone cannot tell before the first
        // event that is shown, but the registry can.
        let decides = |record: &server::registry::Record| record.resolve().event.kind == EventKind::Refusal;
        if is_refusal
            && !self.states.contains_key(&name)
            && !follower.context.map.read(name.device(), decides).unwrap_or(false)
        {
            return Vec::new();
        }
        let state = self.states.entry(name.clone()).or_default();
        let previous = state.resolve().map(|resolved| resolved.status);
        if !state.apply(row.event) {
            return Vec::new();
        }
        let arrival = Arrival {
            provenance: Provenance::Live,
            at: UnixSeconds(row.received_at.0),
            round: RoundNumber::NONE,
        };
        let Some(snapshot) = Snapshot::of_state(name, state, arrival) else { return Vec::new() };
        let id = StreamPosition::in_history(position);
        if let Some(blocks) = follower.settled_change(&snapshot, previous, id, viewer) {
            return blocks;
        }
        let is_wanted = follower.admits(&snapshot);
        is_wanted.then(|| frame::past_change(id, &snapshot, previous, viewer)).into_iter().collect()
    }
}
