//! Whether another client connects with the same client id. A broker lets in one at a time, so the two end each other's
//! connections for ever. Pure.

use std::time::Duration;

/// A connection that another client ends lasts as long as that client waits before it tries again; common ones wait two
/// minutes at most.
pub const SHORT_LIFE: Duration = Duration::from_secs(120);

/// A broker may close one connection for any reason.
const SHORT_LIVES: u32 = 2;

/// How a connection ended that the broker had accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The broker said so: DISCONNECT with reason 0x8E, which only MQTT 5 has.
    TakenOver,
    /// The broker closed it without a word after so long.
    Closed { after: Duration },
    /// In another way, or it was not accepted at all.
    Other,
}

/// How the latest connections ended.
#[derive(Debug, Default)]
pub struct RivalWatch {
    short_lives: u32,
}

impl RivalWatch {
    /// Notes how a connection ended. Returns what to tell if another client with this id is the likely cause.
    pub fn note(&mut self, end: ConnectionEnd, client_id: &str) -> Option<String> {
        self.short_lives = match end {
            ConnectionEnd::TakenOver => {
                return Some(format!(
                    "Another client has connected with the same client id, {client_id}, and the broker lets in one at a \
                     time: give each its own application id (--id)."
                ));
            }
            ConnectionEnd::Closed { after } if after < SHORT_LIFE => self.short_lives + 1,
            ConnectionEnd::Closed { .. } | ConnectionEnd::Other => 0,
        };
        (self.short_lives >= SHORT_LIVES).then(|| {
            format!(
                "The broker has accepted the connection and closed it again, more than once in a row: probably another \
                 client connects with the same client id, {client_id}, and the two take turns. Give each its own \
                 application id (--id)."
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "a:org:app";

    fn closed(seconds: u64) -> ConnectionEnd {
        ConnectionEnd::Closed { after: Duration::from_secs(seconds) }
    }

    #[test]
    fn two_short_lives_in_a_row_point_to_another_client() {
        let mut watch = RivalWatch::default();
        assert_eq!(watch.note(closed(1), ID), None);
        let said = watch.note(closed(30), ID).unwrap();
        assert!(said.contains(ID) && said.contains("take turns") && said.contains("--id"), "{said}");
        assert_eq!(watch.note(closed(2), ID), Some(said), "the same is told in the same words");
    }

    #[test]
    fn a_broker_that_was_away_or_a_connection_that_lasted_is_no_other_client() {
        for between in [ConnectionEnd::Other, closed(SHORT_LIFE.as_secs())] {
            let mut watch = RivalWatch::default();
            for end in [closed(1), between, closed(1), between, closed(1)] {
                assert_eq!(watch.note(end, ID), None);
            }
        }
    }

    #[test]
    fn a_takeover_reported_by_the_broker_is_reported_at_once() {
        let said = RivalWatch::default().note(ConnectionEnd::TakenOver, ID).unwrap();
        assert!(said.contains(ID) && said.contains("--id"), "{said}");
    }
}
