//! Forgets one device because an administrator wants it to be, in the map and in the store.

use std::time::Duration;

use tokio::time::timeout;

use super::writer::Writer;
use crate::removal::{Removal, StoreFailed};
use presence::{Device, DeviceName};

/// How long the store may take to drop one device.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Writer {
    /// Forgets a device, just after everything that was known of it has been written: so nothing of it is on its way to the
    /// store, and what comes from now on is written after it was dropped there.
    pub async fn remove(&self, removal: Removal) {
        let Removal { device_type, id, done } = removal;
        if done.is_closed() {
            return;
        }
        let device = Device { device_type: &device_type, id: &id };
        let name = DeviceName { device_type: device_type.as_str().into(), id: id.as_str().into() };
        // Where only some devices are held, what is read from the store meanwhile would come back.
        if !self.map.is_limited() {
            self.map.forget_device(device, |record| self.feed.publish_removal(record));
        }
        let dropped = match timeout(REMOVE_TIMEOUT, self.store.forget(vec![name], None)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("the store does not answer".to_owned()),
        };
        if self.map.is_limited() && dropped.is_ok() {
            self.map.forget_device(device, |_| ());
        }
        let outcome = dropped.map_err(|error| {
            self.metrics.store.failures.inc();
            tracing::warn!(device_type, id, error, "the store does not forget a device");
            StoreFailed
        });
        if outcome.is_ok() {
            self.metrics.store.devices_forgotten.inc();
            tracing::info!(device_type, id, "a device is forgotten because an administrator wants it to be");
        }
        // Whoever asked may have given up.
        let _ = done.send(outcome);
    }
}
