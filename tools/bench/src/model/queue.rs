//! What happens next, and the store as a queue of work. Times are seconds.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What happens to an instance, by its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// It looks for what must be written.
    Flush,
    /// The store has taken its batch.
    Written,
    /// It looks for what others have changed; the number tells a look that was called for from one that was not.
    Poll(u64),
    /// The answer to that is here.
    Read,
    Die,
    /// It runs again and has everything from the store.
    Return,
}

#[derive(Clone, Copy, Debug)]
struct Due {
    at: f64,
    /// Of two at one moment the one that was asked for first.
    order: u64,
    instance: usize,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        // The earliest is the greatest.
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

#[derive(Default)]
pub struct Agenda {
    due: BinaryHeap<Due>,
    order: u64,
}

impl Agenda {
    pub fn add(&mut self, at: f64, instance: usize, event: Event) {
        self.order += 1;
        self.due.push(Due { at, order: self.order, instance, event });
    }

    pub fn next(&mut self) -> Option<(f64, usize, Event)> {
        self.due.pop().map(|due| (due.at, due.instance, due.event))
    }
}

/// The cores of a store: each does one thing after the other.
pub struct Cores {
    free_at: Vec<f64>,
    spreads: bool,
    pub busy: f64,
}

impl Cores {
    pub fn new(cores: usize, spreads: bool) -> Self {
        Self { free_at: vec![0.0; cores.max(1)], spreads, busy: 0.0 }
    }

    /// When work of so many seconds that comes now is done.
    pub fn work(&mut self, now: f64, seconds: f64) -> f64 {
        self.busy += seconds;
        if self.spreads {
            let each = seconds / self.free_at.len() as f64;
            self.free_at.iter_mut().for_each(|free| *free = free.max(now) + each);
            return self.free_at.iter().copied().fold(now, f64::max);
        }
        let least = self.free_at.iter_mut().min_by(|one, other| one.total_cmp(other));
        let free = least.expect("there is at least one core");
        *free = free.max(now) + seconds;
        *free
    }
}

#[cfg(test)]
mod tests {
    use super::{Agenda, Cores, Event};

    #[test]
    fn the_earliest_comes_first_and_of_two_the_one_asked_for_first() {
        let mut agenda = Agenda::default();
        for (at, instance) in [(2.0, 0), (1.0, 1), (1.0, 2), (3.0, 3)] {
            agenda.add(at, instance, Event::Flush);
        }
        let order: Vec<usize> =
            std::iter::from_fn(|| agenda.next()).map(|(_, instance, _)| instance).collect();
        assert_eq!(order, [1, 2, 0, 3]);
    }

    #[test]
    fn a_job_waits_while_every_core_is_busy() {
        let mut one = Cores::new(1, false);
        assert_eq!([one.work(0.0, 2.0), one.work(1.0, 2.0), one.work(9.0, 2.0)], [2.0, 4.0, 11.0]);
        let mut two = Cores::new(2, false);
        assert_eq!([two.work(0.0, 2.0), two.work(1.0, 2.0), two.work(1.0, 2.0)], [2.0, 3.0, 4.0]);
        let mut spread = Cores::new(2, true);
        assert_eq!([spread.work(0.0, 2.0), spread.work(0.0, 2.0), spread.work(9.0, 2.0)], [1.0, 2.0, 10.0]);
        assert_eq!((one.busy, spread.busy), (6.0, 6.0));
    }
}
