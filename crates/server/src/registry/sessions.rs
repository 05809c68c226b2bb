//! Sessions that began and ended since the start, for the series: counted as they come, read every ten seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use formats::Cause;
use presence::{EventKind, PresenceEvent, Status};

use super::end_code::ArrivingMessage;
use super::sources::{SourceRecord, Sources};
use super::types::DeviceType;
use super::{Applied, DeviceRegistry, Record, Totals};

/// Sessions of one type, or of one source.
#[derive(Debug, Default)]
pub(super) struct SessionCounts {
    connects: AtomicU64,
    disconnects: AtomicU64,
}

/// An event as sessions are counted.
#[derive(Clone, Copy)]
pub(super) struct SessionEvent<'a> {
    pub kind: EventKind,
    /// Of an end: the place of its cause.
    pub cause: usize,
    /// `None`: the IoT platform.
    source: Option<&'a SourceRecord>,
}

impl<'a> SessionEvent<'a> {
    /// `message`: what its message says, known at least if it ends a session.
    pub fn of(event: &PresenceEvent, message: Option<&ArrivingMessage>, sources: &'a Sources) -> Self {
        let end = message.filter(|_| event.kind.ends_session());
        let cause = end.map_or(Cause::place(None), |end| end.end_code.cause());
        Self { kind: event.kind, cause, source: sources.of(&event.payload) }
    }
}

impl SessionCounts {
    /// What they have come to, of devices that are so many now.
    pub fn counted(&self, now: Totals) -> SessionTotals {
        let (connects, disconnects) = (&self.connects, &self.disconnects);
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SessionTotals { now, connects: of(connects), disconnects: of(disconnects) }
    }
}

/// Sessions of the fleet.
#[derive(Debug, Default)]
pub(super) struct FleetSessions {
    connects: AtomicU64,
    disconnects: [AtomicU64; Cause::PLACES],
}

/// What has been counted of a group of devices up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTotals {
    pub now: Totals,
    /// Sessions that have begun since the start.
    pub connects: u64,
    /// Sessions that have ended; one that was taken over has ended, too.
    pub disconnects: u64,
}

impl SessionTotals {
    /// What is left of it without a part.
    #[must_use]
    pub fn less(self, part: &Self) -> Self {
        Self {
            now: Totals {
                connected: self.now.connected.saturating_sub(part.now.connected),
                disconnected: self.now.disconnected.saturating_sub(part.now.disconnected),
            },
            connects: self.connects.saturating_sub(part.connects),
            disconnects: self.disconnects.saturating_sub(part.disconnects),
        }
    }
}

/// What has been counted of the fleet up to now.
#[derive(Clone, Debug)]
pub struct FleetSessionTotals {
    pub all: SessionTotals,
    /// The ends by cause.
    pub causes: [u64; Cause::PLACES],
    /// Of the types that came first, [`super::types::MERGED_TYPES_MAX`] at most.
    pub types: Vec<(Arc<str>, SessionTotals)>,
    /// Of the sources, [`super::SOURCES_MAX`] at most and the rest as one.
    pub sources: Vec<(Arc<str>, SessionTotals)>,
}

impl DeviceRegistry {
    /// Counts an event that was received live.
    pub(super) fn count_session(&self, device_type: &DeviceType, event: SessionEvent<'_>) {
        let groups = [Some(&device_type.sessions), event.source.map(|source| &source.sessions)];
        match event.kind {
            EventKind::Connect => {
                self.sessions.connects.fetch_add(1, Ordering::Relaxed);
                groups.iter().flatten().for_each(|group| {
                    group.connects.fetch_add(1, Ordering::Relaxed);
                });
            }
            EventKind::Disconnect | EventKind::Takeover => {
                self.sessions.disconnects[event.cause].fetch_add(1, Ordering::Relaxed);
                groups.iter().flatten().for_each(|group| {
                    group.disconnects.fetch_add(1, Ordering::Relaxed);
                });
            }
            EventKind::Refusal | EventKind::FailedLogin | EventKind::Request => {}
        }
    }

    /// Counts a change that another instance has written before the broker told it here, or that is told to that one only.
    pub(super) fn count_peer_change(&self, record: &Record<'_>, applied: Applied) {
        let Applied::Changed { from: Some(_), to } = applied else { return };
        let kind = match to {
            Status::Connected => EventKind::Connect,
            Status::Disconnected => EventKind::Disconnect,
        };
        let event = record.resolve().event;
        let message = event.kind.ends_session().then(|| ArrivingMessage::of(event));
        let event = SessionEvent::of(event, message.as_ref(), &self.sources);
        self.count_session(record.device_type, SessionEvent { kind, ..event });
    }

    /// What has been counted up to now. The cost depends on the number of types alone.
    pub fn counted(&self) -> FleetSessionTotals {
        let types = self.types.merged();
        let types = types.iter().map(|device_type| {
            (Arc::clone(&device_type.name), device_type.sessions.counted(device_type.counts.totals()))
        });
        let types = types.collect();
        let causes = std::array::from_fn(|at| self.sessions.disconnects[at].load(Ordering::Relaxed));
        let all = SessionTotals {
            now: self.totals(),
            connects: self.sessions.connects.load(Ordering::Relaxed),
            disconnects: causes.iter().sum(),
        };
        FleetSessionTotals { all, causes, types, sources: self.counted_by_source(all) }
    }
}
