//! What is written into a status document comes back from it.

use proptest::prelude::*;

use super::*;

fn event<'a>(session: Session<'a>, kind: EventKind) -> Event<'a> {
    Event {
        device: DeviceName { device_type: "zigbee".into(), id: "kitchen/plug 2".into() },
        kind,
        session,
        time: Some(UnixNanos(1_767_225_600_123_456_789)),
        cause: Some(Cause::Asleep),
        reason: Some("sleeping \"now\"".into()),
        address: Some("192.0.2.7".into()),
        protocol: None,
        parent: Some(DeviceName { device_type: "bridge".into(), id: "zigbee2mqtt".into() }),
    }
}

/// The document with the message in it, as all read it who are given one.
fn write(event: &Event<'_>, shown: &Shown, message: &[u8]) -> Vec<u8> {
    pack("a", event, shown, message).payload.unpack()
}

fn key(kind: EventKind) -> Key {
    Key { session: UnixNanos(5), kind, time: UnixNanos(1_767_225_600_123_000_000) }
}

#[test]
fn what_orders_an_event_comes_back_for_every_kind_of_session() {
    for session in [
        Session::Arrival,
        Session::Connection(None),
        Session::Connection(Some("192.0.2.7:4711".into())),
        Session::Started(UnixNanos(-7)),
        Session::Versioned { version: u64::MAX, session: "a\"b".into() },
        Session::Matched { birth: None, sequence: Some(255) },
        Session::Matched { birth: Some(3), sequence: None },
    ] {
        let event = event(session, EventKind::Disconnect);
        let document = write(&event, &key(EventKind::Disconnect).into(), b"x");
        let packed = pack("a", &event, &key(EventKind::Disconnect).into(), b"x").payload;
        let text = DetailsText::of(&packed);
        for details in [read_details(&document).unwrap(), text.read().unwrap()] {
            assert_eq!(details.identity(), event.clone().into_identity());
            assert_eq!(details.parent(), Some(("bridge", "zigbee2mqtt")));
        }
    }
}

#[test]
fn the_platforms_reader_finds_what_it_shows() {
    let document =
        write(&event(Session::Arrival, EventKind::Disconnect), &key(EventKind::Disconnect).into(), b"x");
    let line = crate::iot_platform::summary(&document).unwrap();
    assert_eq!((&*line.action, &*line.address), ("Disconnect", "192.0.2.7"));
    assert_eq!((&*line.reason, &*line.time), ("sleeping \"now\"", "2026-01-01T00:00:00.123Z"));
    let public = read(&document).unwrap().public();
    assert_eq!(
        String::from_utf8(public).unwrap(),
        r#"{"ClientID":"kitchen/plug 2","Action":"Disconnect","Time":"2026-01-01T00:00:00.123Z","ClientAddr":"192.0.2.7","Reason":"sleeping \"now\""}"#
    );
}

#[test]
fn a_message_is_kept_as_text_or_base64_and_a_long_one_is_cut() {
    let raw = |payload: &[u8]| {
        let document =
            write(&event(Session::Arrival, EventKind::Connect), &key(EventKind::Connect).into(), payload);
        let (raw, is_cut) = read(&document)?.into_raw()?;
        let text = match raw {
            Raw::Text(text) => format!("text {text}"),
            Raw::Base64(text) => format!("base64 {text}"),
        };
        Some((text, is_cut))
    };
    assert_eq!(raw("Onl\u{ef}ne".as_bytes()), Some(("text Onl\u{ef}ne".to_owned(), false)));
    for (bytes, text) in [
        (&[0xff][..], "/w=="),
        (&[0xff, 0xfe], "//4="),
        (&[0xff, 0xfe, 0xfd], "//79"),
        (&[0xff, 0, 0, 0], "/wAAAA=="),
    ] {
        assert_eq!(raw(bytes), Some((format!("base64 {text}"), false)));
    }
    let (text, is_cut) = raw("\u{e9}".repeat(MESSAGE_MAX_BYTES).as_bytes()).unwrap();
    assert!(is_cut && text.len() <= MESSAGE_MAX_BYTES + 5);
}

#[test]
fn a_message_with_escapes_survives_a_change_of_the_parent() {
    let payload = "{\"state\":\"on\\n\u{e9}\u{1}\"}";
    let shown = key(EventKind::Connect).into();
    let event = event(Session::Arrival, EventKind::Connect);
    let packed = pack("a", &event, &shown, payload.as_bytes()).payload;
    // In the form of earlier versions, too.
    let earlier = Payload::pack_of("a", &packed.unpack());
    assert_eq!(earlier, packed);
    for packed in [packed, earlier] {
        let again = shown_again(&packed, &shown, None).unwrap().unpack();
        let (raw, is_cut) = read(&again).unwrap().into_raw().unwrap();
        assert_eq!((raw, is_cut), (Raw::Text(payload.into()), false));
    }
}

