//! Reading the devices type by type: several types side by side, each until there is evidence or nothing more to try.

use std::cell::RefCell;
use std::collections::VecDeque;

use futures_util::future::try_join_all;

use super::super::evidence::{Evidence, Pass, judge};
use super::super::pass::{PassError, PassReader};
use super::super::round::{Round, TypePasses};
use super::{PASSES_MAX, PopulationReader};
use formats::catalog::Formats;
use system::sentence;

impl PopulationReader<'_> {
    /// Reads each type that is not proven yet, several side by side where each must be waited for in silence.
    pub(super) async fn read_types(&self, round: &mut Round) -> Result<(), PassError> {
        let open: VecDeque<String> =
            self.source.known_types().into_iter().filter(|t| !round.is_proven(t)).collect();
        let connections =
            if self.behavior.pong_is_end_mark() { 1 } else { self.source.settings.population.connections };
        let total = open.len();
        let lost = round.whole.last().is_some_and(|pass| pass.lost);
        let expired = round.expired();
        let queue = RefCell::new(open);
        let types = RefCell::new(std::mem::take(&mut round.types));
        let workers = (0..connections.min(total)).map(|number| {
            let (queue, types) = (&queue, &types);
            async move {
                let role = format!("type{number}");
                let mut reader = PassReader::new(self.source, self.dialer, &role, self.behavior);
                // The broker may count itself meanwhile.
                while lost || !self.count_matches(expired) {
                    let Some(device_type) = queue.borrow_mut().pop_front() else { break };
                    self.source.health.population_progress(total - queue.borrow().len() - 1, total);
                    let mut read = types.borrow_mut().remove(&device_type).unwrap_or_default();
                    self.read_type(&mut reader, &device_type, &mut read).await?;
                    types.borrow_mut().insert(device_type, read);
                }
                reader.close().await;
                Ok(())
            }
        });
        let result = try_join_all(workers).await;
        round.types = types.into_inner();
        round.types_read_last = true;
        self.source.health.population_progress(total, total);
        result.map(|_: Vec<()>| ())
    }

    async fn read_type(
        &self,
        reader: &mut PassReader<'_>,
        device_type: &str,
        read: &mut TypePasses,
    ) -> Result<(), PassError> {
        let filter = [Formats::filter_of_type(device_type)];
        let before = read.passes.len();
        loop {
            let done = read.passes.len() - before;
            // What ended early proves nothing alone.
            let is_early = read.passes.last().is_some_and(|pass| pass.early_silence.is_some());
            if done >= if is_early { PASSES_MAX } else { self.passes() } {
                break;
            }
            let known_of = self.known_of(device_type);
            match reader.read(&filter).await {
                Ok(pass) => {
                    let brought = Some(pass.retained).filter(|&retained| retained > 0 && !pass.lost);
                    let is_confirmed = brought == known_of && brought == self.known_of(device_type);
                    let pass = Pass { is_confirmed: is_confirmed && brought.is_some(), ..pass };
                    self.behavior.note_answer(&filter, pass.retained);
                    read.passes.push(self.seen(pass, &read.passes));
                }
                Err(error) if error.is_refusal() => {
                    tracing::warn!(device_type, "a type can be read only by name: {}", sentence(&error));
                    read.refused = true;
                    break;
                }
                Err(error) => return Err(error),
            }
            if judge(&read.passes, self.broker()) >= Evidence::NothingReplayed {
                break;
            }
        }
        if read.passes.len() > before {
            reader.leave(&filter).await;
        }
        let by_passes = if read.refused { Evidence::Missing } else { judge(&read.passes, self.broker()) };
        read.evidence = Some(if by_passes.is_proof() {
            by_passes
        } else {
            by_passes.max(self.ask_by_name(reader, device_type, read).await?)
        });
        Ok(())
    }

    /// How many devices of the type were heard of in this round; `None` if nobody can tell, as where devices are let go, or where
    /// another link has begun a round of its own.
    fn known_of(&self, device_type: &str) -> Option<u64> {
        let (source, registry) = (self.source, &self.source.registry);
        let can_tell = !registry.evicted_in_round() && source.round() == registry.round();
        can_tell.then(|| registry.round_count(device_type).map_or(0, |count| count.received))
    }

    pub(super) fn unread_types(&self, round: &Round) -> usize {
        self.source.known_types().into_iter().filter(|t| !round.types.contains_key(t)).count()
    }
}
