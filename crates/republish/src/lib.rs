//! The state of every device as retained MQTT messages. Nothing is queued but names: what is published is read from the registry
//! when its turn comes, so it is never older than what was published before.
//!
//! ```text
//! feed -names-> Announcements [Settle] -> Plan -Messages-> Connection -> broker
//! registry -names of all devices, after each connect-> ^                   |
//! Cleanup <-what the broker retains under the prefix-----------------------'
//! ```
//!
//! Pure, without a clock or IO: `settings`, `topics`, `home_assistant`, `in_flight`, `plan`, `own_messages`.

mod announcements;
mod cleanup;
mod home_assistant;
mod in_flight;
pub mod metrics;
mod own_messages;
mod plan;
mod service;
mod session;
pub mod settings;
mod topics;

pub use self::service::{Describe, Republisher};
