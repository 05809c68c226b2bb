//! A wall clock that is wrong, for a moment or at the start, in the future or in the past: nothing is deleted for it, and what is
//! refused comes back by itself.

use testkit::keys::Keys;
use testkit::mosquitto::Mosquitto;
use testkit::postgres::PostgresServer;
use testkit::redis::{RedisServer, Setup};
use testkit::service::{Launch, Service};
use testkit::status::{Ago, Device};
use testkit::wall_clock::WallClock;

const OFF: Device<'_> = Device { kind: "pump", id: "off" };
const RIGHT: &str = "+0d";

struct Site {
    broker: Mosquitto,
    clock: WallClock,
    store: String,
}

impl Site {
    fn start(&self) -> Service {
        let launch = Launch::to(&self.broker.url()).on_store(&self.store);
        let service = self.clock.of(launch.arguments(&["--forget-after", "60"])).start();
        service.wait_until_ready();
        service
    }

    /// Sets the clock and waits until the service has looked at it, and deleted what it takes for old.
    fn set(&self, service: &Service, off: &str) {
        let jumps = || service.log_lines(&["the clock of this machine has jumped"]).len();
        let before = jumps();
        self.clock.set(off);
        service.wait_until("the jump was noticed", || jumps() > before);
    }
}

fn history_len(service: &Service) -> usize {
    let history = service.get("/api/v1/devices/pump/off/history").json();
    history["events"].as_array().expect("there is a list").len()
}

fn assert_all_there(service: &Service, events: usize) {
    let device = service.get("/api/v1/devices/pump/off").json();
    assert_eq!(device["status"], "disconnected", "{}", service.log());
    assert_eq!(history_len(service), events, "{}", service.log());
}

fn no_wrong_clock_deletes_anything(store: &str) {
    let site = Site { broker: Mosquitto::start(), clock: WallClock::off_by(RIGHT), store: store.to_owned() };
    let ago = Ago { now_ms: system::clock::now_millis() };
    let service = site.start();
    let mut publisher = site.broker.publisher();
    publisher.publish(&OFF.topic(), ago.connect(OFF, 200_000));
    publisher.retain(&OFF.topic(), ago.disconnect(OFF, 200_000, 100_000, 91));
    publisher.flush();
    service.wait_until("both events are kept", || history_len(&service) == 2);
    // With the second change the service has done whatever it did for the first.
    for off in ["+50d", RIGHT] {
        site.set(&service, off);
    }
    assert_all_there(&service, 2);
    assert_eq!(service.terminate().status.code(), Some(0));

    // The retention time of this start comes from the store.
    for (events, wrong) in [(2, "+3650d"), (3, "-20000d")] {
        site.clock.set(wrong);
        let service = site.start();
        assert_all_there(&service, events);
        // It is heard with a wrong clock, and is not too old once that is right.
        publisher.publish(&OFF.topic(), ago.disconnect(OFF, 200_000, 99_999 - events as i64, 91));
        publisher.flush();
        service.wait_until("it is kept", || history_len(&service) == events + 1);
        site.set(&service, RIGHT);
        assert_eq!(service.terminate().status.code(), Some(0));
    }
    // Nothing was only hidden, and nothing was deleted at the end.
    assert_all_there(&site.start(), 4);
}

#[test]
fn no_wrong_clock_deletes_anything_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    no_wrong_clock_deletes_anything(&format!("sqlite:{}/store.db", directory.path().display()));
}

#[test]
fn no_wrong_clock_deletes_anything_from_a_database() {
    let database = PostgresServer::start();
    no_wrong_clock_deletes_anything(&database.url());
}

#[test]
fn no_wrong_clock_deletes_anything_from_a_grid() {
    let redis = RedisServer::start(Setup::default());
    no_wrong_clock_deletes_anything(&format!("valkey://127.0.0.1:{}", redis.port()));
}

#[test]
fn a_clock_that_runs_ahead_refuses_keys_only_while_it_does() {
    let (broker, keys, clock) = (Mosquitto::start(), Keys::new(), WallClock::off_by(RIGHT));
    let key = keys.create_with("read", &["--expires-days", "10"]);
    let service = clock.of(keys.launch(&broker.url())).start();
    let status =
        || service.request_with("GET", "/api/v1/summary", &[("Authorization", &key.bearer())]).status;
    assert_eq!(status(), 200);
    clock.set("+50d");
    service.wait_until("the key is refused", || status() == 401);
    clock.set(RIGHT);
    service.wait_until("the key is taken again", || status() == 200);
    assert!(keys.run(&["list"]).stdout.contains(&key.id), "it is still in its file");
}
