//! What is seen and told of alerts: the list, acknowledgements, silences, and the commands for them.

use serde_json::{Value, json};
use testkit::http::Response;
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

use super::{OFFLINE, PUMP, VALVE, launch, settings, summaries, wait_until_evaluated};
use crate::webhooks::receiver::{Receiver, Reply};

const OFFLINE_OF_PUMP: &str = "rule=offline&group=pump/p-1";

/// A service with an administrator.
struct Administered {
    service: Service,
    admin: Key,
}

impl Administered {
    fn start(launch: Launch, (keys, admin): &(Keys, Key)) -> Self {
        let service = launch.arguments(&["--keys-file", text(&keys.path())]).start_ready();
        let started = Self { service, admin: admin.clone() };
        let line = "\ndevstatus_alerts_evaluating 1\n";
        let is_evaluated = || started.ask("GET", "/metrics").text().contains(line);
        started.service.wait_until("the rules are evaluated", is_evaluated);
        started
    }

    fn ask(&self, method: &str, path: &str) -> Response {
        self.service.request_with(method, path, &[("authorization", &self.admin.bearer())])
    }

    fn alerts(&self, query: &str) -> Value {
        self.ask("GET", &format!("/api/v1/alerts{query}")).json()
    }

    fn silence(&self, query: &str) -> String {
        let made = self.ask("POST", &format!("/api/v1/silences?{query}"));
        made.json()["id"].as_str().unwrap_or_else(|| panic!("{made:?}")).to_owned()
    }

    /// The lines that a command prints.
    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let ended = self.admin.ask(&self.service, arguments);
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        ended.stdout.lines().map(str::to_owned).collect()
    }
}

fn administrator() -> (Keys, Key) {
    let keys = Keys::new();
    let admin = keys.create("admin,read");
    (keys, admin)
}

#[test]
fn an_alert_is_shown_with_its_state_and_an_acknowledgement_outlives_a_restart() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let long = OFFLINE.replace("name = \"offline\"", "name = \"long\"").replace("2s", "1h");
    let settings = settings(&receiver.url(), &format!("{OFFLINE}{long}"));
    let keys = administrator();
    let start = || Administered::start(launch(directory.path(), &broker, &settings), &keys);
    let running = start();
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    receiver.wait_for(1);
    let shown = running.alerts("");
    assert_eq!((&shown["evaluation"], &shown["total"]), (&json!("here"), &json!(2)));
    let expected = json!({
        "rule": "offline", "kind": "offline_for", "device": {"type": "pump", "id": "p-1"}, "group": "pump/p-1",
        "state": "firing", "since": "2026-11-23T17:00:02.186Z", "suppressed_by": null, "acknowledged_until": null,
        "further_devices": 0
    });
    assert_eq!(shown["alerts"][0], expected);
    assert_eq!(shown["alerts"][1]["state"], json!("pending"));
    for (query, total) in [
        ("?rule=long", 1),
        ("?state=firing&type=pump", 1),
        ("?type=valve", 0),
        ("?group=pump/p-1&limit=1", 2),
    ] {
        assert_eq!(running.alerts(query)["total"], json!(total), "{query}");
    }
    assert_eq!(running.ask("GET", "/api/v1/alerts?state=over").status, 400);

    let acknowledgement = "/api/v1/alerts/acknowledgement";
    for (query, expected) in [
        ("?rule=offline&group=pump/p-1&for=1h", 204),
        ("?rule=offline&group=pump/p-2&for=1h", 404),
        ("?rule=long&group=pump/p-1&for=1h", 404),
        ("?rule=offline&group=pump/p-1", 400),
        ("?rule=offline&group=pump/p-1&for=91d", 400),
        ("?group=pump/p-1&for=1h", 400),
    ] {
        assert_eq!(running.ask("POST", &format!("{acknowledgement}{query}")).status, expected, "{query}");
    }
    let until = || running.alerts("?rule=offline")["alerts"][0]["acknowledged_until"].clone();
    let before = until();
    assert!(before.is_string());
    let lines = running.command(&["alerts", "list", "--firing"]);
    assert!(lines[1].starts_with("firing  offline  pump/p-1  pump/p-1"), "{lines:?}");
    running.service.terminate();
    let running = start();
    let shown = || running.alerts("?rule=offline")["alerts"][0]["acknowledged_until"].clone();
    assert_eq!(shown(), before);
    running.command(&["alerts", "unack", "offline", "pump/p-1"]);
    assert_eq!(shown(), json!(null));
    assert_eq!(running.ask("DELETE", &format!("{acknowledgement}?{OFFLINE_OF_PUMP}")).status, 204);
    assert_eq!(receiver.deliveries().len(), 1);
}

