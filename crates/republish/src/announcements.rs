//! Which changes of devices are published, and when: a disconnect once it has settled.

use std::time::Duration;

use presence::query::Filter;
use presence::settle::{IfConnected, Settle, StatusChange};
use presence::{Device, DeviceName, Status};
use server::registry::{DeviceRegistry, Snapshot};

/// Disconnects that may be undecided, some 200 bytes each. All devices are looked at again once those beyond have settled.
const UNDECIDED_MAX: usize = 200_000;

/// The times of messages are whole seconds.
const GRANULARITY_MS: i64 = 1_000;

/// What is to be done about a device.
#[derive(Debug, PartialEq, Eq)]
pub enum Announcement {
    /// Publish it as it is.
    Changed(DeviceName),
    /// Drop what is retained of it.
    Forgotten(DeviceName),
    /// It is connected as it was before a disconnect that has not settled: there is nothing to publish, unless nothing has been yet.
    Back(DeviceName),
}

/// The disconnects that have not settled.
pub struct Announcements {
    lasts: Duration,
    selector: Filter,
    settle: Settle<DeviceName, ()>,
    /// A disconnect found no room.
    has_overflowed: bool,
}

impl Announcements {
    pub fn new(lasts: Duration, selector: Filter) -> Self {
        Self { lasts, selector, settle: Settle::new(lasts), has_overflowed: false }
    }

    /// Whether disconnects are held back at all.
    pub fn settles(&self) -> bool {
        !self.lasts.is_zero()
    }

    /// Whether the selector takes the device.
    pub fn selects(&self, device: &Snapshot) -> bool {
        self.selector.admits(&device.traits(&self.selector))
    }

    /// A device was forgotten.
    pub fn forget(&mut self, device: &Snapshot) -> Announcement {
        let name = DeviceName::of(device.device());
        self.settle.forget(&name);
        Announcement::Forgotten(name)
    }

    /// Takes the next change of a device; `previous` is the status before.
    pub fn offer(&mut self, device: &Snapshot, previous: Option<Status>) -> Vec<Announcement> {
        let name = DeviceName::of(device.device());
        let mut announcements = Vec::new();
        let at_ms = i64::from(device.received_at.0) * 1_000;
        while let Some(due) = self.settle.take_due(at_ms) {
            announcements.push(Announcement::Changed(due));
        }
        let is_off = device.status == Status::Disconnected;
        if is_off && !self.selects(device) {
            self.settle.forget(&name);
            announcements.push(Announcement::Changed(name));
            return announcements;
        }
        if is_off && !self.has_room_for(&name) {
            return announcements;
        }
        let status = StatusChange { status: device.status, previous, at_ms };
        announcements.push(match self.settle.offer(name.clone(), status, name.clone(), ()) {
            Some(name) => Announcement::Changed(name),
            None if is_off => return announcements,
            None => Announcement::Back(name),
        });
        announcements
    }

    /// Whether what is retained of a disconnected device stays as it is for now. `is_new`: its disconnect may be one that was not
    /// offered.
    pub fn holds(&mut self, device: &Snapshot, is_new: bool, now_ms: i64) -> bool {
        let name = DeviceName::of(device.device());
        if self.settle.contains(&name) {
            return true;
        }
        let at_ms = i64::from(device.received_at.0) * 1_000;
        let lasts_ms = i64::try_from(self.lasts.as_millis()).unwrap_or(i64::MAX);
        let is_settled = at_ms.saturating_add(GRANULARITY_MS).saturating_add(lasts_ms) <= now_ms;
        if !is_new || is_settled {
            return false;
        }
        if self.has_room_for(&name) {
            // What was announced before is not known, so a connect is to be announced in any case.
            let status = StatusChange { status: Status::Disconnected, previous: None, at_ms };
            let _ = self.settle.offer(name.clone(), status, name, ());
        }
        true
    }

    fn has_room_for(&mut self, name: &DeviceName) -> bool {
        let has_room = self.settle.len() < UNDECIDED_MAX || self.settle.contains(name) || !self.settles();
        self.has_overflowed |= !has_room;
        has_room
    }

    /// The devices whose disconnect has settled by now.
    pub fn due(&mut self, registry: &DeviceRegistry, now_ms: i64) -> Vec<DeviceName> {
        let status_of = |device: Device<'_>| registry.read(device, |record| record.resolve().status);
        self.settle.take_still_disconnected(now_ms, IfConnected::Wait, status_of)
    }

    /// How long it is until something may be due; `None`: nothing is undecided.
    pub fn due_in(&self, now_ms: i64) -> Option<Duration> {
        self.settle.due_in(now_ms)
    }

