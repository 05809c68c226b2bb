//! The conditions of rules that need memory of their own: counts within a window, and devices that are gone at once.

mod counter;
mod fleet_drop;

pub(crate) use counter::Counters;
pub(crate) use fleet_drop::{DropChange, FleetDrop};