#[test]
fn a_silence_holds_alerts_back_through_a_restart_until_it_is_ended() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(200));
    let window = "[[window]]\nname = \"updates\"\nstart = \"02:00\"\nduration = \"3h\"\nzone = \"Europe/Berlin\"\n\
                  days = [\"sun\"]\nselector = { type = \"none\" }\n";
    let settings = settings(&receiver.url(), &format!("{OFFLINE}{window}"));
    let keys = administrator();
    let start = || Administered::start(launch(directory.path(), &broker, &settings), &keys);
    let running = start();
    let id = running.silence("type=pump&rule=offline&for=2h&author=ops&comment=pumps%20are%20exchanged");
    let other = running.silence("from=2027-01-01T00:00:00Z&until=2027-01-02T00:00:00Z");
    for query in
        ["type=pump", "for=2h&until=2027-01-02T00:00:00Z", "for=0s", "for=2h&type=", "for=2h&colour=red"]
    {
        assert_eq!(running.ask("POST", &format!("/api/v1/silences?{query}")).status, 400, "{query}");
    }
    running.service.terminate();
    let running = start();
    let shown = running.ask("GET", "/api/v1/silences").json();
    let window = json!([{
        "name": "updates", "schedule": "sun 02:00:00 for 3h Europe/Berlin", "open": false,
        "selector": {"types": ["none"], "ids": [], "id_prefixes": [], "sources": []}
    }]);
    assert_eq!(shown["windows"], window);
    let silences = shown["silences"].as_array().unwrap();
    assert_eq!(silences.iter().map(|one| &one["active"]).collect::<Vec<_>>(), [true, false]);
    assert_eq!((&silences[0]["id"], &silences[0]["comment"]), (&json!(id), &json!("pumps are exchanged")));

    broker.retain(&[(PUMP, PUMP.disconnect(1, 2)), (VALVE, VALVE.disconnect(1, 2))]);
    assert_eq!(summaries(&receiver.wait_for(1)), ["alert.firing offline valve/v-3 1/0"]);
    running.service.wait_until("the other is held back", || {
        running.alerts("?type=pump")["alerts"][0]["suppressed_by"] == json!("silence")
    });
    assert_eq!(running.ask("DELETE", &format!("/api/v1/silences/{other}")).status, 204);
    assert_eq!(running.ask("DELETE", &format!("/api/v1/silences/{other}")).status, 404);
    running.command(&["silence", "end", &id]);
    assert_eq!(summaries(&receiver.wait_for(2)[1..]), ["alert.firing offline pump/p-1 1/0"]);
    let made = running.command(&["silence", "add", "--for", "1h", "--rule", "offline", "--comment", "all"]);
    let lines = running.command(&["silence", "list"]);
    assert!(lines[1].starts_with(&made[0]) && lines[1].contains("rule=offline"), "{lines:?}");
}

#[test]
fn an_endpoint_that_takes_nothing_is_named_by_readyz() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let service = launch(directory.path(), &broker, &settings(&receiver.url(), OFFLINE)).start_ready();
    wait_until_evaluated(&service);
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let complaint = json!("Notifications about alerts do not reach ops.");
    let is_named = || {
        let ready = service.get("/readyz");
        let missing = ready.json()["missing"].as_array().cloned().unwrap_or_default();
        ready.status == 200 && missing.contains(&complaint)
    };
    service.wait_until("it is named", is_named);
    let shown = service.get("/api/v1/rules").json();
    let selector = json!({"types": [], "ids": [], "id_prefixes": [], "sources": []});
    let expected = json!({
        "evaluation": "here",
        "startup_grace": "1s",
        "rules": [{
            "name": "offline", "kind": "offline_for", "for": "2s", "keep_firing_for": "0s", "selector": selector,
            "exclude_causes": ["asleep"], "group_by": "device", "group_wait": "0s", "group_interval": "0s",
            "repeat_interval": "4h", "webhooks": ["ops"], "window": null, "start": null, "stop": null,
            "min_percent": null, "min_devices": null, "devices_total": null
        }],
        "contacts": [],
        "outputs": [{"name": "ops", "format": "standard", "works": false}]
    });
    assert_eq!(shown, expected);
    receiver.set_script(|_, _| Reply::Status(200));
    service.wait_until("it is named no longer", || !is_named());
}
