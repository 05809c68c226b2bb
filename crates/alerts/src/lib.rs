//! Alert rules over presence: observations and the time in, notifications out. Pure values: no IO, no clock, no log.
//!
//! ```text
//! Observation -> condition (offline, counter, drop, unseen) -> AlertInstances -> Dispatch -> Notification
//!                                Coverage: which clocks run ----^              ^---- silences, windows, inhibition
//! ```
//!
//! No alert is made from what was not observed: the clocks of rules are counted in *observed time*, which passes only while
//! the fleet, the source and the type of a device are observed and the grace after a start or a reconnect is over.

mod alert;
mod beyond;
mod clock;
mod conditions;
mod coverage;
mod dispatch;
mod engine;
mod inhibition;
mod instances;
mod observation;
mod pending;
mod place;
mod room;
mod rule;
mod schedule;
mod service;

pub use alert::{
    ALERTS_NAMED_MAX, Alert, AlertState, Notification, NotificationStatus, SuppressedAlerts, Suppression,
};
pub use beyond::FIRING_MAX;
pub use clock::{Now, WallMillis, WallSpan};
pub use coverage::Part;
pub use engine::{AlertTotals, AnnouncedAlert, Engine, TICK_GAP_MAX};
pub use observation::Observation;
pub use presence::contact::{ContactPolicy, Patience};
pub use rule::{CountThreshold, DropThreshold, GroupBy, Kind, Rule, RuleSet, SELECTED_DEVICES_MAX};
pub use schedule::{MaintenanceWindow, Schedule, Silence, WINDOW_MAX};
pub use service::{OUTPUT_RULE, UNOBSERVED_AFTER, UNOBSERVED_RULE};
