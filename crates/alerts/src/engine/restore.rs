//! The announced alerts, as one process hands them to the next, which announces none of them again and resolves each.

use std::sync::Arc;

use presence::DeviceName;

use super::{Engine, Memory};
use crate::clock::{Now, WallMillis};
use crate::instances::{InstanceAbout, Subject};

/// An alert that was announced and whose end was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedAlert {
    pub rule: Arc<str>,
    /// `None`: it is about the group.
    pub device: Option<Arc<DeviceName>>,
    pub group: Arc<str>,
    pub source: Option<Arc<str>>,
    pub since: WallMillis,
    /// The key of the notifications of its group.
    pub key: u64,
    /// The devices that are gone, of a drop of the fleet.
    pub members: Vec<Arc<DeviceName>>,
}

impl Engine {
    /// The alerts that were announced and whose end was not.
    pub fn announced(&self) -> Vec<AnnouncedAlert> {
        let each = self.dispatch.announced().map(|(rule, subject, about, key)| AnnouncedAlert {
            rule: self.rules.rules[rule].name.clone(),
            device: match subject {
                Subject::Device(device) => Some(device.clone()),
                Subject::Group(_) => None,
            },
            group: about.group.clone(),
            source: about.source.clone(),
            since: about.since,
            key,
            members: match (&self.memories[rule], subject) {
                (Memory::FleetDrop(drops), Subject::Group(group)) => drops.members(group),
                (_, _) => Vec::new(),
            },
        });
        each.collect()
    }

    /// Takes what an earlier process had announced, before any device is observed. Those of rules that are no more are left out.
    pub fn restore(&mut self, now: Now, announced: Vec<AnnouncedAlert>) {
        for AnnouncedAlert { rule, device, group, source, since, key, members } in announced {
            let Some(at) = self.rules.rules.iter().position(|known| known.name == rule) else { continue };
            let settings = &self.rules.rules[at];
            let scope = match &device {
                Some(device) => self.coverage.scope(source.as_deref(), Some(&device.device_type)),
                None => self.drop_scope(settings.group_by, &group),
            };
            if let Memory::FleetDrop(drops) = &mut self.memories[at] {
                drops.restore(&group, members, (scope, self.coverage.observed(scope, now.ticks)));
            }
            let subject = device.map_or_else(|| Subject::Group(group.clone()), Subject::Device);
            let about = InstanceAbout { group, source, since };
            self.instances.restore(at, subject.clone(), scope, about.clone());
            let rules = self.rules.clone();
            self.dispatch.restore(&rules.rules, (at, subject), about, key, now.ticks);
        }
    }
}
