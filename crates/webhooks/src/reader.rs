//! Finds the changes that an endpoint receives: reads the history, turns its events into changes of devices, and holds
//! disconnects back until they have settled.

use std::time::Duration;

use presence::history::{EventPage, HistoryPosition, StoredEvent};
use presence::settle::{IfConnected, Settle, StatusChange};
use presence::{Device, DeviceName, Status};
use server::feed::resume::{GapReason, HistoryTail};
use system::clock;

use crate::progress::EndpointProgress;
use crate::service::Webhooks;
use crate::settings::{BATCH_MAX, EndpointSettings};
use crate::states::{Change, DeviceStates};

/// Events that are read at once. What they make is in memory until the endpoint has taken all of it: two megabytes at most, as
/// a device is shown in less than 8 KiB.
const PAGE_EVENTS: usize = BATCH_MAX;

/// Disconnects that may be undecided, for all endpoints together: some 500 bytes each. An endpoint with its share reads on once
/// some are decided.
const UNDECIDED_MAX: usize = 200_000;

/// A place in the history, and what was read before it and is not decided.
pub struct HistoryReader<'a> {
    all: &'a Webhooks,
    endpoint: &'a EndpointSettings,
    tail: HistoryTail,
    states: DeviceStates,
    settle: Settle<Change, HistoryPosition>,
    undecided_max: usize,
    /// The endpoint had received everything up to this position's number when the process began. The history before it is read
    /// again to find the undecided disconnects.
    sent_up_to: Option<u64>,
    /// Disconnects that were decided before the process began are decided in the same way again.
    has_same_settle: bool,
    /// The next page may be incomplete: the reader was asked for what the history still has, not for everything.
    takes_what_there_is: bool,
    /// Changes are missing for this reason; the next step returns it.
    gap: Option<GapReason>,
}

/// The changes that a step has found.
pub struct ChangePage {
    pub changes: Vec<Change>,
    /// There may be more at once.
    pub has_more: bool,
}

impl<'a> HistoryReader<'a> {
    pub fn new(all: &'a Webhooks, endpoint: &'a EndpointSettings, from: HistoryPosition) -> Self {
        let settling = all.endpoints.borrow().iter().filter(|endpoint| !endpoint.settle.is_zero()).count();
        Self {
            all,
            endpoint,
            tail: HistoryTail::after(from),
            states: DeviceStates::default(),
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
        self.tail.position()
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
        *self = Self::new(self.all, self.endpoint, position);
    }

    /// Continues with the first event that the history has from that time on, in seconds since 1970.
    pub async fn go_back_to(&mut self, since: u32) {
        let order = newest(self.all).await.order;
        let (mut from, mut to) = (0, self.position().number);
        // About the order of time, as several instances have several clocks.
        while from < to {
            let number = from + (to - from) / 2;
            let page = page_after(self.all, HistoryPosition { order, number }, 1).await;
            let next = page.and_then(|page| page.events.into_iter().next());
            if next.is_some_and(|entry| entry.row.received_at.0 < since) {
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
        self.settle.due_in(clock::now_millis())
    }

    /// Notes that something is missing before this place.
    pub fn note_gap(&mut self, reason: GapReason) {
        self.gap = Some(reason);
    }

    /// The changes of the next page that are due, and what has become due since.
    pub async fn next(&mut self) -> Result<ChangePage, GapReason> {
        if let Some(reason) = self.gap.take() {
            return Err(reason);
        }
        // Before the page is read: a connect that was received earlier is in it, or is known to the registry.
        let now_ms = clock::now_millis();
        if self.settle.len() >= self.undecided_max {
            let changes = self.due_by_clock(now_ms, IfConnected::Drop);
            return Ok(ChangePage { has_more: !changes.is_empty(), changes });
        }
        let before = self.position();
        let mut page = page_after(self.all, before, PAGE_EVENTS).await;
        if let Some(page) = page.as_mut().filter(|_| std::mem::take(&mut self.takes_what_there_is)) {
            page.incomplete = false;
        }
        let events = self.tail.take_page(page)?;
        let has_more = events.len() >= PAGE_EVENTS;
        let mut changes = Vec::new();
        for entry in &events {
            self.read(entry, before, &mut changes).await;
        }
        if self.sent_up_to.is_some_and(|number| self.position().number >= number) {
            self.sent_up_to = None;
        }
        if !has_more {
            changes.extend(self.due_by_clock(now_ms, IfConnected::Wait));
        }
        Ok(ChangePage { changes, has_more })
    }

    /// Applies the next event, and adds the changes that are due because of it.
    async fn read(&mut self, entry: &StoredEvent, before: HistoryPosition, due: &mut Vec<Change>) {
        let at_ms = i64::from(entry.row.received_at.0) * 1_000;
        let was_sent = self.sent_up_to.is_some_and(|number| entry.position.number <= number);
        let mut found = Vec::new();
        while let Some(change) = self.settle.take_due(at_ms) {
            found.push(change);
        }
        let change = loop {
            match self.states.change(entry, &*self.all.store, &self.all.registry).await {
                Ok(change) => break change,
                Err(error) => self.all.wait_for_store(&error).await,
            }
        };
        if let Some(change) = change {
            let device = DeviceName::of(change.device.device());
            let is_off = change.device.status == Status::Disconnected;
            if is_off && !self.endpoint.selects(&change.device) {
                self.settle.forget(&device);
            } else {
                let of = StatusChange { status: change.device.status, previous: change.previous, at_ms };
                found.extend(self.settle.offer(device, of, change, before));
            }
        }
        let was_sent =
            |change: &Change| was_sent && (self.has_same_settle || change.device.status == Status::Connected);
        let wanted = |change: &Change| !was_sent(change) && self.endpoint.admits(&change.device);
        due.extend(found.into_iter().filter(wanted));
    }

    /// Disconnects that have lasted long enough by now, as far as the device is still disconnected.
    fn due_by_clock(&mut self, now_ms: i64, if_connected: IfConnected) -> Vec<Change> {
        let registry = &self.all.registry;
        let status_of = |device: Device<'_>| registry.read(device, |record| record.resolve().status);
        let mut due = self.settle.take_still_disconnected(now_ms, if_connected, status_of);
        due.retain(|change| self.endpoint.admits(&change.device));
        due
    }
}

/// Where the history ends.
pub async fn newest(all: &Webhooks) -> HistoryPosition {
    let page = page_after(all, HistoryPosition::BEGINNING, 0).await;
    page.map_or(HistoryPosition::BEGINNING, |page| page.newest)
}

async fn page_after(all: &Webhooks, after: HistoryPosition, limit: usize) -> Option<EventPage> {
    loop {
        match all.store.events(after, limit).await {
            Ok(page) => return page,
            Err(error) => all.wait_for_store(&error).await,
        }
    }
}
