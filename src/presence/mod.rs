//! What one message claims, what we believe of a device, and how the two are merged. Pure values: no IO, no clock, no
//! log, no randomness, and nothing of any broker's wire format.

mod belief;
pub mod query;
mod statement;
#[cfg(test)]
pub mod strategy;

pub use belief::{Belief, Status, Verdict};
pub use statement::{Claim, Moment, Statement};
