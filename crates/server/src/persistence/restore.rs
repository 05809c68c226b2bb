//! Everything from the store into the registry, before the first answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::registry::DeviceRegistry;
use presence::UnixSeconds;
use store::{LoadSink, Store, StoreError, StoredDevice};

/// What was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    pub devices: u64,
    /// When the newest message that changed something was received; `None` without devices.
    pub newest_received_at: Option<UnixSeconds>,
}

struct IntoMap {
    registry: Arc<DeviceRegistry>,
    devices: AtomicU64,
    newest_received_at: AtomicU32,
}

impl LoadSink for IntoMap {
    fn expect(&self, devices: usize) {
        self.registry.begin_restoring(devices);
    }

    fn take(&self, devices: Vec<StoredDevice>) {
        self.devices.fetch_add(devices.len() as u64, Ordering::Relaxed);
        let newest = devices.iter().map(|device| device.received_at.0).max().unwrap_or(0);
        self.newest_received_at.fetch_max(newest, Ordering::Relaxed);
        self.registry.restore_all(devices);
    }
}

/// Loads all devices.
///
/// If the store turns out to be damaged, what could be read of it stays in the registry, and goes into the store begun anew.
pub async fn restore(store: &dyn Store, registry: &Arc<DeviceRegistry>) -> Result<RestoreReport, StoreError> {
    let sink = Arc::new(IntoMap {
        registry: Arc::clone(registry),
        devices: AtomicU64::new(0),
        newest_received_at: AtomicU32::new(0),
    });
    let loaded = store.load(Arc::clone(&sink) as Arc<dyn LoadSink>).await;
    registry.end_restoring();
    match loaded {
        Ok(()) => {}
        Err(error @ StoreError::BegunAnew { .. }) => {
            tracing::error!(%error, "the store is damaged: what can be read of it is used, the broker gives the rest");
            registry.mark_all_dirty();
        }
        Err(error) => return Err(error),
    }
    let devices = sink.devices.load(Ordering::Relaxed);
    let newest_received_at = UnixSeconds(sink.newest_received_at.load(Ordering::Relaxed));
    Ok(RestoreReport { devices, newest_received_at: (devices > 0).then_some(newest_received_at) })
}
