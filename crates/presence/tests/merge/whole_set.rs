//! The belief that is built up message by message against the rule, evaluated on the whole set at once.

use presence::payload::Payload;
use presence::{Belief, Claim, Moment, Statement, Status};

use super::{applied, merged};

/// Status and whether it is inferred, worked out from the whole set at once by the rule's own words.
fn rule(set: &[Statement]) -> Option<(Status, bool)> {
    let has = |session, claim| set.iter().any(|one| one.session == session && one.claim == claim);
    let began = |session| has(session, Claim::Connect);
    let ended = |session| has(session, Claim::Disconnect) || (began(session) && has(session, Claim::Refusal));
    let last_time = |session, claims: &[Claim]| {
        let times = set.iter().filter(|one| one.session == session && claims.contains(&one.claim));
        times.map(|one| one.time).max().unwrap()
    };
    let of_status = |ended| if ended { Status::Disconnected } else { Status::Connected };
    let mut sessions: Vec<Moment> = set.iter().map(|one| one.session).collect();
    sessions.sort();
    let newest = |is: &dyn Fn(Moment) -> bool| sessions.iter().copied().rfind(|session| is(*session));
    let known = newest(&|session| began(session) || ended(session));
    let taken_over = newest(&|session| has(session, Claim::Takeover) && !ended(session));
    let Some(taken_over) = taken_over.filter(|taken_over| Some(*taken_over) >= known) else {
        return match known {
            Some(session) => Some((of_status(ended(session)), false)),
            None => (!set.is_empty()).then_some((Status::Disconnected, false)),
        };
    };
    let inferred = Some((Status::Connected, true));
    let other = newest(&|session| ended(session) || (began(session) && !has(session, Claim::Takeover)));
    let Some(other) = other else { return inferred };
    let is_simultaneous = other >= taken_over.earlier_by(1_000_000_000);
    if !is_simultaneous && Some(other) != known {
        return inferred;
    }
    if !ended(other) {
        return if is_simultaneous { Some((Status::Connected, false)) } else { inferred };
    }
    let end = last_time(other, &[Claim::Disconnect, Claim::Refusal]);
    let taken_over_at = last_time(taken_over, &[Claim::Takeover]);
    let had_ended = if is_simultaneous {
        other <= end && end < taken_over_at.earlier_by(1_000_000_000)
    } else {
        end < taken_over_at
    };
    if had_ended { inferred } else { Some((Status::Disconnected, false)) }
}

/// Every set of messages about three sessions, near each other and far apart: whatever the order, the belief is what the rule
/// makes of the whole set. That the last one to come may be any of a set proves it for every order.
#[test]
fn a_belief_is_what_the_rule_makes_of_the_whole_set() {
    const MS: i128 = 1_000_000;
    for begins in [[0, 1, 2], [0, 1, 1_001], [0, 600, 1_200], [0, 1_500, 2_000], [0, 2_000, 4_000]] {
        let claims = [Claim::Connect, Claim::Takeover, Claim::Refusal, Claim::Disconnect];
        let statements: Vec<Statement> = (0..12)
            .map(|number: usize| {
                let (session, claim) = (begins[number / 4], claims[number % 4]);
                let time = session + if claim == Claim::Connect { 0 } else { 1_100 * (number as i128 % 3) };
                Statement {
                    claim,
                    session: Moment::from_nanos(session * MS),
                    time: Moment::from_nanos(time * MS),
                    close_code: 0,
                    payload: Payload::pack(b"{}"),
                }
            })
            .collect();
        let members = |set: usize| (0..12).filter(move |number| set >> number & 1 == 1);
        let mut beliefs = vec![Belief::default()];
        for set in 1_usize..1 << 12 {
            let last = set.ilog2() as usize;
            let mut belief = beliefs[set & !(1 << last)].clone();
            belief.apply(statements[last].clone());
            let whole: Vec<Statement> = members(set).map(|number| statements[number].clone()).collect();
            let verdict = belief.verdict().map(|verdict| (verdict.status, verdict.inferred));
            assert_eq!(verdict, rule(&whole), "{whole:#?}");
            for number in members(set) {
                let mut other = beliefs[set & !(1 << number)].clone();
                other.apply(statements[number].clone());
                assert_eq!(other, belief, "{number} comes last: {whole:#?}");
                assert!(!other.apply(statements[number].clone()), "{number} is repeated: {whole:#?}");
            }
            beliefs.push(belief.clone());
            for part in [0b0101_0101_0101, 0b0011_1100_0011, 0b1111_0000_0111, 0b1000_1000_1000] {
                let (one, other) = (beliefs[set & part].clone(), beliefs[set & !part].clone());
                assert_eq!(merged(one.clone(), other.clone()), belief, "{part:b}: {whole:#?}");
                assert_eq!(merged(other, one.clone()), belief, "{part:b}: {whole:#?}");
                assert_eq!(merged(one, belief.clone()), belief, "{part:b}: {whole:#?}");
            }
        }
    }
}

/// A client that connects without end holds a bounded number of statements.
#[test]
fn a_belief_stays_small_whatever_comes() {
    let statement = |claim, session: i128| Statement {
        claim,
        session: Moment::from_nanos(session * 1_000),
        time: Moment::from_nanos(session * 1_000),
        close_code: 0,
        payload: Payload::pack(b"{}"),
    };
    let claims = [Claim::Connect, Claim::Takeover, Claim::Refusal];
    let all: Vec<_> = (0..400).flat_map(|session| claims.map(|claim| statement(claim, session))).collect();
    for claims in [&[Claim::Connect][..], &[Claim::Takeover], &[Claim::Refusal], &claims] {
        let some: Vec<_> = all.iter().filter(|one| claims.contains(&one.claim)).cloned().collect();
        let belief = applied(some.clone());
        assert_eq!(applied(some.into_iter().rev()), belief);
        let held = belief.into_statements().count();
        assert!(held <= 49, "{claims:?}: {held} statements");
    }
}
