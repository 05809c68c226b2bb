//! The id of an event in a stream: where to go on after it. A text for clients, who only give it back.
//!
//! It names a change of this process, by its sequence, and a position in the history up to which the client has missed
//! nothing: the first serves as long as this process has the change in memory, the second serves any process with the same
//! store.

use std::fmt;
use std::str::FromStr;

/// A place in the order of all changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamPosition {
    /// The process that the sequence is of; 0: none, only the history counts.
    pub epoch: u64,
    pub sequence: u64,
    /// What the history tells up to this position of its own has been seen; `None`: not known.
    pub history: Option<u64>,
}

impl StreamPosition {
    /// At a position of the history.
    pub fn in_history(position: u64) -> Self {
        Self { epoch: 0, sequence: 0, history: Some(position) }
    }
}

impl fmt::Display for StreamPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.epoch, self.sequence)?;
        self.history.map_or(Ok(()), |position| write!(f, "-{position}"))
    }
}

impl FromStr for StreamPosition {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let epoch = u64::from_str_radix(parts.next().ok_or(())?, 16).map_err(drop)?;
        let sequence = parts.next().ok_or(())?.parse().map_err(drop)?;
        let history = parts.next().map(str::parse).transpose().map_err(drop)?;
        if parts.next().is_some() {
            return Err(());
        }
        Ok(Self { epoch, sequence, history })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_position_survives_a_round_trip() {
        for position in [
            StreamPosition { epoch: 0x19a_b3c4_d5e6, sequence: 17, history: Some(4) },
            StreamPosition { epoch: 1, sequence: 0, history: None },
            StreamPosition::in_history(u64::MAX),
        ] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in
            ["", "1", "-1", "1-", "1-2-", "1-2-3-4", "x-1", "1-x", "1-2-x", "1-2-18446744073709551616"]
        {
            assert_eq!(text.parse::<StreamPosition>(), Err(()), "{text}");
        }
    }
}
