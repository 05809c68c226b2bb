//! What a broker says of itself in CONNACK, SUBACK and DISCONNECT of MQTT 5, and answers that break the protocol.

use std::io::{Read, Write};
use std::net::TcpListener;

use testkit::closing_broker::{ClosingBroker, Reply, Script};
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::service::{Launch, Service, mentions};
use testkit::status::Device;

/// What a CONNACK of MQTT 5 has: the properties, further arguments of the service, and words that it tells.
struct Case<'a> {
    properties: &'a [u8],
    arguments: &'a [&'a str],
    said: &'a [&'a str],
}

fn connack(code: u8, properties: &[u8]) -> Reply {
    let length = |body: usize| u8::try_from(body).expect("a short packet");
    let mut bytes = vec![0x20, length(properties.len() + 3), 0, code, length(properties.len())];
    bytes.extend_from_slice(properties);
    Reply::bytes(&bytes)
}

/// A property whose value is a text.
fn text(id: u8, text: &str) -> Vec<u8> {
    let mut property = vec![id, 0, u8::try_from(text.len()).expect("a short text")];
    property.extend_from_slice(text.as_bytes());
    property
}

fn launch(broker: &ClosingBroker) -> Launch {
    Launch::to(&broker.url()).arguments(&["--mqtt-version", "5", "--quiet-interval-ms", "100"])
}

fn wait_until_missing(service: &Service, words: &[&str]) {
    service.wait_until(&format!("/readyz has {words:?}"), || {
        let ready = service.get("/readyz");
        ready.status == 503 && mentions(ready.text(), words)
    });
}

#[test]
fn the_servers_keep_alive_replaces_ours() {
    let script = Script { connect: connack(0, &[0x13, 0, 2]), ..Script::default() };
    let broker = ClosingBroker::start(script);
    let service = launch(&broker).start();
    service.wait_until("it pings as often as the broker wants", || broker.pings() >= 5);
    assert_eq!(service.log_lines(&["subscribed to every device"]).len(), 1, "{}", service.log());
}

#[test]
fn mosquitto_with_a_lower_keep_alive_keeps_the_link() {
    let extra = vec!["max_keepalive 10".to_owned(), "log_type debug".to_owned()];
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let arguments = ["--mqtt-version", "5", "--broker-counters", "false"];
    let service = Launch::to(&broker.url()).arguments(&arguments).start();
    // Each comes after half of the ten seconds at the latest, so four take as long as mosquitto takes to notice a silence of one and
    // a half times that.
    let pings = || broker.log().matches("Received PINGREQ from").count();
    service.wait_until("it has pinged for longer than mosquitto waits", || pings() >= 4);
    assert!(!broker.log().contains("exceeded timeout"), "{}", broker.log());
    assert_eq!(service.log_lines(&["subscribed to every device"]).len(), 1);
}

#[test]
fn missing_broker_features_are_reported() {
    let durable = ["--clean-session", "false", "--session-expiry", "600"];
    for Case { properties, arguments, said } in [
        Case { properties: &[0x11, 0, 0, 0, 60], arguments: &durable, said: &["60 seconds", "600"] },
        Case { properties: &[0x24, 0], arguments: &durable, said: &["Maximum QoS is 0"] },
        Case {
            properties: &text(0x12, "other"),
            arguments: &[],
            said: &["client id other instead of a:org:app"],
        },
    ] {
        let granted = if arguments.is_empty() { 0 } else { 1 };
        let subscribe = Reply::code(granted);
        let broker =
            ClosingBroker::start(Script { connect: connack(0, properties), subscribe, ..Script::default() });
        let service = launch(&broker).arguments(arguments).start();
        service.wait_until_ready();
        assert_eq!(service.log_lines(said).len(), 1, "{said:?}: {}", service.log());
    }
}

#[test]
fn a_granted_quality_below_the_requested_one_is_reported() {
    let broker = ClosingBroker::start(Script::default());
    let service = launch(&broker).arguments(&["--clean-session", "false"]).start();
    service.wait_until_ready();
    assert_eq!(service.log_lines(&["grants QoS 0 where QoS 1"]).len(), 1, "{}", service.log());
}

