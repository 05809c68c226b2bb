//! Sparkplug: a death names the birth of its session by a number that is only compared for equality; births are ordered by
//! their own times, by the node's clock. Devices of a node have no number; they are ordered by time, then by sequence.

use crate::{Event, EventKind, Session, UnixNanos};

use super::{Delivery, EventIdentity, Held, Key, REORDERED_NANOS, Resolution, UNKNOWN_SESSION};

/// A device that is born in the session of its node gets a key later than the node's by at least this, so that it stays
/// later when a sign of life renews the node's key, by a nanosecond.
const AFTER_BIRTH_NANOS: i64 = 1_000;

/// How an event stands to the one that is held.
enum SessionOrder {
    Newer,
    Same,
    Older,
}

/// A birth or death of an edge node.
pub fn node(event: &Event<'_>, delivery: Delivery, held: Option<&Held<'_>>) -> Resolution {
    match event.kind {
        EventKind::Connect => node_birth(event, delivery, held),
        EventKind::Disconnect => node_death(event, delivery, held),
        // The format has neither.
        EventKind::Takeover | EventKind::Refusal => Resolution::Record,
    }
}

fn node_birth(event: &Event<'_>, delivery: Delivery, held: Option<&Held<'_>>) -> Resolution {
    let time = event.time.unwrap_or(delivery.received);
    let apply = |session, time| Resolution::Apply(Key { session, kind: EventKind::Connect, time });
    let Some(known) = held else { return apply(time, time) };
    let is_same_session = {
        let birth = birth_of(&event.session);
        birth.is_some() && birth == held_birth(known)
    };
    let held_time = birth_time(known).unwrap_or(known.key.session);
    let order = match time.cmp(&held_time) {
        std::cmp::Ordering::Greater if is_same_session && is_overtaken_by_death(time, delivery, known) => {
            SessionOrder::Older
        }
        std::cmp::Ordering::Greater => SessionOrder::Newer,
        std::cmp::Ordering::Less if has_stepped_back(delivery, known) => SessionOrder::Newer,
        std::cmp::Ordering::Less | std::cmp::Ordering::Equal
            if is_of_data(known) && !delivery.is_retained() =>
        {
            // The birth of the session whose data overtook it. Its key is hardly later, so that the devices that were born
            // meanwhile stay so.
            let session = known.key.session.later_by(1);
            return Resolution::Renew(Key { session, kind: EventKind::Connect, time: known.key.time });
        }
        std::cmp::Ordering::Equal if is_same_session => SessionOrder::Same,
        std::cmp::Ordering::Equal => SessionOrder::Newer,
        std::cmp::Ordering::Less => SessionOrder::Older,
    };
    // A birth after which data was sent that came before it.
    let is_overtaken =
        is_same_session && time > held_time && known.key.session <= held_time.later_by(REORDERED_NANOS);
    let session = if is_overtaken && time <= known.key.session {
        known.key.session.later_by(1)
    } else {
        next_session(time, delivery, known)
    };
    match order {
        SessionOrder::Newer if is_same_session && known.key.is_connected() => {
            Resolution::Renew(Key { session, kind: EventKind::Connect, time: known.key.time })
        }
        SessionOrder::Newer => apply(session, time),
        SessionOrder::Same if known.key.is_connected() => Resolution::Confirm,
        SessionOrder::Same | SessionOrder::Older => Resolution::Late,
    }
}

/// Whether a birth was sent before the death of the same number that is held. A node without storage is born again with that
/// number, but after its death.
fn is_overtaken_by_death(time: UnixNanos, delivery: Delivery, known: &Held<'_>) -> bool {
    let died = known.key.time;
    !known.key.is_connected() && time <= died && delivery.received <= died.later_by(REORDERED_NANOS)
}

/// The key of another session of a node. Our clock stands in for one that was set back: devices that were born before have
/// keys that are later than the node's, but hardly later than now.
fn next_session(time: UnixNanos, delivery: Delivery, known: &Held<'_>) -> UnixNanos {
    match time {
        time if time > known.key.session => time,
        _ => super::arrival::next(delivery.received, Some(known)),
    }
}

/// Whether a node is connected by its data alone, which says neither a number nor a time of its birth.
fn is_of_data(known: &Held<'_>) -> bool {
    let is_unborn =
        |identity: &EventIdentity<'_>| birth_of(&identity.session).is_none() && identity.time.is_none();
    known.key.is_connected() && known.identity.as_ref().is_some_and(is_unborn)
}

/// Whether a time is earlier because the clock of the node was set back, not because the message is late: a late one comes
/// within seconds of the one that overtook it.
fn has_stepped_back(delivery: Delivery, known: &Held<'_>) -> bool {
    !delivery.is_retained() && delivery.received > known.received.later_by(REORDERED_NANOS)
}

fn node_death(event: &Event<'_>, delivery: Delivery, held: Option<&Held<'_>>) -> Resolution {
    let end =
        |session| Resolution::Apply(Key { session, kind: EventKind::Disconnect, time: delivery.received });
    let Some(known) = held else { return end(UNKNOWN_SESSION) };
    if !known.key.is_connected() {
        // The node has published it, and the broker its will.
        return Resolution::Confirm;
    }
    match (birth_of(&event.session), held_birth(known)) {
        (Some(death), Some(birth)) if death != birth => Resolution::Late,
        _ => end(known.key.session),
    }
}

