//! Files that earlier versions have written. `tests/data/store-N` holds one for each version of the schema that was ever
//! released, as SQL, with what its devices and their events were: whatever the schema becomes, they say the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{File, no_broker, wait_until_stored};
use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service};
use testkit::status::Device;

struct Released {
    sql: &'static str,
    /// What `devstatus export` made of it.
    devices: &'static str,
    /// Their events, newest first of each device.
    events: &'static str,
}

/// In the order of their versions, the first first.
const RELEASED: &[Released] = &[
    Released {
        sql: include_str!("../../../../../tests/data/store-1/store.sql"),
        devices: include_str!("../../../../../tests/data/store-1/devices.jsonl"),
        events: include_str!("../../../../../tests/data/store-1/events.jsonl"),
    },
    // The file of version 1, as version 2 has made it its own: the devices and events are the same.
    Released {
        sql: include_str!("../../../../../tests/data/store-2/store.sql"),
        devices: include_str!("../../../../../tests/data/store-1/devices.jsonl"),
        events: include_str!("../../../../../tests/data/store-1/events.jsonl"),
    },
];

const CHANGED: Device<'_> = Device { kind: "fan", id: "alone" };

fn values(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn history(service: &Service, device: Device<'_>) -> Vec<Value> {
    let segment = |name| percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
    let path = format!("/api/v1/devices/{}/{}/history", segment(device.kind), segment(device.id));
    service.get(&path).json()["events"].as_array().expect("there are events").clone()
}

/// The events that were recorded of a device, and as the service tells them, as far as was recorded.
fn assert_same_events(service: &Service, recorded: &[Value]) {
    let name = |event: &Value| {
        let part = |name: &str| event[name].as_str().expect("an event has a device").to_owned();
        (part("type"), part("id"))
    };
    for (kind, id) in recorded.iter().map(name).collect::<BTreeSet<_>>() {
        let of_device = recorded.iter().filter(|event| name(event) == (kind.clone(), id.clone()));
        let said = history(service, Device { kind: &kind, id: &id });
        let said = said.iter().map(|event| {
            let fields =
                ["sequence", "event", "time", "connect_time", "close_code", "address", "received_at"];
            let mut kept = json!({ "type": kind, "id": id });
            fields.iter().for_each(|field| kept[*field] = event[*field].clone());
            kept
        });
        assert_eq!(said.collect::<Vec<_>>(), of_device.cloned().collect::<Vec<_>>(), "{kind}/{id}");
    }
}

#[test]
fn the_file_of_every_schema_keeps_its_content_and_accepts_writes() {
    for (number, released) in RELEASED.iter().enumerate() {
        let file = File::new();
        std::fs::create_dir(file.path().parent().expect("a file is in a directory")).unwrap();
        let connection = rusqlite::Connection::open(file.path()).unwrap();
        connection.execute_batch(released.sql).unwrap();
        let version: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version as usize, number + 1);
        connection.close().unwrap();

        let (devices, events) = (values(released.devices), values(released.events));
        let keep_all = ["--history-days", "36500"];
        let service = file.launch(&no_broker().url()).arguments(&keep_all).start();
        assert_eq!(service.get("/api/v1/summary").json()["total"], devices.len());
        assert_same_events(&service, &events);
        assert!(service.terminate().status.success());
        let exported = Launch::default().arguments(&["export", "--store", &file.flag()]).run();
        let mut exported = values(&exported.stdout);
        exported.sort_by_key(Value::to_string);
        let mut expected = devices.clone();
        expected.sort_by_key(Value::to_string);
        assert_eq!(exported, expected);

        let broker = Mosquitto::start();
        let service = file.launch(&broker.url()).arguments(&keep_all).start();
        service.wait_until_ready();
        let mut publisher = broker.publisher();
        publisher.publish(&CHANGED.topic(), CHANGED.disconnect(100, 200));
        publisher.flush();
        wait_until_stored(&service, 1);
        let newest = events.iter().filter_map(|event| event["sequence"].as_u64()).max();
        service.wait_until("its event is kept", || history(&service, CHANGED).len() == 2);
        assert_eq!(history(&service, CHANGED)[0]["sequence"].as_u64(), newest.map(|newest| newest + 1));
        assert_eq!(service.get("/api/v1/devices/fan/alone").json()["status"], "disconnected");
    }
}
