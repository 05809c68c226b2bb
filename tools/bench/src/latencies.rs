//! Latencies of many deliveries, counted in steps, so that a million of them take no more room than one.

use std::fmt;

/// A tenth of a millisecond.
const STEP_NS: u64 = 100_000;
/// A minute; longer ones are counted as that.
const STEPS: usize = 600_000;

pub struct Latencies(Vec<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(vec![0; STEPS])
    }
}

impl Latencies {
    pub fn add(&mut self, ns: u64) {
        let step = usize::try_from(ns / STEP_NS).unwrap_or(STEPS).min(STEPS - 1);
        self.0[step] += 1;
    }

    pub fn add_all(&mut self, others: &Latencies) {
        self.0.iter_mut().zip(&others.0).for_each(|(count, other)| *count += other);
    }

    /// The latency in milliseconds that so many of a thousand do not exceed.
    pub fn at(&self, of_thousand: u64) -> f64 {
        let all: u64 = self.0.iter().sum();
        let mut left = all * of_thousand / 1_000;
        let step = self.0.iter().position(|count| {
            let reached = *count >= left;
            left = left.saturating_sub(*count);
            reached
        });
        (step.unwrap_or(STEPS) + 1) as f64 * STEP_NS as f64 / 1e6
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deliveries: u64 = self.0.iter().sum();
        let (median, most, nearly_all) = (self.at(500), self.at(990), self.at(999));
        write!(
            f,
            "{deliveries} deliveries: median {median:.1} ms, p99 {most:.1} ms, p99.9 {nearly_all:.1} ms"
        )
    }
}
