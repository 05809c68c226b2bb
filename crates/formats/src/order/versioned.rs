//! Sessions with a version per client id that starts again, AWS IoT. An *epoch* is a run of versions.
//!
//! Two facts make the order total although times are only good to two minutes. In one epoch a session with a higher
//! version is later, whatever the times say. Between two epochs lies an hour without a connection, far more than the error
//! of two times. So of two events the one with the higher version is later, unless the other's time is later by more than
//! an hour less that error: then it is of a later epoch. For events that the broker can send this is exact, so the newest
//! of any set is the same in whatever order it arrives.
//!
//! Keys count in steps from the first event that was held: a step for each version, and at the start of an epoch the
//! event's time, but at least a step.

use crate::{Event, EventKind, UnixNanos};

use super::{Delivery, Held, Key, MILLISECOND, Resolution};

/// The distance of the keys of two versions: more than the second within which the merge rule takes two sessions for
/// simultaneous, because a version leaves no doubt which is later.
const STEP: i64 = 1_001_000_000;

/// How much the difference of two times may be wrong: each is good to two minutes.
const ERROR_NANOS: i64 = 4 * 60 * 1_000_000_000;

/// Versions start again after so long without a connection.
const EPOCH_GAP_NANOS: i64 = 3_600 * 1_000_000_000;

/// No client connects so often in an epoch; a version that leaps further begins an epoch of keys, so that the keys do not
/// run out of their range.
const LEAP_MAX: i64 = 1_000_000;

/// How an event names its session.
#[derive(Clone, Copy)]
pub struct VersionedSession<'a> {
    pub version: u64,
    pub name: &'a str,
}

/// How a session stands to the one that is held.
enum SessionPlace {
    Same,
    Older,
    /// In the same epoch, by so many versions.
    Newer(i64),
    NewEpoch,
    /// The same version of two sessions, and times that are too close.
    Undecidable,
}

pub fn resolve(
    event: &Event<'_>,
    session: VersionedSession<'_>,
    delivery: Delivery,
    held: Option<&Held<'_>>,
) -> Resolution {
    let time = event.time.unwrap_or(delivery.received);
    // A time that is dated far ahead must not use up the range of keys.
    let epoch = time.min(delivery.received.later_by(ERROR_NANOS));
    let key = |session, time| Resolution::Apply(Key { session, kind: event.kind, time });
    let Some((known, held_session)) = held.and_then(|held| Some((held, session_of(held)?))) else {
        let after = held.map_or(epoch, |held| epoch.max(held.key.session.later_by(STEP)));
        return key(after, time);
    };
    // A refusal may be of a session that never began, so it orders nothing; the merge rule puts both in order.
    if (known.key.kind == EventKind::Refusal || event.kind == EventKind::Refusal)
        && session.name != held_session.name
    {
        let leap = leap(session.version, held_session.version);
        return match place(session, time, held_session, known) {
            SessionPlace::NewEpoch => key(epoch.max(known.key.session.later_by(STEP)), time),
            SessionPlace::Same | SessionPlace::Older | SessionPlace::Newer(_) | SessionPlace::Undecidable => {
                key(known.key.session.later_by(leap.saturating_mul(STEP)), time)
            }
        };
    }
    let place = place(session, time, held_session, known);
    // The merge rule compares the time of a takeover with the end of an older session. The versions have decided that, so
    // the time must not contradict them.
    let time = match event.kind {
        EventKind::Takeover => time.max(known.key.time.later_by(MILLISECOND)),
        EventKind::Connect | EventKind::Disconnect | EventKind::Refusal => time,
    };
    match place {
        SessionPlace::Same => match (known.key.kind, event.kind) {
            (EventKind::Connect, EventKind::Disconnect | EventKind::Takeover) => key(known.key.session, time),
            // It had begun, so this is an end; and the other way round.
            (EventKind::Connect, EventKind::Refusal) | (EventKind::Refusal, EventKind::Connect) => {
                key(known.key.session, time)
            }
            (known, kind) if known == kind => Resolution::Confirm,
            _ => Resolution::Late,
        },
        SessionPlace::Older | SessionPlace::Undecidable => Resolution::Late,
        SessionPlace::Newer(versions) => key(known.key.session.later_by(versions.saturating_mul(STEP)), time),
        SessionPlace::NewEpoch => key(epoch.max(known.key.session.later_by(STEP)), time),
    }
}

fn place(
    session: VersionedSession<'_>,
    time: UnixNanos,
    held: VersionedSession<'_>,
    known: &Held<'_>,
) -> SessionPlace {
    if session.name == held.name {
        return SessionPlace::Same;
    }
    let held_time = known.identity.as_ref().and_then(|identity| identity.time).unwrap_or(known.key.time);
    let later_by = time.0.saturating_sub(held_time.0);
    let is_of_later_epoch = later_by > EPOCH_GAP_NANOS - ERROR_NANOS;
    let is_of_earlier_epoch = later_by < ERROR_NANOS - EPOCH_GAP_NANOS;
    let leap = leap(session.version, held.version);
    if leap == 0 {
        // Two epochs.
        return match later_by {
            later if later > ERROR_NANOS => SessionPlace::NewEpoch,
            later if later < -ERROR_NANOS => SessionPlace::Older,
            _ => SessionPlace::Undecidable,
        };
    }
    match leap {
        ..0 if is_of_later_epoch => SessionPlace::NewEpoch,
        1.. if is_of_earlier_epoch => SessionPlace::Older,
        LEAP_MAX.. => SessionPlace::NewEpoch,
        1.. => SessionPlace::Newer(leap),
        ..=0 => SessionPlace::Older,
    }
}

fn leap(version: u64, held: u64) -> i64 {
    let leap = i128::from(version) - i128::from(held);
    i64::try_from(leap.clamp(i128::from(-LEAP_MAX), i128::from(LEAP_MAX))).unwrap_or(LEAP_MAX)
}

fn session_of<'a>(held: &'a Held<'_>) -> Option<VersionedSession<'a>> {
    match &held.identity.as_ref()?.session {
        crate::Session::Versioned { version, session } => {
            Some(VersionedSession { version: *version, name: session })
        }
        crate::Session::Arrival
        | crate::Session::Connection(_)
        | crate::Session::Started(_)
        | crate::Session::Matched { .. } => None,
    }
}
