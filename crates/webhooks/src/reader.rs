//! Finds the changes that an endpoint receives: reads the log, turns its entries into changes of devices, and holds
//! disconnects back until they have settled.

use std::time::Duration;

use presence::UnixSeconds;
use presence::history::HistoryPosition;
use presence::settle::{IfConnected, Settle, StatusChange};
use presence::{Device, DeviceName, Status};
use server::freshness::RoundNumber;
use server::registry::{Arrival, Provenance, Snapshot};
use store::{ChangeCursor, StoreError, StoredDevice};

use crate::feed_changes::FeedChanges;
use crate::log::LogEntry;
use crate::message::FleetGap;
use crate::progress::EndpointProgress;
use crate::service::Webhooks;
use crate::settings::{BATCH_MAX, EndpointSettings, EventType};
use crate::states::{DeviceStates, StateChange};
use system::turn::give_way;

/// Events that are read at once. What they make is in memory until the endpoint has taken all of it: four megabytes at most, as
/// a device is shown in less than 8 KiB.
pub const PAGE_EVENTS: usize = BATCH_MAX;

/// Disconnects that may be undecided, for all endpoints together: some 500 bytes each. An endpoint with its share reads on once
/// some are decided.
const UNDECIDED_MAX: usize = 200_000;

/// A place in the log, and what was read before it and is not decided.
pub struct LogReader<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    position: HistoryPosition,
    /// The states of devices at `position`, if the endpoint is behind the others and reads for itself.
    states: DeviceStates,
    feed: FeedChanges,
    /// What has changed in the store after this comes before the log; `None`: nothing does.
    resync: Option<ChangeCursor>,
    settle: Settle<StateChange, HistoryPosition>,
    undecided_max: usize,
    /// The endpoint had received everything up to this position's number when the process began. The history before it is read
    /// again to find the undecided disconnects.
    sent_up_to: Option<u64>,
    /// Disconnects that were decided before the process began are decided in the same way again.
    has_same_settle: bool,
    /// The next page may be incomplete: the reader was asked for what the history still has, not for everything.
    takes_what_there_is: bool,
    /// Changes are missing for this reason; the next step returns it.
    gap: Option<FleetGap>,
}

/// The changes that a step has found.
pub struct ChangePage {
    pub changes: Vec<StateChange>,
    /// There may be more at once.
    pub has_more: bool,
}

impl<'a> LogReader<'a> {
    pub fn new(all: &'a Webhooks, endpoint: &'a EndpointSettings, from: HistoryPosition) -> Self {
        let settling = all.endpoints.borrow().iter().filter(|endpoint| !endpoint.settle.is_zero()).count();
        Self {
            all,
            endpoint,
            position: from,
            states: DeviceStates::default(),
            feed: FeedChanges::default(),
            resync: None,
            settle: Settle::new(endpoint.settle),
            undecided_max: UNDECIDED_MAX / settling.max(1),
            sent_up_to: None,
            has_same_settle: true,
            takes_what_there_is: false,
            gap: None,
        }
    }

    /// Continues where an endpoint was; `None` if its progress has no position.
    pub fn resume(
        all: &'a Webhooks,
        endpoint: &'a EndpointSettings,
        progress: &EndpointProgress,
    ) -> Option<Self> {
        let position = progress.position()?;
        let undecided = progress.undecided();
        let sent_up_to = undecided.map(|_| position.number);
        let has_same_settle = progress.had_settle(endpoint.settle);
        Some(Self { sent_up_to, has_same_settle, ..Self::new(all, endpoint, undecided.unwrap_or(position)) })
    }

    /// Where the endpoint continues once it has accepted everything up to now.
    pub fn position(&self) -> HistoryPosition {
        self.position
    }

    /// The same as the store has it.
    pub fn progress(&self) -> EndpointProgress {
        let progress = EndpointProgress::at(self.position());
        match self.settle.oldest_mark() {
            Some(from) => progress.with_undecided(*from, self.endpoint.settle),
            None => progress,
        }
    }

    /// Whether it still reads what the endpoint had received before the process began, to find the undecided disconnects.
    pub fn is_catching_up(&self) -> bool {
        self.sent_up_to.is_some()
    }

    /// Continues there, and forgets the disconnects that are undecided.
    pub fn go_to(&mut self, position: HistoryPosition) {
        let resync = self.resync.take();
        *self = Self { resync, ..Self::new(self.all, self.endpoint, position) };
    }

    /// First finds the newest state of each device that has changed in the store after the cursor.
    pub fn resync_from(&mut self, cursor: ChangeCursor) {
        self.resync = Some(cursor);
    }

    /// Where the store's changes are still read; `None`: only the log is.
    pub fn resync(&self) -> Option<&ChangeCursor> {
        self.resync.as_ref()
    }

    /// The number up to which every change of the log is decided.
    pub fn decided(&self) -> u64 {
        self.settle.oldest_mark().unwrap_or(&self.position).number
    }

    /// Continues with the first event that the history has from that time on, in seconds since 1970, and after no later number
    /// than that, so that nothing is left out.
    pub async fn go_back_to(&mut self, since: u32, latest: u64) {
        let order = self.all.newest().await.order;
        let (mut from, mut to) = (0, self.decided().min(latest));
        // About the order of time, as several instances have several clocks.
        while from < to {
            let number = from + (to - from) / 2;
            let page = self.all.page_after(HistoryPosition { order, number }, 1).await;
            if page.entries.first().is_some_and(|entry| entry.received_at().0 < since) {
                from = number + 1;
            } else {
                to = number;
            }
        }
        self.go_to(HistoryPosition { order, number: from });
        self.takes_what_there_is = true;
    }

