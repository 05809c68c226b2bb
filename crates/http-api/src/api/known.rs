//! Where what is known of a device is found: in the map, or, if that holds only some devices and not this one, in the store.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::Error;
use crate::error::refusal::RequestRefusal;
use presence::query::{Query, Sort};
use presence::{Device, DeviceName, DeviceState};
use server::freshness::RoundNumber;
use server::read_through::{FleetTotals, ReadThrough, Unavailable};
use server::registry::{NotHeld, Page, Snapshot};

/// How many requests gather the totals of all types at once; further ones wait. There can be many types, so it is done where
/// nothing else waits for the thread.
static GATHERED_AT_ONCE: Semaphore = Semaphore::const_new(2);

impl From<Unavailable> for Error {
    fn from(Unavailable: Unavailable) -> Self {
        Error::StoreUnavailable
    }
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
            self.map.read_whole(device, |record| read(&record.state, record.received_in)),
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
    pub async fn list(&self, query: &Query) -> Result<Page, Error> {
        match &self.read_through {
            None => Ok(self.map.list(query)),
            Some(read_through) => Ok(read_through.list(query).await?),
        }
    }

    /// The whole fleet in numbers, with so many close codes.
    pub async fn totals(&self, close_codes: usize) -> Result<FleetTotals, Error> {
        let Some(read_through) = &self.read_through else {
            let _gathering = GATHERED_AT_ONCE.acquire().await.expect("the semaphore is never closed");
            let map = Arc::clone(&self.map);
            let gathered = tokio::task::spawn_blocking(move || {
                let (all, types) = (map.totals(), map.totals_by_type());
                FleetTotals { all, types, close_codes: map.top_close_codes(close_codes) }
            });
            return gathered.await.map_err(|_panic| RequestRefusal::Internal.into());
        };
        let mut totals = FleetTotals::clone(&*read_through.totals().await?);
        totals.close_codes.truncate(close_codes);
        Ok(totals)
    }

    /// Refuses what goes through all devices in memory, where not all are there.
    pub fn all_are_held(&self) -> Result<(), Error> {
        if self.read_through.is_some() { Err(Error::NotWithMapLimit) } else { Ok(()) }
    }
}
