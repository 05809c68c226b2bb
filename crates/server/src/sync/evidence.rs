//! What a replay proves. Pure: numbers in, judgement out.
//!
//! Brokers replay retained messages only as far as their buffers reach and drop the rest without a word, so nothing in a
//! replay itself says that it was whole. It takes a reason to believe it, and each reason has a name here.

use std::time::Duration;

use tokio::time::Instant;

use crate::health::NOTHING_REPLAYED;

/// Why a part of the population is known to be whole, or how far it is from that; the stronger ranks higher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Something is known to be missing: messages were lost on our side, or every pass still brought new devices.
    Missing,
    /// Not read yet.
    None,
    /// The broker has answered no subscription with wildcards by a retained message, and a further pass brought none either.
    /// It may hold none, or never send any, as RabbitMQ 3.
    NothingReplayed,
    /// A further pass added nothing. Nothing speaks against it, nothing proves it.
    Repeated,
    /// Every device that was known beforehand has been replayed or asked for by name, and no pass brought another. No
    /// proof: what has never been seen is not known either.
    KnownDevices,
    /// The same for devices that the operator has listed and vouches for.
    ListedDevices,
    /// Fewer messages than any limit at which a broker is known to drop.
    BelowLimits,
    /// The broker's own count of dropped messages did not move meanwhile.
    NothingDropped,
    /// The broker counts exactly as many retained messages as arrived.
    CountMatches,
}

impl Evidence {
    /// The word for it in answers and logs.
    pub fn word(self) -> &'static str {
        match self {
            Evidence::Missing => "missing",
            Evidence::None => "none",
            Evidence::NothingReplayed => NOTHING_REPLAYED,
            Evidence::Repeated => "repeated",
            Evidence::KnownDevices => "known_devices",
            Evidence::ListedDevices => "listed_devices",
            Evidence::BelowLimits => "below_limits",
            Evidence::NothingDropped => "nothing_dropped",
            Evidence::CountMatches => "count_matches",
        }
    }

    /// Whether it proves that nothing is missing.
    pub fn is_proof(self) -> bool {
        match self {
            Evidence::Missing
            | Evidence::None
            | Evidence::NothingReplayed
            | Evidence::Repeated
            | Evidence::KnownDevices => false,
            Evidence::ListedDevices
            | Evidence::BelowLimits
            | Evidence::NothingDropped
            | Evidence::CountMatches => true,
        }
    }
}

/// What one pass brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// Messages with the retain flag.
    pub retained: u64,
    /// Devices that were not in the registry before.
    pub new_devices: u64,
    /// Messages about devices that would be forgotten again, which were passed over.
    pub expired: u64,
    /// Some could not be handed over to the decoder.
    pub lost: bool,
    /// The silence that ended it, if it was shorter than the operator has set.
    pub early_silence: Option<Duration>,
    /// The answer to a PINGREQ that was sent with the subscription came behind all of it, as on brokers that answer in order.
    pub is_fenced: bool,
    /// Other passes of the round had brought exactly these devices before.
    pub is_confirmed: bool,
}

impl Pass {
    /// The same where the registry cannot tell which devices are new, because it has let some go: as many are taken to be new as the
    /// pass brings more messages than any before it. Enough to see that a further pass added nothing, and no proof of anything.
    pub fn new_by_number(self, before: &[Pass]) -> Self {
        Self { new_devices: self.retained.saturating_sub(most(before)), ..self }
    }
}

/// What is known of a broker, whatever a pass brings.
#[derive(Clone, Copy, Debug)]
pub struct KnownBroker<'a> {
    /// At how many messages brokers are known to drop, ascending.
    pub limits: &'a [u64],
    /// Whether it was seen to send retained messages to subscriptions like those of the passes.
    pub replays: bool,
    /// Silence that is shorter than the operator has set shows an end if it lasts so long; `None`: it shows nothing yet.
    pub early_silence: Option<Duration>,
}

impl KnownBroker<'_> {
    /// Whether a pass went on until the broker was silent for long enough.
    pub fn is_read_out(&self, pass: &Pass) -> bool {
        pass.early_silence.is_none_or(|silence| self.early_silence.is_some_and(|needed| silence >= needed))
    }
}

