//! The engine: takes observations and the time, and gives the notifications that are due.

mod list;
mod replace;
mod restore;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use presence::contact::Patience;
use presence::query::Filter;
use presence::{DeviceName, EventKind, Status};

use crate::alert::Notification;
use crate::clock::{Now, WallMillis, millis};
use crate::conditions::{Counters, DropChange, FleetDrop};
use crate::coverage::{Coverage, FLEET, Part, ScopeId};
use crate::dispatch::Dispatch;
use crate::inhibition::{AlertRef, Inhibition, drop_group};
use crate::instances::{
    AlertInstances, Condition, DueKind, InstanceAbout, RuleDeadline, RuleDeadlines, Subject, Transition,
};
use crate::observation::Observation;
use crate::pending::{OfflineDevice, PendingAlert, PendingDevices, RuleWait};
use crate::place::{AddressBlock, DevicePlace};
use crate::rule::{GroupBy, Kind, Rule, RuleSet};
use crate::service::{OUTPUT_RULE, Outages, UNOBSERVED_RULE};

pub use replace::AlertTotals;
pub use restore::AnnouncedAlert;

/// If nobody called the engine for longer, the process or its machine was paused, and nothing was observed meanwhile.
pub const TICK_GAP_MAX: Duration = Duration::from_secs(30);

/// The engine looks again at the alerts that are held back at most once in that time, because it looks at all of them.
const LOOK_AGAIN_EVERY_MILLIS: u64 = 1_000;

/// The state of all alerts.
#[derive(Debug)]
pub struct Engine {
    rules: Arc<RuleSet>,
    /// What each rule needs beside its alerts, by its place.
    memories: Vec<Memory>,
    coverage: Coverage,
    instances: AlertInstances,
    /// Devices that rules wait for, beside the alerts.
    pending: PendingDevices,
    deadlines: RuleDeadlines,
    dispatch: Dispatch,
    inhibition: Inhibition,
    outages: Outages,
    failing_outputs: Outages,
    /// Where the alerts about the service itself go.
    all_webhooks: Vec<Arc<str>>,
    last_ticks: u64,
    /// When what is held back is to be looked at again, by ticks.
    looks: BTreeSet<u64>,
    looked_at: Option<u64>,
    /// Empty between two observations.
    waits: Vec<RuleWait>,
}

#[derive(Debug)]
enum Memory {
    Nothing,
    Counters(Counters),
    FleetDrop(FleetDrop),
}

impl Memory {
    fn new(rule: &Rule) -> Self {
        match &rule.kind {
            Kind::OfflineFor | Kind::NeverConnected(_) => Memory::Nothing,
            Kind::Flapping(threshold) | Kind::Refusals(threshold) => {
                Memory::Counters(Counters::new(*threshold, false))
            }
            Kind::DuplicateIdentity(threshold) => Memory::Counters(Counters::new(*threshold, true)),
            Kind::FleetDrop(threshold) => Memory::FleetDrop(FleetDrop::new(*threshold)),
        }
    }
}

/// All endpoints that rules name.
fn all_webhooks(rules: &RuleSet) -> Vec<Arc<str>> {
    let webhooks: BTreeSet<_> = rules.rules.iter().flat_map(|rule| rule.webhooks.iter().cloned()).collect();
    webhooks.into_iter().collect()
}

impl Engine {
    /// Nothing is observed yet, and no device known.
    pub fn new(rules: Arc<RuleSet>, now: Now) -> Self {
        let mut engine = Self {
            memories: rules.rules.iter().map(Memory::new).collect(),
            coverage: Coverage::new(rules.startup_grace),
            instances: AlertInstances::new(rules.rules.len()),
            pending: PendingDevices::default(),
            deadlines: RuleDeadlines::default(),
            dispatch: Dispatch::default(),
            inhibition: Inhibition::default(),
            outages: Outages::new(UNOBSERVED_RULE),
            failing_outputs: Outages::new(OUTPUT_RULE),
            all_webhooks: all_webhooks(&rules),
            last_ticks: now.ticks,
            looks: BTreeSet::new(),
            looked_at: None,
            waits: Vec::new(),
            rules,
        };
        engine.inhibition.follow_schedules(&engine.rules, now);
        engine.outages.set(now, "", false);
        engine.expect_listed(now);
        engine
    }

