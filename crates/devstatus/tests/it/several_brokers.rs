//! Several brokers in one process, from `[[source]]` tables: each with a link, a population and a freshness of its own.

use serde_json::{Value, json};

use testkit::keys::text;
use testkit::mosquitto::{Mosquitto, Setup, Transport};
use testkit::port::Port;
use testkit::private_ca::PrivateCa;
use testkit::service::{Launch, Service};

/// Tasmota plugs in the north, ESPHome nodes and Shellies in the south.
fn tables(north: &str, south: &str) -> String {
    format!(
        "[[source]]\nname = \"north\"\nformat = \"tasmota\"\nbroker = \"{north}\"\nquiet-interval-ms = 300\n\n\
         [[source]]\nname = \"south\"\nformat = [\"esphome\", \"shelly1\"]\nbroker = \"{south}\"\n\
         quiet-interval-ms = 300\n"
    )
}

fn launch(file: &str) -> Launch {
    Launch::default()
        .arguments(&["-p", "0", "-c", "devstatus.toml", "--flush-interval-ms", "50"])
        .file("devstatus.toml", file)
}

fn brokers() -> [Mosquitto; 2] {
    let brokers = [Mosquitto::start(), Mosquitto::start()];
    let mut publisher = brokers[0].publisher();
    publisher.retain("tele/plug/LWT", "Online");
    publisher.flush();
    let mut publisher = brokers[1].publisher();
    publisher.retain("node/status", "online");
    publisher.retain("shellies/lamp/online", "false");
    publisher.flush();
    brokers
}

fn device(service: &Service, path: &str) -> Value {
    service.get(&format!("/api/v1/devices/{path}")).json()
}

fn is_stale(service: &Service, path: &str) -> (bool, bool) {
    let header = service.get(&format!("/{path}")).header("devstatus-stale").is_some();
    (header, device(service, path)["stale"] == json!(true))
}