    /// How long it is until something may be due; `None`: nothing is undecided.
    pub fn due_in(&self) -> Option<Duration> {
        self.settle.due_in(self.all.clock.now_ms())
    }

    /// Notes that something is missing before this place.
    pub fn note_gap(&mut self, gap: FleetGap) {
        self.gap = Some(gap);
    }

    /// The changes of the next page that are due, and what has become due since.
    pub async fn next(&mut self) -> Result<ChangePage, FleetGap> {
        if let Some(gap) = self.gap.take() {
            return Err(gap);
        }
        // Before the page is read: a connect that was received earlier is in it, or is known to the registry.
        let now_ms = self.all.clock.now_ms();
        if self.settle.len() >= self.undecided_max {
            let changes = self.due_by_clock(now_ms, IfConnected::Drop);
            return Ok(ChangePage { has_more: !changes.is_empty(), changes });
        }
        if let Some(cursor) = self.resync.take() {
            return Ok(self.read_store(cursor).await);
        }
        let before = self.position;
        let page = match self.all.page_of_tail(before).await {
            Some(page) => {
                self.states = DeviceStates::default();
                page
            }
            None => self.all.page_after(before, PAGE_EVENTS).await,
        };
        if let Some(gap) = page.gap.filter(|_| !std::mem::take(&mut self.takes_what_there_is)) {
            return Err(gap);
        }
        self.position = page.reached;
        let has_more = page.may_have_more;
        let mut changes = Vec::new();
        for entry in &page.entries {
            give_way();
            self.read(entry, before, &mut changes).await;
        }
        if self.sent_up_to.is_some_and(|number| self.position.number >= number) {
            self.sent_up_to = None;
        }
        if self.feed.has_unknown && self.all.feed.is_populated() {
            self.feed.has_unknown = false;
            self.gap = Some(FleetGap::NotLogged);
        }
        if !has_more {
            changes.extend(self.due_by_clock(now_ms, IfConnected::Wait));
        }
        Ok(ChangePage { changes, has_more: has_more || self.gap.is_some() })
    }

    /// Reads which devices have changed in the store after the cursor.
    async fn read_store(&mut self, cursor: ChangeCursor) -> ChangePage {
        let mut due = Vec::new();
        let found = loop {
            match self.all.store.changes(cursor.clone(), PAGE_EVENTS).await {
                Ok(found) => break found,
                Err(StoreError::Gap(why)) => {
                    // The endpoint has received fleet.gap, and what follows is in memory.
                    tracing::warn!(endpoint = %self.endpoint.name, why, "the store cannot say what a webhook has missed");
                    return ChangePage { changes: due, has_more: true };
                }
                Err(error) => self.all.wait_for_store(&error).await,
            }
        };
        let before = self.position;
        for StoredDevice { name, state, received_at } in found.devices {
            let arrival = Arrival { provenance: Provenance::Peer, at: received_at, round: RoundNumber::NONE };
            let Some(device) = Snapshot::of_state(name, &state, arrival) else { continue };
            self.feed.note(&device);
            let mut found = Vec::new();
            self.offer(StateChange::unplaced(device, None), received_at, before, &mut found);
            due.extend(found.into_iter().filter(|change| self.endpoint.admits(change)));
        }
        self.resync = Some(found.cursor).filter(|reached| *reached != cursor);
        ChangePage { changes: due, has_more: true }
    }

    /// Applies the next entry, and adds the changes that are due because of it.
    async fn read(&mut self, entry: &LogEntry, before: HistoryPosition, due: &mut Vec<StateChange>) {
        let at = entry.received_at();
        let was_sent = self.sent_up_to.is_some_and(|number| entry.number() <= number);
        let mut found = Vec::new();
        while let Some(change) = self.settle.take_due(i64::from(at.0) * 1_000) {
            found.push(change);
        }
        let changes = match entry {
            LogEntry::Change(change) if change.removal.is_some() => {
                self.settle.forget(&DeviceName::of(change.snapshot.device()));
                self.feed.changes(change)
            }
            LogEntry::Change(change) => self.feed.changes(change),
            LogEntry::Event(event) => self.all.changes_of(event, &mut self.states).await,
            LogEntry::Read(event) => event.changes.clone(),
        };
        for change in changes {
            self.offer(change, at, before, &mut found);
        }
        let was_sent = |change: &StateChange| {
            was_sent && (self.has_same_settle || change.event_type() != EventType::Disconnected)
        };
        let wanted = |change: &StateChange| !was_sent(change) && self.endpoint.admits(change);
        due.extend(found.into_iter().filter(wanted));
    }

    /// Adds what is due because of a change.
    fn offer(
        &mut self,
        change: StateChange,
        at: UnixSeconds,
        before: HistoryPosition,
        due: &mut Vec<StateChange>,
    ) {
        if !change.is_of_state() {
            due.push(change);
            return;
        }
        let device = DeviceName::of(change.device.device());
        if change.device.status == Status::Disconnected && !self.endpoint.selects(&change.device) {
            self.settle.forget(&device);
            return;
        }
        let (status, previous) = (change.device.status, change.previous);
        let of = StatusChange { status, previous, at_ms: i64::from(at.0) * 1_000 };
        due.extend(self.settle.offer(device, of, change, before));
    }

    /// Disconnects that have lasted long enough by now, as far as the device is still disconnected.
    fn due_by_clock(&mut self, now_ms: i64, if_connected: IfConnected) -> Vec<StateChange> {
        let registry = &self.all.registry;
        let status_of = |device: Device<'_>| registry.read(device, |record| record.resolve().status);
        let mut due = self.settle.take_still_disconnected(now_ms, if_connected, status_of);
        due.retain(|change| self.endpoint.admits(change));
        due
    }
}
