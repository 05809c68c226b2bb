//! RMQTT's messages, as version 0.24.0 has published them.

use super::*;

fn event<'a>(topic: &'a str, payload: &'a str) -> Event<'a> {
    match decode(topic, payload.as_bytes()) {
        Decoded::Event(event) => event,
        other => panic!("{payload} is no event: {other:?}"),
    }
}

const CONNECTED: &str = r#"{"clean_session":true,"clientid":"d","connected_at":1796026100169,"ipaddress":"127.0.0.1:53320","keepalive":5,"node":1,"proto_ver":4,"session_present":false,"time":"2026-11-30 08:08:20.169","username":"undefined"}"#;

/// The end of the connection from port 53320.
fn disconnected(reason: &str) -> String {
    let reason = reason.replace('"', "\\\"");
    format!(
        r#"{{"clientid":"d","disconnected_at":1796026101171,"ipaddress":"127.0.0.1:53320","node":1,"reason":"{reason}","time":"2026-11-30 08:08:21.171","username":"undefined"}}"#
    )
}

#[test]
fn reads_connects() {
    let event = event("$SYS/brokers/1/clients/d/connected", CONNECTED);
    assert_eq!(event.device, DeviceName { device_type: "mqtt".into(), id: "d".into() });
    assert_eq!((event.kind, event.cause, event.reason), (EventKind::Connect, None, None));
    assert_eq!(event.session, Session::Connection(Some("127.0.0.1:53320".into())));
    assert_eq!(event.time, Some(UnixNanos(1_796_026_100_169_000_000)));
    assert_eq!((event.address.as_deref(), event.protocol.as_deref()), (Some("127.0.0.1"), Some("mqtt4")));
}

#[test]
fn reads_ends_and_takeovers() {
    use EventKind::{Disconnect, Takeover};
    let with_will = "Disconnect(V5(Disconnect { reason_code: DisconnectWithWillMessage, session_expiry_interval_secs: None, server_reference: None, reason_string: None, user_properties: [] })),RemoteClose";
    for (reason, kind, cause) in [
        ("Disconnect(V3),RemoteClose", Disconnect, Some(Cause::Ended)),
        (with_will, Disconnect, Some(Cause::Ended)),
        ("RemoteClose", Disconnect, Some(Cause::Connection)),
        (r#"io error, "Connection reset by peer (os error 104)""#, Disconnect, Some(Cause::Connection)),
        ("KeepaliveTimeout", Disconnect, Some(Cause::Timeout)),
        ("Kicked", Takeover, Some(Cause::Takeover)),
        ("RemoteClose,Kicked", Takeover, Some(Cause::Takeover)),
        ("ByAdminKick", Disconnect, Some(Cause::Server)),
        ("ProtocolError(x)", Disconnect, Some(Cause::Protocol)),
        ("something else", Disconnect, None),
    ] {
        let payload = disconnected(reason);
        let event = event("$SYS/brokers/1/clients/d/disconnected", &payload);
        assert_eq!((event.kind, event.cause), (kind, cause), "{reason}");
        assert_eq!(event.reason.as_deref(), Some(reason));
        assert_eq!(event.session, Session::Connection(Some("127.0.0.1:53320".into())));
        assert_eq!(event.time, Some(UnixNanos(1_796_026_101_171_000_000)));
    }
}

#[test]
fn an_id_may_hold_slashes_and_addresses_be_of_any_kind() {
    let with = |address: &str| CONNECTED.replace("\"127.0.0.1:53320\"", address);
    for (address, shown) in [(r#""[::1]:9""#, Some("::1")), ("null", None), (r#""x""#, None)] {
        let payload = with(address);
        let event = event("$SYS/brokers/7/clients/a/connected/b/connected", &payload);
        assert_eq!((&*event.device.id, event.address.as_deref()), ("a/connected/b", shown));
    }
    let zero = CONNECTED.replace("1796026100169", "0");
    assert_eq!(event("$SYS/brokers/1/clients/d/connected", &zero).time, None);
}

#[test]
fn says_why_a_message_cannot_be_read() {
    for (topic, payload, expected) in [
        ("$SYS/brokers/1/clients/d/connected", "null", Decoded::Undecodable("json")),
        ("$SYS/brokers/1/clients/d/connected", "", Decoded::Undecodable("json")),
        ("$SYS/brokers/1/clients//connected", "{}", Decoded::Undecodable("client_id")),
        ("$SYS/brokers/1/clients/connected", "{}", Decoded::NoMatch),
        ("$SYS/brokers/1/session/d/created", "{}", Decoded::NoMatch),
        ("$SYS/brokers/1/clients/d/subscribed", "{}", Decoded::NoMatch),
        ("$SYS/brokers/1/stats", "{}", Decoded::NoMatch),
    ] {
        assert_eq!(decode(topic, payload.as_bytes()), expected, "{topic}");
    }
}
