//! Which devices a pruning looks at, step by step.

use std::collections::HashSet;

use presence::DeviceName;

/// Devices with new events that are remembered until the next pruning. Of devices beyond that, old events are dropped when the
/// device has new ones again.
const TOUCHED_MAX: usize = 100_000;

/// Devices that one step looks at: some milliseconds, in which no batch is written.
const DEVICES_AT_ONCE: usize = 1_000;

/// Devices that have new events.
#[derive(Default)]
pub struct Touched {
    /// Since the pruning began: the next one looks at them.
    since: HashSet<DeviceName>,
    /// Before it began: it looks at them.
    before: Vec<DeviceName>,
}

impl Touched {
    /// Remembers as many of the devices as there is room for.
    pub fn note(&mut self, names: impl IntoIterator<Item = DeviceName>) {
        for name in names {
            if self.since.len() >= TOUCHED_MAX {
                break;
            }
            self.since.insert(name);
        }
    }

    /// The devices that the next step looks at; after the last step of a pruning another one begins.
    pub fn take(&mut self) -> Vec<DeviceName> {
        if self.before.is_empty() {
            self.before = std::mem::take(&mut self.since).into_iter().collect();
        }
        self.before.split_off(self.before.len().saturating_sub(DEVICES_AT_ONCE))
    }

    /// Whether the pruning that has begun has looked at all its devices.
    pub fn is_over(&self) -> bool {
        self.before.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> DeviceName {
        DeviceName { device_type: "t".into(), id: number.to_string().into() }
    }

    #[test]
    fn a_bounded_number_of_devices_waits_for_the_next_pruning() {
        let mut touched = Touched::default();
        for _ in 0..2 {
            touched.note((0..TOUCHED_MAX + 10).map(name));
            assert_eq!(touched.since.len(), TOUCHED_MAX);
        }
    }

    #[test]
    fn a_pruning_looks_at_the_devices_that_were_touched_before_it() {
        let mut touched = Touched::default();
        touched.note((0..DEVICES_AT_ONCE + 2).map(name));
        assert_eq!(touched.take().len(), DEVICES_AT_ONCE);
        touched.note([name(0)]);
        assert!(!touched.is_over());
        assert_eq!(touched.take().len(), 2);
        assert!(touched.is_over());
        assert_eq!(touched.take(), [name(0)]);
        assert!(touched.is_over() && touched.take().is_empty());
    }
}
