//! Devices of a group that are gone at once. Only those that have gone within the window take memory, and, while the rule
//! fires, those that are still gone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use presence::DeviceName;

use crate::clock::millis;
use crate::coverage::ScopeId;
use crate::room;
use crate::rule::DropThreshold;

/// Devices of a drop that one process names to the next. Of more, the next finds out itself which devices are down.
pub(crate) const MEMBERS_MAX: usize = 10_000;

/// By then, in observed time, every device was read.
const GATHERING_MILLIS: u64 = 60_000;

/// The groups of one rule.
#[derive(Debug)]
pub(crate) struct FleetDrop {
    threshold: DropThreshold,
    groups: HashMap<Arc<str>, DropGroup>,
    /// The group and the time of each device that is gone.
    gone: HashMap<Arc<DeviceName>, GoneDevice>,
}

#[derive(Debug)]
struct DropGroup {
    scope: ScopeId,
    connected: u64,
    /// Those that are gone, the first to go first.
    gone: BTreeSet<(u64, Arc<DeviceName>)>,
    is_active: bool,
    /// It fired in an earlier process, which did not name the devices that are gone: until then, in observed time, it goes on, and
    /// every device that is down is taken for one of them.
    gathers_until: Option<u64>,
}

#[derive(Clone, Debug)]
struct GoneDevice {
    group: Arc<str>,
    /// In observed time.
    at: u64,
}

/// What a device did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DropChange {
    pub was_connected: bool,
    pub is_connected: bool,
    /// It is disconnected, and not by intention.
    pub is_down: bool,
    /// It is connected, or forgotten.
    pub is_back: bool,
}

/// What a group says after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DropCondition {
    pub is_active: bool,
    pub scope: ScopeId,
    /// When the device that has gone leaves the window.
    pub leaves_at: Option<u64>,
    /// When the device that is back would have left the window.
    pub would_leave_at: Option<u64>,
}

impl FleetDrop {
    pub fn new(threshold: DropThreshold) -> Self {
        Self { threshold, groups: HashMap::new(), gone: HashMap::new() }
    }

    /// A device of a group came or went at a time observed by the group's clock.
    pub fn observe(
        &mut self,
        device: &Arc<DeviceName>,
        group: &Arc<str>,
        change: DropChange,
        (scope, at): (ScopeId, u64),
    ) -> DropCondition {
        let window = millis(self.threshold.window);
        let of_group = self.groups.entry(group.clone()).or_insert(DropGroup {
            scope,
            connected: 0,
            gone: BTreeSet::new(),
            is_active: false,
            gathers_until: None,
        });
        let is_gathered = of_group.gathers_until.is_some_and(|until| at < until);
        let more = of_group.connected + u64::from(change.is_connected);
        of_group.connected = more.saturating_sub(u64::from(change.was_connected));
        // Their deadlines are due, and may be passed only after this.
        if !of_group.is_active {
            self.drop_older(group, at);
        }
        let mut condition = DropCondition { is_active: false, scope, leaves_at: None, would_leave_at: None };
        let is_gone = change.is_down && (change.was_connected || is_gathered);
        if is_gone && !self.gone.contains_key(device) {
            self.add(device.clone(), group, at);
            condition.leaves_at = Some(at.saturating_add(window));
        } else if change.is_back {
            condition.would_leave_at = self.take_back(device, window);
        }
        condition.is_active = self.evaluate(group, at);
        condition
    }

    /// Every device is going to be observed anew.
    pub fn forget_connected(&mut self) {
        self.groups.values_mut().for_each(|group| group.connected = 0);
    }

    /// The devices of a group that are gone; empty if there are more than [`MEMBERS_MAX`].
    pub fn members(&self, group: &str) -> Vec<Arc<DeviceName>> {
        let gone = self.groups.get(group).map(|group| &group.gone);
        let gone = gone.filter(|gone| gone.len() <= MEMBERS_MAX).into_iter().flatten();
        gone.map(|(_, device)| device.clone()).collect()
    }

