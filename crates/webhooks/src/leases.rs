//! Which endpoints this instance delivers to, where several share a store: each has a lease in the store that one instance holds.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use store::{DeliveryLease, Store};

/// An instance that does not renew its leases for so long has died: another goes on within ten seconds.
const LASTS: Duration = Duration::from_secs(8);
/// Between two renewals.
const RENEWAL: Duration = Duration::from_secs(1);
/// If the store does not answer within this, it is asked again.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Leases that were not renewed for so long are given up, well before the store gives them to another.
const LOST_AFTER: Duration = Duration::from_secs(4);
/// How long giving them back may take at the end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// The leases of this process.
pub struct Leases {
    holder: Box<str>,
    /// `None`: not known yet.
    held: watch::Sender<Option<BTreeSet<String>>>,
}

impl Default for Leases {
    fn default() -> Self {
        let holder = format!("{:016x}", rand::random::<u64>()).into();
        Self { holder, held: watch::Sender::default() }
    }
}

impl Leases {
    /// The lease of an endpoint, as the store checks it.
    pub fn of(&self, endpoint: &str) -> DeliveryLease {
        DeliveryLease { endpoint: endpoint.into(), holder: self.holder.clone() }
    }

    /// Takes the leases that are free and renews them, without an end.
    pub async fn hold(&self, store: &dyn Store, endpoints: Vec<String>) {
        if endpoints.is_empty() {
            return pending().await;
        }
        let mut renewed_at = None::<Instant>;
        loop {
            let asked_at = Instant::now();
            let asked = store.lease_deliveries(&self.holder, endpoints.clone(), LASTS);
            let failure = match timeout(RENEWAL_TIMEOUT, asked).await {
                Ok(Ok(held)) => {
                    renewed_at = Some(asked_at);
                    self.set(held.into_iter().collect());
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_elapsed) => Some(format!("no answer for {} s", RENEWAL_TIMEOUT.as_secs())),
            };
            if let Some(error) = failure
                && renewed_at.is_none_or(|at| at.elapsed() >= LOST_AFTER)
                && self.set(BTreeSet::new())
            {
                tracing::warn!(error, "the store gives no leases at present: this instance delivers nothing");
            }
            sleep(RENEWAL).await;
        }
    }

    /// Says whether that is new.
    fn set(&self, held: BTreeSet<String>) -> bool {
        self.held.send_if_modified(|before| {
            let is_changed = before.as_ref() != Some(&held);
            *before = Some(held);
            is_changed
        })
    }

    /// Notes that the store has refused a write because this instance no longer holds the lease.
    pub fn lose(&self, endpoint: &str) {
        self.held.send_modify(|held| {
            held.as_mut().map(|held| held.remove(endpoint));
        });
    }

    /// Waits until the lease of an endpoint is held.
    pub async fn wait_for(&self, endpoint: &str) {
        self.wait_until(|held| held.contains(endpoint)).await;
    }

    /// Waits until it is known not to be.
    pub async fn wait_for_loss(&self, endpoint: &str) {
        self.wait_until(|held| !held.contains(endpoint)).await;
    }

    async fn wait_until(&self, condition: impl Fn(&BTreeSet<String>) -> bool) {
        let mut held = self.held.subscribe();
        // The sender is here.
        let _ = held.wait_for(|held| held.as_ref().is_some_and(&condition)).await.map(drop);
    }

    /// Gives all leases back, so that others go on at once.
    pub async fn end(&self, store: &dyn Store) {
        let Some(held) = self.held.send_replace(None).filter(|held| !held.is_empty()) else { return };
        let held = held.into_iter().collect();
        // If the store is away, this fails, and the leases expire by themselves.
        let _ = timeout(END_TIMEOUT, store.lease_deliveries(&self.holder, held, Duration::ZERO)).await;
    }
}
