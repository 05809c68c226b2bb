//! A client of the model, and its stream.

use std::collections::BTreeMap;

use super::super::super::*;
use super::{ChangeKind, DeviceChange, Registry, Store};
use crate::feed::{Behind, ChangeReader};
use presence::Status;

/// Where the stream of a client is.
pub(super) enum Stream {
    None,
    Live(ChangeReader),
    Replay(ChangeReader, HistoryResumption, PastStates),
}

pub struct Client {
    pub(super) stream: Stream,
    /// Of the last event that was received.
    pub(super) id: Option<String>,
    pub(super) watermark: Option<HistoryPosition>,
    /// What the client must be shown in the end, unless it is told of a gap.
    pub owed: BTreeMap<u64, DeviceChange>,
    /// The status of each device, as the client was shown it.
    pub states: BTreeMap<u8, Status>,
}

impl Client {
    /// A snapshot, and then live changes. The first time, and after each gap.
    pub(super) fn begin_anew(
        &mut self,
        mut reader: ChangeReader,
        feed: &Feed,
        registry: &Registry,
    ) -> Stream {
        reader.go_to(feed.head());
        self.owed.clear();
        self.states = registry.statuses();
        self.watermark = None;
        self.id = Some(feed.position_after(feed.head(), None).to_string());
        Stream::Live(reader)
    }

    /// One step of a replay; false: the live changes follow.
    pub(super) fn go_on(
        &mut self,
        resumption: &mut HistoryResumption,
        states: &mut PastStates,
        feed: &Feed,
        store: &Store,
        registry: &Registry,
    ) -> Result<bool, GapReason> {
        if let Some(changes) = feed.unlogged_changes(resumption)? {
            for change in changes {
                states.note_unlogged(&change);
                self.show(&change);
            }
            return Ok(true);
        }
        let Some(after) = resumption.next_page_after() else { return Ok(false) };
        for entry in resumption.take_page(Some(store.page(after)))? {
            if states.needs_earlier(&entry, registry) {
                let earlier = store.history(entry.id.parse().unwrap(), entry.row.sequence);
                states.take_earlier(&entry, earlier);
            }
            let shown = states.offer(entry, registry);
            self.id = Some(StreamPosition::in_history(states.position()).to_string());
            shown.iter().for_each(|change| self.note_past(change));
        }
        Ok(true)
    }

    /// After the last event of a replay.
    pub(super) fn finish(
        &mut self,
        resumption: &HistoryResumption,
        states: &mut PastStates,
        feed: &Feed,
        registry: &Registry,
    ) -> Result<(), Behind> {
        let open: Vec<_> =
            states.take_devices().into_iter().filter(|device| device.is_open(registry)).collect();
        let mut next = feed.next_changes(resumption.then_after())?;
        for device in open {
            let name = device.name.clone();
            match device.finish(next.remove(&name)) {
                LastWord::Held(changes) => changes.iter().for_each(|change| self.note_past(change)),
                LastWord::Today(_) => {
                    let device = name.id.parse().unwrap();
                    self.states.extend(registry.status(device).map(|status| (device, status)));
                }
                LastWord::Nothing => {}
            }
        }
        Ok(())
    }

    fn note_past(&mut self, PastChange { device, .. }: &PastChange) {
        let change = DeviceChange::of(device.device(), &device.event, ChangeKind::Logged);
        self.note(DeviceChange { status: device.status, ..change });
    }

    pub(super) fn show(&mut self, change: &Change) {
        let kind = match (change.removal.is_some(), change.in_history) {
            (true, _) => ChangeKind::Removal,
            (false, true) => ChangeKind::Logged,
            (false, false) => ChangeKind::Unlogged,
        };
        self.note(DeviceChange::of(change.snapshot.device(), &change.snapshot.event, kind));
    }

    pub(super) fn note(&mut self, change: DeviceChange) {
        self.owed.remove(&change.number);
        match change.kind {
            ChangeKind::Logged | ChangeKind::Unlogged => self.states.insert(change.device, change.status),
            ChangeKind::Removal => self.states.remove(&change.device),
        };
    }
}