    /// A group of which the rule fired in an earlier process. If that named no devices, there were too many; then it returns when
    /// the group is to be looked at again.
    pub fn restore(
        &mut self,
        group: &Arc<str>,
        members: Vec<Arc<DeviceName>>,
        (scope, at): (ScopeId, u64),
    ) -> Option<u64> {
        let gathers_until = members.is_empty().then_some(at.saturating_add(GATHERING_MILLIS));
        let gone = BTreeSet::new();
        let of_group = DropGroup { scope, connected: 0, gone, is_active: true, gathers_until };
        self.groups.insert(group.clone(), of_group);
        members.into_iter().for_each(|device| self.add(device, group, at));
        gathers_until
    }

    /// Looks at a group again.
    pub fn look_again(
        &mut self,
        group: &Arc<str>,
        observed: impl Fn(ScopeId) -> u64,
    ) -> Option<DropCondition> {
        let scope = self.groups.get(group)?.scope;
        let is_active = self.evaluate(group, observed(scope));
        Some(DropCondition { is_active, scope, leaves_at: None, would_leave_at: None })
    }

    fn add(&mut self, device: Arc<DeviceName>, group: &Arc<str>, at: u64) {
        if let Some(of_group) = self.groups.get_mut(group) {
            of_group.gone.insert((at, device.clone()));
            self.gone.insert(device, GoneDevice { group: group.clone(), at });
        }
    }

    fn take_back(&mut self, device: &Arc<DeviceName>, window: u64) -> Option<u64> {
        let gone = self.gone.remove(device)?;
        room::give_back(&mut self.gone);
        if let Some(group) = self.groups.get_mut(&gone.group) {
            group.gone.remove(&(gone.at, device.clone()));
        }
        Some(gone.at.saturating_add(window))
    }

    /// A device has left the window: it counts no longer, unless the rule fires.
    pub fn expire(
        &mut self,
        device: &Arc<DeviceName>,
        observed: impl Fn(ScopeId) -> u64,
    ) -> Option<(Arc<str>, DropCondition)> {
        let gone = self.gone.get(device)?.clone();
        let of_group = self.groups.get(&gone.group)?;
        let (scope, window) = (of_group.scope, millis(self.threshold.window));
        let at = observed(scope);
        if !of_group.is_active && gone.at.saturating_add(window) <= at {
            self.take_back(device, window);
        }
        let is_active = self.evaluate(&gone.group, at);
        Some((gone.group, DropCondition { is_active, scope, leaves_at: None, would_leave_at: None }))
    }

    /// True once both thresholds are reached, and until less than half of one of them is gone.
    fn evaluate(&mut self, name: &Arc<str>, at: u64) -> bool {
        let DropThreshold { min_percent, min_devices, .. } = self.threshold;
        let Some(group) = self.groups.get_mut(name) else { return false };
        if group.gathers_until.is_some_and(|until| at < until) {
            return true;
        }
        group.gathers_until = None;
        let factor = if group.is_active { 2 } else { 1 };
        let gone = group.gone.len() as u64;
        let share = gone.saturating_mul(100 * factor);
        let were_connected = group.connected.saturating_add(gone);
        let is_active = gone.saturating_mul(factor) >= u64::from(min_devices)
            && share >= were_connected.saturating_mul(u64::from(min_percent));
        if std::mem::replace(&mut group.is_active, is_active) && !is_active {
            // Those that went long ago were counted only because the rule fired.
            self.drop_older(name, at);
        }
        is_active
    }

    /// Drops those of a group that have left the window.
    fn drop_older(&mut self, name: &Arc<str>, at: u64) {
        let window = millis(self.threshold.window);
        let Some(group) = self.groups.get_mut(name) else { return };
        while group.gone.first().is_some_and(|(left, _)| left.saturating_add(window) <= at) {
            if let Some((_, device)) = group.gone.pop_first() {
                self.gone.remove(&device);
            }
        }
        room::give_back(&mut self.gone);
    }
}