/// A birth or death of a device of an edge node.
pub fn device(
    event: &Event<'_>,
    delivery: Delivery,
    held: Option<&Held<'_>>,
    parent: Option<&Held<'_>>,
) -> Resolution {
    let time = event.time.unwrap_or(delivery.received);
    let order = held.map_or(SessionOrder::Newer, |held| device_order(event, delivery, held));
    match order {
        SessionOrder::Newer => {}
        SessionOrder::Same => return Resolution::Confirm,
        SessionOrder::Older => return Resolution::Late,
    }
    let is_held_since_birth = held.is_some_and(|held| {
        held.key.is_connected() && parent.is_none_or(|parent| held.key.session >= parent.key.session)
    });
    match event.kind {
        EventKind::Connect => {
            let session = device_session(time, held, parent);
            let key = Key { session, kind: EventKind::Connect, time };
            match held {
                Some(known) if is_held_since_birth => Resolution::Renew(Key { time: known.key.time, ..key }),
                _ => Resolution::Apply(key),
            }
        }
        EventKind::Disconnect => match held {
            Some(known) if !known.key.is_connected() => Resolution::Confirm,
            Some(known) => {
                Resolution::Apply(Key { session: known.key.session, kind: EventKind::Disconnect, time })
            }
            None => Resolution::Apply(Key { session: time, kind: EventKind::Disconnect, time }),
        },
        EventKind::Takeover | EventKind::Refusal => Resolution::Record,
    }
}

/// The key of a device that was born: later than the birth of its node, unless it is dated before that.
fn device_session(time: UnixNanos, held: Option<&Held<'_>>, parent: Option<&Held<'_>>) -> UnixNanos {
    let after_held = held.map_or(UNKNOWN_SESSION, |held| held.key.session.later_by(super::MILLISECOND));
    let after_birth = parent.map_or(UNKNOWN_SESSION, |parent| match birth_time(parent) {
        Some(birth) if time < birth => UNKNOWN_SESSION,
        _ => parent.key.session.later_by(AFTER_BIRTH_NANOS),
    });
    time.max(after_held).max(after_birth)
}

fn device_order(event: &Event<'_>, delivery: Delivery, held: &Held<'_>) -> SessionOrder {
    let identity = held.identity.as_ref();
    let held_time = identity.and_then(|identity| identity.time);
    match (event.time, held_time) {
        (Some(time), Some(held_time)) if time < held_time => {
            return if has_stepped_back(delivery, held) { SessionOrder::Newer } else { SessionOrder::Older };
        }
        (Some(time), Some(held_time)) if time > held_time => return SessionOrder::Newer,
        _ => {}
    }
    let sequences =
        (sequence_of(&event.session), identity.and_then(|identity| sequence_of(&identity.session)));
    match sequences {
        // Half of the numbers lie ahead, half behind.
        (Some(sequence), Some(held_sequence)) => match sequence.wrapping_sub(held_sequence) {
            0 if held.key.kind == event.kind => SessionOrder::Same,
            0..=127 => SessionOrder::Newer,
            128.. => SessionOrder::Older,
        },
        _ if event.time.is_some() && event.time == held_time && held.key.kind == event.kind => {
            SessionOrder::Same
        }
        // Arrival decides.
        _ => SessionOrder::Newer,
    }
}

/// Data of a node or of a device: only what is connected sends it.
pub fn alive(
    time: Option<UnixNanos>,
    delivery: Delivery,
    held: Option<&Held<'_>>,
    parent: Option<&Held<'_>>,
) -> Resolution {
    let apply =
        |session| Resolution::Apply(Key { session, kind: EventKind::Connect, time: delivery.received });
    let after_birth = parent.map_or(UNKNOWN_SESSION, |parent| parent.key.session.later_by(AFTER_BIRTH_NANOS));
    // Whether it was sent before the birth of the node.
    let is_of_earlier_session =
        parent.and_then(birth_time).is_some_and(|birth| time.is_none_or(|time| time < birth));
    let Some(known) = held else {
        return apply(if is_of_earlier_session { UNKNOWN_SESSION } else { after_birth });
    };
    let is_of_this_birth = parent.is_none_or(|parent| known.key.session >= parent.key.session);
    if known.key.is_connected() && is_of_this_birth {
        return Resolution::Confirm;
    }
    // What was sent before the death, or before the birth of the node, may arrive after it. A death of a node has no time,
    // so there the time of receipt must do.
    let is_overtaken = if known.key.is_connected() {
        is_of_earlier_session
    } else {
        delivery.received <= known.received.later_by(REORDERED_NANOS)
    };
    if is_overtaken {
        return Resolution::Late;
    }
    match parent {
        // A node that had died was born again, and that birth was missed: its devices have to be born again, too.
        None => apply(next_session(time.unwrap_or(delivery.received), delivery, known)),
        Some(_) if is_of_earlier_session => apply(known.key.session.later_by(1)),
        // As little later as can be.
        Some(_) => apply(known.key.session.later_by(1).max(after_birth)),
    }
}

/// When the session of a node began, by its own clock, if that is known.
fn birth_time(node: &Held<'_>) -> Option<UnixNanos> {
    let identity = node.identity.as_ref().filter(|_identity| node.key.is_connected())?;
    birth_of(&identity.session).and(identity.time)
}

fn held_birth(held: &Held<'_>) -> Option<u64> {
    birth_of(&held.identity.as_ref()?.session)
}

fn birth_of(session: &Session<'_>) -> Option<u64> {
    match session {
        Session::Matched { birth, .. } => *birth,
        Session::Arrival | Session::Connection(_) | Session::Started(_) | Session::Versioned { .. } => None,
    }
}

fn sequence_of(session: &Session<'_>) -> Option<u8> {
    match session {
        Session::Matched { sequence, .. } => *sequence,
        Session::Arrival | Session::Connection(_) | Session::Started(_) | Session::Versioned { .. } => None,
    }
}
