//! Reading the devices of a type by their names: which are asked for, and what it proves that all of them were.

use std::collections::BTreeSet;

use super::super::evidence::Evidence;
use super::super::pass::{PassError, PassReader};
use super::super::round::TypePasses;
use super::PopulationReader;
use crate::health::READ_TYPES_MAX;
use formats::catalog::Formats;
use presence::Device;

/// Filters in one SUBSCRIBE of devices by name: some 20 KB, which every broker takes.
const NAMES_MAX: u64 = 500;
/// How many SUBSCRIBEs of devices by name the broker may refuse before the rest of the type counts as not to be had.
const REFUSALS_MAX: usize = 16;

/// How devices are asked for by name: in ever smaller batches where the broker refuses.
struct Batches {
    size: usize,
    refusals: usize,
}

impl PopulationReader<'_> {
    /// Asks for each known device of the type that no pass has brought.
    pub(super) async fn ask_by_name(
        &self,
        reader: &mut PassReader<'_>,
        device_type: &str,
        read: &mut TypePasses,
    ) -> Result<Evidence, PassError> {
        let lowest = self.broker().limits.first().copied().unwrap_or(NAMES_MAX);
        let size = usize::try_from(NAMES_MAX.min(lowest.saturating_sub(1)).max(1)).unwrap_or(1);
        let mut batches = Batches { size, refusals: 0 };
        let missing = self.missing_topics(device_type);
        if !self.ask_for(reader, missing, &mut batches).await?
            || !self.ask_for_catalog(reader, device_type, read, &mut batches).await?
        {
            return Ok(Evidence::Missing);
        }
        Ok(self.known_beforehand(device_type))
    }

    /// Says whether all could be asked for.
    async fn ask_for(
        &self,
        reader: &mut PassReader<'_>,
        mut topics: Vec<String>,
        batches: &mut Batches,
    ) -> Result<bool, PassError> {
        while !topics.is_empty() {
            let names = topics.split_off(topics.len().saturating_sub(batches.size));
            match reader.read(&names).await {
                Ok(pass) if pass.lost => return Ok(false),
                Ok(_) => reader.leave(&names).await,
                Err(error) if error.is_refusal() && batches.size > 1 && batches.refusals < REFUSALS_MAX => {
                    batches.refusals += 1;
                    batches.size = batches.size.div_ceil(4);
                    topics.extend(names);
                }
                Err(error) if error.is_refusal() => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Asks for what the store has of the type and the registry does not show to have been heard of, once in a round, unless the
    /// passes brought as many devices as the store has. What was brought and is not written yet makes that uncertain; it is
    /// written by the next round.
    async fn ask_for_catalog(
        &self,
        reader: &mut PassReader<'_>,
        device_type: &str,
        read: &mut TypePasses,
        batches: &mut Batches,
    ) -> Result<bool, PassError> {
        let Some(catalog) = self.source.catalog.as_ref().filter(|_| !read.catalog_is_asked_for) else {
            return Ok(true);
        };
        let brought = read.passes.last().map_or(0, |pass| pass.retained);
        let number = catalog.by_type().await.and_then(|types| types.get(device_type).copied());
        // A store that cannot be read proves nothing, and is asked again in the next sweep.
        if number.is_none_or(|number| number <= brought) {
            return Ok(true);
        }
        let limit = usize::try_from(NAMES_MAX).unwrap_or(1);
        let received: BTreeSet<String> =
            self.source.registry.ids_in_round(device_type, true).into_iter().collect();
        let mut after = None;
        loop {
            let Some(ids) = catalog.ids_of(device_type, after, limit).await else { return Ok(true) };
            after = ids.last().cloned();
            let is_last = ids.len() < limit;
            let missing = ids.iter().filter(|id| !received.contains(*id));
            let topics = missing.map(|id| Formats::topic_of(Device { device_type, id })).collect();
            if !self.ask_for(reader, topics, batches).await? {
                return Ok(false);
            }
            if is_last {
                read.catalog_is_asked_for = true;
                return Ok(true);
            }
        }
    }

    /// Finds out of which types the store has devices, where the registry does not hold all.
    pub(super) async fn learn_catalog_types(&self) {
        let Some(catalog) = &self.source.catalog else { return };
        if let Some(types) = catalog.by_type().await {
            // One more tells that they are too many.
            *self.source.catalog_types.lock() = types.into_keys().take(READ_TYPES_MAX + 1).collect();
        }
    }

    /// The topics of devices that are listed or in the registry, and not heard of in this round.
    fn missing_topics(&self, device_type: &str) -> Vec<String> {
        let (registry, listed) =
            (&self.source.registry, self.source.settings.population.devices.get(device_type));
        let mut missing: BTreeSet<String> = registry.ids_in_round(device_type, false).into_iter().collect();
        if let Some(listed) = listed {
            let received: BTreeSet<String> = registry.ids_in_round(device_type, true).into_iter().collect();
            missing.extend(listed.iter().filter(|id| !received.contains(*id)).cloned());
        }
        missing.iter().map(|id| Formats::topic_of(Device { device_type, id })).collect()
    }

    /// What it says for a type that each device known beforehand has been asked for.
    fn known_beforehand(&self, device_type: &str) -> Evidence {
        if self.source.registry.evicted_in_round() {
            // Who else was heard of is no longer known.
            return Evidence::None;
        }
        if let Some(listed) = self.source.settings.population.devices.get(device_type) {
            let listed: BTreeSet<&String> = listed.iter().collect();
            let received = self.source.registry.ids_in_round(device_type, true);
            if received.is_empty() && !self.broker().replays {
                return Evidence::None;
            }
            return if received.iter().all(|id| listed.contains(id)) {
                Evidence::ListedDevices
            } else {
                Evidence::None
            };
        }
        match self.source.registry.round_count(device_type) {
            Some(count) if count.before > 0 && count.total == count.before => Evidence::KnownDevices,
            Some(_) | None => Evidence::None,
        }
    }
}
