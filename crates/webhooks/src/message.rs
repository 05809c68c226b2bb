//! One message as it is sent: its id and its body. Both are the same in every attempt.

use bytes::Bytes;
use jiff::Timestamp;
use presence::StableHash;
use presence::history::HistoryPosition;
use presence::{Device, PresenceEvent, Status};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::value::RawValue;
use server::feed::resume::{GapReason, StreamPosition};

use crate::settings::EventType;

/// Bytes of the digest in an id, two digits each: as many as make a repetition by chance impossible.
const ID_BYTES: usize = 16;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    /// As the body has it.
    pub event_type: &'static str,
    pub body: Bytes,
    /// Messages of one device have one value, and are sent one after the other.
    pub order: u64,
}

#[derive(Serialize)]
struct Body<'a, D> {
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
struct GapData {
    reason: &'static str,
}

#[derive(Serialize)]
struct TestData<'a> {
    endpoint: &'a str,
}

/// The id of the event, the same wherever and however often it is sent.
pub fn id_of(device: Device<'_>, event: &PresenceEvent) -> String {
    let number = |moment: presence::Moment| moment.nanos().unwrap_or(i64::MIN).to_be_bytes();
    // Neither type nor id can hold a control character.
    let mut text = Vec::new();
    for part in [device.device_type.as_bytes(), device.id.as_bytes(), event.kind.word().as_bytes()] {
        text.extend_from_slice(part);
        text.push(0);
    }
    text.extend_from_slice(&number(event.session));
    text.extend_from_slice(&number(event.time));
    text.extend_from_slice(&event.close_code.to_be_bytes());
    id(&text)
}

fn id(text: &[u8]) -> String {
    let digest = digest(&SHA256, text);
    let digits: String = digest.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("evt_{digits}")
}

impl Message {
    /// A device that is connected or disconnected now, `data` being the device as the API shows it.
    pub fn of_change(
        id: String,
        device: Device<'_>,
        status: Status,
        at_millis: i64,
        data: &RawValue,
    ) -> Self {
        let event_type = EventType::of(status).word();
        let order = StableHash::default().with(device.device_type.as_bytes()).with(b"\0");
        let order = order.with(device.id.as_bytes()).value();
        Self { id, event_type, body: body(event_type, at_millis, data), order }
    }

    /// That the history does not tell of everything after that position.
    pub fn of_gap(after: HistoryPosition, reason: GapReason, at_millis: i64) -> Self {
        let reason = match reason {
            GapReason::UnknownId => "unknown_id",
            GapReason::NotLogged => "not_logged",
            GapReason::Dropped => "dropped",
            GapReason::TooMany => "too_many",
            GapReason::Store => "store",
        };
        let id = id(format!("fleet.gap\0{}\0{reason}", StreamPosition::in_history(after)).as_bytes());
        let event_type = "fleet.gap";
        Self { id, event_type, body: body(event_type, at_millis, GapData { reason }), order: 0 }
    }

    /// That somebody tries the endpoint out.
    pub fn of_test(endpoint: &str, at_millis: i64) -> Self {
        let id = id(format!("webhook.test\0{endpoint}\0{at_millis}").as_bytes());
        let event_type = "webhook.test";
        Self { id, event_type, body: body(event_type, at_millis, TestData { endpoint }), order: 0 }
    }
}

fn body(event_type: &str, at_millis: i64, data: impl Serialize) -> Bytes {
    let timestamp = Timestamp::from_millisecond(at_millis).unwrap_or_default();
    let body = Body { event_type, timestamp: format!("{timestamp:.3}"), data };
    serde_json::to_vec(&body).expect("texts and numbers are JSON").into()
}

#[cfg(test)]
mod tests {
    use presence::payload::Payload;
    use presence::{EventKind, Moment};

    use super::*;

    #[test]
    fn an_event_has_one_id_wherever_it_is_kept() {
        let id = |device_type: &str, id: &str, time: i128| {
            let moment = Moment::from_nanos(time);
            let payload = Payload::pack(b"{}");
            let (kind, close_code) = (EventKind::Connect, 0);
            let event = PresenceEvent { kind, session: moment, time: moment, close_code, payload };
            id_of(Device { device_type, id }, &event)
        };
        // Receivers remember ids, so it must not change with a version.
        assert_eq!(id("pump", "1", 5), "evt_d5238b3633fd3d1a266d8b0349cf9aab");
        for other in [id("pump", "2", 5), id("pum", "p1", 5), id("pump", "1", 6)] {
            assert_ne!(id("pump", "1", 5), other);
        }
    }

    #[test]
    fn a_body_has_type_timestamp_and_data() {
        let data = RawValue::from_string(r#"{"id":"1"}"#.to_owned()).unwrap();
        let device = Device { device_type: "pump", id: "1" };
        let message = Message::of_change("evt_1".to_owned(), device, Status::Disconnected, 1_500, &data);
        assert_eq!(
            message.body,
            r#"{"type":"device.disconnected","timestamp":"1970-01-01T00:00:01.500Z","data":{"id":"1"}}"#
        );
        let after = HistoryPosition { order: 1, number: 2 };
        let gap = Message::of_gap(after, GapReason::Dropped, 0);
        assert_eq!(
            gap.body,
            r#"{"type":"fleet.gap","timestamp":"1970-01-01T00:00:00.000Z","data":{"reason":"dropped"}}"#
        );
        assert_eq!(gap.id, Message::of_gap(after, GapReason::Dropped, 9).id);
        assert_ne!(gap.id, Message::of_gap(after, GapReason::NotLogged, 0).id);
    }
}
