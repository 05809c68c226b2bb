//! What an event means beside the state that is held of its device: whether it is newer, and by which key.
//!
//! The stores keep one order for all sources: by session, then kind (the end of a session beats its beginning), then time.
//! Sources order their sessions in four ways, see [`Session`]. Here each event gets the key by which that one order does
//! what its source means. Pure: the time of receipt is an argument. docs/sources/order.md explains each way and its limits.

mod arrival;
mod matched;
mod named;
mod parent;
mod versioned;

use crate::{Cause, Event, EventKind, Session, UnixNanos};

pub use parent::{EffectiveState, IsSame, Own, ParentRule, Shown, effective};

/// The key of a session that nobody has seen begin: it gives way to every session that was.
pub const UNKNOWN_SESSION: UnixNanos = UnixNanos(i64::MIN);

/// How far a message may be overtaken by a later one in a cluster of brokers.
const REORDERED_NANOS: i64 = 5_000_000_000;

const MILLISECOND: i64 = 1_000_000;

/// How the stores order an event, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Orders sessions. For [`Session::Started`] it is when the session began; for the others it is close to that, and is
    /// not meant to be shown.
    pub session: UnixNanos,
    pub kind: EventKind,
    /// Since when the device has been in this state.
    pub time: UnixNanos,
}

impl Key {
    /// Whether a device whose newest event this is, is connected. A refusal alone connects nobody.
    pub fn is_connected(&self) -> bool {
        is_connected(self.kind)
    }
}

/// What a message says of its session, as its bytes alone tell.
#[derive(Clone, Debug, PartialEq)]
pub struct EventIdentity<'a> {
    pub session: Session<'a>,
    pub time: Option<UnixNanos>,
    pub cause: Option<Cause>,
}

impl<'a> Event<'a> {
    /// What the event says of its session.
    pub fn into_identity(self) -> EventIdentity<'a> {
        EventIdentity { session: self.session, time: self.time, cause: self.cause }
    }
}

/// The state that is held of a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Held<'a> {
    pub key: Key,
    /// When the latest message about the device was received, by our clock.
    pub received: UnixNanos,
    /// What the message that decided says of its session, if it can still be decoded.
    pub identity: Option<EventIdentity<'a>>,
}

/// How a message came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it was received by our clock: when its packet was read, not when it left a queue.
    pub received: UnixNanos,
    pub origin: Transmission,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmission {
    /// It was published while we were subscribed, since this time.
    Live { subscribed: UnixNanos },
    /// The broker replayed it because we subscribed, at this time.
    Retained { subscribed: UnixNanos },
}

/// What is to be done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Merge it under this key: it is a change, or the merge rule must decide.
    Apply(Key),
    /// Merge it under this key: the message replaces the one that is held, but the device is in the same state as before.
    Renew(Key),
    /// It repeats what is held: note the time of receipt, and change nothing else.
    Confirm,
    /// A later event is held: ignore and count it.
    Late,
    /// It belongs into the history and changes no state.
    Record,
}

/// Decides what an event means beside the state of its device, and of its parent if it has one.
pub fn resolve(
    event: &Event<'_>,
    delivery: Delivery,
    held: Option<&Held<'_>>,
    parent: Option<&Held<'_>>,
) -> Resolution {
    match &event.session {
        Session::Arrival => arrival::state(event, delivery, held),
        Session::Connection(peer) => arrival::change(event, peer.as_deref(), delivery, held),
        Session::Started(started) => named::resolve(event, *started, delivery, held),
        Session::Versioned { version, session } => versioned::resolve(
            event,
            versioned::VersionedSession { version: *version, name: session },
            delivery,
            held,
        ),
        Session::Matched { .. } if event.parent.is_some() => matched::device(event, delivery, held, parent),
        Session::Matched { .. } => matched::node(event, delivery, held),
    }
}

/// Decides what a message means that says that a device is gone. It counts although the device is disconnected already: what is held
/// must tell that the device was removed since.
pub fn resolve_removal(event: &Event<'_>, delivery: Delivery, held: &Held<'_>) -> Resolution {
    match resolve(event, delivery, Some(held), None) {
        Resolution::Confirm => {
            let session = arrival::next(delivery.received, Some(held));
            Resolution::Renew(Key { session, kind: EventKind::Disconnect, time: held.key.time })
        }
        resolution => resolution,
    }
}

/// Which rule decides what a sign of life means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AliveRule {
    /// For profiles, whose messages arrive in order.
    Arrival,
    /// For Sparkplug, whose data is sent at this time by the clock of its births.
    Matched(Option<UnixNanos>),
}

/// Decides what a sign of life means: a message that shows that a device is connected, without being a status message.
pub fn resolve_alive(
    rule: AliveRule,
    delivery: Delivery,
    held: Option<&Held<'_>>,
    parent: Option<&Held<'_>>,
) -> Resolution {
    if delivery.is_retained() {
        return Resolution::Late;
    }
    match rule {
        AliveRule::Arrival => arrival::alive(delivery, held),
        AliveRule::Matched(time) => matched::alive(time, delivery, held, parent),
    }
}

/// Whether an event shows that the parent of its device is connected. In Sparkplug a node speaks for its devices.
pub fn shows_parent_alive(event: &Event<'_>, delivery: Delivery) -> bool {
    event.parent.is_some() && matches!(event.session, Session::Matched { .. }) && !delivery.is_retained()
}

/// The key of the end of a connection that a restart of its broker ended: `None` if the device is not connected, or a message of
/// it was received since. For sources whose broker says since when it runs, and which replay nothing.
pub fn ended_by_restart(held: &Held<'_>, broker_started: UnixNanos, ended_before: UnixNanos) -> Option<Key> {
    (held.key.is_connected() && held.received < ended_before).then(|| {
        let session = arrival::next(broker_started, Some(held));
        Key { session, kind: EventKind::Disconnect, time: session }
    })
}

impl Delivery {
    fn is_retained(self) -> bool {
        match self.origin {
            Transmission::Live { .. } => false,
            Transmission::Retained { .. } => true,
        }
    }
}

fn is_connected(kind: EventKind) -> bool {
    match kind {
        EventKind::Connect | EventKind::Takeover => true,
        EventKind::Disconnect | EventKind::Refusal => false,
    }
}

impl UnixNanos {
    fn later_by(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}
