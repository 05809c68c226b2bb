//! The table of verbs, and the bytes that SOURCES gives for births and deaths.

use super::*;

const NODE_BIRTH: &[u8] = &[
    0x08, 0xfb, 0xd0, 0xea, 0xb6, 0xb7, 0x33, 0x12, 0x0b, 0x0a, 0x05, 0x62, 0x64, 0x53, 0x65, 0x71, 0x20,
    0x04, 0x58, 0x07, 0x18, 0x00,
];
const NODE_DEATH: &[u8] = &[0x12, 0x0b, 0x0a, 0x05, 0x62, 0x64, 0x53, 0x65, 0x71, 0x20, 0x04, 0x58, 0x07];
/// `bdSeq` 6 as UInt64, with the time of the CONNECT.
const NODE_DEATH_TIMED: &[u8] = &[
    0x08, 0x80, 0xea, 0x94, 0xb4, 0xb7, 0x33, 0x12, 0x0b, 0x0a, 0x05, 0x62, 0x64, 0x53, 0x65, 0x71, 0x20,
    0x08, 0x58, 0x06,
];

fn event<'a>(topic: &'a str, payload: &'a [u8]) -> Event<'a> {
    match decode(topic, payload) {
        Decoded::Event(event) => event,
        other => panic!("{topic} is no event: {other:?}"),
    }
}

fn name(device_type: &'static str, id: &'static str) -> DeviceName<'static> {
    DeviceName { device_type: device_type.into(), id: id.into() }
}

#[test]
fn reads_births_and_deaths_of_nodes() {
    let birth = event("spBv1.0/plant/NBIRTH/edge 1", NODE_BIRTH);
    assert_eq!(birth.device, name("plant", "edge 1"));
    assert_eq!(birth.kind, EventKind::Connect);
    assert_eq!(birth.session, Session::Matched { birth: Some(7), sequence: Some(0) });
    assert_eq!(birth.time, Some(UnixNanos(1_767_225_600_123_000_000)));
    assert_eq!(birth.parent, None);

    let death = event("spBv1.0/plant/NDEATH/edge 1", NODE_DEATH);
    assert_eq!((death.kind, death.time), (EventKind::Disconnect, None));
    assert_eq!(death.session, Session::Matched { birth: Some(7), sequence: None });

    let death = event("spBv1.0/plant/NDEATH/edge 1", NODE_DEATH_TIMED);
    assert_eq!(death.time, None, "the time of a will is that of the CONNECT");
    assert_eq!(death.session, Session::Matched { birth: Some(6), sequence: None });
}

#[test]
fn reads_births_and_deaths_of_devices() {
    let message = [0x08, 0xfb, 0xd0, 0xea, 0xb6, 0xb7, 0x33, 0x18, 0xff, 0x01];
    for (verb, kind) in [("DBIRTH", EventKind::Connect), ("DDEATH", EventKind::Disconnect)] {
        let topic = format!("spBv1.0/plant/{verb}/edge/pump");
        let event = event(&topic, &message);
        assert_eq!(event.kind, kind);
        assert_eq!(event.device, name("plant", "edge/pump"));
        assert_eq!(event.parent, Some(name("plant", "edge")));
        assert_eq!(event.session, Session::Matched { birth: None, sequence: Some(255) });
        assert_eq!(event.time, Some(UnixNanos(1_767_225_600_123_000_000)));
    }
}

#[test]
fn takes_data_for_a_sign_of_life() {
    assert_eq!(
        decode("spBv1.0/plant/NDATA/edge", b"\xff"),
        Decoded::Alive { device: name("plant", "edge"), parent: None, time: None }
    );
    assert_eq!(
        decode("spBv1.0/plant/DDATA/edge/pump", b"\x08\xfb\xd0\xea\xb6\xb7\x33"),
        Decoded::Alive {
            device: name("plant", "edge/pump"),
            parent: Some(name("plant", "edge")),
            time: Some(UnixNanos(1_767_225_600_123_000_000)),
        }
    );
    assert_eq!(decode("spBv1.0/plant/NCMD/edge", b""), Decoded::Ignored("command"));
    assert_eq!(decode("spBv1.0/plant/DCMD/edge/pump", b""), Decoded::Ignored("command"));
}