#[test]
fn properties_that_bind_nothing_here_change_nothing() {
    let properties = [
        &[0x21, 0, 1, 0x22, 0, 9, 0x25, 1, 0x28, 1, 0x29, 0, 0x2a, 0, 0x27, 0, 0, 1, 0][..],
        &text(0x1a, "response"),
        &[0x26, 0, 1, b'n', 0, 1, b'v'],
        // Authentication Method and Authentication Data, which nobody asked for.
        &text(0x15, "SCRAM-SHA-256"),
        &text(0x16, "data"),
    ];
    let broker =
        ClosingBroker::start(Script { connect: connack(0, &properties.concat()), ..Script::default() });
    let service = launch(&broker).start();
    service.wait_until_ready();
    assert!(service.log_lines(&["WARN"]).is_empty(), "{}", service.log());
}

#[test]
fn properties_of_a_disconnect_change_nothing_but_what_is_logged() {
    // Session Expiry Interval and User Property; the reason is 0x8b, the server shuts down.
    let properties = [&[0x11, 0, 0, 0, 60][..], &[0x26, 0, 1, b'n', 0, 1, b'v']].concat();
    let mut disconnect = vec![0xe0, u8::try_from(properties.len() + 2).expect("short"), 0x8b];
    disconnect.push(u8::try_from(properties.len()).expect("short"));
    disconnect.extend_from_slice(&properties);
    let ping = Reply { after: disconnect, close: true, ..Reply::silence() };
    let broker = ClosingBroker::start(Script { ping, ..Script::default() });
    let service = launch(&broker).start();
    wait_until_missing(&service, &["0x8b"]);
    broker.follow(Script::default());
    service.wait_until_ready();
}

/// A PUBLISH of MQTT 5 with these properties.
fn publish(device: Device<'_>, payload: &str, properties: &[u8]) -> Vec<u8> {
    let mut body = text(0, &device.topic())[1..].to_vec();
    body.push(u8::try_from(properties.len()).expect("few properties"));
    body.extend_from_slice(properties);
    body.extend_from_slice(payload.as_bytes());
    let (low, high) = (body.len() % 128 + 128, body.len() / 128);
    let length = [low, high].map(|part| u8::try_from(part).expect("a short packet"));
    [&[0x31, length[0], length[1]], &*body].concat()
}

#[test]
fn properties_of_a_publish_change_nothing() {
    for (number, properties) in [
        // Message Expiry Interval of a second, or none.
        &[2, 0, 0, 0, 1][..],
        &[2, 0, 0, 0, 0],
        // Subscription Identifiers, more than one of which may come.
        &[0x0b, 1, 0x0b, 0x80, 1],
        // Payload Format Indicator: UTF-8.
        &[1, 1],
        &text(3, "application/json"),
        &text(8, "answers"),
        &text(9, "correlation"),
        &[0x26, 0, 1, b'n', 0, 1, b'v', 0x26, 0, 1, b'n', 0, 1, b'w'],
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("p-{number}");
        let device = Device { kind: "pump", id: &id };
        let after = publish(device, &device.connect(1), properties);
        let subscribe = Reply { after, ..Reply::code(0) };
        let broker = ClosingBroker::start(Script { subscribe, ..Script::default() });
        let service = launch(&broker).start();
        service.wait_for_answer(&device.path(), &device.connect(1));
        service.wait_until_ready();
        assert!(service.log_lines(&["WARN"]).is_empty(), "{properties:?}: {}", service.log());
    }
}

#[test]
fn without_retained_messages_the_population_is_never_taken_for_whole() {
    let broker = ClosingBroker::start(Script { connect: connack(0, &[0x25, 0]), ..Script::default() });
    let service = launch(&broker).start();
    wait_until_missing(&service, &["known to be missing", "Retain Available is 0"]);
    assert_eq!(service.get("/pump/1").status, 503, "nobody knows whether it ever connected");
}

#[test]
fn unsupported_features_are_not_requested() {
    for Case { properties, arguments, said } in [
        Case {
            properties: &[0x28, 0],
            arguments: &[],
            said: &["wildcards", "Wildcard Subscription Available"],
        },
        Case { properties: &[0x27, 0, 0, 0, 9], arguments: &[], said: &["SUBSCRIBE of", "at most 9 bytes"] },
    ] {
        let broker = ClosingBroker::start(Script { connect: connack(0, properties), ..Script::default() });
        let service = launch(&broker).arguments(arguments).start();
        wait_until_missing(&service, said);
        assert!(!service.log_lines(said).is_empty(), "{}", service.log());
        assert!(broker.subscribes().is_empty());
    }
}

