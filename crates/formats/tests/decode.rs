//! The decoder by table: every field missing, every form of a time, everything that is no device's status.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the failure report")]

use formats::iot_platform::{
    self, ClientIdMatch, Flaw, Notice, PAYLOAD_MAX_BYTES, PlatformMessage, STORED_MAX_BYTES, Undecodable,
    decode,
};
use presence::{Device, EventKind, Moment, PresenceEvent};

const TOPIC: &[u8] = b"iot-2/type/pump/id/p1/mon";
const DEVICE: Device<'_> = Device { device_type: "pump", id: "p1" };

const FULL: &str = r#"{"Action":"Disconnect","Time":"2026-11-23T17:52:33.902Z","ClientAddr":"127.0.0.1","ClientID":"d:org1:pump:p1","Port":11883,"Secure":false,"Protocol":"mqtt4","User":"u","CertName":"c","ConnectTime":"2026-11-23T17:52:32.194Z","Durable":true,"NewSession":true,"CloseCode":91,"Reason":"r","ReadBytes":107,"ReadMsg":0,"WriteBytes":7,"WriteMsg":0}"#;

fn event(payload: &str) -> (PresenceEvent, ClientIdMatch) {
    let (event, client_id, _flaws) = decoded(payload);
    (event, client_id)
}

/// The event and what is wrong with its message.
fn flawed(payload: &str) -> (PresenceEvent, Vec<Flaw>) {
    let (event, _client_id, flaws) = decoded(payload);
    (event, flaws)
}

fn decoded(payload: &str) -> (PresenceEvent, ClientIdMatch, Vec<Flaw>) {
    match decode(TOPIC, payload.as_bytes()) {
        PlatformMessage::Event { device, event, client_id, flaws } => {
            assert_eq!(device, DEVICE);
            (event, client_id, flaws)
        }
        other => panic!("{payload}: {other:?}"),
    }
}

fn undecodable(topic: &[u8], payload: &[u8]) -> Undecodable {
    match decode(topic, payload) {
        PlatformMessage::Undecodable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_complete_message_is_decoded_and_stored_unchanged() {
    let (event, client_id) = event(FULL);
    assert_eq!((event.kind, event.close_code), (EventKind::Disconnect, 91));
    assert_eq!(event.session, Moment::from_nanos(1_795_456_352_194_000_000));
    assert_eq!(event.time, Moment::from_nanos(1_795_456_353_902_000_000));
    assert_eq!(client_id, ClientIdMatch::Matching);
    assert_eq!(event.payload.unpack(), FULL.as_bytes());
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
            assert_eq!(event(&payload).0.payload.unpack(), payload.as_bytes());
        }
    }
}

/// 2026-11-23T17:52:32.194Z
const MOMENT_NANOS: i128 = 1_795_456_352_194_000_000;

const SECOND: i128 = 1_000_000_000;
/// The end of 2026.
const MIDNIGHT: i128 = 1_798_761_600 * SECOND;
const WHOLE: i128 = MOMENT_NANOS - 194_000_000;

