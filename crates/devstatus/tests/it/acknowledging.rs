//! Messages of quality 1 in a session that outlives its connection: acknowledged once they are durable and not before, so
//! that what the service has taken in and not written is sent again to the process that comes after it.

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use testkit::mosquitto::Mosquitto;
use testkit::service::{Launch, Service, Signal};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const FAN: Device<'_> = Device { kind: "fan", id: "2" };

/// Far longer than any test: whatever is written before was written for its acknowledgement.
const NO_INTERVAL: &str = "3600000";

struct File(TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    fn launch(&self, broker: &Mosquitto) -> Launch {
        let store = format!("sqlite:{}", self.0.path().join("store.db").display());
        in_session(broker).arguments(&["--store", &store, "--flush-interval-ms", NO_INTERVAL])
    }

    fn open(&self) -> Connection {
        let connection =
            Connection::open_with_flags(self.0.path().join("store.db"), OpenFlags::SQLITE_OPEN_READ_WRITE);
        connection.expect("the service has made the file")
    }

    fn holds(&self, device: Device<'_>) -> bool {
        let found = self.open().query_row(
            "SELECT count(*) FROM device WHERE type = ?1 AND id = ?2",
            [device.kind, device.id],
            |row| row.get::<_, u32>(0),
        );
        found.expect("the file can be read") == 1
    }
}

/// All with the same client id, so in one session.
fn in_session(broker: &Mosquitto) -> Launch {
    Launch::to(&broker.url()).arguments(&["--clean-session", "false", "--keep-alive", "1"])
}

fn start_and_wait(launch: Launch) -> Service {
    let service = launch.start();
    service.wait_until_ready();
    service
}

#[test]
fn unwritten_messages_are_redelivered_after_a_kill() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let service = start_and_wait(file.launch(&broker));
    // From here on the service can write nothing.
    let lock = file.open();
    lock.execute_batch("BEGIN IMMEDIATE").expect("nothing is being written");
    broker.publisher().deliver(&PUMP.topic(), PUMP.connect(1));
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    service.signal(Signal::KILL);
    lock.execute_batch("ROLLBACK").expect("the lock can be given back");
    assert!(!file.holds(PUMP), "it was not written");

    let again = start_and_wait(file.launch(&broker));
    again.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    again.wait_until("it is written", || file.holds(PUMP));
    // Written and so acknowledged. The acknowledgement has arrived when the broker has sent more than it sends ahead.
    deliver_many(&broker, 50);
    again.wait_until("all have come", || again.get("/api/v1/summary").json()["total"] == 51);
    again.terminate();
    let forgetful = start_and_wait(in_session(&broker));
    assert_eq!(forgetful.get(&PUMP.path()).text(), PUMP.never_connected(), "it is not sent a third time");
}

/// To as many devices, at quality 1.
fn deliver_many(broker: &Mosquitto, devices: u32) {
    let mut publisher = broker.publisher();
    for id in (0..devices).map(|id| id.to_string()) {
        let device = Device { kind: "valve", id: &id };
        publisher.deliver(&device.topic(), device.connect(1));
    }
}

#[test]
fn many_more_messages_than_the_broker_sends_ahead_all_come_though_nothing_else_asks_for_writing() {
    // A stock mosquitto sends 20 ahead.
    let (file, broker) = (File::new(), Mosquitto::start());
    let service = start_and_wait(file.launch(&broker));
    deliver_many(&broker, 300);
    service.wait_until("all have come", || service.get("/api/v1/summary").json()["total"] == 300);
}

#[test]
fn a_store_that_is_away_ends_no_connection_and_keeps_no_other_message_back() {
    let (file, broker) = (File::new(), Mosquitto::start());
    let service = start_and_wait(file.launch(&broker));
    let lock = file.open();
    lock.execute_batch("BEGIN IMMEDIATE").expect("nothing is being written");
    let mut publisher = broker.publisher();
    publisher.deliver(&PUMP.topic(), PUMP.connect(1));
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    // Longer than the broker waits for a client that does not show that it lives.
    service.wait_until("the store is known to fail", || service.get("/readyz").json()["store"] == "failing");
    publisher.publish(&FAN.topic(), FAN.connect(1));
    publisher.flush();
    service.wait_for_answer(&FAN.path(), &FAN.connect(1));
    let metrics = service.get("/metrics");
    assert!(metrics.text().contains("devstatus_broker_connects_total 1\n"), "{}", metrics.text());
    lock.execute_batch("ROLLBACK").expect("the lock can be given back");
    service.wait_until("all is caught up", || file.holds(PUMP) && file.holds(FAN));
    assert_eq!(service.get("/readyz").json()["store"], "good");
}
