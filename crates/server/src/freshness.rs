//! Whether an answer may be out of date. After the link to the broker was lost, what is known of a device may be old until
//! the broker has sent something about it again, or until the round of the population that follows has ended. Pure: when a
//! link is lost and when a round ends is known to `health`.

use std::sync::Arc;

/// The number of a round of the population. Each device carries the number of the round in which it was last heard of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundNumber(u16);

impl RoundNumber {
    /// Before the first round, and the mark of a device that the broker has sent nothing about.
    pub const NONE: RoundNumber = RoundNumber(0);

    /// In place of a round for a device whose state is out of date whatever is read again.
    pub const SILENT: RoundNumber = RoundNumber(u16::MAX);

    const LAST: u16 = u16::MAX - 1;

    /// The next round. The numbers start again at 1 after 65,534 rounds.
    #[must_use]
    pub fn next(self) -> Self {
        Self(if self.0 >= Self::LAST { 1 } else { self.0 + 1 })
    }

    /// The number as it is stored in atomics.
    pub fn to_bits(self) -> u16 {
        self.0
    }

    /// The opposite of [`RoundNumber::to_bits`].
    pub fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether this is one of the rounds from `first` to `last`. Also right if the numbers have started again in between.
    pub fn is_between(self, first: RoundNumber, last: RoundNumber) -> bool {
        let rounds_since_first = |number: RoundNumber| {
            let (number, first) = (u32::from(number.0), u32::from(first.0));
            (number + u32::from(Self::LAST) - first) % u32::from(Self::LAST)
        };
        self != Self::NONE
            && self != Self::SILENT
            && first != Self::NONE
            && rounds_since_first(self) <= rounds_since_first(last)
    }
}

/// Which answers may be out of date at one moment. Two equal values call the same answers stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// None.
    Current,
    /// The link to the broker is back. Devices that were heard of in the rounds `from` to `now` are current, others may be
    /// out of date. `from` is [`RoundNumber::NONE`] until the first round has begun.
    ReadingAgain { from: RoundNumber, now: RoundNumber },
    /// All of them: the link to the broker is down or may be dead.
    Unconfirmed,
}

impl Freshness {
    /// Whether the answer about a device that was last heard of in this round may be out of date.
    pub fn is_stale(self, received_in: RoundNumber) -> bool {
        if received_in == RoundNumber::SILENT {
            return true;
        }
        match self {
            Freshness::Current => false,
            Freshness::ReadingAgain { from, now } => !received_in.is_between(from, now),
            Freshness::Unconfirmed => true,
        }
    }

    /// Whether any answer may be out of date, for instance a total or that a device never connected.
    pub fn is_any_stale(self) -> bool {
        match self {
            Freshness::Current => false,
            Freshness::ReadingAgain { .. } | Freshness::Unconfirmed => true,
        }
    }
}

/// Which answers may be out of date at one moment, where devices come over several links. Two equal values call the same
/// answers stale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshnessBySource {
    /// Of the only link; of several the worst, which holds for devices of no source that is in use.
    of_all: Freshness,
    /// By the name of the source; empty if there is one link.
    by_source: Box<[(Arc<str>, Freshness)]>,
}

impl FreshnessBySource {
    /// Of one link, whose devices all of them are.
    pub fn of_one_link(freshness: Freshness) -> Self {
        Self { of_all: freshness, by_source: Box::default() }
    }

    /// Of several links, by the names of the sources that each of them brings.
    pub fn of_links(by_source: Box<[(Arc<str>, Freshness)]>) -> Self {
        let worst =
            by_source.iter().map(|(_, freshness)| *freshness).max_by_key(|freshness| match freshness {
                Freshness::Current => 0,
                Freshness::ReadingAgain { .. } => 1,
                Freshness::Unconfirmed => 2,
            });
        Self { of_all: worst.unwrap_or(Freshness::Unconfirmed), by_source }
    }

    /// Whether the answer about a device of this source that was last heard of in this round may be out of date.
    pub fn is_stale(&self, source: &str, received_in: RoundNumber) -> bool {
        let of_source = self.by_source.iter().find(|(name, _)| **name == *source);
        of_source.map_or(self.of_all, |(_, freshness)| *freshness).is_stale(received_in)
    }

    /// Whether any answer may be out of date, for instance a total or that a device never connected.
    pub fn is_any_stale(&self) -> bool {
        self.of_all.is_any_stale()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(bits: u16) -> RoundNumber {
        RoundNumber::from_bits(bits)
    }

    #[test]
    fn a_device_is_current_once_a_round_after_the_reconnect_has_read_it() {
        let freshness = Freshness::ReadingAgain { from: round(7), now: round(9) };
        for (received_in, stale) in [(0, true), (6, true), (7, false), (8, false), (9, false), (10, true)] {
            assert_eq!(freshness.is_stale(round(received_in)), stale, "heard of in round {received_in}");
        }
        let not_begun = Freshness::ReadingAgain { from: RoundNumber::NONE, now: round(9) };
        assert!(not_begun.is_stale(round(9)) && not_begun.is_stale(RoundNumber::NONE));
        assert!(Freshness::Current.is_stale(RoundNumber::SILENT) && freshness.is_stale(RoundNumber::SILENT));
    }

    #[test]
    fn a_device_is_as_fresh_as_the_link_of_its_source() {
        let again = Freshness::ReadingAgain { from: round(7), now: round(7) };
        let links = [("a", Freshness::Current), ("b", Freshness::Unconfirmed), ("c", again)];
        let by_source =
            FreshnessBySource::of_links(links.map(|(name, freshness)| (name.into(), freshness)).into());
        let stale = |source| [6, 7].map(|number| by_source.is_stale(source, round(number)));
        assert_eq!(["a", "b", "c"].map(stale), [[false, false], [true, true], [true, false]]);
        assert_eq!(stale("gone"), [true, true]);
        assert!(by_source.is_any_stale());
        let one = FreshnessBySource::of_one_link(again);
        assert!(one.is_stale("any", round(6)) && !one.is_stale("any", round(7)));
    }

    #[test]
    fn the_numbers_may_start_again_while_statuses_are_read_again() {
        let last = u16::MAX - 1;
        assert_eq!(round(last).next(), round(1));
        let freshness = Freshness::ReadingAgain { from: round(last), now: round(2) };
        for (received_in, stale) in
            [(0, true), (last - 1, true), (last, false), (1, false), (2, false), (3, true)]
        {
            assert_eq!(freshness.is_stale(round(received_in)), stale, "heard of in round {received_in}");
        }
    }
}
