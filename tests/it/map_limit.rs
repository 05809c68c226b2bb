//! Instances that hold only some of the devices (`--map-limit`) beside one that holds all: the same answers for every device,
//! whatever is asked for, changes, is let go and comes back meanwhile, and while the store is away.

use std::collections::BTreeMap;

use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};

use crate::rig::http::{self, Connection};
use crate::rig::mosquitto::{Mosquitto, Setup};
use crate::rig::postgres::PostgresServer;
use crate::rig::redis::{self, RedisServer};
use crate::rig::service::{Launch, Service};
use crate::rig::status::Device;

const LIMIT: u64 = 100;
/// Devices of one lookup.
const AT_ONCE: usize = 500;

/// A broker, an instance that holds all devices where there can be one, and some that hold few.
struct Site {
    broker: Mosquitto,
    all: Option<Service>,
    few: Vec<Service>,
    /// Of each device how often its status has changed, and what it said last.
    truth: BTreeMap<(String, String), (u32, String)>,
    rng: TestRng,
}

fn launch(broker: &Mosquitto, id: &str, store: &str) -> Launch {
    let flags = ["--store", store, "--flush-interval-ms", "50", "--quiet-interval-ms", "300"];
    Launch::as_application(id, &broker.url()).arguments(&flags)
}

fn limited(broker: &Mosquitto, id: &str, store: &str) -> Launch {
    launch(broker, id, store).arguments(&["--map-limit", &LIMIT.to_string()])
}

fn below(rng: &mut TestRng, bound: usize) -> usize {
    use proptest::prelude::Rng;
    (rng.next_u64() % bound as u64) as usize
}

impl Site {
    fn start(store: &str, few: usize, all: bool) -> Self {
        let extra = vec!["max_queued_messages 0".to_owned()];
        let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
        let all = all.then(|| launch(&broker, "all", store).start());
        let few: Vec<_> = (0..few).map(|n| limited(&broker, &format!("few{n}"), store).start()).collect();
        all.iter().chain(&few).for_each(Service::wait_until_ready);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        Self { broker, all, few, truth: BTreeMap::new(), rng }
    }

    fn add(&mut self, devices: usize) {
        for n in 0..devices {
            let names = (format!("type{}", n % 5), format!("device-{n:05}"));
            self.truth.insert(names, (0, String::new()));
        }
        let all: Vec<_> = self.truth.keys().cloned().collect();
        self.change(&all);
    }

    /// The devices connect, or end the session that they have.
    fn change(&mut self, devices: &[(String, String)]) {
        let mut publisher = self.broker.publisher();
        for names in devices {
            let device = Device { kind: &names.0, id: &names.1 };
            let (changes, said) = self.truth.get_mut(names).expect("a device of the test");
            *changes += 1;
            let at = *changes * 2;
            *said = if *changes % 2 == 1 { device.connect(at) } else { device.disconnect(at - 2, at) };
            publisher.retain(&device.topic(), &*said);
        }
        publisher.flush();
    }

    fn some(&mut self, number: usize) -> Vec<(String, String)> {
        let all: Vec<_> = self.truth.keys().cloned().collect();
        (0..number).map(|_| all[below(&mut self.rng, all.len())].clone()).collect()
    }

    fn wait_for(&self, service: &Service, devices: &[(String, String)]) {
        for names in devices {
            let device = Device { kind: &names.0, id: &names.1 };
            service.wait_for_answer(&device.path(), &self.truth[names].1);
        }
    }

    /// Waits until each instance has what was published last, and so all before it.
    fn wait_until_all_are_heard(&self) {
        let last: Vec<_> = self.truth.keys().next_back().cloned().into_iter().collect();
        self.all.iter().chain(&self.few).for_each(|service| self.wait_for(service, &last));
    }

    /// Waits until everything that was heard is written.
    fn wait_until_kept(&self) {
        for service in self.all.iter().chain(&self.few) {
            service.wait_until("all is written", || metric(service, "devstatus_store_devices_waiting") == 0);
        }
    }

    fn wait_until_few_are_held(&self) {
        for service in &self.few {
            service.wait_until("few are held", || metric(service, "devstatus_map_devices_held") <= LIMIT);
        }
    }

