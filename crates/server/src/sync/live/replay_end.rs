//! The end of the replay that comes with the live subscription: told as soon as it seems to have come, and watched for longer.

use std::collections::BTreeSet;

use tokio::time::Instant;

use super::super::broker_behavior::{ReplayBehavior, shows_replay};
use super::super::replay::Replay;
use super::{Live, LiveEvent, LiveReplay};
use crate::freshness::RoundNumber;
use system::backoff::Backoff;

impl Live<'_> {
    /// The replay of the subscription that has just been asked for.
    pub(super) fn begin_replay(&self, round: Option<RoundNumber>) -> Replay {
        let settings = &self.source.settings;
        let lowest_limit = settings.population.replay_limits.first().copied();
        let quiet = self.behavior.live_quiet_interval(settings.quiet_interval, lowest_limit);
        if round.is_some() {
            self.behavior.live_begins();
        }
        Replay::new(self.source.next_pass(), quiet, false, Instant::now())
    }

    /// Tells the end of the replay as soon as it seems to be over, and watches on until nothing came for as long as the operator
    /// has set. `event`: what is told; nothing, if the replay belongs to no round.
    pub(super) fn replay_silent(
        &self,
        watched: &mut Option<Replay>,
        backoff: &mut Backoff,
        event: impl FnOnce(&Replay) -> Option<LiveEvent>,
    ) {
        let Some(replay) = watched else { return };
        let event = event(replay);
        let is_of_round = event.is_some();
        event.into_iter().filter(|_| !replay.is_reported()).for_each(|event| self.notify(event));
        if replay.early_silence().is_some() {
            self.behavior.live_seems_over(replay.longest_pause());
            replay.watch_on();
            return;
        }
        // It held long enough: a broker that breaks every subscription at once is asked ever more rarely.
        backoff.reset();
        if is_of_round {
            self.behavior.live_is_over(ReplayBehavior::of(replay));
        }
        *watched = None;
    }
}

/// What is told of it.
pub(super) fn replay_over(
    replay: &Replay,
    round: RoundNumber,
    of_every_device: bool,
    filters: &BTreeSet<String>,
) -> LiveEvent {
    let Replay { pass, lost, started, retained, .. } = *replay;
    let early_silence = replay.early_silence();
    let shows_replay = shows_replay(filters, retained);
    LiveEvent::ReplayOver(LiveReplay {
        pass,
        lost,
        early_silence,
        is_fenced: replay.is_fenced(),
        shows_replay,
        of_every_device,
        started,
        round,
    })
}
