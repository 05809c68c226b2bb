//! Devices beyond the alerts that a rule may have: of each only a number is remembered, and an alert about their group stands for
//! all of them.

use std::collections::HashMap;
use std::sync::Arc;

use presence::{DeviceName, StableHash};

use crate::rule::GroupBy;

/// The alerts of one rule that fire; beyond them only the group is announced.
pub const FIRING_MAX: usize = 10_000;

/// The devices of one rule.
#[derive(Debug, Default)]
pub(crate) struct Beyond {
    group_of: HashMap<u64, Arc<str>>,
    totals: HashMap<Arc<str>, usize>,
}

impl Beyond {
    /// Adds a device; says whether it is the first of its group.
    pub fn add(&mut self, device: &DeviceName, group: Arc<str>) -> bool {
        if self.group_of.insert(hash(device), group.clone()).is_some() {
            return false;
        }
        let total = self.totals.entry(group).or_default();
        *total += 1;
        *total == 1
    }

    pub fn contains(&self, device: &DeviceName) -> bool {
        !self.group_of.is_empty() && self.group_of.contains_key(&hash(device))
    }

    /// Drops a device; returns its group if it was the last of it.
    pub fn remove(&mut self, device: &DeviceName) -> Option<Arc<str>> {
        if self.group_of.is_empty() {
            return None;
        }
        let group = self.group_of.remove(&hash(device))?;
        let total = self.totals.get_mut(&group)?;
        *total -= 1;
        if *total > 0 {
            return None;
        }
        self.totals.remove(&group);
        Some(group)
    }

    /// How many devices of a group there are.
    pub fn total(&self, group: &str) -> usize {
        self.totals.get(group).copied().unwrap_or(0)
    }

    pub fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.totals.keys()
    }
}

/// The group that stands for a device. Where there may be as many groups as devices, one stands for all.
pub(crate) fn group_of(group_by: GroupBy, group: &Arc<str>) -> Arc<str> {
    match group_by {
        GroupBy::Rule | GroupBy::Type | GroupBy::Source => group.clone(),
        GroupBy::AddressBlock | GroupBy::Device => "".into(),
    }
}

fn hash(device: &DeviceName) -> u64 {
    let parts = [device.device_type.as_bytes(), &[0], device.id.as_bytes()];
    parts.into_iter().fold(StableHash::default(), StableHash::with).value()
}
