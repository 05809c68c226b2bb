//! How far the history follows the changes: the position that a client has seen with a change, and which of the changes in no
//! history a client has seen at another instance. Pure: what the store says is an argument.

use std::collections::VecDeque;
use std::time::Instant;

use crate::health::PeerHealth;
use presence::history::HistoryPosition;

/// Watermarks that are remembered for the sake of changes in no history: sixteen kilobytes, a minute or two of such changes
/// without a pause. A client that has been away for longer gets a gap.
const COMMIT_WATERMARKS_MAX: usize = 1_024;

/// How far the history follows: all changes up to `changes` that are in the history at all are at positions up to `events`, and
/// all of them are in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryWatermark {
    pub changes: u64,
    pub events: HistoryPosition,
}

/// A watermark that counts.
#[derive(Clone, Copy, Debug)]
struct ConfirmedWatermark {
    watermark: HistoryWatermark,
    /// The newest change then: up to here everything is published that the history tells up to `watermark.events`.
    head: u64,
}

/// What the buffer holds, or held, that is in no history.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::feed) struct UnloggedChanges {
    /// The newest such change.
    pub newest: u64,
    /// The newest such change that has left the buffer.
    pub lost: u64,
    /// Once all changes up to this one are in the store, those that have left the buffer are.
    pub committed_by: u64,
}

#[derive(Debug, Default)]
pub(in crate::feed) struct WatermarkTracker {
    confirmed: Option<ConfirmedWatermark>,
    /// The one before: a stream may be a little behind the newest change.
    before: Option<ConfirmedWatermark>,
    /// The watermark of that moment, which does not count before everything that others had written by then is here.
    waiting: Option<(HistoryWatermark, Instant)>,
    /// In a store that several share, the first watermark after each change that is in no history. The change was in the store
    /// then, so a client that has seen as much of the history, at whatever instance, has been shown the change there.
    commit_watermarks: VecDeque<HistoryWatermark>,
}

impl WatermarkTracker {
    /// Notes the watermark of that moment. Where other instances write the history, too, it may tell of what has not arrived
    /// here yet; then it counts once that has.
    pub fn note(
        &mut self,
        watermark: HistoryWatermark,
        at: Instant,
        peer_health: PeerHealth,
        unlogged: UnloggedChanges,
        head: u64,
    ) {
        match peer_health {
            PeerHealth::Off => self.confirm(ConfirmedWatermark { watermark, head }),
            PeerHealth::Current { at: current } => {
                if let Some((waited, _)) = self.waiting.take_if(|(_, found)| *found <= current) {
                    self.confirm(ConfirmedWatermark { watermark: waited, head });
                    self.add_commit_watermark(waited, unlogged);
                }
                self.waiting.get_or_insert((watermark, at));
            }
            PeerHealth::Broken => {}
        }
    }

    fn confirm(&mut self, confirmed: ConfirmedWatermark) {
        self.before = self.confirmed.replace(confirmed);
    }

    fn add_commit_watermark(&mut self, watermark: HistoryWatermark, unlogged: UnloggedChanges) {
        while self.commit_watermarks.pop_front_if(|commit| commit.changes < unlogged.committed_by).is_some() {
        }
        let committed = self.commit_watermarks.back().map_or(0, |commit| commit.changes);
        if committed < unlogged.newest.max(unlogged.committed_by) && committed < watermark.changes {
            self.commit_watermarks.push_back(watermark);
        }
        if self.commit_watermarks.len() > COMMIT_WATERMARKS_MAX {
            self.commit_watermarks.pop_front();
        }
    }

    /// How far the history follows, once that is known.
    pub fn confirmed(&self) -> Option<HistoryWatermark> {
        self.confirmed.map(|confirmed| confirmed.watermark)
    }

    /// Up to where a client that has seen all changes up to that one has seen what the history tells.
    pub fn seen_at(&self, sequence: u64) -> Option<HistoryPosition> {
        let found = [self.confirmed, self.before].into_iter().flatten();
        found.filter(|found| found.head <= sequence).map(|found| found.watermark.events).next()
    }

