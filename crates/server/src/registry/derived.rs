//! Changes of a device that follow from another device: nothing was received about this one, so when and how it was last
//! heard of stays.

use super::{Applied, Arrival, DeviceRegistry, Provenance, Record};
use crate::freshness::RoundNumber;
use presence::{Device, PresenceEvent, UnixSeconds};

impl DeviceRegistry {
    /// Merges an event that was derived, if the device is held, and shows what came of it before anybody else can see it.
    pub fn derive_then(
        &self,
        device: Device<'_>,
        event: PresenceEvent,
        then: impl FnOnce(&Record<'_>, Applied),
    ) -> Applied {
        let locked = self.lock(device);
        // It may have been forgotten since the event was derived.
        if !locked.is_held() {
            return Applied::Known;
        }
        let unused = Arrival { provenance: Provenance::Live, at: UnixSeconds(0), round: RoundNumber::NONE };
        locked.change(unused, |place, record| {
            let applied = self.merge_event(place, record, event);
            then(record, applied);
            applied
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use presence::payload::Payload;
    use presence::{EventKind, Moment, Status};

    fn event(kind: EventKind, second: i128) -> PresenceEvent {
        let at = Moment::from_nanos(second * 1_000_000_000);
        PresenceEvent { kind, session: at, time: at, close_code: 0, payload: Payload::pack(b"{}") }
    }

    #[test]
    fn a_derived_change_moves_totals_and_not_when_a_message_was_received() {
        let registry = DeviceRegistry::tracking_changes();
        let device = Device { device_type: "t", id: "1" };
        let arrival =
            Arrival { provenance: Provenance::Restored, at: UnixSeconds(5), round: RoundNumber::NONE };
        registry.apply(device, event(EventKind::Connect, 1), arrival);
        let applied = registry.derive_then(device, event(EventKind::Disconnect, 2), |_, _| ());
        assert_eq!(applied, Applied::Changed { from: Some(Status::Connected), to: Status::Disconnected });
        assert_eq!((registry.totals().connected, registry.totals().disconnected), (0, 1));
        let received =
            registry.read(device, |record| (record.reception.received_at, record.reception.provenance));
        assert_eq!(received, Some((UnixSeconds(5), Provenance::Restored)));
        registry.forget_device(device, |_| ());
        let applied = registry.derive_then(device, event(EventKind::Connect, 3), |_, _| ());
        assert_eq!(
            (applied, registry.totals().total()),
            (Applied::Known, 0),
            "a forgotten device stays away"
        );
    }
}
