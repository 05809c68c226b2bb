//! The id of an event in a stream: where to go on after it. A text for clients, who only give it back.
//!
//! It names a change of this process, by its sequence, and a position in the history up to which the client has missed
//! nothing: the first serves as long as this process has the change in memory, the second serves any process with the same
//! store. The position names its store, so that another store does not take it for one of its own.
//!
//! ```text
//! process - sequence - number of the position - order of the position
//! ```

use std::fmt;
use std::str::FromStr;

use presence::history::HistoryPosition;

/// A place in the order of all changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The process that the sequence is of; 0: none, only the history counts.
    pub epoch: u64,
    pub sequence: u64,
    /// What the history tells up to this position of its own has been seen; `None`: not known.
    pub history: Option<HistoryPosition>,
}

impl StreamPosition {
    /// The id of an event out of the history.
    pub fn in_history(position: HistoryPosition) -> Self {
        Self { epoch: 0, sequence: 0, history: Some(position) }
    }
}

impl fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.sequence)?;
        self.history.map_or(Ok(()), |position| write!(f, "-{}-{:x}", position.number, position.order))
    }
}

impl FromStr for StreamPosition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let epoch = u64::from_str_radix(parts.next().ok_or(())?, 16).map_err(drop)?;
        let sequence = parts.next().ok_or(())?.parse().map_err(drop)?;
        let history = match (parts.next(), parts.next(), parts.next()) {
            (None, _, _) => None,
            (Some(number), Some(order), None) => Some(HistoryPosition {
                order: u64::from_str_radix(order, 16).map_err(drop)?,
                number: number.parse().map_err(drop)?,
            }),
            (Some(_), _, _) => return Err(()),
        };
        Ok(Self { epoch, sequence, history })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_position_survives_a_round_trip() {
        for position in [
            StreamPosition {
                epoch: 0x19a_b3c4_d5e6,
                sequence: 17,
                history: Some(HistoryPosition { order: 0xab, number: 4 }),
            },
            StreamPosition { epoch: 1, sequence: 0, history: None },
            StreamPosition::in_history(HistoryPosition { order: u64::MAX, number: u64::MAX }),
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in [
            "",
            "1",
            "-1",
            "1-",
            "1-2-",
            "1-2-3",
            "1-2-3-",
            "1-2-3-4-5",
            "x-1",
            "1-x",
            "1-2-x-1",
            "1-2-3-x",
            "1-2-18446744073709551616-1",
        ] {
            assert_eq!(text.parse::<StreamPosition>(), Err(()), "{text}");
        }
    }
}
