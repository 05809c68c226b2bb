//! Devices beyond the alerts that a rule may have: of each only a number is remembered, and an alert about their group stands for
//! all of them.

use std::collections::HashMap;
use std::sync::Arc;

use presence::{DeviceName, StableHash};

use crate::room;
use crate::rule::GroupBy;

/// The alerts of one rule that fire; beyond them only the group is announced.
pub const FIRING_MAX: usize = 10_000;

/// The devices of one rule. Half of a fleet may be beyond, so each takes twelve bytes.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    /// The place of the group, by the hash of the device in two halves, which need no gap before the place.
    group_of: HashMap<[u32; 2], u32>,
    groups: Vec<FurtherGroup>,
    places: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct FurtherGroup {
    name: Arc<str>,
    devices: usize,
}

impl Beyond {
    /// Adds a device; says whether it is the first of its group.
    pub fn add(&mut self, device: &DeviceName, group: &Arc<str>) -> bool {
        let place = *self.places.entry(group.clone()).or_insert_with(|| {
            self.groups.push(FurtherGroup { name: group.clone(), devices: 0 });
            u32::try_from(self.groups.len() - 1).expect("there are as many groups as types and sources")
        });
        if self.group_of.insert(hash(device), place).is_some() {
            return false;
        }
        let group = &mut self.groups[place as usize];
        group.devices += 1;
        group.devices == 1
    }

    pub fn contains(&self, device: &DeviceName) -> bool {
        !self.group_of.is_empty() && self.group_of.contains_key(&hash(device))
    }

    /// Drops a device; returns its group if it was the last of it.
    pub fn remove(&mut self, device: &DeviceName) -> Option<Arc<str>> {
        if self.group_of.is_empty() {
            return None;
        }
        let place = self.group_of.remove(&hash(device))?;
        room::give_back(&mut self.group_of);
        let group = &mut self.groups[place as usize];
        group.devices -= 1;
        (group.devices == 0).then(|| group.name.clone())
    }

    /// How many devices of a group there are.
    pub fn total(&self, group: &str) -> usize {
        self.places.get(group).map_or(0, |place| self.groups[*place as usize].devices)
    }

    pub fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.iter().filter(|group| group.devices > 0).map(|group| &group.name)
    }
}

/// The group that stands for a device. Where there may be as many groups as devices, one stands for all.
pub(crate) fn group_of(group_by: GroupBy, group: &Arc<str>) -> Arc<str> {
    match group_by {
        GroupBy::Rule | GroupBy::Type | GroupBy::Source => group.clone(),
        GroupBy::AddressBlock | GroupBy::Device => "".into(),
    }
}

fn hash(device: &DeviceName) -> [u32; 2] {
    let parts = [device.device_type.as_bytes(), &[0], device.id.as_bytes()];
    let hash = parts.into_iter().fold(StableHash::default(), StableHash::with).value();
    [hash as u32, (hash >> 32) as u32]
}
