//! One message's claim about one device, and the total order of the claims.

use std::cmp::Ordering;

use crate::payload::Payload;
use crate::time_text::TimeText;

/// A point in time as the platform's clock showed it: nanoseconds since 1970, clamped to the years 1677 to 2262.
///
/// The platform's clocks step back and differ, so two moments are compared, never subtracted from ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(i64);

impl Moment {
    /// What a message without any time gets: it gives way to every message that has one.
    pub const UNKNOWN: Moment = Moment(i64::MIN);

    pub fn from_nanos(nanos: i128) -> Self {
        let clamped = nanos.clamp(i128::from(i64::MIN) + 1, i128::from(i64::MAX));
        Self(i64::try_from(clamped).expect("clamped to the range of an i64"))
    }

    /// The moment itself; `None` if it lies before 1677 or after 2262.
    pub fn exactly(nanos: i128) -> Option<Self> {
        i64::try_from(nanos).ok().map(Self).filter(|moment| !moment.is_at_end())
    }

    /// Where earlier versions held every moment that lies beyond.
    fn is_at_end(self) -> bool {
        self.0 <= i64::MIN + 1 || self.0 == i64::MAX
    }

    /// Nanoseconds since 1970; `None` for [`Moment::UNKNOWN`].
    pub fn nanos(self) -> Option<i64> {
        (self != Self::UNKNOWN).then_some(self.0)
    }

    /// RFC 3339 in UTC, in whole milliseconds; `None` for [`Moment::UNKNOWN`], and for the ends of the range, which stand for
    /// no time that anybody sent.
    pub fn rfc3339(self) -> Option<TimeText> {
        (!self.is_at_end()).then(|| TimeText::of_millis(self.0.div_euclid(1_000_000)))
    }

    /// The moment this many nanoseconds before.
    pub fn earlier_by(self, nanos: i64) -> Self {
        self.nanos().map_or(Self::UNKNOWN, |own| Self::from_nanos(i128::from(own) - i128::from(nanos)))
    }
}

/// What a message says of the session that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A login failed: nothing was on, so it says nothing of any session. It belongs into a history, into no state.
    FailedLogin,
    /// A request without a session, an HTTP post, began or ended: it says nothing about the device's connection.
    Request,
    /// The session began.
    Connect,
    /// The session ended because another connection took its client id: the device is connected elsewhere.
    Takeover,
    /// The session ended for want of authorisation. Mostly it never began: a refused login; then it says nothing
    /// about the sessions before it. If its Connect is known, it is an end like any other.
    Refusal,
    /// The session ended.
    Disconnect,
}

impl EventKind {
    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::FailedLogin => "failed_login",
            EventKind::Request => "request",
            EventKind::Connect => "connect",
            EventKind::Takeover => "takeover",
            EventKind::Refusal => "refusal",
            EventKind::Disconnect => "disconnect",
        }
    }

    /// Whether it is the end of a session that began.
    pub fn ends_session(self) -> bool {
        matches!(self, EventKind::Disconnect | EventKind::Takeover)
    }
}

/// One message about one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceEvent {
    pub kind: EventKind,
    /// When the session began that the message is about: the name of the session, and what sessions are ordered by.
    pub session: Moment,
    /// When the message was made.
    pub time: Moment,
    /// Why the session ended, as the wire format numbers it; 0 for none.
    pub close_code: u16,
    /// The message itself.
    pub payload: Payload,
}

/// How far ahead of our clock a status may be dated before it is marked: clocks and time zones that are set wrong differ by less.
const AHEAD_MAX_NANOS: i64 = 24 * 3_600 * 1_000_000_000;

impl PresenceEvent {
    /// Whether its session began, or it was made, more than a day after this time of our clock. It is a mark and no reason to
    /// refuse it: our clock may be the wrong one.
    pub fn is_dated_ahead(&self, now_nanos: i64) -> bool {
        self.session
            .max(self.time)
            .nanos()
            .is_some_and(|latest| latest > now_nanos.saturating_add(AHEAD_MAX_NANOS))
    }
}

/// The later session ranks higher; in one session an end ranks above its beginning, whatever their times say; then the
/// later time. Equal in all of these, the greater bytes: arbitrary, but the same everywhere.
impl Ord for PresenceEvent {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.session, self.kind, self.time, self.close_code)
            .cmp(&(other.session, other.kind, other.time, other.close_code))
            .then_with(|| self.payload.cmp(&other.payload))
    }
}

impl PartialOrd for PresenceEvent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