    /// Lets notifications name all of their alerts, for a caller that counts them.
    pub fn name_all_alerts(&mut self) {
        self.dispatch.named_max = usize::MAX;
        self.instances.firing_max = usize::MAX;
    }

    /// Every listed device is missing until it is seen.
    fn expect_listed(&mut self, now: Now) {
        let rules = self.rules.clone();
        for (at, rule) in rules.rules.iter().enumerate() {
            let Kind::NeverConnected(devices) = &rule.kind else { continue };
            for device in devices {
                self.expect_device(at, device, None, now);
            }
        }
    }

    fn expect_device(&mut self, rule: usize, device: &Arc<DeviceName>, source: Option<&str>, now: Now) {
        let scope = self.coverage.scope(source, Some(&device.device_type));
        let source = self.coverage.source(scope).cloned();
        let place =
            DevicePlace { device, source: source.as_ref(), block: AddressBlock::Unknown, since: now.wall };
        let hold = millis(self.rules.rules[rule].hold);
        self.begin((rule, hold), Subject::Device(device.clone()), scope, now, &place);
    }

    /// Says that a part of the fleet is observed, or is not, from now on.
    pub fn set_observed(&mut self, now: Now, part: Part<'_>, is_observed: bool) {
        self.follow_time(now);
        self.coverage.set(now.ticks, part, is_observed);
        match part {
            Part::Fleet => self.outages.set(now, "", is_observed),
            Part::Source(source) => self.outages.set(now, source, is_observed),
            // Clients see how well a type is known; it is no outage.
            Part::Type(_) => {}
        }
    }

    /// Says that an output takes messages, or does not, from now on.
    pub fn set_output(&mut self, now: Now, output: &str, works: bool) {
        self.failing_outputs.set(now, output, works);
    }

    /// Takes what is known of a device now.
    pub fn observe(&mut self, now: Now, observation: &Observation<'_>) {
        self.follow_time(now);
        let rules = self.rules.clone();
        let mut expected = None;
        let mut waits = std::mem::take(&mut self.waits);
        for (at, rule) in rules.rules.iter().enumerate() {
            if rule.selector.admits_name_and_source(observation.device, observation.source) {
                let expected = expected.get_or_insert_with(|| self.expectation(observation));
                waits.extend(self.observe_by(at, rule, expected, now, observation));
            }
        }
        if let Some(ContactExpectation { scope, block, .. }) = expected {
            let &Observation { device, since, .. } = observation;
            self.pending.set(&self.coverage, OfflineDevice { device, scope, since, block }, &waits);
        }
        waits.clear();
        self.waits = waits;
    }

    /// What is the same for all rules that look at a device.
    fn expectation(&mut self, observation: &Observation<'_>) -> ContactExpectation {
        let (device, source) = (observation.device, observation.source);
        let scope = self.coverage.scope(source, Some(device.device_type));
        let device_type = self.coverage.device_type(scope).clone();
        ContactExpectation {
            device: Arc::new(DeviceName { device_type, id: device.id.into() }),
            source: self.coverage.source(scope).cloned(),
            patience: self.rules.patience(device, source),
            block: AddressBlock::of(observation.address),
            scope,
        }
    }

