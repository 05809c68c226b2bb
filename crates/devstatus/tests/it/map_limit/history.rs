//! Histories and whole lists as text, byte for byte.

use std::fmt::Write as _;

use serde_json::Value;

use super::answers::metric;
use super::site::{launch, limited};
use testkit::closing_broker::ClosingBroker;
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::publisher::Publisher;
use testkit::service::Service;
use testkit::status::{Ago, Device};

/// Many times what is held, and a few parts of a list that is streamed.
const DEVICES: usize = 800;
/// Devices whose histories are read.
const EVERY: usize = 8;
/// All happens ahead of now, so that totals end with the last event and not at the moment at which they are asked for.
const AHEAD: i64 = -7_200;

const CSV: &str = "text/csv";
const NDJSON: &str = "application/x-ndjson";

fn ids() -> Vec<String> {
    (0..DEVICES).map(|n| format!("pump-{n:04}")).collect()
}

/// What happens to a device while it is listened to, by its number; to every fifth nothing.
fn life(ago: &Ago, device: Device<'_>, number: usize) -> Vec<String> {
    let failed = |at| {
        let message = ago.connect(device, at).replace("\"Connect\"", "\"FailedConnect\"");
        message.replace("\"CloseCode\":0,", "\"CloseCode\":180,")
    };
    let ended = |code| ago.disconnect(device, AHEAD, AHEAD - 100, code);
    match number / EVERY % 5 {
        0 => Vec::new(),
        1 => vec![ended(91)],
        2 => vec![ended(160), ago.connect(device, AHEAD - 200), failed(AHEAD - 250)],
        // Another connection took over; its Connect comes late.
        3 => vec![ended(288), ago.connect(device, AHEAD - 100)],
        _ => vec![failed(AHEAD - 50), ended(91), ago.connect(device, AHEAD - 300)],
    }
}

/// Every device is connected before anybody listens, so of that session no event tells.
fn retain_all(publisher: &mut Publisher, ago: &Ago) {
    for id in &ids() {
        let device = Device::new("pump, big", id);
        publisher.retain(&device.topic(), ago.connect(device, AHEAD));
    }
    publisher.flush();
}

fn live(publisher: &mut Publisher, ago: &Ago) {
    for (number, id) in ids().iter().enumerate() {
        let device = Device::new("pump, big", id);
        for message in life(ago, device, number) {
            publisher.retain(&device.topic(), message);
        }
    }
    // Of a device that nobody knows, a failed login is no event.
    let stranger = Device::new("pump, big", "stranger");
    let failed = ago.connect(stranger, AHEAD).replace("\"Connect\"", "\"FailedConnect\"");
    publisher.publish(&stranger.topic(), failed.replace("\"CloseCode\":0,", "\"CloseCode\":180,"));
    publisher.flush();
}

fn histories(service: &Service, query: &str) -> Vec<String> {
    let some = ids().into_iter().step_by(EVERY).chain(["stranger".to_owned()]);
    let read = |id: String| {
        let answer = service.get(&format!("/api/v1/devices/pump,%20big/{id}/history{query}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text().to_owned()
    };
    some.map(read).collect()
}

/// The same without what each receiver counts and dates.
fn said(histories: &[String]) -> Vec<Value> {
    let parse = |text: &String| -> Value {
        let mut history: Value = serde_json::from_str(text).expect("JSON");
        for entry in history["events"].as_array_mut().expect("a list") {
            let entry = entry.as_object_mut().expect("an event");
            assert!(entry.remove("sequence").is_some() && entry.remove("received_at").is_some());
        }
        history
    };
    histories.iter().map(parse).collect()
}

fn whole_list(service: &Service, query: &str, accept: &str) -> String {
    let answer = service.request_with("GET", &format!("/api/v1/devices{query}"), &[("accept", accept)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().to_owned()
}

/// A whole list without `provenance` and `confirmed_at`, which say from where and since when an instance itself knows it.
fn without_origin(list: &str, accept: &str) -> String {
    let mut cut = String::new();
    for line in list.lines() {
        let (before, after) = if accept == CSV {
            let (line, _expectation) = line.rsplit_once(',').expect("a last cell");
            let (line, dated_ahead) = line.rsplit_once(',').expect("a cell before it");
            let mut cells = line.rsplitn(4, ',');
            let stale = cells.next().expect("a cell before it");
            writeln!(cut, "{stale} {dated_ahead}").expect("text grows");
            (cells.nth(2).expect("cells before"), stale)
        } else {
            let (before, rest) = line.split_once(",\"provenance\":").expect("it says from where");
            (before, rest.split_once(",\"stale\":").expect("it is the last field").1)
        };
        writeln!(cut, "{before} {after}").expect("text grows");
    }
    cut
}

fn wait_until_stored(service: &Service) {
    service.wait_until("all is written", || {
        metric(service, "devstatus_store_devices_waiting") == 0
            && metric(service, "devstatus_store_events_waiting") == 0
    });
}

#[test]
fn histories_and_whole_lists_are_the_same_byte_for_byte() {
    let (broker, nobody, directory) =
        (Mosquitto::start(), ClosingBroker::silent(), tempfile::tempdir().expect("a directory can be made"));
    let database = PostgresServer::start();
    let own = format!("sqlite:{}", directory.path().join("store.db").display());
    let ago = Ago { now_ms: system::clock::now_millis() };
    let mut publisher = broker.publisher();
    retain_all(&mut publisher, &ago);
    // Both hear the same, and each writes it into a store of its own.
    let few = limited(&broker.url(), "few", &database.url()).start();
    let all = launch(&broker.url(), "all", &own).start();
    for service in [&few, &all] {
        service.wait_until_ready();
        wait_until_stored(service);
    }
    few.wait_until("few are held", || metric(&few, "devstatus_map_devices_held") < 200);
    live(&mut publisher, &ago);
    let expected = |service: &Service| {
        let words = |text: &String| text.matches("\"event\":").count();
        histories(service, "").iter().map(words).sum::<usize>() == DEVICES / EVERY / 5 * 9
    };
    for service in [&few, &all] {
        service.wait_until("every event is kept", || expected(service));
        wait_until_stored(service);
    }
    assert_eq!(said(&histories(&few, "")), said(&histories(&all, "")));

    // Two that hear nothing, one of which holds few, read what the limited one has written: not a byte differs.
    let reader = limited(&nobody.url(), "reader", &database.url()).start();
    let reader_of_all = launch(&nobody.url(), "reader-of-all", &database.url()).start();
    for query in ["", "?limit=1", "?limit=2&before=100000000", "?limit=1&before=1"] {
        assert_eq!(histories(&reader, query), histories(&reader_of_all, query), "{query}");
    }
    for query in ["", "?sort=-since", "?sort=-id&status=connected", "?id_prefix=pump-00&close_code=91"] {
        for accept in [CSV, NDJSON] {
            let expected = whole_list(&reader_of_all, query, accept);
            assert!(expected.lines().count() > 10, "{query}: {expected}");
            assert_eq!(whole_list(&reader, query, accept), expected, "{query}");
            let (few, all) = (whole_list(&few, query, accept), whole_list(&all, query, accept));
            assert_eq!(without_origin(&few, accept), without_origin(&all, accept), "{query}");
        }
    }
}