/// Judges the passes over one filter, in their order.
pub fn judge(passes: &[Pass], broker: KnownBroker<'_>) -> Evidence {
    let Some(last) = passes.last() else { return Evidence::None };
    if last.lost {
        return Evidence::Missing;
    }
    let repeated = match passes {
        [.., before, last] => {
            (last.new_devices == 0 && last.retained >= before.retained && !before.lost).then_some(before)
        }
        _ => None,
    };
    let is_repeated = repeated.is_some() || last.is_confirmed;
    if !broker.replays {
        return if is_repeated { Evidence::NothingReplayed } else { Evidence::None };
    }
    // Silence that is shorter than the operator has set shows the end if it comes at the same place again.
    let has_agreed = last.is_confirmed || repeated.is_some_and(|before| broker.is_read_out(before));
    let has_ended = last.early_silence.is_none() || broker.is_read_out(last) && has_agreed;
    let is_below = broker.limits.first().is_some_and(|&lowest| last.retained < lowest);
    if is_below && last.retained >= most(passes) && has_ended {
        return Evidence::BelowLimits;
    }
    if is_repeated { Evidence::Repeated } else { Evidence::None }
}

/// The most that any of the passes brought.
fn most(passes: &[Pass]) -> u64 {
    passes.iter().map(|pass| pass.retained).max().unwrap_or(0)
}

/// The broker's own counters, as far as they could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BrokerCounters {
    /// Messages dropped for any client since the broker started.
    pub dropped: Option<u64>,
    /// Retained messages, the broker's own among them.
    pub retained: Option<u64>,
    /// How many of the retained messages are the broker's own.
    pub own_retained: u64,
    /// Some came because they are retained, so the broker does send such messages to a subscription with wildcards.
    pub replayed: bool,
    /// How often the counters have been published since we listen.
    pub ticks: u64,
    /// Whether the broker publishes counters at all; `None`: not known yet.
    pub offered: Option<bool>,
    /// When the first of its counts came.
    pub counted_at: Option<Instant>,
}

/// Fewer topics of the broker's own are a part of them: mosquitto has some sixty.
const OWN_TOPICS_MIN: u64 = 20;

/// What of its counters a broker does not show to a client that subscribes to all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HiddenCounters {
    All,
    /// The counts that are evidence, or others: then the count of retained messages cannot be freed from the broker's own.
    Part,
}

impl BrokerCounters {
    /// What is hidden, some time after the subscription was accepted: the counters are retained, and come with it.
    pub fn hidden(&self) -> Option<HiddenCounters> {
        if self.own_retained == 0 {
            return Some(HiddenCounters::All);
        }
        let shows_all =
            self.retained.is_some() && self.dropped.is_some() && self.own_retained >= OWN_TOPICS_MIN;
        (!shows_all).then_some(HiddenCounters::Part)
    }

