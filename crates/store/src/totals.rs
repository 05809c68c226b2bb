//! Counting devices by going through all of them, for stores that cannot count by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{LoadSink, Store, StoreError, StoredDevice};
use presence::Status;
use presence::query::Total;

/// Counts the devices of a store.
pub(super) async fn count(store: &impl Store) -> Result<Vec<Total>, StoreError> {
    let counting = Arc::new(Counting::default());
    store.load(Arc::clone(&counting) as Arc<dyn LoadSink>).await?;
    Ok(counting.totals())
}

/// Type, whether connected, and close code.
type TotalsKey = (Arc<str>, bool, u16);

/// What was counted so far.
#[derive(Default)]
struct Counting(Mutex<BTreeMap<TotalsKey, u64>>);

impl Counting {
    fn totals(&self) -> Vec<Total> {
        let counted = std::mem::take(&mut *self.0.lock());
        let total = |((device_type, connected, close_code), devices): (TotalsKey, u64)| Total {
            device_type: device_type.to_string(),
            status: if connected { Status::Connected } else { Status::Disconnected },
            close_code,
            devices,
        };
        counted.into_iter().map(total).collect()
    }
}

impl LoadSink for Counting {
    fn expect(&self, _devices: usize) {}

    fn take(&self, devices: Vec<StoredDevice>) {
        let mut counted = self.0.lock();
        for StoredDevice { name, state, .. } in devices {
            let Some(resolved) = state.resolve() else { continue };
            let connected = resolved.status == Status::Connected;
            let close_code = if connected { 0 } else { resolved.event.close_code };
            *counted.entry((name.device_type, connected, close_code)).or_default() += 1;
        }
    }
}
