//! Skeletons on messages of any kind: what comes back is what went in, and the table stays bounded.

use proptest::prelude::*;

use super::table::ADMITTED_AFTER;
use super::*;
use crate::payload::SourceMessage;

const BESIDE: Beside<'_> =
    Beside { device_type: "pump", id: "unit-0042", session: Moment::UNKNOWN, time: Moment::UNKNOWN };

fn at_ms(ms: u64) -> Moment {
    Moment::from_nanos(i128::from(ms) * 1_000_000)
}

/// Packs often enough for everything to be known, and checks that the same comes back each time.
fn packed_len(skeletons: &Skeletons, payload: &Payload, beside: &Beside<'_>) -> usize {
    let mut len = 0;
    for _ in 0..=ADMITTED_AFTER {
        let mut bytes = b"before".to_vec();
        skeletons.pack(payload, beside, &mut bytes);
        let unpacked = skeletons.unpack(bytes.strip_prefix(b"before").unwrap(), beside);
        assert_eq!(unpacked.packed(), payload.packed());
        let mut text = b"before".to_vec();
        let appended = skeletons.append_bytes(bytes.strip_prefix(b"before").unwrap(), beside, &mut text);
        let expected = appended.map_or_else(Vec::new, |()| payload.document());
        assert_eq!(text.strip_prefix(b"before"), Some(&expected[..]));
        assert!(appended.is_none() || payload.source().is_none());
        len = bytes.len() - b"before".len();
    }
    len
}

fn disconnect(address: &str, read_bytes: u64) -> String {
    format!(
        r#"{{"Action":"Disconnect","Time":"2026-11-23T17:00:01.186Z","ClientAddr":"{address}","ClientID":"d:org1:pump:unit-0042","Port":8883,"Secure":true,"Protocol":"mqtt4","ConnectTime":"2026-11-23T16:59:01.186Z","CloseCode":91,"Reason":"The connection was closed by the client.","ReadBytes":{read_bytes},"ReadMsg":1,"WriteBytes":8,"WriteMsg":0}}"#
    )
}

/// The same fields in the reverse order, with these separators.
fn written_otherwise(message: &str, (colon, comma): (&str, &str)) -> String {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(message).unwrap();
    let fields: Vec<_> =
        fields.iter().rev().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
    format!("{{{}}}", fields.join(comma))
}

#[test]
fn what_differs_between_messages_is_all_that_is_held_of_each() {
    let (session, time) = (at_ms(1_795_453_141_186), at_ms(1_795_453_201_186));
    let beside = Beside { session, time, ..BESIDE };
    let skeletons = Skeletons::default();
    let exact = disconnect("10.1.2.3", 75);
    for text in
        [exact.clone(), written_otherwise(&exact, (": ", ", ")), written_otherwise(&exact, (":", ","))]
    {
        let payload = Payload::pack(text.as_bytes());
        packed_len(&skeletons, &payload, &beside);
        // Number, words, address, port and four counters.
        assert!(packed_len(&skeletons, &payload, &beside) <= 20, "{text}");
        let other = Payload::pack(text.replace("10.1.2.3", "10.9.8.7").replace("75", "90000").as_bytes());
        let mut bytes = Vec::new();
        skeletons.pack(&other, &beside, &mut bytes);
        assert!(bytes.len() <= 22, "{} of {text}", bytes.len());
        assert_eq!(skeletons.unpack(&bytes, &beside).unpack(), other.unpack());
    }
}

/// The fields of a message in an order of this number's own.
fn shuffled(message: &str, number: usize, separators: (&str, &str)) -> String {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(message).unwrap();
    let mut fields: Vec<_> = fields.into_iter().collect();
    let mut rest = number;
    for left in (2..=fields.len()).rev() {
        fields.swap(left - 1, rest % left);
        rest = rest.wrapping_mul(2_654_435_761).wrapping_add(number) >> 3;
    }
    let (colon, comma) = separators;
    let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
    format!("{{{}}}", fields.join(comma))
}