    /// Returns when the rule fires, if it has to wait for a device that is offline.
    fn observe_by(
        &mut self,
        at: usize,
        rule: &Rule,
        expected: &ContactExpectation,
        now: Now,
        observation: &Observation<'_>,
    ) -> Option<RuleWait> {
        let Observation { source, status, cause, since, event, .. } = *observation;
        let &ContactExpectation { ref device, patience, scope, block, .. } = expected;
        let place = DevicePlace { device, source: expected.source.as_ref(), block, since };
        let is_excluded =
            cause.is_some_and(|cause| rule.excluded_causes.iter().any(|excluded| excluded == cause));
        let is_down = status == Some(Status::Disconnected) && !is_excluded && patience != Patience::Ephemeral;
        let subject = || Subject::Device(device.clone());
        match &rule.kind {
            Kind::OfflineFor if is_down => {
                let hold = match patience {
                    Patience::Periodic { every, grace } => rule.hold.max(every.saturating_add(grace)),
                    Patience::Permanent | Patience::Ephemeral => rule.hold,
                };
                if !self.instances.goes_on(at, &subject(), &mut self.deadlines) {
                    let observed = self.coverage.observed(scope, now.ticks);
                    return Some(RuleWait::new(at, observed.saturating_add(millis(hold))));
                }
            }
            Kind::OfflineFor => self.end(at, subject(), now),
            Kind::NeverConnected(listed) => match status {
                Some(_) => self.end(at, subject(), now),
                None if listed.contains(device) => self.expect_device(at, device, source, now),
                None => {}
            },
            Kind::Flapping(_) | Kind::DuplicateIdentity(_) | Kind::Refusals(_) => {
                if let Some(event) = event.filter(|_| !is_excluded) {
                    self.count(at, (event, observation.address), scope, now, &place);
                }
            }
            Kind::FleetDrop(_) => self.observe_drop(at, rule, is_down, now, (&place, observation)),
        }
        None
    }

    /// An event of a kind that some rules count.
    fn count(
        &mut self,
        at: usize,
        (event, address): (EventKind, Option<IpAddr>),
        scope: ScopeId,
        now: Now,
        place: &DevicePlace<'_>,
    ) {
        if !self.rules.rules[at].kind.counts(event) {
            return;
        }
        let Memory::Counters(counters) = &mut self.memories[at] else { return };
        let observed = |scope| self.coverage.observed(scope, now.ticks);
        let count = counters.add(place.device, scope, address, observed);
        let subject = Subject::Device(place.device.clone());
        if count.next != count.previous {
            let due = RuleDeadline { rule: at, what: DueKind::WindowEnd, subject: subject.clone() };
            if let Some(previous) = count.previous {
                self.deadlines.remove(count.scope, previous, due.clone());
            }
            if let Some(next) = count.next {
                self.deadlines.add(count.scope, next, due);
            }
        }
        if count.is_active {
            let hold = millis(self.rules.rules[at].hold);
            self.begin((at, hold), subject, count.scope, now, place);
        } else {
            self.end(at, subject, now);
        }
    }

    fn observe_drop(
        &mut self,
        at: usize,
        rule: &Rule,
        is_down: bool,
        now: Now,
        (place, observation): (&DevicePlace<'_>, &Observation<'_>),
    ) {
        let group = drop_group(rule.group_by, &place.device.device_type, observation.source);
        let was_connected = observation.before == Some(Status::Connected);
        let is_connected = observation.status == Some(Status::Connected);
        let device = place.device.device();
        let admits = |selector: &Filter| selector.admits_name_and_source(device, observation.source);
        let is_planned = self.inhibition.scheduled(&self.rules, at, admits).is_some();
        let change = DropChange {
            was_connected,
            is_connected,
            is_down: is_down && !is_planned,
            is_back: is_connected || observation.status.is_none(),
        };
        let scope = self.drop_scope(rule.group_by, &group);
        let observed = self.coverage.observed(scope, now.ticks);
        let Memory::FleetDrop(drops) = &mut self.memories[at] else { return };
        let condition = drops.observe(place.device, &group, change, (scope, observed));
        let due = || RuleDeadline {
            rule: at,
            what: DueKind::WindowEnd,
            subject: Subject::Device(place.device.clone()),
        };
        if let Some(leaves_at) = condition.leaves_at {
            self.deadlines.add(scope, leaves_at, due());
        }
        if let Some(would_leave_at) = condition.would_leave_at {
            self.deadlines.remove(scope, would_leave_at, due());
        }
        self.set_drop(at, &group, (condition.is_active, scope), now);
    }