    /// Each device on the seed's route, byte for byte, asked of each limited instance in turn over one connection.
    fn assert_every_body(&self) {
        let mut connections: Vec<_> = self.few.iter().map(|few| Connection::open(few.address())).collect();
        let number = connections.len();
        for (n, ((kind, id), (_, said))) in self.truth.iter().enumerate() {
            let connection = &mut connections[n % number];
            connection.send(&http::request("GET", &Device { kind, id }.path()));
            let answer = connection.receive("GET").expect("it answers");
            assert_eq!(
                (answer.status, answer.text()),
                (200, said.as_str()),
                "{}",
                self.few[n % number].log()
            );
        }
    }

    /// Each device as `POST /api/v1/devices:lookup` answers it.
    fn assert_every_lookup(&self) {
        let names: Vec<_> = self.truth.keys().collect();
        let reads = |few| metric(few, "devstatus_store_reads_total");
        let read_before: Vec<_> = self.few.iter().map(reads).collect();
        for names in names.chunks(AT_ONCE) {
            let asked: Vec<_> = names.iter().map(|(kind, id)| json!({"type": kind, "id": id})).collect();
            let asked = json!({"devices": asked}).to_string();
            let answers: Vec<_> =
                self.all.iter().chain(&self.few).map(|service| lookup(service, &asked)).collect();
            for ((kind, id), device) in names.iter().zip(answers[0]["devices"].as_array().expect("a list")) {
                let said: Value =
                    serde_json::from_str(&self.truth[&(kind.clone(), id.clone())].1).expect("JSON");
                let status = if said["Action"] == "Connect" { "connected" } else { "disconnected" };
                assert_eq!((&device["id"], &device["status"]), (&json!(id), &json!(status)));
            }
            answers.iter().for_each(|answer| assert_eq!(answer, &answers[0]));
        }
        // However many are asked for at once, the store is asked once.
        for (few, before) in self.few.iter().zip(read_before) {
            let readings = reads(few) - before;
            assert!(readings as usize <= names.len().div_ceil(AT_ONCE), "{readings} readings");
        }
    }

