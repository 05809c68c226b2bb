//! What is observed, and the observed time that has passed: the only time by which rules measure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::Suppression;
use crate::clock::millis;

/// A part of the fleet that is observed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part<'a> {
    /// The whole.
    Fleet,
    /// What a source says: the link to its broker.
    Source(&'a str),
    /// The devices of a type: whether all of them are known.
    Type(&'a str),
}

/// A clock of observed time, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ScopeId(pub usize);

/// Whose observed time a clock counts: of a source and of a type, or of all of either.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ScopeName {
    source: Option<Arc<str>>,
    device_type: Option<Arc<str>>,
}

#[derive(Debug)]
struct ObservedScope {
    /// What had been counted when it stopped or started last.
    counted: u64,
    /// From when on it counts, which is in the future within the grace; `None`: it is not observed.
    counts_from: Option<u64>,
}

/// All clocks.
#[derive(Debug)]
pub(crate) struct Coverage {
    grace: Duration,
    is_fleet_observed: bool,
    unobserved_sources: HashSet<Box<str>>,
    unobserved_types: HashSet<Box<str>>,
    scopes: Vec<ObservedScope>,
    names: Vec<ScopeName>,
    by_name: HashMap<ScopeName, ScopeId>,
    /// For scopes that are made later: from when on everything that is observed counts.
    fleet_counts_from: u64,
}

/// The clock of the whole fleet.
pub(crate) const FLEET: ScopeId = ScopeId(0);

impl Coverage {
    /// Nothing is observed yet.
    pub fn new(grace: Duration) -> Self {
        let mut coverage = Self {
            grace,
            is_fleet_observed: false,
            unobserved_sources: HashSet::new(),
            unobserved_types: HashSet::new(),
            scopes: Vec::new(),
            names: Vec::new(),
            by_name: HashMap::new(),
            fleet_counts_from: 0,
        };
        coverage.scope(None, None);
        coverage
    }

    /// The clock of a source and a type.
    pub fn scope(&mut self, source: Option<&str>, device_type: Option<&str>) -> ScopeId {
        let name = ScopeName { source: source.map(Arc::from), device_type: device_type.map(Arc::from) };
        if let Some(scope) = self.by_name.get(&name) {
            return *scope;
        }
        let id = ScopeId(self.scopes.len());
        let counts_from = self.is_observed(&name).then_some(self.fleet_counts_from);
        // It counts from 0 at the moment from which on the fleet counts; only differences matter.
        self.scopes.push(ObservedScope { counted: 0, counts_from });
        self.names.push(name.clone());
        self.by_name.insert(name, id);
        id
    }

    /// Whose clock it is; `None`: it is that of several sources.
    pub fn source(&self, scope: ScopeId) -> Option<&Arc<str>> {
        self.names[scope.0].source.as_ref()
    }

    /// The type of the devices whose clock it is.
    pub fn device_type(&self, scope: ScopeId) -> &Arc<str> {
        self.names[scope.0].device_type.as_ref().expect("the clock of a device is one of its type")
    }

    /// How long after a start or a reconnect no clock runs, from the next one on.
    pub fn set_grace(&mut self, grace: Duration) {
        self.grace = grace;
    }

    /// Says that a part is observed, or is not, from now on. Nothing happens if that is known.
    pub fn set(&mut self, ticks: u64, part: Part<'_>, is_observed: bool) {
        let set = |unobserved: &mut HashSet<Box<str>>, name: &str| {
            if is_observed { unobserved.remove(name) } else { unobserved.insert(name.into()) }
        };
        let has_changed = match part {
            Part::Fleet => std::mem::replace(&mut self.is_fleet_observed, is_observed) != is_observed,
            Part::Source(name) => set(&mut self.unobserved_sources, name),
            Part::Type(name) => set(&mut self.unobserved_types, name),
        };
        if !has_changed {
            return;
        }
        let counts_from = ticks.saturating_add(millis(self.grace));
        if part == Part::Fleet && is_observed {
            self.fleet_counts_from = counts_from;
        }
        for id in 0..self.scopes.len() {
            let is_observed = self.is_observed(&self.names[id]);
            let scope = &mut self.scopes[id];
            match (scope.counts_from, is_observed) {
                (None, true) => scope.counts_from = Some(counts_from),
                (Some(_), false) => {
                    scope.counted = scope.observed(ticks);
                    scope.counts_from = None;
                }
                (None, false) | (Some(_), true) => {}
            }
        }
    }

