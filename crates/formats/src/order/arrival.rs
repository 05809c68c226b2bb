//! Sources whose messages name no session and give no order: what arrives later is newer.
//!
//! Keys are a hybrid logical clock: the time of receipt, but later than what is held. So the order of arrival survives a
//! clock that steps back, and holds between instances that share a store as far as their clocks agree.

use crate::{Cause, Event, EventKind, Session, UnixNanos};

use super::{Delivery, Held, Key, MILLISECOND, Resolution, Transmission, is_connected};

/// The key of an event that is newer than what is held.
pub fn next(received: UnixNanos, held: Option<&Held<'_>>) -> UnixNanos {
    held.map_or(received, |held| received.max(held.key.session.later_by(MILLISECOND)))
}

fn apply(
    kind: EventKind,
    time: Option<UnixNanos>,
    delivery: Delivery,
    held: Option<&Held<'_>>,
) -> Resolution {
    let session = next(delivery.received, held);
    Resolution::Apply(Key { session, kind, time: time.unwrap_or(session) })
}

/// A message that tells the state: last-will conventions.
pub fn state(event: &Event<'_>, delivery: Delivery, held: Option<&Held<'_>>) -> Resolution {
    let kind = match event.kind {
        EventKind::Refusal => return Resolution::Record,
        // Somebody is connected under the same name.
        EventKind::Takeover => EventKind::Connect,
        EventKind::Connect | EventKind::Disconnect => event.kind,
    };
    let Some(known) = held else { return apply(kind, event.time, delivery, held) };
    let is_repetition = known.key.is_connected() == is_connected(kind);
    if let Transmission::Retained { subscribed } = delivery.origin
        && (subscribed..=delivery.received).contains(&known.received)
        && !is_repetition
    {
        // The broker read it for the replay before the live message came that is held.
        return Resolution::Late;
    }
    if !is_repetition {
        return apply(kind, event.time, delivery, held);
    }
    match &known.identity {
        // From asleep to lost, for example.
        Some(identity) if identity.cause != event.cause && known.key.kind == kind => {
            let session = next(delivery.received, held);
            Resolution::Renew(Key { session, kind, time: known.key.time })
        }
        // The time of receipt is held in whole seconds. In the second of the subscription the key tells it exactly, or else what
        // the broker read for the replay before this message would win.
        _ if is_first_of_subscription(delivery, known) && known.key.kind == kind => {
            let session = next(delivery.received, held);
            Resolution::Renew(Key { session, kind, time: known.key.time })
        }
        _ => Resolution::Confirm,
    }
}

/// Whether a beginning may have been missed since the message that is held: then the end of a connection that nobody has seen
/// begin is the end of the newest.
fn has_missed_lines(delivery: Delivery, held: Option<&Held<'_>>) -> bool {
    match delivery.origin {
        Transmission::Live { subscribed } => held.is_some_and(|held| held.received < subscribed),
        Transmission::Retained { .. } => false,
    }
}

fn is_first_of_subscription(delivery: Delivery, known: &Held<'_>) -> bool {
    let second = |time: UnixNanos| time.0.div_euclid(1_000_000_000);
    match delivery.origin {
        Transmission::Live { subscribed } => {
            second(subscribed) == second(delivery.received) && known.received < subscribed
        }
        Transmission::Retained { .. } => false,
    }
}

/// Whether the end of this connection is what is held: the end has overtaken the beginning.
fn has_ended(event: &Event<'_>, peer: Option<&str>, held: Option<&Held<'_>>) -> bool {
    let ended = held.filter(|held| !held.key.is_connected() && peer.is_some() && peer_of(held) == peer);
    let Some((ended, began)) = ended.and_then(time_of).zip(event.time) else { return false };
    // A client that always has the same port may be back in the second of its end, of which a log tells no part.
    let is_whole_second = began.0 % 1_000_000_000 == 0;
    began < ended || began == ended && !is_whole_second
}

/// A message that tells of a change: mosquitto's log, NanoMQ, RMQTT.
pub fn change(
    event: &Event<'_>,
    peer: Option<&str>,
    delivery: Delivery,
    held: Option<&Held<'_>>,
) -> Resolution {
    if delivery.is_retained() {
        // A change that was replayed tells no more than the state.
        return state(event, delivery, held);
    }
    let connection = held.filter(|held| held.key.is_connected());
    let held_peer = connection.and_then(peer_of);
    let is_of_another = peer.is_some()
        && held_peer.is_some()
        && peer != held_peer
        && (event.cause == Some(Cause::Refused) || !has_missed_lines(delivery, held));
    match event.kind {
        EventKind::Refusal => Resolution::Record,
        EventKind::Connect => {
            let is_repetition = connection.is_some_and(|held| {
                peer.is_some() && peer == held_peer && event.time.is_some() && event.time == time_of(held)
            });
            if is_repetition {
                Resolution::Confirm
            } else if has_ended(event, peer, held) {
                Resolution::Late
            } else {
                apply(event.kind, event.time, delivery, held)
            }
        }
        EventKind::Disconnect | EventKind::Takeover if is_of_another => Resolution::Late,
        EventKind::Disconnect if held.is_some() && connection.is_none() => Resolution::Confirm,
        EventKind::Disconnect => apply(event.kind, event.time, delivery, held),
        // The beginning of the session that took over follows; the device is connected all the while.
        EventKind::Takeover if connection.is_some() => Resolution::Record,
        EventKind::Takeover => apply(EventKind::Connect, event.time, delivery, held),
    }
}

/// A sign of life.
pub fn alive(delivery: Delivery, held: Option<&Held<'_>>) -> Resolution {
    match held {
        Some(known) if known.key.is_connected() => Resolution::Confirm,
        _ => apply(EventKind::Connect, None, delivery, held),
    }
}

fn peer_of<'a>(held: &'a Held<'_>) -> Option<&'a str> {
    match &held.identity.as_ref()?.session {
        Session::Connection(peer) => peer.as_deref(),
        Session::Arrival | Session::Started(_) | Session::Versioned { .. } | Session::Matched { .. } => None,
    }
}

fn time_of(held: &Held<'_>) -> Option<UnixNanos> {
    held.identity.as_ref()?.time
}