    /// Each list page for page, the whole list as text, and the totals.
    fn assert_every_list(&self) {
        let all = self.all.as_ref().expect("one holds all");
        for path in [
            "/api/v1/devices?limit=300",
            "/api/v1/devices?limit=150&status=disconnected",
            "/api/v1/devices?limit=70&type=type3&type=type1&status=connected",
            "/api/v1/devices?limit=7&id_prefix=device-001&close_code=91",
            "/api/v1/devices?limit=100&address=198.51.100.0/28&since=2026-11-23T17:00:03Z",
            "/api/v1/devices?limit=100&type=absent",
            "/api/v1/devices?limit=300&sort=-id&type=type4&type=type0",
            "/api/v1/devices?limit=400&sort=-since",
            "/api/v1/devices?limit=170&sort=since&type=type1&status=connected",
            "/api/v1/devices?limit=170&sort=since&type=type1&type=type2&until=2026-11-23T17:00:06Z",
            "/api/v0002/clientconnectionstates?_limit=100&_sort=-lastActivityTime&deviceType=type3",
            "/api/v0002/clientconnectionstates?_limit=90&deviceType=type2",
            "/api/v0002/clientconnectionstates?_limit=100&connectedAfter=2026-11-23T17:00:04Z",
        ] {
            let expected = pages(all, path);
            self.few.iter().for_each(|few| assert_eq!(pages(few, path), expected, "{path}"));
        }
        let ids = |service: &Service| -> Vec<Value> {
            let lines = service.request_with(
                "GET",
                "/api/v1/devices?sort=-since",
                &[("accept", "application/x-ndjson")],
            );
            let device = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
            lines.text().lines().map(device).map(|device| json!([device["id"], device["since"]])).collect()
        };
        self.few.iter().for_each(|few| assert_eq!(ids(few), ids(all)));
        assert_eq!(ids(all).len(), self.truth.len());
        let totals = |service: &Service| {
            let summary = service.get("/api/v1/summary").json();
            let of = ["total", "connected", "disconnected", "top_close_codes", "types_total", "types"];
            (of.map(|name| summary[name].clone()), service.get("/api/v1/types").json())
        };
        for few in &self.few {
            few.wait_until("it counts as the one that holds all", || totals(few) == totals(all));
        }
    }
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

/// Devices, but for what depends on where an instance knows them from.
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

fn comparable(mut answer: Value) -> Value {
    for device in answer["devices"].as_array_mut().into_iter().flatten() {
        let device = device.as_object_mut().expect("a device");
        assert!(device.remove("evidence").is_some() && device.remove("confirmed_at").is_some());
    }
    answer
}

fn metric(service: &Service, name: &str) -> u64 {
    let text = service.get("/metrics").text().to_owned();
    let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    sample.unwrap_or_else(|| panic!("{name} is in {text}")).parse().expect("a whole number")
}

#[test]
fn instances_that_hold_few_devices_answer_as_one_that_holds_all_of_a_database() {
    let mut database = PostgresServer::start();
    let mut site = Site::start(&database.url(), 3, true);
    site.add(2_000);
    site.wait_until_all_are_heard();
    site.wait_until_kept();
    site.wait_until_few_are_held();
    site.assert_every_body();
    site.assert_every_lookup();
    let refused = site.few[0].get("/api/v1/events");
    assert_eq!((refused.status, &refused.json()["status"]), (501, &json!(501)));
    site.assert_every_list();
    let stranger = Device { kind: "type0", id: "nobody" };
    let never = stranger.never_connected();
    site.few.iter().for_each(|few| assert_eq!(few.get(&stranger.path()).text(), never));

    for _ in 0..5 {
        let (changed, asked) = (site.some(100), site.some(100));
        site.change(&changed);
        site.few
            .iter()
            .for_each(|few| asked.iter().for_each(|(kind, id)| drop(few.get(&Device { kind, id }.path()))));
        site.few.iter().for_each(|few| site.wait_for(few, &changed));
    }
    site.wait_until_kept();
    site.assert_every_lookup();
    site.assert_every_list();
    site.wait_until_few_are_held();

    database.stop();
    let changed = site.some(50);
    site.change(&changed);
    for few in &site.few {
        // What changes is answered; what only the store knows is not, and that is said.
        changed.iter().for_each(|names| {
            few.wait_until("the change is heard", || metric(few, "devstatus_store_devices_waiting") > 0);
            let answer = few.get(&Device { kind: &names.0, id: &names.1 }.path());
            assert!(answer.status == 503 || answer.text() == site.truth[names].1, "{}", answer.text());
        });
        let answers: Vec<_> =
            site.truth.keys().take(150).map(|(kind, id)| few.get(&Device { kind, id }.path())).collect();
        let refused =
            answers.iter().find(|answer| answer.status == 503).expect("more are asked for than are held");
        assert_eq!(refused.json()["type"], "urn:devstatus:problem:store-unavailable");
        assert!(refused.header("retry-after").is_some());
        let list = few.get("/api/v1/devices");
        assert_eq!((list.status, &list.json()["type"]), (503, &refused.json()["type"]));
    }
    database.start_again();
    site.few.iter().for_each(|few| site.wait_for(few, &changed));
    site.wait_until_kept();
    site.assert_every_body();
    site.assert_every_lookup();
}

#[test]
fn instances_that_hold_few_devices_of_a_grid_answer_as_one_that_holds_all() {
    let server = RedisServer::start(redis::Setup::default());
    let mut site = Site::start(&format!("valkey://127.0.0.1:{}", server.port()), 2, true);
    site.add(1_000);
    site.wait_until_all_are_heard();
    for _ in 0..2 {
        let changed = site.some(100);
        site.change(&changed);
        site.few.iter().for_each(|few| site.wait_for(few, &changed));
        site.wait_until_kept();
        site.assert_every_lookup();
    }
    site.assert_every_body();
    site.assert_every_list();
    site.wait_until_few_are_held();
}

#[test]
fn an_instance_that_holds_few_devices_of_a_file_answers_for_all_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let mut site = Site::start(&store, 1, false);
    site.add(1_000);
    for _ in 0..2 {
        let changed = site.some(100);
        site.change(&changed);
        site.wait_for(&site.few[0], &changed);
        site.wait_until_kept();
        site.assert_every_lookup();
    }
    site.wait_until_few_are_held();
    drop(site.few.pop().map(Service::terminate));
    // Whatever has come from the broker by then: the store has it all.
    site.few.push(limited(&site.broker, "few0", &store).start());
    site.assert_every_body();
    site.few[0].wait_until_ready();
    site.wait_until_kept();
    site.assert_every_body();
    site.wait_until_few_are_held();
}
