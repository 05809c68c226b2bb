//! Other sources on the stores that several instances share: what a restart and another instance show.

use serde_json::{Value, json};
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::redis::{self, RedisServer};
use testkit::service::{Launch, Service};

/// Status, time, cause and source.
type Shown = [Value; 4];

fn launch(broker: &Mosquitto, name: &str, store: &str) -> Launch {
    let arguments = ["--broker", &broker.url(), "-p", "0", "--source", "tasmota,zigbee2mqtt", "--id", name];
    Launch::default().arguments(&arguments).on_store(store)
}

fn shown(service: &Service, path: &str) -> Shown {
    let device = service.get(&format!("/api/v1/devices/{path}")).json();
    ["status", "since", "cause", "source"].map(|field| device[field].clone())
}

/// Connected and disconnected devices of each source.
fn totals(service: &Service) -> Vec<(String, u64, u64)> {
    let summary = service.get("/api/v1/summary").json();
    let number = |source: &Value, field: &str| source[field].as_u64().unwrap_or_default();
    let sources = summary["sources"].as_array().cloned().unwrap_or_default();
    let of = |source: &Value| {
        let name = source["source"].as_str().unwrap_or_default().to_owned();
        (name, number(source, "connected"), number(source, "disconnected"))
    };
    sources.iter().map(of).collect()
}

fn tasmota_and_zigbee(tasmota: (u64, u64), zigbee: (u64, u64)) -> Vec<(String, u64, u64)> {
    vec![("tasmota".to_owned(), tasmota.0, tasmota.1), ("zigbee2mqtt".to_owned(), zigbee.0, zigbee.1)]
}

/// What is shown outlives a restart, and another instance shows it, too, with the devices below a parent.
fn restart_on(store: &str) {
    const PATHS: [&str; 4] =
        ["tasmota/plug", "tasmota/lamp", "zigbee/hall%2F1", "bridge/zigbee2mqtt%2Fbridge"];
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    let state = |publisher: &mut testkit::publisher::Publisher, state: &str| {
        publisher.retain("zigbee2mqtt/bridge/state", format!(r#"{{"state":"{state}"}}"#));
        publisher.flush();
    };
    publisher.retain("tele/plug/LWT", "Online");
    publisher.retain("tele/lamp/LWT", "Offline");
    publisher.retain("zigbee2mqtt/hall/1/availability", r#"{"state":"online"}"#);
    state(&mut publisher, "online");
    let service = launch(&broker, "first", store).start();
    service.wait_until_ready();
    let hidden = || shown(&service, "zigbee/hall%2F1")[2] == json!("parent_offline");
    assert!(!hidden());
    state(&mut publisher, "offline");
    service.wait_until("the bridge hides its device", hidden);
    let other = launch(&broker, "second", store).start();
    other.wait_until_ready();
    // Whichever has received a state later says since when it is so, and the other one learns it.
    let all = |service: &Service| PATHS.map(|path| shown(service, path));
    other.wait_until("both show the same", || all(&other) == all(&service));
    let before = all(&service);
    for service in [&service, &other] {
        assert_eq!(totals(service), tasmota_and_zigbee((1, 1), (0, 2)));
    }
    assert!(service.terminate().status.success());
    let service = launch(&broker, "first", store).start();
    service.wait_until_ready();
    service.wait_until("it shows the same again", || all(&service) == before);
    assert_eq!(totals(&service), tasmota_and_zigbee((1, 1), (0, 2)));
    state(&mut publisher, "online");
    publisher.retain("tele/plug/LWT", "Offline");
    publisher.flush();
    for service in [&service, &other] {
        service.wait_until("the device is back with its bridge", || {
            shown(service, "zigbee/hall%2F1")[0] == json!("connected")
        });
        service.wait_until("a will is seen", || shown(service, "tasmota/plug")[0] == json!("disconnected"));
    }
    publisher.retain("tele/lamp/LWT", "");
    publisher.flush();
    for service in [&service, &other] {
        let expected = tasmota_and_zigbee((0, 1), (2, 0));
        service.wait_until("a removed device counts no more", || totals(service) == expected);
    }
}

#[test]
fn sources_on_sqlite_are_counted_after_a_restart_with_others_and_without_them() {
    let broker = Mosquitto::start();
    let mut publisher = broker.publisher();
    publisher.retain("tele/plug/LWT", "Online");
    publisher.retain("zigbee2mqtt/hall/1/availability", r#"{"state":"offline"}"#);
    publisher.flush();
    let directory = tempfile::tempdir().expect("a directory");
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let expected = tasmota_and_zigbee((1, 0), (0, 1));
    for sources in ["tasmota,zigbee2mqtt", "tasmota,zigbee2mqtt", "tasmota"] {
        let arguments = ["--broker", &broker.url(), "-p", "0", "--source", sources];
        let service = Launch::default().arguments(&arguments).on_store(&store).start();
        service.wait_until_ready();
        assert_eq!(totals(&service), expected, "{sources}");
        assert!(service.terminate().status.success());
    }
}

#[test]
fn sources_on_postgres_show_the_same_after_a_restart_and_at_another_instance() {
    let database = PostgresServer::start();
    restart_on(&database.url());
    let sources = |view: &str| {
        database.psql(&format!("SELECT DISTINCT source FROM devstatus_devstatus.{view} ORDER BY source"))
    };
    assert_eq!(sources("devices"), "tasmota\nzigbee2mqtt");
    // The event of the last will may have ended with the services; that of the bridge outlived a restart.
    assert!(sources("events").contains("zigbee2mqtt"), "{}", sources("events"));
}

#[test]
fn sources_on_valkey_show_the_same_after_a_restart_and_at_another_instance() {
    let server = RedisServer::start(redis::Setup::default());
    restart_on(&format!("valkey://127.0.0.1:{}", server.port()));
}
