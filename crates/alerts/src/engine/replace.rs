//! Other rules for a running engine: rules that look for the same as before go on, others begin anew.

use std::sync::Arc;

use presence::{Device, DeviceName};

use super::{Engine, Memory, all_webhooks, restore};
use crate::clock::Now;
use crate::coverage::FLEET;
use crate::instances::AlertInstances;
use crate::rule::{Rule, RuleSet};

/// How many alerts a rule has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlertTotals<'a> {
    pub rule: &'a Arc<str>,
    pub pending: usize,
    pub firing: usize,
}

impl Engine {
    /// Replaces the rules. Says whether every device is to be observed anew, since [`Engine::begin_anew`]: some rule is new, or
    /// looks for something else than before. What was announced for a rule of the same name stays announced.
    pub fn set_rules(&mut self, rules: Arc<RuleSet>, now: Now) -> bool {
        if self.rules == rules {
            return false;
        }
        let announced = self.announced();
        let before = std::mem::replace(&mut self.rules, rules.clone());
        let has_same_contacts = before.contacts == rules.contacts;
        let is_same = |one: &Rule, other: &Rule| has_same_contacts && looks_for_the_same(one, other);
        let places: Vec<_> =
            before.rules.iter().map(|one| rules.rules.iter().position(|other| is_same(one, other))).collect();
        let place_of = |rule: usize| places[rule];

        let mut instances = AlertInstances::new(rules.rules.len());
        let mut memories: Vec<_> = rules.rules.iter().map(Memory::new).collect();
        for (from, to) in places.iter().enumerate() {
            if let Some(to) = *to {
                instances.set_rule(to, self.instances.take_rule(from));
                std::mem::swap(&mut memories[to], &mut self.memories[from]);
            }
        }
        (self.instances, self.memories) = (instances, memories);
        self.pending.move_rules(&self.coverage, place_of);
        self.deadlines.move_rules(place_of);
        self.dispatch.move_rules(place_of);
        self.inhibition.move_rules(place_of);
        self.inhibition.follow_schedules(&rules, now);
        self.coverage.set_grace(rules.startup_grace);
        self.all_webhooks = all_webhooks(&rules);
        // Another silence or window may hold back other alerts.
        self.looks.insert(now.ticks);

        let is_moved = |name: &str| {
            let place = before.rules.iter().position(|rule| *rule.name == *name);
            place.is_some_and(|at| places[at].is_some())
        };
        let is_known = |name: &str| rules.rules.iter().any(|rule| *rule.name == *name);
        let lost = announced.into_iter().filter(|alert| is_known(&alert.rule) && !is_moved(&alert.rule));
        let lost: Vec<_> = lost.collect();
        self.expect_listed(now);
        self.restore(now, lost);
        (0..rules.rules.len()).any(|at| !places.contains(&Some(at)))
    }

    /// Every device is going to be observed as at a start, since nothing more is known of what happened before.
    pub fn begin_anew(&mut self) {
        let now = self.coverage.observed(FLEET, self.last_ticks);
        for (at, memory) in self.memories.iter_mut().enumerate() {
            if let Memory::FleetDrop(drops) = memory {
                drops.forget_connected();
            }
            let resolved_at = now + restore::fires_again_within(&self.rules.rules[at]);
            self.instances.forget_beyond(at, resolved_at, &mut self.deadlines);
        }
    }

    /// How many alerts of each rule are pending, and how many fire.
    pub fn totals(&self) -> impl Iterator<Item = AlertTotals<'_>> {
        self.rules.rules.iter().enumerate().map(|(at, rule)| {
            let firing = self.instances.firing(at);
            let pending = self.pending.total(at) + self.instances.of_rule(at).len() - firing;
            AlertTotals { rule: &rule.name, pending, firing }
        })
    }

    /// Of the devices that there are alerts of those for which that is true, some twice.
    pub fn devices(&self, is_wanted: impl Fn(Device<'_>) -> bool) -> Vec<Arc<DeviceName>> {
        let mut devices = self.pending.devices(&self.coverage, &is_wanted);
        devices.extend(self.instances.devices().filter(|name| is_wanted(name.device())).cloned());
        devices
    }
}

/// Whether two rules are one that is announced in another way at most.
fn looks_for_the_same(one: &Rule, other: &Rule) -> bool {
    let what = |rule: &Rule| {
        let Rule { name, hold, keep_firing_for, group_by, .. } = rule;
        (name.clone(), *hold, *keep_firing_for, *group_by)
    };
    what(one) == what(other)
        && one.kind == other.kind
        && one.selector == other.selector
        && one.excluded_causes == other.excluded_causes
}
