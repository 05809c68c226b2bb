//! What an engine is given: the state of one device, and the event that brought it.

use std::net::IpAddr;

use presence::{Device, EventKind, Status};

use crate::WallMillis;

/// What is known of a device now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation<'a> {
    pub device: Device<'a>,
    /// The source whose message decides the state. `None`: it is not known any more, as the device was forgotten unobserved; it
    /// may be any.
    pub source: Option<&'a str>,
    /// `None`: the device was not known before.
    pub before: Option<Status>,
    /// `None`: the device was forgotten.
    pub status: Option<Status>,
    /// The word for why a disconnected device is so.
    pub cause: Option<&'a str>,
    /// Where it connected from.
    pub address: Option<IpAddr>,
    /// Since when the state holds, by the clock of its source; it is shown and never counted by.
    pub since: WallMillis,
    /// What happened. `None`: the state was read and nothing happened, as at a start.
    pub event: Option<EventKind>,
}
