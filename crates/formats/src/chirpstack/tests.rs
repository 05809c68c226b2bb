//! Protobuf states of gateways.

use super::*;

const ONLINE: &[u8] = b"\x10\x01\x1a\x1000800000a00016b6";
const OFFLINE: &[u8] = b"\x1a\x1000800000a00016b6";

#[test]
fn reads_the_state_and_its_default() {
    for topic in ["eu868/gateway/00800000a00016b6/state/conn", "gateway/00800000a00016b6/state/conn"] {
        for (payload, kind) in [(ONLINE, EventKind::Connect), (OFFLINE, EventKind::Disconnect)] {
            let Decoded::Event(event) = decode(topic, payload) else { panic!("{topic}") };
            assert_eq!(event.kind, kind);
            let name = DeviceName { device_type: "gateway".into(), id: "00800000a00016b6".into() };
            assert_eq!(event.device, name);
            assert_eq!(event.session, Session::Arrival);
        }
        assert!(matches!(decode(topic, b""), Decoded::Removed(_)));
    }
}

#[test]
fn tells_protobuf_from_json() {
    let legacy = b"\n\x08\x00\x80\x00\x00\xa0\x00\x16\xb6\x10\x01";
    assert!([ONLINE, OFFLINE, legacy].iter().all(|payload| is_protobuf(payload)));
    assert!(!is_protobuf(br#"{"gatewayId":"00800000a00016b6"}"#));
    assert!(!is_protobuf(b"\n {\"state\":\"ONLINE\"}"));
}

#[test]
fn says_why_a_message_cannot_be_read() {
    let topic = "eu868/gateway/1/state/conn";
    assert_eq!(decode(topic, b"\x10"), Decoded::Undecodable("protobuf"));
    assert_eq!(decode(topic, b"\x10\x02"), Decoded::Undecodable("unknown_value"));
    assert_eq!(decode("gateway//state/conn", ONLINE), Decoded::Undecodable("gateway_id"));
    for topic in ["a/b/gateway/1/state/conn", "gateway/1/state", "gateways/1/state/conn", ""] {
        assert_eq!(decode(topic, ONLINE), Decoded::NoMatch, "{topic}");
    }
}
