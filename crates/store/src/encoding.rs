//! Events and states as numbers and bytes, and back: what all stores have in common, so that a state is the same bytes
//! in each. Total: bytes that no devstatus wrote are nothing, never a panic, because they come from a disk or a network.

use presence::payload::Payload;
use presence::{DeviceState, EventKind, Moment, PresenceEvent, Status};

/// What is kept of a state beside the columns of its deciding event.
pub struct Parts<'a> {
    pub connected: bool,
    pub deciding: &'a PresenceEvent,
    /// The other events, one after the other; `None` if there are none.
    pub others: Option<Vec<u8>>,
}

impl<'a> Parts<'a> {
    /// `None`: the state is of no event.
    pub fn of(state: &'a DeviceState) -> Option<Self> {
        let resolved = state.resolve()?;
        let deciding = resolved.event;
        let mut others = Vec::new();
        if state.holds_more_than_one() {
            for other in state.clone().into_events().filter(|other| other != deciding) {
                put(&mut others, &other);
            }
        }
        let others = (!others.is_empty()).then_some(others);
        Some(Self { connected: resolved.status == Status::Connected, deciding, others })
    }
}

/// The state of a deciding event and the others, as [`Parts`] has them; `None` if the bytes make no sense.
pub fn state(deciding: PresenceEvent, mut others: &[u8]) -> Option<DeviceState> {
    let mut state = DeviceState::default();
    state.apply(deciding);
    while !others.is_empty() {
        state.apply(take(&mut others)?);
    }
    Some(state)
}

/// The number of a claim; never another one, as it is kept.
pub fn kind_number(kind: EventKind) -> u8 {
    match kind {
        EventKind::Request => 0,
        EventKind::Connect => 1,
        EventKind::Takeover => 2,
        EventKind::Refusal => 3,
        EventKind::Disconnect => 4,
        EventKind::FailedLogin => 5,
    }
}

/// The claim of a number.
pub fn kind(number: i64) -> Option<EventKind> {
    Some(match number {
        0 => EventKind::Request,
        1 => EventKind::Connect,
        2 => EventKind::Takeover,
        3 => EventKind::Refusal,
        4 => EventKind::Disconnect,
        5 => EventKind::FailedLogin,
        _ => return None,
    })
}

/// The moment of a number of nanoseconds.
pub fn moment(nanos: Option<i64>) -> Moment {
    nanos.map_or(Moment::UNKNOWN, |nanos| Moment::from_nanos(nanos.into()))
}

/// Claim, session, time, close code, length of the payload, payload; numbers little endian, an unknown time the least.
fn put(bytes: &mut Vec<u8>, event: &PresenceEvent) {
    let packed = event.payload.packed();
    // A payload comes from one MQTT packet and so has less than 256 MiB.
    let len = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    bytes.push(kind_number(event.kind));
    for moment in [event.session, event.time] {
        bytes.extend_from_slice(&moment.nanos().unwrap_or(i64::MIN).to_le_bytes());
    }
    bytes.extend_from_slice(&event.close_code.to_le_bytes());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(packed);
}

fn take(bytes: &mut &[u8]) -> Option<PresenceEvent> {
    let kind = kind(i64::from(take_array::<1>(bytes)?[0]))?;
    let mut next_moment = || {
        let nanos = i64::from_le_bytes(take_array(bytes)?);
        Some(moment(Some(nanos).filter(|nanos| *nanos != i64::MIN)))
    };
    let (session, time) = (next_moment()?, next_moment()?);
    let close_code = u16::from_le_bytes(take_array(bytes)?);
    let len = usize::try_from(u32::from_le_bytes(take_array(bytes)?)).ok()?;
    let (packed, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(PresenceEvent { kind, session, time, close_code, payload: Payload::from_packed(packed) })
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*array)
}
