//! Which of many like events are logged: at most one a minute of each source and kind, with the number of those that were not.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How often at most an event of one kind is logged.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// Picks the events that are logged. Sources are those that are in use and kinds are fixed words, so their number is bounded.
#[derive(Default)]
pub struct Sampler {
    sources: HashMap<Box<str>, HashMap<&'static str, SampledKind>>,
}

#[derive(Default)]
struct SampledKind {
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl Sampler {
    /// Takes one event of a source into account. If it is to be logged, returns how many of that source and kind were not since the
    /// last one.
    pub fn pick(&mut self, source: &str, kind: &'static str) -> Option<u64> {
        let kinds = match self.sources.get_mut(source) {
            Some(kinds) => kinds,
            None => self.sources.entry(source.into()).or_default(),
        };
        let kind = kinds.entry(kind).or_default();
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
    fn the_first_event_of_each_source_and_kind_is_logged_and_the_next_is_not() {
        let mut sampler = Sampler::default();
        let events = [("s", "a"), ("s", "a"), ("s", "b"), ("s", "a"), ("t", "a"), ("t", "a")];
        let picked = events.map(|(source, kind)| sampler.pick(source, kind));
        assert_eq!(picked, [Some(0), None, Some(0), None, Some(0), None]);
    }
}
