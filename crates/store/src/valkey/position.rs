//! How far the changes of each bucket have been read, and which buckets are worth another look. Pure: neither IO nor clock.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::buckets::{BUCKETS, Bucket};
use crate::ChangeCursor;

/// One change in a bucket: how many there were before, and a token by chance, by which two histories of one bucket are told
/// apart: a replica that was promoted begins where it was, which may be before what its master had acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketPosition {
    pub sequence: u64,
    pub token: u64,
}

impl BucketPosition {
    pub const BEGINNING: Self = Self { sequence: 0, token: 0 };

    pub fn parse(text: &[u8]) -> Option<Self> {
        let (sequence, token) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { sequence: sequence.parse().ok()?, token: token.parse().ok()? })
    }
}

impl fmt::Display for BucketPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sequence, self.token)
    }
}

/// One position in each bucket, as a [`ChangeCursor`] holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPositions(Vec<BucketPosition>);

impl BucketPositions {
    pub fn of(cursor: &ChangeCursor) -> Self {
        let pairs = cursor.0.chunks_exact(2).map(|pair| BucketPosition { sequence: pair[0], token: pair[1] });
        let mut positions: Vec<_> = pairs.collect();
        positions.resize(BUCKETS, BucketPosition::BEGINNING);
        Self(positions)
    }

    pub fn cursor(&self) -> ChangeCursor {
        if self.0.iter().all(|position| *position == BucketPosition::BEGINNING) {
            return ChangeCursor::BEGINNING;
        }
        ChangeCursor(self.0.iter().flat_map(|position| [position.sequence, position.token]).collect())
    }

    pub fn at(&self, bucket: Bucket) -> BucketPosition {
        self.0[bucket.index()]
    }

    pub fn set(&mut self, bucket: Bucket, position: BucketPosition) {
        self.0[bucket.index()] = position;
    }
}

/// How long the next poll waits after one that has found changes in every bucket. After one that found changes in fewer it waits
/// less, in proportion: a poll asks each bucket that has changed, so under load more polls would cost more than they bring.
const POLL_PAUSE_MAX: Duration = Duration::from_millis(100);

/// AcknowledgedChange changes of a bucket that are kept until they are read: some for each flush between two polls.
const ACKNOWLEDGED_MAX: usize = 64;

/// What is known of all buckets between two looks.
#[derive(Debug)]
pub struct ChangeTracker {
    /// Where the newest change stood at the last look.
    newest: BucketPositions,
    /// For each bucket, changes that the store has acknowledged to this instance and that have not been read. The newest is not
    /// enough: it may have been written after a loss.
    acknowledged: Vec<VecDeque<AcknowledgedChange>>,
    /// Something has changed since the last poll, or the poll has not reached the end.
    notified: Vec<bool>,
    /// The buckets in which the last poll has found something.
    changed: u32,
}

/// A change that the store has acknowledged. It must be there; if it is not, the store has lost something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcknowledgedChange {
    pub position: BucketPosition,
    /// This instance has made it, so it knows the device. Otherwise what it wrote was known to the store.
    pub is_own: bool,
}

/// What a look asks one bucket for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPoll {
    pub bucket: Bucket,
    pub since: BucketPosition,
    /// What must be there besides.
    pub expected: Vec<AcknowledgedChange>,
}

impl Default for ChangeTracker {
    fn default() -> Self {
        let nothing = BucketPositions::of(&ChangeCursor::BEGINNING);
        let acknowledged = vec![VecDeque::new(); BUCKETS];
        Self { newest: nothing, acknowledged, notified: vec![true; BUCKETS], changed: 0 }
    }
}

impl ChangeTracker {
    pub fn note_changed(&mut self, bucket: Bucket) {
        self.notified[bucket.index()] = true;
    }

    /// Nothing is known for sure any more.
    pub fn note_all_changed(&mut self) {
        self.notified.fill(true);
    }

    /// The store has taken everything up to there from a call with that token.
    pub fn acknowledge(&mut self, bucket: Bucket, position: BucketPosition, token: u64) {
        let acknowledged = &mut self.acknowledged[bucket.index()];
        if acknowledged.back().is_some_and(|newest| newest.position == position) {
            return;
        }
        if acknowledged.len() == ACKNOWLEDGED_MAX {
            acknowledged.pop_front();
        }
        acknowledged.push_back(AcknowledgedChange { position, is_own: position.token == token });
    }

    /// From now on nothing is expected that was acknowledged before: its loss is known, or nothing depends on it.
    pub fn forget_acknowledged(&mut self) {
        self.acknowledged.iter_mut().for_each(VecDeque::clear);
    }