#[test]
fn the_brokers_reason_and_server_reference_are_one_line() {
    let properties = [text(0x1c, "b2.example:1883"), text(0x1f, "down\nfor \u{1b}[31mtoday")].concat();
    let said = ["use another server", "b2.example:1883", r"down\u{a}for"];
    let broker = ClosingBroker::start(Script { connect: connack(0x9c, &properties), ..Script::default() });
    let service = launch(&broker).start();
    service.wait_until("it is logged", || !service.log_lines(&said).is_empty());
    wait_until_missing(&service, &["use another server", "b2.example:1883"]);

    let mut disconnect = vec![0xe0, u8::try_from(properties.len() + 2).expect("short"), 0x9d];
    disconnect.push(u8::try_from(properties.len()).expect("short"));
    disconnect.extend_from_slice(&properties);
    let ping = Reply { after: disconnect, ..Reply::silence() };
    broker.follow(Script { ping, ..Script::default() });
    wait_until_missing(&service, &["server moved", "b2.example:1883", "0x9d"]);
}

#[test]
fn an_unmatched_suback_is_a_broker_error() {
    for (bytes, said) in
        [(&[0x90, 2, 0, 1][..], "0 return codes for 1 filters"), (&[0x90, 3, 0, 9, 0], "packet id 9")]
    {
        let broker = ClosingBroker::start(Script { subscribe: Reply::bytes(bytes), ..Script::default() });
        let service = Launch::to(&broker.url()).start();
        wait_until_missing(&service, &[said]);
        service.wait_until("it says goodbye and comes again", || broker.connects().len() >= 2);
        assert!(broker.disconnects() >= 1);
    }
}

#[test]
fn a_subscribe_that_is_never_answered_has_an_end() {
    let broker = ClosingBroker::start(Script { subscribe: Reply::silence(), ..Script::default() });
    let service = Launch::to(&broker.url()).start();
    wait_until_missing(&service, &["did not answer a SUBSCRIBE with a SUBACK"]);
}

#[test]
fn a_broker_that_sends_a_byte_now_and_then_is_dead() {
    let broker = ClosingBroker::start(Script { ping: Reply::bytes(&[0x30]), ..Script::default() });
    let service = Launch::to(&broker.url()).arguments(&["--keep-alive", "1"]).start();
    wait_until_missing(&service, &["no whole packet for 1.5 seconds"]);
}

#[test]
fn a_flood_of_pingresps_has_an_end() {
    let flood = [0xd0, 0].repeat(200);
    let broker = ClosingBroker::start(Script { ping: Reply::bytes(&flood), ..Script::default() });
    let service = Launch::to(&broker.url()).start();
    wait_until_missing(&service, &["PINGRESPs that nobody asked for"]);
}

#[test]
fn a_topic_alias_and_enhanced_authentication_are_broker_errors() {
    let alias = [0x30, 7, 0, 1, b't', 3, 0x23, 0, 1];
    for (bytes, said) in [(&alias[..], "topic alias"), (&[0xf0, 0], "AUTH")] {
        let broker = ClosingBroker::start(Script { ping: Reply::bytes(bytes), ..Script::default() });
        let service = launch(&broker).start();
        wait_until_missing(&service, &[said]);
    }
}

#[test]
fn a_server_that_is_no_broker_is_named() {
    for (bytes, said) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "answers as a web server"),
        (&[0x15, 3, 1, 0, 2, 2, 70], "answers with TLS: use mqtts://"),
    ] {
        let broker = ClosingBroker::start(Script { connect: Reply::raw(bytes), ..Script::default() });
        let service = Launch::to(&broker.url()).start();
        wait_until_missing(&service, &[said]);
    }
}

/// A web server that gives everybody the same answer.
fn web_server(status: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.extend_from_slice(&byte);
            }
            // A client that has gone away shows in the test.
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    port
}

#[test]
fn a_web_server_without_a_websocket_is_named() {
    for (status, said) in [
        ("200 OK", "does not offer a websocket"),
        ("302 Found", "name the final URL"),
        ("401 Unauthorized", "wants to know who asks"),
        ("403 Forbidden", "refuses this machine"),
        ("404 Not Found", "no websocket at this path"),
        ("502 Bad Gateway", "does not reach the broker"),
    ] {
        let service = Launch::to(&format!("ws://127.0.0.1:{}/mqtt", web_server(status))).start();
        wait_until_missing(&service, &[status, "/mqtt", said]);
        assert!(!service.log_lines(&[status, said]).is_empty(), "{}", service.log());
    }
}

