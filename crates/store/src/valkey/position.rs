//! How far the changes of each bucket have been read, and which buckets are worth another look. Pure: neither IO nor clock.

use std::fmt;

use super::buckets::{BUCKETS, Bucket};
use crate::Mark;

/// One change in a bucket: how many there were before, and a token by chance, by which two histories of one bucket are told
/// apart: a replica that was promoted begins where it was, which may be before what its master had acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub sequence: u64,
    pub token: u64,
}

impl Position {
    pub const BEGINNING: Self = Self { sequence: 0, token: 0 };

    pub fn parse(text: &[u8]) -> Option<Self> {
        let (sequence, token) = std::str::from_utf8(text).ok()?.split_once('-')?;
        Some(Self { sequence: sequence.parse().ok()?, token: token.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.sequence, self.token)
    }
}

/// One position in each bucket, as a [`Mark`] holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Positions(Vec<Position>);

impl Positions {
    pub fn of(mark: &Mark) -> Self {
        let pairs = mark.0.chunks_exact(2).map(|pair| Position { sequence: pair[0], token: pair[1] });
        let mut positions: Vec<_> = pairs.collect();
        positions.resize(BUCKETS, Position::BEGINNING);
        Self(positions)
    }

    pub fn mark(&self) -> Mark {
        if self.0.iter().all(|position| *position == Position::BEGINNING) {
            return Mark::BEGINNING;
        }
        Mark(self.0.iter().flat_map(|position| [position.sequence, position.token]).collect())
    }

    pub fn at(&self, bucket: Bucket) -> Position {
        self.0[bucket.index()]
    }

    pub fn set(&mut self, bucket: Bucket, position: Position) {
        self.0[bucket.index()] = position;
    }
}

/// What is known of all buckets between two looks.
#[derive(Debug)]
pub struct Sight {
    /// Where the newest change stood at the last look.
    newest: Positions,
    /// The newest change that the store has acknowledged to this instance. It must be there for ever after; if it is not,
    /// the store has lost something.
    acknowledged: Positions,
    /// Something has changed since the last look, or the look has not come to the end.
    rung: Vec<bool>,
}

/// What a look asks one bucket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    pub bucket: Bucket,
    pub since: Position,
    /// What must be there besides.
    pub expected: Option<Position>,
}

impl Default for Sight {
    fn default() -> Self {
        let nothing = Positions::of(&Mark::BEGINNING);
        Self { newest: nothing.clone(), acknowledged: nothing, rung: vec![true; BUCKETS] }
    }
}

impl Sight {
    pub fn ring(&mut self, bucket: Bucket) {
        self.rung[bucket.index()] = true;
    }

    /// Nothing is known for sure any more.
    pub fn ring_all(&mut self) {
        self.rung.fill(true);
    }

    /// The store has taken everything up to there.
    pub fn acknowledge(&mut self, bucket: Bucket, position: Position) {
        if self.acknowledged.at(bucket).sequence < position.sequence {
            self.acknowledged.set(bucket, position);
        }
    }

    /// From now on nothing is expected that was acknowledged before: its loss is known, or nothing depends on it.
    pub fn forget_acknowledged(&mut self) {
        self.acknowledged = Positions::of(&Mark::BEGINNING);
    }

    /// What to ask for the changes since then. Until the answer is noted, the bell may ring anew.
    pub fn looks(&mut self, since: &Positions) -> Vec<Look> {
        let mut looks = Vec::new();
        for bucket in Bucket::all() {
            let (since, acknowledged) = (since.at(bucket), self.acknowledged.at(bucket));
            if std::mem::take(&mut self.rung[bucket.index()]) || since != self.newest.at(bucket) {
                let expected = (acknowledged.sequence > since.sequence).then_some(acknowledged);
                looks.push(Look { bucket, since, expected });
            }
        }
        looks
    }

    /// Notes what a look has found.
    pub fn note(&mut self, bucket: Bucket, reached: Position, at_end: bool) {
        self.newest.set(bucket, reached);
        if !at_end {
            self.ring(bucket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(sequence: u64, token: u64) -> Position {
        Position { sequence, token }
    }

    #[test]
    fn only_what_rang_or_was_not_read_to_its_end_is_asked_again() {
        let mut sight = Sight::default();
        let mut read = Positions::of(&Mark::BEGINNING);
        assert_eq!(sight.looks(&read).len(), BUCKETS, "nothing is known at first");
        let (one, other) = (Bucket::from(1), Bucket::from(2));
        read.set(one, position(3, 7));
        sight.note(one, position(3, 7), true);
        assert_eq!(sight.looks(&read), []);
        sight.ring(other);
        let look = Look { bucket: other, since: Position::BEGINNING, expected: None };
        assert_eq!(sight.looks(&read), [look]);
        sight.note(other, position(9, 9), false);
        read.set(other, position(9, 9));
        assert_eq!(sight.looks(&read), [Look { since: position(9, 9), ..look }]);
        // Whoever begins again is told again.
        assert_eq!(sight.looks(&Positions::of(&Mark::BEGINNING)).len(), 2);
    }

    #[test]
    fn what_was_acknowledged_is_expected_until_it_is_passed_or_given_up() {
        let mut sight = Sight::default();
        let bucket = Bucket::from(5);
        sight.acknowledge(bucket, position(4, 1));
        sight.acknowledge(bucket, position(3, 1));
        let mut read = Positions::of(&Mark::BEGINNING);
        let expected = |sight: &mut Sight, read: &Positions| {
            sight.ring_all();
            sight.looks(read)[bucket.index()].expected
        };
        assert_eq!(expected(&mut sight, &read), Some(position(4, 1)));
        read.set(bucket, position(4, 1));
        assert_eq!(expected(&mut sight, &read), None);
        sight.acknowledge(bucket, position(5, 2));
        sight.forget_acknowledged();
        assert_eq!(expected(&mut sight, &read), None);
    }

    #[test]
    fn positions_are_written_and_marked_and_come_back() {
        let mut positions = Positions::of(&Mark::BEGINNING);
        assert_eq!(positions.mark(), Mark::BEGINNING);
        positions.set(Bucket::from(255), position(7, u64::MAX));
        assert_eq!(Positions::of(&positions.mark()), positions);
        let one = positions.at(Bucket::from(255));
        assert_eq!(Position::parse(one.to_string().as_bytes()), Some(one));
        assert_eq!(Position::parse(b"x"), None);
    }
}
