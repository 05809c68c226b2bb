//! Which devices an endpoint hears of. Values of one field mean "or", fields mean "and".

use std::net::IpAddr;

use presence::Status;
use presence::query::Network;
use server::registry::Snapshot;

/// What a device must be like; an empty field admits every device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    pub types: Vec<String>,
    pub ids: Vec<String>,
    /// What the id begins with.
    pub id_prefixes: Vec<String>,
    pub sources: Vec<String>,
    /// Why it is disconnected; no connected device has one.
    pub close_codes: Vec<u16>,
    /// The class of that reason.
    pub causes: Vec<String>,
    /// Where it connected from.
    pub addresses: Vec<Network>,
}

impl Selector {
    /// Whether the endpoint hears of the device as it is.
    pub fn admits(&self, device: &Snapshot) -> bool {
        let is_one = |wanted: &[String], is: &str| wanted.is_empty() || wanted.iter().any(|one| one == is);
        is_one(&self.types, &device.device_type)
            && is_one(&self.ids, &device.id)
            && (self.id_prefixes.is_empty()
                || self.id_prefixes.iter().any(|prefix| device.id.starts_with(prefix.as_str())))
            && (self.sources.is_empty() || is_one(&self.sources, device.source()))
            && self.admits_close_code(device)
            && (self.causes.is_empty()
                || device.cause_class().is_some_and(|cause| is_one(&self.causes, cause)))
            && (self.addresses.is_empty() || device.address().is_some_and(|address| self.has(address)))
    }

    fn admits_close_code(&self, device: &Snapshot) -> bool {
        let is_off = device.status == Status::Disconnected;
        self.close_codes.is_empty() || (is_off && self.close_codes.contains(&device.event.close_code))
    }

    fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use presence::payload::Payload;
    use presence::{DeviceName, DeviceState, EventKind, Moment, PresenceEvent, UnixSeconds};
    use server::freshness::RoundNumber;
    use server::registry::{Arrival, Provenance};

    use super::*;

    fn device(kind: EventKind, close_code: u16) -> Snapshot {
        let at = Moment::from_nanos(1_000_000_000);
        let payload = Payload::pack(br#"{"ClientAddr":"192.0.2.7"}"#);
        let event = PresenceEvent { kind, session: at, time: at, close_code, payload };
        let mut state = DeviceState::default();
        assert!(state.apply(event));
        let name = DeviceName { device_type: "pump".into(), id: "p-1".into() };
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        Snapshot::of_state(name, &state, arrival).unwrap()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn values_of_a_field_mean_or_and_fields_mean_and() {
        let (on, off) = (device(EventKind::Connect, 0), device(EventKind::Disconnect, 91));
        let all = Selector::default();
        let by = |change: &dyn Fn(&mut Selector)| {
            let mut selector = all.clone();
            change(&mut selector);
            [selector.admits(&on), selector.admits(&off)]
        };
        assert_eq!(by(&|_| ()), [true, true]);
        assert_eq!(by(&|selector| selector.types = texts(&["tank", "pump"])), [true, true]);
        assert_eq!(by(&|selector| selector.types = texts(&["tank"])), [false, false]);
        assert_eq!(by(&|selector| selector.ids = texts(&["p-2", "p-1"])), [true, true]);
        assert_eq!(by(&|selector| selector.ids = texts(&["p"])), [false, false]);
        assert_eq!(by(&|selector| selector.id_prefixes = texts(&["q", "p-"])), [true, true]);
        assert_eq!(by(&|selector| selector.id_prefixes = texts(&["q"])), [false, false]);
        assert_eq!(by(&|selector| selector.sources = texts(&["iot-platform"])), [true, true]);
        assert_eq!(by(&|selector| selector.sources = texts(&["emqx"])), [false, false]);
        assert_eq!(by(&|selector| selector.close_codes = vec![160, 91]), [false, true]);
        assert_eq!(by(&|selector| selector.close_codes = vec![160]), [false, false]);
        assert_eq!(by(&|selector| selector.causes = texts(&["timeout", "connection"])), [false, true]);
        assert_eq!(by(&|selector| selector.causes = texts(&["timeout"])), [false, false]);
        assert_eq!(by(&|selector| selector.addresses = vec!["192.0.2.0/24".parse().unwrap()]), [true, true]);
        assert_eq!(by(&|selector| selector.addresses = vec!["10.0.0.0/8".parse().unwrap()]), [false, false]);
        let both = |selector: &mut Selector| {
            selector.types = texts(&["pump"]);
            selector.causes = texts(&["connection"]);
        };
        assert_eq!(by(&both), [false, true]);
    }
}
