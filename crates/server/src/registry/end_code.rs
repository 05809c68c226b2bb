//! Why a device is disconnected, in two bytes: a list may pass over millions of them.

use super::DeviceRegistry;
use formats::held::AddressAndCause;
use formats::{Cause, held};
use presence::{DeviceState, Moment, PresenceEvent};
use std::net::Ipv4Addr;

/// The platform's close code, or of another source the place of its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndCode(u16);

/// From here on a code is the place of a cause. The platform's close codes have three digits; one that is as high as this
/// counts as unknown.
const FIRST_CAUSE: u16 = u16::MAX - Cause::PLACES as u16;

impl EndCode {
    /// Of a device that is connected.
    pub const NONE: Self = Self(u16::MAX);

    /// Of the event that ended the session, and the client's address in its message.
    pub fn and_address_of(event: &PresenceEvent) -> (Self, Option<Ipv4Addr>) {
        let payload = &event.payload;
        if let Some(code) = Self::of_platform(event.close_code).filter(|_| !payload.has_source()) {
            return (code, held::ipv4(payload));
        }
        let AddressAndCause { address, cause } = held::address_and_cause(payload, event.close_code);
        (Self::of_cause(cause), address)
    }

    fn of_cause(cause: Option<Cause>) -> Self {
        Self(FIRST_CAUSE + Cause::place(cause) as u16)
    }

    /// Of a close code of the platform's; `None`: it counts as unknown.
    pub fn of_platform(close_code: u16) -> Option<Self> {
        (close_code < FIRST_CAUSE).then_some(Self(close_code))
    }

    /// `None`: it is of another source, which has no such thing.
    pub fn close_code(self) -> Option<u16> {
        (self.0 < FIRST_CAUSE).then_some(self.0)
    }

    /// The place of the cause.
    #[inline]
    pub fn cause(self) -> usize {
        match self.0.checked_sub(FIRST_CAUSE) {
            Some(place) => usize::from(place).min(Cause::PLACES - 1),
            None => Cause::place(held::close_code::cause(self.0)),
        }
    }
}

/// What the message of an event that arrives says, so that it is searched once at most.
#[derive(Clone, Copy)]
pub(super) struct ArrivingMessage {
    session: Moment,
    time: Moment,
    /// Means something only if the event ends a session.
    pub end_code: EndCode,
    pub address: Option<Ipv4Addr>,
}

impl ArrivingMessage {
    /// Of an event that ends a session.
    pub fn of(event: &PresenceEvent) -> Self {
        let (end_code, address) = EndCode::and_address_of(event);
        Self { session: event.session, time: event.time, end_code, address }
    }

    /// Of an event of another source than the IoT platform, whose message says this.
    pub fn with_address_and_cause(event: &PresenceEvent, address_and_cause: AddressAndCause) -> Self {
        let end_code = EndCode::of_cause(address_and_cause.cause);
        Self { session: event.session, time: event.time, end_code, address: address_and_cause.address }
    }

    /// Whether it may be what this event says: another one of the same moments may say something else.
    pub fn is_of(&self, event: &PresenceEvent) -> bool {
        (self.session, self.time) == (event.session, event.time)
    }

    /// Whether it is told apart by its moments from all events that a state consists of.
    pub fn is_new_to(&self, state: &DeviceState) -> bool {
        !state.events().any(|held| self.is_of(held))
    }
}

impl DeviceRegistry {
    /// Disconnected devices by close code, the most frequent first, at most so many codes.
    pub fn top_close_codes(&self, most: usize) -> Vec<(u16, u64)> {
        let codes = self.end_codes.lock();
        let of_platform = codes.iter().filter_map(|(code, devices)| Some((code.close_code()?, *devices)));
        let mut codes: Vec<_> = of_platform.filter(|(_, devices)| *devices > 0).collect();
        codes.sort_unstable_by_key(|(code, devices)| (std::cmp::Reverse(*devices), *code));
        codes.truncate(most);
        codes
    }

