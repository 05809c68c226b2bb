//! Alerts from pending to resolved, and the ordered queue of their deadlines in observed time. Devices that are merely disconnected
//! are in `pending` until they have been so for long enough.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use presence::DeviceName;

use crate::WallMillis;
use crate::beyond::{self, Beyond, FIRING_MAX};
use crate::coverage::{Coverage, FLEET, ScopeId};
use crate::rule::GroupBy;

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Subject {
    Device(Arc<DeviceName>),
    /// All that a group has in common.
    Group(Arc<str>),
}

/// What becomes due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RuleDeadline {
    /// The place of the rule.
    pub rule: usize,
    pub what: DueKind,
    pub subject: Subject,
}

/// Which deadline it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DueKind {
    /// Something that was counted has left the window.
    WindowEnd,
    /// The condition has held for long enough, or has been over for long enough.
    Phase,
}

/// RuleDeadlines by the clock that they are measured by. Its cost depends on what is due, and on the number of clocks.
#[derive(Debug, Default)]
pub(crate) struct RuleDeadlines {
    queues: Vec<BTreeSet<(u64, RuleDeadline)>>,
}

impl RuleDeadlines {
    pub fn add(&mut self, scope: ScopeId, at: u64, due: RuleDeadline) {
        if self.queues.len() <= scope.0 {
            self.queues.resize_with(scope.0 + 1, BTreeSet::new);
        }
        self.queues[scope.0].insert((at, due));
    }

    pub fn remove(&mut self, scope: ScopeId, at: u64, due: RuleDeadline) {
        if let Some(queue) = self.queues.get_mut(scope.0) {
            queue.remove(&(at, due));
        }
    }

    /// Gives the deadlines of each rule to the rule at the place that `place_of` says, and drops those of others.
    pub fn move_rules(&mut self, place_of: impl Fn(usize) -> Option<usize>) {
        for queue in &mut self.queues {
            let moved = std::mem::take(queue).into_iter();
            *queue = moved
                .filter_map(|(at, due)| Some((at, RuleDeadline { rule: place_of(due.rule)?, ..due })))
                .collect();
        }
    }

    /// Takes one that is due by a clock that runs.
    pub fn take(&mut self, coverage: &Coverage, ticks: u64) -> Option<RuleDeadline> {
        for (number, queue) in self.queues.iter_mut().enumerate() {
            let scope = ScopeId(number);
            let is_due = queue.first().is_some_and(|(at, _)| *at <= coverage.observed(scope, ticks));
            if is_due && coverage.stopped_by(scope, ticks).is_none() {
                return queue.pop_first().map(|(_, due)| due);
            }
        }
        None
    }
}

/// One alert.
#[derive(Clone, Debug)]
pub(crate) struct AlertInstance {
    pub about: InstanceAbout,
    pub scope: ScopeId,
    pub phase: Phase,
}

/// What is known of what an alert is about.
#[derive(Clone, Debug)]
pub(crate) struct InstanceAbout {
    pub group: Arc<str>,
    /// `None`: no source is known, or it is about several.
    pub source: Option<Arc<str>>,
    pub since: WallMillis,
}

/// How far an alert is; the numbers are observed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending {
        fires_at: u64,
    },
    Firing,
    /// The condition is over.
    Recovering {
        resolved_at: u64,
    },
}

impl Phase {
    fn is_firing(self) -> bool {
        match self {
            Phase::Firing | Phase::Recovering { .. } => true,
            Phase::Pending { .. } => false,
        }
    }
}

/// What a rule makes of a subject.
pub(crate) struct Condition {
    pub rule: usize,
    pub subject: Subject,
    /// How long it must hold, in milliseconds.
    pub hold: u64,
    /// How long it must be over.
    pub keep_firing: u64,
}

/// An alert that began or ended.
#[derive(Debug)]
pub(crate) struct Transition {
    pub rule: usize,
    pub subject: Subject,
    pub is_firing: bool,
    pub about: InstanceAbout,
}

/// The alerts of all rules.
#[derive(Debug)]
pub(crate) struct AlertInstances {
    /// How many alerts of a rule fire at most.
    pub firing_max: usize,
    by_rule: Vec<RuleInstances>,
}

/// The alerts of one rule.
#[derive(Debug, Default)]
pub(crate) struct RuleInstances {
    alerts: HashMap<Subject, AlertInstance>,
    /// How many of them fire.
    firing: usize,
    beyond: Beyond,
}