/// Metrics before and after `bdSeq`, fields in any order, values in either field, and times in nanoseconds.
#[test]
fn finds_the_birth_number_among_other_metrics() {
    let other = [0x12, 0x06, 0x0a, 0x02, b'm', b'1', 0x58, 0x63];
    let value_first = [0x12, 0x09, 0x50, 0x09, 0x0a, 0x05, b'b', b'd', b'S', b'e', b'q'];
    let message = [&other[..], &value_first, &other, &[0x18, 0x03]].concat();
    let birth = event("spBv1.0/g/NBIRTH/n", &message);
    assert_eq!(birth.session, Session::Matched { birth: Some(9), sequence: Some(3) });
    assert_eq!(birth.time, None);

    let mut message = vec![0x08];
    let mut time = 1_767_225_600_123_456_789_u64;
    while time > 0x7f {
        message.push(u8::try_from(time & 0x7f).unwrap() | 0x80);
        time >>= 7;
    }
    message.push(u8::try_from(time).unwrap());
    assert_eq!(event("spBv1.0/g/NBIRTH/n", &message).time, Some(UnixNanos(1_767_225_600_123_456_789)));
    assert_eq!(event("spBv1.0/g/NBIRTH/n", b"").session, Session::Matched { birth: None, sequence: None });
}

#[test]
fn reads_the_state_of_hosts() {
    let started = UnixNanos(1_767_225_600_123_000_000);
    let birth = event("spBv1.0/STATE/scada1", br#"{"online":true,"timestamp":1767225600123}"#);
    assert_eq!(birth.device, name("host", "scada1"));
    assert_eq!((birth.kind, birth.time), (EventKind::Connect, Some(started)));
    assert_eq!(birth.session, Session::Started(started));
    let will = event("spBv1.0/STATE/scada1", br#"{"timestamp":1767225600123,"online":false}"#);
    assert_eq!((will.kind, will.time), (EventKind::Disconnect, None));
    assert_eq!(will.session, birth.session, "a will repeats the time of the birth");
    for (payload, kind) in [("ONLINE", EventKind::Connect), ("OFFLINE", EventKind::Disconnect)] {
        let event = event("STATE/scada1", payload.as_bytes());
        assert_eq!((event.kind, event.session), (kind, Session::Arrival));
    }
    assert_eq!(decode("spBv1.0/STATE/scada1", b""), Decoded::Removed(name("host", "scada1")));
}

#[test]
fn says_why_a_message_cannot_be_read() {
    for topic in [
        "spBv1.0/plant/NBIRTH",
        "spBv1.0/plant/NBIRTH/",
        "spBv1.0//NBIRTH/edge",
        "spBv1.0/plant/NBIRTH/edge/pump",
        "spBv1.0/plant/DBIRTH/edge",
        "spBv1.0/plant/DBIRTH/edge/pump/x",
        "spBv1.0/plant/XBIRTH/edge",
        "spBv1.0/plant",
        "spBv1.0/STATE/a/b",
        "STATE/",
    ] {
        assert_eq!(decode(topic, NODE_BIRTH), Decoded::Undecodable("topic"), "{topic}");
    }
    for topic in ["spAv1.0/plant/NBIRTH/edge", "spBv1.0", "STATE", "STATE/a/b", ""] {
        assert_eq!(decode(topic, NODE_BIRTH), Decoded::NoMatch, "{topic}");
    }
    let cut = &NODE_BIRTH[..12];
    assert_eq!(decode("spBv1.0/plant/NBIRTH/edge", cut), Decoded::Undecodable("protobuf"));
    assert_eq!(decode("STATE/a", b"online"), Decoded::Undecodable("host_state"));
}
