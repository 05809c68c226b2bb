//! Why an alert is held back: silences, maintenance windows, a drop of the fleet that it is part of, flapping of its device.

use std::collections::BTreeMap;
use std::sync::Arc;

use presence::query::Filter;

use crate::alert::Suppression;
use crate::clock::{Now, millis};
use crate::instances::{AlertInstances, InstanceAbout, Subject};
use crate::rule::{GroupBy, Kind, Rule, RuleSet, admits_all_of};

/// An alert, with its rule by place.
#[derive(Clone, Copy)]
pub(crate) struct AlertRef<'a> {
    pub rule: usize,
    pub subject: &'a Subject,
    pub about: &'a InstanceAbout,
}

/// What holds alerts back, beside the alerts that fire.
#[derive(Debug, Default)]
pub(crate) struct Inhibition {
    /// Which silences and windows are open, by their places.
    open_silences: Vec<usize>,
    open_windows: Vec<usize>,
    /// When each drop ended, by ticks.
    ended_drops: BTreeMap<(usize, Arc<str>), u64>,
}

impl Inhibition {
    /// Says whether other silences and windows are open than before.
    pub fn follow_schedules(&mut self, rules: &RuleSet, now: Now) -> bool {
        let silences =
            rules.silences.iter().enumerate().filter(|(_, silence)| silence.span.contains(now.wall));
        let silences: Vec<_> = silences.map(|(at, _)| at).collect();
        let windows =
            rules.windows.iter().enumerate().filter(|(_, window)| window.schedule.is_open(now.wall));
        let windows: Vec<_> = windows.map(|(at, _)| at).collect();
        let is_other = silences != self.open_silences || windows != self.open_windows;
        (self.open_silences, self.open_windows) = (silences, windows);
        is_other
    }

    /// A drop ended: its members are held back for as long as their rules take to fire. Returns when that is over for each rule.
    pub fn drop_ended(&mut self, rules: &RuleSet, drop: (usize, Arc<str>), ticks: u64) -> Vec<u64> {
        self.ended_drops.insert(drop, ticks);
        let longest = rules.rules.iter().map(|rule| millis(rule.hold)).max().unwrap_or(0);
        self.ended_drops.retain(|_, ended| ended.saturating_add(longest) >= ticks);
        let held = rules.rules.iter().filter(|rule| is_inhibited(&rule.kind));
        held.map(|rule| ticks.saturating_add(millis(rule.hold))).collect()
    }

    /// Gives the drops of each rule to the rule at the place that `place_of` says, and drops those of others.
    pub fn move_rules(&mut self, place_of: impl Fn(usize) -> Option<usize>) {
        let ended = std::mem::take(&mut self.ended_drops).into_iter();
        self.ended_drops =
            ended.filter_map(|((rule, group), at)| Some(((place_of(rule)?, group), at))).collect();
        (self.open_silences, self.open_windows) = Default::default();
    }

    /// Whether a device is in a maintenance window or silenced for a rule.
    pub fn scheduled(
        &self,
        rules: &RuleSet,
        rule: usize,
        admits: impl Fn(&Filter) -> bool,
    ) -> Option<Suppression> {
        let name = &rules.rules[rule].name;
        let is_silenced = self.open_silences.iter().any(|at| {
            let silence = &rules.silences[*at];
            (silence.rules.is_empty() || silence.rules.contains(name)) && admits(&silence.selector)
        });
        if is_silenced {
            return Some(Suppression::Silence);
        }
        let is_maintained = self.open_windows.iter().any(|at| admits(&rules.windows[*at].selector));
        is_maintained.then_some(Suppression::Maintenance)
    }