    /// Whether the broker holds exactly so many retained messages besides its own.
    pub fn count_matches(&self, replayed: u64) -> bool {
        self.retained.is_some_and(|retained| retained.checked_sub(self.own_retained) == Some(replayed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_millis(250);
    const BROKER: KnownBroker<'_> =
        KnownBroker { limits: &[1_000, 5_000, 50_000], replays: true, early_silence: Some(SILENCE) };

    fn pass(retained: u64, new_devices: u64) -> Pass {
        Pass { retained, new_devices, ..Pass::default() }
    }

    #[test]
    fn one_pass_proves_only_a_replay_within_every_limit() {
        assert_eq!(judge(&[pass(999, 999)], BROKER), Evidence::BelowLimits);
        assert_eq!(judge(&[pass(1_000, 1_000)], BROKER), Evidence::None);
        assert_eq!(
            judge(&[pass(4_900, 4_900)], KnownBroker { limits: &BROKER.limits[1..], ..BROKER }),
            Evidence::BelowLimits
        );
        assert_eq!(judge(&[], BROKER), Evidence::None);
    }

    #[test]
    fn nothing_is_proven_of_a_broker_that_was_not_seen_to_replay() {
        let mute = KnownBroker { replays: false, ..BROKER };
        assert_eq!(judge(&[pass(0, 0)], mute), Evidence::None);
        assert_eq!(judge(&[pass(0, 0), pass(0, 0)], mute), Evidence::NothingReplayed);
        assert!(!Evidence::NothingReplayed.is_proof());
        assert_eq!(judge(&[pass(0, 0)], BROKER), Evidence::BelowLimits, "it holds none");
        let lost = Pass { lost: true, ..pass(0, 0) };
        assert_eq!(judge(&[pass(0, 0), lost], mute), Evidence::Missing);
        // A topic without wildcards was answered, and the filters beside it were not.
        assert_eq!(judge(&[pass(1, 1), pass(1, 0)], mute), Evidence::NothingReplayed);
    }

    #[test]
    fn a_pass_that_ended_early_proves_something_once_another_ends_at_the_same_place() {
        let early =
            |retained, new_devices| Pass { early_silence: Some(SILENCE), ..pass(retained, new_devices) };
        assert_eq!(judge(&[early(900, 900)], BROKER), Evidence::None);
        assert_eq!(judge(&[early(900, 900), early(900, 0)], BROKER), Evidence::BelowLimits);
        assert_eq!(judge(&[early(900, 900), early(950, 50)], BROKER), Evidence::None);
        assert_eq!(judge(&[early(900, 900), pass(950, 50)], BROKER), Evidence::BelowLimits);
        assert_eq!(judge(&[early(9_000, 9_000), early(9_000, 0)], BROKER), Evidence::Repeated);
        let confirmed = Pass { is_confirmed: true, ..early(900, 0) };
        assert_eq!(judge(&[confirmed], BROKER), Evidence::BelowLimits, "others had brought the same");
        assert_eq!(judge(&[Pass { is_confirmed: true, ..early(9_000, 0) }], BROKER), Evidence::Repeated);
    }

    #[test]
    fn silence_that_is_too_short_for_the_broker_proves_nothing() {
        let early = |silence| Pass { early_silence: Some(silence), ..pass(900, 0) };
        let unseen = KnownBroker { early_silence: None, ..BROKER };
        let slow = KnownBroker { early_silence: Some(SILENCE * 2), ..BROKER };
        for broker in [unseen, slow] {
            assert_eq!(judge(&[early(SILENCE), early(SILENCE)], broker), Evidence::Repeated);
            let confirmed = Pass { is_confirmed: true, ..early(SILENCE) };
            assert_eq!(judge(&[confirmed], broker), Evidence::Repeated);
        }
        assert_eq!(judge(&[early(SILENCE), early(SILENCE * 2)], slow), Evidence::Repeated);
        assert_eq!(judge(&[early(SILENCE * 2), early(SILENCE * 2)], slow), Evidence::BelowLimits);
        assert_eq!(
            judge(&[early(SILENCE), pass(900, 0)], unseen),
            Evidence::BelowLimits,
            "the last is enough"
        );
    }

    #[test]
    fn a_further_pass_speaks_for_it_only_if_it_adds_nothing_and_brings_as_much() {
        assert_eq!(judge(&[pass(5_000, 5_000), pass(12_000, 7_000)], BROKER), Evidence::None);
        assert_eq!(judge(&[pass(12_000, 7_000), pass(12_000, 0)], BROKER), Evidence::Repeated);
        assert_eq!(judge(&[pass(12_000, 7_000), pass(11_000, 0)], BROKER), Evidence::None);
    }

    #[test]
    fn a_smaller_pass_after_a_larger_one_is_no_proof() {
        assert_eq!(judge(&[pass(12_000, 12_000), pass(40, 0)], BROKER), Evidence::None);
    }

    #[test]
    fn with_eviction_only_a_larger_pass_brings_new_devices() {
        let mut passes = Vec::new();
        for (retained, new) in [(7_000, 7_000), (12_000, 5_000), (11_000, 0), (12_000, 0), (12_001, 1)] {
            // Each message may be about a device that the registry has let go.
            let seen = pass(retained, retained).new_by_number(&passes);
            assert_eq!(seen, pass(retained, new));
            passes.push(seen);
        }
        assert_eq!(judge(&passes[..3], BROKER), Evidence::None);
        assert_eq!(judge(&passes[..4], BROKER), Evidence::Repeated);
        assert_eq!(judge(&passes, BROKER), Evidence::None);
    }

    #[test]
    fn a_pass_that_lost_messages_on_our_side_is_missing_some() {
        let lost = Pass { lost: true, ..pass(10, 10) };
        assert_eq!(judge(&[lost], BROKER), Evidence::Missing);
        assert_eq!(judge(&[lost, pass(10, 0)], BROKER), Evidence::BelowLimits);
    }

    #[test]
    fn counters_are_hidden_if_none_comes_or_some_are_missing() {
        let all = BrokerCounters {
            dropped: Some(0),
            retained: Some(60),
            own_retained: 57,
            ..BrokerCounters::default()
        };
        assert_eq!(all.hidden(), None);
        assert_eq!(BrokerCounters::default().hidden(), Some(HiddenCounters::All));
        for part in [
            BrokerCounters { dropped: None, ..all },
            BrokerCounters { retained: None, ..all },
            BrokerCounters { own_retained: 2, ..all },
        ] {
            assert_eq!(part.hidden(), Some(HiddenCounters::Part), "{part:?}");
        }
    }

    #[test]
    fn the_brokers_own_messages_are_taken_off_its_count() {
        let counters = BrokerCounters { retained: Some(55), own_retained: 52, ..BrokerCounters::default() };
        assert!(counters.count_matches(3));
        assert!(!counters.count_matches(2));
        assert!(!BrokerCounters::default().count_matches(0));
    }
}
