//! Tells the population which devices the store has. It runs on the thread of the source; what is read of the store is read
//! where all else is, so that no connection to the store ends with the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::Recall;
use crate::sync::KeptDevices;
use presence::Moment;
use presence::query::{Filter, Position, Query, Sort, SortBy};

/// What the store has, read on one runtime for tasks of another.
pub struct KeptInStore {
    pub recall: Arc<Recall>,
    pub runtime: Handle,
}

impl KeptDevices for KeptInStore {
    fn by_type(&self) -> BoxFuture<'_, Option<BTreeMap<String, u64>>> {
        let recall = Arc::clone(&self.recall);
        let counting = self.runtime.spawn(async move { recall.totals().await });
        async {
            let totals = counting.await.ok()?.ok()?;
            Some(totals.types.iter().map(|(device_type, own)| (device_type.clone(), own.total())).collect())
        }
        .boxed()
    }

    fn ids_of<'a>(
        &'a self,
        device_type: &'a str,
        after: Option<String>,
        limit: usize,
    ) -> BoxFuture<'a, Option<Vec<String>>> {
        let recall = Arc::clone(&self.recall);
        let device_type = device_type.to_owned();
        let position = |id| Position { device_type: device_type.clone(), id, time: Moment::UNKNOWN };
        let query = Query {
            after: after.map(position),
            filter: Filter { types: vec![device_type], ..Filter::default() },
            sort: Sort { by: SortBy::Id, descending: false },
            limit,
        };
        let listing = self.runtime.spawn(async move { recall.list(&query).await });
        async {
            let page = listing.await.ok()?.ok()?;
            Some(page.devices.into_iter().map(|device| device.id.into()).collect())
        }
        .boxed()
    }
}