    /// What to ask for the changes since then. Until the answer is noted, another notification may come.
    pub fn polls(&mut self, since: &BucketPositions) -> Vec<BucketPoll> {
        let mut polls = Vec::new();
        for bucket in Bucket::all() {
            let since = since.at(bucket);
            if std::mem::take(&mut self.notified[bucket.index()]) || since != self.newest.at(bucket) {
                let acknowledged = &mut self.acknowledged[bucket.index()];
                acknowledged.retain(|acknowledged| acknowledged.position.sequence > since.sequence);
                let expected = acknowledged.iter().copied().collect();
                polls.push(BucketPoll { bucket, since, expected });
            }
        }
        polls
    }

    /// Notes in how many buckets a poll has found something.
    pub fn note_poll(&mut self, changed: usize) {
        self.changed = u32::try_from(changed).unwrap_or(u32::MAX);
    }

    /// The shortest time from the last poll to the next one.
    pub fn poll_pause(&self) -> Duration {
        (POLL_PAUSE_MAX * self.changed / BUCKETS as u32).min(POLL_PAUSE_MAX)
    }

    /// Notes what a look has found.
    pub fn note(&mut self, bucket: Bucket, reached: BucketPosition, at_end: bool) {
        self.newest.set(bucket, reached);
        if !at_end {
            self.note_changed(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(sequence: u64, token: u64) -> BucketPosition {
        BucketPosition { sequence, token }
    }

    #[test]
    fn only_changed_or_unfinished_buckets_are_polled_again() {
        let mut tracker = ChangeTracker::default();
        let mut read = BucketPositions::of(&ChangeCursor::BEGINNING);
        assert_eq!(tracker.polls(&read).len(), BUCKETS, "nothing is known at first");
        let (one, other) = (Bucket::from(1), Bucket::from(2));
        read.set(one, position(3, 7));
        tracker.note(one, position(3, 7), true);
        assert_eq!(tracker.polls(&read), []);
        tracker.note_changed(other);
        let poll = BucketPoll { bucket: other, since: BucketPosition::BEGINNING, expected: Vec::new() };
        assert_eq!(tracker.polls(&read), std::slice::from_ref(&poll));
        tracker.note(other, position(9, 9), false);
        read.set(other, position(9, 9));
        assert_eq!(tracker.polls(&read), [BucketPoll { since: position(9, 9), ..poll }]);
        // A reader that begins again is told again.
        assert_eq!(tracker.polls(&BucketPositions::of(&ChangeCursor::BEGINNING)).len(), 2);
    }

    #[test]
    fn a_poll_waits_the_longer_the_more_buckets_have_changed() {
        let mut tracker = ChangeTracker::default();
        for (changed, millis) in [(0, 0), (16, 6), (128, 50), (BUCKETS, 100), (10_000, 100)] {
            tracker.note_poll(changed);
            assert_eq!(tracker.poll_pause().as_millis(), millis, "{changed}");
        }
    }

    #[test]
    fn an_acknowledged_position_is_expected_until_passed_or_given_up() {
        let mut tracker = ChangeTracker::default();
        let bucket = Bucket::from(5);
        for sequence in [4, 3, 3] {
            tracker.acknowledge(bucket, position(sequence, 1), 1);
        }
        let mut read = BucketPositions::of(&ChangeCursor::BEGINNING);
        let expected = |tracker: &mut ChangeTracker, read: &BucketPositions| {
            tracker.note_all_changed();
            let expected = tracker.polls(read).swap_remove(bucket.index()).expected;
            expected.into_iter().map(|expected| expected.position).collect::<Vec<_>>()
        };
        assert_eq!(expected(&mut tracker, &read), [position(4, 1), position(3, 1)]);
        read.set(bucket, position(3, 1));
        assert_eq!(expected(&mut tracker, &read), [position(4, 1)]);
        read.set(bucket, position(4, 1));
        assert_eq!(expected(&mut tracker, &read), []);
        tracker.acknowledge(bucket, position(5, 2), 2);
        tracker.forget_acknowledged();
        assert_eq!(expected(&mut tracker, &read), []);
        (5..205).for_each(|sequence| tracker.acknowledge(bucket, position(sequence, 1), 1));
        let kept = expected(&mut tracker, &read);
        assert_eq!((kept.len(), kept.last()), (ACKNOWLEDGED_MAX, Some(&position(204, 1))));
    }

    #[test]
    fn positions_are_written_and_marked_and_come_back() {
        let mut positions = BucketPositions::of(&ChangeCursor::BEGINNING);
        assert_eq!(positions.cursor(), ChangeCursor::BEGINNING);
        positions.set(Bucket::from(255), position(7, u64::MAX));
        assert_eq!(BucketPositions::of(&positions.cursor()), positions);
        let one = positions.at(Bucket::from(255));
        assert_eq!(BucketPosition::parse(one.to_string().as_bytes()), Some(one));
        assert_eq!(BucketPosition::parse(b"x"), None);
    }
}
