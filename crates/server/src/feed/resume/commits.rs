//! Finds how far the history follows the changes, from what the store says of the order of its events. Pure.
//!
//! Where several write at once, an event may have a place in the order that cannot be read yet, because a transaction that
//! began earlier is still open. So what has been written is in the history up to [`EventPage::newest`] only once that has
//! come to where [`EventPage::begun`] was after the writing.

use std::time::{Duration, Instant};

use super::HistoryWatermark;
use presence::history::{EventPage, HistoryPosition};

#[derive(Debug, Default)]
pub struct CommitWatermark {
    awaited: Option<PendingWatermark>,
    asked_at: Option<Instant>,
}

#[derive(Debug)]
struct PendingWatermark {
    changes: u64,
    begun: HistoryPosition,
}

impl CommitWatermark {
    /// Whether the store is asked now, as it is if it was not for so long.
    pub fn ask(&mut self, now: Instant, interval: Duration) -> bool {
        let is_due = self.asked_at.is_none_or(|at| now.duration_since(at) >= interval);
        if is_due {
            self.asked_at = Some(now);
        }
        is_due
    }

    /// The watermark, if there is one: all changes up to that one had been written when the page was read.
    ///
    /// What is awaited stays so until it has come, so that a watermark comes however often more is written.
    pub fn find(&mut self, changes: u64, page: &EventPage) -> Option<HistoryWatermark> {
        let events = page.newest;
        if events >= page.begun {
            self.awaited = None;
            return Some(HistoryWatermark { changes, events });
        }
        // What was awaited of another store does not come.
        self.awaited.take_if(|awaited| awaited.begun.order != events.order);
        let come = self.awaited.take_if(|awaited| events >= awaited.begun);
        self.awaited.get_or_insert(PendingWatermark { changes, begun: page.begun });
        come.map(|awaited| HistoryWatermark { changes: awaited.changes, events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(newest: u64, begun: u64) -> EventPage {
        EventPage { newest: at(1, newest), begun: at(1, begun), ..EventPage::default() }
    }

    fn at(order: u64, number: u64) -> HistoryPosition {
        HistoryPosition { order, number }
    }

    #[test]
    fn the_store_is_asked_once_in_an_interval() {
        let mut commit_watermark = CommitWatermark::default();
        let (begun, interval) = (Instant::now(), Duration::from_millis(100));
        let asks = [0, 99, 100, 150, 250]
            .map(|ms| commit_watermark.ask(begun + Duration::from_millis(ms), interval));
        assert_eq!(asks, [true, false, true, false, true]);
    }

    #[test]
    fn the_watermark_waits_for_transactions_that_began_before_it() {
        let mut commit_watermark = CommitWatermark::default();
        let watermark = |changes, events| Some(HistoryWatermark { changes, events: at(1, events) });
        assert_eq!(commit_watermark.find(1, &page(5, 5)), watermark(1, 5));
        assert_eq!(commit_watermark.find(2, &page(5, 8)), None);
        assert_eq!(commit_watermark.find(3, &page(7, 9)), None);
        assert_eq!(commit_watermark.find(4, &page(8, 12)), watermark(2, 8), "and the next is awaited");
        assert_eq!(commit_watermark.find(5, &page(11, 13)), None);
        assert_eq!(commit_watermark.find(6, &page(12, 14)), watermark(4, 12));
        assert_eq!(commit_watermark.find(7, &page(20, 20)), watermark(7, 20));
        assert_eq!(commit_watermark.find(8, &page(20, 21)), None, "nothing of before is awaited");
        // The store is another one, whose numbers are higher.
        let other =
            |newest, begun| EventPage { newest: at(2, newest), begun: at(2, begun), ..EventPage::default() };
        assert_eq!(commit_watermark.find(9, &other(90, 91)), None);
        let watermark = HistoryWatermark { changes: 9, events: at(2, 91) };
        assert_eq!(commit_watermark.find(10, &other(91, 92)), Some(watermark));
    }
}
