//! The newest events of the history, read once for all endpoints that are there: each of ten would otherwise read every event,
//! and the events of its device before it, for itself.

use std::collections::VecDeque;
use std::sync::Arc;

use presence::UnixSeconds;
use presence::history::{HistoryPosition, StoredEvent};
use tokio::sync::Mutex;

use crate::log::{ChangeLog, LogEntry, LogPage};
use crate::reader::PAGE_EVENTS;
use crate::service::Webhooks;
use crate::states::{DeviceStates, StateChange};
use system::turn::give_way;

/// Events that are remembered with what they have changed, some 600 bytes each; one page more where the store reads whole
/// transactions. An endpoint that is further behind reads the store for itself.
const EVENTS_MAX: usize = 4 * PAGE_EVENTS;
/// In so many pages: each time the history grows makes one.
const PAGES_MAX: usize = 64;

/// An event, and what it has changed.
pub struct ReadEvent {
    pub number: u64,
    pub received_at: UnixSeconds,
    pub changes: Vec<StateChange>,
}

/// The newest events that any endpoint has read. `None`: no endpoint has read any, or they are being read.
#[derive(Default)]
pub struct HistoryTail(Mutex<Option<ReadPages>>);

/// Consecutive pages, and the states of devices after the last of them.
struct ReadPages {
    pages: VecDeque<ReadPage>,
    reached: HistoryPosition,
    states: DeviceStates,
}

/// What follows a position. Only whole pages can be shared: the events of one need not be in the order of their positions.
struct ReadPage {
    after: HistoryPosition,
    events: Vec<Arc<ReadEvent>>,
    reached: HistoryPosition,
    may_have_more: bool,
}

impl ReadPages {
    fn beginning_at(reached: HistoryPosition) -> Self {
        Self { pages: VecDeque::new(), reached, states: DeviceStates::default() }
    }

    /// Whether they end before that position, or are of another order.
    fn are_before(&self, position: HistoryPosition) -> bool {
        self.reached.order != position.order || self.reached.number < position.number
    }

    fn push(&mut self, page: ReadPage) {
        self.reached = page.reached;
        self.pages.push_back(page);
        let mut events: usize = self.pages.iter().map(|page| page.events.len()).sum();
        while self.pages.len() > PAGES_MAX || (events > EVENTS_MAX && self.pages.len() > 1) {
            events -= self.pages.pop_front().map_or(0, |page| page.events.len());
        }
    }

    fn page_after(&self, after: HistoryPosition) -> Option<LogPage> {
        let page = self.pages.iter().rev().find(|page| page.after == after)?;
        Some(LogPage {
            entries: page.events.iter().cloned().map(LogEntry::Read).collect(),
            reached: page.reached,
            newest: self.reached,
            gap: None,
            may_have_more: page.may_have_more || page.reached != self.reached,
        })
    }
}

impl Webhooks {
    /// The next entries of the log after a position, with what they have changed; `None`: they are not remembered, or the log is
    /// not the history.
    pub(crate) async fn page_of_tail(&self, after: HistoryPosition) -> Option<LogPage> {
        if self.log == ChangeLog::Feed {
            return None;
        }
        let mut held = self.tail.0.lock().await;
        // Whoever is cancelled below leaves nothing that is half read.
        let mut tail = held
            .take()
            .filter(|tail| !tail.are_before(after))
            .unwrap_or_else(|| ReadPages::beginning_at(after));
        if after != tail.reached {
            return held.insert(tail).page_after(after);
        }
        let page = self.page_after(after, PAGE_EVENTS).await;
        if page.gap.is_some() || page.reached.order != after.order {
            return Some(page);
        }
        let mut events = Vec::with_capacity(page.entries.len());
        for entry in &page.entries {
            let LogEntry::Event(event) = entry else { continue };
            give_way();
            let changes = self.changes_of(event, &mut tail.states).await;
            let (number, received_at) = (entry.number(), entry.received_at());
            events.push(Arc::new(ReadEvent { number, received_at, changes }));
        }
        let entries = events.iter().cloned().map(LogEntry::Read).collect();
        if page.reached != after {
            tail.push(ReadPage { after, events, reached: page.reached, may_have_more: page.may_have_more });
        }
        *held = Some(tail);
        Some(LogPage { entries, ..page })
    }

    /// What an event has changed, by the states before it.
    pub(crate) async fn changes_of(
        &self,
        event: &StoredEvent,
        states: &mut DeviceStates,
    ) -> Vec<StateChange> {
        loop {
            match states.changes(event, &*self.store, &self.registry).await {
                Ok(changes) => return changes,
                Err(error) => self.wait_for_store(&error).await,
            }
        }
    }
}
