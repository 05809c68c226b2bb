//! One message as it is sent: its id and its body. Both are the same in every attempt.
//!
//! An endpoint chooses the form of the body: that of Standard Webhooks, or CloudEvents 1.0 in the structured or the batched mode
//! of its HTTP binding. The signature is over the body in every form.

use bytes::Bytes;
use jiff::Timestamp;
use presence::StableHash;
use presence::history::HistoryPosition;
use presence::{Device, PresenceEvent};
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde_json::value::RawValue;
use server::feed::resume::StreamPosition;

use crate::forms::WebhookContent;
use crate::settings::{EndpointSettings, EventType, Format};

/// Bytes of the digest in an id, two digits each: as many as make a repetition by chance impossible.
const ID_BYTES: usize = 16;

/// The digits of the largest position, so that positions compare as texts.
const SEQUENCE_DIGITS: usize = 20;

/// The form that an endpoint's messages have.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub format: Format,
    /// Where CloudEvents come from, as a URI.
    pub source: &'a str,
    /// PagerDuty's name of the service that is notified.
    pub routing_key: &'a str,
    /// Where the schemas of data are, up to the name of one; `None`: not known.
    pub schemas: Option<&'a str>,
}

/// A change of a device, as it is sent.
pub struct ChangeEvent<'a> {
    pub id: String,
    pub device: Device<'a>,
    pub event_type: EventType,
    pub at_millis: i64,
    /// Where it is in the history of all devices; `None`: not known.
    pub position: Option<u64>,
    /// The device as the API shows it.
    pub data: &'a RawValue,
}

/// Why an endpoint cannot receive every change. Documented: receivers may decide by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FleetGap {
    /// The history no longer has all of it.
    Dropped,
    /// Nobody noted how far the endpoint was, or which changes were new.
    NotLogged,
    /// The changes are in memory alone, and another process has delivered before.
    Restarted,
    /// More changes came meanwhile than memory holds.
    Overrun,
}

impl FleetGap {
    /// As it is in messages.
    pub fn word(self) -> &'static str {
        match self {
            FleetGap::Dropped => "dropped",
            FleetGap::NotLogged => "not_logged",
            FleetGap::Restarted => "restarted",
            FleetGap::Overrun => "overrun",
        }
    }
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookMessage {
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
struct CloudEvent<'a, D> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataschema: Option<String>,
    /// Orders the events of the source, as a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<String>,
    /// Events of one value keep their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    data: D,
}

/// What the body says of an event beside its data.
struct EventHead<'a> {
    id: &'a str,
    event_type: &'a str,
    at_millis: i64,
    subject: Option<&'a str>,
    position: Option<u64>,
    /// The name of the data's schema in the API's document; `None`: it has none there.
    schema: Option<&'static str>,
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
    id(&identity(device, event))
}

/// The id of the message that a device was first seen with that event.
pub fn id_of_first_seen(device: Device<'_>, event: &PresenceEvent) -> String {
    let mut text = identity(device, event);
    text.extend_from_slice(b"first_seen");
    id(&text)
}

/// What tells the event from all others.
fn identity(device: Device<'_>, event: &PresenceEvent) -> Vec<u8> {
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
    text
}

fn id(text: &[u8]) -> String {
    let digest = digest(&SHA256, text);
    let digits: String = digest.as_ref().iter().take(ID_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("evt_{digits}")
}

impl WebhookMessage {
    /// Something has happened to a device.
    pub fn of_change(envelope: Envelope<'_>, event: ChangeEvent<'_>) -> Self {
        let ChangeEvent { id, device, event_type, at_millis, position, data } = event;
        let event_type = event_type.word();
        let order = StableHash::default().with(device.device_type.as_bytes()).with(b"\0");
        let order = order.with(device.id.as_bytes()).value();
        let subject = format!("{}/{}", device.device_type, device.id);
        let schema = Some("WebhookData");
        let head = EventHead { id: &id, event_type, at_millis, subject: Some(&subject), position, schema };
        let body = envelope.body(&head, data);
        Self { id, event_type, body, order }
    }

    /// That not everything after that position is known.
    pub fn of_gap(envelope: Envelope<'_>, after: HistoryPosition, gap: FleetGap, at_millis: i64) -> Self {
        let reason = gap.word();
        let id = id(format!("fleet.gap\0{}\0{reason}", StreamPosition::in_history(after)).as_bytes());
        Self::of_service(envelope, id, ("fleet.gap", Some("WebhookGap")), at_millis, GapData { reason })
    }

    /// That alerts fire or were resolved; `number` tells the messages about one group apart.
    pub fn of_alert(
        envelope: Envelope<'_>,
        (group, number): (u64, u64),
        event_type: &'static str,
        at_millis: i64,
        data: &RawValue,
    ) -> Self {
        let id = id(format!("alert\0{group:016x}\0{number}").as_bytes());
        Self::of_service(envelope, id, (event_type, None), at_millis, data)
    }

    /// That somebody tries the endpoint out.
    pub fn of_test(envelope: Envelope<'_>, endpoint: &str, at_millis: i64) -> Self {
        let id = id(format!("webhook.test\0{endpoint}\0{at_millis}").as_bytes());
        Self::of_service(
            envelope,
            id,
            ("webhook.test", Some("WebhookTest")),
            at_millis,
            TestData { endpoint },
        )
    }

    fn of_service(
        envelope: Envelope<'_>,
        id: String,
        (event_type, schema): (&'static str, Option<&'static str>),
        at_millis: i64,
        data: impl Serialize,
    ) -> Self {
        let head = EventHead { id: &id, event_type, at_millis, subject: None, position: None, schema };
        let body = envelope.body(&head, data);
        Self { id, event_type, body, order: 0 }
    }

    /// Some messages as one request, in their order. The same messages have the same id.
    pub fn batch(messages: &[&WebhookMessage]) -> Self {
        let ids: Vec<&str> = messages.iter().map(|message| &*message.id).collect();
        let id = match ids.as_slice() {
            [one] => (*one).to_owned(),
            several => id(several.join("\0").as_bytes()),
        };
        let mut body = vec![b'['];
        for (number, message) in messages.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&message.body);
        }
        body.push(b']');
        let event_type = messages.first().map_or("", |message| message.event_type);
        Self { id, event_type, body: body.into(), order: 0 }
    }
}