impl AlertInstances {
    pub fn new(rules: usize) -> Self {
        Self { firing_max: FIRING_MAX, by_rule: (0..rules).map(|_| RuleInstances::default()).collect() }
    }

    /// Takes out the alerts of a rule.
    pub fn take_rule(&mut self, rule: usize) -> RuleInstances {
        std::mem::take(&mut self.by_rule[rule])
    }

    /// Sets the alerts of a rule.
    pub fn set_rule(&mut self, rule: usize, instances: RuleInstances) {
        self.by_rule[rule] = instances;
    }

    /// How many of a rule fire.
    pub fn firing(&self, rule: usize) -> usize {
        self.by_rule[rule].firing
    }

    /// Devices of a group that the alert about the group stands for.
    pub fn further_devices(&self, rule: usize, group: &str) -> usize {
        self.by_rule[rule].beyond.total(group)
    }

    /// The devices that there are alerts of, some twice.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<DeviceName>> {
        self.by_rule.iter().flat_map(|own| own.alerts.keys()).filter_map(|subject| match subject {
            Subject::Device(device) => Some(device),
            Subject::Group(_) => None,
        })
    }

    pub fn of_rule(&self, rule: usize) -> &HashMap<Subject, AlertInstance> {
        &self.by_rule[rule].alerts
    }

    /// Whether an alert fires, recovering ones included.
    pub fn is_firing(&self, rule: usize, subject: &Subject) -> bool {
        self.of_rule(rule).get(subject).is_some_and(|instance| instance.phase.is_firing())
    }

    /// The condition holds: whether its alert fires already. If it was about to be resolved, it goes on.
    pub fn goes_on(&mut self, rule: usize, subject: &Subject, deadlines: &mut RuleDeadlines) -> bool {
        let own = &mut self.by_rule[rule];
        if matches!(subject, Subject::Device(device) if own.beyond.contains(device)) {
            return true;
        }
        let Some(instance) = own.alerts.get_mut(subject) else { return false };
        match instance.phase {
            Phase::Recovering { resolved_at } => {
                let due = RuleDeadline { rule, what: DueKind::Phase, subject: subject.clone() };
                deadlines.remove(instance.scope, resolved_at, due);
                instance.phase = Phase::Firing;
                true
            }
            Phase::Firing => true,
            Phase::Pending { .. } => false,
        }
    }

    /// The condition holds. What is pending or fires goes on.
    pub fn begin(
        &mut self,
        condition: Condition,
        scope: ScopeId,
        observed: u64,
        about: InstanceAbout,
        deadlines: &mut RuleDeadlines,
    ) {
        let Condition { rule, subject, hold, .. } = condition;
        if self.goes_on(rule, &subject, deadlines) || self.of_rule(rule).contains_key(&subject) {
            return;
        }
        let fires_at = observed.saturating_add(hold);
        let instance = AlertInstance { about, scope, phase: Phase::Pending { fires_at } };
        self.by_rule[rule].alerts.insert(subject.clone(), instance);
        deadlines.add(scope, fires_at, RuleDeadline { rule, what: DueKind::Phase, subject });
    }

    /// An alert that an earlier process announced.
    pub fn restore(&mut self, rule: usize, subject: Subject, scope: ScopeId, about: InstanceAbout) {
        let own = &mut self.by_rule[rule];
        let before = own.alerts.insert(subject, AlertInstance { about, scope, phase: Phase::Firing });
        if before.is_none_or(|before| !before.phase.is_firing()) {
            own.firing += 1;
        }
    }

    /// Forgets the devices of a rule that alerts about groups stand for. Unless there are such devices again by then, these
    /// alerts are resolved.
    pub fn forget_beyond(&mut self, rule: usize, resolved_at: u64, deadlines: &mut RuleDeadlines) {
        let beyond = std::mem::take(&mut self.by_rule[rule].beyond);
        for group in beyond.groups() {
            self.doubt_group(rule, group, resolved_at, deadlines);
        }
    }

    /// An alert about a group is resolved then, unless there are devices by then that it stands for.
    pub fn doubt_group(
        &mut self,
        rule: usize,
        group: &Arc<str>,
        resolved_at: u64,
        deadlines: &mut RuleDeadlines,
    ) {
        let subject = Subject::Group(group.clone());
        let instance = self.by_rule[rule].alerts.get_mut(&subject);
        if let Some(instance) = instance.filter(|instance| instance.phase == Phase::Firing) {
            instance.phase = Phase::Recovering { resolved_at };
            deadlines.add(instance.scope, resolved_at, RuleDeadline { rule, what: DueKind::Phase, subject });
        }
    }

    /// The condition is over. A pending alert is dropped; one that fires is resolved, or recovers for a while.
    pub fn end(
        &mut self,
        condition: Condition,
        coverage: &Coverage,
        ticks: u64,
        deadlines: &mut RuleDeadlines,
    ) -> Option<Transition> {
        let Condition { rule, mut subject, keep_firing, .. } = condition;
        let own = &mut self.by_rule[rule];
        if let Subject::Device(device) = &subject
            && let Some(group) = own.beyond.remove(device)
        {
            // It was the last one that the alert about the group stood for.
            subject = Subject::Group(group);
        }
        let instance = own.alerts.get_mut(&subject)?;
        match instance.phase {
            Phase::Pending { fires_at } => {
                let due = RuleDeadline { rule, what: DueKind::Phase, subject };
                deadlines.remove(instance.scope, fires_at, due.clone());
                own.alerts.remove(&due.subject);
                None
            }
            Phase::Firing if keep_firing > 0 => {
                let resolved_at = coverage.observed(instance.scope, ticks).saturating_add(keep_firing);
                instance.phase = Phase::Recovering { resolved_at };
                deadlines.add(
                    instance.scope,
                    resolved_at,
                    RuleDeadline { rule, what: DueKind::Phase, subject },
                );
                None
            }
            Phase::Firing => self.resolve(rule, subject),
            Phase::Recovering { .. } => None,
        }
    }

    /// The deadline of an alert has come.
    pub fn pass(
        &mut self,
        (rule, group_by): (usize, GroupBy),
        subject: Subject,
        deadlines: &mut RuleDeadlines,
    ) -> Option<Transition> {
        match self.of_rule(rule).get(&subject)?.phase {
            Phase::Pending { .. } => {
                let AlertInstance { about, scope, .. } = self.by_rule[rule].alerts.remove(&subject)?;
                self.fire((rule, group_by), subject, (scope, about), deadlines)
            }
            Phase::Recovering { .. } => self.resolve(rule, subject),
            Phase::Firing => None,
        }
    }

    /// The condition has held for long enough.
    pub fn fire(
        &mut self,
        (rule, group_by): (usize, GroupBy),
        subject: Subject,
        (scope, about): (ScopeId, InstanceAbout),
        deadlines: &mut RuleDeadlines,
    ) -> Option<Transition> {
        let own = &mut self.by_rule[rule];
        match subject {
            Subject::Device(device) if own.firing >= self.firing_max => {
                self.go_beyond((rule, group_by), &device, about, deadlines)
            }
            subject => {
                let instance = AlertInstance { about: about.clone(), scope, phase: Phase::Firing };
                own.alerts.insert(subject.clone(), instance);
                own.firing += 1;
                Some(Transition { rule, is_firing: true, about, subject })
            }
        }
    }

    /// The rule has as many alerts as it may: the one about the group stands for this device, too.
    fn go_beyond(
        &mut self,
        (rule, group_by): (usize, GroupBy),
        device: &DeviceName,
        InstanceAbout { group, since, .. }: InstanceAbout,
        deadlines: &mut RuleDeadlines,
    ) -> Option<Transition> {
        let own = &mut self.by_rule[rule];
        let group = beyond::group_of(group_by, &group);
        if !own.beyond.add(device, &group) {
            return None;
        }
        let subject = Subject::Group(group.clone());
        if let Some(instance) = own.alerts.get_mut(&subject) {
            if let Phase::Recovering { resolved_at } = instance.phase {
                let due = RuleDeadline { rule, what: DueKind::Phase, subject };
                deadlines.remove(instance.scope, resolved_at, due);
            }
            instance.phase = Phase::Firing;
            return None;
        }
        let about = InstanceAbout { group, source: None, since };
        let instance = AlertInstance { about: about.clone(), scope: FLEET, phase: Phase::Firing };
        own.alerts.insert(subject.clone(), instance);
        own.firing += 1;
        Some(Transition { rule, subject, is_firing: true, about })
    }

    fn resolve(&mut self, rule: usize, subject: Subject) -> Option<Transition> {
        let own = &mut self.by_rule[rule];
        let instance = own.alerts.remove(&subject)?;
        own.firing -= 1;
        Some(Transition { rule, subject, is_firing: false, about: instance.about })
    }
}