fn listed(service: &Service, query: &str) -> Vec<String> {
    let list = service.get(&format!("/api/v1/devices?{query}")).json();
    let devices = list["devices"].as_array().cloned().unwrap_or_default();
    devices.iter().map(|device| device["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// In the summary, on the command line and in metrics.
fn devices_are_counted_by_source(service: &Service, url: &str) {
    let summary = service.get("/api/v1/summary").json();
    let totals = |source: &str, connected: u64, disconnected: u64| json!({"source": source, "total": 1, "connected": connected, "disconnected": disconnected});
    let expected =
        json!([totals("north", 1, 0), totals("south/esphome", 1, 0), totals("south/shelly1", 0, 1)]);
    assert_eq!(summary["sources"], expected);
    assert_eq!(summary["causes"], json!([{"cause_class": "connection", "devices": 1}]));
    let shown = Launch::default().arguments(&["summary", "--url", url]).run().stdout;
    for line in
        ["SOURCE         DEVICES  CONNECTED  DISCONNECTED", "south/shelly1        1          0             1"]
    {
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
    let metrics = service.get("/metrics");
    let line = "devstatus_source_devices{source=\"south/shelly1\",status=\"disconnected\"} 1\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[test]
fn a_broker_that_is_away_leaves_the_devices_of_the_others_current() {
    let [north, mut south] = brokers();
    let service = launch(&tables(&north.url(), &south.url())).start();
    service.wait_until_ready();
    for (path, status, source) in [
        ("tasmota/plug", "connected", "north"),
        ("esphome/node", "connected", "south/esphome"),
        ("shelly/lamp", "disconnected", "south/shelly1"),
    ] {
        let device = device(&service, path);
        assert_eq!((&device["status"], &device["source"]), (&json!(status), &json!(source)), "{path}");
        assert_eq!(is_stale(&service, path), (false, false), "{path}");
    }
    let url = format!("http://{}", service.address());
    let of = |source: &str| {
        let list = Launch::default().arguments(&["list", "--url", &url, "--json", "--source", source]);
        // The setting of the service of this name is another one.
        let ended = list.environment("DEVSTATUS_SOURCE", "tasmota").run();
        ended.stdout.lines().count()
    };
    assert_eq!(["north", "south/esphome", "south/shelly1,north", "east"].map(of), [1, 1, 2, 0]);
    devices_are_counted_by_source(&service, &url);
    let ready = service.get("/readyz").json();
    assert_eq!(ready["sources"][1]["name"], json!("south"), "{ready}");
    south.stop();
    service.wait_until("/readyz names the source that is away", || {
        let ready = service.get("/readyz");
        let missing = ready.json()["missing"][0].as_str().unwrap_or_default().to_owned();
        ready.status == 503 && missing.starts_with("Source south: ")
    });
    let ready = service.get("/readyz").json();
    let sources = |field: &str| [0, 1].map(|index| ready["sources"][index][field].clone());
    assert_eq!(sources("ready"), [json!(true), json!(false)], "{ready}");
    assert_eq!(sources("stale"), [json!(false), json!(true)], "{ready}");
    assert_eq!(is_stale(&service, "tasmota/plug"), (false, false));
    assert_eq!(is_stale(&service, "esphome/node"), (true, true));
    let list = service.get("/api/v1/devices?type=tasmota&type=shelly").json();
    let stale = |id: &str| {
        let devices = list["devices"].as_array().unwrap();
        devices.iter().find(|device| device["id"] == id).map(|device| device["stale"].clone())
    };
    assert_eq!((stale("plug"), stale("lamp")), (Some(json!(false)), Some(json!(true))), "{list}");
    let metrics = service.get("/metrics");
    for line in ["{source=\"north\"} 1", "{source=\"south\"} 0"] {
        assert!(metrics.text().contains(&format!("devstatus_source_connected{line}")), "{}", metrics.text());
    }
    // The north goes on, and the south is read again.
    let mut publisher = north.publisher();
    publisher.publish("tele/plug/LWT", "Offline");
    publisher.flush();
    service.wait_until("the north goes on", || device(&service, "tasmota/plug")["status"] == "disconnected");
    let metrics = service.get("/metrics");
    assert!(
        metrics.text().contains("devstatus_disconnects_total{cause=\"connection\"} 1\n"),
        "{}",
        metrics.text()
    );
    south.start_again();
    let mut publisher = south.publisher();
    publisher.retain("node/status", "offline");
    publisher.retain("shellies/lamp/online", "true");
    publisher.flush();
    service.wait_until_ready();
    service
        .wait_until("the south is read again", || device(&service, "shelly/lamp")["status"] == "connected");
    assert_eq!(is_stale(&service, "esphome/node"), (false, false));
}

#[test]
fn a_broker_that_was_never_there_leaves_the_others_working() {
    let [north, _south] = brokers();
    let nowhere = Port::take();
    let service = launch(&tables(&north.url(), &format!("mqtt://127.0.0.1:{}", nowhere.number))).start();
    service.wait_until("the north is read", || is_stale(&service, "tasmota/plug") == (false, false));
    assert_eq!(device(&service, "tasmota/plug")["status"], "connected");
    // It may be a device of the south.
    assert_eq!(device(&service, "esphome/node")["status"], "unknown");
    let ready = service.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("Source south: cannot connect to"), "{}", ready.text());
}

#[test]
fn a_refused_login_of_one_source_ends_nothing() {
    let [north, _south] = brokers();
    let guarded = Mosquitto::start_with(Setup { login: Some(("user", "word")), ..Setup::default() });
    let mut publisher = guarded.publisher();
    publisher.retain("node/status", "online");
    publisher.flush();
    let file = tables(&north.url(), &guarded.url());
    let service = launch(&file).start();
    service.wait_until("the refusal is shown", || {
        let ready = service.get("/readyz").json();
        ready["sources"][1]["broker"] == "login_refused" && ready["sources"][0]["ready"] == true
    });
    drop(service);
    let service = launch(&(file + "key = \"user\"\ntoken-file = \"token\"\n")).file("token", "word").start();
    service.wait_until_ready();
    assert_eq!(device(&service, "esphome/node")["status"], "connected");
}

#[test]
fn of_two_brokers_that_name_one_device_the_first_keeps_it() {
    let brokers = [Mosquitto::start(), Mosquitto::start()];
    let [first, second] = &brokers;
    let mut publisher = first.publisher();
    publisher.retain("tele/plug/LWT", "Online");
    publisher.flush();
    let file = tables(&first.url(), &second.url()).replace("[\"esphome\", \"shelly1\"]", "\"tasmota\"");
    let service = launch(&file).start();
    service.wait_until_ready();
    let mut publisher = second.publisher();
    publisher.publish("tele/plug/LWT", "Offline");
    publisher.publish("tele/other/LWT", "Online");
    publisher.flush();
    service.wait_until("the second is read", || device(&service, "tasmota/other")["source"] == "south");
    let plug = device(&service, "tasmota/plug");
    assert_eq!((&plug["status"], &plug["source"]), (&json!("connected"), &json!("north")));
    let counted = r#"source="south",reason="device_of_another_source"} 1"#;
    let metrics = service.get("/metrics");
    assert!(metrics.text().contains(counted), "{}", metrics.text());
    assert_eq!(listed(&service, "source=north"), ["plug"]);
    assert_eq!(listed(&service, "source=south"), ["other"]);
}

#[test]
fn each_source_shows_its_own_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let own = PrivateCa::issue_for_client(directory.path());
    let [north, _south] = brokers();
    let extra = vec![format!("cafile {}", text(&own.ca_file)), "require_certificate true".to_owned()];
    let guarded = Mosquitto::start_with(Setup { transport: Transport::Tls, extra, ..Setup::default() });
    let mut publisher = guarded.publisher();
    publisher.retain("node/status", "online");
    publisher.flush();
    let tls = format!(
        "ca-file = \"{}\"\nbroker-cert = \"{}\"\nbroker-key = \"{}\"\n",
        text(guarded.ca_file()),
        text(&own.certificate_file),
        text(&own.key_file)
    );
    let service = launch(&(tables(&north.url(), &guarded.url()) + &tls)).start();
    service.wait_until_ready();
    assert_eq!(device(&service, "esphome/node")["status"], "connected");
}

#[test]
fn bad_tables_stop_the_start_and_name_file_line_and_key() {
    let good = tables("mqtt://127.0.0.1:1", "mqtt://127.0.0.1:2");
    let with = |change: &[(&str, &str)]| {
        change.iter().fold(good.clone(), |file, (from, to)| {
            assert!(file.contains(from), "{from}");
            file.replacen(from, to, 1)
        })
    };
    for (file, arguments, said) in [
        (
            with(&[("format", "fromat")]),
            &[][..],
            "devstatus.toml line 3: unknown key source.fromat: did you mean format?",
        ),
        (
            with(&[("quiet-interval-ms = 300", "token = \"secret\"")]),
            &[],
            "line 5: unknown key source.token: did you mean token-file?",
        ),
        (
            with(&[("broker = \"mqtt://127.0.0.1:1\"\n", "")]),
            &[],
            "line 1, source: expected the key broker in this table",
        ),
        (
            with(&[("\"tasmota\"", "\"tasmotta\"")]),
            &[],
            "devstatus.toml line 3, source.format: there is no such source",
        ),
        (with(&[("= 300", "= 0")]), &[], "line 5, source.quiet-interval-ms: expected a whole number"),
        (with(&[("\"south\"", "\"north\"")]), &[], "line 8, source.name: expected a name that no other"),
        (with(&[("quiet-interval-ms = 300", "broker-cert = \"x\"")]), &[], "contradicts"),
        (
            with(&[("mqtt:", "mqtts:"), ("quiet-interval-ms = 300", "broker-cert = \"x\"")]),
            &[],
            "line 1, source: expected the key broker-key in this table",
        ),
        (
            with(&[("quiet-interval-ms = 300", "key = \"a\"")]),
            &[],
            "line 1, source: expected the key token in",
        ),
        (
            with(&[("127.0.0.1:2", "127.0.0.1:1\"\nid = \"devstatus-north")]),
            &[],
            "source.id: expected an id that no other source has at this broker",
        ),
        (
            good.clone(),
            &["--source", "tasmota"],
            "--source contradicts devstatus.toml line 1, source: with [[source]]",
        ),
        (
            good.clone(),
            &["--map-limit", "10"],
            "--map-limit: it can be used with the source iot-platform alone",
        ),
        (
            with(&[("\"tasmota\"", "\"iot-platform\""), ("[\"esphome\"", "[\"iot-platform\"")]),
            &[],
            "source.format: expected iot-platform in one source only",
        ),
        (good.repeat(33), &[], "source: expected at most 64 of these tables"),
        (with(&[("\"north\"", "\"iot-platform\"")]), &[], "line 2, source.name: expected another name"),
    ] {
        let ended = launch(&file).arguments(arguments).run();
        assert_eq!(ended.status.code(), Some(2), "{said}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{said} in {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
}

#[test]
fn tables_are_checked_shown_and_tried() {
    let [north, south] = brokers();
    let file = tables(&north.url(), &south.url());
    let run = |arguments: &[&str]| {
        let launch = Launch::default().arguments(arguments).arguments(&["-c", "devstatus.toml"]);
        launch.file("devstatus.toml", &file).run()
    };
    assert!(run(&["config", "check"]).stdout.contains("good"));
    let shown = run(&["config", "show"]).stdout;
    for line in [
        "[[source]]\nname = \"north\"  # devstatus.toml line 2, source.name\n",
        "format = [\"esphome\", \"shelly1\"]  # devstatus.toml line 9, source.format\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!shown.contains("\nsource = "), "{shown}");
    let dry = run(&["serve", "--dry-run", "--dry-run-seconds", "1"]);
    assert!(dry.status.success(), "{}", dry.stderr);
    for line in ["tele/plug/LWT: north connect", "node/status: south/esphome connect"] {
        assert!(dry.stdout.contains(line), "{}", dry.stdout);
    }
}
