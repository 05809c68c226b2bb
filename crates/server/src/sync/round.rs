//! What one round of the population has found out so far, and its result. Pure: which passes are made is decided in
//! `population`, what a pass proves in `evidence`.

use std::collections::BTreeMap;

use super::evidence::{Evidence, KnownBroker, Pass, judge};
use crate::health::PopulationState;
use crate::registry::RoundCount;

/// The passes of one round.
#[derive(Debug, Default)]
pub struct Round {
    /// Passes over every device.
    pub whole: Vec<Pass>,
    pub types: BTreeMap<String, TypePasses>,
    /// Why everything is known to be here, whatever the types say.
    pub proof: Option<Evidence>,
    /// The broker refuses the subscription to every device.
    pub whole_refused: bool,
    /// Types have been read since the last pass over every device.
    pub types_read_last: bool,
}

/// Whether the broker was seen to answer subscriptions with wildcards by what is retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenReplay {
    Some,
    /// It was not, and no device is known that it was to send something of.
    NoneOfNothing,
    /// It was not, although devices are known that should have a retained state.
    NoneOfKnown,
}

/// Passes over one type.
#[derive(Debug, Default)]
pub struct TypePasses {
    pub passes: Vec<Pass>,
    pub evidence: Option<Evidence>,
    /// Each device that the store had has been asked for, where the registry does not hold all.
    pub catalog_is_asked_for: bool,
    /// The broker refuses the subscription to this type.
    pub refused: bool,
}

impl Round {
    pub fn new(first: Option<Pass>) -> Self {
        Self { whole: first.into_iter().collect(), ..Self::default() }
    }

    /// How many passes were made.
    pub fn passes(&self) -> usize {
        self.whole.len() + self.types.values().map(|read| read.passes.len()).sum::<usize>()
    }

    /// How many devices, at least, the broker has repeated that would be forgotten again.
    pub fn expired(&self) -> u64 {
        let most = |passes: &[Pass]| passes.iter().map(|pass| pass.expired).max().unwrap_or(0);
        most(&self.whole).max(self.types.values().map(|read| most(&read.passes)).sum())
    }

    pub fn is_proven(&self, device_type: &str) -> bool {
        self.types.get(device_type).is_some_and(TypePasses::is_proven)
    }

    /// Why each of `known` types is whole, the weakest reason; `None` if one is not, or there is none.
    pub fn proof_by_types(&self, known: &[RoundCount]) -> Option<Evidence> {
        let each_is_proven =
            !self.types.is_empty() && known.iter().all(|count| self.is_proven(&count.device_type));
        let weakest = self.types.values().map(|read| read.evidence.unwrap_or(Evidence::None)).min();
        weakest.filter(|weakest| each_is_proven && weakest.is_proof())
    }

    /// Whether the last pass over every device brought as much as was heard of, and nothing new: no type hides.
    pub fn whole_shows_every_type(&self, received: u64) -> bool {
        self.whole.last().is_some_and(|pass| pass.retained >= received && pass.new_devices == 0 && !pass.lost)
    }

    /// Whether reading the same again can bring nothing more, as far as anybody can tell.
    pub fn is_exhausted(&self, broker: KnownBroker<'_>) -> bool {
        let enough = |evidence| evidence >= Evidence::NothingReplayed;
        let types = self.types.values().all(|read| read.refused || read.evidence.is_some_and(enough));
        types && (self.whole_refused || enough(judge(&self.whole, broker)))
    }

    /// The result of the round.
    pub fn outcome(&self, seen: SeenReplay) -> (PopulationState, Evidence) {
        match (self.proof, seen) {
            (Some(proof), _) => (PopulationState::Complete, proof),
            (None, _) if self.is_short() => (PopulationState::Incomplete, Evidence::Missing),
            (None, SeenReplay::Some) => (PopulationState::Unproven, Evidence::Repeated),
            (None, SeenReplay::NoneOfNothing) => (PopulationState::Unproven, Evidence::NothingReplayed),
            (None, SeenReplay::NoneOfKnown) => (PopulationState::Incomplete, Evidence::NothingReplayed),
        }
    }

    /// Something is known to be missing: what was read last still brought new devices or lost messages, or could not be
    /// read at all.
    fn is_short(&self) -> bool {
        let short = |pass: &Pass| pass.lost || pass.new_devices > 0;
        let missing = self.types.values().any(|read| read.evidence == Some(Evidence::Missing));
        let mut unproven = self.types.values().filter(|read| !read.is_proven());
        let whole_is_short = self.whole.last().is_some_and(short);
        let types_are_short = unproven.any(|read| read.passes.last().is_some_and(short));
        let nothing_read = self.whole.is_empty() && self.types.is_empty();
        nothing_read || missing || whole_is_short || self.types_read_last && types_are_short
    }
}

