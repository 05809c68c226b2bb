//! Events of every kind, for the property tests of code that writes and reads them.

use proptest::prelude::*;

use super::{EventKind, Moment, PresenceEvent};
use crate::payload::Payload;

/// Any event that a state can hold, its message one of these. Ties and unknown moments are common.
pub fn event(message: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = PresenceEvent> {
    let kind = prop_oneof![
        Just(EventKind::Request),
        Just(EventKind::Connect),
        Just(EventKind::Takeover),
        Just(EventKind::Refusal),
        Just(EventKind::Disconnect),
    ];
    let nanos = prop_oneof![0i64..5, any::<i64>()];
    let moment = prop_oneof![Just(Moment::UNKNOWN), nanos.prop_map(|nanos| Moment::from_nanos(nanos.into()))];
    (kind, moment.clone(), moment, any::<u16>(), message).prop_map(
        |(kind, session, time, close_code, message)| {
            let payload = Payload::pack(&message);
            PresenceEvent { kind, session, time, close_code, payload }
        },
    )
}
