//! Sessions that began and ended since the start, for the series: counted as they come, read every ten seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use formats::Cause;
use formats::held::close_code;
use presence::{EventKind, Status};

use super::types::DeviceType;
use super::{Applied, DeviceRegistry, Record, Totals, platform_close_code};

/// Causes of the end of a session, in the order of [`Cause::ALL`]; the last place is for unknown ones.
pub const CAUSES: usize = Cause::ALL.len() + 1;

/// Sessions of one type.
#[derive(Debug, Default)]
pub(super) struct SessionCounts {
    connects: AtomicU64,
    disconnects: AtomicU64,
}

/// Sessions of the fleet.
#[derive(Debug, Default)]
pub(super) struct FleetSessions {
    connects: AtomicU64,
    disconnects: [AtomicU64; CAUSES],
}

/// What has been counted of a group of devices up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub now: Totals,
    /// Sessions that have begun since the start.
    pub connects: u64,
    /// Sessions that have ended; one that was taken over has ended, too.
    pub disconnects: u64,
}

/// What has been counted of the fleet up to now.
#[derive(Clone, Debug)]
pub struct FleetCounted {
    pub all: Counted,
    /// The ends by cause.
    pub causes: [u64; CAUSES],
    /// Of the types that came first, [`super::types::MERGED_TYPES_MAX`] at most.
    pub types: Vec<(Arc<str>, Counted)>,
}

/// The place of a cause among [`CAUSES`].
pub(super) fn place_of_cause(close_code: Option<u16>) -> usize {
    let cause = close_code.and_then(close_code::cause);
    cause.and_then(|cause| Cause::ALL.iter().position(|one| *one == cause)).unwrap_or(Cause::ALL.len())
}

impl DeviceRegistry {
    /// Counts an event that was received live.
    pub(super) fn count_session(&self, device_type: &DeviceType, kind: EventKind, close_code: Option<u16>) {
        match kind {
            EventKind::Connect => {
                self.sessions.connects.fetch_add(1, Ordering::Relaxed);
                device_type.sessions.connects.fetch_add(1, Ordering::Relaxed);
            }
            EventKind::Disconnect | EventKind::Takeover => {
                let place = place_of_cause(close_code);
                self.sessions.disconnects[place].fetch_add(1, Ordering::Relaxed);
                device_type.sessions.disconnects.fetch_add(1, Ordering::Relaxed);
            }
            EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => {}
        }
    }

    /// Counts a change that another instance has written before the broker told it here, or that is told to that one only.
    pub(super) fn count_peer_change(&self, record: &Record, applied: Applied) {
        let Applied::Changed { from: Some(_), to } = applied else { return };
        let kind = match to {
            Status::Connected => EventKind::Connect,
            Status::Disconnected => EventKind::Disconnect,
        };
        self.count_session(&record.device_type, kind, platform_close_code(record.resolve().event));
    }

    /// What has been counted up to now. The cost depends on the number of types alone.
    pub fn counted(&self) -> FleetCounted {
        let types = self.types.merged();
        let types = types.iter().map(|device_type| {
            let SessionCounts { connects, disconnects } = &device_type.sessions;
            let counted = Counted {
                now: device_type.counts.totals(),
                connects: connects.load(Ordering::Relaxed),
                disconnects: disconnects.load(Ordering::Relaxed),
            };
            (Arc::clone(&device_type.name), counted)
        });
        let types = types.collect();
        let causes = std::array::from_fn(|at| self.sessions.disconnects[at].load(Ordering::Relaxed));
        let all = Counted {
            now: self.totals(),
            connects: self.sessions.connects.load(Ordering::Relaxed),
            disconnects: causes.iter().sum(),
        };
        FleetCounted { all, causes, types }
    }
}