impl TypePasses {
    pub fn is_proven(&self) -> bool {
        self.evidence.is_some_and(Evidence::is_proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: KnownBroker<'_> = KnownBroker { limits: &[1_000], replays: true, early_silence: None };

    fn pass(retained: u64, new_devices: u64) -> Pass {
        Pass { retained, new_devices, ..Pass::default() }
    }

    fn read(passes: &[Pass], evidence: Evidence) -> TypePasses {
        TypePasses { passes: passes.to_vec(), evidence: Some(evidence), ..TypePasses::default() }
    }

    fn known(names: &[&str]) -> Vec<RoundCount> {
        let count =
            |name: &&str| RoundCount { device_type: (*name).to_owned(), before: 0, total: 1, received: 1 };
        names.iter().map(count).collect()
    }

    #[test]
    fn the_weakest_type_decides_and_an_unread_one_is_ignored() {
        let mut round = Round::default();
        assert_eq!(round.proof_by_types(&known(&[])), None);
        round.types.insert("a".to_owned(), read(&[pass(1, 1)], Evidence::CountMatches));
        round.types.insert("b".to_owned(), read(&[pass(1, 1)], Evidence::ListedDevices));
        assert_eq!(round.proof_by_types(&known(&["a", "b"])), Some(Evidence::ListedDevices));
        assert_eq!(round.proof_by_types(&known(&["a", "b", "c"])), None);
        round.types.insert("c".to_owned(), read(&[pass(1, 0), pass(1, 0)], Evidence::Repeated));
        assert_eq!(round.proof_by_types(&known(&["a", "b", "c"])), None);
    }

    #[test]
    fn expired_devices_are_counted_once_however_many_passes_bring_them() {
        let expired = |expired| Pass { expired, ..pass(9, 0) };
        let mut round = Round::new(Some(expired(2)));
        round.whole.extend([expired(5), expired(5)]);
        assert_eq!(round.expired(), 5);
        for (device_type, passes) in [("a", vec![expired(4), expired(4)]), ("b", vec![expired(3)])] {
            round.types.insert(device_type.to_owned(), TypePasses { passes, ..TypePasses::default() });
        }
        assert_eq!(round.expired(), 7, "the whole passes were cut short");
    }

    #[test]
    fn new_devices_in_the_last_pass_mean_that_more_is_missing() {
        let mut round = Round::new(Some(pass(9, 9)));
        assert_eq!(round.outcome(SeenReplay::Some), (PopulationState::Incomplete, Evidence::Missing));
        round.whole.push(pass(9, 0));
        assert_eq!(round.outcome(SeenReplay::Some), (PopulationState::Unproven, Evidence::Repeated));
        round.types.insert("a".to_owned(), read(&[pass(9, 3)], Evidence::None));
        round.types_read_last = true;
        assert_eq!(round.outcome(SeenReplay::Some).0, PopulationState::Incomplete);
        round.whole.push(pass(12, 0));
        round.types_read_last = false;
        assert_eq!(round.outcome(SeenReplay::Some).0, PopulationState::Unproven);
    }

    #[test]
    fn a_round_in_which_nothing_was_replayed_proves_nothing_and_misses_what_is_known() {
        let mut round = Round::new(Some(pass(0, 0)));
        round.whole.push(pass(0, 0));
        assert!(round.is_exhausted(KnownBroker { replays: false, ..BROKER }));
        let nothing = Evidence::NothingReplayed;
        assert_eq!(round.outcome(SeenReplay::NoneOfNothing), (PopulationState::Unproven, nothing));
        assert_eq!(round.outcome(SeenReplay::NoneOfKnown), (PopulationState::Incomplete, nothing));
        round.proof = Some(Evidence::CountMatches);
        assert_eq!(round.outcome(SeenReplay::NoneOfNothing).0, PopulationState::Complete, "it counts none");
    }

    #[test]
    fn an_unreadable_type_is_missing() {
        let refused = Round { whole_refused: true, ..Round::default() };
        assert_eq!(refused.outcome(SeenReplay::Some).0, PopulationState::Incomplete);
        let mut round = Round::new(Some(pass(9, 0)));
        round.types.insert("a".to_owned(), read(&[], Evidence::Missing));
        assert_eq!(round.outcome(SeenReplay::Some).0, PopulationState::Incomplete);
    }

    #[test]
    fn a_refused_pass_over_everything_leaves_the_types_to_be_exhausted() {
        let mut round = Round { whole_refused: true, ..Round::default() };
        round.types.insert("a".to_owned(), read(&[pass(2_000, 0)], Evidence::None));
        assert!(!round.is_exhausted(BROKER));
        round.types.insert("a".to_owned(), read(&[pass(2_000, 0), pass(2_000, 0)], Evidence::Repeated));
        assert!(round.is_exhausted(BROKER));
    }
}
