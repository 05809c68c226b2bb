//! What is known of one device at one moment, copied out of the map so that it can be shown without a lock.

use std::sync::Arc;

use super::{Evidence, Record};
use crate::clock::UnixSeconds;
use crate::presence::{Claim, Moment, Statement, Status};

/// A copy of what answers show of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub device_type: Arc<str>,
    pub id: Box<str>,
    pub status: Status,
    /// The status follows from a takeover; see [`crate::presence::Verdict`].
    pub inferred: bool,
    /// The deciding statement.
    pub statement: Statement,
    pub latest: LastEvent,
    pub evidence: Evidence,
    pub heard_at: UnixSeconds,
}

/// What was said last of a device, whether it decides or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastEvent {
    pub claim: Claim,
    pub time: Moment,
    /// Of what ends a session or refuses one.
    pub close_code: Option<u16>,
}

impl Snapshot {
    pub fn of(record: &Record) -> Self {
        let verdict = record.verdict();
        let latest = record.belief.latest().unwrap_or(verdict.statement);
        let close_code = match latest.claim {
            Claim::Disconnect | Claim::Takeover | Claim::Refusal | Claim::FailedLogin => {
                Some(latest.close_code)
            }
            Claim::Connect | Claim::Request => None,
        };
        Self {
            device_type: Arc::clone(record.device_type()),
            id: record.id.clone(),
            status: verdict.status,
            inferred: verdict.inferred,
            statement: verdict.statement.clone(),
            latest: LastEvent { claim: latest.claim, time: latest.time, close_code },
            evidence: record.evidence,
            heard_at: record.heard_at,
        }
    }
}