/// Each form of a time that is understood, as JSON, and the moment that it means. The same forms are in `docs/api.md`.
const UNDERSTOOD: &[(&str, i128)] = &[
    (r#""2026-11-23T17:52:32.194Z""#, MOMENT_NANOS),
    (r#""2026-11-23T17:52:32.194000000Z""#, MOMENT_NANOS),
    (r#""2026-11-23T17:52:32.194000000999Z""#, MOMENT_NANOS),
    (r#""2026-11-23T17:52:32,194Z""#, MOMENT_NANOS),
    (r#""2026-11-23t17:52:32.194z""#, MOMENT_NANOS),
    (r#""2026-11-23 17:52:32.194Z""#, MOMENT_NANOS),
    (r#""2026-11-23 17:52:32.194 UTC""#, MOMENT_NANOS),
    (r#"" 2026-11-23T17:52:32.194Z\n""#, MOMENT_NANOS),
    (r#""2026-11-23T13:52:32.194-04:00""#, MOMENT_NANOS),
    (r#""2026-11-23T13:52:32.194-0400""#, MOMENT_NANOS),
    (r#""2026-11-23T13:52:32.194-04""#, MOMENT_NANOS),
    (r#""2026-11-23T23:22:32.194+05:30""#, MOMENT_NANOS),
    (r#""2026-11-23 23:22:32.194 +0530""#, MOMENT_NANOS),
    (r#""2026-11-23T17:52:32.194-00:00""#, MOMENT_NANOS),
    (r#""2026-11-23T17:52:32.194""#, MOMENT_NANOS),
    (r#""20261123T175232.194Z""#, MOMENT_NANOS),
    (r#""2026-11-23T17:52:32Z""#, WHOLE),
    (r#""2026-11-23T17:52Z""#, WHOLE - 32 * SECOND),
    ("1795456352.194", MOMENT_NANOS),
    ("1795456352194", MOMENT_NANOS),
    ("1795456352194000", MOMENT_NANOS),
    ("1795456352194000000", MOMENT_NANOS),
    ("1795456352", WHOLE),
    (r#""1795456352""#, WHOLE),
    (r#""1795456352194""#, MOMENT_NANOS),
    (r#""2026-12-31T24:00:00Z""#, MIDNIGHT),
    (r#""2026-12-31T23:59:60Z""#, MIDNIGHT),
    (r#""2026-12-31T23:59:60.5Z""#, MIDNIGHT + SECOND / 2),
    (r#""2027-01-01T05:29:60+05:30""#, MIDNIGHT),
    (r#""1970-01-01T00:00:00Z""#, 0),
    (r#""1677-09-22T00:00:00Z""#, -9_223_286_400 * SECOND),
    (r#""2262-04-11T00:00:00Z""#, 9_223_286_400 * SECOND),
];

/// Forms that are not understood, or times that cannot be held.
const UNUSABLE: &[&str] = &[
    r#""0001-01-01T00:00:00Z""#,
    r#""0001-01-01T00:00:00""#,
    r#""1677-09-21T00:00:00Z""#,
    r#""2262-04-12T00:00:00Z""#,
    r#""2300-01-01T00:00:00Z""#,
    r#""9999-12-31T23:59:59Z""#,
    r#""9999-12-31T23:59:59.9999999""#,
    r#""-0001-11-30T00:00:00Z""#,
    r#""-000001-11-30T00:00:00Z""#,
    r#""+002026-11-23T17:52:32Z""#,
    r#""2026-11-23T17:52:60Z""#,
    r#""2026-12-31T23:59:61Z""#,
    r#""2026-12-31T24:00:01Z""#,
    r#""2026-12-31T25:00:00Z""#,
    r#""2026-11-23T17:60:00Z""#,
    r#""2026-02-29T17:52:32Z""#,
    r#""2026-13-01T00:00:00Z""#,
    r#""2026-11-23T17:52:32.Z""#,
    r#""2026-11-23T17:52:32+24:00""#,
    r#""2026-11-23T17:52:32+5""#,
    r#""2026-11-23T17:52:32 CET""#,
    r#""2026-11-23T17:52:32+01:00[Europe/Paris]""#,
    r#""2026-11-23T17:52:32Z tomorrow""#,
    r#""2026-11-23""#,
    r#""17:52:32Z""#,
    r#""20261123175232""#,
    r#""2026-W48-1T17:52:32Z""#,
    r#""23/11/2026 17:52:32""#,
    r#""Mon, 23 Nov 2026 17:52:32 GMT""#,
    r#""/Date(1795456352194)/""#,
    r#""yesterday""#,
    "0",
    "-1",
    "3600",
    "179545635219",
    "1.795456352194e12",
    "9999999999999999999",
    "true",
    "{}",
];

fn forms_of_times() -> impl Iterator<Item = (&'static str, Option<i128>)> {
    let understood = UNDERSTOOD.iter().map(|(time, nanos)| (*time, Some(*nanos)));
    understood.chain(UNUSABLE.iter().map(|time| (*time, None)))
}

#[test]
fn a_time_is_understood_exactly_or_unusable_and_never_another() {
    for (time, nanos) in forms_of_times() {
        let expected = nanos.map_or(Moment::UNKNOWN, Moment::from_nanos);
        let connect = flawed(&format!(r#"{{"Action":"Connect","ConnectTime":{time}}}"#));
        let end = flawed(&format!(r#"{{"Action":"Disconnect","CloseCode":91,"Time":{time}}}"#));
        assert_eq!((connect.0.kind, connect.0.session), (EventKind::Connect, expected), "{time}");
        assert_eq!((end.0.kind, end.0.time), (EventKind::Disconnect, expected), "{time}");
        let flaws = |flaw| if nanos.is_some() { Vec::new() } else { vec![flaw] };
        assert_eq!(connect.1, flaws(Flaw::UnusableConnectTime), "{time}");
        assert_eq!(end.1, flaws(Flaw::UnusableTime), "{time}");
        assert_eq!(expected.rfc3339().is_some(), nanos.is_some(), "{time}");
    }
    for absent in ["null", r#""""#] {
        let (event, flaws) = flawed(&format!(r#"{{"Action":"Connect","ConnectTime":{absent}}}"#));
        assert_eq!((event.session, flaws), (Moment::UNKNOWN, Vec::new()), "{absent}");
    }
}

#[test]
fn an_unusable_connect_time_counts_as_missing() {
    let (event, flaws) = flawed(
        r#"{"Action":"Disconnect","Time":"2026-11-23T17:52:32.194Z","ConnectTime":"0001-01-01T00:00:00Z"}"#,
    );
    assert_eq!(event.session, Moment::from_nanos(MOMENT_NANOS));
    assert_eq!(flaws, [Flaw::UnusableConnectTime]);
}

#[test]
fn every_form_of_a_time_is_in_the_documentation() {
    let document = include_str!("../../../docs/api.md");
    for (time, nanos) in forms_of_times().filter(|(time, _)| !time.contains('\\')) {
        let row = document.lines().find(|line| line.starts_with('|') && line.contains(&format!("`{time}`")));
        let row = row.unwrap_or_else(|| panic!("{time} is in no table of docs/api.md"));
        assert_eq!(row.contains("| unusable"), nanos.is_none(), "{row}");
    }
}

#[test]
fn a_missing_connect_time_is_taken_from_the_time() {
    let at = |ms: i128| Moment::from_nanos((1_795_456_352_194 + ms) * 1_000_000);
    let connect = event(r#"{"Action":"Connect","Time":"2026-11-23T17:52:32.194Z"}"#).0;
    let disconnect = event(r#"{"Action":"Disconnect","Time":"2026-11-23T17:52:32.194Z"}"#).0;
    assert_eq!((connect.session, disconnect.session), (at(-5), at(0)));
}

#[test]
fn the_close_code_says_what_kind_of_end_it_was() {
    for (rest, kind) in [
        ("", EventKind::Disconnect),
        (r#","CloseCode":0"#, EventKind::Disconnect),
        (r#","CloseCode":160"#, EventKind::Disconnect),
        (r#","CloseCode":99999"#, EventKind::Disconnect),
        (r#","CloseCode":288"#, EventKind::Takeover),
        (r#","CloseCode":180"#, EventKind::Refusal),
        (r#","CloseCode":180,"Protocol":"mqtt-tcp""#, EventKind::Disconnect),
        (r#","CloseCode":91,"Protocol":"iotrest""#, EventKind::Request),
    ] {
        let payload = format!(r#"{{"Action":"Disconnect"{rest}}}"#);
        assert_eq!(event(&payload).0.kind, kind, "{payload}");
    }
}

#[test]
fn numbers_may_be_text_and_texts_numbers_where_the_meaning_is_plain() {
    for (code, expected) in [
        ("288", Some(288)),
        (r#""288""#, Some(288)),
        (r#"" 91 ""#, Some(91)),
        ("91.0", Some(91)),
        (r#""91.0""#, Some(91)),
        ("9.1e1", Some(91)),
        ("0", Some(0)),
        ("65535", Some(65_535)),
        ("65536", None),
        ("-1", None),
        ("91.5", None),
        ("true", None),
        (r#""0x5B""#, None),
        (r#""reused""#, None),
        (r#""inf""#, None),
        ("1e400", None),
        ("[91]", None),
    ] {
        let (event, flaws) = flawed(&format!(r#"{{"Action":"Disconnect","CloseCode":{code}}}"#));
        assert_eq!(event.close_code, expected.unwrap_or(0), "{code}");
        let expected_flaws = if expected.is_some() { vec![] } else { vec![Flaw::UnusableCloseCode] };
        assert_eq!(flaws, expected_flaws, "{code}");
        let kind = if expected == Some(288) { EventKind::Takeover } else { EventKind::Disconnect };
        assert_eq!(event.kind, kind, "{code}");
    }
    for absent in ["null", r#""""#] {
        let (event, flaws) = flawed(&format!(r#"{{"Action":"Disconnect","CloseCode":{absent}}}"#));
        assert_eq!((event.close_code, flaws), (0, vec![]), "{absent}");
    }
    let secure = |value: &str| iot_platform::details(format!(r#"{{"Secure":{value}}}"#).as_bytes()).secure;
    for yes in ["true", "1", r#""true""#, r#""True""#, r#""1""#] {
        assert_eq!(secure(yes), Some(true), "{yes}");
    }
    for no in ["false", "0", r#""false""#, r#""FALSE""#, r#""0""#] {
        assert_eq!(secure(no), Some(false), "{no}");
    }
    for neither in ["2", r#""yes""#, r#""""#, "null", "{}"] {
        assert_eq!(secure(neither), None, "{neither}");
    }
    let message = br#"{"ClientID":7,"Reason":91,"Protocol":4,"ReadBytes":"107","ReadMsg":"18446744073709551615","WriteBytes":7.0,"WriteMsg":-7}"#;
    let (details, traffic) = (iot_platform::details(message), iot_platform::traffic(message));
    assert_eq!((details.client_id.as_deref(), details.reason.as_deref()), (Some("7"), Some("91")));
    assert_eq!((details.protocol.as_deref(), traffic.read_bytes()), (Some("4"), Some(107)));
    assert_eq!((traffic.read_messages(), traffic.write_bytes()), (Some(u64::MAX), Some(7)));
    assert_eq!(traffic.write_messages(), None);
}

#[test]
fn careless_json_is_repaired_and_stored_as_repaired() {
    for (payload, kept) in [
        (
            "\u{feff}{\"Action\":\"Disconnect\",\"CloseCode\":91}".to_owned(),
            r#"{"Action":"Disconnect","CloseCode":91}"#,
        ),
        (
            format!("{{\"Action\":\"Disconnect\",\"CloseCode\":91}}{}", "\0".repeat(100)),
            r#"{"Action":"Disconnect","CloseCode":91}"#,
        ),
        (
            "{\"Action\":\"Disconnect\",\"CloseCode\":91,\"Reason\":\"a\tb\nc\u{1b}\",\"Load\":NaN}"
                .to_owned(),
            r#"{"Action":"Disconnect","CloseCode":91,"Reason":"a\u0009b\u000ac\u001b","Load":null}"#,
        ),
    ] {
        let (event, flaws) = flawed(&payload);
        assert_eq!((event.kind, event.close_code), (EventKind::Disconnect, 91), "{payload}");
        assert_eq!(flaws, [Flaw::Repaired], "{payload}");
        assert_eq!(String::from_utf8(event.payload.unpack()).unwrap(), kept);
        assert_eq!(iot_platform::summary(payload.as_bytes()).unwrap().action, "Disconnect");
    }
    for hopeless in ["\u{feff}", "\0", "\u{feff}{\"Action\":\"Connect\"", "{\"Action\":NaN\"Connect\"}"] {
        assert_eq!(undecodable(TOPIC, hopeless.as_bytes()), Undecodable::NotJson, "{hopeless}");
    }
}

#[test]
fn an_oversized_status_counts_and_its_known_fields_are_stored() {
    let longest = FULL.replace(
        "\"Reason\":\"r\"",
        &format!("\"Reason\":\"{}\"", "r".repeat(STORED_MAX_BYTES - FULL.len() + 1)),
    );
    assert_eq!(longest.len(), STORED_MAX_BYTES);
    let (event, flaws) = flawed(&longest);
    assert_eq!((event.payload.unpack(), flaws), (longest.into_bytes(), vec![]));
    for long in [
        FULL.replace("\"Reason\":\"r\"", &format!("\"Reason\":\"{}\"", "é\\n".repeat(STORED_MAX_BYTES))),
        FULL.replacen('{', &format!("{{\"Other\":\"{}\",", "x".repeat(60_000)), 1),
        FULL.replacen('{', &format!("\u{feff}{{\"Other\":\"{}\",", "\t".repeat(30_000)), 1),
    ] {
        let (event, flaws) = flawed(&long);
        assert!(flaws.ends_with(&[Flaw::Shortened]), "{flaws:?}");
        let (whole, _) = flawed(FULL);
        assert_eq!((event.kind, event.close_code), (whole.kind, whole.close_code));
        assert_eq!((event.session, event.time), (whole.session, whole.time));
        let kept = event.payload.unpack();
        assert!(kept.len() <= STORED_MAX_BYTES, "{}", kept.len());
        let json: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        let expected: serde_json::Value = serde_json::from_str(FULL).unwrap();
        for (name, value) in expected.as_object().unwrap().iter().filter(|(name, _)| *name != "Reason") {
            assert_eq!(&json[name], value, "{name}");
        }
        assert_eq!(json["Shortened"], true);
        assert!(json["Reason"].as_str().is_some_and(|reason| reason.starts_with(['r', 'é'])));
    }
}

#[test]
fn the_topic_names_the_device_and_the_payload_is_compared_with_it() {
    for (client_id, expected) in [
        ("d:org1:pump:p1", ClientIdMatch::Matching),
        ("g:org1:pump:p1", ClientIdMatch::Matching),
        ("d:org1:pump:p2", ClientIdMatch::Foreign),
        ("g:org1:valve:p1", ClientIdMatch::Foreign),
        ("p1", ClientIdMatch::Absent),
    ] {
        let payload = format!(r#"{{"Action":"Connect","ClientID":"{client_id}"}}"#);
        assert_eq!(event(&payload).1, expected, "{client_id}");
    }
    assert_eq!(event(r#"{"Action":"Connect"}"#).1, ClientIdMatch::Absent);
}

#[test]
fn applications_are_no_devices() {
    assert_eq!(decode(b"iot-2/type//id/app/mon", FULL.as_bytes()), PlatformMessage::Application);
    for client_id in ["a:org1:app", "A:org1:app:i1"] {
        let payload = format!(r#"{{"Action":"Connect","ClientID":"{client_id}"}}"#);
        assert_eq!(decode(TOPIC, payload.as_bytes()), PlatformMessage::Application);
    }
}

#[test]
fn a_failed_login_belongs_to_no_session() {
    let payload = FULL.replace("Disconnect", "FailedConnect").replace("91", "180");
    let PlatformMessage::FailedLogin { device, event, flaws: _ } = decode(TOPIC, payload.as_bytes()) else {
        panic!("{payload}")
    };
    assert_eq!((device, event.kind, event.close_code), (DEVICE, EventKind::FailedLogin, 180));
    assert_eq!(event.session, Moment::from_nanos(1_795_456_352_194_000_000));
    assert_eq!(event.payload.unpack(), payload.as_bytes());
}

#[test]
fn a_message_that_changes_no_status_is_a_notice() {
    for (payload, notice) in [
        ("", Notice::Cleared),
        (r#"{"Action":"Active"}"#, Notice::Other),
        (r#"{"Action":"connect"}"#, Notice::Other),
    ] {
        assert_eq!(decode(TOPIC, payload.as_bytes()), PlatformMessage::Notice { device: DEVICE, notice });
    }
}

#[test]
fn an_undecodable_message_is_reported_with_its_reason() {
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
fn unknown_and_repeated_fields_are_stored_and_the_last_one_counts() {
    let payload = r#"{"Act\u0069on":"Disconnect","Zone":{"a":[1]},"CloseCode":91,"CloseCode":288}"#;
    let (event, _) = event(payload);
    assert_eq!((event.kind, event.payload.unpack()), (EventKind::Takeover, payload.as_bytes().to_vec()));
}

#[test]
fn the_log_summary_holds_the_fields_that_are_present() {
    let summary = iot_platform::summary(FULL.as_bytes()).unwrap();
    assert_eq!((summary.action.as_ref(), summary.address.as_ref()), ("Disconnect", "127.0.0.1"));
    assert_eq!(iot_platform::summary(b"{}").unwrap().reason, "");
    assert_eq!(iot_platform::summary(b"nonsense"), None);
}
