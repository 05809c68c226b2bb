//! What other parts read of a store: devices, for the read-through, and histories, for HTTP.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use presence::history::{EventPage, HistoryRow};
use presence::query::{Position, Total};
use presence::{Device, DeviceName};
use store::{Cursor, Page, Query, Store, StoredDevice};

use crate::history::{ReadError, ReadHistory};
use crate::read_through::{ReadDevices, Scan, Scanned};

/// The devices of any store, as they are recalled.
pub struct DevicesOf(pub Arc<dyn Store>);

impl ReadDevices for DevicesOf {
    fn named(&self, names: Vec<DeviceName>) -> BoxFuture<'_, Result<Vec<StoredDevice>, ReadError>> {
        Box::pin(async move { self.0.read(names).await.map_err(|error| ReadError(error.to_string())) })
    }

    fn listed(&self, scan: Scan) -> BoxFuture<'_, Result<Scanned, ReadError>> {
        let Scan { device_type, status, sort, after, limit } = scan;
        let after = after.map(|Position { device_type, id, time }| Cursor {
            name: DeviceName { device_type: device_type.into(), id: id.into() },
            time: time.nanos().unwrap_or(i64::MIN),
        });
        let query = Query { device_type, status, sort, after, limit };
        Box::pin(async move {
            let Page { devices, next } =
                self.0.list(query).await.map_err(|error| ReadError(error.to_string()))?;
            Ok(Scanned { devices, more: next.is_some() })
        })
    }

    fn totals(&self) -> BoxFuture<'_, Result<Vec<Total>, ReadError>> {
        Box::pin(async move { self.0.totals().await.map_err(|error| ReadError(error.to_string())) })
    }
}

/// The history of any store, as HTTP reads it.
pub struct HistoryOf(pub Arc<dyn Store>);

impl ReadHistory for HistoryOf {
    fn read<'a>(
        &'a self,
        device: Device<'a>,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<HistoryRow>, ReadError>> {
        let name = DeviceName { device_type: device.device_type.into(), id: device.id.into() };
        Box::pin(async move {
            self.0.history(name, before, limit).await.map_err(|error| ReadError(error.to_string()))
        })
    }

    fn read_after(&self, position: u64, limit: usize) -> BoxFuture<'_, Result<Option<EventPage>, ReadError>> {
        Box::pin(
            async move { self.0.events(position, limit).await.map_err(|error| ReadError(error.to_string())) },
        )
    }
}
