//! The decoder by table: every field missing, every form of a time, everything that is no device's status.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use devstatus::decode::iot_platform::{self, PAYLOAD_MAX_BYTES, decode};
use devstatus::decode::{ClientId, Decoded, Device, Notice, Undecodable};
use devstatus::presence::{Claim, Moment, Statement};

const TOPIC: &[u8] = b"iot-2/type/pump/id/p1/mon";
const DEVICE: Device<'_> = Device { device_type: "pump", id: "p1" };

const FULL: &str = r#"{"Action":"Disconnect","Time":"2026-11-23T17:52:33.902Z","ClientAddr":"127.0.0.1","ClientID":"d:org1:pump:p1","Port":11883,"Secure":false,"Protocol":"mqtt4","User":"u","CertName":"c","ConnectTime":"2026-11-23T17:52:32.194Z","Durable":true,"NewSession":true,"CloseCode":91,"Reason":"r","ReadBytes":107,"ReadMsg":0,"WriteBytes":7,"WriteMsg":0}"#;

fn statement(payload: &str) -> (Statement, ClientId) {
    match decode(TOPIC, payload.as_bytes()) {
        Decoded::Statement { device, statement, client_id } => {
            assert_eq!(device, DEVICE);
            (statement, client_id)
        }
        other => panic!("{payload}: {other:?}"),
    }
}

