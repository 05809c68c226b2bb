//! What is wrong, in sentences for a person.

use super::settings::ReadyOn;
use super::state::{BrokerHealth, HealthState, PopulationState, StoreHealth};
use crate::freshness::Freshness;

impl BrokerHealth {
    /// What is wrong, for a person; `None` where nothing is.
    pub fn complaint(&self) -> Option<String> {
        match self {
            BrokerHealth::Subscribed => None,
            BrokerHealth::Connecting => Some("The broker has not been reached yet.".to_owned()),
            BrokerHealth::LoginRefused(why)
            | BrokerHealth::SubscriptionRefused(why)
            | BrokerHealth::Lost(why) => Some(why.clone()),
        }
    }
}

impl StoreHealth {
    /// What is wrong, for a person; `None` where nothing is.
    pub fn complaint(&self) -> Option<String> {
        match self {
            StoreHealth::Off | StoreHealth::Good => None,
            StoreHealth::Failing(why) => Some(format!("Changes are not stored at present: {why}.")),
        }
    }
}

impl HealthState {
    /// Why nothing can be said of devices that are not known, for a person; `None` where it can.
    pub fn unreplayed_complaint(&self) -> Option<String> {
        let replayed_nothing = self.report.as_ref().is_some_and(|report| report.replayed_nothing());
        replayed_nothing.then(|| {
            "The broker has replayed no retained message to a subscription with wildcards: either it holds none, or it never \
             does, as RabbitMQ 3. A device that has sent nothing yet is unknown until one is replayed. For a broker that never \
             does, set retained = false in the profile."
                .to_owned()
        })
    }
}

/// What keeps the service from being ready because of link and population, one sentence each; empty if nothing does.
pub(super) fn missing(state: &HealthState, ready_on: ReadyOn) -> Vec<String> {
    let population = match (state.population, ready_on) {
        (PopulationState::Complete, _) | (PopulationState::Unproven, ReadyOn::Unproven) => None,
        (PopulationState::Unproven, ReadyOn::Complete) => {
            Some("The retained statuses have been read, and nothing proves that none is missing.")
        }
        (PopulationState::Pending, _) => Some("The retained statuses have not been asked for yet."),
        (PopulationState::Running, _) => Some("The retained statuses are still being read."),
        (PopulationState::Incomplete, _) => Some("Some retained statuses are known to be missing."),
    };
    let types = state.report.as_ref().map(|report| report.unproven_types()).unwrap_or_default();
    let population = population.map(|sentence| format!("{sentence}{types}"));
    let mut missing: Vec<String> = state.broker.complaint().into_iter().chain(population).collect();
    if !missing.is_empty() {
        // What may be the cause; a service that is ready does well without.
        let failed = state.reading_failed.iter();
        missing.extend(failed.map(|why| format!("Reading them was broken off and is tried again: {why}.")));
        missing.extend(state.broker_limits.iter().cloned());
    }
    missing
}

/// Why some answers may be out of date though link and population are good. `lost_seconds`: how long ago the link was lost.
pub(super) fn outdated(freshness: Freshness, lost_seconds: Option<u64>) -> Option<String> {
    match (freshness, lost_seconds) {
        (Freshness::Current, _) => None,
        (Freshness::ReadingAgain { .. }, Some(seconds)) => Some(format!(
            "The link to the broker was lost {seconds} s ago and is back; the retained statuses are being read again, and \
             devices that have not been read since are stale."
        )),
        (Freshness::ReadingAgain { .. }, None) => Some(
            "The retained statuses are still being read; devices that have not been read yet are stale.".to_owned(),
        ),
        (Freshness::Unconfirmed, _) => Some(
            "The broker has been silent, so the link may be dead: every answer is called stale until it answers."
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::report::PopulationReport;
    use super::*;
    use crate::freshness::RoundNumber;

    fn subscribed(population: PopulationState) -> HealthState {
        HealthState { broker: BrokerHealth::Subscribed, population, ..HealthState::at_the_start() }
    }

    #[test]
    fn a_service_is_ready_from_the_state_on_that_was_asked_for() {
        use PopulationState::{Complete, Incomplete, Pending, Running, Unproven};
        for (population, on_unproven, on_complete) in [
            (Pending, false, false),
            (Running, false, false),
            (Incomplete, false, false),
            (Unproven, true, false),
            (Complete, true, true),
        ] {
            let state = subscribed(population);
            let ready = [ReadyOn::Unproven, ReadyOn::Complete].map(|on| missing(&state, on).is_empty());
            assert_eq!(ready, [on_unproven, on_complete], "{population:?}");
            let counts = [ReadyOn::Unproven, ReadyOn::Complete].map(|on| population.counts(on));
            assert_eq!(counts, ready, "{population:?}");
            let state = HealthState { broker: BrokerHealth::Lost("gone".into()), ..state };
            assert_eq!(missing(&state, ReadyOn::Unproven).first().map(String::as_str), Some("gone"));
        }
    }

    #[test]
    fn possible_causes_are_named_only_where_something_is_missing() {
        let known = HealthState {
            broker_limits: vec!["No wildcards.".into()],
            reading_failed: Some("closed".into()),
            ..subscribed(PopulationState::Complete)
        };
        assert!(missing(&known, ReadyOn::Complete).is_empty());
        let unproven = HealthState { population: PopulationState::Unproven, ..known };
        let missing = missing(&unproven, ReadyOn::Complete);
        assert_eq!(missing.len(), 3, "{missing:?}");
        assert!(missing[1].contains("closed") && missing[2] == "No wildcards.", "{missing:?}");
    }

    #[test]
    fn types_that_nothing_proves_are_named() {
        let report = PopulationReport {
            state: PopulationState::Unproven,
            evidence: "repeated",
            types_total: 2,
            types_proven: 1,
            types: ["pump", "valve"]
                .map(|name| crate::health::TypeReport {
                    device_type: name.into(),
                    known: 1,
                    replayed: 1,
                    evidence: "repeated",
                    proven: name == "pump",
                })
                .into(),
        };
        let state = HealthState { report: Some(Arc::new(report)), ..subscribed(PopulationState::Unproven) };
        assert!(missing(&state, ReadyOn::Complete)[0].ends_with(" Not proven are 1 of 2 types: valve."));
    }

    #[test]
    fn stale_answers_have_a_reason() {
        let again = Freshness::ReadingAgain { from: RoundNumber::NONE, now: RoundNumber::NONE };
        assert_eq!(outdated(Freshness::Current, Some(1)), None);
        assert!(outdated(again, Some(17)).is_some_and(|why| why.contains("lost 17 s ago")));
        assert!(outdated(again, None).is_some_and(|why| why.contains("not been read yet")));
        assert!(outdated(Freshness::Unconfirmed, None).is_some_and(|why| why.contains("silent")));
    }
}
