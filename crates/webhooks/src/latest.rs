//! What `mode = "latest"` sends of a change: whether it still is the newest of its device is decided anew at each attempt, so
//! nothing has to be remembered of an outage, however long it is.
//!
//! The registry knows the newest state. If that has another status, a later change is on its way through the history, which is
//! read on after this one; so a disconnect of a device that is back is never sent.

use std::time::Duration;

use presence::{DeviceName, Status};
use server::freshness::RoundNumber;
use server::registry::{Arrival, DeviceRegistry, Snapshot};
use store::{ReadHistory, StoreError};

use crate::states::{Change, EventKey};

/// What has become of a change.
#[derive(Debug)]
pub enum Fate {
    /// It is the newest of its device.
    Newest,
    /// A later change of its device is sent in its place, further on.
    Overtaken,
    /// The device has the same status by a later event, which may not be sent on its own.
    Renewed(Box<Snapshot>),
}

/// What has become of a change by now, for an endpoint that receives disconnects once they have lasted that long.
pub async fn fate(
    change: &Change,
    settle: Duration,
    now_ms: i64,
    registry: &DeviceRegistry,
    history: &dyn ReadHistory,
) -> Result<Fate, StoreError> {
    let device = change.device.device();
    // Where others write the history, too, it may be ahead of the registry.
    let newest = registry.read(device, |record| {
        let mut state = record.state.clone();
        state.apply(change.device.event.clone());
        let (provenance, round) = (record.reception.provenance, RoundNumber::NONE);
        Snapshot::of_state(
            DeviceName::of(device),
            &state,
            Arrival { provenance, at: record.reception.received_at, round },
        )
    });
    let newest =
        newest.flatten().filter(|newest| EventKey::of(&newest.event) != EventKey::of(&change.device.event));
    let Some(newest) = newest else { return Ok(Fate::Newest) };
    if newest.status != change.device.status {
        let received_ms = i64::from(newest.received_at.0) * 1_000;
        let lasted_ms = now_ms.saturating_sub(received_ms);
        let may_be_cancelled = newest.status == Status::Disconnected
            && u128::try_from(lasted_ms).unwrap_or(0) <= settle.as_millis() + 1_000;
        return Ok(if may_be_cancelled && !settle.is_zero() { Fate::Newest } else { Fate::Overtaken });
    }
    if !settle.is_zero() {
        // The later event may have ended an outage that was never sent.
        return Ok(Fate::Renewed(Box::new(newest)));
    }
    // What is not placed in the history was read in memory, which has the later change, too.
    let Some(sequence) = change.sequence else { return Ok(Fate::Overtaken) };
    let last = history.history(DeviceName::of(device), None, 1).await?;
    let has_later = last.first().is_some_and(|row| row.sequence > sequence);
    Ok(if has_later { Fate::Overtaken } else { Fate::Renewed(Box::new(newest)) })
}
