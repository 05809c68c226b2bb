//! What instances are compared by: each device, lists page for page, the totals. Which devices there are, and what is done
//! to the instances, is not known here.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use testkit::http::{self, Connection};
use testkit::service::Service;
use testkit::status::Device;
use testkit::{PATIENCE, poll};

/// Type and id of a device.
pub type Names = (String, String);

/// What each device said last.
pub type Truth = BTreeMap<Names, String>;

/// Devices of one lookup.
const AT_ONCE: usize = 500;

pub fn metric(service: &Service, name: &str) -> u64 {
    let text = service.get("/metrics").text().to_owned();
    let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    sample.unwrap_or_else(|| panic!("{name} is in {text}")).parse().expect("a whole number")
}

pub fn wait_until_few_are_held(few: &Service, limit: u64) {
    few.wait_until("few are held", || metric(few, "devstatus_map_devices_held") <= limit);
}

/// Waits until the instance gives the one right answer for each of the devices.
pub fn wait_until_right<'a>(service: &Service, devices: impl IntoIterator<Item = (&'a Names, &'a String)>) {
    let mut wrong: Vec<_> = devices.into_iter().collect();
    let right = poll(PATIENCE, || {
        let mut connection = Connection::open(service.address());
        wrong.retain(|((kind, id), said)| {
            connection.send(&http::request("GET", &Device { kind, id }.path()));
            let answer = connection.receive("GET").expect("it answers");
            answer.status != 200 || answer.text() != *said
        });
        wrong.is_empty().then_some(())
    });
    assert!(right.is_some(), "{wrong:?} are not answered so; log:\n{}", service.log());
}

/// Each device on the seed's route, byte for byte, asked of each instance in turn over one connection.
pub fn assert_every_body(services: &[&Service], truth: &Truth) {
    let mut connections: Vec<_> =
        services.iter().map(|service| Connection::open(service.address())).collect();
    for (n, ((kind, id), said)) in truth.iter().enumerate() {
        let turn = n % services.len();
        connections[turn].send(&http::request("GET", &Device { kind, id }.path()));
        let answer = connections[turn].receive("GET").expect("it answers");
        assert_eq!((answer.status, answer.text()), (200, said.as_str()), "{}", services[turn].log());
    }
}

/// Each device as `POST /api/v1/devices:lookup` answers it, the same at every instance.
pub fn assert_every_lookup(services: &[&Service], truth: &Truth) {
    // One that has lost its link meanwhile says so until it has read on; apart from that all answer the same.
    for service in services {
        service.wait_until("nothing is stale", || service.get("/readyz").json()["stale"] == json!(false));
    }
    let names: Vec<_> = truth.keys().collect();
    let read_before: Vec<_> = services.iter().map(|service| readings(service)).collect();
    for names in names.chunks(AT_ONCE) {
        let asked: Vec<_> = names.iter().map(|(kind, id)| json!({"type": kind, "id": id})).collect();
        let asked = json!({"devices": asked}).to_string();
        let answers: Vec<_> = services.iter().map(|service| lookup(service, &asked)).collect();
        for (names, device) in names.iter().zip(answers[0]["devices"].as_array().expect("a list")) {
            let said: Value = serde_json::from_str(&truth[*names]).expect("JSON");
            let status = if said["Action"] == "Connect" { "connected" } else { "disconnected" };
            assert_eq!((&device["id"], &device["status"]), (&json!(names.1), &json!(status)));
        }
        answers.iter().for_each(|answer| assert_eq!(answer, &answers[0]));
    }
    // However many are asked for at once, the store is asked once.
    for (service, before) in services.iter().zip(read_before) {
        let readings = readings(service) - before;
        assert!(readings as usize <= names.len().div_ceil(AT_ONCE), "{readings} readings");
    }
}

fn readings(service: &Service) -> u64 {
    metric(service, "devstatus_store_reads_total")
}

/// Lists page for page, and all devices in the order of time.
pub fn assert_every_list(few: &[&Service], all: &Service, paths: &[&str]) {
    for path in paths {
        let expected = pages(all, path);
        few.iter().for_each(|few| assert_eq!(pages(few, path), expected, "{path}"));
    }
    let in_order = |service: &Service| -> Vec<Value> {
        let accept = [("accept", "application/x-ndjson")];
        let lines = service.request_with("GET", "/api/v1/devices?sort=-since", &accept);
        let device = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        lines.text().lines().map(device).map(|device| json!([device["id"], device["since"]])).collect()
    };
    let expected = in_order(all);
    few.iter().for_each(|few| assert_eq!(in_order(few), expected));
}

/// Waits until the totals are the same: they come from the store, and may be a second old.
pub fn wait_until_it_counts_as(few: &Service, all: &Service) {
    let totals = |service: &Service| {
        let summary = service.get("/api/v1/summary").json();
        let of = [
            "total",
            "connected",
            "disconnected",
            "top_close_codes",
            "causes",
            "sources",
            "types_total",
            "types",
        ];
        (of.map(|name| summary[name].clone()), service.get("/api/v1/types").json())
    };
    few.wait_until("it counts as the one that holds all", || totals(few) == totals(all));
}

/// Every part of a list, and the cursors between them.
fn pages(service: &Service, path: &str) -> Vec<Value> {
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = service.get(&format!("{path}{cursor}"));
        assert_eq!(answer.status, 200, "{path}{cursor}: {}", answer.text());
        let page = comparable(answer.json());
        let next = page["next_cursor"].as_str().or(page["bookmark"].as_str()).map(str::to_owned);
        pages.push(page);
        let Some(next) = next else { return pages };
        cursor = format!("&{}={next}", if path.contains("v0002") { "_bookmark" } else { "cursor" });
    }
}

/// Devices as a lookup answers them.
fn lookup(service: &Service, asked: &str) -> Value {
    let mut connection = Connection::open(service.address());
    let length = asked.len().to_string();
    let headers = [("content-type", "application/json"), ("content-length", length.as_str())];
    connection.send(&http::request_with("POST", "/api/v1/devices:lookup", &headers));
    connection.send(asked.as_bytes());
    let answer = connection.receive("POST").expect("it answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
    comparable(answer.json())
}

/// An answer but for what depends on where an instance knows a device from.
fn comparable(mut answer: Value) -> Value {
    for device in answer["devices"].as_array_mut().into_iter().flatten() {
        let device = device.as_object_mut().expect("a device");
        assert!(device.remove("provenance").is_some() && device.remove("confirmed_at").is_some());
    }
    answer
}
