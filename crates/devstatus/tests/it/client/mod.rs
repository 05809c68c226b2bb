//! The command line for people: the binary asks a running service, and what it shows and how it ends are right.

mod security;
mod terminal;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use testkit::child::ChildProcess;
use testkit::keys::{Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::port::Port;
use testkit::service::{Ended, Launch, Service, Signal, mentions};
use testkit::status::{Device, ORG};

const BINARY: &str = env!("CARGO_BIN_EXE_devstatus");

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const FAN: Device<'_> = Device { kind: "fan", id: "ünï, %" };
/// An id that looks like a flag.
const NEGATIVE: Device<'_> = Device { kind: "pump", id: "-1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "none" };

/// A service that knows a connected pump and a disconnected fan, and its broker.
fn service() -> (Mosquitto, Service) {
    let broker = Mosquitto::start();
    retain(&broker);
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    (broker, service)
}

fn retain(broker: &Mosquitto) {
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.retain(&FAN.topic(), FAN.disconnect(1, 2));
    publisher.flush();
}

fn url(service: &Service) -> String {
    format!("http://{}", service.address())
}

fn ask(service: &Service, arguments: &[&str]) -> Ended {
    Launch::default().arguments(arguments).environment("DEVSTATUS_URL", &url(service)).run()
}

fn code(ended: &Ended) -> Option<i32> {
    ended.status.code()
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

#[test]
fn a_device_is_shown_and_its_status_is_the_exit_code() {
    let (_broker, service) = service();
    for (device, exit_code, words) in [
        (PUMP, 0, &["pump 1", "connected", "198.51.100.7", "2026-11-23T17:00:01.186Z"][..]),
        (FAN, 3, &["fan ünï, %", "disconnected", "91"]),
        (VALVE, 4, &["valve none", "never connected"]),
        (NEGATIVE, 4, &["pump -1", "never connected"]),
    ] {
        let shown = ask(&service, &["get", device.kind, device.id]);
        assert_eq!(code(&shown), Some(exit_code), "{shown:?}");
        assert!(mentions(&shown.stdout, words), "{words:?} in {}", shown.stdout);
        assert!(!shown.stdout.contains('\u{1b}'), "no colour where there is no terminal");
        assert_eq!(shown.stderr, "");
    }
    let json = ask(&service, &["get", "--json", FAN.kind, FAN.id]);
    assert_eq!(code(&json), Some(3));
    let expected = service.get("/api/v1/devices/fan/%C3%BCn%C3%AF,%20%25").json();
    assert_eq!(json_lines(&json.stdout), [expected]);
}

#[test]
fn the_series_are_drawn_or_given_as_json() {
    let (_broker, service) = service();
    let drawn = ask(&service, &["summary", "--last", "24h"]);
    assert_eq!(code(&drawn), Some(0), "{drawn:?}");
    let lines: Vec<_> = drawn.stdout.lines().collect();
    assert!(lines[0].ends_with("30 min in each column"), "{lines:?}");
    for (line, name) in lines[1..].iter().zip(["connected", "disconnected", "connects", "disconnects"]) {
        // A day of half hours, and the one that is on.
        assert!(line.starts_with(name) && line.matches(['·', '▁', '█']).count() >= 48, "{line}");
    }
    let json = ask(&service, &["summary", "--last", "1h", "--json"]);
    assert_eq!(json_lines(&json.stdout)[0]["step_seconds"], 10, "{json:?}");
    for wrong in ["24", "0s", "731d", "h"] {
        assert_eq!(code(&ask(&service, &["summary", "--last", wrong])), Some(2), "{wrong}");
    }
}

#[test]
fn an_unknown_status_has_its_own_exit_code() {
    let broker = Mosquitto::start();
    // An hour of silence until all is taken to have been read.
    let flags = ["--quiet-interval-ms", "3600000"];
    let service = Launch::to(&broker.url()).arguments(&flags).start();
    let shown = ask(&service, &["get", "pump", "1"]);
    assert_eq!((code(&shown), mentions(&shown.stdout, &["unknown"])), (Some(5), true), "{shown:?}");
}

#[test]
fn devices_are_listed_in_columns_or_as_json_by_the_filters_of_the_api() {
    let (_broker, service) = service();
    let all = ask(&service, &["list"]);
    assert_eq!(code(&all), Some(0), "{all:?}");
    let lines: Vec<_> = all.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{all:?}");
    let column = lines[0].find("STATUS").expect("there is a heading");
    assert!(lines[2][column..].starts_with("connected"), "{}", all.stdout);
    for (flags, ids) in [
        (&[][..], &[FAN.id, PUMP.id][..]),
        (&["--type", "pump", "--type", "valve"], &[PUMP.id]),
        (&["--type", "pump,fan", "--limit", "1"], &[FAN.id]),
        (&["--status", "disconnected"], &[FAN.id]),
        (&["--close-code", "91", "--address", "198.51.100.0/24"], &[FAN.id]),
        (&["--id-prefix", "ün"], &[FAN.id]),
        (&["--address", "192.0.2.1"], &[]),
        (&["--since", "2026-11-23T17:00:02Z"], &[FAN.id]),
        (&["--until", "2026-11-23T18:00:02+01:00"], &[PUMP.id]),
        (&["--sort", "-id"], &[PUMP.id, FAN.id]),
        (&["--sort", "since"], &[PUMP.id, FAN.id]),
        (&["--sort=-since", "--limit", "1"], &[FAN.id]),
    ] {
        let listed = ask(&service, &[&["list", "--json"], flags].concat());
        let devices = json_lines(&listed.stdout);
        let listed_ids: Vec<_> = devices.iter().filter_map(|device| device["id"].as_str()).collect();
        assert_eq!((code(&listed), listed_ids), (Some(0), ids.to_vec()), "{flags:?}");
    }
}

#[test]
fn the_totals_are_shown() {
    let (_broker, service) = service();
    let shown = ask(&service, &["summary"]);
    assert_eq!(code(&shown), Some(0), "{shown:?}");
    let line = |name: &str| shown.stdout.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("devices").ends_with(" 2") && line("connected").ends_with(" 1"), "{}", shown.stdout);
    assert!(mentions(&shown.stdout, &["population", "subscribed", "91", "pump", "fan"]), "{}", shown.stdout);
    let json = ask(&service, &["summary", "--json"]);
    assert_eq!((code(&json), &json_lines(&json.stdout)[0]["total"]), (Some(0), &2.into()));
}

/// `devstatus watch` in the background.
struct Watch {
    child: ChildProcess,
    lines: BufReader<std::process::ChildStdout>,
}

impl Watch {
    fn start(url: &str, flags: &[&str]) -> Self {
        let mut command = Command::new(BINARY);
        command.args(["watch", "--url", url]).args(flags).stdin(Stdio::null());
        let mut child = ChildProcess::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
        let lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line comes");
        line
    }

    fn exit_code(mut self) -> Option<i32> {
        self.child.wait().expect("a child can be waited for").code()
    }

    fn interrupt(self) -> Option<i32> {
        self.child.signal(Signal::INT);
        self.exit_code()
    }
}

fn wait_for_streams(service: &Service, streams: u32) {
    let line = format!("devstatus_streams {streams}\n");
    service.wait_until("the stream stands", || service.get("/metrics").text().contains(&line));
}

#[test]
fn changes_are_shown_as_they_happen_until_enough_is_seen_or_ctrl_c() {
    let (broker, service) = service();
    let mut shown = Watch::start(&url(&service), &["--type", "pump"]);
    let mut json = Watch::start(&url(&service), &["--json", "--limit", "1"]);
    assert!(mentions(&shown.line(), &["TYPE", "WAS", "STATUS"]));
    wait_for_streams(&service, 2);
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.disconnect(1, 5));
    publisher.flush();
    assert!(mentions(&shown.line(), &["pump", "disconnected", "2026-11-23T17:00:05.186Z", "91"]));
    let event: Value = serde_json::from_str(&json.line()).expect("JSON");
    assert_eq!((&event["event"], &event["data"]["previous_status"]), (&"change".into(), &"connected".into()));
    assert_eq!(json.exit_code(), Some(0), "one change was enough");
    assert_eq!(shown.interrupt(), Some(0));
}

