//! What becomes of messages that an endpoint rejects, and what the delivering instance can be asked; and endpoints that change while
//! the service runs.

use std::fs;

use serde_json::{Value, json};
use testkit::http::Response;
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};

use super::receiver::{Delivery, Receiver, Reply, SECRET, verify};
use super::{OF_STATES, OTHER_PUMP, PRIVATE, PUMP, VALVE, launch, summaries};

const ENDPOINT: &str = "/api/v1/webhooks/ops";

/// A service, and the key of an administrator, whom alone it shows its webhooks.
pub struct Administered {
    pub service: Service,
    pub admin: Key,
    _keys: Keys,
}

impl Administered {
    pub fn start(launch: Launch) -> Self {
        let keys = Keys::new();
        let admin = keys.create("admin");
        let service = launch.arguments(&["--keys-file", text(&keys.path())]).start_ready();
        Self { service, admin, _keys: keys }
    }

    pub fn request(&self, method: &str, path: &str) -> Response {
        self.service.request_with(method, path, &[("authorization", &self.admin.bearer())])
    }

    pub fn post(&self, what: &str) -> Response {
        self.request("POST", &format!("{ENDPOINT}/{what}"))
    }

    /// The endpoint as the list shows it.
    pub fn shown(&self) -> Value {
        self.request("GET", "/api/v1/webhooks").json()["webhooks"][0].clone()
    }

    fn wait_until_shown(&self, field: &str, value: &Value) {
        self.service.wait_until(&format!("{field} is {value}"), || self.shown()[field] == *value);
    }
}

#[test]
fn a_message_that_is_rejected_for_good_holds_up_no_other() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|delivery, _| {
        Reply::Status(if delivery.json()["data"]["id"] == json!(PUMP.id) { 422 } else { 200 })
    });
    let service = Administered::start(launch(&broker, directory.path(), &receiver.url(), PRIVATE));
    broker.retain(&[(PUMP, PUMP.connect(1)), (VALVE, VALVE.connect(2))]);
    let taken = receiver.wait_for_taken(1);
    assert_eq!(summaries(&taken), ["device.connected v-3 00:02"]);
    service.wait_until_shown("dead_letters_total", &json!(1));
    broker.retain(&[(OTHER_PUMP, OTHER_PUMP.connect(3))]);
    assert_eq!(receiver.wait_for_taken(2)[1].summary(), "device.connected q-2 00:03");
    let deliveries = || service.request("GET", &format!("{ENDPOINT}/deliveries")).json();
    // The receiver has it before the service has the answer.
    let is_noted = || deliveries()["attempts"][0]["status"] == json!(200);
    service.service.wait_until("the last delivery is noted", is_noted);
    let deliveries = deliveries();
    let letter = deliveries["dead_letters"][0].clone();
    assert_eq!(letter["device"], json!({"type": "pump", "id": "p-1"}));
    assert_eq!((&letter["type"], &letter["failure"]), (&json!("device.connected"), &json!("it answers 422")));
    let attempts = deliveries["attempts"].as_array().unwrap();
    let refused = attempts.iter().find(|attempt| attempt["status"] == json!(422)).unwrap();
    assert_eq!((&refused["answer"], &deliveries["attempts"][0]["answer"]), (&json!("ok"), &Value::Null));
    let id = letter["id"].as_str().unwrap();
    let redeliver = format!("redeliver?id={id}");
    let refused = service.post(&redeliver).json();
    assert_eq!(refused, json!({"done": false, "failure": "it answers 422"}));
    receiver.set_script(|_, _| Reply::Status(200));
    assert_eq!(service.post(&redeliver).json(), json!({"done": true, "failure": null}));
    let taken = receiver.wait_for_taken(3);
    verify(&taken);
    assert_eq!((&*taken[2].id, &*taken[2].summary()), (id, "device.connected p-1 00:01"));
    assert_eq!(service.shown()["dead_letters_total"], json!(0));
    assert_eq!(service.post(&redeliver).status, 404);
}

#[test]
fn an_endpoint_is_tried_out_enabled_again_and_sent_what_it_has_had() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(410));
    let service = Administered::start(launch(&broker, directory.path(), &receiver.url(), PRIVATE));
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    service.wait_until_shown("state", &json!("gone"));
    receiver.set_script(|_, _| Reply::Status(200));
    assert_eq!(service.post("test").json(), json!({"done": true, "failure": null}));
    let taken = receiver.wait_for_taken(1);
    verify(&taken);
    assert_eq!(taken[0].json()["type"], json!("webhook.test"));
    assert_eq!(service.post("enable").json()["done"], json!(true));
    assert_eq!(receiver.wait_for_taken(2)[1].summary(), "device.connected p-1 00:01");
    service.wait_until_shown("state", &json!("delivering"));
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    receiver.wait_for_taken(3);
    assert_eq!(service.post("redeliver?since=2026-01-01T00:00:00Z").json()["done"], json!(true));
    let taken = receiver.wait_for_taken(5);
    assert_eq!((&taken[3].id, &taken[4].id), (&taken[1].id, &taken[2].id));
    for (path, status) in [
        ("redeliver", 400),
        ("redeliver?id=a&since=2026-01-01T00:00:00Z", 400),
        ("redeliver?since=yesterday", 400),
        ("redeliver?id=evt_0", 404),
        ("delete", 404),
    ] {
        assert_eq!(service.post(path).status, status, "{path}");
    }
    assert_eq!(service.request("POST", "/api/v1/webhooks/other/test").status, 404);
}