#[test]
fn two_closes_after_the_same_silence_suggest_an_idle_timeout() {
    let broker = Mosquitto::start();
    let way = testkit::haproxy::Haproxy::start(broker.port(), "2s");
    let arguments = ["--broker-counters", "false"];
    let service = Launch::to(&way.url()).arguments(&arguments).start();
    let said = ["after 2 seconds without traffic", "--keep-alive to 2 or less"];
    service.wait_until("the log names the cause", || !service.log_lines(&said).is_empty());
}

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// A service whose first pass proves nothing, so that it asks for the broker's counters; it reads again every second.
fn in_need_of_counters(broker_url: &str) -> Service {
    let flags = ["--quiet-interval-ms", "100", "--replay-limits", "1", "--reconcile-interval", "1"];
    Launch::to(broker_url).arguments(&flags).arguments(&["--broker-counters", "true"]).start()
}

fn hidden_counters(service: &Service) -> serde_json::Value {
    service.get("/api/v1/population").json()["hidden_counters"].clone()
}

/// In the log once, and in `/readyz` and in the population as long as it is so, whether or not the service is ready.
fn assert_reported_once(service: &Service, said: &[&str]) {
    service.wait_until(&format!("it says {said:?}"), || {
        hidden_counters(service).as_str().is_some_and(|why| mentions(why, said))
    });
    let rounds = || service.log_lines(&["the retained statuses have been read"]).len();
    let before = rounds();
    service.wait_until("two more rounds have been read", || rounds() >= before + 2);
    assert_eq!(service.log_lines(said).len(), 1, "{}", service.log());
    let ready = service.get("/readyz").json();
    assert_eq!(ready["population"], "unproven");
    assert!(mentions(&ready["missing"].to_string(), said), "{ready}");
}

#[test]
fn counters_that_an_acl_hides_are_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let acl = directory.path().join("acl");
    for (read, said) in [
        ("", Some("accepts the subscription to $SYS/# and sends nothing")),
        ("pattern read $SYS/broker/uptime\n", Some("shows only a part of $SYS/#")),
        ("pattern read $SYS/#\n", None),
    ] {
        std::fs::write(&acl, format!("pattern readwrite iot-2/#\n{read}")).unwrap();
        let extra = vec![format!("acl_file {}", acl.display())];
        let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
        let broker = broker.retaining([(PUMP, PUMP.connect(1))]);
        let service = in_need_of_counters(&broker.url());
        match said {
            Some(said) => assert_reported_once(&service, &[said, "let the login read $SYS/#"]),
            None => {
                service.wait_until("the counters prove it", || {
                    service.get("/api/v1/population").json()["evidence"] == "count_matches"
                });
                assert_eq!(hidden_counters(&service), serde_json::Value::Null);
                assert!(service.log_lines(&["$SYS/#"]).is_empty(), "{}", service.log());
            }
        }
    }
}

#[test]
fn a_link_that_breaks_before_the_suback_is_no_refusal_of_the_counters() {
    let broker =
        ClosingBroker::start(Script { subscribe_counters: Some(Reply::close()), ..Script::default() });
    let service = in_need_of_counters(&broker.url());
    let is_of_counters = |filter: &str| filter.starts_with("$SYS");
    service.wait_until("the counters are asked for", || {
        broker
            .subscribes()
            .iter()
            .flat_map(|asked| &asked.subscriptions)
            .any(|one| is_of_counters(&one.filter))
    });
    broker.follow(Script::default());
    service.wait_until("they are asked for again", || {
        hidden_counters(&service)
            .as_str()
            .is_some_and(|why| why.contains("accepts the subscription to $SYS/# and sends nothing"))
    });
}

#[test]
fn counters_that_a_broker_refuses_are_reported_once() {
    let broker = PlatformBroker::start(Limits::default());
    broker.publish(&PUMP.topic(), PUMP.connect(1), true);
    let service = in_need_of_counters(&broker.url());
    assert_reported_once(&service, &["$SYS/#", "--broker-counters false"]);
}