    /// The clock of a group of a drop.
    fn drop_scope(&mut self, group_by: GroupBy, group: &str) -> ScopeId {
        match group_by {
            GroupBy::Type => self.coverage.scope(None, Some(group)),
            GroupBy::Source => self.coverage.scope(Some(group), None),
            GroupBy::Rule | GroupBy::AddressBlock | GroupBy::Device => FLEET,
        }
    }

    fn set_drop(&mut self, at: usize, group: &Arc<str>, (is_active, scope): (bool, ScopeId), now: Now) {
        let subject = Subject::Group(group.clone());
        if !is_active {
            return self.end(at, subject, now);
        }
        let (group, since) = (group.clone(), now.wall);
        let hold = millis(self.rules.rules[at].hold);
        let condition = self.condition((at, hold), subject);
        let observed = self.coverage.observed(scope, now.ticks);
        let about = InstanceAbout { group, source: None, since };
        self.instances.begin(condition, scope, observed, about, &mut self.deadlines);
    }

    fn begin(
        &mut self,
        (rule, hold): (usize, u64),
        subject: Subject,
        scope: ScopeId,
        now: Now,
        place: &DevicePlace<'_>,
    ) {
        let condition = self.condition((rule, hold), subject);
        let observed = self.coverage.observed(scope, now.ticks);
        let group_by = self.rules.rules[rule].group_by;
        self.instances.begin(condition, scope, observed, place.about(group_by), &mut self.deadlines);
    }

    fn end(&mut self, rule: usize, subject: Subject, now: Now) {
        let condition = self.condition((rule, 0), subject);
        let ended = self.instances.end(condition, &self.coverage, now.ticks, &mut self.deadlines);
        if let Some(transition) = ended {
            self.pass_on(transition, now);
        }
    }

    fn condition(&self, (rule, hold): (usize, u64), subject: Subject) -> Condition {
        let settings = &self.rules.rules[rule];
        Condition { rule, subject, hold, keep_firing: millis(settings.keep_firing_for) }
    }

    /// The notifications that are due by now. To be called each second: what is due is noticed then.
    pub fn advance(&mut self, now: Now) -> Vec<Notification> {
        self.follow_time(now);
        while let Some(due) = self.deadlines.take(&self.coverage, now.ticks) {
            self.pass_deadline(due, now);
        }
        while let Some(due) = self.pending.take_due(&self.coverage, now.ticks) {
            self.fire(&due, now);
        }
        if self.inhibition.follow_schedules(&self.rules, now) {
            self.looks.insert(now.ticks);
        }
        let looked = self.looked_at.map_or(0, |at| at.saturating_add(LOOK_AGAIN_EVERY_MILLIS));
        let (rules, inhibition, instances) = (&self.rules, &self.inhibition, &self.instances);
        let mute = |rule: usize, subject: &Subject, about: &InstanceAbout| {
            inhibition.holds_back(rules, instances, now, AlertRef { rule, subject, about })
        };
        if self.looks.first().is_some_and(|at| *at <= now.ticks) && looked <= now.ticks {
            self.looks.retain(|at| *at > now.ticks);
            self.looked_at = Some(now.ticks);
            self.dispatch.look_again(&rules.rules, now.ticks, &mute);
        }
        let mut notifications = self.outages.advance(now, rules.startup_grace, &self.all_webhooks);
        notifications.extend(self.failing_outputs.advance(now, Duration::ZERO, &self.all_webhooks));
        for mut notification in self.dispatch.flush(&rules.rules, now, &mute) {
            let rule = rules.rules.iter().position(|rule| rule.name == notification.rule);
            notification.further_devices =
                rule.map_or(0, |rule| instances.further_devices(rule, &notification.group));
            notifications.push(notification);
        }
        notifications
    }