fn undecodable(topic: &[u8], payload: &[u8]) -> Undecodable {
    match decode(topic, payload) {
        Decoded::Undecodable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_whole_message_is_understood_and_kept_as_it_came() {
    let (statement, client_id) = statement(FULL);
    assert_eq!((statement.claim, statement.close_code), (Claim::Disconnect, 91));
    assert_eq!(statement.session, Moment::from_nanos(1_795_456_352_194_000_000));
    assert_eq!(statement.time, Moment::from_nanos(1_795_456_353_902_000_000));
    assert_eq!(client_id, ClientId::Matching);
    assert_eq!(statement.payload.unpack(), FULL.as_bytes());
}

#[test]
fn any_field_but_the_action_can_be_missing_null_or_of_another_type() {
    let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(FULL).unwrap();
    for name in whole.keys().filter(|name| *name != "Action") {
        let mut without = whole.clone();
        without.remove(name);
        let mut variants = vec![without];
        for value in [serde_json::Value::Null, true.into(), (-1.5).into(), vec!["x"; 3].into()] {
            let mut other = whole.clone();
            other.insert(name.clone(), value);
            variants.push(other);
        }
        for variant in variants {
            let payload = serde_json::to_string(&variant).unwrap();
            assert_eq!(statement(&payload).0.payload.unpack(), payload.as_bytes());
        }
    }
}

#[test]
fn times_are_one_moment_in_every_form() {
    let expected = Moment::from_nanos(1_795_456_352_194_000_000);
    for time in [
        "2026-11-23T17:52:32.194Z",
        "2026-11-23T17:52:32.194000000Z",
        "2026-11-23T13:52:32.194-04:00",
        "2026-11-23T13:52:32.194-0400",
        "2026-11-23T23:22:32.194+05:30",
        "2026-11-23T17:52:32.194",
    ] {
        let payload = format!(r#"{{"Action":"Connect","ConnectTime":"{time}"}}"#);
        assert_eq!(statement(&payload).0.session, expected, "{time}");
    }
    for nonsense in ["", "yesterday", "2026-13-01T00:00:00Z", "17:52"] {
        let payload = format!(r#"{{"Action":"Connect","ConnectTime":"{nonsense}"}}"#);
        assert_eq!(statement(&payload).0.session, Moment::UNKNOWN, "{nonsense}");
    }
}

#[test]
fn a_missing_connect_time_is_taken_from_the_time() {
    let at = |ms: i128| Moment::from_nanos((1_795_456_352_194 + ms) * 1_000_000);
    let connect = statement(r#"{"Action":"Connect","Time":"2026-11-23T17:52:32.194Z"}"#).0;
    let disconnect = statement(r#"{"Action":"Disconnect","Time":"2026-11-23T17:52:32.194Z"}"#).0;
    assert_eq!((connect.session, disconnect.session), (at(-5), at(0)));
}

#[test]
fn the_close_code_says_what_kind_of_end_it_was() {
    for (rest, claim) in [
        ("", Claim::Disconnect),
        (r#","CloseCode":0"#, Claim::Disconnect),
        (r#","CloseCode":160"#, Claim::Disconnect),
        (r#","CloseCode":99999"#, Claim::Disconnect),
        (r#","CloseCode":288"#, Claim::Takeover),
        (r#","CloseCode":180"#, Claim::Refusal),
        (r#","CloseCode":180,"Protocol":"mqtt-tcp""#, Claim::Disconnect),
        (r#","CloseCode":91,"Protocol":"iotrest""#, Claim::Request),
    ] {
        let payload = format!(r#"{{"Action":"Disconnect"{rest}}}"#);
        assert_eq!(statement(&payload).0.claim, claim, "{payload}");
    }
}

#[test]
fn the_topic_names_the_device_and_the_payload_is_compared_with_it() {
    for (client_id, expected) in [
        ("d:org1:pump:p1", ClientId::Matching),
        ("g:org1:pump:p1", ClientId::Matching),
        ("d:org1:pump:p2", ClientId::Foreign),
        ("g:org1:valve:p1", ClientId::Foreign),
        ("p1", ClientId::Absent),
    ] {
        let payload = format!(r#"{{"Action":"Connect","ClientID":"{client_id}"}}"#);
        assert_eq!(statement(&payload).1, expected, "{client_id}");
    }
    assert_eq!(statement(r#"{"Action":"Connect"}"#).1, ClientId::Absent);
}

#[test]
fn applications_are_no_devices() {
    assert_eq!(decode(b"iot-2/type//id/app/mon", FULL.as_bytes()), Decoded::Application);
    for client_id in ["a:org1:app", "A:org1:app:i1"] {
        let payload = format!(r#"{{"Action":"Connect","ClientID":"{client_id}"}}"#);
        assert_eq!(decode(TOPIC, payload.as_bytes()), Decoded::Application);
    }
}

#[test]
fn a_failed_login_is_told_apart_from_every_session() {
    let payload = FULL.replace("Disconnect", "FailedConnect").replace("91", "180");
    let Decoded::FailedLogin { device, statement } = decode(TOPIC, payload.as_bytes()) else {
        panic!("{payload}")
    };
    assert_eq!((device, statement.claim, statement.close_code), (DEVICE, Claim::FailedLogin, 180));
    assert_eq!(statement.session, Moment::from_nanos(1_795_456_352_194_000_000));
    assert_eq!(statement.payload.unpack(), payload.as_bytes());
}

#[test]
fn what_changes_no_status_is_a_notice() {
    for (payload, notice) in [
        ("", Notice::Cleared),
        (r#"{"Action":"Active"}"#, Notice::Other),
        (r#"{"Action":"connect"}"#, Notice::Other),
    ] {
        assert_eq!(decode(TOPIC, payload.as_bytes()), Decoded::Notice { device: DEVICE, notice });
    }
}

#[test]
fn what_cannot_be_decoded_is_told_by_reason() {
    for topic in [
        &b"iot-2/app/a/mon"[..],
        b"iot-2/type/pump/id//mon",
        b"iot-2/type/pump/id/p1/mon/x",
        b"iot-2/type/pump/id/p1/evt",
        b"iot-2/type/\xff/id/p1/mon",
        b"",
    ] {
        assert_eq!(undecodable(topic, FULL.as_bytes()), Undecodable::ForeignTopic);
    }
    let deep = format!(r#"{{"Action":"Connect","x":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let long = format!(r#"{{"Action":"Connect","x":"{}"}}"#, "x".repeat(PAYLOAD_MAX_BYTES));
    for (payload, why) in [
        (&b"\xff\xfe"[..], Undecodable::NotUtf8),
        (b"{\"Action\":\"\xff\"}", Undecodable::NotUtf8),
        (b"Connect", Undecodable::NotJson),
        (b"{\"Action\":\"Connect\"", Undecodable::NotJson),
        (b"{\"Action\":\"Connect\"}}", Undecodable::NotJson),
        (b"[\"Action\"]", Undecodable::NotAnObject),
        (b"3", Undecodable::NotAnObject),
        (b"{}", Undecodable::NoAction),
        (b"{\"Action\":7}", Undecodable::NoAction),
        (deep.as_bytes(), Undecodable::TooDeep),
        (long.as_bytes(), Undecodable::TooLong),
    ] {
        assert_eq!(undecodable(TOPIC, payload), why, "{}", payload.escape_ascii());
    }
}

#[test]
fn unknown_and_repeated_fields_are_kept_and_the_last_of_them_counts() {
    let payload = r#"{"Act\u0069on":"Disconnect","Zone":{"a":[1]},"CloseCode":91,"CloseCode":288}"#;
    let (statement, _) = statement(payload);
    assert_eq!((statement.claim, statement.payload.unpack()), (Claim::Takeover, payload.as_bytes().to_vec()));
}

#[test]
fn the_summary_for_the_log_has_what_is_there() {
    let summary = iot_platform::summary(FULL.as_bytes()).unwrap();
    assert_eq!((summary.action.as_ref(), summary.address.as_ref()), ("Disconnect", "127.0.0.1"));
    assert_eq!(iot_platform::summary(b"{}").unwrap().reason, "");
    assert_eq!(iot_platform::summary(b"nonsense"), None);
}
