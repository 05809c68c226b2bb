//! The language: what messages decode to, and what is refused.

mod laws;

use super::{Message, Profiles, parse};
use crate::{Cause, Decoded, DeviceName, Event, EventKind, Session, UnixNanos};

const BOILER: &str = r#"
[[profile]]
name = "boiler"
topic = "plant/{site}/boiler/{id...}/link"
type = "{site}"
payload = "json"
at = "/link/state"
connected = ["up", 1]
disconnected = ["down", "(missing)"]
"#;

fn profiles(text: &str) -> Profiles {
    Profiles::new(parse(text).unwrap_or_else(|error| panic!("{error}"))).unwrap()
}

fn decode<'a>(profiles: &'a Profiles, topic: &'a str, payload: &'a str) -> Decoded<'a> {
    profiles.decode(Message { topic, payload: payload.as_bytes(), is_retained: false })
}

fn event<'a>(kind: EventKind, device_type: &'a str, id: &'a str) -> Event<'a> {
    Event {
        device: DeviceName { device_type: device_type.into(), id: id.into() },
        kind,
        session: Session::Arrival,
        time: None,
        cause: None,
        reason: None,
        address: None,
        protocol: None,
        parent: None,
    }
}

#[test]
fn the_boiler_of_the_documentation() {
    let profiles = profiles(BOILER);
    assert_eq!(profiles.filters(), ["plant/+/boiler/#"]);
    let topic = "plant/north/boiler/hall 2/b-7/link";
    let connected = Decoded::Event(event(EventKind::Connect, "north", "hall 2/b-7"));
    let disconnected = Decoded::Event(event(EventKind::Disconnect, "north", "hall 2/b-7"));
    for (payload, expected) in [
        (r#"{"link":{"state":"up"}}"#, &connected),
        (r#"{"link":{"state":1}}"#, &connected),
        (r#"{"link":{"state":1.0}}"#, &connected),
        (r#"{"link":{"state":"down","state":"up"}}"#, &connected),
        (r#"{"link":{"state":"u\u0070"}}"#, &connected),
        (r#"{"a":[{"link":0}],"link":{"b":{},"state":"down"}}"#, &disconnected),
        (r#"{"link":{}}"#, &disconnected),
        (r#"{"link":{"state":null}}"#, &disconnected),
        (r#"{"link":{"state":"up"},"link":7}"#, &disconnected),
        ("{}", &disconnected),
        (r#"{"link":{"state":"1"}}"#, &Decoded::Undecodable("unknown_value")),
        (r#"{"link":{"state":true}}"#, &Decoded::Undecodable("unknown_value")),
        (r#"{"link":{"state":{}}}"#, &Decoded::Undecodable("unknown_value")),
        (r#"{"link":{"state":"up"}"#, &Decoded::Undecodable("json")),
        (r#"{"link":{"state":"up"}} x"#, &Decoded::Undecodable("json")),
        ("", &Decoded::Removed(DeviceName { device_type: "north".into(), id: "hall 2/b-7".into() })),
    ] {
        assert_eq!(&decode(&profiles, topic, payload), expected, "{payload}");
    }
    for topic in
        ["plant/north/boiler/link", "plant/north/boiler/b/Link", "plant/north/boilers/b/link", "$SYS/x"]
    {
        assert_eq!(decode(&profiles, topic, "{}"), Decoded::NoMatch, "{topic}");
    }
    assert_eq!(decode(&profiles, "plant/north/boiler//link", "{}"), Decoded::Undecodable("device_id"));
    assert_eq!(decode(&profiles, "plant//boiler/b/link", "{}"), Decoded::Undecodable("device_type"));
    assert_eq!(decode(&profiles, "plant/n/boiler/b\u{7}/link", "{}"), Decoded::Undecodable("device_id"));
}

#[test]
fn neither_long_nor_deep_payloads_are_read() {
    let profiles = profiles(BOILER);
    let long = format!(r#"{{"x":"{}","link":{{"state":"up"}}}}"#, "x".repeat(super::PAYLOAD_MAX_BYTES));
    assert_eq!(decode(&profiles, "plant/n/boiler/b/link", &long), Decoded::Undecodable("payload_too_long"));
    let deep = format!(r#"{{"link":{}"#, "[".repeat(60_000));
    assert_eq!(decode(&profiles, "plant/n/boiler/b/link", &deep), Decoded::Undecodable("json"));
}

#[test]
fn times_sessions_and_reasons() {
    let text = r#"
[[profile]]
name = "p"
topics = [{ topic = "up/{id}", event = "connect" }, { topic = "down/{id}", event = "disconnect" }]
type = "t"
payload = "json"
session_at = "/s"
time_at = "/t"
unit = "rfc3339"
reason_at = "/r"
takeover = ["stolen"]
refusal = ["bad password"]
causes = { timeout = ["silent"], connection = ["(other)"] }
also = [{ at = "/v", value = 1 }]
"#;
    let profiles = profiles(text);
    let started = Session::Started(UnixNanos(1_767_225_600_500_000_000));
    let s = r#""s":"2026-01-01T00:00:00.5Z","v":1"#;
    let expected = Event {
        session: started.clone(),
        time: Some(UnixNanos(1_767_225_601_000_000_000)),
        ..event(EventKind::Connect, "t", "a")
    };
    let message = format!(r#"{{{s},"t":"2026-01-01T01:00:01+01:00","r":"x"}}"#);
    assert_eq!(decode(&profiles, "up/a", &message), Decoded::Event(expected));
    for (reason, kind, cause) in [
        ("stolen", EventKind::Takeover, Some(Cause::Takeover)),
        ("bad password", EventKind::Refusal, Some(Cause::Refused)),
        ("silent", EventKind::Disconnect, Some(Cause::Timeout)),
        ("else", EventKind::Disconnect, Some(Cause::Connection)),
    ] {
        let message = format!(r#"{{{s},"r":"{reason}","t":5}}"#);
        let expected =
            Event { session: started.clone(), cause, reason: Some(reason.into()), ..event(kind, "t", "a") };
        assert_eq!(decode(&profiles, "down/a", &message), Decoded::Event(expected));
    }
    assert_eq!(decode(&profiles, "down/a", r#"{"v":1}"#), Decoded::Undecodable("session"));
    assert_eq!(decode(&profiles, "down/a", r#"{"v":2}"#), Decoded::Ignored("also"));
}

#[test]
fn names_from_parts_and_from_the_payload() {
    let text = r#"
[[profile]]
name = "split"
topic = "a/{id}"
split = { from = "id", as = "{type}-{id}" }
connected = ["1"]
compare = "trimmed"
alive = ["b/{id}/x"]
[[profile]]
name = "payload"
topic = "c"
id_at = "/i~1d"
type_at = "/types/1"
payload = "json"
at = "/on"
connected = [true]
asleep = ["zzz"]
ignored = ["test"]
refused = ["(other)"]
[[profile]]
name = "prefix"
topic = "{site}/{id}/reachable/now"
type = "{site}.x"
connected = ["YES"]
compare = "caseless"
under = { topic = "{site}-dtu/status", connected = ["on"] }
"#;
    let profiles = profiles(text);
    assert_eq!(
        decode(&profiles, "a/pump-3-b", " 1\n"),
        Decoded::Event(event(EventKind::Connect, "pump", "3-b"))
    );
    assert_eq!(decode(&profiles, "a/pump", "1"), Decoded::Undecodable("split"));
    let device = DeviceName { device_type: "pump".into(), id: "7".into() };
    assert_eq!(decode(&profiles, "b/pump-7/x", "1"), Decoded::Alive { device, parent: None, time: None });
    let retained = Message { topic: "b/pump-7/x", payload: b"", is_retained: true };
    assert_eq!(profiles.decode(retained), Decoded::Ignored("retained"));
    let head = r#"{"i/d":7,"types":["a","b"],"on":"#;
    for (value, expected) in [
        ("true}", Decoded::Event(event(EventKind::Connect, "b", "7"))),
        (
            "\"zzz\"}",
            Decoded::Event(Event { cause: Some(Cause::Asleep), ..event(EventKind::Disconnect, "b", "7") }),
        ),
        ("3}", Decoded::Event(Event { cause: Some(Cause::Refused), ..event(EventKind::Refusal, "b", "7") })),
        ("\"test\"}", Decoded::Ignored("ignored_value")),
        ("true,\"types\":[]}", Decoded::Undecodable("device_type")),
    ] {
        assert_eq!(decode(&profiles, "c", &format!("{head}{value}")), expected, "{value}");
    }
    let parent = Some(DeviceName { device_type: "bridge".into(), id: "s-dtu".into() });
    let expected = Event { parent, ..event(EventKind::Connect, "s.x", "i") };
    assert_eq!(decode(&profiles, "s/i/reachable/now", "yes"), Decoded::Event(expected));
    let off = Decoded::Event(event(EventKind::Disconnect, "bridge", "s-dtu"));
    assert_eq!(decode(&profiles, "s-dtu/status", "anything"), off);
}

/// A profile without its last lines, and what is to be said of each faulty end.
#[test]
fn faults_name_profile_key_and_line() {
    let head = "[[profile]]\nname = \"p\"\ntype = \"t\"\n";
    for (rest, expected) in [
        (
            "topic = \"a/{id}\"\nconnected = [\"1\"]\ndisconnected = [\"1\"]",
            "6 profile `p`: disconnected: \"1\" is listed twice",
        ),
        ("topic = \"a/{id}\"\nconnected = [1]", "5 profile `p`: connected: texts in quotes"),
        ("topic = \"a/{id}\"\nconnected = []", "2 profile `p`: connected: a list"),
        ("topic = \"a/b\"\nconnected = [\"1\"]", "4 profile `p`: topic: `{id}`"),
        ("topic = \"a/{id}/{id}\"\nconnected = [\"1\"]", "4 profile `p`: topic: `{id}` is captured twice"),
        ("topic = \"{id...}/{b...}\"\nconnected = [\"1\"]", "4 profile `p`: topic: only one capture"),
        ("topic = \"a/x{id}\"\nconnected = [\"1\"]", "4 profile `p`: topic: `x{id}` has text beside"),
        ("topic = \"a/#\"\nconnected = [\"1\"]", "4 profile `p`: topic: `#` is no level"),
        ("topic = \"a/{id\"\nconnected = [\"1\"]", "4 profile `p`: topic: `{id` has a brace"),
        ("topic = \"a/{id}\"\nat = \"/x\"\nconnected = [\"1\"]", "5 profile `p`: at: a pointer needs"),
        (
            "topic = \"a/{id}\"\npayload = \"json\"\nat = \"x\"\nconnected = [\"1\"]",
            "6 profile `p`: at: `x` is no JSON pointer",
        ),
        (
            "topic = \"a/{id}\"\npayload = \"json\"\ncompare = \"trimmed\"\nconnected = [1]",
            "6 profile `p`: compare: only texts",
        ),
        ("topic = \"a/{id}\"\npayload = \"none\"", "4 profile `p`: payload: without a payload"),
        (
            "topic = \"a/{id}\"\npayload = \"xml\"\nconnected = [\"1\"]",
            "5 profile `p`: payload: unknown variant `xml`",
        ),
        ("topic = \"a/{id}\"\nconnected = [[1]]", "5 profile `p`: connected: a text, a number"),
        (
            "topic = \"a/{id}\"\nconnected = [\n  \"a=b\",\n  {},\n]",
            "5 profile `p`: connected: a text, a number",
        ),
        ("topic = \"a/{id}\"\ncolour = 1", "5 profile `p`: unknown field `colour`"),
        ("topic = \"a/{id}\"\nconnected = [\"1\"]\ngrace = \"soon\"", "6 profile `p`: grace: a time"),
        (
            "topic = \"a/{id}\"\nconnected = [\"1\"]\nstale_after = \"9223372036854775807s\"",
            "6 profile `p`: stale_after: a time",
        ),
        ("topic = \"a/{id}\"\nconnected = [\"1\"]\nunit = \"ms\"", "6 profile `p`: unit: `time_at`"),
        (
            "topic = \"a/{id}\"\nconnected = [\"1\"]\nalive = [\"b/{x}\"]",
            "6 profile `p`: alive: the same captures",
        ),
        ("topic = \"a/{id}\"\nconnected = [\"1\"]\nexcept = [\"a/#/b\"]", "6 profile `p`: except: `a/#/b`"),
        (
            "topic = \"a/{id}\"\nconnected = [\"1\"]\ntakeover = [\"x\"]",
            "6 profile `p`: takeover: `reason_at`",
        ),
        (
            "topic = \"a/{id}\"\nconnected = [\"1\"]\nunder = { topic = \"b/{x}/s\", connected = [\"1\"] }",
            "6 profile `p`: under: not every topic",
        ),
        (
            "topic = \"a/{id}\"\nconnected = [\"1\"]\nsplit = { from = \"x\", as = \"{a}\" }",
            "6 profile `p`: split: no capture `x`",
        ),
        ("connected = [\"1\"]", "2 profile `p`: topic: either"),
    ] {
        let text = format!("{head}{rest}\n");
        let error = parse(&text).expect_err(rest);
        let decoded = format!("{} {error}", error.line(&text).unwrap_or(0));
        assert!(decoded.starts_with(expected), "{rest}\n{decoded}");
    }
}

#[test]
fn a_name_is_a_word_that_is_not_the_platforms() {
    let faults = ["", "a b", "a/b", "iot-platform"];
    let (words, longest) = (["a", "tasmota", "A-1_b.c", "iot-platform2"], "n".repeat(64));
    for (name, is_fault) in faults
        .into_iter()
        .map(|name| (name, true))
        .chain(words.into_iter().chain([longest.as_str()]).map(|name| (name, false)))
    {
        let text = format!(
            "[[profile]]\nname = \"{name}\"\ntopic = \"a/{{id}}\"\ntype = \"t\"\nconnected = [\"1\"]\n"
        );
        let error = parse(&text).err();
        assert_eq!(error.is_some(), is_fault, "{name}");
        if let Some(error) = error {
            assert_eq!((error.line(&text), error.key), (Some(2), Some("name")), "{name}: {error}");
        }
    }
}

#[test]
fn profiles_that_share_a_topic_are_refused_unless_one_makes_an_exception() {
    let profile = |name: &str, topic: &str, more: &str| {
        format!(
            "[[profile]]\nname = \"{name}\"\ntopic = \"{topic}\"\ntype = \"t\"\nconnected = [\"1\"]\n{more}\n"
        )
    };
    for (one, other, more, shared) in [
        ("{id}/status", "home/{id}", "", Some("home/status")),
        ("{id}/status", "home/{id}", "except = [\"home/status\"]", None),
        ("{id}/status", "home/{id}", "except = [\"home/#\"]", None),
        ("{id}/status", "home/{id...}", "except = [\"+/+/#\"]", None),
        ("{id...}/status", "home/{id...}", "except = [\"home/status\"]", Some("home/any/status")),
        ("{id...}/status", "home/{id}/x", "", None),
        ("$SYS/{id}", "{a}/{id}", "", None),
        ("{id...}", "$SYS/{id}", "", None),
        ("a/{id}", "b/{id}", "alive = [\"+/{id}\"]", Some("a/any")),
    ] {
        let text = profile("one", one, "") + &profile("other", other, more);
        let decoded = Profiles::new(parse(&text).unwrap()).map_err(|error| error.to_string());
        match (decoded, shared) {
            (Ok(_), None) => {}
            (Err(decoded), Some(topic)) => {
                assert!(
                    decoded.contains("`one`")
                        && decoded.contains("`other`")
                        && decoded.contains(&format!("`{topic}`")),
                    "{decoded}"
                );
            }
            (decoded, _) => panic!("{one} and {other}: {:?}", decoded.map(|_| ())),
        }
    }
}
