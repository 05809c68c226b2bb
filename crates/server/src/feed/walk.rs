//! Going through all devices while they change, so that each is seen once, and each later change once.
//!
//! The registry is gone through part by part, and in a part by name, some devices at a time. Each device is read together with
//! the sequence of the newest change, under the lock under which changes of the device are published: it reflects its changes
//! up to there, and none later. After each step the walker reads the changes up to that point from the feed, and
//! [`FleetWalk::is_news`] says of each whether it is still to be taken:
//!
//! - its device has been read, as it was before: yes;
//! - its device has been read, as it was after: no;
//! - its device is still to be read: no, because it will be seen then;
//! - its device belongs to the part at hand and was added after the names had been gathered: yes.
//!
//! So a walk holds the names of one part, and never falls behind the feed by more than a step.

use tokio::task::yield_now;

use super::{Change, Feed};
use crate::registry::{DeviceRegistry, Snapshot};
use presence::{Device, DeviceName};

/// Devices that are read in one step: some ten microseconds, and as a text some twenty-five kilobytes.
const STEP: usize = 32;

/// How far a walk is. The walker's reader is at the newest change before the first step.
#[derive(Default)]
pub struct FleetWalk {
    next_part: usize,
    /// The newest change before the names were gathered.
    gathered_at: u64,
    names: Vec<DeviceName>,
    /// The first name of the latest step, and the newest change when each device of it was read.
    step_from: usize,
    read_at: Vec<u64>,
}

impl FleetWalk {
    /// Goes to the next step, whose devices are read next; false after the last. Only types and ids, which no change alters,
    /// may decide what is wanted.
    pub async fn advance(
        &mut self,
        registry: &DeviceRegistry,
        feed: &Feed,
        wanted: impl Fn(Device<'_>) -> bool,
    ) -> bool {
        self.step_from += self.read_at.len();
        self.read_at.clear();
        while self.step_from == self.names.len() {
            if self.next_part == DeviceRegistry::PARTS {
                return false;
            }
            // Before the names: a device that is added later is not to be missed.
            self.gathered_at = feed.head();
            self.names = names_of_part(registry, self.next_part, &wanted).await;
            self.names.sort_unstable();
            self.step_from = 0;
            self.next_part += 1;
        }
        true
    }

    /// The devices of the step, but those that were forgotten meanwhile.
    pub fn read_step(&mut self, registry: &DeviceRegistry, feed: &Feed) -> Vec<Snapshot> {
        let end = self.names.len().min(self.step_from + STEP);
        let mut devices = Vec::with_capacity(end - self.step_from);
        for name in &self.names[self.step_from..end] {
            let read = registry.read(name.device(), |record| (Snapshot::of(record), feed.head()));
            // A device that was forgotten meanwhile has no changes before it comes back.
            self.read_at.push(read.as_ref().map_or(self.gathered_at, |(_, read_at)| *read_at));
            devices.extend(read.map(|(snapshot, _)| snapshot));
        }
        devices
    }

    /// Up to where the changes are to be read before the next step.
    pub fn read_up_to(&self) -> u64 {
        self.read_at.iter().copied().max().unwrap_or(0)
    }

    /// Whether a change is in none of the devices that were read, and will be in none.
    pub fn is_news(&self, registry: &DeviceRegistry, change: &Change) -> bool {
        let device = change.snapshot.device();
        let part = registry.part_of(device) + 1;
        if part != self.next_part {
            return part < self.next_part;
        }
        let name =
            |name: &DeviceName| (*name.device_type).cmp(device.device_type).then((*name.id).cmp(device.id));
        match self.names.binary_search_by(name) {
            Ok(at) if at < self.step_from => true,
            Ok(at) => self.read_at.get(at - self.step_from).is_some_and(|read_at| change.sequence > *read_at),
            Err(_) => change.sequence > self.gathered_at,
        }
    }
}

/// The names of one part of the registry that are wanted, gathered some at a time: others have their turn in between.
pub async fn names_of_part(
    registry: &DeviceRegistry,
    part: usize,
    wanted: impl Fn(Device<'_>) -> bool,
) -> Vec<DeviceName> {
    let (mut names, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        next = registry.gather_names(part, from, &wanted, &mut names);
        yield_now().await;
    }
    names
}

#[cfg(test)]
mod tests;