    /// After how long all devices are to be looked at again, because some disconnects found no room.
    pub fn take_overflow(&mut self) -> Option<Duration> {
        std::mem::take(&mut self.has_overflowed).then_some(self.lasts)
    }

    /// Changes were missed: what is undecided may be wrong.
    pub fn clear(&mut self) {
        self.settle.clear();
    }
}

#[cfg(test)]
mod tests {
    use presence::payload::Payload;
    use presence::{DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};
    use server::freshness::RoundNumber;
    use server::registry::{Arrival, Provenance};

    use super::*;

    const LASTS: Duration = Duration::from_secs(60);
    const NOW: u32 = 1_000_000;

    fn device(id: &str, status: Status, at: u32) -> Snapshot {
        let kind = match status {
            Status::Connected => EventKind::Connect,
            Status::Disconnected => EventKind::Disconnect,
        };
        let (session, time) = (Moment::from_nanos(1), Moment::from_nanos(i128::from(at) * 1_000_000_000));
        let mut state = DeviceState::default();
        state.apply(PresenceEvent { kind, session, time, close_code: 91, payload: Payload::pack(b"{}") });
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(at), round: RoundNumber::NONE };
        Snapshot::of_state(name(id), &state, arrival).unwrap()
    }

    fn name(id: &str) -> DeviceName {
        DeviceName::of(Device { device_type: "t", id })
    }

    fn on(id: &str, at: u32) -> Snapshot {
        device(id, Status::Connected, at)
    }

    fn off(id: &str, at: u32) -> Snapshot {
        device(id, Status::Disconnected, at)
    }

    #[test]
    fn without_a_time_every_change_is_published() {
        let mut announcements = Announcements::new(Duration::ZERO, Filter::default());
        for device in [on("a", NOW), off("a", NOW), on("a", NOW)] {
            let offered = announcements.offer(&device, Some(Status::Disconnected));
            assert_eq!(offered, [Announcement::Changed(name("a"))]);
        }
        assert!(!announcements.settles());
    }

    #[test]
    fn a_disconnect_is_published_once_it_has_lasted_and_a_connect_before_cancels_it() {
        let mut announcements = Announcements::new(LASTS, Filter::default());
        let (was_on, was_off) = (Some(Status::Connected), Some(Status::Disconnected));
        assert_eq!(announcements.offer(&off("a", NOW), was_on), []);
        assert!(announcements.holds(&off("a", NOW), false, 0));
        assert_eq!(announcements.offer(&on("a", NOW + 5), was_off), [Announcement::Back(name("a"))]);
        assert_eq!(announcements.offer(&off("a", NOW + 6), was_on), []);
        // What has settled comes with the next change.
        let offered = announcements.offer(&on("b", NOW + 70), None);
        assert_eq!(offered, [name("a"), name("b")].map(Announcement::Changed));
        assert!(!announcements.holds(&off("a", NOW + 6), false, 0));
        assert_eq!(announcements.offer(&off("b", NOW + 80), was_on), []);
        assert_eq!(announcements.forget(&off("b", NOW + 80)), Announcement::Forgotten(name("b")));
        assert_eq!(announcements.due_in(0), None);
    }

    #[test]
    fn a_disconnect_from_before_is_held_for_as_long_as_it_may_not_have_settled() {
        let mut announcements = Announcements::new(LASTS, Filter::default());
        let now_ms = i64::from(NOW) * 1_000;
        assert!(!announcements.holds(&off("old", NOW - 61), true, now_ms));
        assert!(announcements.holds(&off("new", NOW - 59), true, now_ms));
        assert!(!announcements.holds(&off("new2", NOW - 59), false, now_ms));
        // Nobody knows whether its connect was published.
        let offered = announcements.offer(&on("new", NOW), Some(Status::Disconnected));
        assert_eq!(offered, [Announcement::Changed(name("new"))]);
    }

    #[test]
    fn those_that_find_no_room_are_held_and_looked_at_again() {
        let mut announcements = Announcements::new(LASTS, Filter::default());
        for n in 0..=UNDECIDED_MAX {
            assert_eq!(announcements.offer(&off(&n.to_string(), NOW), Some(Status::Connected)), []);
        }
        assert_eq!(announcements.take_overflow(), Some(LASTS));
        let last = off(&UNDECIDED_MAX.to_string(), NOW);
        assert!(announcements.holds(&last, true, i64::from(NOW) * 1_000));
        assert!(!announcements.holds(&last, true, i64::from(NOW + 61) * 1_000));
    }
}
