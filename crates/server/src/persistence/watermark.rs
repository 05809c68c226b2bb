//! Finds out how far the history follows the changes, from what the store says of the order of its events. Pure.
//!
//! Where several write at once, events that are kept may have a place in the order beyond what can be read of it yet, because
//! something that has begun before them is still under way. So what has been written is told by the history up to
//! [`EventPage::newest`] only once that has come to where [`EventPage::begun`] was after the writing.

use crate::feed::Kept;
use presence::history::EventPage;

#[derive(Debug, Default)]
pub struct Horizon {
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    changes: u64,
    begun: u64,
}

impl Horizon {
    /// What has been found, if anything: all changes up to that one had been written when the page was read.
    ///
    /// What is awaited stays so until it has come, so that something comes however often more is written.
    pub fn find(&mut self, changes: u64, page: &EventPage) -> Option<Kept> {
        let events = page.newest;
        if events >= page.begun {
            self.awaited = None;
            return Some(Kept { changes, events });
        }
        let come = self.awaited.take_if(|awaited| events >= awaited.begun);
        self.awaited.get_or_insert(Awaited { changes, begun: page.begun });
        come.map(|awaited| Kept { changes: awaited.changes, events })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(newest: u64, begun: u64) -> EventPage {
        EventPage { newest, begun, ..EventPage::default() }
    }

    #[test]
    fn what_was_written_is_told_once_nothing_is_under_way_that_had_begun_by_then() {
        let mut horizon = Horizon::default();
        let kept = |changes, events| Some(Kept { changes, events });
        assert_eq!(horizon.find(1, &page(5, 5)), kept(1, 5));
        assert_eq!(horizon.find(2, &page(5, 8)), None);
        assert_eq!(horizon.find(3, &page(7, 9)), None);
        assert_eq!(horizon.find(4, &page(8, 12)), kept(2, 8), "and the next is awaited");
        assert_eq!(horizon.find(5, &page(11, 13)), None);
        assert_eq!(horizon.find(6, &page(12, 14)), kept(4, 12));
        assert_eq!(horizon.find(7, &page(20, 20)), kept(7, 20));
        assert_eq!(horizon.find(8, &page(20, 21)), None, "nothing of before is awaited");
    }
}
