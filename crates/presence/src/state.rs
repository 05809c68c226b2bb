//! The state of one device after any set of events: the least that later events can still matter to.
//!
//! The rule, and why it is one: see "The merge rule" in ARCHITECTURE.md. In short: the newest session decides, and in it an
//! end beats the beginning; a takeover ends its own session and leaves the device connected; a refused login ends only its
//! own session.

use crate::event::{EventKind, Moment, PresenceEvent};

/// The state of one device: a function of the set of events applied, whatever their order, number or path.
///
/// Most devices hold exactly one event; the rest is boxed because it is rare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceState {
    /// The end of the newest session of which a beginning or an end is known; while no end is known, its beginning.
    session: Option<PresenceEvent>,
    rare: Option<Box<Rare>>,
}

/// Events that can still matter beside `session`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rare {
    /// In ascending order; never empty.
    others: Vec<PresenceEvent>,
}

/// How many refused logins are remembered; beyond it the oldest is forgotten.
///
/// A refusal is needed only if it arrives before the Connect of its own session, so sixteen of them would have to
/// overtake that one Connect. Without a limit a device with a wrong password could fill the memory.
const REFUSALS_MAX: usize = 16;

/// Sessions of one device that begin within this are simultaneous: either may have taken over the other, because the
/// platform's threads race, and two nodes of a broker have two clocks.
const SIMULTANEOUS_NANOS: i64 = 1_000_000_000;

/// How many simultaneous sessions are remembered; beyond it the oldest is forgotten. The platform was seen to begin four at
/// once. Without a limit one that connects a thousand times a second could fill the memory.
const SIMULTANEOUS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Connected,
    Disconnected,
}

impl Status {
    /// The word for it in requests and answers.
    pub fn word(self) -> &'static str {
        match self {
            Status::Connected => "connected",
            Status::Disconnected => "disconnected",
        }
    }
}

/// The status that follows from a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResolvedStatus<'a> {
    pub status: Status,
    /// The deciding event.
    pub event: &'a PresenceEvent,
    /// The status follows from a takeover: the session that is connected now has not been seen itself.
    pub inferred: bool,
}

impl DeviceState {
    /// Takes one event into account and says whether the state changed.
    pub fn apply(&mut self, event: PresenceEvent) -> bool {
        if event.kind == EventKind::FailedLogin || self.makes_needless(&event) {
            return false;
        }
        if begins_or_ends(&event) && self.is_superseded_by(&event) {
            *self = Self { session: Some(event), rare: None };
            return true;
        }
        if self.events().any(|held| *held == event) {
            return false;
        }
        let next = Self::of(self.events().cloned().chain([event]).collect());
        let changed = next != *self;
        *self = next;
        changed
    }

    /// Whether the state would be the same without this event, as it is: the event is none of those that the state consists of,
    /// and would change nothing if it came now.
    pub fn is_unaffected_by(&self, event: &PresenceEvent) -> bool {
        !self.events().any(|held| held == event)
            && (self.makes_needless(event) || !self.clone().apply(event.clone()))
    }

    /// Merges another state of the same device into this one.
    pub fn merge(&mut self, other: DeviceState) -> bool {
        let mut changed = false;
        for event in other.into_events() {
            changed |= self.apply(event);
        }
        changed
    }

    /// The bytes that its messages take.
    pub fn payload_bytes(&self) -> usize {
        self.events().map(|event| event.payload.packed_len()).sum()
    }

    /// The state of a device of which only one event matters, which begins or ends a session.
    pub fn of_session(event: PresenceEvent) -> Self {
        debug_assert!(begins_or_ends(&event));
        Self { session: Some(event), rare: None }
    }

    /// The only event that it consists of, if that begins or ends a session, which is so for most devices.
    pub fn only_session(&self) -> Option<&PresenceEvent> {
        self.session.as_ref().filter(|_| self.rare.is_none())
    }

    /// The same event itself, or the state if it consists of others.
    pub fn into_only_session(self) -> Result<PresenceEvent, Self> {
        match self {
            Self { session: Some(event), rare: None } => Ok(event),
            state => Err(state),
        }
    }

