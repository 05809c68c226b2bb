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

/// What devices have in common that are counted together.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct TotalsKey {
    device_type: Arc<str>,
    is_connected: bool,
    close_code: u16,
}

/// What was counted so far.
#[derive(Default)]
struct Counting(Mutex<BTreeMap<TotalsKey, u64>>);

impl Counting {
    fn totals(&self) -> Vec<Total> {
        let counted = std::mem::take(&mut *self.0.lock());
        let total = |(key, devices): (TotalsKey, u64)| Total {
            device_type: key.device_type.to_string(),
            status: if key.is_connected { Status::Connected } else { Status::Disconnected },
            close_code: key.close_code,
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
            let is_connected = resolved.status == Status::Connected;
            let close_code = if is_connected { 0 } else { resolved.event.close_code };
            let key = TotalsKey { device_type: name.device_type, is_connected, close_code };
            *counted.entry(key).or_default() += 1;
        }
    }
}
