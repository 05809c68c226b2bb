//! Statements and beliefs as columns, and back. Total: columns that no devstatus wrote are an error, never a panic,
//! because they come from a disk.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::payload::Payload;
use crate::presence::{Belief, Claim, Moment, Statement, Status};

/// A row that no devstatus wrote.
#[derive(Debug)]
pub struct Damaged;

/// The columns of a statement, in this order: claim, session, time, close_code, payload.
pub struct Columns<'a> {
    pub claim: i64,
    pub session: Option<i64>,
    pub time: Option<i64>,
    pub close_code: u16,
    pub payload: &'a [u8],
}

impl<'a> Columns<'a> {
    pub fn of(statement: &'a Statement) -> Self {
        Self {
            claim: claim_number(statement.claim).into(),
            session: statement.session.nanos(),
            time: statement.time.nanos(),
            close_code: statement.close_code,
            payload: statement.payload.packed(),
        }
    }
}

/// What is kept of a belief beside the columns of its deciding statement.
pub struct Parts {
    pub connected: bool,
    pub deciding: Statement,
    /// The other statements, one after the other; `None` if there are none.
    pub others: Option<Vec<u8>>,
}

impl Parts {
    /// `None`: the belief is of no statement.
    pub fn of(belief: &Belief) -> Option<Self> {
        let verdict = belief.verdict()?;
        let deciding = verdict.statement.clone();
        let mut others = Vec::new();
        if belief.holds_more_than_one() {
            for other in belief.clone().into_statements().filter(|other| *other != deciding) {
                put(&mut others, &other);
            }
        }
        let others = (!others.is_empty()).then_some(others);
        Some(Self { connected: verdict.status == Status::Connected, deciding, others })
    }
}

/// The statement in five columns that begin at `first`.
pub fn statement(row: &Row<'_>, first: usize) -> Result<Statement, Damaged> {
    let integer = |at: usize| match row.get_ref(first + at) {
        Ok(ValueRef::Integer(integer)) => Ok(Some(integer)),
        Ok(ValueRef::Null) => Ok(None),
        Ok(ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_)) | Err(_) => Err(Damaged),
    };
    let claim = integer(0)?.and_then(claim).ok_or(Damaged)?;
    let close_code = integer(3)?.and_then(|code| u16::try_from(code).ok()).ok_or(Damaged)?;
    let Ok(ValueRef::Blob(packed)) = row.get_ref(first + 4) else { return Err(Damaged) };
    let payload = Payload::from_packed(packed);
    Ok(Statement { claim, session: moment(integer(1)?), time: moment(integer(2)?), close_code, payload })
}

/// The belief in six columns that begin at `first`: those of the deciding statement, then the others.
pub fn belief(row: &Row<'_>, first: usize) -> Result<Belief, Damaged> {
    let mut belief = Belief::default();
    belief.apply(statement(row, first)?);
    match row.get_ref(first + 5) {
        Ok(ValueRef::Null) => {}
        Ok(ValueRef::Blob(mut others)) => {
            while !others.is_empty() {
                belief.apply(take(&mut others).ok_or(Damaged)?);
            }
        }
        Ok(ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_)) | Err(_) => return Err(Damaged),
    }
    Ok(belief)
}

fn claim_number(claim: Claim) -> u8 {
    match claim {
        Claim::Request => 0,
        Claim::Connect => 1,
        Claim::Takeover => 2,
        Claim::Refusal => 3,
        Claim::Disconnect => 4,
        Claim::FailedLogin => 5,
    }
}

fn claim(number: i64) -> Option<Claim> {
    Some(match number {
        0 => Claim::Request,
        1 => Claim::Connect,
        2 => Claim::Takeover,
        3 => Claim::Refusal,
        4 => Claim::Disconnect,
        5 => Claim::FailedLogin,
        _ => return None,
    })
}

fn moment(nanos: Option<i64>) -> Moment {
    nanos.map_or(Moment::UNKNOWN, |nanos| Moment::from_nanos(nanos.into()))
}

/// Claim, session, time, close code, length of the payload, payload; numbers little endian, an unknown time the least.
fn put(bytes: &mut Vec<u8>, statement: &Statement) {
    let packed = statement.payload.packed();
    // A payload comes from one MQTT packet and so has less than 256 MiB.
    let len = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    bytes.push(claim_number(statement.claim));
    for moment in [statement.session, statement.time] {
        bytes.extend_from_slice(&moment.nanos().unwrap_or(i64::MIN).to_le_bytes());
    }
    bytes.extend_from_slice(&statement.close_code.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(packed);
}

fn take(bytes: &mut &[u8]) -> Option<Statement> {
    let claim = claim(i64::from(take_array::<1>(bytes)?[0]))?;
    let mut next_moment = || {
        let nanos = i64::from_le_bytes(take_array(bytes)?);
        Some(moment(Some(nanos).filter(|nanos| *nanos != i64::MIN)))
    };
    let (session, time) = (next_moment()?, next_moment()?);
    let close_code = u16::from_le_bytes(take_array(bytes)?);
    let len = usize::try_from(u32::from_le_bytes(take_array(bytes)?)).ok()?;
    let (packed, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(Statement { claim, session, time, close_code, payload: Payload::from_packed(packed) })
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*array)
}