    /// The events that the state consists of: applied to an empty state, they give the same one.
    pub fn into_events(self) -> impl Iterator<Item = PresenceEvent> {
        self.session.into_iter().chain(self.rare.map(|rare| rare.others).unwrap_or_default())
    }

    /// The event made last, whether it decides or not; `None` before the first.
    pub fn latest(&self) -> Option<&PresenceEvent> {
        self.events().max_by_key(|event| (event.time, event.session, event.kind))
    }

    /// The takeover of the newest session that was taken over, if there is one that the state still needs.
    pub fn newest_takeover(&self) -> Option<&PresenceEvent> {
        self.others().iter().rfind(|event| event.kind == EventKind::Takeover)
    }

    /// Whether it may consist of more than its deciding event, which most states do not.
    pub fn holds_more_than_one(&self) -> bool {
        self.rare.is_some()
    }

    /// Status and deciding event; `None` before the first event.
    pub fn resolve(&self) -> Option<ResolvedStatus<'_>> {
        let takeover = self.newest_takeover().filter(|takeover| {
            self.session.as_ref().is_none_or(|session| session.session <= takeover.session)
        });
        let Some(takeover) = takeover else {
            // A refusal or a request alone connects nobody.
            let event = self.session.as_ref().or(self.others().last())?;
            return Some(seen(event));
        };
        match self.newest_not_taken_over() {
            Some(other) if counts_after(other, takeover) => Some(seen(other)),
            // The one that took over has not been seen.
            _ => {
                let connect = self.session.as_ref().filter(|session| session.kind == EventKind::Connect);
                let event = connect.unwrap_or(takeover);
                Some(ResolvedStatus { status: Status::Connected, event, inferred: true })
            }
        }
    }

    /// The beginning or end of the newest session of which one is known and that was not taken over.
    fn newest_not_taken_over(&self) -> Option<&PresenceEvent> {
        let was_taken_over = |session: Moment| {
            self.others().iter().any(|other| other.kind == EventKind::Takeover && other.session == session)
        };
        let mut newest_first = self.session.iter().chain(self.others().iter().rev());
        newest_first.find(|event| match event.kind {
            EventKind::Connect => !was_taken_over(event.session),
            // Of two sessions that share a moment one was taken over; this is the end of the other.
            EventKind::Disconnect => true,
            EventKind::FailedLogin | EventKind::Request | EventKind::Takeover | EventKind::Refusal => false,
        })
    }

    fn others(&self) -> &[PresenceEvent] {
        self.rare.as_ref().map_or(&[], |rare| &rare.others)
    }

    /// The same, borrowed.
    pub fn events(&self) -> impl Iterator<Item = &PresenceEvent> {
        self.session.iter().chain(self.others())
    }

    /// Whether an event changes nothing, which the session alone shows, without a look at the rare ones.
    fn makes_needless(&self, event: &PresenceEvent) -> bool {
        self.session.as_ref().is_some_and(|session| {
            event.kind == EventKind::Request
                || event.session < session.session.earlier_by(SIMULTANEOUS_NANOS)
                || (begins_or_ends(event) && event.session == session.session && event <= session)
        })
    }

    /// Whether nothing that is held matters beside a beginning or end that is not needless.
    fn is_superseded_by(&self, event: &PresenceEvent) -> bool {
        let oldest_that_matters = event.session.earlier_by(SIMULTANEOUS_NANOS);
        self.events().all(|held| {
            held.session < oldest_that_matters || (self.rare.is_none() && held.session == event.session)
        })
    }

    /// The state of all these events: drops what can no longer matter, whatever is still to come.
    fn of(mut events: Vec<PresenceEvent>) -> Self {
        events.sort_unstable();
        let one_session = |one: &PresenceEvent, other: &PresenceEvent| one.session == other.session;
        let mut held: Vec<PresenceEvent> = events.chunk_by(one_session).flat_map(reduce_session).collect();
        let decided = held.iter().rfind(|event| begins_or_ends(event)).map(|newest| newest.session);
        let oldest = oldest_simultaneous(&held);
        held.retain(|event| {
            let may_be_simultaneous = event.session >= oldest;
            may_be_simultaneous
                || match event.kind {
                    EventKind::Connect | EventKind::Disconnect => Some(event.session) == decided,
                    EventKind::Refusal => Some(event.session) > decided,
                    EventKind::FailedLogin | EventKind::Request | EventKind::Takeover => false,
                }
        });
        let refusals = held.iter().filter(|event| event.kind == EventKind::Refusal).count();
        let mut surplus = refusals.saturating_sub(REFUSALS_MAX);
        held.retain(|event| {
            let is_surplus = surplus > 0 && event.kind == EventKind::Refusal;
            surplus -= usize::from(is_surplus);
            !is_surplus
        });
        if held.is_empty() {
            let request = events.into_iter().rfind(|event| event.kind == EventKind::Request);
            held.extend(request);
        }
        let session = held.iter().rposition(begins_or_ends).map(|at| held.remove(at));
        let rare = (!held.is_empty()).then(|| Box::new(Rare { others: held }));
        Self { session, rare }
    }
}

