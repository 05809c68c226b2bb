//! Statements of every kind, for the property tests of whoever writes them down and reads them back.

use proptest::prelude::*;

use super::{Claim, Moment, Statement};
use crate::payload::Payload;

/// Any statement that a belief can hold, its message one of these. Ties and unknown moments are common.
pub fn statement(message: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Statement> {
    let claim = prop_oneof![
        Just(Claim::Request),
        Just(Claim::Connect),
        Just(Claim::Takeover),
        Just(Claim::Refusal),
        Just(Claim::Disconnect),
    ];
    let nanos = prop_oneof![0i64..5, any::<i64>()];
    let moment = prop_oneof![Just(Moment::UNKNOWN), nanos.prop_map(|nanos| Moment::from_nanos(nanos.into()))];
    (claim, moment.clone(), moment, any::<u16>(), message).prop_map(
        |(claim, session, time, close_code, message)| {
            let payload = Payload::pack(&message);
            Statement { claim, session, time, close_code, payload }
        },
    )
}