impl<'a> Envelope<'a> {
    /// That of an endpoint.
    pub fn of(endpoint: &'a EndpointSettings, source: &'a str) -> Self {
        let routing_key = endpoint.routing_key.as_ref().map_or("", |key| key.expose());
        Self { format: endpoint.format, source, routing_key, schemas: endpoint.schemas.as_deref() }
    }

    fn body(&self, head: &EventHead<'_>, data: impl Serialize) -> Bytes {
        let EventHead { id, event_type, at_millis, subject, position, schema } = *head;
        let time = Timestamp::from_millisecond(at_millis).unwrap_or_default();
        let time = format!("{time:.3}");
        let body = match self.format {
            Format::Standard => serde_json::to_vec(&Body { event_type, timestamp: time, data }),
            Format::CloudEvents => serde_json::to_vec(&CloudEvent {
                specversion: "1.0",
                id,
                source: self.source,
                event_type,
                time,
                subject,
                datacontenttype: "application/json",
                dataschema: self.schemas.zip(schema).map(|(schemas, name)| format!("{schemas}{name}")),
                sequence: position.map(|position| format!("{position:0SEQUENCE_DIGITS$}")),
                partitionkey: subject,
                data,
            }),
            Format::Alertmanager | Format::Slack | Format::Teams | Format::Ntfy | Format::PagerDuty => {
                serde_json::to_value(data).map(|data| {
                    let (source, routing_key) = (self.source, self.routing_key);
                    let said = WebhookContent { event_type, id, at_millis, source, routing_key, data: &data };
                    said.body(self.format).unwrap_or_default()
                })
            }
        };
        body.expect("texts and numbers are JSON").into()
    }
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
            let device = Device { device_type, id };
            assert_ne!(id_of(device, &event), id_of_first_seen(device, &event));
            id_of(device, &event)
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
        let schemas = Some("https://devstatus.example/openapi.json#/components/schemas/");
        let envelope = |format| Envelope { format, source: "urn:devstatus:org", routing_key: "", schemas };
        let of_change = |format| {
            let (id, event_type) = ("evt_1".to_owned(), EventType::Disconnected);
            let event =
                ChangeEvent { id, device, event_type, at_millis: 1_500, position: Some(42), data: &data };
            WebhookMessage::of_change(envelope(format), event)
        };
        let message = of_change(Format::Standard);
        assert_eq!(
            message.body,
            r#"{"type":"device.disconnected","timestamp":"1970-01-01T00:00:01.500Z","data":{"id":"1"}}"#
        );
        let event = of_change(Format::CloudEvents);
        assert_eq!((&event.id, event.order), (&message.id, message.order));
        let expected = concat!(
            r#"{"specversion":"1.0","id":"evt_1","source":"urn:devstatus:org","type":"device.disconnected","time":"1970-01-01T00:00:01.500Z","#,
            r#""subject":"pump/1","datacontenttype":"application/json","dataschema":"https://devstatus.example/openapi.json#/components/schemas/WebhookData","sequence":"00000000000000000042","partitionkey":"pump/1","data":{"id":"1"}}"#
        );
        assert_eq!(event.body, expected);
        let batch = WebhookMessage::batch(&[&event, &event]);
        assert_eq!(batch.body, format!("[{expected},{expected}]"));
        assert_eq!(batch.id, WebhookMessage::batch(&[&event, &event]).id);
        assert_ne!(batch.id, WebhookMessage::batch(&[&event]).id);
        assert_eq!(WebhookMessage::batch(&[&event]).id, "evt_1");
        let after = HistoryPosition { order: 1, number: 2 };
        let of_gap =
            |reason, at_millis| WebhookMessage::of_gap(envelope(Format::Standard), after, reason, at_millis);
        let gap = of_gap(FleetGap::Dropped, 0);
        assert_eq!(
            gap.body,
            r#"{"type":"fleet.gap","timestamp":"1970-01-01T00:00:00.000Z","data":{"reason":"dropped"}}"#
        );
        assert_eq!(gap.id, of_gap(FleetGap::Dropped, 9).id);
        assert_ne!(gap.id, of_gap(FleetGap::NotLogged, 0).id);
    }
}
