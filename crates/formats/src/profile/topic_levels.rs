//! A topic and where its levels end: found once for all that look at its levels.

use std::ops::Range;

use smallvec::SmallVec;

/// The levels of a topic. There is one at least, since a level may be empty.
pub(super) struct TopicLevels<'a> {
    topic: &'a str,
    ends: SmallVec<[usize; 12]>,
}

impl<'a> TopicLevels<'a> {
    pub fn of(topic: &'a str) -> Self {
        let mut ends = SmallVec::new();
        // Levels are so short that a search for words of bytes takes longer.
        for (at, byte) in topic.bytes().enumerate() {
            if byte == b'/' {
                ends.push(at);
            }
        }
        ends.push(topic.len());
        Self { topic, ends }
    }

    pub fn topic(&self) -> &'a str {
        self.topic
    }

    pub fn count(&self) -> usize {
        self.ends.len()
    }

    pub fn level(&self, at: usize) -> &'a str {
        self.joined(at..at + 1)
    }

    /// These levels, of which there is one at least, with the slashes between them.
    pub fn joined(&self, levels: Range<usize>) -> &'a str {
        let start = levels.start.checked_sub(1).map_or(0, |before| self.ends[before] + 1);
        &self.topic[start..self.ends[levels.end - 1]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_what_is_between_slashes() {
        for topic in ["", "/", "a", "a/", "/a", "a//é", "$SYS/brokers", &"x/".repeat(40)] {
            let levels = TopicLevels::of(topic);
            let expected: Vec<_> = topic.split('/').collect();
            let found: Vec<_> = (0..levels.count()).map(|at| levels.level(at)).collect();
            assert_eq!(found, expected);
            for at in 0..expected.len() {
                assert_eq!(levels.joined(at..expected.len()), expected[at..].join("/"));
            }
        }
    }
}
