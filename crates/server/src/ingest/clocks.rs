//! Clocks of devices in one order, at most one for each device. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::time::Instant;

use hashbrown::HashMap;

use super::families::NameRef;
use presence::{Device, DeviceName};

/// Clocks that run out, each with what it is for.
pub(super) struct Clocks<T> {
    in_order: BTreeMap<ClockPlace, DeviceName>,
    of_device: HashMap<DeviceName, DeviceClock<T>>,
    started: u64,
}

/// When a clock runs out, and which of those at the same moment it is.
type ClockPlace = (Instant, u64);

struct DeviceClock<T> {
    place: ClockPlace,
    value: T,
}

impl<T> Default for Clocks<T> {
    fn default() -> Self {
        Self { in_order: BTreeMap::new(), of_device: HashMap::new(), started: 0 }
    }
}

impl<T> Clocks<T> {
    /// Starts the clock of a device, in place of the one that runs.
    pub fn start(&mut self, name: DeviceName, at: Instant, value: T) {
        self.started += 1;
        let place = (at, self.started);
        self.in_order.insert(place, name.clone());
        if let Some(before) = self.of_device.insert(name, DeviceClock { place, value }) {
            self.in_order.remove(&before.place);
        }
    }

    pub fn stop(&mut self, device: Device<'_>) -> Option<T> {
        let clock = self.of_device.remove(&NameRef(device.device_type, device.id))?;
        self.in_order.remove(&clock.place);
        Some(clock.value)
    }

    pub fn value_mut(&mut self, device: Device<'_>) -> Option<&mut T> {
        Some(&mut self.of_device.get_mut(&NameRef(device.device_type, device.id))?.value)
    }

    /// When the next clock runs out.
    pub fn next_at(&self) -> Option<Instant> {
        self.in_order.first_key_value().map(|((at, _), _)| *at)
    }

    /// A clock that has run out.
    pub fn take_due(&mut self, now: Instant) -> Option<(DeviceName, T)> {
        if self.next_at()? > now {
            return None;
        }
        let (_, name) = self.in_order.pop_first()?;
        let clock = self.of_device.remove(&name)?;
        Some((name, clock.value))
    }

    pub fn is_empty(&self) -> bool {
        self.of_device.is_empty()
    }

    /// All that run, without an end.
    pub fn take_all(&mut self) -> Vec<(DeviceName, T)> {
        self.in_order.clear();
        self.of_device.drain().map(|(name, clock)| (name, clock.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn clocks_run_out_in_order_once_each() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let name = |id: &str| DeviceName { device_type: "t".into(), id: id.into() };
        let mut clocks = Clocks::default();
        clocks.start(name("b"), at(2), 'b');
        clocks.start(name("a"), at(2), 'a');
        clocks.start(name("c"), at(1), 'c');
        clocks.start(name("c"), at(3), 'd');
        assert_eq!((clocks.next_at(), clocks.stop(name("a").device())), (Some(at(2)), Some('a')));
        assert_eq!(clocks.take_due(at(1)), None);
        assert_eq!(clocks.take_due(at(9)), Some((name("b"), 'b')));
        assert_eq!(clocks.take_due(at(9)), Some((name("c"), 'd')));
        assert!(clocks.take_due(at(9)).is_none() && clocks.is_empty() && clocks.next_at().is_none());
    }
}
