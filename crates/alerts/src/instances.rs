//! Alerts from pending to resolved, and the ordered queue of their deadlines in observed time.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use presence::DeviceName;

use crate::WallMillis;
use crate::coverage::{Coverage, ScopeId};

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

/// Deadlines by the clock that they are measured by. Its cost depends on what is due, and on the number of clocks.
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
    /// A later beginning says that it was over meanwhile, although nobody observed that: what is pending begins anew.
    pub restarts: bool,
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
    by_rule: Vec<HashMap<Subject, AlertInstance>>,
    /// How many of each rule fire.
    firing: Vec<usize>,
}

impl AlertInstances {
    pub fn new(rules: usize) -> Self {
        Self { by_rule: (0..rules).map(|_| HashMap::new()).collect(), firing: vec![0; rules] }
    }

    /// Takes out the alerts of a rule.
    pub fn take_rule(&mut self, rule: usize) -> HashMap<Subject, AlertInstance> {
        std::mem::take(&mut self.by_rule[rule])
    }

    /// Sets the alerts of a rule.
    pub fn set_rule(&mut self, rule: usize, instances: HashMap<Subject, AlertInstance>) {
        self.firing[rule] = instances.values().filter(|instance| instance.phase.is_firing()).count();
        self.by_rule[rule] = instances;
    }

    /// How many of a rule fire.
    pub fn firing(&self, rule: usize) -> usize {
        self.firing[rule]
    }

    /// The devices that there are alerts of.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<DeviceName>> {
        self.by_rule.iter().flat_map(HashMap::keys).filter_map(|subject| match subject {
            Subject::Device(device) => Some(device),
            Subject::Group(_) => None,
        })
    }

    pub fn of_rule(&self, rule: usize) -> &HashMap<Subject, AlertInstance> {
        &self.by_rule[rule]
    }

    /// Whether an alert fires, recovering ones included.
    pub fn is_firing(&self, rule: usize, subject: &Subject) -> bool {
        self.by_rule[rule].get(subject).is_some_and(|instance| instance.phase.is_firing())
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
        let Condition { rule, subject, hold, restarts, .. } = condition;
        if let Some(instance) = self.by_rule[rule].get_mut(&subject) {
            let due = RuleDeadline { rule, what: DueKind::Phase, subject: subject.clone() };
            match instance.phase {
                Phase::Recovering { resolved_at } => {
                    deadlines.remove(instance.scope, resolved_at, due);
                    instance.phase = Phase::Firing;
                    return;
                }
                Phase::Firing => return,
                Phase::Pending { fires_at } => {
                    if !restarts || instance.about.since == about.since {
                        return;
                    }
                    deadlines.remove(instance.scope, fires_at, due);
                }
            }
        }
        let fires_at = observed.saturating_add(hold);
        let instance = AlertInstance { about, scope, phase: Phase::Pending { fires_at } };
        self.by_rule[rule].insert(subject.clone(), instance);
        deadlines.add(scope, fires_at, RuleDeadline { rule, what: DueKind::Phase, subject });
    }

    /// An alert that an earlier process announced.
    pub fn restore(&mut self, rule: usize, subject: Subject, scope: ScopeId, about: InstanceAbout) {
        let before = self.by_rule[rule].insert(subject, AlertInstance { about, scope, phase: Phase::Firing });
        if before.is_none_or(|before| !before.phase.is_firing()) {
            self.firing[rule] += 1;
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
        let Condition { rule, subject, keep_firing, .. } = condition;
        let instance = self.by_rule[rule].get_mut(&subject)?;
        match instance.phase {
            Phase::Pending { fires_at } => {
                let due = RuleDeadline { rule, what: DueKind::Phase, subject };
                deadlines.remove(instance.scope, fires_at, due.clone());
                self.by_rule[rule].remove(&due.subject);
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
    pub fn pass(&mut self, rule: usize, subject: Subject) -> Option<Transition> {
        let instance = self.by_rule[rule].get_mut(&subject)?;
        match instance.phase {
            Phase::Pending { .. } => {
                instance.phase = Phase::Firing;
                self.firing[rule] += 1;
                Some(Transition { rule, is_firing: true, about: instance.about.clone(), subject })
            }
            Phase::Recovering { .. } => self.resolve(rule, subject),
            Phase::Firing => None,
        }
    }

    fn resolve(&mut self, rule: usize, subject: Subject) -> Option<Transition> {
        let instance = self.by_rule[rule].remove(&subject)?;
        self.firing[rule] -= 1;
        Some(Transition { rule, subject, is_firing: false, about: instance.about })
    }
}
