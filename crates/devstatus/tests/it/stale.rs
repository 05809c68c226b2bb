//! After the link to the broker was lost, no old status is given as a current one: not before the reconnect, not while the
//! retained statuses are read again, whatever else happens meanwhile.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use testkit::events::EventStream;
use testkit::http::{self, Connection};
use testkit::link::Link;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::service::{Launch, Service};
use testkit::status::Device;
use testkit::{PATIENCE, poll, wait_until};

const DEVICES: usize = 3_000;
/// The last ones, whose statuses the broker no longer has when it comes back.
const GONE: usize = 10;
/// What the link carries before it stands still: some of the statuses.
const SOME_BYTES: usize = 300_000;

fn ids() -> Vec<String> {
    (0..DEVICES).map(|number| format!("{number:04}")).collect()
}

fn is_gone(id: &str) -> bool {
    id.parse::<usize>().expect("ids are numbers") >= DEVICES - GONE
}

/// A broker that drops no message, with the first status of every device.
fn broker() -> Mosquitto {
    let broker =
        Mosquitto::start_with(Setup { extra: vec!["max_queued_messages 0".to_owned()], ..Setup::default() });
    let mut publisher = broker.publisher();
    for id in ids() {
        let device = Device::new("pump", &id);
        publisher.retain(&device.topic(), device.connect(1));
    }
    publisher.flush();
    broker
}

/// Ends the broker as a power cut does, and starts it again with the second status of every device but the last ones.
fn replace(broker: &mut Mosquitto) {
    broker.kill();
    broker.start_again();
    let mut publisher = broker.publisher();
    for id in ids().iter().filter(|id| !is_gone(id)) {
        let device = Device::new("pump", id);
        publisher.retain(&device.topic(), device.disconnect(1, 2));
    }
    publisher.flush();
}

fn launch(link: &Link) -> Launch {
    // One pass proves that it was everything, so that a round is short.
    let proof = ["--broker-counters", "false", "--replay-limits", "100000", "--quiet-interval-ms", "300"];
    Launch::to(&link.url()).arguments(&proof)
}

/// What a resource shows of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    is_old: bool,
    is_stale: bool,
}

impl Shown {
    fn of(device: &Value) -> (String, Self) {
        let id = device["id"].as_str().expect("a device has an id").to_owned();
        let is_stale = device["stale"].as_bool().expect("it is stale or not");
        (id, Self { is_old: device["status"] == "connected", is_stale })
    }

    fn is_wrong(self, id: &str) -> bool {
        self.is_old && !self.is_stale && !is_gone(id)
    }
}

type All = BTreeMap<String, Shown>;

