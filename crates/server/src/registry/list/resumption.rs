//! Searches of lists by time that ended with a page, for the page that follows. It goes on with what they had found, and need not
//! bisect the orders of all types again.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::queues::ByTime;
use presence::query::{Filter, Position, Query, Sort};

/// Searches that are kept; if more lists are read at a time, the pages of some begin anew. With the orders of two hundred types, one
/// is some seventy kilobytes.
const KEPT_MAX: usize = 16;

/// The latest searches that ended before their lists did.
#[derive(Default)]
pub struct EndedSearches(Mutex<VecDeque<EndedSearch>>);

struct EndedSearch {
    filter: Filter,
    sort: Sort,
    /// The last device that it found.
    after: Position,
    search: ByTime,
}

impl EndedSearch {
    fn is_continued_by(&self, query: &Query) -> bool {
        query.after.as_ref() == Some(&self.after) && query.sort == self.sort && query.filter == self.filter
    }
}

impl EndedSearches {
    /// Keeps a search for the query that goes on behind a device.
    pub(super) fn keep(&self, query: &Query, after: &Position, search: ByTime) {
        let (filter, sort, after) = (query.filter.clone(), query.sort, after.clone());
        let mut kept = self.0.lock();
        let oldest = if kept.len() >= KEPT_MAX { kept.pop_front() } else { None };
        kept.push_back(EndedSearch { filter, sort, after, search });
        drop(kept);
        drop(oldest);
    }

    /// The search that this query goes on with, if it is kept.
    pub(super) fn take(&self, query: &Query) -> Option<ByTime> {
        let mut kept = self.0.lock();
        let found = kept.iter().position(|ended| ended.is_continued_by(query))?;
        kept.remove(found).map(|ended| ended.search)
    }
}
