//! Reads every retained status, and knows whether it did.

use tokio::sync::mpsc;

use super::Source;
use super::live::LiveEvent;
use crate::health::Population;

/// Follows the live subscription until it ends.
pub async fn run(source: &Source, mut events: mpsc::UnboundedReceiver<LiveEvent>) {
    let mut populated_before = false;
    while let Some(event) = events.recv().await {
        match event {
            LiveEvent::Subscribed if !populated_before => source.health.set_population(Population::Running),
            LiveEvent::Subscribed | LiveEvent::Down => {}
            LiveEvent::ReplayOver { pass, retained, lost, pong: _ } => {
                let Some(tally) = source.backlog.drained(pass).await else { return };
                let population = if lost { Population::Incomplete } else { Population::Unproven };
                populated_before = true;
                source.health.set_population(population);
                tracing::info!(
                    retained,
                    new_devices = tally.new_devices,
                    state = population.word(),
                    "replay over"
                );
            }
        }
    }
}