    /// The process was paused from then until now: that time was not observed, and the grace begins anew.
    pub fn resume_after_gap(&mut self, paused_from: u64, ticks: u64) {
        let counts_from = ticks.saturating_add(millis(self.grace));
        for scope in self.scopes.iter_mut().filter(|scope| scope.counts_from.is_some()) {
            scope.counted = scope.observed(paused_from);
            scope.counts_from = Some(counts_from);
        }
        self.fleet_counts_from = self.fleet_counts_from.max(counts_from);
    }

    /// The observed time of a clock.
    pub fn observed(&self, scope: ScopeId, ticks: u64) -> u64 {
        self.scopes[scope.0].observed(ticks)
    }

    /// Why a clock does not run; `None`: it runs.
    pub fn stopped_by(&self, scope: ScopeId, ticks: u64) -> Option<Suppression> {
        match self.scopes[scope.0].counts_from {
            Some(from) if from <= ticks => None,
            Some(_) => Some(Suppression::Startup),
            None => {
                let name = &self.names[scope.0];
                let is_stale = !self.is_fleet_observed
                    || name.source.as_ref().is_some_and(|source| self.unobserved_sources.contains(&**source))
                    || (name.source.is_none() && !self.unobserved_sources.is_empty());
                Some(if is_stale { Suppression::Stale } else { Suppression::Population })
            }
        }
    }

    /// What is about all sources is observed only if every one is.
    fn is_observed(&self, name: &ScopeName) -> bool {
        let is_covered = |unobserved: &HashSet<Box<str>>, one: &Option<Arc<str>>| match one {
            Some(one) => !unobserved.contains(&**one),
            None => unobserved.is_empty(),
        };
        self.is_fleet_observed
            && is_covered(&self.unobserved_sources, &name.source)
            && name.device_type.as_ref().is_none_or(|one| !self.unobserved_types.contains(&**one))
    }
}

impl ObservedScope {
    fn observed(&self, ticks: u64) -> u64 {
        self.counted + self.counts_from.map_or(0, |from| ticks.saturating_sub(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passes_only_while_a_source_and_a_type_are_observed_and_after_the_grace() {
        let mut coverage = Coverage::new(Duration::from_millis(10));
        let pumps = coverage.scope(Some("a"), Some("pump"));
        assert_eq!(coverage.stopped_by(pumps, 0), Some(Suppression::Stale));
        coverage.set(100, Part::Fleet, true);
        assert_eq!(coverage.stopped_by(pumps, 105), Some(Suppression::Startup));
        assert_eq!((coverage.observed(pumps, 110), coverage.observed(pumps, 130)), (0, 20));
        coverage.set(130, Part::Type("pump"), false);
        assert_eq!(coverage.stopped_by(pumps, 140), Some(Suppression::Population));
        assert_eq!((coverage.observed(pumps, 200), coverage.observed(FLEET, 200)), (20, 90));
        coverage.set(200, Part::Type("pump"), true);
        coverage.set(220, Part::Source("b"), false);
        assert_eq!((coverage.observed(pumps, 230), coverage.observed(FLEET, 300)), (40, 110));
        // What was made late counts as what was there: it has the same grace behind it.
        let tanks = coverage.scope(Some("a"), Some("tank"));
        assert_eq!(coverage.stopped_by(tanks, 300), None);
        coverage.resume_after_gap(300, 400);
        assert_eq!((coverage.observed(pumps, 410), coverage.observed(pumps, 415)), (110, 115));
        assert_eq!(coverage.stopped_by(pumps, 405), Some(Suppression::Startup));
    }
}
