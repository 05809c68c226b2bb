//! NanoMQ's messages, also those that are no JSON.

use super::*;

fn event<'a>(topic: &'a str, payload: &'a str) -> Event<'a> {
    match decode(topic, payload.as_bytes()) {
        Decoded::Event(event) => event,
        other => panic!("{payload} is no event: {other:?}"),
    }
}

const TOPIC_OF_CAM: &str = "$SYS/brokers/client_status/cam-2";

fn online(username: &str, code: &str, id: &str) -> String {
    format!(
        r#"{{"status":"online", "username":"{username}", "ts":1767225600123,"proto_name":"MQTT","keepalive":30,"return_code":"{code}","proto_ver":4,"client_id":"{id}","clean_start":1, "IPv4":"10.0.0.9"}}"#
    )
}

fn offline(username: &str, code: &str, id: &str) -> String {
    format!(
        r#"{{"status":"offline", "username":"{username}","ts":1767225690011,"reason_code":"{code}","client_id":"{id}","IPv4":"10.0.0.9"}}"#
    )
}

#[test]
fn reads_connects_refusals_and_ends() {
    use EventKind::{Connect, Disconnect, Refusal, Takeover};
    for (payload, kind, cause) in [
        (online("ops", "0", "cam-2"), Connect, None),
        (online("ops", "5", "cam-2"), Refusal, Some(Cause::Refused)),
        (offline("ops", "8d", "cam-2"), Disconnect, Some(Cause::Timeout)),
        (offline("ops", "8e", "cam-2"), Takeover, Some(Cause::Takeover)),
        (offline("ops", "0", "cam-2"), Disconnect, Some(Cause::Ended)),
        (offline("ops", "zz", "cam-2"), Disconnect, None),
    ] {
        let event = event(TOPIC_OF_CAM, &payload);
        assert_eq!((event.kind, event.cause), (kind, cause), "{payload}");
        assert_eq!(event.device, DeviceName { device_type: "mqtt".into(), id: "cam-2".into() });
        assert_eq!(event.address.as_deref(), Some("10.0.0.9"));
        assert_eq!(event.session, Session::Connection(None));
    }
    let time = event(TOPIC_OF_CAM, &online("ops", "0", "cam-2")).time;
    assert_eq!(time, Some(UnixNanos(1_767_225_600_123_000_000)));
}

/// Names that are not escaped, and that hold members of their own.
#[test]
fn is_not_misled_by_names() {
    let id = r#"a/b","return_code":"5","ts":1,"x":""#;
    let topic = format!("$SYS/brokers/client_status/{id}");
    let payload = online(r#"say "hi","return_code":"5","ts":1,"x":""#, "0", id);
    let event = event(&topic, &payload);
    assert_eq!(event.kind, EventKind::Connect);
    assert_eq!(event.device.id, id);
    assert_eq!(event.time, Some(UnixNanos(1_767_225_600_123_000_000)));
}

/// NanoMQ cuts at 255 bytes.
#[test]
fn reads_messages_that_were_cut() {
    let payload = offline("ops", "8d", &"x".repeat(250));
    let topic = format!("$SYS/brokers/client_status/{}", "x".repeat(250));
    let ended = event(&topic, &payload[..255]);
    assert_eq!((ended.kind, ended.cause), (EventKind::Disconnect, Some(Cause::Timeout)));
    assert_eq!(ended.address, None);

    let payload = offline(&"ü".repeat(300), "8d", "cam-2");
    let Decoded::Event(ended) = decode(TOPIC_OF_CAM, &payload.as_bytes()[..254]) else { panic!("cut") };
    assert_eq!((ended.kind, ended.cause, ended.time), (EventKind::Disconnect, None, None));

    // Whether the login was refused is what the cut took away.
    let payload = online(&"u".repeat(300), "0", "cam-2");
    assert_eq!(decode(TOPIC_OF_CAM, &payload.as_bytes()[..255]), Decoded::Undecodable("cut"));
}

#[test]
fn says_why_a_message_cannot_be_read() {
    assert_eq!(decode(TOPIC_OF_CAM, b"{}"), Decoded::Undecodable("status"));
    assert_eq!(decode(TOPIC_OF_CAM, b""), Decoded::Undecodable("status"));
    assert_eq!(decode("$SYS/brokers/client_status/", b""), Decoded::Undecodable("client_id"));
    assert_eq!(decode("$SYS/brokers/connected", b""), Decoded::NoMatch);
}