#[test]
fn every_device_is_shown_before_the_changes_if_that_is_wanted() {
    let (broker, service) = service();
    let mut json = Watch::start(&url(&service), &["--json", "--snapshot", "--limit", "1"]);
    let mut shown = Watch::start(&url(&service), &["--snapshot", "--type", "fan", "--limit", "1"]);
    let mut line = || serde_json::from_str::<Value>(&json.line()).expect("JSON");
    let [one, other, complete] = [line(), line(), line()];
    assert_eq!([&one["event"], &other["event"]], ["device"; 2]);
    assert!(one["data"]["id"] != other["data"]["id"], "{one} {other}");
    assert_eq!((&complete["event"], &complete["data"]["devices"]), (&"snapshot_complete".into(), &2.into()));
    assert!(mentions(&shown.line(), &["TYPE", "WAS", "STATUS"]));
    assert!(mentions(&shown.line(), &["fan", FAN.id, " - ", "disconnected", "91"]));
    let mut publisher = broker.publisher();
    publisher.publish(&FAN.topic(), FAN.connect(5));
    publisher.flush();
    assert_eq!(line()["event"], "change");
    assert!(mentions(
        &shown.line(),
        &["fan", FAN.id, "disconnected", "connected", "2026-11-23T17:00:05.186Z"]
    ));
    assert_eq!((json.exit_code(), shown.exit_code()), (Some(0), Some(0)));
}