    /// A device has been offline for as long as a rule waits.
    fn fire(&mut self, due: &PendingAlert, now: Now) {
        let &PendingAlert { rule, scope, .. } = due;
        let group_by = self.rules.rules[rule].group_by;
        let (subject, about) = (Subject::Device(due.device.clone()), due.place().about(group_by));
        let fired = self.instances.fire((rule, group_by), subject, (scope, about), &mut self.deadlines);
        if let Some(transition) = fired {
            self.pass_on(transition, now);
        }
    }

    fn pass_deadline(&mut self, due: RuleDeadline, now: Now) {
        let RuleDeadline { rule, what, subject } = due;
        match (what, subject) {
            (DueKind::Phase, subject) => {
                let group_by = self.rules.rules[rule].group_by;
                let passed = self.instances.pass((rule, group_by), subject, &mut self.deadlines);
                if let Some(transition) = passed {
                    self.pass_on(transition, now);
                }
            }
            (DueKind::WindowEnd, Subject::Device(device)) => self.leave_window(rule, device, now),
            (DueKind::WindowEnd, Subject::Group(group)) => {
                let Memory::FleetDrop(drops) = &mut self.memories[rule] else { return };
                let observed = |scope| self.coverage.observed(scope, now.ticks);
                if let Some(condition) = drops.look_again(&group, observed) {
                    self.set_drop(rule, &group, (condition.is_active, condition.scope), now);
                }
            }
        }
    }

    fn leave_window(&mut self, rule: usize, device: Arc<DeviceName>, now: Now) {
        let observed = |scope| self.coverage.observed(scope, now.ticks);
        match &mut self.memories[rule] {
            Memory::Counters(counters) => {
                let Some(count) = counters.expire(&device, observed) else { return };
                let subject = Subject::Device(device);
                if let Some(next) = count.next {
                    let due = RuleDeadline { rule, what: DueKind::WindowEnd, subject: subject.clone() };
                    self.deadlines.add(count.scope, next, due);
                }
                if !count.is_active {
                    self.end(rule, subject, now);
                }
            }
            Memory::FleetDrop(drops) => {
                if let Some((group, condition)) = drops.expire(&device, observed) {
                    self.set_drop(rule, &group, (condition.is_active, condition.scope), now);
                }
            }
            Memory::Nothing => {}
        }
    }

    /// An alert began or ended. What held others back may do so no longer.
    fn pass_on(&mut self, transition: Transition, now: Now) {
        let rules = self.rules.clone();
        match (&rules.rules[transition.rule].kind, transition.is_firing) {
            (Kind::FleetDrop(_), false) => {
                let drop = (transition.rule, transition.about.group.clone());
                self.looks.extend(self.inhibition.drop_ended(&rules, drop, now.ticks));
            }
            (Kind::Flapping(_), false) => {
                self.looks.insert(now.ticks);
            }
            (_, _) => {}
        }
        self.dispatch.take(transition, &rules.rules, now.ticks);
    }

    /// Stops the repetitions of a group until then; `None` lets them go on. `false`: nothing of it was announced.
    pub fn acknowledge(&mut self, rule: &str, group: &str, until: Option<WallMillis>) -> bool {
        let rule = self.rules.rules.iter().position(|known| *known.name == *rule);
        rule.is_some_and(|rule| self.dispatch.acknowledge(rule, group, until))
    }

    fn follow_time(&mut self, now: Now) {
        if now.ticks.saturating_sub(self.last_ticks) > millis(TICK_GAP_MAX) {
            self.coverage.resume_after_gap(self.last_ticks, now.ticks);
        }
        self.last_ticks = self.last_ticks.max(now.ticks);
    }
}

/// What is expected of an observed device, and by which clock.
struct ContactExpectation {
    device: Arc<DeviceName>,
    source: Option<Arc<str>>,
    patience: Patience,
    scope: ScopeId,
    block: AddressBlock,
}
