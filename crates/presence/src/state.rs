//! What we believe of one device after any set of statements, in the least that later statements can still matter to.
//!
//! The rule, and why it is one: see "The merge rule" in ARCHITECTURE.md. In short: the newest session decides, and in it an
//! end beats the beginning; a takeover ends its own session and leaves the device connected; a refused login ends only its
//! own session.

use crate::event::{Claim, Moment, Statement};

/// The belief about one device: a function of the set of statements applied, whatever their order, number or path.
///
/// Most devices hold exactly one statement; the rest is boxed because it is rare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The end of the newest session of which a beginning or an end is known; while no end is known, its beginning.
    session: Option<Statement>,
    rare: Option<Box<Rare>>,
}

/// Statements that can still matter beside `session`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rare {
    /// In ascending order; never empty.
    others: Vec<Statement>,
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

/// What a belief comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    pub status: Status,
    /// The deciding statement.
    pub statement: &'a Statement,
    /// The status follows from a takeover: the session that is connected now has not been seen itself.
    pub inferred: bool,
}

impl Belief {
    /// Takes one statement into account and says whether the belief changed.
    pub fn apply(&mut self, statement: Statement) -> bool {
        if statement.claim == Claim::FailedLogin || self.makes_needless(&statement) {
            return false;
        }
        if begins_or_ends(&statement) && self.is_superseded_by(&statement) {
            *self = Self { session: Some(statement), rare: None };
            return true;
        }
        if self.statements().any(|held| *held == statement) {
            return false;
        }
        let next = Self::of(self.statements().cloned().chain([statement]).collect());
        let changed = next != *self;
        *self = next;
        changed
    }

    /// Takes everything that another belief about the same device holds into account.
    pub fn merge(&mut self, other: Belief) -> bool {
        let mut changed = false;
        for statement in other.into_statements() {
            changed |= self.apply(statement);
        }
        changed
    }

    /// The bytes that its messages take.
    pub fn payload_bytes(&self) -> usize {
        self.statements().map(|statement| statement.payload.packed_len()).sum()
    }

    /// The statements that the belief consists of: applied to an empty belief, they give the same one.
    pub fn into_statements(self) -> impl Iterator<Item = Statement> {
        self.session.into_iter().chain(self.rare.map(|rare| rare.others).unwrap_or_default())
    }

    /// The statement made last, whether it decides or not; `None` before the first.
    pub fn latest(&self) -> Option<&Statement> {
        self.statements().max_by_key(|statement| (statement.time, statement.session, statement.claim))
    }

    /// The takeover of the newest session that was taken over, if there is one that the belief still needs.
    pub fn newest_takeover(&self) -> Option<&Statement> {
        self.others().iter().rfind(|statement| statement.claim == Claim::Takeover)
    }

    /// Whether it may consist of more than its deciding statement, which most beliefs do not.
    pub fn holds_more_than_one(&self) -> bool {
        self.rare.is_some()
    }

