//! States and events as the bytes that stand in the grid, and back; `merge.lua` says what they are, because it reads them,
//! too. Total: bytes that no devstatus wrote are an error, never a panic.

use crate::encoding::{kind, kind_number};
use presence::history::{HistoryEvent, HistoryRow};
use presence::payload::Payload;
use presence::{DeviceState, Moment, PresenceEvent, Status, UnixSeconds};

/// Bytes that no devstatus wrote.
#[derive(Debug)]
pub struct Damaged;

const CONNECTED: u8 = 1;
const SEVERAL: u8 = 2;

/// A state and when its device was heard of. A state of nothing has no event.
pub fn record(state: &DeviceState, received_at: UnixSeconds) -> Vec<u8> {
    let mut bytes = received_at.0.to_be_bytes().to_vec();
    let Some(resolved) = state.resolve() else { return bytes };
    let connected = if resolved.status == Status::Connected { CONNECTED } else { 0 };
    let deciding = resolved.event;
    let others: Vec<PresenceEvent> = if state.holds_more_than_one() {
        state.clone().into_events().filter(|other| other != deciding).collect()
    } else {
        Vec::new()
    };
    if others.is_empty() {
        bytes.push(connected);
        put(&mut bytes, deciding);
        return bytes;
    }
    bytes.push(connected | SEVERAL);
    for event in std::iter::once(deciding).chain(&others) {
        let mut one = Vec::new();
        put(&mut one, event);
        // A payload comes from one MQTT packet and so has less than 256 MiB.
        bytes.extend_from_slice(&u32::try_from(one.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&one);
    }
    bytes
}

/// What [`record`] gave.
pub fn state(record: &[u8]) -> Result<(DeviceState, UnixSeconds), Damaged> {
    let (received_at, rest) = record.split_first_chunk().ok_or(Damaged)?;
    let (flags, mut rest) = rest.split_first().ok_or(Damaged)?;
    let mut state = DeviceState::default();
    if flags & SEVERAL == 0 {
        state.apply(event(rest)?);
    }
    while flags & SEVERAL != 0 && !rest.is_empty() {
        let (len, after) = rest.split_first_chunk().ok_or(Damaged)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| Damaged)?;
        let (one, after) = after.split_at_checked(len).ok_or(Damaged)?;
        state.apply(event(one)?);
        rest = after;
    }
    if state.resolve().is_none() {
        return Err(Damaged);
    }
    Ok((state, UnixSeconds(u32::from_be_bytes(*received_at))))
}

/// An event as it is put into a history, where it gets its sequence.
pub fn history_event(entry: &HistoryEvent) -> Vec<u8> {
    let mut bytes = entry.received_at.0.to_be_bytes().to_vec();
    put(&mut bytes, &entry.event);
    bytes
}

/// An entry of a history.
pub fn row(entry: &[u8]) -> Result<HistoryRow, Damaged> {
    let (sequence, rest) = entry.split_first_chunk().ok_or(Damaged)?;
    let (received_at, rest) = rest.split_first_chunk().ok_or(Damaged)?;
    let received_at = UnixSeconds(u32::from_be_bytes(*received_at));
    let (sequence, event) = (u64::from_be_bytes(*sequence), event(rest)?);
    Ok(HistoryRow { sequence, received_at, event, is_first_seen: false })
}

/// A tombstone: the sequence of the change, and when the device was forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    pub sequence: u64,
    pub at: UnixSeconds,
}

/// What `forget.lua` wrote.
pub fn tombstone(bytes: &[u8]) -> Result<Tombstone, Damaged> {
    let parts = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once(' '));
    let (sequence, at) = parts.ok_or(Damaged)?;
    let (sequence, at) = (sequence.parse().ok(), at.parse().ok());
    Ok(Tombstone { sequence: sequence.ok_or(Damaged)?, at: UnixSeconds(at.ok_or(Damaged)?) })
}

/// A moment as the upper and lower four bytes of the number that sorts as it does.
pub fn halves(nanos: i64) -> (u32, u32) {
    let sortable = sortable(nanos);
    ((sortable >> 32) as u32, sortable as u32)
}

/// Claim, session, time, close code, payload to the end.
fn put(bytes: &mut Vec<u8>, event: &PresenceEvent) {
    // In the order of the claims, for the script compares these.
    bytes.push(kind_number(event.kind));
    for moment in [event.session, event.time] {
        bytes.extend_from_slice(&sortable(moment.nanos().unwrap_or(i64::MIN)).to_be_bytes());
    }
    bytes.extend_from_slice(&event.close_code.to_be_bytes());
    bytes.extend_from_slice(event.payload.packed());
}

fn event(bytes: &[u8]) -> Result<PresenceEvent, Damaged> {
    let (number, rest) = bytes.split_first().ok_or(Damaged)?;
    let (session, rest) = rest.split_first_chunk().ok_or(Damaged)?;
    let (time, rest) = rest.split_first_chunk().ok_or(Damaged)?;
    let (close_code, packed) = rest.split_first_chunk().ok_or(Damaged)?;
    Ok(PresenceEvent {
        kind: kind(i64::from(*number)).ok_or(Damaged)?,
        session: moment(u64::from_be_bytes(*session)),
        time: moment(u64::from_be_bytes(*time)),
        close_code: u16::from_be_bytes(*close_code),
        payload: Payload::from_packed(packed),
    })
}

/// Signed numbers in the order of unsigned ones.
fn sortable(nanos: i64) -> u64 {
    nanos.cast_unsigned() ^ (1 << 63)
}

fn moment(sortable: u64) -> Moment {
    match (sortable ^ (1 << 63)).cast_signed() {
        i64::MIN => Moment::UNKNOWN,
        nanos => Moment::from_nanos(nanos.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use presence::strategy;

    proptest! {
        #[test]
        fn a_record_survives_a_round_trip(
            events in prop::collection::vec(strategy::event(prop::collection::vec(any::<u8>(), 0..9)), 1..6),
            received_at: u32,
        ) {
            let mut put = DeviceState::default();
            for event in events {
                put.apply(event);
            }
            let received_at = UnixSeconds(received_at);
            prop_assert_eq!(state(&record(&put, received_at)).unwrap(), (put, received_at));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = state(&bytes);
            let _ = row(&bytes);
            let _ = tombstone(&bytes);
        }

        #[test]
        fn the_halves_of_a_moment_sort_as_it_does(one: i64, other: i64) {
            prop_assert_eq!(halves(one).cmp(&halves(other)), one.cmp(&other));
        }
    }
}