#[test]
fn a_watch_resumes_after_a_service_restart() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    retain(&broker);
    let (port, broker_url) = (Port::take(), broker.url());
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let launch = || {
        let port = port.number.to_string();
        let flags = ["-o", ORG, "-p", &port, "--broker", &broker_url, "--store", &store];
        Launch::default().arguments(&flags).arguments(&["--flush-interval-ms", "20"]).start()
    };
    let service = launch();
    service.wait_until_ready();
    let mut watch = Watch::start(&url(&service), &["--json"]);
    wait_for_streams(&service, 1);
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.disconnect(1, 5));
    publisher.flush();
    let mut since = || serde_json::from_str::<Value>(&watch.line()).expect("JSON")["data"]["since"].clone();
    assert_eq!(since(), "2026-11-23T17:00:05.186Z");
    assert!(service.terminate().status.success());
    let service = launch();
    service.wait_until_ready();
    publisher.retain(&PUMP.topic(), PUMP.connect(9));
    publisher.flush();
    // Out of the history, what had just been sent may come again; nothing else may.
    let next = since();
    let next = if next == "2026-11-23T17:00:05.186Z" { since() } else { next };
    assert_eq!(next, "2026-11-23T17:00:09.186Z");
    assert_eq!(watch.interrupt(), Some(0));
}

#[test]
fn a_refusal_is_one_clear_line_that_never_shows_the_key() {
    let (broker, keys) = (Mosquitto::start(), Keys::new());
    retain(&broker);
    let (good, other) = (keys.create("read"), keys.create("events"));
    let service = keys.launch(&broker.url()).start();
    service.wait_until_ready();
    let file = keys.path().with_extension("key");
    std::fs::write(&file, format!("{}.{}\n", good.id, good.secret)).unwrap();
    let shown = ask(&service, &["get", "pump", "1", "--api-key-file", text(&file)]);
    assert_eq!(code(&shown), Some(0), "{shown:?}");
    let key = format!("{}.{}", good.id, good.secret);
    assert_eq!(code(&ask(&service, &["get", "pump", "1", "--api-key", &key])), Some(0));
    let wrong = format!("{}.{}", other.id, good.secret);
    let too_little = format!("{}.{}", other.id, other.secret);
    for (key, words) in [(&wrong, &["refuses", "401"][..]), (&too_little, &["refuses", "scope read", "403"])]
    {
        for verb in [&["get", "pump", "1"][..], &["list"], &["summary"]] {
            let arguments = [verb, &["--api-key", key]].concat();
            let refused = ask(&service, &arguments);
            assert_eq!((code(&refused), refused.stdout.as_str()), (Some(1), ""), "{refused:?}");
            assert!(mentions(&refused.stderr, words), "{words:?} in {}", refused.stderr);
            assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
            assert!(!refused.stderr.contains(key.split('.').next_back().unwrap()), "{}", refused.stderr);
        }
    }
}

#[test]
fn an_unreachable_service_and_wrong_arguments_have_different_exit_codes() {
    let port = Port::take();
    let nowhere = format!("http://127.0.0.1:{}", port.number);
    let absent = Launch::default().arguments(&["summary", "--url", &nowhere]).run();
    assert_eq!((code(&absent), absent.stderr.lines().count()), (Some(1), 1), "{absent:?}");
    assert!(mentions(&absent.stderr, &["cannot ask", &nowhere]), "{}", absent.stderr);
    for (arguments, words) in [
        (&["get", "pump"][..], &["operand"][..]),
        (&["list", "--status", "off"], &["--status", "connected or disconnected"]),
        (&["list", "--url", "ftp://h"], &["--url", "http"]),
        (&["list", "--since", "yesterday"], &["--since", "2026-11-24T12:00:00Z"]),
        (&["list", "--sort", "time"], &["--sort", "-since"]),
        (&["list", "--snapshot"], &["--snapshot"]),
        (&["watch", "--sort", "id"], &["--sort"]),
        (&["get", "a", "b", "--api-key", "no key"], &["--api-key"]),
        (&["completions", "tcsh"], &["bash, zsh or fish"]),
    ] {
        let refused = Launch::default().arguments(arguments).run();
        assert_eq!(code(&refused), Some(2), "{refused:?}");
        assert!(mentions(&refused.stderr, words), "{words:?} in {}", refused.stderr);
    }
}

#[test]
fn completions_name_the_subcommands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = Launch::default().arguments(&["completions", shell]).run();
        assert_eq!(code(&script), Some(0), "{script:?}");
        assert!(
            mentions(
                &script.stdout,
                &["summary", "close-code", "api-key-file", "keys", "snapshot", "since", "sort"]
            ),
            "{shell}"
        );
    }
}