#[test]
fn a_document_with_every_field_is_written_in_their_order() {
    let details = |session| SourceDetails {
        session: Some(session),
        time: Some(-5),
        cause: Some("ended".into()),
        parent: Some(("bridge".into(), "a\n\u{e9}".into())),
        own: Some((-1, 2)),
        text: serde_json::from_str(r#""\"\\\u0001""#).ok(),
        base64: Some("eA==".into()),
        is_cut: true,
    };
    let mut status = StatusDocument {
        client_id: "a".into(),
        action: "Connect".into(),
        time: Some("t".into()),
        address: Some("1".into()),
        reason: Some("r".into()),
        protocol: Some("p".into()),
        connect_time: Some("c".into()),
        kept: None,
    };
    let written = |status: &StatusDocument<'_>| String::from_utf8(json::write(status)).unwrap();
    let shown = r#"{"ClientID":"a","Action":"Connect","Time":"t","ClientAddr":"1","Reason":"r","Protocol":"p","ConnectTime":"c""#;
    assert_eq!(written(&status), format!("{shown}}}"));
    for (session, text) in [
        (SessionDetails::Connection(None), r#"{"p":null}"#),
        (SessionDetails::Connection(Some("x:1".into())), r#"{"p":"x:1"}"#),
        (SessionDetails::Started(-7), r#"{"s":-7}"#),
        (SessionDetails::Versioned(8, "v".into()), r#"{"v":[8,"v"]}"#),
        (SessionDetails::Matched(None, Some(2)), r#"{"b":[null,2]}"#),
        (SessionDetails::Matched(Some(3), None), r#"{"b":[3,null]}"#),
    ] {
        status.kept = Some(details(session));
        let kept =
            r#""t":-5,"c":"ended","u":["bridge","a\né"],"o":[-1,2],"m":"\"\\\u0001","b":"eA==","x":true"#;
        assert_eq!(written(&status), format!(r#"{shown},"_":{{"s":{text},{kept}}}}}"#));
        let document = json::write(&status);
        assert_eq!(json::write(&read(&document).unwrap()), document);
    }
}

#[test]
fn anything_else_is_no_document() {
    for bytes in [&b""[..], b"{}", b"[1]", b"\xff", br#"{"ClientID":1,"Action":"Connect"}"#] {
        assert!(read(bytes).is_none() && read_details(bytes).is_none());
    }
}

#[test]
fn details_are_found_wherever_they_are_and_not_inside_a_text() {
    let time = |document: &str| {
        let packed = Payload::pack_of("a", document.as_bytes());
        let time = read_details(document.as_bytes())?.time;
        assert_eq!(DetailsText::of(&packed).read()?.time, time, "{document}");
        time
    };
    for document in [
        r#"{"ClientID":"_,\"_\":{\"t\":9}","Action":"Connect","_":{"t":3,"m":",\"_\":{\"t\":9}}"}}"#,
        r#"{"ClientID":"a","Action":"Connect","_":{"t":3},"Reason":"later"}"#,
        r#"{ "_" : {"t":3}, "ClientID":"a", "Action":"Connect" }"#,
    ] {
        assert_eq!(time(document), Some(3), "{document}");
    }
    assert_eq!(time(r#"{"ClientID":"a","Action":"Connect"}"#), None);
}

/// Names and words as they are, and such as dictionary pieces, values and escapes are made of.
fn texts() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "unit-0042",
        "0000123",
        "12",
        "Connect",
        "mqtt4",
        "-ws",
        "true",
        "192.0.2.7",
        ":4711",
        "}",
        "{",
        ",",
        " ",
        "\"",
        "\\",
        "\u{1}",
        "\u{e9}",
        "\":",
        "\"}",
        "2026-11-23T17:00:01.186Z",
        "The connection timed out",
        "99999999999999999999",
    ]);
    prop_oneof![
        prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat()),
        "[a-z0-9/._-]{1,20}",
        "[a-z]{120,130}-",
    ]
}

#[test]
fn an_address_is_one_as_a_whole_or_not_at_all() {
    for text in ["192.0.2.7", "192.0.2.7:51234", "192.0.2.7Connect", "192.0.2.7\"", "2001:db8::7", ""] {
        let event = Event { address: Some(text.into()), ..event(Session::Arrival, EventKind::Connect) };
        let PackedStatus { payload, address_and_cause } =
            pack("a", &event, &key(EventKind::Connect).into(), b"");
        assert_eq!(address_and_cause.address, text.parse().ok(), "{text}");
        assert_eq!(crate::held::address_and_cause(&payload, 0), address_and_cause, "{text}");
        assert_eq!(crate::held::ipv4(&payload), address_and_cause.address, "{text}");
    }
}

fn times() -> impl Strategy<Value = UnixNanos> {
    prop_oneof![
        4 => (0i64..100_000).prop_map(|ms| UnixNanos(1_767_225_600_000_000_000 + ms * 500_000)),
        1 => any::<i64>().prop_map(UnixNanos),
        1 => prop::sample::select(vec![i64::MIN, -1, 0, i64::MAX]).prop_map(UnixNanos),
    ]
}

fn sessions() -> impl Strategy<Value = Session<'static>> {
    prop_oneof![
        3 => Just(Session::Arrival),
        1 => prop::option::of(texts()).prop_map(|peer| Session::Connection(peer.map(Cow::Owned))),
        2 => times().prop_map(Session::Started),
        1 => (any::<u64>(), texts()).prop_map(|(version, name)| Session::Versioned { version, session: name.into() }),
        1 => any::<(Option<u64>, Option<u8>)>().prop_map(|(birth, sequence)| Session::Matched { birth, sequence }),
    ]
}

fn names() -> impl Strategy<Value = DeviceName<'static>> {
    (texts(), texts())
        .prop_map(|(device_type, id)| DeviceName { device_type: device_type.into(), id: id.into() })
}

fn events() -> impl Strategy<Value = Event<'static>> {
    let kinds = [EventKind::Connect, EventKind::Disconnect, EventKind::Takeover, EventKind::Refusal];
    let optional = || prop::option::weighted(0.3, texts().prop_map(Cow::Owned));
    let what = (names(), prop::sample::select(kinds.to_vec()), sessions(), prop::option::of(times()));
    let cause = prop::option::weighted(0.3, prop::sample::select(Cause::ALL.to_vec()));
    let why = (cause, optional(), optional(), optional(), prop::option::weighted(0.3, names()));
    (what, why).prop_map(|((device, kind, session, time), (cause, reason, address, protocol, parent))| {
        Event { device, kind, session, time, cause, reason, address, protocol, parent }
    })
}

proptest! {
    #[test]
    fn a_document_is_packed_as_its_text_is(
        event in events(),
        time in times(),
        own in prop::option::weighted(0.2, (any::<i64>(), times())),
        is_hidden in any::<bool>(),
        text in texts(),
    ) {
        let key = Key { session: time, kind: event.kind, time };
        let own = own.map(|(shift, time)| Own { shift, time });
        let shown = Shown { key, own, is_hidden };
        let message = SourceMessage { bytes: text.as_bytes(), is_cut: false };
        let by_text = Payload::pack_document("a", &Parts::of(&event, &shown).document(), &message);
        let PackedStatus { payload: packed, address_and_cause } = pack("a", &event, &shown, text.as_bytes());
        prop_assert_eq!(packed.packed(), by_text.packed(), "{:?}", packed);
        let (details, document) = (DetailsText::of(&packed), packed.document());
        prop_assert!(matches!(details, DetailsText::Details(_)));
        let of_document = read_details(&document).unwrap();
        for details in [details.read(), packed_details(&packed)].into_iter().flatten() {
            prop_assert_eq!(details.identity(), of_document.identity());
            prop_assert_eq!(details.shown(key), of_document.shown(key));
            prop_assert_eq!(details.parent(), of_document.parent());
            prop_assert_eq!(details.cause(), of_document.cause());
        }
        prop_assert_eq!(crate::held::cause(&packed, 0), of_document.cause());
        prop_assert_eq!(address_and_cause, AddressAndCause { address: crate::held::ipv4(&packed), cause: of_document.cause() });
        prop_assert_eq!(crate::held::address_and_cause(&packed, 0), address_and_cause);
    }

    #[test]
    fn most_documents_are_packed_and_read_without_their_text(id in "[a-z0-9/._-]{1,20}", time in 0..i64::MAX, started in 0..i64::MAX, kind in any::<bool>()) {
        let kind = if kind { EventKind::Connect } else { EventKind::Disconnect };
        let parent = || Some(DeviceName { device_type: "bridge".into(), id: "zigbee2mqtt".into() });
        for (session, time, parent, cause) in [
            (Session::Arrival, None, None, None),
            (Session::Arrival, None, None, Some(Cause::Asleep)),
            (Session::Arrival, None, parent(), None),
            (Session::Arrival, None, parent(), Some(Cause::Asleep)),
            (Session::Arrival, Some(UnixNanos(time)), None, Some(Cause::Asleep)),
            (Session::Started(UnixNanos(started)), None, None, None),
            (Session::Started(UnixNanos(started)), Some(UnixNanos(time)), None, Some(Cause::Asleep)),
            (Session::Connection(None), Some(UnixNanos(time)), None, None),
            (Session::Connection(Some("client:4711".into())), Some(UnixNanos(time)), None, Some(Cause::Asleep)),
        ] {
            let event = Event {
                device: DeviceName { device_type: "t".into(), id: id.as_str().into() },
                session,
                time,
                cause,
                parent,
                reason: Some("lost".into()),
                ..event(Session::Arrival, kind)
            };
            let shown = Key { session: UnixNanos(time.map_or(0, |time| time.0)), kind, time: UnixNanos(7) }.into();
            let message = SourceMessage { bytes: b"online", is_cut: false };
            let packed = Parts::of(&event, &shown).pack("a", &message);
            let packed = packed.expect("it is packed part by part");
            let details = packed_details(&packed).expect("the operations tell them");
            prop_assert_eq!(details.parent(), event.parent.as_ref().map(|name| (&*name.device_type, &*name.id)));
            prop_assert_eq!(details.identity(), event.into_identity());
        }
    }
}
