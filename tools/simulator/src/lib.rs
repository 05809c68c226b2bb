//! A simulated organisation: devices that connect, drop, take over and time out, and the status messages that the
//! platform would send for them. Used by the demo, by `devstatus simulate` and, as the model that knows the truth, by tests.
//!
//! `message`, `device`, `platform`, `history` and `running` are pure: no IO, no clock, no logging. Only
//! `publisher` knows a network.

pub mod device;
pub mod history;
pub mod message;
pub mod platform;
pub mod publisher;
pub mod running;
pub mod settings;

#[cfg(test)]
mod tests;
