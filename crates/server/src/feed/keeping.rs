//! How far the history follows the changes: from which of its positions whoever has seen a change goes on, and what of the
//! changes that it does not tell somebody may have missed. Pure; who finds it out is not known here.

use std::collections::VecDeque;
use std::time::Instant;

use crate::health::Following;

/// Findings that are remembered for the sake of changes that stand in no history: sixteen kilobytes, a minute or two of such
/// changes without a pause. Without an older one, somebody who has been away for longer is told of a gap.
const COVERS_MAX: usize = 1_024;

/// How far the history follows: of all changes up to `changes`, it tells those that it tells at all up to `events` of its own
/// positions, and all of them stand in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub changes: u64,
    pub events: u64,
}

/// A finding that counts.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    kept: Kept,
    /// The newest change then: up to here everything is published that the history tells up to `kept.events`.
    head: u64,
}

/// What the ring holds, or held, that the history does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Beside {
    /// The newest such change.
    pub newest: u64,
    /// The newest such change that is gone.
    pub lost: u64,
    /// Once all changes up to this one stand in the store, those that are gone do.
    pub covered_by: u64,
}

#[derive(Debug, Default)]
pub(super) struct Keeping {
    confirmed: Option<Confirmed>,
    /// The one before: whoever follows may be a little behind the newest change.
    before: Option<Confirmed>,
    /// What was found at that moment, and does not count before everything that others had written by then is here.
    waiting: Option<(Kept, Instant)>,
    /// In a store that several share, what was found first after each change that stands in no history. The change stood in
    /// the store then, so whoever has seen as much of the history, at whatever instance, has been shown the change there.
    covers: VecDeque<Kept>,
}

impl Keeping {
    /// Notes what was found at that moment. Where other instances write the history, too, it may tell of what has not arrived
    /// here yet; then it counts once that has.
    pub fn note(&mut self, kept: Kept, at: Instant, following: Following, beside: Beside, head: u64) {
        match following {
            Following::Off => self.confirm(Confirmed { kept, head }),
            Following::Current { at: current } => {
                if let Some((waited, _)) = self.waiting.take_if(|(_, found)| *found <= current) {
                    self.confirm(Confirmed { kept: waited, head });
                    self.cover(waited, beside);
                }
                self.waiting.get_or_insert((kept, at));
            }
            Following::Broken => {}
        }
    }

    fn confirm(&mut self, confirmed: Confirmed) {
        self.before = self.confirmed.replace(confirmed);
    }

    fn cover(&mut self, kept: Kept, beside: Beside) {
        while self.covers.pop_front_if(|cover| cover.changes < beside.covered_by).is_some() {}
        let covered = self.covers.back().map_or(0, |cover| cover.changes);
        if covered < beside.newest.max(beside.covered_by) && covered < kept.changes {
            self.covers.push_back(kept);
        }
        if self.covers.len() > COVERS_MAX {
            self.covers.pop_front();
        }
    }

    /// How far the history follows, once that is known.
    pub fn confirmed(&self) -> Option<Kept> {
        self.confirmed.map(|confirmed| confirmed.kept)
    }

    /// Up to where whoever has seen all changes up to that one has seen what the history tells.
    pub fn seen_at(&self, sequence: u64) -> Option<u64> {
        let found = [self.confirmed, self.before].into_iter().flatten();
        found.filter(|found| found.head <= sequence).map(|found| found.kept.events).next()
    }

    /// Whether whoever has seen the history up to that position has been shown, at another instance, what stood in the store
    /// with all changes up to that one.
    pub fn covers(&self, change: u64, events: u64) -> bool {
        let first = self.covers.iter().find(|cover| cover.changes >= change);
        first.is_some_and(|cover| events >= cover.events)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn kept(changes: u64, events: u64) -> Kept {
        Kept { changes, events }
    }

    const NOTHING: Beside = Beside { newest: 0, lost: 0, covered_by: 0 };

    fn beside(newest: u64, lost: u64) -> Beside {
        Beside { newest, lost, covered_by: lost }
    }

    #[test]
    fn who_is_behind_has_not_seen_what_was_published_before_a_finding_counted() {
        let mut keeping = Keeping::default();
        let now = Instant::now();
        keeping.note(kept(2, 7), now, Following::Off, NOTHING, 3);
        assert_eq!([2, 3, 4].map(|sequence| keeping.seen_at(sequence)), [None, Some(7), Some(7)]);
        keeping.note(kept(5, 9), now, Following::Off, NOTHING, 6);
        assert_eq!([2, 5, 6].map(|sequence| keeping.seen_at(sequence)), [None, Some(7), Some(9)]);
        assert_eq!(keeping.confirmed(), Some(kept(5, 9)));
    }

    #[test]
    fn what_others_may_have_written_counts_once_it_is_here() {
        let mut keeping = Keeping::default();
        let begun = Instant::now();
        let later = begun + Duration::from_secs(1);
        let note = |keeping: &mut Keeping, events, following| {
            keeping.note(kept(0, events), later, following, NOTHING, 0);
            keeping.confirmed()
        };
        assert_eq!(note(&mut keeping, 1, Following::Broken), None);
        assert_eq!(note(&mut keeping, 2, Following::Current { at: begun }), None);
        let unread = note(&mut keeping, 3, Following::Current { at: begun });
        assert_eq!(unread, None, "the others have not been read since");
        assert_eq!(note(&mut keeping, 4, Following::Current { at: later }), Some(kept(0, 2)));
    }

    #[test]
    fn what_no_history_tells_was_seen_by_whoever_has_seen_what_was_kept_after_it() {
        let mut keeping = Keeping::default();
        let now = Instant::now();
        let following = Following::Current { at: now };
        let note = |keeping: &mut Keeping, kept, beside| {
            keeping.note(kept, now, following, beside, 100);
            // A finding counts with the next.
            keeping.note(kept, now, following, beside, 100);
        };
        note(&mut keeping, kept(4, 10), beside(6, 0));
        assert!(keeping.covers(3, 10) && !keeping.covers(3, 9) && !keeping.covers(6, 99));
        note(&mut keeping, kept(6, 20), beside(6, 0));
        note(&mut keeping, kept(8, 30), beside(6, 5));
        assert!(keeping.covers(5, 20) && !keeping.covers(5, 19), "the first that was found after it");
        assert!(!keeping.covers(7, 99));
        for changes in 9..9 + 2 * COVERS_MAX as u64 {
            note(&mut keeping, kept(changes, 100), beside(changes, 5));
        }
        assert!(keeping.covers.len() <= COVERS_MAX && !keeping.covers(5, 20) && keeping.covers(5, 100));
        // One process alone shares nothing: what another has shown is not known.
        let mut alone = Keeping::default();
        alone.note(kept(6, 20), now, Following::Off, beside(6, 0), 6);
        assert!(!alone.covers(6, 20));
    }
}
