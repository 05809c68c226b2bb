//! What `mode = "latest"` sends of a change: whether it still is the newest of its device is decided anew at each attempt, so
//! nothing has to be remembered of an outage, however long it is.
//!
//! The registry knows the newest state. If that has another status, a later change is on its way through the history, which is
//! read on after this one; so a disconnect of a device that is back is never sent.

use presence::history::HistoryRow;
use presence::{DeviceName, Status};
use server::freshness::RoundNumber;
use server::registry::{Arrival, DeviceRegistry, Snapshot};
use store::{REPEATS_WITHIN, ReadHistory, StoreError};

use crate::settings::{EndpointSettings, EventType};
use crate::states::{EventKey, Occurrence, StateChange};

/// What has become of a change.
#[derive(Debug)]
pub enum ChangeFate {
    /// It is the newest of its device.
    Newest,
    /// A later change of its device is sent in its place, further on.
    Overtaken,
    /// The device has the same status by a later event, which may not be sent on its own.
    Renewed(Box<Snapshot>),
}

/// What has become of a change by now, for that endpoint.
pub async fn fate(
    change: &StateChange,
    endpoint: &EndpointSettings,
    now_ms: i64,
    registry: &DeviceRegistry,
    history: &dyn ReadHistory,
) -> Result<ChangeFate, StoreError> {
    let name = DeviceName::of(change.device.device());
    let newest = newest_of(change, registry);
    match change.what {
        Occurrence::Changed => {}
        Occurrence::FirstSeen(_) => {
            return Ok(newest.map_or(ChangeFate::Newest, |newest| ChangeFate::Renewed(Box::new(newest))));
        }
        // Nobody needs to hear of a refused login after whatever the device has done next.
        Occurrence::Refused(_) => {
            let last = history.history(name, None, 1).await?;
            let has_later = last.first().zip(change.sequence).is_some_and(|(row, own)| row.sequence > own);
            return Ok(if has_later { ChangeFate::Overtaken } else { ChangeFate::Newest });
        }
    }
    let Some(newest) = newest else { return Ok(ChangeFate::Newest) };
    let settle = endpoint.settle;
    if newest.status != change.device.status {
        let received_ms = i64::from(newest.received_at.0) * 1_000;
        let lasted_ms = now_ms.saturating_sub(received_ms);
        let may_be_cancelled = newest.status == Status::Disconnected
            && u128::try_from(lasted_ms).unwrap_or(0) <= settle.as_millis() + 1_000;
        return Ok(if may_be_cancelled && !settle.is_zero() {
            ChangeFate::Newest
        } else {
            ChangeFate::Overtaken
        });
    }
    let hears_of_sessions = [EventType::Connected, EventType::SessionChanged].map(|one| endpoint.wants(one));
    let is_later_sent = newest.status == Status::Disconnected || hears_of_sessions == [true, true];
    if !settle.is_zero() || !is_later_sent {
        // The later event may have ended an outage that was never sent, or may be of a type that the endpoint has not chosen.
        return Ok(ChangeFate::Renewed(Box::new(newest)));
    }
    // What is not placed in the history was read in memory, which has the later change, too.
    let Some(sequence) = change.sequence else { return Ok(ChangeFate::Overtaken) };
    let rows = history.history(name, None, REPEATS_WITHIN).await?;
    // What comes after it in the history need not be what decides: a refused login changes nothing.
    let decides =
        |row: &HistoryRow| row.sequence > sequence && EventKey::of(&row.event) == EventKey::of(&newest.event);
    Ok(if rows.iter().any(decides) { ChangeFate::Overtaken } else { ChangeFate::Renewed(Box::new(newest)) })
}

/// The device as it is by now; `None`: as the change has left it, or it is not known any more.
fn newest_of(change: &StateChange, registry: &DeviceRegistry) -> Option<Snapshot> {
    let device = change.device.device();
    // Where others write the history, too, it may be ahead of the registry.
    let newest = registry.read(device, |record| {
        let mut state = record.state.clone();
        state.apply(change.device.event.clone());
        let (provenance, round) = (record.reception.provenance, RoundNumber::NONE);
        let arrival = Arrival { provenance, at: record.reception.received_at, round };
        Snapshot::of_state(DeviceName::of(device), &state, arrival)
    });
    newest.flatten().filter(|newest| EventKey::of(&newest.event) != EventKey::of(&change.device.event))
}
