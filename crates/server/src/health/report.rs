//! What a round of the population has found, in numbers and by device type.

use std::sync::Arc;

use super::PopulationState;

/// A report lists no more types: a publisher can make as many as devices.
pub const REPORTED_TYPES_MAX: usize = 10_000;
/// Only so many types are read one by one, which may take a second each. Beyond them the evidence has to be about every
/// device.
pub const READ_TYPES_MAX: usize = 1_000;

/// The evidence of a round in which the broker answered no subscription with wildcards by a retained message.
pub const NOTHING_REPLAYED: &str = "nothing_replayed";

/// What the latest round of the population came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PopulationReport {
    pub state: PopulationState,
    /// Why: the word for the evidence.
    pub evidence: &'static str,
    pub types_total: usize,
    /// Of how many of them nothing is known to be missing, and proof of it.
    pub types_proven: usize,
    /// The first of them by name, [`REPORTED_TYPES_MAX`] at most.
    pub types: Vec<TypeReport>,
}

/// The same for one device type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeReport {
    pub device_type: String,
    /// Devices in the registry.
    pub known: u64,
    /// Devices about which something was received in the round.
    pub replayed: u64,
    pub evidence: &'static str,
    /// Whether the evidence is proof that no device of the type is missing.
    pub proven: bool,
}

/// What of the fleet is known as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The link is lost, or statuses are still being read.
    Nothing,
    Everything,
    /// Devices may be missing, but none of the types that the report proves.
    ProvenTypes(Arc<PopulationReport>),
}

impl PopulationReport {
    /// Of a source that retains nothing.
    pub fn unproven(evidence: &'static str) -> Self {
        let state = PopulationState::Unproven;
        Self { state, evidence, types_total: 0, types_proven: 0, types: Vec::new() }
    }

    /// Whether a device that is not held may well have a state that the broker retains and never sent.
    pub fn replayed_nothing(&self) -> bool {
        self.evidence == NOTHING_REPLAYED
    }

    /// How many types nothing proves to be whole, and the first of them; empty if there is none.
    pub(super) fn unproven_types(&self) -> String {
        const NAMED: usize = 5;
        let (total, unproven) = (self.types_total, self.types_total - self.types_proven);
        if unproven == 0 {
            return String::new();
        }
        let not_proven = self.types.iter().filter(|t| !t.proven).map(|t| t.device_type.as_str());
        let named: Vec<&str> = not_proven.take(NAMED).collect();
        let more = if unproven > named.len() { ", …" } else { "" };
        let named = named.join(", ");
        let why = if total > READ_TYPES_MAX {
            format!(" More than {READ_TYPES_MAX} types are known, so they are not read one by one.")
        } else {
            String::new()
        };
        format!(" Not proven are {unproven} of {total} types: {named}{more}.{why}")
    }
}
