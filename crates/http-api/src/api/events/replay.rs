//! What has happened since an earlier stream ended, out of the history that is kept: each event as it changed what was
//! believed of its device, as far as the history tells.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::frame::{self, Gap};
use super::position::StreamPosition;
use super::stream::{Follower, joined};
use crate::api::devices::view::Viewer;
use presence::history::{EventPage, HistoryPosition, StoredEvent};
use presence::{DeviceName, DeviceState, EventKind, UnixSeconds};
use server::feed::HistoryWatermark;
use server::freshness::RoundNumber;
use server::registry::{Arrival, Provenance, Snapshot};

/// Events that are read at once.
const PAGE: usize = 1_000;
/// More events are not shown again: whoever has missed so many is better served by a snapshot.
pub const EVENTS_MAX: usize = 100_000;

/// How far a replay is.
pub struct HistoryReplay {
    /// Up to where in the history events were shown or passed over.
    after: HistoryPosition,
    /// Changes of this process that the client has seen already.
    seen: u64,
    /// Where the history ends and the feed takes over.
    until: Option<HistoryWatermark>,
    events: usize,
    states: HashMap<DeviceName, DeviceState>,
    over: bool,
}

/// What comes of a step.
pub enum Past {
    /// May be empty.
    Block(Bytes),
    /// The live changes follow.
    Over,
    Gap(Gap),
}

impl HistoryReplay {
    /// After an event of the history, and after a change of this process.
    pub fn new(after: HistoryPosition, seen: u64) -> Self {
        Self { after, seen, until: None, events: 0, states: HashMap::new(), over: false }
    }

    pub async fn next(&mut self, follower: &mut Follower) -> Past {
        if self.over {
            return Past::Over;
        }
        let until = match self.until {
            Some(until) => until,
            None => match self.join(follower) {
                Ok(until) => *self.until.insert(until),
                Err(gap) => return Past::Gap(gap),
            },
        };
        match self.read(follower).await {
            Ok(page) => self.show(page, until, follower),
            Err(gap) => Past::Gap(gap),
        }
    }

    /// Decides where the history ends for this replay: the feed goes on after what it tells. The reader waits there, so that
    /// it is noticed if the feed goes past it meanwhile.
    fn join(&self, follower: &mut Follower) -> Result<HistoryWatermark, Gap> {
        let feed = &follower.context.feed;
        let until = feed.watermark().ok_or(Gap::NotLogged)?;
        // What stands in no history must still be in memory.
        if !feed.reaches(until.changes) || feed.may_have_missed(self.seen, self.after) {
            return Err(Gap::NotLogged);
        }
        follower.reader.go_to(until.changes);
        Ok(until)
    }

    async fn read(&mut self, follower: &Follower) -> Result<EventPage, Gap> {
        let page = follower.context.history.events(self.after, PAGE).await.map_err(|error| {
            tracing::warn!(%error, "a stream cannot read the history");
            Gap::Store
        })?;
        let page = page.ok_or(Gap::NotLogged)?;
        if page.incomplete {
            return Err(Gap::Dropped);
        }
        self.events += page.events.len();
        if self.events > EVENTS_MAX { Err(Gap::TooMany) } else { Ok(page) }
    }

    fn show(&mut self, page: EventPage, until: HistoryWatermark, follower: &Follower) -> Past {
        let mut blocks = Vec::new();
        // A page that does not lead on is the last one, too.
        self.over = page.reached >= until.events || page.reached <= self.after;
        self.after = page.reached;
        let viewer = Viewer::of(&follower.context);
        for entry in page.events {
            if entry.position > until.events {
                self.over = true;
                break;
            }
            blocks.extend(self.past_change(entry, follower, &viewer));
        }
        if self.over {
            blocks.extend(self.unlogged_changes(until, follower, &viewer));
        }
        Past::Block(joined(blocks.into_iter()))
    }

    /// An event as a change of what was believed, if it is one that the client wants.
    fn past_change(&mut self, entry: StoredEvent, follower: &Follower, viewer: &Viewer<'_>) -> Option<Bytes> {
        let StoredEvent { device_type, id, position, row } = entry;
        let name = DeviceName { device_type, id };
        let is_refusal = row.event.kind == EventKind::Refusal;
        // A refused login changes nothing, unless nothing else is known; the history alone cannot tell before the first
        // event that is shown, but the map can.
        let decides = |record: &server::registry::Record| record.resolve().event.kind == EventKind::Refusal;
        if is_refusal
            && !self.states.contains_key(&name)
            && !follower.context.map.read(name.device(), decides).unwrap_or(false)
        {
            return None;
        }
        let state = self.states.entry(name.clone()).or_default();
        let previous = state.resolve().map(|resolved| resolved.status);
        if !state.apply(row.event) {
            return None;
        }
        let arrival = Arrival {
            provenance: Provenance::Live,
            at: UnixSeconds(row.received_at.0),
            round: RoundNumber::NONE,
        };
        let snapshot = Snapshot::of_state(name, state, arrival)?;
        let id = StreamPosition::in_history(position);
        follower.admits(&snapshot).then(|| frame::past_change(id, &snapshot, previous, viewer))
    }

    /// The changes of this process that the history does not tell of, up to where the feed takes over.
    fn unlogged_changes(
        &self,
        until: HistoryWatermark,
        follower: &Follower,
        viewer: &Viewer<'_>,
    ) -> Vec<Bytes> {
        let feed = &follower.context.feed;
        let mut blocks = VecDeque::new();
        for change in feed.unlogged_changes(self.seen, until.changes) {
            if follower.admits_change(&change) {
                blocks.push_back(frame::without_id(&follower.shown(&change, viewer)));
            }
        }
        blocks.into()
    }
}
