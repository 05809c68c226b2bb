//! Reading the devices of a type by their names: which are asked for, and what it proves that all of them were.

use std::collections::BTreeSet;

use super::super::evidence::Evidence;
use super::super::pass::{PassError, Reader};
use super::Population;
use crate::decode::iot_platform;

/// Filters in one SUBSCRIBE of devices by name: some 20 KB, which every broker takes.
const NAMES_MAX: u64 = 500;
/// How many SUBSCRIBEs of devices by name the broker may refuse before the rest of the type counts as not to be had.
const REFUSALS_MAX: usize = 16;

impl Population<'_> {
    /// Asks for each known device of the type that no pass has brought, in ever smaller batches where that is refused.
    pub(super) async fn ask_by_name(
        &self,
        reader: &mut Reader<'_>,
        device_type: &str,
    ) -> Result<Evidence, PassError> {
        let mut topics = self.missing_topics(device_type);
        let lowest = self.limits().first().copied().unwrap_or(NAMES_MAX);
        let mut batch = usize::try_from(NAMES_MAX.min(lowest.saturating_sub(1)).max(1)).unwrap_or(1);
        let mut refusals = 0;
        while !topics.is_empty() {
            let names = topics.split_off(topics.len().saturating_sub(batch));
            match reader.read(&names).await {
                Ok(pass) if pass.lost => return Ok(Evidence::Missing),
                Ok(_) => reader.leave(&names).await,
                Err(error) if error.is_refusal() && batch > 1 && refusals < REFUSALS_MAX => {
                    refusals += 1;
                    batch = batch.div_ceil(4);
                    topics.extend(names);
                }
                Err(error) if error.is_refusal() => return Ok(Evidence::Missing),
                Err(error) => return Err(error),
            }
        }
        Ok(self.known_beforehand(device_type))
    }

    /// The topics of devices that are listed or in the map, and not heard of in this round.
    fn missing_topics(&self, device_type: &str) -> Vec<String> {
        let (map, listed) = (&self.source.map, self.source.settings.population.devices.get(device_type));
        let mut missing: BTreeSet<String> = map.ids_in_round(device_type, false).into_iter().collect();
        if let Some(listed) = listed {
            let heard: BTreeSet<String> = map.ids_in_round(device_type, true).into_iter().collect();
            missing.extend(listed.iter().filter(|id| !heard.contains(*id)).cloned());
        }
        missing.iter().map(|id| iot_platform::topic(device_type, id)).collect()
    }

    /// What it says for a type that each device known beforehand has been asked for.
    fn known_beforehand(&self, device_type: &str) -> Evidence {
        if self.source.map.evicted_in_round() {
            // Who else was heard of is no longer known.
            return Evidence::None;
        }
        if let Some(listed) = self.source.settings.population.devices.get(device_type) {
            let listed: BTreeSet<&String> = listed.iter().collect();
            let heard = self.source.map.ids_in_round(device_type, true);
            return if heard.iter().all(|id| listed.contains(id)) {
                Evidence::ListedDevices
            } else {
                Evidence::None
            };
        }
        let counts = self.source.map.round_counts();
        let count = counts.iter().find(|count| count.device_type == device_type);
        match count {
            Some(count) if count.before > 0 && count.total == count.before => Evidence::KnownDevices,
            Some(_) | None => Evidence::None,
        }
    }
}
