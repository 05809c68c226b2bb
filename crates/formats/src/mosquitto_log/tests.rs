//! Lines of all three generations, and lines that a real mosquitto 2.0.11 was seen to write.

use super::*;

const NOTICE: &str = "$SYS/broker/log/N";

fn event(line: &str) -> Event<'_> {
    match decode(NOTICE, line.as_bytes()) {
        Decoded::Event(event) => event,
        other => panic!("{line:?} is no event: {other:?}"),
    }
}

/// Id, kind, cause and address with port.
fn reported(line: &str) -> (String, EventKind, Option<Cause>, Option<String>) {
    let event = event(line);
    assert_eq!(event.device.device_type, "mqtt");
    let Session::Connection(peer) = event.session else { panic!("{:?}", event.session) };
    (event.device.id.into_owned(), event.kind, event.cause, peer.map(Cow::into_owned))
}

fn end(id: &str, cause: Cause, peer: Option<&str>) -> (String, EventKind, Option<Cause>, Option<String>) {
    let kind = if cause == Cause::Takeover { EventKind::Takeover } else { EventKind::Disconnect };
    (id.to_owned(), kind, Some(cause), peer.map(str::to_owned))
}

#[test]
fn reads_connects_of_every_generation() {
    for (line, address, peer) in [
        ("1767225600: New client connected from 192.0.2.10 as boiler-3 (p2, c1, k30).", "192.0.2.10", None),
        (
            "1767225600: New client connected from 192.0.2.10 as boiler-3 (p2, c1, k30, u'heating').",
            "192.0.2.10",
            None,
        ),
        (
            "1767225600: New client connected from 192.0.2.10:50122 as boiler-3 (p4, c1, k30, u'heating').",
            "192.0.2.10",
            Some("192.0.2.10:50122"),
        ),
        (
            "1767225600: New bridge connected from ::1:50122 as boiler-3 (p5, c0, k30).",
            "::1",
            Some("::1:50122"),
        ),
        ("1767225600: New client connected from 2001:db8::7 as boiler-3 (p2, c0, k0).", "2001:db8::7", None),
    ] {
        let event = event(line);
        assert_eq!(event.device.id, "boiler-3", "{line}");
        assert_eq!(event.kind, EventKind::Connect);
        assert_eq!(event.time, Some(UnixNanos(1_767_225_600_000_000_000)));
        assert_eq!(event.address.as_deref(), Some(address), "{line}");
        assert_eq!(event.protocol.as_deref(), Some("MQTT"));
        assert_eq!(event.session, Session::Connection(peer.map(Cow::Borrowed)), "{line}");
    }
}

#[test]
fn reads_ends_up_to_1_6() {
    for (line, cause) in [
        ("1: Client ID disconnected.", Cause::Ended),
        ("1: Socket error on client ID, disconnecting.", Cause::Connection),
        ("1: Client ID has exceeded timeout, disconnecting.", Cause::Timeout),
        ("1: Client ID disconnected, no longer authorised.", Cause::Refused),
        ("1: Client ID disconnected due to protocol error.", Cause::Protocol),
        ("1: Client ID already connected, closing old connection.", Cause::Takeover),
    ] {
        assert_eq!(reported(line), end("ID", cause, None), "{line}");
    }
}

#[test]
fn reads_ends_of_2_0() {
    for (line, cause) in [
        ("1: Client ID disconnected.", Cause::Ended),
        ("1: Client ID closed its connection.", Cause::Connection),
        ("1: Client ID has exceeded timeout, disconnecting.", Cause::Timeout),
        ("1: Client ID been disconnected by administrative action.", Cause::Server),
        ("1: Client ID disconnected, not authorised.", Cause::Refused),
        ("1: Client ID disconnected due to malformed packet.", Cause::Protocol),
        ("1: Client ID disconnected due to oversize payload.", Cause::Protocol),
        ("1: Client ID disconnected due to out of memory.", Cause::Server),
        ("1: Client ID disconnected due to QoS too high or retain not supported.", Cause::Protocol),
        ("1: Client ID disconnected: Connection reset by peer.", Cause::Connection),
        ("1: Bad socket read/write on client ID: Unknown error.", Cause::Connection),
    ] {
        assert_eq!(reported(line), end("ID", cause, None), "{line}");
    }
}

