//! Events of each device within a window of observed time, with hysteresis: true from `start` on, false again from `stop` down.
//! Only devices with such events take memory.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use presence::DeviceName;

use crate::clock::millis;
use crate::coverage::ScopeId;
use crate::room;
use crate::rule::CountThreshold;

/// The counters of one rule.
#[derive(Debug)]
pub(crate) struct Counters {
    threshold: CountThreshold,
    /// Two clients take turns: some address must have come back.
    needs_alternating: bool,
    by_device: HashMap<Arc<DeviceName>, Counter>,
}

#[derive(Debug)]
struct Counter {
    scope: ScopeId,
    /// The oldest first. The newest `start` of them decide all, so no more are held.
    events: VecDeque<CountedEvent>,
    is_active: bool,
}

#[derive(Clone, Copy, Debug)]
struct CountedEvent {
    /// In observed time.
    at: u64,
    address: Option<IpAddr>,
}

/// What a counter says after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub is_active: bool,
    pub scope: ScopeId,
    /// When the oldest event leaves the window; `None`: nothing is counted any more.
    pub next: Option<u64>,
    /// The same before the change.
    pub previous: Option<u64>,
}

impl Counters {
    pub fn new(threshold: CountThreshold, needs_alternating: bool) -> Self {
        Self { threshold, needs_alternating, by_device: HashMap::new() }
    }

    /// Counts an event; `at` is the observed time of the scope, which is that of the device's first event.
    pub fn add(
        &mut self,
        device: &Arc<DeviceName>,
        scope: ScopeId,
        address: Option<IpAddr>,
        at: impl Fn(ScopeId) -> u64,
    ) -> Count {
        let counter = self.by_device.entry(device.clone()).or_insert_with(|| Counter {
            scope,
            events: VecDeque::new(),
            is_active: false,
        });
        let previous = counter.next(self.threshold);
        let at = at(counter.scope);
        if counter.events.len() >= self.threshold.start as usize {
            counter.events.pop_front();
        }
        counter.events.push_back(CountedEvent { at, address });
        counter.drop_older(self.threshold, at);
        let reaches = counter.events.len() >= self.threshold.start as usize
            && (!self.needs_alternating || counter.alternates());
        counter.is_active |= reaches;
        counter.count(self.threshold, previous)
    }

    /// A device of which the rule fired in an earlier process, as if as many events as that takes had just happened. Returns when
    /// they leave the window.
    pub fn restore(&mut self, device: Arc<DeviceName>, scope: ScopeId, at: u64) -> u64 {
        let event = CountedEvent { at, address: None };
        let events = std::iter::repeat_n(event, self.threshold.start as usize).collect();
        self.by_device.insert(device, Counter { scope, events, is_active: true });
        at.saturating_add(millis(self.threshold.window))
    }

    /// The oldest event of a device has left the window.
    pub fn expire(&mut self, device: &Arc<DeviceName>, at: impl Fn(ScopeId) -> u64) -> Option<Count> {
        let counter = self.by_device.get_mut(device)?;
        counter.drop_older(self.threshold, at(counter.scope));
        let count = counter.count(self.threshold, None);
        if count.next.is_none() {
            self.by_device.remove(device);
            room::give_back(&mut self.by_device);
        }
        Some(count)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.by_device.len()
    }
}

impl Counter {
    fn drop_older(&mut self, threshold: CountThreshold, now: u64) {
        let window = millis(threshold.window);
        while self.events.front().is_some_and(|event| event.at.saturating_add(window) <= now) {
            self.events.pop_front();
        }
        if self.events.len() <= threshold.stop as usize {
            self.is_active = false;
        }
    }

    fn next(&self, threshold: CountThreshold) -> Option<u64> {
        self.events.front().map(|event| event.at.saturating_add(millis(threshold.window)))
    }

    fn count(&self, threshold: CountThreshold, previous: Option<u64>) -> Count {
        Count { is_active: self.is_active, scope: self.scope, next: self.next(threshold), previous }
    }

    /// Whether some address came back after another one.
    fn alternates(&self) -> bool {
        let known: Vec<IpAddr> = self.events.iter().filter_map(|event| event.address).collect();
        (2..known.len()).any(|at| known[at] != known[at - 1] && known[..at - 1].contains(&known[at]))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn counters(start: u32, stop: u32, needs_alternating: bool) -> Counters {
        let threshold = CountThreshold { window: Duration::from_millis(100), start, stop };
        Counters::new(threshold, needs_alternating)
    }

    fn name() -> Arc<DeviceName> {
        Arc::new(DeviceName { device_type: "pump".into(), id: "1".into() })
    }

    #[test]
    fn a_count_is_active_from_start_until_stop_and_takes_no_memory_after_its_window() {
        let (mut counters, device) = (counters(3, 1, false), name());
        let mut add = |at| counters.add(&device, ScopeId(0), None, |_| at).is_active;
        assert_eq!([add(0), add(10), add(20), add(130)], [false, false, true, false]);
        assert_eq!([add(140), add(150), add(160)], [false, true, true]);
        let mut expire = |at| counters.expire(&device, |_| at).map(|count| (count.is_active, count.next));
        assert_eq!(expire(250), Some((false, Some(260))));
        assert_eq!((expire(260), expire(261)), (Some((false, None)), None));
        assert_eq!(counters.len(), 0);
    }

    #[test]
    fn two_addresses_that_take_turns_are_not_one_that_moves_on() {
        let is_active = |addresses: &[&str]| {
            let (mut counters, device) = (counters(4, 1, true), name());
            let mut number = 0;
            let mut add = |address: &&str| {
                number += 1;
                counters.add(&device, ScopeId(0), address.parse().ok(), |_| number).is_active
            };
            addresses.iter().map(&mut add).last().unwrap()
        };
        assert!(is_active(&["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.2"]));
        assert!(is_active(&["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"]));
        assert!(!is_active(&["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]));
        assert!(!is_active(&["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"]));
        assert!(!is_active(&["", "", "", ""]));
    }
}
