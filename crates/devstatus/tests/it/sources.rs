//! Sources other than the IoT platform on a stock mosquitto: real clients with wills that are killed, taken over and back, each
//! checked against what was done to it.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use testkit::child::ChildProcess;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::service::{Launch, Service};

/// Without an organization, and as quick as a test wants it.
fn launch(broker: &Mosquitto, sources: &str) -> Launch {
    Launch::default().arguments(&["--broker", &broker.url(), "-p", "0", "--source", sources]).arguments(&[
        "--quiet-interval-ms",
        "300",
        "--flush-interval-ms",
        "50",
    ])
}

/// How a convention names the state of a device.
struct Convention {
    source: &'static str,
    device_type: &'static str,
    topic: fn(&str) -> String,
    online: &'static str,
    offline: &'static str,
}

const CONVENTIONS: [Convention; 3] = [
    Convention {
        source: "tasmota",
        device_type: "tasmota",
        topic: |id| format!("tele/{id}/LWT"),
        online: "Online",
        offline: "Offline",
    },
    Convention {
        source: "esphome",
        device_type: "esphome",
        topic: |id| format!("{id}/status"),
        online: "online",
        offline: "offline",
    },
    Convention {
        source: "homie4",
        device_type: "homie",
        topic: |id| format!("homie/{id}/$state"),
        online: "ready",
        offline: "lost",
    },
];

/// A real client with a will, which is the only thing that it publishes.
struct WillClient {
    child: ChildProcess,
}

