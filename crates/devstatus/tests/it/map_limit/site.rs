//! A broker, an instance that holds all devices and some that hold few, over one store; and devices that come and go.

use std::collections::BTreeMap;

use proptest::test_runner::{RngAlgorithm, TestRng};

use super::answers::{self, Names, Truth, metric};
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::service::{Launch, Service};
use testkit::status::Device;

/// How many devices a limited instance holds.
pub const LIMIT: u64 = 100;

/// A broker, an instance that holds all devices where there can be one, and some that hold few.
pub struct Site {
    pub broker: Mosquitto,
    pub all: Option<Service>,
    pub few: Vec<Service>,
    pub truth: Truth,
    /// Of each device how often its status has changed.
    changes: BTreeMap<Names, u32>,
    rng: TestRng,
}

pub fn launch(broker_url: &str, id: &str, store: &str) -> Launch {
    Launch::as_application(id, broker_url).on_store(store)
}

pub fn limited(broker_url: &str, id: &str, store: &str) -> Launch {
    launch(broker_url, id, store).arguments(&["--map-limit", &LIMIT.to_string()])
}

fn below(rng: &mut TestRng, bound: usize) -> usize {
    use proptest::prelude::Rng;
    (rng.next_u64() % bound as u64) as usize
}

impl Site {
    pub fn start(store: &str, few: usize, all: bool) -> Self {
        let extra = vec!["max_queued_messages 0".to_owned()];
        let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
        let url = broker.url();
        let all = all.then(|| launch(&url, "all", store).start());
        let few: Vec<_> = (0..few).map(|n| limited(&url, &format!("few{n}"), store).start()).collect();
        all.iter().chain(&few).for_each(Service::wait_until_ready);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        Self { broker, all, few, truth: Truth::new(), changes: BTreeMap::new(), rng }
    }

    pub fn services(&self) -> Vec<&Service> {
        self.all.iter().chain(&self.few).collect()
    }

    pub fn add(&mut self, devices: usize) {
        let mut all: Vec<_> =
            (0..devices).map(|n| (format!("type{}", n % 5), format!("device-{n:05}"))).collect();
        // What is published last is the last by name.
        all.sort();
        self.change(&all);
    }

    /// The devices connect, or end the session that they have.
    pub fn change(&mut self, devices: &[Names]) {
        let mut publisher = self.broker.publisher();
        for names in devices {
            let device = Device { kind: &names.0, id: &names.1 };
            let changes = self.changes.entry(names.clone()).or_default();
            *changes += 1;
            let at = *changes * 2;
            let said = if *changes % 2 == 1 { device.connect(at) } else { device.disconnect(at - 2, at) };
            publisher.retain(&device.topic(), &said);
            self.truth.insert(names.clone(), said);
        }
        publisher.flush();
    }

    pub fn some(&mut self, number: usize) -> Vec<Names> {
        let all: Vec<_> = self.truth.keys().cloned().collect();
        (0..number).map(|_| all[below(&mut self.rng, all.len())].clone()).collect()
    }

    pub fn wait_for(&self, service: &Service, devices: &[Names]) {
        answers::wait_until_right(service, devices.iter().map(|names| (names, &self.truth[names])));
    }

    /// Waits until each instance has what was published last, and so all before it.
    pub fn wait_until_all_are_received(&self) {
        let last: Vec<_> = self.truth.keys().next_back().cloned().into_iter().collect();
        self.services().into_iter().for_each(|service| self.wait_for(service, &last));
    }

    /// Waits until each instance gives the one right answer for every device.
    pub fn wait_until_all_know_the_truth(&self) {
        self.services().into_iter().for_each(|service| answers::wait_until_right(service, &self.truth));
    }

    /// Waits until everything that was heard is written.
    pub fn wait_until_stored(&self) {
        for service in self.services() {
            service.wait_until("all is written", || metric(service, "devstatus_store_devices_waiting") == 0);
        }
    }

    pub fn wait_until_few_are_held(&self) {
        self.few.iter().for_each(|few| answers::wait_until_few_are_held(few, LIMIT));
    }

    /// Each device on the seed's route, byte for byte, asked of each limited instance in turn.
    pub fn assert_every_body(&self) {
        answers::assert_every_body(&self.few.iter().collect::<Vec<_>>(), &self.truth);
    }

    /// Each device as `POST /api/v1/devices:lookup` answers it.
    pub fn assert_every_lookup(&self) {
        answers::assert_every_lookup(&self.services(), &self.truth);
    }

    /// Each list page for page, the whole list as text, and the totals.
    pub fn assert_every_list(&self) {
        let all = self.all.as_ref().expect("one holds all");
        answers::assert_every_list(&self.few.iter().collect::<Vec<_>>(), all, LISTS);
        self.few.iter().for_each(|few| answers::wait_until_it_counts_as(few, all));
        let whole = all.request_with("GET", "/api/v1/devices", &[("accept", "application/x-ndjson")]);
        assert_eq!(whole.text().lines().count(), self.truth.len());
    }
}

/// Every filter and every order, over the devices of the site.
const LISTS: &[&str] = &[
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
];
