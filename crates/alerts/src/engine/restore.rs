//! The announced alerts, as one process hands them to the next, which announces none of them again and resolves each.

use std::sync::Arc;

use presence::DeviceName;

use super::{Engine, Memory};
use crate::clock::{Now, WallMillis, millis};
use crate::dispatch::AnnouncedInstance;
use crate::instances::{DueKind, InstanceAbout, RuleDeadline, Subject};
use crate::rule::Rule;
use crate::service::{AnnouncedOutage, OUTPUT_RULE, Outages, UNOBSERVED_RULE};

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
    /// The devices that are gone, of a drop of the fleet; none if there are more than 10,000.
    pub members: Vec<Arc<DeviceName>>,
    /// Until when its group is acknowledged.
    pub acknowledged_until: Option<WallMillis>,
}

impl Engine {
    /// The alerts that were announced and whose end was not.
    pub fn announced(&self) -> Vec<AnnouncedAlert> {
        let each = self.dispatch.announced().map(|announced| {
            let AnnouncedInstance { rule, subject, about, key, acknowledged_until } = announced;
            AnnouncedAlert {
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
                acknowledged_until,
            }
        });
        let of_service = |outages: &Outages, rule: &'static str| {
            let announced = outages.announced();
            announced.map(|outage| of_outage(rule, outage)).collect::<Vec<_>>()
        };
        let outages = of_service(&self.outages, UNOBSERVED_RULE);
        each.chain(outages).chain(of_service(&self.failing_outputs, OUTPUT_RULE)).collect()
    }

    /// Takes what an earlier process had announced, before any device is observed. Those of rules that are no more are left out.
    pub fn restore(&mut self, now: Now, announced: Vec<AnnouncedAlert>) {
        for alert in announced {
            match &*alert.rule {
                UNOBSERVED_RULE => self.outages.restore(now, alert.group, alert.since),
                OUTPUT_RULE => self.failing_outputs.restore(now, alert.group, alert.since),
                name => {
                    if let Some(at) = self.rules.rules.iter().position(|known| *known.name == *name) {
                        self.restore_alert(at, now, alert);
                    }
                }
            }
        }
    }

    fn restore_alert(&mut self, at: usize, now: Now, alert: AnnouncedAlert) {
        let AnnouncedAlert { device, group, source, since, key, members, acknowledged_until, .. } = alert;
        let rules = self.rules.clone();
        let settings = &rules.rules[at];
        let scope = match &device {
            Some(device) => self.coverage.scope(source.as_deref(), Some(&device.device_type)),
            None => self.drop_scope(settings.group_by, &group),
        };
        let observed = self.coverage.observed(scope, now.ticks);
        match (&mut self.memories[at], &device) {
            (Memory::FleetDrop(drops), _) => {
                if let Some(looked_at) = drops.restore(&group, members, (scope, observed)) {
                    let subject = Subject::Group(group.clone());
                    self.deadlines.add(
                        scope,
                        looked_at,
                        RuleDeadline { rule: at, what: DueKind::WindowEnd, subject },
                    );
                }
            }
            (Memory::Counters(counters), Some(device)) => {
                let leaves_at = counters.restore(device.clone(), scope, observed);
                let due = RuleDeadline {
                    rule: at,
                    what: DueKind::WindowEnd,
                    subject: Subject::Device(device.clone()),
                };
                self.deadlines.add(scope, leaves_at, due);
            }
            (Memory::Counters(_) | Memory::Nothing, _) => {}
        }
        let is_selected = device.as_ref().is_none_or(|device| {
            settings.selector.admits_name_and_source(device.device(), source.as_deref())
        });
        let subject = device.map_or_else(|| Subject::Group(group.clone()), Subject::Device);
        let about = InstanceAbout { group, source, since };
        self.instances.restore(at, subject.clone(), scope, about.clone());
        if let (Subject::Group(group), Memory::Nothing | Memory::Counters(_)) = (&subject, &self.memories[at])
        {
            let resolved_at = observed + fires_again_within(settings);
            self.instances.doubt_group(at, group, resolved_at, &mut self.deadlines);
        }
        let announced = (key, acknowledged_until);
        self.dispatch.restore(&rules.rules, (at, subject.clone()), about, announced, now.ticks);
        // Of a device that the rule selects no longer, nothing is observed that could end it.
        if !is_selected {
            self.end(at, subject, now);
        }
    }
}

/// Within that observed time, devices whose condition still holds have fired again.
pub(super) fn fires_again_within(rule: &Rule) -> u64 {
    // They are read one after the other.
    const READING_MILLIS: u64 = 60_000;
    millis(rule.hold).saturating_add(READING_MILLIS)
}

fn of_outage(rule: &'static str, AnnouncedOutage { part, since, key }: AnnouncedOutage) -> AnnouncedAlert {
    AnnouncedAlert {
        rule: rule.into(),
        device: None,
        group: part,
        source: None,
        since,
        key,
        members: Vec::new(),
        acknowledged_until: None,
    }
}