#[test]
fn reads_ends_since_2_1() {
    for (reason, cause) in [
        (".", Cause::Ended),
        (": connection closed by client.", Cause::Connection),
        (": exceeded timeout.", Cause::Timeout),
        (": administrative action.", Cause::Server),
        (": not authorised.", Cause::Refused),
        (": session taken over.", Cause::Takeover),
        (": protocol error.", Cause::Protocol),
        (": bad socket read/write: A TLS error occurred.", Cause::Tls),
        (": bad socket read/write: The connection was lost", Cause::Connection),
        (": something new.", Cause::Connection),
    ] {
        let line = format!("1: Client ID [192.0.2.10:50122] disconnected{reason}");
        assert_eq!(reported(&line), end("ID", cause, Some("192.0.2.10:50122")), "{line}");
    }
}

/// Client ids that hold the broker's own words, spaces, or what looks like another line.
#[test]
fn finds_ids_that_hold_the_brokers_words() {
    for id in [
        "x disconnected",
        "x disconnected.",
        "x closed its connection.",
        "x has exceeded timeout, disconnecting.",
        "x disconnected: y",
        "x disconnected due to z.",
        "x as y (p2, c1, k0)",
        "x (p2, c1, k0, u'y').",
        "x (p2, c1, k0, u'y",
        "Client x",
        "x, disconnecting.",
        "x: y",
        "a b/c [1.2.3.4:5] 'x' as y",
        "<unknown",
        " ",
        "pümp-ø",
    ] {
        for line in [
            format!("1: New client connected from 192.0.2.1:50000 as {id} (p2, c1, k60)."),
            format!(
                "1: New client connected from 192.0.2.1:50000 as {id} (p2, c1, k60, u'it''s (me), u')')."
            ),
        ] {
            assert_eq!(reported(&line).0, id, "{line}");
        }
        for suffix in [
            " disconnected.",
            " closed its connection.",
            " has exceeded timeout, disconnecting.",
            " been disconnected by administrative action.",
            " disconnected, not authorised.",
            " disconnected: Broken pipe.",
            " disconnected due to protocol error.",
            " already connected, closing old connection.",
            " [192.0.2.1:50000] disconnected.",
            " [192.0.2.1:50000] disconnected: exceeded timeout.",
            " [192.0.2.1:50000] disconnected: session taken over.",
        ] {
            let line = format!("1: Client {id}{suffix}");
            assert_eq!(reported(&line).0, id, "{line}");
        }
        assert_eq!(reported(&format!("1: Socket error on client {id}, disconnecting.")).0, id);
        assert_eq!(reported(&format!("1: Bad socket read/write on client {id}: Unknown error.")).0, id);
    }
}

#[test]
fn reads_lines_without_a_time_and_with_a_format_of_their_own() {
    for line in ["Client a: b disconnected.", "2026-01-01T00:00:00: Client a: b disconnected."] {
        let event = event(line);
        assert_eq!((event.device.id.as_ref(), event.time), ("a: b", None), "{line}");
    }
}

#[test]
fn ignores_what_tells_of_no_client() {
    for line in [
        "1: New connection from 192.0.2.1:50000 on port 1883.",
        "1: Client <unknown> disconnected, not authorised.",
        "1: Client 192.0.2.1 [192.0.2.1:50000] disconnected: not authorised.",
        "1: Client ID [192.0.2.1:50000] negotiated TLSv1.3 cipher TLS_AES_256_GCM_SHA384",
        "1: Client connection from 192.0.2.1 denied access by tcpd.",
        "",
        "1767225600: ",
    ] {
        let decoded = decode(NOTICE, line.as_bytes());
        assert!(matches!(decoded, Decoded::Ignored(_)), "{line}: {decoded:?}");
    }
    let started = decode("$SYS/broker/log/I", b"1767225600: mosquitto version 2.0.11 starting");
    assert_eq!(started, Decoded::Broker(BrokerEvent::Started));
}

