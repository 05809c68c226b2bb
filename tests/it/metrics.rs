//! `GET /metrics`: what is scraped is what `docs/metrics.md` lists, and it says how the service is.

use std::collections::BTreeSet;

use crate::rig::mosquitto::Mosquitto;
use crate::rig::service::Launch;
use crate::rig::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const VALVE: Device<'_> = Device { kind: "valve", id: "2" };

/// Name and kind of each row of the documented table.
fn documented() -> BTreeSet<(String, String)> {
    let rows = include_str!("../../docs/metrics.md").lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
        (cells[1].clone(), cells[2].clone())
    })
    .collect()
}

#[test]
fn every_scraped_name_is_documented_and_every_documented_one_scraped() {
    let broker = Mosquitto::start();
    let service = Launch::to(&broker.url()).start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    // Names with a label appear with their first sample.
    publisher.publish(&VALVE.topic(), "no status");
    publisher.publish(&VALVE.topic(), VALVE.connect(1).replace("\"Connect\"", "\"FailedConnect\""));
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.retain(&VALVE.topic(), VALVE.disconnect(1, 2));
    publisher.flush();
    service.wait_for_answer(&VALVE.path(), &VALVE.disconnect(1, 2));
    let scraped = service.get("/metrics").text().to_owned();
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let names: BTreeSet<_> = types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
    assert_eq!(names, documented(), "{scraped}");
    for line in [
        "devstatus_devices{status=\"connected\"} 1",
        "devstatus_devices{status=\"disconnected\"} 1",
        "devstatus_population_state{state=\"complete\"} 1",
        "devstatus_population_state{state=\"incomplete\"} 0",
        "devstatus_broker_connected 1",
        "devstatus_backlog_waiting_bytes 0",
    ] {
        assert!(scraped.lines().any(|found| found == line), "{line} in:\n{scraped}");
    }
}
