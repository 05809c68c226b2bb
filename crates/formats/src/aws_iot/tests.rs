//! The messages of AWS's documentation, each reason, and what is missing.

use super::*;

const CONNECTED: &str = r#"{"clientId":"sensor-9","timestamp":1767225600123,"eventType":"connected","sessionIdentifier":"5e0c01","principalIdentifier":"c0ffee","ipAddress":"198.51.100.7","versionNumber":41}"#;

fn disconnected(reason: &str) -> String {
    format!(
        r#"{{"clientId":"sensor-9","timestamp":1767225590000,"eventType":"disconnected","sessionIdentifier":"5e0bff","principalIdentifier":"c0ffee","clientInitiatedDisconnect":false,"disconnectReason":"{reason}","versionNumber":40}}"#
    )
}

fn event<'a>(topic: &'a str, payload: &'a str) -> Event<'a> {
    match decode(topic, payload.as_bytes()) {
        Decoded::Event(event) => event,
        other => panic!("{topic} is no event: {other:?}"),
    }
}

#[test]
fn reads_a_connect() {
    let event = event("$aws/events/presence/connected/sensor-9", CONNECTED);
    assert_eq!(event.device, DeviceName { device_type: "mqtt".into(), id: "sensor-9".into() });
    assert_eq!(event.kind, EventKind::Connect);
    assert_eq!(event.session, Session::Versioned { version: 41, session: "5e0c01".into() });
    assert_eq!(event.time, Some(UnixNanos(1_767_225_600_123_000_000)));
    assert_eq!(event.address.as_deref(), Some("198.51.100.7"));
    let held = identity(CONNECTED.as_bytes());
    assert_eq!(held, Some(event.into_identity()), "the held message says the same");
}

#[test]
fn names_the_cause_of_each_reason() {
    use EventKind::{Disconnect, Refusal, Takeover};
    for (reason, kind, cause) in [
        ("AUTH_ERROR", Refusal, Some(Cause::Refused)),
        ("CLIENT_INITIATED_DISCONNECT", Disconnect, Some(Cause::Ended)),
        ("CLIENT_ERROR", Disconnect, Some(Cause::Protocol)),
        ("CONNECTION_LOST", Disconnect, Some(Cause::Connection)),
        ("DUPLICATE_CLIENTID", Takeover, Some(Cause::Takeover)),
        ("FORBIDDEN_ACCESS", Refusal, Some(Cause::Refused)),
        ("MQTT_KEEP_ALIVE_TIMEOUT", Disconnect, Some(Cause::Timeout)),
        ("SERVER_ERROR", Disconnect, Some(Cause::Server)),
        ("SERVER_INITIATED_DISCONNECT", Disconnect, Some(Cause::Server)),
        ("API_INITIATED_DISCONNECT", Disconnect, Some(Cause::Server)),
        ("THROTTLED", Disconnect, Some(Cause::Server)),
        ("WEBSOCKET_TTL_EXPIRATION", Disconnect, Some(Cause::Server)),
        ("A_NEW_ONE", Disconnect, None),
    ] {
        let payload = disconnected(reason);
        let event = event("$aws/events/presence/disconnected/a/b", &payload);
        assert_eq!((event.kind, event.cause), (kind, cause), "{reason}");
        assert_eq!(event.device.id, "a/b");
        assert_eq!(event.reason.as_deref(), Some(reason));
        assert_eq!(event.session, Session::Versioned { version: 40, session: "5e0bff".into() });
    }
}

#[test]
fn takes_a_failed_connect_for_a_refusal_of_no_session() {
    let payload =
        r#"{"clientId":"sensor-9","timestamp":1767225600123,"disconnectReason":"AUTHORIZATION_FAILED"}"#;
    let event = event("$aws/events/presence/connect_failed/sensor-9", payload);
    assert_eq!((event.kind, event.session), (EventKind::Refusal, Session::Connection(None)));
}

#[test]
fn says_why_a_message_cannot_be_read() {
    let decode = |topic, payload: &'static str| decode(topic, payload.as_bytes());
    assert_eq!(decode("$aws/events/presence/connected", CONNECTED), Decoded::NoMatch);
    assert_eq!(decode("$aws/events/presence/connected/", CONNECTED), Decoded::Undecodable("client_id"));
    assert_eq!(decode("$aws/events/presence/moved/a", CONNECTED), Decoded::Undecodable("topic"));
    let connected = "$aws/events/presence/connected/a";
    assert_eq!(decode(connected, "{"), Decoded::Undecodable("json"));
    assert_eq!(decode(connected, r#"{"timestamp":1}"#), Decoded::Undecodable("session"));
    assert_eq!(decode(connected, r#"{"versionNumber":1,"timestamp":1}"#), Decoded::Undecodable("session"));
}
