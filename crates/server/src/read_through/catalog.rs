//! Tells the population which devices the store has. It runs on the thread of the source; what is read of the store is read
//! where all else is, so that no connection to the store ends with the source.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

use super::ReadThrough;
use crate::sync::DeviceCatalog;
use presence::Moment;
use presence::query::{Filter, Position, Query, Sort, SortBy};

/// What the store has, read on one runtime for tasks of another.
pub struct StoreCatalog {
    pub read_through: Arc<ReadThrough>,
    pub runtime: Handle,
}

impl DeviceCatalog for StoreCatalog {
    fn by_type(&self) -> BoxFuture<'_, Option<BTreeMap<String, u64>>> {
        let read_through = Arc::clone(&self.read_through);
        let counting = self.runtime.spawn(async move { read_through.totals().await });
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
        let read_through = Arc::clone(&self.read_through);
        let device_type = device_type.to_owned();
        let position = |id| Position { device_type: device_type.clone(), id, time: Moment::UNKNOWN };
        let query = Query {
            after: after.map(position),
            filter: Filter { types: vec![device_type], ..Filter::default() },
            sort: Sort { by: SortBy::Id, descending: false },
            limit,
        };
        let listing = self.runtime.spawn(async move { read_through.list(&query).await });
        async {
            let page = listing.await.ok()?.ok()?;
            Some(page.devices.into_iter().map(|device| device.id.into()).collect())
        }
        .boxed()
    }
}
