//! Where what is known of a device is found: in the map, or, if that holds only some devices and not this one, in the store.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::context::Context;
use formats::catalog::IOT_PLATFORM;
use formats::held::close_code;
use presence::query::{Page, Query, Sort};
use presence::{Device, DeviceName, DeviceState};
use server::freshness::RoundNumber;
use server::read_through::ReadThrough;
use server::registry::{NotHeld, Snapshot, Totals};
use serving::error::Error;

/// Which part of the totals an answer shows.
pub struct TotalsQuery {
    /// Types behind this one.
    pub after: Option<String>,
    pub types_max: usize,
    pub close_codes_max: usize,
}

/// The fleet in numbers, as far as one answer shows it.
pub struct TotalsPage {
    pub all: Totals,
    pub types_total: usize,
    /// By name.
    pub types: Vec<(Arc<str>, Totals)>,
    /// Whether more types follow.
    pub more: bool,
    /// By name.
    pub sources: Vec<(Arc<str>, Totals)>,
    pub close_codes: Vec<(u16, u64)>,
    /// Disconnected devices by the word for the cause, the most frequent first.
    pub causes: Vec<(&'static str, u64)>,
}

impl Context {
    /// Shows what is believed of a device, and in which round it was last heard of, to `read`, which should only copy;
    /// `None`: nothing was ever heard of it.
    pub async fn state<T>(
        &self,
        device: Device<'_>,
        read: impl Fn(&DeviceState, RoundNumber) -> T,
    ) -> Result<Option<T>, Error> {
        match (
            self.map.read_whole(device, |record| read(&record.state, record.freshness_round())),
            &self.read_through,
        ) {
            (Ok(known), _) => Ok(known),
            (Err(NotHeld), Some(read_through)) => Ok(read_through
                .read(device)
                .await?
                .map(|fetched| read(&fetched.state, fetched.arrival.round))),
            (Err(NotHeld), None) => Ok(None),
        }
    }

    /// What is known of a device; `None`: nothing was ever heard of it.
    pub async fn snapshot(&self, device: Device<'_>) -> Result<Option<Snapshot>, Error> {
        match (self.map.read_whole(device, Snapshot::of), &self.read_through) {
            (Ok(known), _) => Ok(known),
            (Err(NotHeld), Some(read_through)) => {
                Ok(read_through.read(device).await?.and_then(|fetched| fetched.snapshot()))
            }
            (Err(NotHeld), None) => Ok(None),
        }
    }

    /// What is known of many devices, in their order; the store is asked once.
    pub async fn snapshots(&self, devices: &[Device<'_>]) -> Result<Vec<Option<Snapshot>>, Error> {
        let (mut known, mut missing) = (Vec::with_capacity(devices.len()), Vec::new());
        for device in devices {
            known.push(self.map.read_whole(*device, Snapshot::of).unwrap_or_else(|NotHeld| {
                missing.push((known.len(), DeviceName::of(*device)));
                None
            }));
        }
        if let Some(read_through) = self.read_through.as_ref().filter(|_| !missing.is_empty()) {
            let (places, names): (Vec<usize>, Vec<_>) = missing.into_iter().unzip();
            for (place, fetched) in places.into_iter().zip(read_through.read_all(names).await?) {
                known[place] = fetched.and_then(|fetched| fetched.snapshot());
            }
        }
        Ok(known)
    }

    /// How many devices of a whole list are taken at once, if usually it is so many.
    pub fn listed_at_once(&self, sort: Sort, usual: usize) -> usize {
        if self.read_through.is_some() { ReadThrough::listed_at_once(sort, usual) } else { usual }
    }

    /// Part of a list.
    pub async fn list(&self, query: &Query) -> Result<Page<Snapshot>, Error> {
        match &self.read_through {
            None => {
                let mut listing = self.map.start_list(query);
                loop {
                    if let Some(page) = self.map.advance_list(&mut listing) {
                        return Ok(page);
                    }
                    tokio::task::yield_now().await;
                }
            }
            Some(read_through) => Ok(read_through.list(query).await?),
        }
    }

    /// The fleet in numbers.
    pub async fn totals(&self, query: &TotalsQuery) -> Result<TotalsPage, Error> {
        let TotalsQuery { after, types_max, close_codes_max } = query;
        // One more tells whether any follow.
        let want = types_max + 1;
        let mut page = if let Some(read_through) = &self.read_through {
            let totals = read_through.totals().await?;
            let passed = |(name, _): &(String, Totals)| after.as_ref().is_some_and(|after| name <= after);
            let types = &totals.types[totals.types.partition_point(passed)..];
            let types = types.iter().take(want).map(|(name, totals)| (name.as_str().into(), *totals));
            TotalsPage {
                all: totals.all,
                types_total: totals.types.len(),
                types: types.collect(),
                more: false,
                // Not all devices are held of this source alone.
                sources: vec![(IOT_PLATFORM.into(), totals.all)],
                causes: causes(&totals.close_codes),
                close_codes: totals.close_codes.iter().take(*close_codes_max).copied().collect(),
            }
        } else {
            TotalsPage {
                all: self.map.totals(),
                types_total: self.map.types_total(),
                types: self.map.totals_by_type(after.as_deref(), want),
                more: false,
                sources: self.map.totals_by_source(),
                causes: self.map.disconnected_by_cause(),
                close_codes: self.map.top_close_codes(*close_codes_max),
            }
        };
        page.more = page.types.len() > *types_max;
        page.types.truncate(*types_max);
        Ok(page)
    }

    /// Refuses what goes through all devices in memory, where not all are there.
    pub fn all_are_held(&self) -> Result<(), Error> {
        if self.read_through.is_some() { Err(Error::NotWithMapLimit) } else { Ok(()) }
    }
}

/// Devices by the cause that their close codes stand for.
fn causes(close_codes: &[(u16, u64)]) -> Vec<(&'static str, u64)> {
    let mut sums = BTreeMap::new();
    for (code, devices) in close_codes {
        *sums.entry(close_code::cause_class(*code)).or_default() += devices;
    }
    let mut causes: Vec<_> = sums.into_iter().collect();
    causes.sort_by_key(|(_, devices)| Reverse(*devices));
    causes
}
