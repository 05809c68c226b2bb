//! Places for connections: how many there are, which connection gives way when none is left, and the few that are kept for
//! those who ask whether the service works.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::signals::Signal;
use super::stream::StreamProgress;
use system::log_limit::OnceAMinute;

/// Places beyond `--connections-max`, for `/livez`, `/readyz` and `/metrics` only: many more than there are programs that ask
/// so at the same time.
pub const RESERVED: usize = 64;
/// How long a newcomer waits for the place of a connection that was told to give way.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);
/// One in so many gives way at once, so that a flood of newcomers does not look through all connections for each.
const EVICTED_SHARE: usize = 100;

/// What a connection may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Anything,
    /// All other places are taken by connections that are being answered.
    HealthOnly,
}

/// All places, and who has them.
#[derive(Debug)]
pub struct Places {
    free: Arc<Semaphore>,
    free_reserved: Arc<Semaphore>,
    /// How many give way at once, at most.
    evicted_at_once: usize,
    taken: Mutex<PlacesInUse>,
    log: OnceAMinute,
    eviction_timeout: Duration,
}

#[derive(Debug, Default)]
struct PlacesInUse {
    connections: HashMap<u64, (Use, Arc<StreamProgress>)>,
    last_number: u64,
}

/// The place of one connection, as long as this lives.
#[derive(Debug)]
pub struct ConnectionPlace {
    places: Arc<Places>,
    number: u64,
    pub progress: Arc<StreamProgress>,
    pub good_for: Use,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub fn new(most: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most)),
            free_reserved: Arc::new(Semaphore::new(RESERVED)),
            evicted_at_once: (most / EVICTED_SHARE).max(1),
            taken: Mutex::default(),
            log: OnceAMinute::default(),
            eviction_timeout: EVICTION_TIMEOUT,
        }
    }

    /// A place for a connection that has come. If none is free, idle connections give way; if none is idle, there is a reserved
    /// place; if there is none either, this waits.
    pub async fn take(self: &Arc<Self>) -> ConnectionPlace {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return self.place(Use::Anything, permit);
        }
        if self.evict(Use::Anything) {
            let freed = timeout(self.eviction_timeout, Arc::clone(&self.free).acquire_owned()).await;
            if let Ok(Ok(permit)) = freed {
                return self.place(Use::Anything, permit);
            }
        }
        if let Ok(permit) = Arc::clone(&self.free_reserved).try_acquire_owned() {
            return self.place(Use::HealthOnly, permit);
        }
        self.evict(Use::HealthOnly);
        tokio::select! {
            biased;
            permit = Arc::clone(&self.free).acquire_owned() => {
                self.place(Use::Anything, permit.expect("the semaphore is never closed"))
            }
            permit = Arc::clone(&self.free_reserved).acquire_owned() => {
                self.place(Use::HealthOnly, permit.expect("the semaphore is never closed"))
            }
        }
    }

    /// Tells all connections that the service stops.
    pub fn stop(&self) {
        for (_, progress) in self.taken.lock().connections.values() {
            progress.signals.give(Signal::Stop);
        }
    }

    fn place(self: &Arc<Self>, good_for: Use, permit: OwnedSemaphorePermit) -> ConnectionPlace {
        let progress = Arc::new(StreamProgress::default());
        let mut taken = self.taken.lock();
        taken.last_number += 1;
        let number = taken.last_number;
        taken.connections.insert(number, (good_for, Arc::clone(&progress)));
        ConnectionPlace { places: Arc::clone(self), number, progress, good_for, _permit: permit }
    }

    /// Tells connections to give way: first those on which nothing was ever sent, then those that rest between two requests,
    /// then those whose request is not complete; of each kind the ones that have been so for longest. Whether there are any.
    fn evict(&self, good_for: Use) -> bool {
        let taken = self.taken.lock();
        let connections = taken.connections.values().filter(|(of, _)| *of == good_for);
        let mut idle: Vec<_> = connections.filter_map(|(_, it)| Some((it.idle()?, it))).collect();
        let most = self.evicted_at_once.min(idle.len());
        if most == 0 {
            return false;
        }
        idle.select_nth_unstable_by_key(most - 1, |(idle, _)| *idle);
        for (_, progress) in &idle[..most] {
            progress.signals.give(Signal::GiveWay);
        }
        if good_for == Use::Anything
            && let Some(times) = self.log.pass(Instant::now())
        {
            tracing::warn!(
                times,
                "as many connections are open as --connections-max allows: idle ones are closed to make room for others"
            );
        }
        true
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.places.taken.lock().connections.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::PATIENCE;

    /// A place whose connection leaves when it is told to.
    async fn leaving(place: ConnectionPlace) {
        place.progress.signals.wait(Signal::GiveWay).await;
    }

    #[tokio::test]
    async fn silent_connections_give_way_before_resting_ones_and_busy_ones_never() {
        let places = Arc::new(Places { eviction_timeout: PATIENCE, ..Places::new(3) });
        let (busy, resting, silent) = (places.take().await, places.take().await, places.take().await);
        let _answering = busy.progress.request();
        drop(resting.progress.request());
        let leaves = tokio::spawn(leaving(silent));
        let newcomer = places.take().await;
        leaves.await.unwrap();
        assert_eq!(newcomer.good_for, Use::Anything);
        let _asked = newcomer.progress.request();
        let leaves = tokio::spawn(leaving(resting));
        let second = places.take().await;
        leaves.await.unwrap();
        let _also = second.progress.request();
        let reserved = places.take().await;
        assert_eq!(reserved.good_for, Use::HealthOnly, "all others are being answered");
        drop(busy);
        assert_eq!(places.take().await.good_for, Use::Anything);
    }

    #[tokio::test]
    async fn reserved_places_give_way_to_one_another() {
        let places = Arc::new(Places::new(1));
        let first = places.take().await;
        let _answering = first.progress.request();
        let mut left = tokio::task::JoinSet::new();
        for _ in 0..3 * RESERVED {
            let place = places.take().await;
            assert_eq!(place.good_for, Use::HealthOnly);
            left.spawn(leaving(place));
        }
        left.shutdown().await;
        assert_eq!(places.taken.lock().connections.len(), 1, "nothing is kept of who is gone");
    }
}
