//! Everything from the store into the map, before the first answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{LoadSink, Store, StoreError, StoredDevice};
use crate::map::DeviceMap;

struct IntoMap {
    map: Arc<DeviceMap>,
    devices: AtomicU64,
}

impl LoadSink for IntoMap {
    fn expect(&self, devices: usize) {
        self.map.reserve(devices);
    }

    fn take(&self, devices: Vec<StoredDevice>) {
        self.devices.fetch_add(devices.len() as u64, Ordering::Relaxed);
        for StoredDevice { name, belief, heard_at } in devices {
            self.map.restore(name.device(), belief, heard_at);
        }
    }
}

/// Loads all devices and says how many there were.
///
/// If the store turns out to be damaged, what could be read of it stays in the map, and goes into the store begun anew.
pub async fn restore(store: &dyn Store, map: &Arc<DeviceMap>) -> Result<u64, StoreError> {
    let sink = Arc::new(IntoMap { map: Arc::clone(map), devices: AtomicU64::new(0) });
    match store.load(Arc::clone(&sink) as Arc<dyn LoadSink>).await {
        Ok(()) => {}
        Err(error @ StoreError::BegunAnew { .. }) => {
            tracing::error!(%error, "the store is damaged: what can be read of it is used, the broker gives the rest");
            map.mark_all_dirty();
        }
        Err(error) => return Err(error),
    }
    Ok(sink.devices.load(Ordering::Relaxed))
}
