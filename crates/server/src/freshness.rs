//! Whether an answer may be out of date. After the link to the broker was lost, what is known of a device may be old until
//! the broker has sent something about it again, or until the round of the population that follows has ended. Pure: when a
//! link is lost and when a round ends is known to `health`.

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