    /// Disconnected devices by the word for the cause, of all sources, the most frequent first.
    pub fn disconnected_by_cause(&self) -> Vec<(&'static str, u64)> {
        let mut sums = [0; Cause::PLACES];
        for (code, devices) in &*self.end_codes.lock() {
            sums[code.cause()] += devices;
        }
        let mut causes: Vec<_> = Cause::words().zip(sums).filter(|(_, devices)| *devices > 0).collect();
        causes.sort_by_key(|(_, devices)| std::cmp::Reverse(*devices));
        causes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::freshness::RoundNumber;
    use crate::registry::{Arrival, Provenance, Snapshot};
    use presence::payload::Payload;
    use presence::query::Filter;
    use presence::{Device, EventKind, Moment, UnixSeconds};

    #[test]
    fn every_close_code_and_every_cause_of_another_source_is_distinguished() {
        let event = |close_code, payload| PresenceEvent {
            kind: EventKind::Disconnect,
            session: Moment::UNKNOWN,
            time: Moment::UNKNOWN,
            close_code,
            payload,
        };
        for code in (0..1_000).chain([u16::MAX]) {
            let end_code = EndCode::and_address_of(&event(code, Payload::pack(b"{}"))).0;
            assert_eq!(end_code.close_code(), (code < 1_000).then_some(code));
            assert_eq!(end_code.cause(), Cause::place(held::close_code::cause(code)), "{code}");
        }
        for (place, cause) in Cause::ALL.into_iter().enumerate() {
            let document = format!(
                r#"{{"ClientID":"a","Action":"Disconnect","_":{{"t":1,"c":"{}","m":"x"}}}}"#,
                cause.word()
            );
            let end_code = EndCode::and_address_of(&event(0, Payload::pack_of("a", document.as_bytes()))).0;
            assert_eq!((end_code.close_code(), end_code.cause()), (None, place), "{document}");
        }
        let unknown = EndCode::and_address_of(&event(
            0,
            Payload::pack_of("a", br#"{"ClientID":"a","Action":"Disconnect"}"#),
        ))
        .0;
        assert_eq!((unknown.close_code(), unknown.cause()), (None, Cause::PLACES - 1));
    }

    #[test]
    fn the_cause_is_that_of_the_deciding_event_also_where_another_has_its_moments() {
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        let at = Moment::from_nanos(1);
        let end = |word: &str| {
            let document =
                format!(r#"{{"ClientID":"a","Action":"Disconnect","_":{{"t":1,"c":"{word}","m":"x"}}}}"#);
            let payload = Payload::pack_of("tasmota", document.as_bytes());
            PresenceEvent { kind: EventKind::Disconnect, session: at, time: at, close_code: 0, payload }
        };
        let words = [Cause::ALL[0].word(), Cause::ALL[1].word()];
        for [first, second] in [words, [words[1], words[0]]] {
            let registry = DeviceRegistry::default();
            let device = Device { device_type: "t", id: "1" };
            registry.apply(device, end(first), arrival);
            registry.apply(device, end(second), arrival);
            let decides = end(words[0]).max(end(words[1]));
            let word = held::cause_class(&decides.payload, 0);
            assert_eq!(registry.disconnected_by_cause(), [(word, 1)]);
        }
    }

    #[test]
    fn a_filter_of_close_codes_admits_the_platforms_devices_alone() {
        let registry = DeviceRegistry::default();
        let arrival = Arrival { provenance: Provenance::Live, at: UnixSeconds(1), round: RoundNumber::NONE };
        let document = br#"{"ClientID":"a","Action":"Disconnect","_":{"t":1,"c":"timeout","m":"x"}}"#;
        let filter = Filter { close_codes: vec![0], ..Filter::default() };
        for (id, payload, is_admitted) in [
            ("platform", Payload::pack(b"{}"), true),
            ("other", Payload::pack_of("tasmota", document), false),
        ] {
            let device = Device { device_type: "t", id };
            let at = Moment::from_nanos(1);
            let event =
                PresenceEvent { kind: EventKind::Disconnect, session: at, time: at, close_code: 0, payload };
            registry.apply(device, event, arrival);
            let snapshot = registry.read(device, Snapshot::of).unwrap();
            assert_eq!(filter.admits(&snapshot.traits(&filter)), is_admitted, "{id}");
        }
    }
}
