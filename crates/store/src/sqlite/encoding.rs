//! Statements and beliefs as columns, and back. Total: columns that no devstatus wrote are an error, never a panic,
//! because they come from a disk.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::encoding::{self, claim, claim_number, moment};
use presence::payload::Payload;
use presence::{Belief, Statement};

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
    let deciding = statement(row, first)?;
    let others = match row.get_ref(first + 5) {
        Ok(ValueRef::Null) => &[],
        Ok(ValueRef::Blob(others)) => others,
        Ok(ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_)) | Err(_) => return Err(Damaged),
    };
    encoding::belief(deciding, others).ok_or(Damaged)
}
