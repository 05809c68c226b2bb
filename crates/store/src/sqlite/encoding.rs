//! Statements and states as columns, and back. Total: columns that no devstatus wrote are an error, never a panic,
//! because they come from a disk.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::encoding::{self, kind, kind_number, moment};
use presence::payload::Payload;
use presence::{DeviceState, PresenceEvent};

/// A row that no devstatus wrote.
#[derive(Debug)]
pub struct Damaged;

/// The columns of a statement, in this order: claim, session, time, close_code, payload.
pub struct EventColumns<'a> {
    pub kind: i64,
    pub session: Option<i64>,
    pub time: Option<i64>,
    pub close_code: u16,
    pub payload: &'a [u8],
}

impl<'a> EventColumns<'a> {
    pub fn of(event: &'a PresenceEvent) -> Self {
        Self {
            kind: kind_number(event.kind).into(),
            session: event.session.nanos(),
            time: event.time.nanos(),
            close_code: event.close_code,
            payload: event.payload.packed(),
        }
    }
}

/// The statement in five columns that begin at `first`.
pub fn event(row: &Row<'_>, first: usize) -> Result<PresenceEvent, Damaged> {
    let integer = |at: usize| match row.get_ref(first + at) {
        Ok(ValueRef::Integer(integer)) => Ok(Some(integer)),
        Ok(ValueRef::Null) => Ok(None),
        Ok(ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_)) | Err(_) => Err(Damaged),
    };
    let kind = integer(0)?.and_then(kind).ok_or(Damaged)?;
    let close_code = integer(3)?.and_then(|code| u16::try_from(code).ok()).ok_or(Damaged)?;
    let Ok(ValueRef::Blob(packed)) = row.get_ref(first + 4) else { return Err(Damaged) };
    let payload = Payload::from_packed(packed);
    Ok(PresenceEvent { kind, session: moment(integer(1)?), time: moment(integer(2)?), close_code, payload })
}

/// The state in six columns that begin at `first`: those of the deciding statement, then the others.
pub fn state(row: &Row<'_>, first: usize) -> Result<DeviceState, Damaged> {
    let deciding = event(row, first)?;
    let others = match row.get_ref(first + 5) {
        Ok(ValueRef::Null) => &[],
        Ok(ValueRef::Blob(others)) => others,
        Ok(ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Text(_)) | Err(_) => return Err(Damaged),
    };
    encoding::state(deciding, others).ok_or(Damaged)
}
