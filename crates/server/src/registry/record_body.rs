//! What a device is called and what is known of it, as one piece of bytes: the id, then the events that its state consists of.
//! Nothing here leaves the process, so the form may change from version to version.
//!
//! Most states consist of one event, which begins or ends a session: its payload is what remains behind its head, without what
//! its [`Skeletons`] say. The events of any other state stand one behind the other, each payload with its length before it.

use std::cell::Cell;

use presence::payload::Payload;
use presence::payload::skeleton::{Beside, Skeletons};
use presence::{Device, DeviceState, EventKind, Moment, PresenceEvent};

/// Begins the events of a state that does not consist of one beginning or end of a session alone.
const SEVERAL: u8 = 0x80;
/// In the first byte of an event: the session, or the time behind it, is a number of milliseconds.
const SESSION_IN_MS: u8 = 0x08;
const TIME_IN_MS: u8 = 0x10;
const KIND: u8 = 0x07;

const NANOS_PER_MS: i64 = 1_000_000;

/// What a thread keeps to pack into, so that packing allocates only what is kept.
const SCRATCH_MAX_BYTES: usize = 4_096;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The body of a device in this state.
pub fn pack(device: Device<'_>, state: &DeviceState, skeletons: &Skeletons) -> Box<[u8]> {
    let id = device.id;
    let mut body = SCRATCH.take();
    put_varint(&mut body, id.len() as u64);
    body.extend_from_slice(id.as_bytes());
    if let Some(event) = state.only_session() {
        put_head(&mut body, event);
        skeletons.pack(&event.payload, &beside(device, event.session, event.time), &mut body);
    } else {
        body.push(SEVERAL);
        for event in state.events() {
            put_head(&mut body, event);
            put_varint(&mut body, event.payload.packed_len() as u64);
            body.extend_from_slice(event.payload.packed());
        }
    }
    let packed = body.as_slice().into();
    body.clear();
    body.shrink_to(SCRATCH_MAX_BYTES);
    SCRATCH.set(body);
    packed
}

/// The id in a body.
pub fn id(body: &[u8]) -> &str {
    std::str::from_utf8(id_bytes(body)).expect("it was packed of a text")
}

/// The bytes of the id in a body.
pub fn id_bytes(body: &[u8]) -> &[u8] {
    split(body).0
}

/// Whether the body is of the device with this id.
pub fn is_of(body: &[u8], id: &str) -> bool {
    id_bytes(body) == id.as_bytes()
}

/// Id and state of a device of this type.
pub fn unpack<'a>(device_type: &str, body: &'a [u8], skeletons: &Skeletons) -> (&'a str, DeviceState) {
    let (id, mut rest) = (id(body), split(body).1);
    let state = if rest.first() == Some(&SEVERAL) {
        rest = &rest[1..];
        let mut state = DeviceState::default();
        while !rest.is_empty() {
            let head = take_head(&mut rest);
            let len = take_varint(&mut rest) as usize;
            let (payload, behind) = rest.split_at(len);
            state.apply(head.with(Payload::from_packed(payload)));
            rest = behind;
        }
        state
    } else {
        let head = take_head(&mut rest);
        let beside = beside(Device { device_type, id }, head.session, head.time);
        DeviceState::of_session(head.with(skeletons.unpack(rest, &beside)))
    };
    (id, state)
}

/// Appends the message of the only event, as the IoT platform sent it, and returns what kind of event it is. `None`: there are several
/// events, or the message is of another source.
pub fn append_message(
    device_type: &str,
    body: &[u8],
    skeletons: &Skeletons,
    message: &mut Vec<u8>,
) -> Option<EventKind> {
    let (id, mut rest) = (id(body), split(body).1);
    if rest.first() == Some(&SEVERAL) {
        return None;
    }
    let head = take_head(&mut rest);
    let beside = beside(Device { device_type, id }, head.session, head.time);
    skeletons.append_bytes(rest, &beside, message)?;
    Some(head.kind)
}

