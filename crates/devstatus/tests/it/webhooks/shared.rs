//! Several instances that share a database: one of them delivers to an endpoint, and another goes on when it dies.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;
use testkit::{PATIENCE, poll};

use super::faults::once;
use super::receiver::{Delivery, Receiver, Reply, verify};
use super::{OTHER_PUMP, PRIVATE, PUMP, VALVE, launch_on, summaries};

pub struct Site {
    pub broker: Mosquitto,
    store: String,
    keys: Keys,
    admin: Key,
    pub receiver: Receiver,
}

impl Site {
    pub fn on(store: String) -> Self {
        let keys = Keys::new();
        let (broker, admin) = (Mosquitto::start(), keys.create("admin"));
        Self { broker, store, keys, admin, receiver: Receiver::start(|_, _| Reply::Status(200)) }
    }

    pub fn launch(&self, application: &str) -> Service {
        self.launch_with(application, PRIVATE)
    }

    /// The same with these lines in the webhook's table.
    pub fn launch_with(&self, application: &str, lines: &str) -> Service {
        self.prepare(application, lines).start_ready()
    }

    pub fn prepare(&self, application: &str, lines: &str) -> Launch {
        let launch = launch_on(&self.store, &self.broker, &self.receiver.url(), lines);
        launch.application(application).arguments(&["--keys-file", text(&self.keys.path())])
    }

    pub fn ask(&self, service: &Service, method: &str, path: &str) -> (u16, Value) {
        let answer = service.request_with(method, path, &[("authorization", &self.admin.bearer())]);
        (answer.status, answer.json())
    }

    pub fn state(&self, service: &Service) -> Value {
        self.ask(service, "GET", "/api/v1/webhooks").1["webhooks"][0]["state"].clone()
    }

    /// Waits until one delivers and the other does not; the first of the two is the one that does.
    pub fn in_order(&self, one: Service, other: Service) -> [Service; 2] {
        let (delivering, elsewhere) = (json!("delivering"), json!("elsewhere"));
        let is_first = poll(PATIENCE, || {
            let states = [self.state(&one), self.state(&other)];
            if states == [delivering.clone(), elsewhere.clone()] {
                Some(true)
            } else {
                (states == [elsewhere.clone(), delivering.clone()]).then_some(false)
            }
        });
        if is_first.expect("one of them delivers") { [one, other] } else { [other, one] }
    }
}

/// A session of each device; what is to be delivered of it is added.
pub fn session(at: u32, expected: &mut BTreeMap<&str, Vec<String>>) -> Vec<(Device<'static>, String)> {
    let mut statuses = Vec::new();
    for device in [PUMP, OTHER_PUMP, VALVE] {
        statuses.extend([(device, device.connect(at)), (device, device.disconnect(at, at + 1))]);
        for (word, second) in [("connected", at), ("disconnected", at + 1)] {
            let summary = format!("device.{word} {} {:02}:{:02}", device.id, second / 60, second % 60);
            expected.entry(device.id).or_default().push(summary);
        }
    }
    statuses
}

/// Everything came in its order, as far as a repetition counts once.
pub fn check(taken: &[Delivery], expected: &BTreeMap<&str, Vec<String>>) {
    for (id, expected) in expected {
        let of_device = once(taken).into_iter().filter(|one| one.json()["data"]["id"] == **id);
        assert_eq!(summaries(&of_device.collect::<Vec<_>>()), *expected);
    }
}

#[test]
fn one_instance_delivers_and_another_goes_on_when_it_is_killed() {
    let database = PostgresServer::start();
    let site = Site::on(database.url());
    let [first, second] = site.in_order(site.launch("one"), site.launch("two"));
    let mut expected = BTreeMap::new();
    site.broker.retain(&session(1, &mut expected));
    let taken = site.receiver.wait_for_taken(6);
    verify(&taken);
    assert_eq!(site.ask(&second, "POST", "/api/v1/webhooks/ops/test").0, 503);
    assert_eq!(site.ask(&first, "POST", "/api/v1/webhooks/ops/test").1["done"], json!(true));
    assert_eq!(site.receiver.wait_for_taken(7).len(), 7, "each came once");

    // It dies while the endpoint has some of it and has not answered.
    let before = site.receiver.deliveries().len();
    site.receiver.set_script(
        move |_, number| {
            if number < before + 2 { Reply::Status(200) } else { Reply::Held }
        },
    );
    site.broker.retain(&session(10, &mut expected));
    site.receiver.wait_for(before + 3);
    first.signal(Signal::KILL);
    site.receiver.set_script(|_, _| Reply::Status(200));
    site.broker.retain(&session(20, &mut expected));
    // The message that tried the endpoint out is no change.
    second.wait_until("all has been delivered", || once(&site.receiver.taken()).len() == 3 * 6 + 1);
    check(&site.receiver.taken(), &expected);
    assert_eq!(site.state(&second), json!("delivering"));

    // One that stops in order gives the lease back, and nothing comes twice.
    let third = site.launch("three");
    second.wait_until("the third is there", || site.state(&third) == json!("elsewhere"));
    let before = site.receiver.deliveries().len();
    second.terminate();
    site.broker.retain(&session(30, &mut expected));
    third.wait_until("all has been delivered", || once(&site.receiver.taken()).len() == 4 * 6 + 1);
    check(&site.receiver.taken(), &expected);
    assert_eq!(site.receiver.deliveries().len(), before + 6);
    site.receiver.release();
}
