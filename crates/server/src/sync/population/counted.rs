//! What the broker's own counters prove of a round, and what is shown while they are waited for.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::PopulationReader;
use crate::freshness::RoundNumber;
use crate::sync::evidence::{Evidence, judge};
use crate::sync::pass::PassError;
use crate::sync::round::Round;

/// How long the broker's counters are waited for; mosquitto publishes them every ten seconds.
const COUNTERS_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the first of them are waited for: they are retained, and come at once or not at all.
const COUNTERS_FIRST_TIMEOUT: Duration = Duration::from_secs(3);
/// The counters of one moment arrive within this, also from a busy broker.
const COUNTERS_SETTLE: Duration = Duration::from_millis(500);

impl PopulationReader<'_> {
    /// Whether a second pass over everything is likely to bring the same as the first.
    pub(super) fn may_agree(&self, round: &Round) -> bool {
        round.whole.last().is_some_and(|pass| !pass.lost)
    }

    /// Whether the last two passes brought the same. If so, it is shown before it is proven: a broker that counts itself may
    /// take ten seconds to do so.
    pub(super) async fn agrees(&self, round: &Round, number: RoundNumber) -> bool {
        if self.passes() > 1 || judge(&round.whole, self.broker()) < Evidence::Repeated {
            return false;
        }
        let last_two = round.whole.last_chunk::<2>();
        if !last_two.is_some_and(|passes| passes.iter().all(|pass| pass.is_fenced)) {
            // A pause may have ended both at the same place.
            self.behavior.live_seen().await;
            if !self.is_read_out(round) {
                return false;
            }
        }
        self.show_so_far(round, number);
        true
    }

    /// Whether nothing more came of the last pass over everything, as far as can be told.
    fn is_read_out(&self, round: &Round) -> bool {
        round.whole.last().is_some_and(|last| last.is_fenced || self.broker().is_read_out(last))
    }

    /// Shows the result of the round so far.
    pub(super) fn show_so_far(&self, round: &Round, number: RoundNumber) {
        let (registry, health) = (&self.source.registry, &self.source.health);
        health.population_so_far(self.report(round));
        let received = self.source.received_in_round();
        if !registry.evicted_in_round()
            && received.is_some_and(|received| received >= registry.totals().total())
        {
            // Of every device that is held a message came again.
            health.round_ended(number);
        }
    }

    /// Waits until the broker's counters are there, or known not to be.
    pub(super) async fn ask_for_counters(&self) {
        self.counters_wanted.notify_one();
        let mut counters = self.counters.clone();
        let known = counters.wait_for(|counters| counters.offered.is_some());
        let offered = match timeout(COUNTERS_FIRST_TIMEOUT, known).await {
            Ok(Ok(counters)) => counters.offered == Some(true),
            Ok(Err(_)) | Err(_) => false,
        };
        if offered {
            let counted_at = counters.borrow().counted_at;
            sleep_until(counted_at.unwrap_or_else(Instant::now) + COUNTERS_SETTLE).await;
        }
    }

    /// Reads every device again, unless the broker counts meanwhile as many as have come. Messages of the broker's own expire when
    /// somebody asks for them, after they have been counted, and new ones come after the count: the count that we are given first
    /// may be off by a few, the next one is not.
    pub(super) async fn read_whole_or_count(
        &self,
        round: &mut Round,
        passes: usize,
    ) -> Result<(), PassError> {
        let lost = round.whole.last().is_some_and(|pass| pass.lost);
        let expired = round.expired();
        tokio::select! {
            read = self.read_whole(round, passes) => read,
            () = self.counted(expired), if !lost => Ok(()),
        }
    }

    /// Waits until the broker counts as many as have come.
    async fn counted(&self, expired: u64) {
        let mut counters = self.counters.clone();
        let mut ticks = counters.borrow().ticks;
        loop {
            match counters.wait_for(|counters| counters.ticks > ticks).await {
                Ok(latest) => ticks = latest.ticks,
                Err(_) => std::future::pending().await,
            }
            sleep(COUNTERS_SETTLE).await;
            if self.count_matches(expired) {
                return;
            }
        }
    }

    /// Waits until the broker has counted what came after `dropped_before`, if it counts at all.
    pub(super) async fn counters_prove(&self, round: &mut Round, dropped_before: Option<u64>) -> bool {
        let Some(dropped_before) = dropped_before else { return false };
        let mut counters = self.counters.clone();
        let ticks = counters.borrow().ticks;
        // What is returned borrows the counters and must be gone before the next wait: they are published by this thread.
        let next = timeout(COUNTERS_TIMEOUT, counters.wait_for(|counters| counters.ticks > ticks)).await;
        let counted = matches!(next, Ok(Ok(_)));
        drop(next);
        if !counted {
            return false;
        }
        sleep(COUNTERS_SETTLE).await;
        if self.is_settled(round) {
            return true;
        }
        let lost = round.whole.last().is_none_or(|pass| pass.lost);
        let replays = self.broker().replays;
        let is_whole = replays && !lost && !round.whole_refused && self.is_read_out(round);
        if self.counters.borrow().dropped == Some(dropped_before) && is_whole {
            round.proof = Some(Evidence::NothingDropped);
        }
        round.proof.is_some()
    }
}
