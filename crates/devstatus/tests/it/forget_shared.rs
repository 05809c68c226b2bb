//! One of several instances forgets a device: so do the others, whatever they hold of it, and what the device says afterwards
//! counts at all of them.

use serde_json::{Value, json};

use testkit::closing_broker::ClosingBroker;
use testkit::events::EventStream;
use testkit::http::Response;
use testkit::keys::{Key, Keys, text};
use testkit::mosquitto::Mosquitto;
use testkit::redis::{RedisServer, Setup};
use testkit::service::Service;
use testkit::status::Device;

use crate::instances::site::{INSTANCES, Site};

const PUMP: Device<'_> = Device { kind: "pump", id: "p-1" };
const OTHER: Device<'_> = Device { kind: "pump", id: "p-2" };

/// Three instances on one database, and a key for all that these tests do.
struct Fleet {
    site: Site,
    _keys: Keys,
    key: Key,
}

impl Fleet {
    fn start() -> Self {
        let keys = Keys::new();
        let key = keys.create("admin,read,events");
        let flags = ["--keys-file".to_owned(), text(&keys.path()).to_owned()];
        let mut site = Site::start(|_| flags.to_vec());
        site.launch_all();
        Self { site, _keys: keys, key }
    }

    fn get(&self, service: &Service, path: &str) -> Response {
        service.request_with("GET", path, &[("authorization", &self.key.bearer())])
    }

    fn status(&self, service: &Service, device: Device<'_>) -> Value {
        self.get(service, &view(device)).json()["status"].clone()
    }

    fn wait_until_all_say(&self, device: Device<'_>, status: &str) {
        for service in self.site.running() {
            service.wait_until(status, || self.status(service, device) == status);
        }
    }

    fn forget(&self, number: usize, device: Device<'_>) {
        let forgotten = self.key.ask(self.site.service(number), &["forget", device.kind, device.id]);
        assert!(forgotten.status.success(), "{forgotten:?}");
    }

    /// Changes that an instance has read from the store, its own among them, once it has nothing to write.
    fn changes_read(&self, service: &Service) -> u64 {
        let metrics = self.get(service, "/metrics").text().to_owned();
        let value = |name: &str| -> u64 {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.expect("the metric is there").parse().expect("a number")
        };
        if value("devstatus_store_devices_waiting") > 0 {
            return 0;
        }
        value("devstatus_store_peer_updates_total") + value("devstatus_store_peer_updates_known_total")
    }

    fn stored(&self, device: Device<'_>) -> String {
        let id = device.id;
        self.site.database.psql(&format!("SELECT status FROM devstatus_org.devices WHERE id = '{id}'"))
    }
}

/// What a device says whose clock is far ahead. It is not retained, so no instance reads it again.
fn ahead(device: Device<'_>, second: u32) -> String {
    device.connect(second).replace("2026-", "2099-")
}

fn view(device: Device<'_>) -> String {
    format!("/api/v1/devices/{}/{}", device.kind, device.id)
}

#[test]
fn a_device_that_one_instance_forgets_is_forgotten_by_all() {
    let mut fleet = Fleet::start();
    fleet.site.broker.publish(&[(PUMP, ahead(PUMP, 1)), (OTHER, OTHER.connect(1))]);
    fleet.wait_until_all_say(PUMP, "connected");
    fleet.wait_until_all_say(OTHER, "connected");
    let address = fleet.site.service(1).address();
    let mut stream =
        EventStream::ask_with(address, "", &[("authorization", &fleet.key.bearer())]).expect("a stream");
    fleet.forget(0, PUMP);
    let event = stream.expect("forgotten");
    assert_eq!(event.data, json!({"type": "pump", "id": "p-1", "previous_status": "connected"}));
    fleet.wait_until_all_say(PUMP, "never_connected");
    fleet.wait_until_all_say(OTHER, "connected");
    assert_eq!((fleet.stored(PUMP), fleet.stored(OTHER)), (String::new(), "connected".to_owned()));
    // What it says from now on counts, as for a new device, and after a restart, too.
    fleet.site.broker.publish(&[(PUMP, PUMP.disconnect(5, 6))]);
    fleet.wait_until_all_say(PUMP, "disconnected");
    fleet.site.service(2).wait_until("it is stored", || fleet.stored(PUMP) == "disconnected");
    fleet.site.kill(1);
    fleet.site.launch(1);
    fleet.site.service(1).wait_until_ready();
    fleet.wait_until_all_say(PUMP, "disconnected");
}