#[test]
fn messages_whose_fields_come_in_ever_another_order_share_the_skeletons_of_fields() {
    let (session, time) = (at_ms(1_795_453_141_186), at_ms(1_795_453_201_186));
    let beside = Beside { session, time, ..BESIDE };
    let other = r#"{"site":"north","device":"unit-0042","kind":"pump","level":12345678,"state":"offline","since":"2026-11-23T17:00:01.186Z","host":"10.0.0.7","on":true}"#;
    for (message, separators, most) in [
        (disconnect("10.1.2.3", 75), (":", ","), 44),
        (disconnect("10.1.2.3", 75), (": ", ", "), 44),
        (other.to_owned(), (":", ","), 36),
        (other.to_owned(), (": ", ", "), 36),
    ] {
        let skeletons = Skeletons::default();
        let mut last = Vec::new();
        for number in 0..4_000 {
            let payload = Payload::pack(shuffled(&message, number, separators).as_bytes());
            let mut bytes = Vec::new();
            skeletons.pack(&payload, &beside, &mut bytes);
            assert_eq!(skeletons.unpack(&bytes, &beside).packed(), payload.packed());
            last.push(bytes.len());
        }
        let longest = last[3_900..].iter().max().unwrap();
        assert!(*longest <= most, "{longest} bytes of {message}");
    }
}

#[test]
fn fields_that_no_dictionary_knows_are_interned_too() {
    let skeletons = Skeletons::default();
    let text = |level: u32| {
        let device = r#""site":"north","device":"unit-0042","kind":"pump""#;
        Payload::pack(format!(r#"{{{device},"level":"{level}","state":"offline"}}"#).as_bytes())
    };
    packed_len(&skeletons, &text(1), &BESIDE);
    packed_len(&skeletons, &text(1), &BESIDE);
    let mut bytes = Vec::new();
    skeletons.pack(&text(77), &BESIDE, &mut bytes);
    assert!(bytes.len() <= 12, "{bytes:?}");
    assert_eq!(skeletons.unpack(&bytes, &BESIDE).packed(), text(77).packed());
}

#[test]
fn every_captured_message_comes_back() {
    let skeletons = Skeletons::default();
    for line in include_str!("../../../../../tests/data/captured.jsonl").lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = message["payload"].as_str().unwrap();
        packed_len(&skeletons, &Payload::pack(text.as_bytes()), &BESIDE);
        packed_len(&skeletons, &Payload::pack_of("source", text.as_bytes()), &BESIDE);
    }
}

#[test]
fn a_sender_that_never_repeats_itself_is_held_as_packed() {
    let skeletons = Skeletons::default();
    for number in 0..100_000u32 {
        let payload = Payload::pack(format!(r#"{{"k{number}":{number},"u":"user-{number}"}}"#).as_bytes());
        let mut bytes = Vec::new();
        skeletons.pack(&payload, &BESIDE, &mut bytes);
        assert_eq!((bytes[0], &bytes[1..]), (NO_SKELETON, payload.packed()));
    }
}

const TEXTS: &[&[u8]] = &[
    b"\0\x03a\"b",
    b"\0\x81\0x",
    b"\x01\x01\x02\x03\x04\x05\x06",
    b"\x02\x05",
    b"\x02\x85\0",
    b"\x02\xb6\xb6\xb6\xb6\xb6\xb6\xb6\xb6\xb6\x63",
    b"\x02\xb6\xb6\xb6\xb6\xb6\xb6\xb6\xb6\xb6\x01",
    b"\x03\x01\x02\x03\x04",
];

/// Operations that no packer writes, among such that it does.
fn operations() -> impl Strategy<Value = Vec<u8>> {
    let texts = prop::sample::select(TEXTS);
    let known = prop_oneof![texts.prop_map(<[u8]>::to_vec), any::<u8>().prop_map(|code| vec![code])];
    prop::collection::vec(known, 0..20).prop_map(|operations| operations.concat())
}

fn moments() -> impl Strategy<Value = Moment> {
    prop_oneof![Just(Moment::UNKNOWN), any::<i64>().prop_map(|nanos| Moment::from_nanos(nanos.into()))]
}

proptest! {
    #[test]
    fn any_packed_bytes_come_back(packed in operations(), session in moments(), time in moments()) {
        let beside = Beside { session, time, ..BESIDE };
        packed_len(&Skeletons::default(), &Payload::from_packed(&packed), &beside);
    }

    #[test]
    fn any_text_comes_back(text in "[ -~\n]{0,80}", id in "[a-z\"]{1,4}", device_type in "[a-z:]{1,4}", source in "[a-z]{1,9}") {
        let beside = Beside { id: &id, device_type: &device_type, ..BESIDE };
        let skeletons = Skeletons::default();
        for text in [text.clone(), format!(r#"{{"a":"{id}","b":"x{device_type}:{id}","c":{text}}}"#)] {
            packed_len(&skeletons, &Payload::pack(text.as_bytes()), &beside);
            packed_len(&skeletons, &Payload::pack_of(&source, text.as_bytes()), &beside);
            let message = SourceMessage { bytes: text.as_bytes(), is_cut: false };
            packed_len(&skeletons, &Payload::pack_document(&source, text.as_bytes(), &message), &beside);
        }
    }
}
