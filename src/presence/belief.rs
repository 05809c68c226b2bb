//! What we believe of one device after any set of statements, in the least that later statements can still matter to.
//!
//! The rule, and why it is one: see "The merge rule" in ARCHITECTURE.md. In short: the newest session decides, in it an
//! end beats the beginning; a takeover ends nobody; a refused login ends nobody but its own session.

use super::statement::{Claim, Statement};

/// The belief about one device: a function of the set of statements applied, whatever their order, number or path.
///
/// Most devices hold exactly one statement; the rest is boxed because it is rare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The highest statement that began or ended a session: the newest session's end if it is known, else its beginning.
    session: Option<Statement>,
    rare: Option<Box<Rare>>,
}

/// Statements that decide only while no newer session is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    /// The highest takeover of a session newer than `session`: somebody else was connected then.
    takeover: Option<Statement>,
    /// Refusals of sessions newer than `session`, ascending, one for each session: each may still turn out to be the
    /// end of a session whose Connect is on its way.
    refusals: Vec<Statement>,
    /// The highest request; kept only while nothing else is known.
    request: Option<Statement>,
}

/// How many refused logins newer than the newest session are remembered; beyond it the oldest is forgotten.
///
/// A refusal is needed only if it arrives before the Connect of its own session, so sixteen of them would have to
/// overtake that one Connect. Without a limit a device with a wrong password could fill the memory.
const REFUSALS_MAX: usize = 16;

/// Two sessions of one device that begin within this are simultaneous connects: the one that was taken over never got as far
/// as a Connect, and the other decides. Their times are no help: an end that the broker found out after being killed carries
/// the time of its beginning.
const SIMULTANEOUS_NANOS: i64 = 1_000_000_000;

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
        match statement.claim {
            Claim::Connect | Claim::Disconnect => self.apply_session(statement),
            Claim::Takeover => self.apply_takeover(statement),
            Claim::Refusal => self.apply_refusal(statement),
            Claim::Request => self.apply_request(statement),
            Claim::FailedLogin => false,
        }
    }

    /// Takes everything that another belief about the same device holds into account.
    pub fn merge(&mut self, other: Belief) -> bool {
        let mut changed = false;
        for statement in other.into_statements() {
            changed |= self.apply(statement);
        }
        changed
    }

    /// The statements that the belief consists of: applied to an empty belief, they give the same one.
    pub fn into_statements(self) -> impl Iterator<Item = Statement> {
        let rare = self.rare.map(|rare| *rare).unwrap_or_default();
        self.session.into_iter().chain(rare.takeover).chain(rare.refusals).chain(rare.request)
    }

    /// The statement made last, whether it decides or not; `None` before the first.
    pub fn latest(&self) -> Option<&Statement> {
        let rare = self.rare.as_deref();
        let takeover = rare.and_then(|rare| rare.takeover.as_ref());
        let request = rare.and_then(|rare| rare.request.as_ref());
        let refusals = rare.map_or(&[][..], |rare| &rare.refusals);
        let all = self.session.iter().chain(takeover).chain(refusals).chain(request);
        all.max_by_key(|statement| (statement.time, statement.session, statement.claim))
    }

    /// Whether it may consist of more than its deciding statement, which most beliefs do not.
    pub fn holds_more_than_one(&self) -> bool {
        self.rare.is_some()
    }

    /// Status and deciding statement; `None` before the first statement.
    pub fn verdict(&self) -> Option<Verdict<'_>> {
        let takeover = self.rare.as_ref().and_then(|rare| rare.takeover.as_ref());
        let connected_elsewhere =
            |statement| Verdict { status: Status::Connected, statement, inferred: true };
        let Some(session) = &self.session else {
            return takeover
                .map(connected_elsewhere)
                .or_else(|| self.rare.as_ref()?.verdict_without_session());
        };
        let own = |status| Verdict { status, statement: session, inferred: takeover.is_some() };
        match (session.claim, takeover) {
            (Claim::Connect, _) => Some(own(Status::Connected)),
            // The session that was taken over began and ended after this one, so who took over is another, not yet seen.
            (_, Some(takeover))
                if takeover.session.earlier_by(SIMULTANEOUS_NANOS) > session.session
                    && takeover.time > session.time =>
            {
                Some(connected_elsewhere(takeover))
            }
            // Of two connections at nearly the same time one was refused as a takeover; this is the end of the other.
            (_, _) => Some(Verdict { inferred: false, ..own(Status::Disconnected) }),
        }
    }

    fn apply_session(&mut self, statement: Statement) -> bool {
        if self.session.as_ref() >= Some(&statement) {
            return false;
        }
        self.session = Some(statement);
        self.settle();
        true
    }

    fn apply_takeover(&mut self, statement: Statement) -> bool {
        let newer_than_session =
            self.session.as_ref().is_none_or(|session| session.session < statement.session);
        if !newer_than_session {
            return false;
        }
        let rare = self.rare.get_or_insert_default();
        if rare.takeover.as_ref() >= Some(&statement) {
            return false;
        }
        rare.takeover = Some(statement);
        rare.request = None;
        true
    }

    fn apply_refusal(&mut self, statement: Statement) -> bool {
        if let Some(session) = &self.session {
            if statement.session < session.session {
                return false;
            }
            if statement.session == session.session {
                return self.apply_session(Statement { claim: Claim::Disconnect, ..statement });
            }
        }
        self.rare.get_or_insert_default().insert_refusal(statement)
    }

    fn apply_request(&mut self, statement: Statement) -> bool {
        let known_otherwise = self.session.is_some()
            || self.rare.as_ref().is_some_and(|rare| rare.takeover.is_some() || !rare.refusals.is_empty());
        if known_otherwise {
            return false;
        }
        let rare = self.rare.get_or_insert_default();
        if rare.request.as_ref() >= Some(&statement) {
            return false;
        }
        rare.request = Some(statement);
        true
    }

    /// After a change of `session`: drops what no longer matters and takes a refusal of this very session as its end.
    fn settle(&mut self) {
        let (Some(session), Some(rare)) = (&mut self.session, &mut self.rare) else { return };
        rare.request = None;
        rare.takeover.take_if(|takeover| takeover.session <= session.session);
        let newer = rare.refusals.partition_point(|refusal| refusal.session <= session.session);
        let settled = rare.refusals.drain(..newer).next_back();
        if let Some(own) = settled.filter(|refusal| refusal.session == session.session) {
            let end = Statement { claim: Claim::Disconnect, ..own };
            if end > *session {
                *session = end;
            }
        }
        if rare.takeover.is_none() && rare.refusals.is_empty() {
            self.rare = None;
        }
    }
}

impl Rare {
    fn verdict_without_session(&self) -> Option<Verdict<'_>> {
        // A request connects nobody: it is over before anyone can ask.
        let deciding = self.refusals.last().or(self.request.as_ref());
        deciding.map(|statement| Verdict { status: Status::Disconnected, statement, inferred: false })
    }

    fn insert_refusal(&mut self, statement: Statement) -> bool {
        self.request = None;
        match self.refusals.binary_search_by_key(&statement.session, |refusal| refusal.session) {
            Ok(at) if self.refusals[at] >= statement => false,
            Ok(at) => {
                self.refusals[at] = statement;
                true
            }
            Err(0) if self.refusals.len() == REFUSALS_MAX => false,
            Err(at) => {
                self.refusals.insert(at, statement);
                if self.refusals.len() > REFUSALS_MAX {
                    self.refusals.remove(0);
                }
                true
            }
        }
    }
}
