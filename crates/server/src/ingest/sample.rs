//! Which of many like events are logged: at most one a minute, with the number of those that were not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often at most an event of one kind is logged.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// Picks the events that are logged. The kinds are fixed words, so their number is bounded.
#[derive(Default)]
pub struct Sampler {
    kinds: HashMap<&'static str, SampledKind>,
}

#[derive(Default)]
struct SampledKind {
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl Sampler {
    /// Takes one event into account. If it is to be logged, returns how many of its kind were not since the last one.
    pub fn pick(&mut self, kind: &'static str) -> Option<u64> {
        let kind = self.kinds.entry(kind).or_default();
        if kind.last_logged.is_some_and(|last| last.elapsed() < SAMPLE_INTERVAL) {
            kind.unlogged += 1;
            return None;
        }
        kind.last_logged = Some(Instant::now());
        Some(std::mem::take(&mut kind.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::Sampler;

    #[test]
    fn the_first_event_of_each_kind_is_logged_and_the_next_is_not() {
        let mut sampler = Sampler::default();
        assert_eq!(["a", "a", "b", "a"].map(|kind| sampler.pick(kind)), [Some(0), None, Some(0), None]);
    }
}
