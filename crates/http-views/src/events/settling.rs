//! `settle=`: a disconnect is shown once it has lasted that long, and a connect before that cancels it silently. While some are
//! held back, the id of each event is the place before the oldest of them: a client that comes back with it misses none, and may
//! be shown others again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use presence::query::Filter;
use presence::settle::{IfConnected, SETTLE_MAX, Settle, StatusChange};
use presence::{Device, DeviceName, Status};
use server::feed::resume::StreamPosition;
use server::registry::{DeviceRegistry, Snapshot};
use system::clock;

/// Reads a time as in `90s`, `5m` or `1h`, of at most [`SETTLE_MAX`].
pub fn period(text: &str) -> Option<Duration> {
    system::period::parse(text).filter(|period| *period <= SETTLE_MAX)
}

/// A change that is shown now, or later.
#[derive(Debug)]
pub struct SettledChange {
    pub device: Snapshot,
    pub previous: Option<Status>,
    /// Its share of what all streams may hold back; `None`: there was none left.
    _share: Option<OwnedSemaphorePermit>,
}

/// The disconnects that one stream holds back.
pub struct Settling {
    settle: Settle<SettledChange, StreamPosition>,
    wanted: Filter,
    /// The same whatever the status: also a disconnect that is not shown cancels.
    relevant: Filter,
    share: Arc<Semaphore>,
    /// Up to where changes were read.
    position: StreamPosition,
}

impl Settling {
    pub fn new(lasts: Duration, wanted: &Filter, share: Arc<Semaphore>, position: StreamPosition) -> Self {
        let relevant = Filter { status: None, expectation: None, ..wanted.clone() };
        Self { settle: Settle::new(lasts), wanted: wanted.clone(), relevant, share, position }
    }

    /// Changes are read from there on.
    pub fn go_to(&mut self, position: StreamPosition) {
        self.position = position;
    }

    /// Up to where changes were read.
    pub fn position(&self) -> StreamPosition {
        self.position
    }

    /// Whether so many changes may be held back, as far as is known: other streams may take their share first.
    pub fn has_room(&self, changes: usize) -> bool {
        self.share.available_permits() >= changes
    }

    /// Drops what is held back.
    pub fn clear(&mut self) {
        self.settle.clear();
    }

    /// Drops a disconnect of this device, which needs no event any more.
    pub fn forget(&mut self, device: &Snapshot, reached: StreamPosition) {
        self.settle.forget(&DeviceName::of(device.device()));
        self.position = reached;
    }

    /// Takes the next change, after which the stream has reached that position; returns what is shown now.
    pub fn offer(
        &mut self,
        device: &Snapshot,
        previous: Option<Status>,
        reached: StreamPosition,
    ) -> Vec<SettledChange> {
        let at_ms = i64::from(device.received_at.0) * 1_000;
        let mut shown = Vec::new();
        while let Some(change) = self.settle.take_due(at_ms) {
            shown.push(change);
        }
        let before = std::mem::replace(&mut self.position, reached);
        if self.relevant.admits(&device.traits(&self.relevant)) {
            let is_off = device.status == Status::Disconnected;
            let share = if is_off { Arc::clone(&self.share).try_acquire_owned().ok() } else { None };
            let change = SettledChange { device: device.clone(), previous, _share: share };
            let status = StatusChange { status: device.status, previous, at_ms };
            shown.extend(self.settle.offer(DeviceName::of(device.device()), status, change, before));
        } else {
            self.settle.forget(&DeviceName::of(device.device()));
        }
        shown.retain(|change| self.is_wanted(change));
        shown
    }

    /// The disconnects that have lasted long enough by now, as far as the device is still disconnected.
    pub fn due(&mut self, registry: &DeviceRegistry, if_connected: IfConnected) -> Vec<SettledChange> {
        let status_of = |device: Device<'_>| registry.read(device, |record| record.resolve().status);
        let mut due = self.settle.take_still_disconnected(clock::now_millis(), if_connected, status_of);
        due.retain(|change| self.is_wanted(change));
        due
    }

    fn is_wanted(&self, change: &SettledChange) -> bool {
        self.wanted.admits(&change.device.traits(&self.wanted))
    }

    /// How long it is until something may be due; `None`: nothing is held back.
    pub fn due_in(&self) -> Option<Duration> {
        self.settle.due_in(clock::now_millis())
    }

    /// The id with which a client goes on that has been shown everything up to a position.
    pub fn id(&self, position: StreamPosition) -> StreamPosition {
        self.settle.oldest_mark().copied().unwrap_or(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_number_and_a_unit_of_an_hour_at_most() {
        let seconds = |text: &str| period(text).map(|period| period.as_secs());
        assert_eq!(["0s", "90s", "5m", "1h"].map(seconds), [Some(0), Some(90), Some(300), Some(3_600)]);
        for text in [
            "",
            "s",
            "5",
            "61m",
            "3601s",
            "2h",
            "-1s",
            "+1s",
            "1.5s",
            "5 s",
            "1d",
            "99999999999999999999h",
            "5é",
        ] {
            assert_eq!(period(text), None, "{text}");
        }
    }
}