#[test]
fn an_instance_that_was_cut_off_from_the_store_brings_no_forgotten_device_back() {
    let fleet = Fleet::start();
    fleet.site.broker.publish(&[(PUMP, ahead(PUMP, 1)), (OTHER, ahead(OTHER, 1))]);
    fleet.wait_until_all_say(PUMP, "connected");
    fleet.wait_until_all_say(OTHER, "connected");
    fleet.site.service(0).wait_until("both are stored", || {
        (fleet.stored(PUMP), fleet.stored(OTHER)) == ("connected".to_owned(), "connected".to_owned())
    });
    // An instance has a change of the device that it cannot write.
    fleet.site.stores[1].down();
    fleet.site.broker.publish(&[(PUMP, ahead(PUMP, 2))]);
    fleet
        .site
        .service(1)
        .wait_until("the change waits", || fleet.site.service(1).get("/readyz").json()["store"] == "failing");
    fleet.forget(0, PUMP);
    fleet.forget(0, OTHER);
    // Only that instance receives what one of the devices says afterwards, and its earlier session hides it there.
    fleet.site.brokers[0].down();
    fleet.site.brokers[2].down();
    for number in [0, 2] {
        fleet.site.service(number).wait_until_not_ready();
    }
    fleet.site.broker.publish(&[(OTHER, OTHER.disconnect(5, 6))]);
    fleet.site.service(1).wait_until("the message has arrived", || {
        fleet.get(fleet.site.service(1), "/metrics").text().contains("devstatus_messages_received_total 4\n")
    });
    assert_eq!(fleet.status(fleet.site.service(1), OTHER), "connected", "of 2099");
    fleet.site.stores[1].up();
    fleet.wait_until_all_say(PUMP, "never_connected");
    fleet.wait_until_all_say(OTHER, "disconnected");
    assert_eq!(fleet.site.running().count(), INSTANCES);
    assert_eq!((fleet.stored(PUMP), fleet.stored(OTHER)), (String::new(), "disconnected".to_owned()));
}

#[test]
fn an_instance_that_missed_changes_drops_what_was_forgotten_meanwhile() {
    let fleet = Fleet::start();
    fleet.site.broker.publish(&[(PUMP, ahead(PUMP, 1)), (OTHER, OTHER.connect(1))]);
    fleet.wait_until_all_say(PUMP, "connected");
    fleet.wait_until_all_say(OTHER, "connected");
    fleet.site.service(0).wait_until("both are stored", || {
        (fleet.stored(PUMP), fleet.stored(OTHER)) == ("connected".to_owned(), "connected".to_owned())
    });
    let away = fleet.site.service(1);
    // Only one that has read a change can know that the database is behind it.
    away.wait_until("it has read both changes", || fleet.changes_read(away) >= 2);
    fleet.site.stores[1].down();
    fleet.forget(0, PUMP);
    // As in a database that was restored: no change since can be told.
    fleet.site.database.psql("UPDATE devstatus_org.counter SET changed = 0");
    fleet.site.stores[1].up();
    away.wait_until("it has missed changes", || !away.log_lines(&["missed", "read again"]).is_empty());
    fleet.wait_until_all_say(PUMP, "never_connected");
    fleet.wait_until_all_say(OTHER, "connected");
    assert_eq!(fleet.stored(PUMP), "");
}

#[test]
fn a_device_that_one_of_two_instances_on_redis_forgets_is_forgotten_by_both() {
    let (broker, server, keys) = (Mosquitto::start(), RedisServer::start(Setup::default()), Keys::new());
    let key = keys.create("admin,read,events");
    let store = format!("redis://127.0.0.1:{}", server.port());
    let launch = |name: &str| keys.launch(&broker.url()).application(name).on_store(&store);
    let services = [launch("one").start(), launch("two").start()];
    let authorization = key.bearer();
    let headers = [("authorization", authorization.as_str())];
    let wait_until_both_say = |services: &[Service], device: Device<'_>, status: &str| {
        for service in services {
            service.wait_until(status, || {
                service.request_with("GET", &view(device), &headers).json()["status"] == status
            });
        }
    };
    let publish = |device: Device<'_>, payload: String| {
        let mut publisher = broker.publisher();
        publisher.publish(&device.topic(), payload);
        publisher.flush();
    };
    services.iter().for_each(Service::wait_until_ready);
    publish(PUMP, ahead(PUMP, 1));
    publish(OTHER, OTHER.connect(1));
    wait_until_both_say(&services, PUMP, "connected");
    wait_until_both_say(&services, OTHER, "connected");
    let mut stream = EventStream::ask_with(services[1].address(), "", &headers).expect("a stream");
    let forgotten = key.ask(&services[0], &["forget", PUMP.kind, PUMP.id]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    assert_eq!(stream.expect("forgotten").data["id"], "p-1");
    wait_until_both_say(&services, PUMP, "never_connected");
    wait_until_both_say(&services, OTHER, "connected");

    publish(PUMP, PUMP.disconnect(5, 6));
    wait_until_both_say(&services, PUMP, "disconnected");
    services[0].wait_until("it is stored", || {
        services[0]
            .request_with("GET", "/metrics", &headers)
            .text()
            .contains("devstatus_store_devices_waiting 0\n")
    });
    let nobody = ClosingBroker::silent();
    let third = keys.launch(&nobody.url()).application("three").on_store(&store).start();
    wait_until_both_say(&[third], PUMP, "disconnected");
}
