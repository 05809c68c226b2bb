//! Watches a link that nobody has closed, because it may be dead all the same: the broker's machine has lost its power, or
//! this process was stopped, or the machine slept, for longer than the broker waits.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::health::Health;
use mqtt::connection::{Connection, LinkError};

/// Time between two looks at the link.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The watch over one connection.
pub struct LinkWatch<'a> {
    health: &'a Health,
    ticks: Interval,
    doubt: Doubt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    None,
    /// Nothing has come for too long. Whatever comes ends the doubt.
    Silence,
    /// Nobody has looked at the link for too long. What comes first may have been sent before, so only the answer to a
    /// PINGREQ sent afterwards ends the doubt.
    Pause,
}

impl<'a> LinkWatch<'a> {
    pub fn new(health: &'a Health) -> Self {
        health.check_link();
        let mut ticks = interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { health, ticks, doubt: Doubt::None }
    }

    /// Waits until it is time to look. Safe to cancel.
    pub async fn due(&mut self) {
        self.ticks.tick().await;
    }

    /// Looks at the link, and asks the broker for a sign of life if nobody has looked for too long.
    pub async fn check(&mut self, connection: &mut Connection) -> Result<(), LinkError> {
        if self.health.check_link() {
            self.doubt = Doubt::Pause;
            tracing::warn!("the process stood still: answers are called stale until the broker has answered");
            return connection.ping().await;
        }
        let silent_for = connection.silent_for();
        if self.doubt == Doubt::None && silent_for > connection.longest_silence() {
            self.doubt = Doubt::Silence;
            self.health.link_is_silent(silent_for);
            tracing::warn!(
                silent_s = silent_for.as_secs(),
                "the broker does not answer: the link may be dead, and answers are called stale"
            );
        }
        Ok(())
    }

    /// Something has come from the broker.
    pub fn received(&mut self, connection: &Connection) {
        let ended = match self.doubt {
            Doubt::None => false,
            Doubt::Silence => true,
            Doubt::Pause => connection.pings_unanswered() == 0,
        };
        if ended {
            self.doubt = Doubt::None;
            self.health.link_is_alive();
            tracing::info!("the broker answers again");
        }
    }
}