#[test]
fn says_why_a_line_cannot_be_read() {
    let cut = format!("1: New client connected from 192.0.2.1:50000 as {}", "x".repeat(1_000));
    assert_eq!(decode(NOTICE, &cut.as_bytes()[..1_000]), Decoded::Undecodable("cut_line"));
    let cut = format!("1: Client {}", "x".repeat(1_000));
    assert_eq!(decode(NOTICE, &cut.as_bytes()[..1_000]), Decoded::Undecodable("cut_line"));
    assert_eq!(decode(NOTICE, b"1: Client \xff disconnected."), Decoded::Undecodable("not_utf8"));
    assert_eq!(decode(NOTICE, b"1: Client a\tb disconnected."), Decoded::Undecodable("client_id"));
    assert_eq!(
        decode(NOTICE, b"1: New client connected from nowhere."),
        Decoded::Undecodable("connect_line")
    );
}

#[test]
fn reads_what_the_broker_says_of_itself() {
    const CONNECTED: &str = "$SYS/broker/clients/connected";
    assert_eq!(decode(CONNECTED, b"5003"), Decoded::Broker(BrokerEvent::Connected(5003)));
    assert_eq!(decode(CONNECTED, b"many"), Decoded::Undecodable("no_number"));
    let uptime = decode("$SYS/broker/uptime", b"86401 seconds");
    assert_eq!(uptime, Decoded::Broker(BrokerEvent::UptimeSeconds(86_401)));
    assert_eq!(decode("$SYS/broker/log/M/subscribe", b""), Decoded::NoMatch);
    assert_eq!(decode("sensors/1", b""), Decoded::NoMatch);
}

/// Each line that was captured is an event or is known to be none, and each client is disconnected at the end.
#[test]
fn reads_every_line_of_a_real_broker() {
    #[derive(serde::Deserialize)]
    struct Captured {
        topic: String,
        payload: String,
    }
    let lines = include_str!("../../tests/data/mosquitto-2.0.11-log.jsonl");
    let mut last = std::collections::BTreeMap::new();
    for line in lines.lines() {
        let captured: Captured = serde_json::from_str(line).unwrap();
        match decode(&captured.topic, captured.payload.as_bytes()) {
            Decoded::Event(event) => {
                assert!(event.time.is_some(), "{line}");
                last.insert(event.device.id.into_owned(), (event.kind, event.cause));
            }
            Decoded::Ignored(_) => assert!(captured.payload.contains(": New connection from "), "{line}"),
            other => panic!("{line}: {other:?}"),
        }
    }
    let lost = (EventKind::Disconnect, Some(Cause::Connection));
    for (id, expected) in [
        ("dev1", (EventKind::Disconnect, Some(Cause::Ended))),
        ("dev2", lost),
        ("dev3", lost),
        ("dev4", (EventKind::Disconnect, Some(Cause::Timeout))),
        ("dev5", lost),
        ("dev6", lost),
        ("dev8", (EventKind::Disconnect, Some(Cause::Protocol))),
        ("a b/c [1.2.3.4:5] 'x' as y", lost),
        ("pümp-ø", lost),
        ("auto-517A4C32-D82B-CB15-174B-2CF8193C7E8F", lost),
    ] {
        assert_eq!(last.remove(id), Some(expected), "{id}");
    }
    // The harness ended before this one did.
    assert_eq!(last.remove("dev7"), Some((EventKind::Connect, None)));
    assert!(last.is_empty(), "{last:?}");
}