impl WillClient {
    fn start(broker: &Mosquitto, id: &str, convention: &Convention) -> Self {
        let (port, topic) = (broker.port().to_string(), (convention.topic)(id));
        let mut command = Command::new("mosquitto_sub");
        command.args(["-p", &port, "-i", id, "-t", "never", "--will-retain"]);
        command.args(["--will-topic", &topic, "--will-payload", convention.offline]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self { child: ChildProcess::start(&mut command) }
    }

    fn kill(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// It goes on, and neither reads nor writes nor connects again.
    fn freeze(&self) {
        self.child.freeze(true);
    }
}

fn action(service: &Service, path: &str) -> Value {
    let answer = service.get(path);
    if answer.status == 200 { answer.json()["Action"].clone() } else { Value::Null }
}

fn expect_action(service: &Service, path: &str, expected: &str) {
    service.wait_until(&format!("{path} is {expected}"), || action(service, path) == expected);
}

#[test]
fn killed_taken_over_and_returning_clients_are_shown_as_they_are_by_wills_and_by_the_log() {
    const EACH: usize = 8;
    let log = ["log_dest topic", "connection_messages true"].map(str::to_owned).to_vec();
    let broker = Mosquitto::start_with(Setup { extra: log, ..Setup::default() });
    let service = launch(&broker, "tasmota,esphome,homie4,mosquitto-log").start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    let mut fleet: Vec<(String, &Convention, WillClient)> = Vec::new();
    for convention in &CONVENTIONS {
        for number in 0..EACH {
            let id = format!("{}-{number}", convention.source);
            let client = WillClient::start(&broker, &id, convention);
            expect_action(&service, &format!("/mqtt/{id}"), "Connect");
            publisher.retain(&(convention.topic)(&id), convention.online);
            fleet.push((id, convention, client));
        }
    }
    publisher.flush();
    let paths = |id: &str, convention: &Convention| {
        [format!("/{}/{id}", convention.device_type), format!("/mqtt/{id}")]
    };
    for (id, convention, _) in &fleet {
        paths(id, convention).iter().for_each(|path| expect_action(&service, path, "Connect"));
    }
    // Every second one is killed.
    for (_, _, client) in fleet.iter_mut().step_by(2) {
        client.kill();
    }
    for (number, (id, convention, _)) in fleet.iter().enumerate() {
        let expected = if number % 2 == 0 { "Disconnect" } else { "Connect" };
        paths(id, convention).iter().for_each(|path| expect_action(&service, path, expected));
    }
    // One of those is back.
    let (id, convention, client) = &mut fleet[0];
    *client = WillClient::start(&broker, id, convention);
    expect_action(&service, &format!("/mqtt/{id}"), "Connect");
    publisher.retain(&(convention.topic)(id), convention.online);
    publisher.flush();
    expect_action(&service, &format!("/tasmota/{id}"), "Connect");
    // Another one is taken over by a client with its id.
    let (id, convention, client) = &fleet[1];
    client.freeze();
    let taker = WillClient::start(&broker, id, convention);
    expect_action(&service, &format!("/tasmota/{id}"), "Disconnect");
    publisher.retain(&(convention.topic)(id), convention.online);
    publisher.flush();
    expect_action(&service, &format!("/tasmota/{id}"), "Connect");
    assert_eq!(action(&service, &format!("/mqtt/{id}")), "Connect");
    drop(taker);
    paths(id, convention).iter().for_each(|path| expect_action(&service, path, "Disconnect"));
}

#[test]
fn a_restart_changes_no_since_and_what_happened_meanwhile_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("tele/plug/LWT", "Online");
    publisher.retain("tele/lamp/LWT", "Online");
    publisher.flush();
    let ask = |service: &Service, id: &str| service.get(&format!("/api/v1/devices/tasmota/{id}")).json();
    let service = launch(&broker, "tasmota").arguments(&["--store", &store]).start();
    service.wait_until_ready();
    let (plug, lamp) = (ask(&service, "plug"), ask(&service, "lamp"));
    assert_eq!((&plug["status"], &lamp["status"]), (&json!("connected"), &json!("connected")));
    assert_eq!(plug["source"], json!("tasmota"), "{plug}");
    assert_eq!(plug["message"], json!({"text": "Online", "truncated": false}), "{plug}");
    assert_eq!(plug["provenance"], json!("retained"), "{plug}");
    assert!(service.terminate().status.success());
    publisher.retain("tele/lamp/LWT", "Offline");
    publisher.flush();
    let service = launch(&broker, "tasmota").arguments(&["--store", &store]).start();
    service.wait_until_ready();
    let again = ask(&service, "plug");
    assert_eq!((&again["since"], &again["provenance"]), (&plug["since"], &json!("retained")), "{again}");
    assert_eq!(ask(&service, "lamp")["status"], json!("disconnected"));
    assert_eq!(action(&service, "/tasmota/lamp"), "Disconnect");
    let history = service.get("/api/v1/devices/tasmota/lamp/history").json();
    assert_eq!(history["events"][0]["event"], json!("disconnect"), "{history}");
    views_show_it(directory.path());
}

/// What the SQL views of the store show.
fn views_show_it(directory: &Path) {
    let store = rusqlite::Connection::open(directory.join("store.db")).expect("the store opens");
    let devices: i64 = store
        .query_row("SELECT count(*) FROM devices WHERE type = 'tasmota'", [], |row| row.get(0))
        .expect("the view has a count");
    assert_eq!(devices, 2);
    for view in ["devices", "events"] {
        let sources: String = store
            .query_row(&format!("SELECT group_concat(DISTINCT source) FROM {view}"), [], |row| row.get(0))
            .expect("the view has sources");
        assert_eq!(sources, "tasmota", "{view}");
    }
}

#[test]
fn ids_with_slashes_and_spaces_are_asked_for_percent_encoded() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    let topic = "zigbee2mqtt/kitchen/plug 2/availability";
    publisher.retain(topic, r#"{"state":"online"}"#);
    publisher.retain("zigbee2mqtt/k\u{fc}che/availability", r#"{"state":"offline"}"#);
    publisher.flush();
    let service = launch(&broker, "zigbee2mqtt").start();
    service.wait_until_ready();
    let answer = service.get("/zigbee/kitchen%2Fplug%202");
    assert_eq!((answer.status, answer.json()["ClientID"].as_str()), (200, Some("kitchen/plug 2")));
    assert_eq!(action(&service, "/zigbee/kitchen%2Fplug%202"), "Connect");
    let native = service.get("/api/v1/devices/zigbee/kitchen%2Fplug%202").json();
    assert_eq!((&native["id"], &native["status"]), (&json!("kitchen/plug 2"), &json!("connected")));
    assert_eq!(service.get("/api/v1/devices/zigbee/kitchen%2Fplug%202/history").status, 200);
    let listed = |query: &str| {
        let list = service.get(&format!("/api/v1/devices{query}")).json();
        list["devices"].as_array().map(Vec::len)
    };
    assert_eq!(listed(""), Some(2));
    assert_eq!(listed("?source=zigbee2mqtt&status=connected"), Some(1));
    assert_eq!(listed("?source=iot-platform"), Some(0));
    let unseen = service.get("/zigbee/kitchen%2Fnone").json();
    assert_eq!(unseen, json!({"Action": "Never Connected", "ClientID": "kitchen/none"}));
}

#[test]
fn a_profile_of_the_settings_file_is_a_source() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("plant/north/boiler/hall 2/b-7/link", r#"{"link":{"state":"up"}}"#);
    publisher.retain("plant/north/boiler/b-8/link", r#"{"link":{}}"#);
    publisher.flush();
    let profile = "[[profile]]\nname = \"boiler\"\ntopic = \"plant/{site}/boiler/{id...}/link\"\n\
                   type = \"{site}\"\npayload = \"json\"\nat = \"/link/state\"\nconnected = [\"up\", 1]\n\
                   disconnected = [\"down\", \"(missing)\"]\n";
    let file = format!("quiet-interval-ms = 300\n{profile}");
    let service = Launch::default()
        .arguments(&["--broker", &broker.url(), "-p", "0", "--source", "boiler", "-c", "devstatus.toml"])
        .file("devstatus.toml", &file)
        .start();
    service.wait_until_ready();
    assert_eq!(action(&service, "/north/hall%202%2Fb-7"), "Connect");
    assert_eq!(action(&service, "/north/b-8"), "Disconnect");
    publisher.publish("plant/north/boiler/b-8/link", r#"{"link":{"state":"sideways"}}"#);
    publisher.publish("plant/north/boiler/b-8/link", r#"{"link":{"state":1}}"#);
    publisher.flush();
    expect_action(&service, "/north/b-8", "Connect");
    let metrics = service.get("/metrics");
    let counted = r#"devstatus_source_messages_undecodable_total{source="boiler",reason="unknown_value"} 1"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[test]
fn two_sources_that_name_one_device_do_not_mix() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("shellies/lamp/online", "true");
    publisher.flush();
    let service = launch(&broker, "shelly1,shelly2").start();
    service.wait_until_ready();
    publisher.publish("lamp/online", "false");
    publisher.publish("other/online", "true");
    publisher.flush();
    expect_action(&service, "/shelly/other", "Connect");
    assert_eq!(action(&service, "/shelly/lamp"), "Connect");
    let metrics = service.get("/metrics");
    let counted = r#"source="shelly2",reason="device_of_another_source"} 1"#;
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[test]
fn a_source_that_retains_nothing_is_unproven_and_ready() {
    let broker = Mosquitto::start();
    let service = launch(&broker, "emqx").start();
    service.wait_until_ready();
    let population = service.get("/api/v1/population").json();
    assert_eq!(population["state"], json!("unproven"), "{population}");
    // Nobody has named these: one may be connected nevertheless.
    for (path, is_stale) in [("mqtt/none", true), ("tasmota/none", false)] {
        let answer = service.get(&format!("/{path}"));
        assert_eq!(answer.header("devstatus-status"), Some("never_connected"), "{path}");
        assert_eq!(answer.header("devstatus-stale"), is_stale.then_some("true"), "{path}");
        let native = service.get(&format!("/api/v1/devices/{path}")).json();
        assert_eq!(
            (&native["status"], &native["stale"]),
            (&json!("never_connected"), &json!(is_stale)),
            "{path}"
        );
    }
}

#[test]
fn bad_sources_stop_the_start_and_name_the_place() {
    let refused = |arguments: &[&str], file: &str| {
        let ended = Launch::default()
            .arguments(&["--broker", "mqtt://127.0.0.1:1", "-p", "0"])
            .arguments(arguments)
            .file("devstatus.toml", file)
            .run();
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        ended.stderr
    };
    let bad = "[[profile]]\nname = \"boiler\"\ntopic = \"a/{id}\"\ntype = \"b\"\nconnected = [\"up\"]\nconected = 1\n";
    for (arguments, file, words) in [
        (&["--source", "tasmotta"][..], "", &["--source", "no such source", "mean tasmota?"][..]),
        (&["--source", "zigbee2mqtt,zigbee2mqtt1"], "", &["zigbee2mqtt1", "zigbee2mqtt`"]),
        (
            &["--source", "boiler", "-c", "devstatus.toml"],
            bad,
            &["devstatus.toml line 6", "conected", "boiler"],
        ),
        (&["--source", "boiler", "--profiles-file", "devstatus.toml"], bad, &["line 6", "conected"]),
        (&["--source", "tasmota", "--map-limit", "10"], "", &["--map-limit", "iot-platform"]),
    ] {
        let stderr = refused(arguments, file);
        assert!(words.iter().all(|word| stderr.contains(word)), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_dry_run_says_what_each_message_is_and_counts() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("tele/plug/LWT", "Online");
    publisher.retain("tele/lamp/LWT", "on");
    publisher.flush();
    let ended = launch(&broker, "tasmota").arguments(&["--dry-run", "--dry-run-seconds", "1"]).run();
    assert!(ended.status.success(), "{}", ended.stderr);
    for line in [
        "tele/plug/LWT: tasmota connect type=\"tasmota\" id=\"plug\"",
        "tele/lamp/LWT: tasmota undecodable: unknown_value",
    ] {
        assert!(ended.stdout.contains(line), "{}", ended.stdout);
    }
    assert!(ended.stderr.contains("1  tasmota connect"), "{}", ended.stderr);
}

#[test]
fn the_built_in_sources_are_listed_and_shown() {
    let listed = Launch::default().arguments(&["sources"]).run();
    for name in ["iot-platform", "tasmota", "mosquitto-log", "sparkplug", "zigbee2mqtt"] {
        assert!(listed.stdout.lines().any(|line| line.starts_with(&format!("{name} "))), "{}", listed.stdout);
    }
    for verb in ["show", "test"] {
        let ended = Launch::default().arguments(&["sources", verb, "tasmotta"]).run();
        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("devstatus: there is no such source"), "{}", ended.stderr);
    }
    let shown = Launch::default().arguments(&["sources", "show", "tasmota"]).run();
    assert!(
        shown.stdout.contains("[[profile]]") && shown.stdout.contains("tele/{id}/LWT"),
        "{}",
        shown.stdout
    );
    let profile = "[[profile]]\nname = \"boiler\"\ntopic = \"a/{id}\"\ntype = \"b\"\nconnected = [\"up\"]\ndisconnected = [\"down\"]\n";
    for flag in ["-c", "--profiles-file"] {
        let shown = Launch::default()
            .arguments(&["sources", "show", "boiler", flag, "devstatus.toml"])
            .file("devstatus.toml", profile)
            .run();
        assert_eq!(shown.stdout, profile, "{flag}: {}", shown.stderr);
    }
}

#[test]
fn a_restart_of_the_broker_ends_the_connections_of_its_log_and_its_count_is_shown() {
    let extra = ["log_dest topic", "connection_messages true", "sys_interval 1"].map(str::to_owned).to_vec();
    let mut broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let service = launch(&broker, "mosquitto-log").start();
    service.wait_until_ready();
    let mut client = WillClient::start(&broker, "frozen", &CONVENTIONS[0]);
    expect_action(&service, "/mqtt/frozen", "Connect");
    let metrics = || service.get("/metrics").text().to_owned();
    service.wait_until("the broker has counted it, and itself told its uptime more than once", || {
        let metrics = metrics();
        let is_counted = metrics.contains(r#"devstatus_source_broker_clients{source="mosquitto-log"} "#);
        let prefix = r#"devstatus_source_messages_ignored_total{source="mosquitto-log",reason="broker"} "#;
        let messages = metrics.lines().find_map(|line| line.strip_prefix(prefix)?.parse::<u64>().ok());
        is_counted && messages.is_some_and(|messages| messages >= 8)
    });
    client.freeze();
    broker.kill();
    broker.start_again();
    let other = WillClient::start(&broker, "other", &CONVENTIONS[0]);
    expect_action(&service, "/mqtt/frozen", "Disconnect");
    let device = service.get("/api/v1/devices/mqtt/frozen").json();
    assert_eq!(
        (&device["cause"], &device["reason"]),
        (&json!("server"), &json!("the broker was restarted")),
        "{device}"
    );
    client.kill();
    drop(other);
}