    /// Whether a client that has seen the history up to that position has been shown, at another instance, what was in the
    /// store with all changes up to that one.
    pub fn commit_seen_at(&self, change: u64, events: HistoryPosition) -> bool {
        let first = self.commit_watermarks.iter().find(|commit| commit.changes >= change);
        first.is_some_and(|commit| events >= commit.events)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(number: u64) -> HistoryPosition {
        HistoryPosition { order: 1, number }
    }

    fn watermark(changes: u64, events: u64) -> HistoryWatermark {
        HistoryWatermark { changes, events: at(events) }
    }

    const NOTHING: UnloggedChanges = UnloggedChanges { newest: 0, lost: 0, committed_by: 0 };

    fn unlogged(newest: u64, lost: u64) -> UnloggedChanges {
        UnloggedChanges { newest, lost, committed_by: lost }
    }

    #[test]
    fn a_reader_behind_a_watermark_has_not_seen_the_history_up_to_it() {
        let mut tracker = WatermarkTracker::default();
        let now = Instant::now();
        tracker.note(watermark(2, 7), now, PeerHealth::Off, NOTHING, 3);
        assert_eq!([2, 3, 4].map(|sequence| tracker.seen_at(sequence)), [None, Some(at(7)), Some(at(7))]);
        tracker.note(watermark(5, 9), now, PeerHealth::Off, NOTHING, 6);
        assert_eq!([2, 5, 6].map(|sequence| tracker.seen_at(sequence)), [None, Some(at(7)), Some(at(9))]);
        assert_eq!(tracker.confirmed(), Some(watermark(5, 9)));
    }

    #[test]
    fn a_watermark_counts_once_the_changes_of_peers_have_arrived() {
        let mut tracker = WatermarkTracker::default();
        let begun = Instant::now();
        let later = begun + Duration::from_secs(1);
        let note = |tracker: &mut WatermarkTracker, events, peer_health| {
            tracker.note(watermark(0, events), later, peer_health, NOTHING, 0);
            tracker.confirmed()
        };
        assert_eq!(note(&mut tracker, 1, PeerHealth::Broken), None);
        assert_eq!(note(&mut tracker, 2, PeerHealth::Current { at: begun }), None);
        let unread = note(&mut tracker, 3, PeerHealth::Current { at: begun });
        assert_eq!(unread, None, "the others have not been read since");
        assert_eq!(note(&mut tracker, 4, PeerHealth::Current { at: later }), Some(watermark(0, 2)));
    }

    #[test]
    fn an_unlogged_change_was_seen_by_clients_past_its_commit_watermark() {
        let mut tracker = WatermarkTracker::default();
        let now = Instant::now();
        let peer_health = PeerHealth::Current { at: now };
        let note = |tracker: &mut WatermarkTracker, watermark, unlogged| {
            tracker.note(watermark, now, peer_health, unlogged, 100);
            // A watermark counts with the next.
            tracker.note(watermark, now, peer_health, unlogged, 100);
        };
        note(&mut tracker, watermark(4, 10), unlogged(6, 0));
        assert!(
            tracker.commit_seen_at(3, at(10))
                && !tracker.commit_seen_at(3, at(9))
                && !tracker.commit_seen_at(6, at(99))
        );
        note(&mut tracker, watermark(6, 20), unlogged(6, 0));
        note(&mut tracker, watermark(8, 30), unlogged(6, 5));
        assert!(
            tracker.commit_seen_at(5, at(20)) && !tracker.commit_seen_at(5, at(19)),
            "the first one after it"
        );
        assert!(!tracker.commit_seen_at(7, at(99)));
        for changes in 9..9 + 2 * COMMIT_WATERMARKS_MAX as u64 {
            note(&mut tracker, watermark(changes, 100), unlogged(changes, 5));
        }
        assert!(
            tracker.commit_watermarks.len() <= COMMIT_WATERMARKS_MAX
                && !tracker.commit_seen_at(5, at(20))
                && tracker.commit_seen_at(5, at(100))
        );
        let elsewhere = HistoryPosition { order: 2, number: 1_000 };
        assert!(!tracker.commit_seen_at(5, elsewhere), "the history of another store");
        // One process alone shares nothing: what another has shown is not known.
        let mut alone = WatermarkTracker::default();
        alone.note(watermark(6, 20), now, PeerHealth::Off, unlogged(6, 0), 6);
        assert!(!alone.commit_seen_at(6, at(20)));
    }
}
