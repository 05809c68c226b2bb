//! One device is forgotten because an administrator wants it to be, here and in the store.

use serde_json::json;
use tempfile::TempDir;

use testkit::events::EventStream;
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Ended, Service};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const OTHER: Device<'_> = Device { kind: "pump", id: "p-2" };
const VIEW: &str = "/api/v1/devices/pump/p-1";

/// What a device says whose clock is far ahead.
fn ahead() -> String {
    PUMP.connect(1).replace("2026-", "2099-")
}

/// A broker, a service with a key for each scope, and its store, in which the device is connected until 2099.
struct Stuck {
    broker: Mosquitto,
    keys: Keys,
    admin: Key,
    reader: Key,
    directory: TempDir,
}

impl Stuck {
    fn new() -> Self {
        let (broker, keys) = (Mosquitto::start(), Keys::new());
        let (admin, reader) = (keys.create("admin"), keys.create("read,events"));
        let directory = tempfile::tempdir().expect("a directory");
        Self { broker, keys, admin, reader, directory }
    }

    fn start(&self, arguments: &[&str]) -> Service {
        let store = format!("sqlite:{}", text(&self.directory.path().join("store.db")));
        let launch = self.keys.launch(&self.broker.url()).arguments(&["--store", &store]);
        launch.arguments(arguments).start_ready()
    }

    /// A status as a reader is shown it.
    fn status(&self, service: &Service, path: &str) -> serde_json::Value {
        service.request_with("GET", path, &[("authorization", &self.reader.bearer())]).json()["status"]
            .clone()
    }

    fn wait_for_status(&self, service: &Service, path: &str, status: &str) {
        service.wait_until(status, || self.status(service, path) == json!(status));
    }

    fn forget(&self, service: &Service, key: &Key, id: &str) -> Ended {
        key.ask(service, &["forget", "pump", id])
    }
}

#[test]
fn a_device_that_is_stuck_in_the_future_is_forgotten_by_an_administrator_alone() {
    let stuck = Stuck::new();
    let service = stuck.start(&[]);
    let reader = stuck.reader.bearer();
    let headers = [("authorization", reader.as_str())];
    let mut stream = EventStream::ask_with(service.address(), "", &headers).ok().unwrap();
    stuck.broker.publish(&[(OTHER, OTHER.connect(1)), (PUMP, ahead()), (PUMP, PUMP.disconnect(5, 6))]);
    assert_eq!(stream.expect("change").data["dated_ahead"], json!(false));
    assert_eq!(stream.expect("change").data["dated_ahead"], json!(true));
    let shown = service.request_with("GET", VIEW, &headers).json();
    assert_eq!((&shown["status"], &shown["dated_ahead"]), (&json!("connected"), &json!(true)));
    let metrics = service.request_with("GET", "/metrics", &headers);
    assert!(metrics.text().contains("devstatus_message_flaws_total{flaw=\"dated_ahead\"} 1\n"));

    assert_eq!(service.request_with("DELETE", VIEW, &headers).status, 403);
    assert_eq!(service.request("DELETE", VIEW).status, 401);
    assert!(!stuck.forget(&service, &stuck.reader, PUMP.id).status.success());
    let forgotten = stuck.forget(&service, &stuck.admin, PUMP.id);
    assert_eq!((forgotten.status.code(), forgotten.stdout.as_str()), (Some(0), ""), "{forgotten:?}");
    let event = stream.expect("forgotten");
    assert_eq!(event.data, json!({"type": "pump", "id": "p-1", "previous_status": "connected"}));
    assert_eq!(stuck.status(&service, VIEW), json!("never_connected"));
    let history = service.request_with("GET", &format!("{VIEW}/history"), &headers).json();
    assert_eq!(history["events"], json!([]));
    let summary = service.request_with("GET", "/api/v1/summary", &headers).json();
    assert_eq!((&summary["total"], &summary["connected"]), (&json!(1), &json!(1)));
    let again = stuck.forget(&service, &stuck.admin, PUMP.id);
    assert_eq!(again.status.code(), Some(1), "nothing is known of it any more: {again:?}");

    // Still so after a restart, and what is heard from then on counts as for a new device.
    assert!(service.terminate().status.success());
    let service = stuck.start(&[]);
    assert_eq!(stuck.status(&service, VIEW), json!("never_connected"));
    assert_eq!(stuck.status(&service, "/api/v1/devices/pump/p-2"), json!("connected"));
    stuck.broker.publish(&[(PUMP, PUMP.disconnect(5, 6))]);
    stuck.wait_for_status(&service, VIEW, "disconnected");
}

#[test]
fn a_device_is_forgotten_where_only_some_are_held() {
    let stuck = Stuck::new();
    let service = stuck.start(&["--map-limit", "1000"]);
    stuck.broker.publish(&[(PUMP, ahead()), (OTHER, OTHER.connect(1))]);
    stuck.wait_for_status(&service, VIEW, "connected");
    stuck.wait_for_status(&service, "/api/v1/devices/pump/p-2", "connected");
    let forgotten = stuck.forget(&service, &stuck.admin, PUMP.id);
    assert!(forgotten.status.success(), "{forgotten:?}");
    assert_eq!(stuck.status(&service, VIEW), json!("never_connected"));
    stuck.broker.publish(&[(PUMP, PUMP.disconnect(5, 6))]);
    stuck.wait_for_status(&service, VIEW, "disconnected");
}

#[test]
fn a_forgotten_device_that_is_still_retained_comes_back() {
    let stuck = Stuck::new();
    let mut publisher = stuck.broker.publisher();
    publisher.retain(&PUMP.topic(), ahead());
    publisher.flush();
    let service = stuck.start(&[]);
    assert!(stuck.forget(&service, &stuck.admin, PUMP.id).status.success());
    assert_eq!(stuck.status(&service, VIEW), json!("never_connected"));
    assert!(service.terminate().status.success());
    let service = stuck.start(&[]);
    assert_eq!(stuck.status(&service, VIEW), json!("connected"), "it is at the broker still");
}
