//! Which devices the next pruning looks at.

use std::collections::HashSet;

use presence::DeviceName;

/// Devices with new events that are remembered until the next pruning. Of devices beyond that, old events are dropped when the
/// device has new ones again.
const TOUCHED_MAX: usize = 100_000;

/// Devices that have new events since the last pruning.
#[derive(Default)]
pub struct Touched(pub HashSet<DeviceName>);

impl Touched {
    /// Remembers as many of the devices as there is room for.
    pub fn note(&mut self, names: impl IntoIterator<Item = DeviceName>) {
        for name in names {
            if self.0.len() >= TOUCHED_MAX {
                break;
            }
            self.0.insert(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_devices_waits_for_the_next_pruning() {
        let mut touched = Touched::default();
        let name = |number: usize| DeviceName { device_type: "t".into(), id: number.to_string().into() };
        for _ in 0..2 {
            touched.note((0..TOUCHED_MAX + 10).map(name));
            assert_eq!(touched.0.len(), TOUCHED_MAX);
        }
    }
}
