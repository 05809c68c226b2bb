//! How often devices are expected to be connected, and whether one is as expected.

use std::sync::Arc;
use std::time::Duration;

use super::query::{Filter, Traits};
use super::{Device, Moment, Status};

/// How often devices are expected to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactPolicy {
    /// Looks at types, ids and sources alone.
    pub selector: Filter,
    pub patience: Patience,
}

/// What is expected of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// To be connected all the time.
    #[default]
    Permanent,
    /// To connect that often; it is late after the grace only.
    Periodic { every: Duration, grace: Duration },
    /// Nothing: it makes no alert by being away.
    Ephemeral,
}

/// Whether a device is as its contact policy expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expectation {
    Met,
    /// It should be connected, or should have been by now.
    Overdue,
    /// No message was ever about it.
    Unseen,
    /// Nothing is expected.
    None,
}

/// Which expectations a filter admits, by which policies and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectationFilter {
    pub wanted: Vec<Expectation>,
    pub policies: Arc<[ContactPolicy]>,
    pub now: Moment,
}

/// What the first policy that is about a device expects of it.
pub fn patience(policies: &[ContactPolicy], device: Device<'_>, source: Option<&str>) -> Patience {
    let policy = policies.iter().find(|policy| policy.selector.admits_name_and_source(device, source));
    policy.map_or(Patience::Permanent, |policy| policy.patience)
}

impl Patience {
    /// The word for it in settings.
    pub fn word(self) -> &'static str {
        match self {
            Patience::Permanent => "permanent",
            Patience::Periodic { .. } => "periodic",
            Patience::Ephemeral => "ephemeral",
        }
    }

    /// Whether a device is as expected whose status holds since then.
    pub fn expectation(self, status: Status, since: Moment, now: Moment) -> Expectation {
        match (self, status) {
            (Patience::Ephemeral, _) => Expectation::None,
            (Patience::Permanent | Patience::Periodic { .. }, Status::Connected) => Expectation::Met,
            (Patience::Permanent, Status::Disconnected) => Expectation::Overdue,
            (Patience::Periodic { every, grace }, Status::Disconnected) => {
                let late = every.saturating_add(grace).as_nanos();
                let away = since.nanos().zip(now.nanos()).map(|(since, now)| now.saturating_sub(since));
                // Of a disconnect without a time it is not known that it is late.
                let is_late = away.is_some_and(|away| u128::try_from(away).is_ok_and(|away| away > late));
                if is_late { Expectation::Overdue } else { Expectation::Met }
            }
        }
    }

    /// What is expected of a device that no message was ever about.
    pub fn expectation_of_unseen(self) -> Expectation {
        match self {
            Patience::Permanent | Patience::Periodic { .. } => Expectation::Unseen,
            Patience::Ephemeral => Expectation::None,
        }
    }
}

impl Expectation {
    pub const ALL: [Expectation; 4] =
        [Expectation::Met, Expectation::Overdue, Expectation::Unseen, Expectation::None];

    /// The word for it in requests and answers.
    pub fn word(self) -> &'static str {
        match self {
            Expectation::Met => "met",
            Expectation::Overdue => "overdue",
            Expectation::Unseen => "unseen",
            Expectation::None => "none",
        }
    }
}

impl ExpectationFilter {
    pub fn admits(&self, device: &Traits<'_>) -> bool {
        let name = Device { device_type: device.device_type, id: device.id };
        let patience = patience(&self.policies, name, Some(device.source));
        self.wanted.contains(&patience.expectation(device.status, device.time, self.now))
    }

    /// Whether a device with that status may be admitted, whatever its policy.
    pub fn may_admit(&self, status: Status) -> bool {
        match status {
            Status::Connected => self.wanted.iter().any(|wanted| *wanted != Expectation::Overdue),
            Status::Disconnected => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i128) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_sleeper_is_overdue_after_its_grace_alone_and_nothing_is_expected_of_an_ephemeral_device() {
        let periodic = Patience::Periodic { every: Duration::from_secs(60), grace: Duration::from_secs(5) };
        for (patience, status, since, expected) in [
            (Patience::Permanent, Status::Connected, 0, Expectation::Met),
            (Patience::Permanent, Status::Disconnected, 100, Expectation::Overdue),
            (Patience::Ephemeral, Status::Disconnected, 0, Expectation::None),
            (Patience::Ephemeral, Status::Connected, 0, Expectation::None),
            (periodic, Status::Connected, 0, Expectation::Met),
            (periodic, Status::Disconnected, 35, Expectation::Met),
            (periodic, Status::Disconnected, 34, Expectation::Overdue),
            (periodic, Status::Disconnected, 999, Expectation::Met),
        ] {
            let found = patience.expectation(status, at(since), at(100));
            assert_eq!(found, expected, "{patience:?} {status:?} since {since}");
        }
        let unknown = periodic.expectation(Status::Disconnected, Moment::UNKNOWN, at(100));
        assert_eq!(unknown, Expectation::Met);
        assert_eq!(periodic.expectation_of_unseen(), Expectation::Unseen);
        assert_eq!(Patience::Ephemeral.expectation_of_unseen(), Expectation::None);
    }

    #[test]
    fn the_first_policy_that_is_about_a_device_applies_and_a_filter_looks_at_it() {
        let policy = |types: &[&str], patience| ContactPolicy {
            selector: Filter {
                types: types.iter().map(|name| (*name).to_owned()).collect(),
                ..Filter::default()
            },
            patience,
        };
        let policies: Arc<[ContactPolicy]> =
            [policy(&["phone"], Patience::Ephemeral), policy(&["phone", "meter"], Patience::Permanent)]
                .into();
        let filter = |wanted: &[Expectation]| Filter {
            expectation: Some(ExpectationFilter {
                wanted: wanted.to_vec(),
                policies: policies.clone(),
                now: at(9),
            }),
            ..Filter::default()
        };
        let device = |device_type| Traits {
            device_type,
            id: "1",
            source: "one",
            status: Status::Disconnected,
            close_code: None,
            cause: None,
            address: None,
            time: at(1),
        };
        let overdue = filter(&[Expectation::Overdue]);
        assert_eq!(["phone", "meter", "pump"].map(|name| overdue.admits(&device(name))), [false, true, true]);
        let none = filter(&[Expectation::None, Expectation::Met]);
        assert_eq!(["phone", "meter", "pump"].map(|name| none.admits(&device(name))), [true, false, false]);
    }
}
