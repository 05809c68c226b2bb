//! What is known of one device at one moment, copied out of the map so that it can be shown without a lock.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Arrival, Evidence, Record};
use crate::freshness::RoundNumber;
use formats::iot_platform;
use presence::query::{Position, Traits};
use presence::{Belief, Claim, Device, DeviceName, Moment, Statement, Status, UnixSeconds};

/// A copy of what answers show of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub device_type: Arc<str>,
    pub id: Box<str>,
    pub status: Status,
    /// The status follows from a takeover; see [`presence::Verdict`].
    pub inferred: bool,
    /// The deciding statement.
    pub statement: Statement,
    pub latest: LastEvent,
    pub evidence: Evidence,
    pub heard_at: UnixSeconds,
    /// The round of the population in which the broker last sent something about the device.
    pub heard_in: RoundNumber,
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
        let heard = Arrival { evidence: record.evidence, at: record.heard_at, round: record.heard_in };
        Self::of_belief(record.name(), &record.belief, heard)
            .expect("a record is made by its first statement")
    }

    /// The same of a belief that is in no map; `None` if it consists of nothing.
    pub fn of_belief(name: DeviceName, belief: &Belief, heard: Arrival) -> Option<Self> {
        let verdict = belief.verdict()?;
        let latest = belief.latest().unwrap_or(verdict.statement);
        let close_code = match latest.claim {
            Claim::Disconnect | Claim::Takeover | Claim::Refusal | Claim::FailedLogin => {
                Some(latest.close_code)
            }
            Claim::Connect | Claim::Request => None,
        };
        let DeviceName { device_type, id } = name;
        Some(Self {
            device_type,
            id,
            status: verdict.status,
            inferred: verdict.inferred,
            statement: verdict.statement.clone(),
            latest: LastEvent { claim: latest.claim, time: latest.time, close_code },
            evidence: heard.evidence,
            heard_at: heard.at,
            heard_in: heard.round,
        })
    }

    /// The deciding message, as it came.
    pub fn message(&self) -> Vec<u8> {
        self.statement.payload.unpack()
    }

    /// Where the device stands in a list of any order.
    pub fn position(&self) -> Position {
        let (device_type, id) = (self.device_type.to_string(), self.id.to_string());
        Position { device_type, id, time: self.statement.time }
    }

    /// Which device this is.
    pub fn device(&self) -> Device<'_> {
        Device { device_type: &self.device_type, id: &self.id }
    }

    /// Where the device connected from, as the deciding message says. All of the message is read only where it must be.
    pub fn address(&self) -> Option<IpAddr> {
        if let Some(address) = iot_platform::ipv4(&self.statement.payload) {
            return Some(address.into());
        }
        iot_platform::details(&self.message()).address?.parse().ok()
    }

    /// What filters look at; the address is given by whoever knows it.
    pub fn traits(&self, address: Option<IpAddr>) -> Traits<'_> {
        Traits {
            device_type: &self.device_type,
            id: &self.id,
            status: self.status,
            close_code: self.statement.close_code,
            address,
            time: self.statement.time,
        }
    }
}
