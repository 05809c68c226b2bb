//! Sessions that are named by when they began, by the broker's clock: the IoT platform, EMQX, hosts of Sparkplug. The
//! merge rule was made for them; only what cannot change anything is found out here.

use crate::{Event, EventKind, UnixNanos};

use super::{Delivery, Held, Key, Resolution};

/// The merge rule takes sessions that begin within this for simultaneous.
const SIMULTANEOUS_NANOS: i64 = 1_000_000_000;

pub fn resolve(
    event: &Event<'_>,
    started: UnixNanos,
    delivery: Delivery,
    held: Option<&Held<'_>>,
) -> Resolution {
    let time = event.time.unwrap_or(match event.kind {
        EventKind::Connect => started,
        EventKind::Disconnect | EventKind::Takeover | EventKind::Refusal => delivery.received,
    });
    let apply = Resolution::Apply(Key { session: started, kind: event.kind, time });
    let Some(held) = held.map(|held| held.key) else { return apply };
    if held.session == started && held.kind == event.kind {
        // Without a time of its own, a message that is replayed must not move the time that is held.
        return if event.time.is_none_or(|time| time <= held.time) { Resolution::Confirm } else { apply };
    }
    match held.kind {
        EventKind::Disconnect if held.session == started && event.kind == EventKind::Connect => {
            Resolution::Late
        }
        EventKind::Connect | EventKind::Disconnect if started.later_by(SIMULTANEOUS_NANOS) < held.session => {
            Resolution::Late
        }
        // Beside a takeover or a refusal an older session may still matter.
        EventKind::Connect | EventKind::Disconnect | EventKind::Takeover | EventKind::Refusal => apply,
    }
}
