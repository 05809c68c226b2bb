//! Forgets devices in the registry and in the store: one because an administrator asked for it, or those that messages of
//! their sources have removed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::writer::Writer;
use crate::clock;
use crate::feed::RemovalReason;
use crate::health::{Health, PeerHealth};
use crate::registry::Record;
use crate::removal::{Removal, StoreFailed};
use formats::status;
use presence::{Device, DeviceName};
use store::ForgottenDevice;

/// How long the store may take to delete one device.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the tombstone of a shared store may take to come back, and how often it is looked for.
const TOMBSTONE_TIMEOUT: Duration = Duration::from_secs(4);
const TOMBSTONE_POLL: Duration = Duration::from_millis(20);

/// A shared store tells old events of other instances from new ones by the second in which they were received. The answer waits
/// for the next second, so that whatever a device says after it counts as new.
const NEXT_SECOND: Duration = Duration::from_secs(1);

impl Writer {
    /// Forgets a device, just after everything that was known of it has been written: so nothing of it is on its way to the
    /// store, and what comes from now on is written after it was deleted there.
    ///
    /// Where others share the store, this instance drops the device as they do: when its tombstone comes with the changes.
    pub async fn remove(&self, removal: Removal, answers: &Handle) {
        let Removal { device_type, id, done } = removal;
        if done.is_closed() {
            return;
        }
        let device = Device { device_type: &device_type, id: &id };
        let forgotten = ForgottenDevice { name: DeviceName::of(device), at: clock::now() };
        let is_shared = self.health.peer_health() != PeerHealth::Off;
        // Where only some devices are held, what is read from the store meanwhile would come back.
        if !is_shared && !self.registry.is_limited() {
            self.registry.forget_device(device, |record| self.publish_forgotten(record));
        }
        let deleted = match timeout(REMOVE_TIMEOUT, self.store.forget(forgotten)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_elapsed) => Err("the store does not answer".to_owned()),
        };
        if let Err(error) = deleted {
            self.metrics.store.failures.inc();
            tracing::warn!(device_type, id, error, "the store does not forget a device");
            // The request may have ended.
            let _ = done.send(Err(StoreFailed));
            return;
        }
        if !is_shared && self.registry.is_limited() {
            self.registry.forget_device(device, |record| self.events.drop_device(record.device()));
        }
        self.metrics.store.devices_forgotten.inc();
        tracing::info!(device_type, id, "a device is forgotten because an administrator asked for it");
        if is_shared {
            answers.spawn(answer_once_dropped(Arc::clone(&self.health), done));
        } else {
            let _ = done.send(Ok(()));
        }
    }
}

/// Devices that are forgotten between two flushes because their sources have removed them.
const REMOVED_AT_ONCE: usize = 256;

impl Writer {
    /// Forgets devices that their sources have removed, unless they are back, and says whether there may be more. Just after a
    /// flush, as the other.
    pub async fn forget_removed(&self) -> bool {
        let is_shared = self.health.peer_health() != PeerHealth::Off;
        let removed = self.registry.take_removed(REMOVED_AT_ONCE);
        let may_be_more = removed.len() == REMOVED_AT_ONCE;
        let mut removed = removed.into_iter();
        while let Some(name) = removed.next() {
            let device = name.device();
            let is_gone = if is_shared {
                // Each instance drops it when the tombstone comes with the changes.
                !self.registry.read(device, is_back).unwrap_or_default()
            } else {
                self.registry.forget_removed(device, is_back, |record| self.publish_forgotten(record))
            };
            if !is_gone {
                continue;
            }
            let forgotten = ForgottenDevice { name: name.clone(), at: clock::now() };
            if !matches!(timeout(REMOVE_TIMEOUT, self.store.forget(forgotten)).await, Ok(Ok(()))) {
                self.metrics.store.failures.inc();
                [name].into_iter().chain(removed).for_each(|name| {
                    self.registry.note_removed(name.device());
                });
                return false;
            }
            self.metrics.store.devices_forgotten.inc();
        }
        may_be_more
    }

    /// Publishes that a device is forgotten, and drops its events that came since the flush. Its shard is locked, so no
    /// further ones come meanwhile.
    fn publish_forgotten(&self, record: &Record<'_>) {
        self.events.drop_device(record.device());
        self.feed.publish_removal(record, RemovalReason::Forgotten);
    }
}

/// Whether something was received of a device since its source removed it.
fn is_back(record: &Record<'_>) -> bool {
    let event = record.resolve().event;
    event.payload.source().is_none()
        || !status::read(&event.payload.document()).is_some_and(|status| status.is_removed())
}

/// Answers when this instance has read every change up to now, and so has dropped the device.
async fn answer_once_dropped(health: Arc<Health>, done: oneshot::Sender<Result<(), StoreFailed>>) {
    let deleted_at = Instant::now().into_std();
    sleep(NEXT_SECOND).await;
    let dropped = async {
        while !matches!(health.peer_health(), PeerHealth::Current { at } if at >= deleted_at) {
            sleep(TOMBSTONE_POLL).await;
        }
    };
    let dropped = timeout(TOMBSTONE_TIMEOUT, dropped).await;
    let _ = done.send(dropped.map_err(|_elapsed| StoreFailed));
}
