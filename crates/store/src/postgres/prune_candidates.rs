//! Which devices a pruning looks at, step by step.

use std::collections::HashMap;

use presence::DeviceName;

/// Devices with new events that are counted until a pruning looks at them. Of devices beyond that, old events are dropped when the
/// device has new ones again.
const CANDIDATES_MAX: usize = 100_000;

/// Devices that one step looks at: some milliseconds, in which no batch is written.
const DEVICES_AT_ONCE: usize = 1_000;

/// So many times fewer new events than a device may keep are left until a pruning looks at it.
const SLACK: usize = 10;

/// Devices that have new events.
pub struct PruneCandidates {
    /// How many since a pruning looked at the device.
    new_events: HashMap<DeviceName, usize>,
    /// So many are enough for a pruning to look at it.
    enough: usize,
    /// What the pruning that has begun is still to look at.
    to_prune: Vec<DeviceName>,
}

impl PruneCandidates {
    /// For devices of which so many events are kept.
    pub fn new(per_device: usize) -> Self {
        Self { new_events: HashMap::new(), enough: (per_device / SLACK).max(1), to_prune: Vec::new() }
    }

    /// Counts events of devices, as far as there is room for more devices.
    pub fn note(&mut self, names: impl IntoIterator<Item = DeviceName>) {
        for name in names {
            if let Some(number) = self.new_events.get_mut(&name) {
                *number += 1;
            } else if self.new_events.len() < CANDIDATES_MAX {
                self.new_events.insert(name, 1);
            }
        }
    }

    /// The devices that the next step looks at; after the last step of a pruning another one begins.
    pub fn take(&mut self) -> Vec<DeviceName> {
        if self.to_prune.is_empty() {
            let (enough, is_full) = (self.enough, self.new_events.len() >= CANDIDATES_MAX);
            let due = self.new_events.extract_if(|_, number| is_full || *number >= enough);
            self.to_prune = due.map(|(name, _)| name).collect();
        }
        self.to_prune.split_off(self.to_prune.len().saturating_sub(DEVICES_AT_ONCE))
    }

    /// The devices of a step that has failed.
    pub fn put_back(&mut self, names: Vec<DeviceName>) {
        self.to_prune.extend(names);
    }

    /// Whether the pruning that has begun has looked at all its devices.
    pub fn is_over(&self) -> bool {
        self.to_prune.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> DeviceName {
        DeviceName { device_type: "t".into(), id: number.to_string().into() }
    }

    #[test]
    fn a_bounded_number_of_devices_waits_for_the_next_pruning_which_takes_all_of_so_many() {
        let mut candidates = PruneCandidates::new(1_000);
        for _ in 0..2 {
            candidates.note((0..CANDIDATES_MAX + 10).map(name));
            assert_eq!(candidates.new_events.len(), CANDIDATES_MAX);
        }
        let mut looked_at = candidates.take().len();
        while !candidates.is_over() {
            looked_at += candidates.take().len();
        }
        assert_eq!(looked_at, CANDIDATES_MAX);
    }

    #[test]
    fn a_pruning_looks_at_devices_with_enough_new_events_step_by_step() {
        let mut candidates = PruneCandidates::new(20);
        candidates.note((0..DEVICES_AT_ONCE + 2).map(name));
        assert!(candidates.take().is_empty() && candidates.is_over(), "one event of twenty is not enough");
        candidates.note((1..DEVICES_AT_ONCE + 2).map(name));
        assert_eq!(candidates.take().len(), DEVICES_AT_ONCE);
        // What comes meanwhile is for the next one.
        candidates.note([name(0)]);
        assert!(!candidates.is_over());
        let failed = candidates.take();
        assert!(failed.len() == 1 && candidates.is_over());
        candidates.put_back(failed.clone());
        assert_eq!(candidates.take(), failed);
        assert_eq!(candidates.take(), [name(0)]);
        assert!(PruneCandidates::new(1).enough == 1);
    }
}