fn listed(service: &Service) -> All {
    let (mut all, mut cursor) = (All::new(), String::new());
    loop {
        let page = service.get(&format!("/api/v1/devices?limit=1000{cursor}")).json();
        all.extend(page["devices"].as_array().expect("a list").iter().map(Shown::of));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

fn listed_as_lines(service: &Service) -> All {
    let lines = service.request_with("GET", "/api/v1/devices", &[("Accept", "application/x-ndjson")]);
    let device = |line: &str| Shown::of(&serde_json::from_str(line).expect("a line is JSON"));
    lines.text().lines().map(device).collect()
}

fn streamed(service: &Service) -> All {
    let mut stream = EventStream::open(service.address(), "snapshot=true");
    let mut all = All::new();
    loop {
        let event = stream.next().expect("a stream goes on");
        match event.name.as_str() {
            "device" | "change" => all.extend([Shown::of(&event.data)]),
            _ => return all,
        }
    }
}

/// What the platform's message and its header say, of each tenth device.
fn asked_for_one_by_one(service: &Service) -> All {
    let one = |id: &String| {
        let answer = service.get(&Device::new("pump", id).path());
        let is_old = answer.text() == Device::new("pump", id).connect(1);
        (id.clone(), Shown { is_old, is_stale: answer.header("devstatus-stale") == Some("true") })
    };
    ids().iter().step_by(10).map(one).collect()
}

fn count(all: &All, shown: Shown) -> usize {
    all.values().filter(|one| **one == shown).count()
}

const NEW: Shown = Shown { is_old: false, is_stale: false };
const OLD: Shown = Shown { is_old: true, is_stale: false };
const OLD_AND_STALE: Shown = Shown { is_old: true, is_stale: true };

/// Waits until the link stands still and the service has applied what it carried.
fn wait_until_some_are_read_again(service: &Service) -> All {
    let read = poll(PATIENCE, || {
        let (before, after) = (listed(service), listed(service));
        (before == after && count(&after, NEW) > 0).then_some(after)
    });
    read.unwrap_or_else(|| panic!("no device was read again; log:\n{}", service.log()))
}

/// Whether the whole says so, too.
fn is_called_stale(service: &Service) -> bool {
    let readiness = service.get("/readyz");
    let said = [
        readiness.json()["stale"] == json!(true),
        readiness.status == 503,
        service.get("/api/v1/summary").json()["stale"] == json!(true),
        service.get("/metrics").text().contains("\ndevstatus_stale 1\n"),
        service.get("/api/v1/devices?limit=1").header("devstatus-stale") == Some("true"),
        service.get("/api/v0002/clientconnectionstates").header("devstatus-stale") == Some("true"),
        service.get("/pump/unheard-of").header("devstatus-stale") == Some("true"),
    ];
    assert!(said.iter().all(|one| *one == said[0]), "{said:?}: {}", readiness.text());
    said[0]
}

#[test]
fn after_a_reconnect_only_confirmed_devices_are_current() {
    let mut broker = broker();
    let link = Link::to(broker.port());
    let service = launch(&link).start();
    service.wait_until_ready();
    assert_eq!(count(&listed(&service), OLD), DEVICES);
    assert!(!is_called_stale(&service));
    link.down();
    service.wait_until_not_ready();
    replace(&mut broker);
    assert_eq!(count(&listed(&service), OLD_AND_STALE), DEVICES);
    link.stall_after(SOME_BYTES);
    link.up();

    let all = wait_until_some_are_read_again(&service);
    let (new, old) = (count(&all, NEW), count(&all, OLD_AND_STALE));
    assert!(new > 100 && old > 100 && new + old == DEVICES, "{new} and {old} of {DEVICES}");
    assert_eq!(listed_as_lines(&service), all);
    assert_eq!(streamed(&service), all);
    assert!(asked_for_one_by_one(&service).iter().all(|(id, shown)| all[id] == *shown));
    assert!(is_called_stale(&service));
    let readiness = service.get("/readyz");
    assert_eq!(readiness.json()["broker"], "subscribed");
    assert!(readiness.text().contains("are being read again"), "{}", readiness.text());
    let find = |shown: Shown| all.iter().find(|(_, one)| **one == shown).expect("there is one").0;
    let seconds = |shown| {
        let answer = service.get(&Device::new("pump", find(shown)).path());
        answer.header("devstatus-stale-seconds").map(|seconds| seconds.parse::<u64>().expect("a number"))
    };
    assert!(seconds(NEW).is_none() && seconds(OLD_AND_STALE).is_some());
    let shown = |id: &str| {
        let url = format!("http://{}", service.address());
        let mut client = Command::new(env!("CARGO_BIN_EXE_devstatus"));
        let output = client.args(["get", "pump", id, "--url", &url]).output().expect("the client runs");
        String::from_utf8(output.stdout).expect("it shows text")
    };
    assert!(shown(find(OLD_AND_STALE)).contains("has not been confirmed since"));
    assert!(!shown(find(NEW)).contains("has not been confirmed since"));

    // Lost again: what was heard of over the link before may have changed since.
    link.stall_after(0);
    link.cut();
    service.wait_until("the link is lost again", || service.get("/readyz").json()["broker"] == "lost");
    let all = listed(&service);
    assert!(all.values().all(|shown| shown.is_stale));
    assert_eq!(count(&all, OLD_AND_STALE), old);

    link.resume();
    service.wait_until("the service is ready", || {
        for all in [listed(&service), asked_for_one_by_one(&service)] {
            assert!(!all.iter().any(|(id, shown)| shown.is_wrong(id)), "an old status without a mark");
        }
        service.get("/readyz").status == 200
    });
    let all = listed(&service);
    // Of a device that the broker no longer has, nothing newer is known: it is not stale for ever.
    assert_eq!((count(&all, NEW), count(&all, OLD)), (DEVICES - GONE, GONE));
    assert_eq!((streamed(&service), listed_as_lines(&service)), (all.clone(), all));
    assert!(!is_called_stale(&service));
}

#[test]
fn restored_devices_are_stale_until_the_broker_has_been_read() {
    let mut broker = broker();
    let link = Link::to(broker.port());
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = format!("sqlite:{}", directory.path().join("kept.db").display());
    let launch = || launch(&link).arguments(&["--store", &store]);
    let service = launch().start();
    service.wait_until_ready();
    assert!(service.terminate().status.success());
    replace(&mut broker);
    link.stall_after(SOME_BYTES);
    let service = launch().start();
    let all = wait_until_some_are_read_again(&service);
    assert!(!all.iter().any(|(id, shown)| shown.is_wrong(id)));
    assert_eq!(count(&all, NEW) + count(&all, OLD_AND_STALE), DEVICES);
    let old = all.iter().find(|(_, shown)| **shown == OLD_AND_STALE).expect("there is one").0;
    let answer = service.get(&Device::new("pump", old).path());
    assert_eq!(answer.header("devstatus-stale"), Some("true"));
    assert_eq!(answer.header("devstatus-stale-seconds"), None, "there was no link yet that was lost");
    link.resume();
    service.wait_until_ready();
    let all = listed(&service);
    assert_eq!((count(&all, NEW), count(&all, OLD)), (DEVICES - GONE, GONE));
}

#[test]
fn a_process_that_stood_still_gives_nothing_as_current_before_the_broker_has_answered() {
    let mut broker = broker();
    let link = Link::to(broker.port());
    let service = launch(&link).start();
    service.wait_until_ready();
    service.freeze(true);
    let frozen_at = Instant::now();
    let mut waiting = Connection::open(service.address());
    waiting.send(&http::request("GET", "/pump/0001"));
    replace(&mut broker);
    // Shorter than this it need not be noticed.
    wait_until("the process has stood still for long enough", || {
        frozen_at.elapsed() > Duration::from_secs(6)
    });
    // The way stays open, but nothing comes over it.
    link.stall();
    service.freeze(false);
    let answer = waiting.receive("GET").expect("an answer");
    assert_eq!(answer.text(), Device::new("pump", "0001").connect(1));
    assert_eq!(answer.header("devstatus-stale"), Some("true"));
    let seconds = answer.header("devstatus-stale-seconds").expect("there was a link").parse::<u64>();
    assert!(seconds.expect("a number") >= 5, "counted from the last look at the link");
    assert_eq!(count(&listed(&service), OLD), 0);
    link.resume();
    service.wait_until("the service is ready and right", || {
        let all = listed(&service);
        assert!(!all.iter().any(|(id, shown)| shown.is_wrong(id)), "an old status without a mark");
        count(&all, NEW) == DEVICES - GONE && service.get("/readyz").status == 200
    });
}

#[test]
fn a_link_that_is_dead_without_being_closed_is_doubted_and_trusted_again() {
    let broker = broker();
    let link = Link::to(broker.port());
    let service = launch(&link).arguments(&["--keep-alive", "8"]).start();
    service.wait_until_ready();
    let connections = link.connections();
    link.pause();
    service.wait_until("the answers are stale", || {
        let answer = service.get("/pump/0001");
        answer.header("devstatus-stale") == Some("true")
    });
    let readiness = service.get("/readyz");
    assert_eq!((readiness.status, &readiness.json()["broker"]), (503, &json!("subscribed")));
    let answer = service.get("/pump/0001");
    let seconds = answer.header("devstatus-stale-seconds").expect("there was a link").parse::<u64>();
    assert!(seconds.expect("a number") >= 4, "counted from the last sign of life: {answer:?}");
    link.resume();
    service.wait_until_ready();
    assert_eq!(service.get("/pump/0001").header("devstatus-stale"), None);
    assert_eq!(link.connections(), connections, "no connection was lost, and nothing is read again");
}
