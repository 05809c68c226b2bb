//! How one follows who reads the history alone, and not the changes in memory: later, but nothing before it is in the store,
//! and from the same position after a restart.

use super::GapReason;
use presence::history::{EventPage, HistoryPosition, StoredEvent};

/// A place in the history, and the way on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryTail {
    position: HistoryPosition,
}

impl HistoryTail {
    /// Goes on after that position.
    pub fn after(position: HistoryPosition) -> Self {
        Self { position }
    }

    /// The position after which the next page is read.
    pub fn position(&self) -> HistoryPosition {
        self.position
    }

    /// The events of the page that was read there; the tail stays where it is if the page does not tell of everything.
    /// `None`: the store keeps no order.
    pub fn take_page(&mut self, page: Option<EventPage>) -> Result<Vec<StoredEvent>, GapReason> {
        let page = page.ok_or(GapReason::NotLogged)?;
        if page.incomplete {
            return Err(GapReason::Dropped);
        }
        self.position = page.reached;
        Ok(page.events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_goes_on_after_each_page_and_stays_before_a_gap() {
        let at = |number| HistoryPosition { order: 1, number };
        let page = |reached, incomplete| {
            Some(EventPage { reached: at(reached), incomplete, ..EventPage::default() })
        };
        let mut tail = HistoryTail::after(at(3));
        assert_eq!(tail.take_page(page(5, false)), Ok(Vec::new()));
        assert_eq!(tail.take_page(page(9, true)), Err(GapReason::Dropped));
        assert_eq!(tail.take_page(None), Err(GapReason::NotLogged));
        assert_eq!(tail.position(), at(5));
    }
}
