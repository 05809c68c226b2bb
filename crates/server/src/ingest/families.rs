//! Which devices are reached through which, and the passes over the children of a parent that has changed. A pass goes on
//! between two batches, so that a parent of ten thousand delays the messages behind it by a part of it only.

use std::cmp::Ordering;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use presence::{Device, DeviceName};

/// Children that are looked at between two batches, a millisecond or two: ten thousand are done after eighty batches, however
/// many messages come.
pub(super) const CHILDREN_AT_ONCE: usize = 128;

/// Devices of which a message may have said what their parents are; they are of a hundred bytes or two each.
const NAMED_MAX: usize = 1_000_000;

/// All families. A child that is no longer held, or has another parent now, is dropped when a pass meets it.
#[derive(Default)]
pub(super) struct Families {
    by_parent: HashMap<DeviceName, Family>,
    /// The parents whose children a pass is going through, each once.
    passes: VecDeque<DeviceName>,
    /// What messages of their own have said of parents, where the devices' states do not.
    named: HashMap<DeviceName, Option<DeviceName>>,
}

#[derive(Default)]
struct Family {
    children: BTreeSet<Child>,
    pass: ChildPass,
}

/// A child, ordered as its name is. Nearly all children of a parent share the name of their type, of which no text is compared then.
#[derive(Clone, PartialEq, Eq)]
struct Child(DeviceName);

impl Ord for Child {
    fn cmp(&self, other: &Self) -> Ordering {
        let (own, others) = (&self.0.device_type, &other.0.device_type);
        let types = if Arc::ptr_eq(own, others) { Ordering::Equal } else { own.cmp(others) };
        types.then_with(|| self.0.id.cmp(&other.0.id))
    }
}

impl PartialOrd for Child {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Family {
    fn add(&mut self, child: Device<'_>) {
        // Nearly all children of a parent are of one type.
        let device_type = match self.children.first() {
            Some(Child(first)) if *first.device_type == *child.device_type => Arc::clone(&first.device_type),
            _ => child.device_type.into(),
        };
        self.children.insert(Child(DeviceName { device_type, id: child.id.into() }));
    }
}

/// How far a pass over the children of a parent has come.
#[derive(Default)]
enum ChildPass {
    #[default]
    None,
    Begins,
    After(Child),
}

impl Families {
    /// Notes that a device is reached through another one.
    pub fn note(&mut self, child: Device<'_>, parent: Device<'_>) {
        match self.by_parent.get_mut(&NameRef(parent.device_type, parent.id)) {
            Some(family) => family.add(child),
            None => self.by_parent.entry(DeviceName::of(parent)).or_default().add(child),
        }
    }

    /// Notes what a message says of the parent of a device. `false`: there is no room for more of that.
    pub fn name_parent(&mut self, child: Device<'_>, parent: Option<Device<'_>>) -> bool {
        let child_name = NameRef(child.device_type, child.id);
        if self.named.len() >= NAMED_MAX && !self.named.contains_key(&child_name) {
            return false;
        }
        self.named.insert(DeviceName::of(child), parent.map(DeviceName::of));
        if let Some(parent) = parent {
            self.note(child, parent);
        }
        true
    }

    /// What a message has said of the parent of a device; `None`: nothing.
    pub fn named_parent(&self, child: Device<'_>) -> Option<Option<Device<'_>>> {
        if self.named.is_empty() {
            return None;
        }
        let parent = self.named.get(&NameRef(child.device_type, child.id))?;
        Some(parent.as_ref().map(DeviceName::device))
    }

    /// Drops a child of which a pass has found that it is none.
    pub fn drop_child(&mut self, child: &DeviceName, parent: &DeviceName) {
        let Some(family) = self.by_parent.get_mut(parent) else { return };
        family.children.remove(&Child(child.clone()));
        if family.children.is_empty() && matches!(family.pass, ChildPass::None) {
            self.by_parent.remove(parent);
        }
    }

    /// The parents of one type.
    pub fn parents_of_type(&self, device_type: &str) -> Vec<DeviceName> {
        self.by_parent.keys().filter(|parent| *parent.device_type == *device_type).cloned().collect()
    }

    /// Whether devices are reached through this one.
    pub fn is_parent(&self, device: Device<'_>) -> bool {
        self.by_parent.contains_key(&NameRef(device.device_type, device.id))
    }

    /// Begins a pass over the children of a device, if it has any; one that is under way begins again.
    pub fn parent_changed(&mut self, parent: Device<'_>) {
        let name = NameRef(parent.device_type, parent.id);
        let Some((name, family)) = self.by_parent.get_key_value_mut(&name) else { return };
        if matches!(family.pass, ChildPass::None) {
            self.passes.push_back(name.clone());
        }
        family.pass = ChildPass::Begins;
    }

    /// Whether a pass is under way.
    pub fn is_changing(&self) -> bool {
        !self.passes.is_empty()
    }

    /// The next children to look at, and their parent.
    pub fn next_children(&mut self) -> Option<(DeviceName, Vec<DeviceName>)> {
        let parent = self.passes.pop_front()?;
        let Some(family) = self.by_parent.get_mut(&parent) else { return Some((parent, Vec::new())) };
        let after = match &family.pass {
            ChildPass::None | ChildPass::Begins => Bound::Unbounded,
            ChildPass::After(child) => Bound::Excluded(child),
        };
        let children = family.children.range((after, Bound::Unbounded));
        let next: Vec<DeviceName> = children.take(CHILDREN_AT_ONCE).map(|Child(name)| name.clone()).collect();
        family.pass = match next.last() {
            Some(last) if next.len() == CHILDREN_AT_ONCE => ChildPass::After(Child(last.clone())),
            _ => ChildPass::None,
        };
        if !matches!(family.pass, ChildPass::None) {
            self.passes.push_back(parent.clone());
        }
        Some((parent, next))
    }
}

/// A name that is looked up without a copy of it. Hashed like a [`DeviceName`].
#[derive(Hash)]
pub(super) struct NameRef<'a>(pub &'a str, pub &'a str);

impl Equivalent<DeviceName> for NameRef<'_> {
    fn equivalent(&self, name: &DeviceName) -> bool {
        *self.1 == *name.id && *self.0 == *name.device_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: Device<'static> = Device { device_type: "bridge", id: "z" };

    #[test]
    fn a_pass_meets_every_child_once_in_parts_and_begins_again_when_the_parent_changes_again() {
        let mut families = Families::default();
        let names: Vec<String> = (0..1_000).map(|number| format!("{number:04}")).collect();
        for id in &names {
            families.note(Device { device_type: "zigbee", id }, BRIDGE);
        }
        families.parent_changed(Device { device_type: "bridge", id: "another" });
        assert!(!families.is_changing());
        families.parent_changed(BRIDGE);
        let (_, first) = families.next_children().unwrap();
        families.parent_changed(BRIDGE);
        let mut met = Vec::new();
        while let Some((parent, children)) = families.next_children() {
            assert!(parent.device() == BRIDGE && children.len() <= CHILDREN_AT_ONCE);
            met.extend(children.into_iter().map(|child| child.id.to_string()));
        }
        assert_eq!((first.len(), met), (CHILDREN_AT_ONCE, names));
        for number in 0..1_000 {
            let child = DeviceName { device_type: "zigbee".into(), id: format!("{number:04}").into() };
            families.drop_child(&child, &DeviceName::of(BRIDGE));
        }
        families.parent_changed(BRIDGE);
        assert!(!families.is_changing(), "a parent without children is none");
    }
}