#[test]
fn an_endpoint_that_accepts_a_test_is_shown_to_work_again() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|delivery, _| {
        Reply::Status(if delivery.json()["type"] == json!("webhook.test") { 200 } else { 422 })
    });
    let service = Administered::start(launch(&broker, directory.path(), &receiver.url(), PRIVATE));
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    service.wait_until_shown("dead_letters_total", &json!(1));
    // No message waits.
    service.wait_until_shown("state", &json!("failing"));
    assert_eq!(service.post("test").json()["done"], json!(true));
    service.wait_until_shown("state", &json!("delivering"));
    assert_eq!(service.shown()["failing_since"], Value::Null);
}

#[test]
fn endpoints_are_read_again_when_their_file_changes() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let (first, second) =
        (Receiver::start(|_, _| Reply::Status(200)), Receiver::start(|_, _| Reply::Status(200)));
    // Replaced by way of a link, as Kubernetes replaces what it mounts.
    let write_text = |version: &str, text: &str| {
        let files = directory.path().join(version);
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("devstatus.toml"), text).unwrap();
        let (data, new) = (directory.path().join("data"), directory.path().join("new"));
        std::os::unix::fs::symlink(&files, &new).unwrap();
        fs::rename(&new, &data).unwrap();
        data.join("devstatus.toml")
    };
    let secret = directory.path().join("hook.secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let write = |version: &str, url: &str, lines: &str| {
        write_text(
            version,
            &format!(
                "[[webhook]]\nname = \"ops\"\nurl = \"{url}\"\nsecret_file = \"{}\"\n{PRIVATE}\n{OF_STATES}\n{lines}\n",
                secret.display()
            ),
        )
    };
    let file = write_text("0", "# None yet.\n");
    let store = format!("sqlite:{}/store.db", directory.path().display());
    let launch = Launch::to(&broker.url()).on_store(&store);
    let administered = Administered::start(launch.arguments(&["-c", file.to_str().unwrap()]));
    let service = &administered.service;
    // An endpoint that is added begins with what happens from then on.
    write("1", &first.url(), "");
    service.wait_until("it has a position", || administered.shown()["position"].is_string());
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    first.wait_for_taken(1);
    write("2", &first.url(), "mode = \"some\"");
    let fault = "devstatus.toml line 7, webhook.mode: expected every or latest";
    service.wait_until("the fault is logged", || {
        !service.log_lines(&["webhooks and alert rules stay as they were", fault]).is_empty()
    });
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    first.wait_for_taken(2);
    write("3", &second.url(), "");
    service.wait_until("it has changed", || {
        service.log_lines(&["webhooks in the settings have changed"]).len() == 2
    });
    broker.retain(&[(PUMP, PUMP.connect(3))]);
    assert_eq!(summaries(&second.wait_for_taken(1)), ["device.connected p-1 00:03"]);
    assert_eq!(first.taken().len(), 2);
}

#[test]
fn a_slow_endpoint_receives_everything_and_an_order_does_not_wait_for_all_of_it() {
    const SESSIONS: u32 = 30;
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Slow);
    let service = Administered::start(launch(&broker, directory.path(), &receiver.url(), PRIVATE));
    let session = |at: u32| [(PUMP, PUMP.connect(2 * at)), (PUMP, PUMP.disconnect(2 * at, 2 * at + 1))];
    broker.retain(&(0..SESSIONS).flat_map(session).collect::<Vec<_>>());
    receiver.wait_for(1);
    assert_eq!(service.post("test").json()["done"], json!(true));
    let is_change = |delivery: &Delivery| delivery.json()["type"] != json!("webhook.test");
    let changes = || receiver.taken().into_iter().filter(is_change).collect::<Vec<_>>();
    assert!(changes().len() < 2 * SESSIONS as usize, "the order was carried out meanwhile");
    receiver.set_script(|_, _| Reply::Status(200));
    receiver.wait_for_taken(2 * SESSIONS as usize + 1);
    let words = |second: u32| {
        let word = if second.is_multiple_of(2) { "connected" } else { "disconnected" };
        format!("device.{word} p-1 00:{second:02}")
    };
    assert_eq!(summaries(&changes()), (0..2 * SESSIONS).map(words).collect::<Vec<_>>());
}

#[test]
fn a_redelivery_leaves_out_nothing_that_was_not_sent_yet() {
    let (broker, directory) = (Mosquitto::start(), tempfile::tempdir().unwrap());
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let service = Administered::start(launch(&broker, directory.path(), &receiver.url(), PRIVATE));
    broker.retain(&[(PUMP, PUMP.connect(1))]);
    service.wait_until_shown("state", &json!("failing"));
    assert_eq!(service.post("redeliver?since=2099-01-01T00:00:00Z").json()["done"], json!(true));
    receiver.set_script(|_, _| Reply::Status(200));
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let taken = receiver.wait_for_taken(2);
    assert_eq!(summaries(&taken), ["device.connected p-1 00:01", "device.disconnected p-1 00:02"]);
}
