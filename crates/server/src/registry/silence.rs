//! Devices whose state is out of date although the link to the broker is good: nothing was heard of them for too long, or
//! changes of them may have been missed that nobody repeats. Their answers are stale until a live message comes.

use super::limit::RecordFlag;
use super::record::PackedRecord;
use super::{Arrival, DeviceRegistry, Provenance, Reception, Record};
use crate::freshness::RoundNumber;
use presence::{Device, Status};

impl DeviceRegistry {
    /// Marks a device, and shows it to `then` if it was not marked.
    pub fn silence_then(&self, device: Device<'_>, then: impl FnOnce(&Record<'_>)) {
        let hash = self.hash(device);
        let mut records = self.shards[Self::shard_number(hash)].records.write();
        let Some(at) = records.find(hash, device) else { return };
        if let Some(record) = records.at_mut(at)
            && !record.reception.flags.has(RecordFlag::Silent)
        {
            record.reception.flags.set(RecordFlag::Silent);
            then(&record.open());
        }
    }

    /// Marks all devices of some sources; `None` is the IoT platform.
    pub fn silence_sources(&self, is_silent: impl Fn(Option<&str>) -> bool) {
        self.visit_records(|_place, record| {
            if is_silent(record.open().resolve().event.payload.source()) {
                record.reception.flags.set(RecordFlag::Silent);
            }
        });
    }

    /// Whether the round brought no message about some device of these sources; `None` is the IoT platform.
    pub fn holds_unreceived(&self, round: RoundNumber, is_of: impl Fn(Option<&str>) -> bool) -> bool {
        let is_unreceived = |record: &PackedRecord| {
            record.reception.received_in != round && is_of(record.open().resolve().event.payload.source())
        };
        (0..Self::PARTS).any(|part| {
            let mut found = false;
            self.read_part(part, |record| found = found || is_unreceived(record));
            found
        })
    }
}

impl Reception {
    /// Notes a message; says whether it ends a silence.
    pub(super) fn ends_silence(&mut self, arrival: Arrival) -> bool {
        // What the broker repeats says nothing of the device now.
        arrival.provenance == Provenance::Live && self.flags.take(RecordFlag::Silent)
    }
}

impl Record<'_> {
    /// Whether its answers say that it is connected.
    pub fn is_connected(&self) -> bool {
        self.resolve().status == Status::Connected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Applied;
    use presence::payload::Payload;
    use presence::{EventKind, Moment, PresenceEvent, UnixSeconds};

    #[test]
    fn a_device_that_a_round_brings_nothing_of_is_not_received() {
        let registry = DeviceRegistry::default();
        let device = Device { device_type: "t", id: "1" };
        let at = Moment::from_nanos(1);
        let payload = Payload::pack_of("log", b"{}");
        let event = PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
        let round = registry.begin_round();
        assert!(!registry.holds_unreceived(round, |_| true), "there is no device");
        registry.apply(device, event, Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round });
        assert!(!registry.holds_unreceived(round, |_| true));
        let next = registry.begin_round();
        assert!(registry.holds_unreceived(next, |source| source == Some("log")));
        assert!(!registry.holds_unreceived(next, |source| source != Some("log")), "it is of another source");
    }

    #[test]
    fn a_silent_device_is_out_of_date_until_a_live_message() {
        let registry = DeviceRegistry::default();
        let device = Device { device_type: "t", id: "1" };
        let at = Moment::from_nanos(1);
        let payload = Payload::pack_of("log", b"{}");
        let event = PresenceEvent { kind: EventKind::Connect, session: at, time: at, close_code: 0, payload };
        let arrival = |provenance| Arrival { provenance, at: UnixSeconds(1), round: RoundNumber::NONE };
        let is_silent = || {
            registry
                .read(device, |record| record.freshness_round() == RoundNumber::SILENT)
                .unwrap_or_default()
        };
        registry.apply(device, event.clone(), arrival(Provenance::Live));
        registry.silence_sources(|source| source == Some("other"));
        assert!(!is_silent());
        registry.silence_sources(|source| source == Some("log"));
        assert!(is_silent());
        assert_eq!(registry.apply(device, event.clone(), arrival(Provenance::Retained)), Applied::Known);
        assert!(is_silent(), "the broker repeats it");
        assert_eq!(registry.apply(device, event, arrival(Provenance::Live)), Applied::Refined);
        assert!(!is_silent());
        let mut shown = 0;
        registry.silence_then(device, |_| shown += 1);
        registry.silence_then(device, |_| shown += 1);
        registry.confirm_then(device, arrival(Provenance::Retained), |_| shown += 10);
        registry.confirm_then(device, arrival(Provenance::Live), |_| shown += 100);
        registry.confirm_then(device, arrival(Provenance::Live), |_| shown += 1_000);
        assert_eq!((shown, is_silent()), (101, false));
    }
}