fn begins_or_ends(event: &PresenceEvent) -> bool {
    matches!(event.kind, EventKind::Connect | EventKind::Disconnect)
}

/// What an event says by itself; a takeover is never asked.
fn seen(event: &PresenceEvent) -> ResolvedStatus<'_> {
    let status = if event.kind == EventKind::Connect { Status::Connected } else { Status::Disconnected };
    ResolvedStatus { status, event, inferred: false }
}

/// Whether the beginning or end of a session still counts after the takeover of a newer one: if that session may have taken
/// over, or ended later.
fn counts_after(event: &PresenceEvent, takeover: &PresenceEvent) -> bool {
    let is_simultaneous = event.session >= takeover.session.earlier_by(SIMULTANEOUS_NANOS);
    if event.kind == EventKind::Connect {
        return is_simultaneous;
    }
    // An end that a broker found out after being killed carries the time of its beginning, or an earlier one.
    let had_ended = |takeover_time: Moment| event.time < takeover_time;
    if is_simultaneous {
        !had_ended(takeover.time.earlier_by(SIMULTANEOUS_NANOS)) || event.time < event.session
    } else {
        !had_ended(takeover.time)
    }
}

/// What can matter of the events about one session, in ascending order: its end; while none is known, its beginning, its
/// takeover and its refusal.
fn reduce_session(events: &[PresenceEvent]) -> impl Iterator<Item = PresenceEvent> {
    let last = |kind| events.iter().rfind(|event| event.kind == kind).cloned();
    let (connect, takeover, refusal, end) = (
        last(EventKind::Connect),
        last(EventKind::Takeover),
        last(EventKind::Refusal),
        last(EventKind::Disconnect),
    );
    let (refusal, refused) = if connect.is_some() || end.is_some() {
        // It was no refused login: the session had begun.
        (None, refusal.map(|refusal| PresenceEvent { kind: EventKind::Disconnect, ..refusal }))
    } else {
        (refusal, None)
    };
    let kept = match end.max(refused) {
        Some(end) => [Some(end), None, None],
        None => [connect, takeover, refusal],
    };
    kept.into_iter().flatten()
}

/// From which moment on a session may be simultaneous with the newest one, or with one that is still to come.
fn oldest_simultaneous(ascending: &[PresenceEvent]) -> Moment {
    let mut sessions: Vec<Moment> = Vec::with_capacity(ascending.len());
    sessions.extend(ascending.iter().filter(|one| one.kind != EventKind::Refusal).map(|one| one.session));
    sessions.dedup();
    let Some(newest) = sessions.last() else { return Moment::UNKNOWN };
    let within_reach = newest.earlier_by(SIMULTANEOUS_NANOS);
    sessions.iter().nth_back(SIMULTANEOUS_MAX - 1).map_or(within_reach, |oldest| within_reach.max(*oldest))
}