fn beside(device: Device<'_>, session: Moment, time: Moment) -> Beside<'_> {
    Beside { device_type: device.device_type, id: device.id, session, time }
}

/// The bytes of the id, and what is behind them.
fn split(mut body: &[u8]) -> (&[u8], &[u8]) {
    let len = take_varint(&mut body) as usize;
    body.split_at(len)
}

/// An event without its payload.
struct Head {
    kind: EventKind,
    session: Moment,
    time: Moment,
    close_code: u16,
}

impl Head {
    fn with(self, payload: Payload) -> PresenceEvent {
        let Self { kind, session, time, close_code } = self;
        PresenceEvent { kind, session, time, close_code, payload }
    }
}

fn put_head(body: &mut Vec<u8>, event: &PresenceEvent) {
    let session = nanos(event.session);
    let (since, (session_unit, session_number)) = (nanos(event.time).wrapping_sub(session), in_unit(session));
    let (time_unit, time_number) = in_unit(since);
    body.push(kind_number(event.kind) | (session_unit * SESSION_IN_MS) | (time_unit * TIME_IN_MS));
    put_varint(body, zigzag(session_number));
    put_varint(body, zigzag(time_number));
    put_varint(body, u64::from(event.close_code));
}

fn take_head(body: &mut &[u8]) -> Head {
    let (first, rest) = body.split_first().expect("it was packed");
    *body = rest;
    let unit = |flag| if first & flag == 0 { 1 } else { NANOS_PER_MS };
    let session = unzigzag(take_varint(body)).wrapping_mul(unit(SESSION_IN_MS));
    let since = unzigzag(take_varint(body)).wrapping_mul(unit(TIME_IN_MS));
    Head {
        kind: kind(first & KIND),
        session: moment(session),
        time: moment(session.wrapping_add(since)),
        close_code: take_varint(body) as u16,
    }
}

fn nanos(moment: Moment) -> i64 {
    moment.nanos().unwrap_or(i64::MIN)
}

fn moment(nanos: i64) -> Moment {
    if nanos == i64::MIN { Moment::UNKNOWN } else { Moment::from_nanos(i128::from(nanos)) }
}

/// 1 and the number of milliseconds, or 0 and the number itself.
fn in_unit(nanos: i64) -> (u8, i64) {
    if nanos % NANOS_PER_MS == 0 { (1, nanos / NANOS_PER_MS) } else { (0, nanos) }
}

fn kind_number(kind: EventKind) -> u8 {
    match kind {
        EventKind::FailedLogin => 0,
        EventKind::Request => 1,
        EventKind::Connect => 2,
        EventKind::Takeover => 3,
        EventKind::Refusal => 4,
        EventKind::Disconnect => 5,
    }
}

fn kind(number: u8) -> EventKind {
    match number {
        0 => EventKind::FailedLogin,
        1 => EventKind::Request,
        2 => EventKind::Connect,
        3 => EventKind::Takeover,
        4 => EventKind::Refusal,
        _ => EventKind::Disconnect,
    }
}

fn put_varint(body: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn take_varint(body: &mut &[u8]) -> u64 {
    let mut value = 0;
    for (number, byte) in body.iter().enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * number);
        if byte & 0x80 == 0 {
            *body = &body[number + 1..];
            return value;
        }
    }
    value
}

/// Small numbers of either sign become small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moments() -> impl Strategy<Value = Moment> {
        prop_oneof![
            Just(Moment::UNKNOWN),
            any::<i64>().prop_map(|nanos| Moment::from_nanos(nanos.into())),
            (0i128..4_000).prop_map(|ms| Moment::from_nanos(1_767_225_600_000_000_000 + ms * 500_000)),
        ]
    }

    fn events() -> impl Strategy<Value = PresenceEvent> {
        (1u8..6, moments(), moments(), any::<u16>(), prop::collection::vec(any::<u8>(), 0..80)).prop_map(
            |(number, session, time, close_code, bytes)| {
                let payload = Payload::pack(&bytes);
                PresenceEvent { kind: kind(number), session, time, close_code, payload }
            },
        )
    }

    proptest! {
        #[test]
        fn a_body_returns_the_id_and_the_state_it_was_made_of(
            id_text in "\\PC{0,200}",
            events in prop::collection::vec(events(), 1..6),
        ) {
            let mut state = DeviceState::default();
            for event in events {
                state.apply(event);
            }
            let skeletons = Skeletons::default();
            let device = Device { device_type: "pump", id: &id_text };
            let body = pack(device, &state, &skeletons);
            prop_assert_eq!(id(&body), id_text.as_str());
            let only = state.only_session().map(|event| (event.kind, event.payload.unpack()));
            let mut message = Vec::new();
            let kind = append_message("pump", &body, &skeletons, &mut message);
            prop_assert_eq!(kind.map(|kind| (kind, message)), only);
            prop_assert_eq!(unpack("pump", &body, &skeletons), (id_text.as_str(), state));
        }
    }
}