    /// Status and deciding statement; `None` before the first statement.
    pub fn verdict(&self) -> Option<Verdict<'_>> {
        let takeover = self.newest_takeover().filter(|takeover| {
            self.session.as_ref().is_none_or(|session| session.session <= takeover.session)
        });
        let Some(takeover) = takeover else {
            // A refusal or a request alone connects nobody.
            let statement = self.session.as_ref().or(self.others().last())?;
            return Some(seen(statement));
        };
        match self.newest_not_taken_over() {
            Some(other) if counts_after(other, takeover) => Some(seen(other)),
            // Whoever took over has not been seen.
            _ => {
                let connect = self.session.as_ref().filter(|session| session.claim == Claim::Connect);
                let statement = connect.unwrap_or(takeover);
                Some(Verdict { status: Status::Connected, statement, inferred: true })
            }
        }
    }

    /// The beginning or end of the newest session of which one is known and that was not taken over.
    fn newest_not_taken_over(&self) -> Option<&Statement> {
        let was_taken_over = |session: Moment| {
            self.others().iter().any(|other| other.claim == Claim::Takeover && other.session == session)
        };
        let mut newest_first = self.session.iter().chain(self.others().iter().rev());
        newest_first.find(|statement| match statement.claim {
            Claim::Connect => !was_taken_over(statement.session),
            // Of two sessions that share a moment one was taken over; this is the end of the other.
            Claim::Disconnect => true,
            Claim::FailedLogin | Claim::Request | Claim::Takeover | Claim::Refusal => false,
        })
    }

    fn others(&self) -> &[Statement] {
        self.rare.as_ref().map_or(&[], |rare| &rare.others)
    }

    fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.session.iter().chain(self.others())
    }

    /// Whether a statement changes nothing, as can be told without a look at the rare ones.
    fn makes_needless(&self, statement: &Statement) -> bool {
        self.session.as_ref().is_some_and(|session| {
            statement.claim == Claim::Request
                || statement.session < session.session.earlier_by(SIMULTANEOUS_NANOS)
                || (begins_or_ends(statement) && statement.session == session.session && statement <= session)
        })
    }

    /// Whether nothing that is held matters beside a beginning or end that is not needless.
    fn is_superseded_by(&self, statement: &Statement) -> bool {
        let oldest_that_matters = statement.session.earlier_by(SIMULTANEOUS_NANOS);
        self.statements().all(|held| {
            held.session < oldest_that_matters || (self.rare.is_none() && held.session == statement.session)
        })
    }

    /// The belief of all these statements: drops what can no longer matter, whatever is still to come.
    fn of(mut statements: Vec<Statement>) -> Self {
        statements.sort_unstable();
        let one_session = |one: &Statement, other: &Statement| one.session == other.session;
        let mut held: Vec<Statement> = statements.chunk_by(one_session).flat_map(reduce_session).collect();
        let decided = held.iter().rfind(|statement| begins_or_ends(statement)).map(|newest| newest.session);
        let oldest = oldest_simultaneous(&held);
        held.retain(|statement| {
            let may_be_simultaneous = statement.session >= oldest;
            may_be_simultaneous
                || match statement.claim {
                    Claim::Connect | Claim::Disconnect => Some(statement.session) == decided,
                    Claim::Refusal => Some(statement.session) > decided,
                    Claim::FailedLogin | Claim::Request | Claim::Takeover => false,
                }
        });
        let refusals = held.iter().filter(|statement| statement.claim == Claim::Refusal).count();
        let mut surplus = refusals.saturating_sub(REFUSALS_MAX);
        held.retain(|statement| {
            let is_surplus = surplus > 0 && statement.claim == Claim::Refusal;
            surplus -= usize::from(is_surplus);
            !is_surplus
        });
        if held.is_empty() {
            let request = statements.into_iter().rfind(|statement| statement.claim == Claim::Request);
            held.extend(request);
        }
        let session = held.iter().rposition(begins_or_ends).map(|at| held.remove(at));
        let rare = (!held.is_empty()).then(|| Box::new(Rare { others: held }));
        Self { session, rare }
    }
}

fn begins_or_ends(statement: &Statement) -> bool {
    matches!(statement.claim, Claim::Connect | Claim::Disconnect)
}

/// What a statement says by itself; a takeover is never asked.
fn seen(statement: &Statement) -> Verdict<'_> {
    let status = if statement.claim == Claim::Connect { Status::Connected } else { Status::Disconnected };
    Verdict { status, statement, inferred: false }
}

/// Whether the beginning or end of a session still counts after the takeover of a newer one: if that session may have taken
/// over, or ended later.
fn counts_after(statement: &Statement, takeover: &Statement) -> bool {
    let is_simultaneous = statement.session >= takeover.session.earlier_by(SIMULTANEOUS_NANOS);
    if statement.claim == Claim::Connect {
        return is_simultaneous;
    }
    // An end that a broker found out after being killed carries the time of its beginning, or an earlier one.
    let had_ended = |takeover_time: Moment| statement.time < takeover_time;
    if is_simultaneous {
        !had_ended(takeover.time.earlier_by(SIMULTANEOUS_NANOS)) || statement.time < statement.session
    } else {
        !had_ended(takeover.time)
    }
}

/// What can matter of the statements about one session, in ascending order: its end; while none is known, its beginning, its
/// takeover and its refusal.
fn reduce_session(statements: &[Statement]) -> impl Iterator<Item = Statement> {
    let last = |claim| statements.iter().rfind(|statement| statement.claim == claim).cloned();
    let (connect, takeover, refusal, end) =
        (last(Claim::Connect), last(Claim::Takeover), last(Claim::Refusal), last(Claim::Disconnect));
    let (refusal, refused) = if connect.is_some() || end.is_some() {
        // It was no refused login: the session had begun.
        (None, refusal.map(|refusal| Statement { claim: Claim::Disconnect, ..refusal }))
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
fn oldest_simultaneous(ascending: &[Statement]) -> Moment {
    let mut sessions: Vec<Moment> = Vec::with_capacity(ascending.len());
    sessions.extend(ascending.iter().filter(|one| one.claim != Claim::Refusal).map(|one| one.session));
    sessions.dedup();
    let Some(newest) = sessions.last() else { return Moment::UNKNOWN };
    let within_reach = newest.earlier_by(SIMULTANEOUS_NANOS);
    sessions.iter().nth_back(SIMULTANEOUS_MAX - 1).map_or(within_reach, |oldest| within_reach.max(*oldest))
}
