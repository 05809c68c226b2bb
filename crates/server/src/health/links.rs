//! Several links to brokers, each with a state of its own, seen as one service.

use std::sync::Arc;

use super::{BrokerHealth, Health, HealthState, PopulationState};
use crate::freshness::FreshnessBySource;

/// One of several links to brokers.
#[derive(Debug)]
pub struct LinkHealth {
    /// The name of the source.
    pub name: Arc<str>,
    /// The names of the sources that its devices have.
    pub sources: Vec<Arc<str>>,
    pub health: Arc<Health>,
}

impl Health {
    /// The links, where there are several.
    pub fn links(&self) -> &[LinkHealth] {
        &self.links
    }

    pub(super) fn freshness_of_links(&self) -> FreshnessBySource {
        let of_link = |link: &LinkHealth| {
            let freshness = link.health.link_freshness();
            link.sources.iter().map(move |source| (Arc::clone(source), freshness)).collect::<Vec<_>>()
        };
        FreshnessBySource::of_links(self.links.iter().flat_map(of_link).collect())
    }

    /// What is missing of each link, with the name of its source.
    pub(super) fn missing_of_links(&self) -> Vec<String> {
        let of_link = |link: &LinkHealth| {
            let missing = link.health.missing().into_iter();
            missing.map(|sentence| named(&link.name, &sentence)).collect::<Vec<_>>()
        };
        self.links.iter().flat_map(of_link).collect()
    }

    /// The state of all links together: each part is as good as that of the worst link.
    pub(super) fn state_of_links(&self, own: HealthState) -> HealthState {
        let states: Vec<_> = self.links.iter().map(|link| (&link.name, link.health.state())).collect();
        let worst = states.iter().max_by_key(|(_, state)| badness(state.population));
        let broken = states.iter().find(|(_, state)| state.broker != BrokerHealth::Subscribed);
        let first = |of: fn(&HealthState) -> Option<&String>| {
            states.iter().find_map(|(name, state)| of(state).map(|sentence| named(name, sentence)))
        };
        let limits = states.iter().flat_map(|(name, state)| {
            state.broker_limits.iter().map(|limit| named(name, limit)).collect::<Vec<_>>()
        });
        HealthState {
            broker: broken.map_or(BrokerHealth::Subscribed, |(_, state)| state.broker.clone()),
            population: worst.map_or(own.population, |(_, state)| state.population),
            report: worst.and_then(|(_, state)| state.report.clone()),
            repairing: states.iter().any(|(_, state)| state.repairing),
            progress: worst.map(|(_, state)| state.progress).unwrap_or_default(),
            rival: first(|state| state.rival.as_ref()),
            broker_limits: limits.collect(),
            hidden_counters: first(|state| state.hidden_counters.as_ref()),
            reading_failed: first(|state| state.reading_failed.as_ref()),
            ..own
        }
    }
}

fn named(source: &str, sentence: &str) -> String {
    format!("Source {source}: {sentence}")
}

fn badness(population: PopulationState) -> u8 {
    match population {
        PopulationState::Complete => 0,
        PopulationState::Unproven => 1,
        PopulationState::Incomplete => 2,
        PopulationState::Running => 3,
        PopulationState::Pending => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Observed, PopulationReport, ReadyOn, TypeReport};
    use super::*;
    use crate::freshness::RoundNumber;

    fn link(name: &str) -> LinkHealth {
        LinkHealth {
            name: name.into(),
            sources: vec![name.into()],
            health: Arc::new(Health::new(ReadyOn::Unproven)),
        }
    }

    #[test]
    fn a_link_that_is_away_is_named_and_leaves_the_others_current() {
        let whole = Health::of_links(ReadyOn::Unproven, vec![link("a"), link("b")]);
        let [a, b] = [0, 1].map(|index| Arc::clone(&whole.links()[index].health));
        let round = RoundNumber::NONE.next();
        a.set_broker(BrokerHealth::Subscribed);
        a.round_begun(round);
        a.population_done(PopulationReport::unproven("none"));
        a.round_ended(round);
        b.set_broker(BrokerHealth::Lost("it is away".to_owned()));
        assert!(whole.missing().iter().any(|sentence| sentence == "Source b: it is away"));
        assert!(!whole.missing().iter().any(|sentence| sentence.starts_with("Source a")));
        assert_eq!(whole.state().broker, BrokerHealth::Lost("it is away".to_owned()));
        assert!(a.has_observed_for(Duration::ZERO) && !whole.has_observed_for(Duration::ZERO));
        assert!(!whole.populated(), "a device that is not known may be one of b");
        let freshness = whole.freshness();
        assert!(!freshness.is_stale("a", round) && freshness.is_stale("b", round));
        b.set_broker(BrokerHealth::Subscribed);
        b.round_begun(round.next());
        b.population_done(PopulationReport::unproven("none"));
        b.round_ended(round.next());
        assert_eq!(whole.missing(), Vec::<String>::new());
        assert!(whole.populated() && !whole.freshness().is_any_stale());
        assert!(whole.has_observed_for(Duration::ZERO), "both are");
        assert!(!whole.has_observed_for(Duration::from_secs(3_600)), "the links are younger");
        b.population_incomplete();
        assert!(!whole.has_observed_for(Duration::ZERO), "something of b was missed");
        assert_eq!((a.observed(), b.observed()), (Observed::Everything, Observed::Nothing));
        let types = ["pump", "valve"].map(|name| TypeReport {
            device_type: name.into(),
            known: 1,
            replayed: 1,
            evidence: "missing",
            proven: name == "pump",
        });
        let (state, types) = (PopulationState::Incomplete, types.to_vec());
        let report = PopulationReport { state, evidence: "missing", types_total: 2, types_proven: 1, types };
        b.population_done(report.clone());
        assert_eq!(b.observed(), Observed::ProvenTypes(Arc::new(report)), "the pumps are known");
        b.population_incomplete();
        assert_eq!(b.observed(), Observed::Nothing, "what was lost may have been about any type");
    }
}