    /// Why an alert is held back now.
    pub fn holds_back(
        &self,
        rules: &RuleSet,
        instances: &AlertInstances,
        now: Now,
        alert: AlertRef<'_>,
    ) -> Option<Suppression> {
        let AlertRef { rule, subject, about } = alert;
        let source = about.source.as_deref();
        let settings = &rules.rules[rule];
        let Subject::Device(device) = subject else {
            let (device_type, source) = match settings.group_by {
                GroupBy::Type => (Some(&*about.group), None),
                GroupBy::Source => (None, Some(&*about.group)),
                GroupBy::Rule | GroupBy::AddressBlock | GroupBy::Device => (None, None),
            };
            let scheduled =
                self.scheduled(rules, rule, |selector| admits_all_of(selector, device_type, source));
            let may_drop = is_inhibited(&settings.kind)
                && self.may_be_dropping(rules, instances, now, (settings, about));
            return scheduled.or(may_drop.then_some(Suppression::FleetDrop));
        };
        let admits = |selector: &Filter| selector.admits_name_and_source(device.device(), source);
        let scheduled = self.scheduled(rules, rule, admits);
        if scheduled.is_some() || !is_inhibited(&settings.kind) {
            return scheduled;
        }
        for (at, other) in rules.rules.iter().enumerate() {
            if !admits(&other.selector) {
                continue;
            }
            match other.kind {
                Kind::FleetDrop(_) => {
                    let group = drop_group(other.group_by, &device.device_type, source);
                    let has_ended_now = |ended: &u64| now.ticks < ended.saturating_add(millis(settings.hold));
                    if instances.is_firing(at, &Subject::Group(group.clone()))
                        || self.ended_drops.get(&(at, group)).is_some_and(has_ended_now)
                    {
                        return Some(Suppression::FleetDrop);
                    }
                }
                Kind::Flapping(_)
                    if settings.kind == Kind::OfflineFor && instances.is_firing(at, subject) =>
                {
                    return Some(Suppression::Flapping);
                }
                Kind::Flapping(_)
                | Kind::OfflineFor
                | Kind::NeverConnected(_)
                | Kind::DuplicateIdentity(_)
                | Kind::Refusals(_) => {}
            }
        }
        None
    }
}

impl Inhibition {
    /// Whether devices of a group, of which it is not known which ones they are, may be part of a drop.
    fn may_be_dropping(
        &self,
        rules: &RuleSet,
        instances: &AlertInstances,
        now: Now,
        (rule, about): (&Rule, &InstanceAbout),
    ) -> bool {
        let is_drop = |kind: &Kind| matches!(kind, Kind::FleetDrop(_));
        rules.rules.iter().enumerate().filter(|(_, other)| is_drop(&other.kind)).any(|(at, other)| {
            let is_of = |group: &str| other.group_by != rule.group_by || *group == *about.group;
            let fires = instances.of_rule(at).keys().any(|subject| match subject {
                Subject::Group(group) => is_of(group) && instances.is_firing(at, subject),
                Subject::Device(_) => false,
            });
            let has_ended_now = |ended: &u64| now.ticks < ended.saturating_add(millis(rule.hold));
            fires
                || self
                    .ended_drops
                    .iter()
                    .any(|((drop, group), ended)| *drop == at && is_of(group) && has_ended_now(ended))
        })
    }
}

/// Whether alerts of that kind are part of a drop of the fleet.
fn is_inhibited(kind: &Kind) -> bool {
    match kind {
        Kind::OfflineFor | Kind::Flapping(_) => true,
        Kind::FleetDrop(_) | Kind::NeverConnected(_) | Kind::DuplicateIdentity(_) | Kind::Refusals(_) => {
            false
        }
    }
}

/// The group of a drop that a device belongs to.
pub(crate) fn drop_group(group_by: GroupBy, device_type: &str, source: Option<&str>) -> Arc<str> {
    match group_by {
        GroupBy::Type => device_type.into(),
        GroupBy::Source => source.unwrap_or_default().into(),
        // No drop is grouped by what a device alone has.
        GroupBy::Rule | GroupBy::AddressBlock | GroupBy::Device => "".into(),
    }
}
