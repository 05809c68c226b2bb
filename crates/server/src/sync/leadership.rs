//! Whether this instance reads what is retained, for all that share its messages. Who says so is not known here.

use tokio::sync::{Notify, watch};

/// Set by the heartbeat, which knows the others; followed by the population.
#[derive(Debug)]
pub struct Leadership {
    is_leader: watch::Sender<bool>,
    again: Notify,
}

impl Leadership {
    /// There are no others.
    pub fn of_one() -> Self {
        Self { is_leader: watch::Sender::new(true), again: Notify::new() }
    }

    /// There are others, and nothing is decided yet.
    pub fn of_several() -> Self {
        Self { is_leader: watch::Sender::new(false), again: Notify::new() }
    }

    pub fn is_leader(&self) -> bool {
        *self.is_leader.borrow()
    }

    /// Sets whether this instance leads and says whether that is new.
    pub fn set(&self, is_leader: bool) -> bool {
        self.is_leader.send_if_modified(|before| std::mem::replace(before, is_leader) != is_leader)
    }

    /// Asks for another round: messages may have gone to an instance that has gone with them.
    pub fn ask_again(&self) {
        self.again.notify_one();
    }

    /// Waits until it is asked for another round.
    pub(crate) async fn asked_again(&self) {
        self.again.notified().await;
    }

    /// Waits until this instance leads, or leads no more.
    pub(super) async fn changed_from(&self, is_leader: bool) {
        let mut now = self.is_leader.subscribe();
        // The sender lives as long as this does.
        let _ = now.wait_for(|now| *now != is_leader).await;
    }
}
