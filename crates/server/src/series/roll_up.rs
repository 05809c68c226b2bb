//! Intervals of one step to those of a coarser one (pure).

use super::interval::Interval;
use super::step::Step;
use presence::UnixSeconds;

/// The intervals of a coarser step that some finer ones, which follow each other, are part of. One of which no part was
/// observed is not among them.
pub fn rolled_up(
    step: Step,
    intervals: impl IntoIterator<Item = (UnixSeconds, Interval)>,
) -> Vec<(UnixSeconds, Interval)> {
    let mut sums: Vec<(UnixSeconds, Interval)> = Vec::new();
    for (start, interval) in intervals {
        let start = step.start_of(start);
        match sums.last_mut() {
            Some((last, sum)) if *last == start => sum.add(&interval),
            _ => sums.push((start, interval)),
        }
    }
    sums
}
