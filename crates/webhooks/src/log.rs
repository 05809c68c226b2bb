//! What the readers of endpoints read: the store's ordered history or, where the store keeps no order, the changes in memory.
//! Both have positions. Those in memory are of one process: their order is its epoch.

use std::sync::Arc;

use presence::UnixSeconds;
use presence::history::{EventPage, HistoryPosition, StoredEvent};
use server::feed::{Feed, FeedPage};
use tokio::sync::watch;

use crate::message::FleetGap;
use crate::service::Webhooks;
use crate::tail::ReadEvent;

/// Where the changes of endpoints are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeLog {
    /// The store's history, in which positions outlive the process.
    History,
    /// The feed of this process.
    Feed,
}

/// What the log has at one place.
pub enum LogEntry {
    Event(StoredEvent),
    /// An event whose changes are known.
    Read(Arc<ReadEvent>),
    Change(Arc<server::feed::Change>),
}

impl LogEntry {
    pub fn number(&self) -> u64 {
        match self {
            LogEntry::Event(event) => event.position.number,
            LogEntry::Read(event) => event.number,
            LogEntry::Change(change) => change.sequence,
        }
    }

    pub fn received_at(&self) -> UnixSeconds {
        match self {
            LogEntry::Event(event) => event.row.received_at,
            LogEntry::Read(event) => event.received_at,
            LogEntry::Change(change) => change.snapshot.received_at,
        }
    }
}

/// Consecutive entries.
pub struct LogPage {
    pub entries: Vec<LogEntry>,
    /// The position after the last of them.
    pub reached: HistoryPosition,
    /// Where the log ends.
    pub newest: HistoryPosition,
    /// Why the entries are not all after the position that was asked for.
    pub gap: Option<FleetGap>,
    /// There may be further entries at once.
    pub may_have_more: bool,
}

impl LogPage {
    fn of_history(page: Option<EventPage>, limit: usize) -> Self {
        let Some(page) = page else {
            let (reached, newest) = (HistoryPosition::BEGINNING, HistoryPosition::BEGINNING);
            let gap = Some(FleetGap::NotLogged);
            return Self { entries: Vec::new(), reached, newest, gap, may_have_more: false };
        };
        Self {
            may_have_more: page.events.len() >= limit,
            entries: page.events.into_iter().map(LogEntry::Event).collect(),
            reached: page.reached,
            newest: page.newest,
            gap: page.incomplete.then_some(FleetGap::Dropped),
        }
    }

    fn of_feed(feed: &Feed, after: HistoryPosition, limit: usize) -> Self {
        let is_ours = after.order == feed.epoch();
        let FeedPage { changes, reached, head, is_incomplete } =
            feed.page_after(if is_ours { after.number } else { 0 }, limit);
        let at = |number| HistoryPosition { order: feed.epoch(), number };
        let overrun = is_incomplete.then_some(FleetGap::Overrun);
        Self {
            may_have_more: changes.len() >= limit,
            entries: changes.into_iter().map(LogEntry::Change).collect(),
            reached: at(reached),
            newest: at(head),
            gap: if is_ours { overrun } else { Some(FleetGap::Restarted) },
        }
    }
}

impl Webhooks {
    pub(crate) async fn page_after(&self, after: HistoryPosition, limit: usize) -> LogPage {
        if self.log == ChangeLog::Feed {
            return LogPage::of_feed(&self.feed, after, limit);
        }
        loop {
            match self.store.events(after, limit).await {
                Ok(page) => return LogPage::of_history(page, limit),
                Err(error) => self.wait_for_store(&error).await,
            }
        }
    }

    /// Where the log ends.
    pub(crate) async fn newest(&self) -> HistoryPosition {
        self.page_after(HistoryPosition::BEGINNING, 0).await.newest
    }

    pub(crate) fn growth(&self) -> Growth {
        match self.log {
            ChangeLog::History => Growth::History(self.feed.history_grown()),
            ChangeLog::Feed => Growth::Feed(self.feed.heads()),
        }
    }
}

/// Notifications that the log may have grown.
pub enum Growth {
    History(watch::Receiver<()>),
    Feed(watch::Receiver<u64>),
}

impl Growth {
    pub async fn wait(&mut self) {
        let changed = match self {
            Growth::History(changed) => changed.changed().await,
            Growth::Feed(changed) => changed.changed().await,
        };
        // The feed lives as long as the endpoints.
        if changed.is_err() {
            std::future::pending().await
        }
    }
}
