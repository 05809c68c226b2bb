//! How a database is reached: by login, encrypted, and by several addresses of which one takes writes.

use testkit::events::EventStream;
use testkit::mosquitto::Mosquitto;
use testkit::pgbouncer::PgBouncer;
use testkit::postgres::{self, PostgresServer, Setup};
use testkit::private_ca::PrivateCa;
use testkit::service::{Launch, Service, mentions};
use testkit::status::Device;
use testkit::{PATIENCE, poll, wait_until};

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };
const FAN: Device<'_> = Device { kind: "fan", id: "2" };
const PASSWORD: &str = "pAsS-4711-wOrD";

fn launch(broker: &Mosquitto, id: &str, store: &str) -> Launch {
    Launch::as_application(id, &broker.url()).arguments(&["--store", store, "--flush-interval-ms", "20"])
}

fn written(service: &Service) -> bool {
    !service.get("/metrics").text().contains("devstatus_store_devices_written_total 0\n")
}

#[test]
fn a_database_is_reached_by_password_and_encrypted_and_nothing_shows_the_password() {
    let broker = Mosquitto::start();
    let directory = tempfile::tempdir().unwrap();
    let ca = PrivateCa::issue(directory.path(), &["localhost"]);
    let database = PostgresServer::start_with(&Setup { tls: Some(&ca), password: Some(PASSWORD) });
    let url = |password: &str| {
        format!("postgres://devstatus:{password}@localhost:{}/postgres?sslmode=require", database.port())
    };
    let trusted = ["--store-ca-file", ca.ca_file.to_str().unwrap()];
    let service = launch(&broker, "app", &url(PASSWORD)).arguments(&trusted).start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    service.wait_until("it is written", || written(&service));
    assert!(!service.command_line().contains(PASSWORD), "{}", service.command_line());
    let ended = service.terminate();
    assert!(!mentions(&ended.stderr, &[PASSWORD]), "{}", ended.stderr);

    let wrong = launch(&broker, "app", &url("wrong-pAsS")).arguments(&trusted).run();
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(mentions(&wrong.stderr, &["password authentication failed", "localhost"]), "{}", wrong.stderr);
    assert!(!mentions(&wrong.stderr, &["wrong-pAsS"]), "{}", wrong.stderr);
    // By an authority that the system does not know.
    let stranger = launch(&broker, "app", &url(PASSWORD)).run();
    assert_eq!(stranger.status.code(), Some(1), "{stranger:?}");
    assert!(mentions(&stranger.stderr, &["certificate"]), "{}", stranger.stderr);
    // Without encryption the server lets nobody in, and neither does a pooler.
    let pooler = PgBouncer::start_encrypted(database.port(), &ca);
    let plain = url(PASSWORD).replace("sslmode=require", "sslmode=disable");
    let to_pooler = plain.replace(&database.port().to_string(), &pooler.port().to_string());
    for ended in
        [&stranger].into_iter().chain(&[plain, to_pooler].map(|url| launch(&broker, "app", &url).run()))
    {
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(!mentions(&ended.stderr, &["trying again"]), "waiting changes nothing: {}", ended.stderr);
        if !mentions(&ended.stderr, &["certificate"]) {
            assert!(mentions(&ended.stderr, &["without TLS", "?sslmode=require"]), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_promoted_standby_is_found_and_gets_the_writes_that_it_missed() {
    let broker = Mosquitto::start();
    let mut primary = PostgresServer::start();
    let store = |standby: &PostgresServer, primary: &PostgresServer| {
        postgres::url_of(&[primary.port(), standby.port()])
    };
    let standby = PostgresServer::standby_of(&primary);
    let store = store(&standby, &primary);
    let services: Vec<_> = ["one", "two"].map(|id| launch(&broker, id, &store).start()).into();
    services.iter().for_each(Service::wait_until_ready);
    let mut publisher = broker.publisher();
    publisher.retain(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    let count = "SELECT count(*) FROM devstatus_org.device WHERE connected";
    services[0].wait_until("the primary has it", || primary.psql(count) == "1");
    let replayed = "SELECT pg_last_wal_replay_lsn() >= '0/1'::pg_lsn AND to_regclass('devstatus_org.device') IS NOT NULL";
    services[0].wait_until("the standby has the schema", || standby.psql(replayed) == "t");
    // From here on the standby receives nothing: what is written now is lost with the primary.
    standby.psql("ALTER SYSTEM SET primary_conninfo = ''");
    standby.psql("SELECT pg_reload_conf()");
    services[0].wait_until("the standby is on its own", || {
        standby.psql("SELECT count(*) FROM pg_stat_wal_receiver") == "0"
    });
    let mut stream = EventStream::open(services[0].address(), "type=fan");
    let mut at = 0;
    let id = poll(PATIENCE, || {
        at += 1;
        publisher.retain(&FAN.topic(), FAN.connect(at));
        publisher.flush();
        // With a position in the history.
        stream.expect("change").id.filter(|id| id.split('-').count() == 4)
    });
    let id = id.expect("the history follows");
    services[0].wait_until("the primary has both", || primary.psql(count) == "2");
    primary.kill();
    standby.psql("SELECT pg_promote()");
    services[0].wait_until("the new primary has both", || standby.psql(count) == "2");
    publisher.retain(&PUMP.topic(), PUMP.disconnect(1, 2));
    publisher.flush();
    for service in &services {
        service.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
        service.wait_for_answer(&FAN.path(), &FAN.connect(at));
        service.wait_until("the store is good again", || service.get("/readyz").json()["store"] == "good");
    }
    services[0].wait_until("the new primary has the change", || standby.psql(count) == "1");
    // What the new primary has of what was seen is not known, so no stream goes on from there as if nothing was missing.
    EventStream::resume(services[1].address(), "", Some(&id)).expect("gap");
}

#[test]
fn a_proxy_that_ends_idle_connections_loses_no_change() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    let way = testkit::haproxy::Haproxy::start(database.port(), "2s");
    let direct = launch(&broker, "direct", &database.url()).start();
    let behind = launch(&broker, "behind", &testkit::postgres::url(way.port())).start();
    for service in [&direct, &behind] {
        service.wait_until_ready();
    }
    behind.wait_until("the connection for notifications has been ended", || {
        !behind.log_lines(&["WARN", "ended soon"]).is_empty()
    });
    let mut publisher = broker.publisher();
    publisher.publish(&PUMP.topic(), PUMP.connect(1));
    publisher.flush();
    for service in [&direct, &behind] {
        service.wait_for_answer(&PUMP.path(), &PUMP.connect(1));
    }
    behind.wait_until("it is written", || database.psql("SELECT count(*) FROM devstatus_org.device") == "1");
    for service in [&direct, &behind] {
        assert_eq!(service.get("/readyz").json()["store"], "good");
    }
}

/// How many sessions of the service are in such a state.
fn sessions(database: &PostgresServer, state: &str) -> u32 {
    let sql =
        format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'devstatus' AND {state}");
    database.psql(&sql).parse().expect("a count")
}

#[test]
fn an_instance_that_says_nothing_in_the_midst_of_a_batch_does_not_hold_up_the_others() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    let device = Device::new("pump", "1");
    let mut publisher = broker.publisher();
    let mut tell = |message: String| {
        publisher.retain(&device.topic(), message);
        publisher.flush();
    };
    let silent = launch(&broker, "one", &database.url()).start();
    tell(device.connect(1));
    let kept = || {
        database
            .psql("SELECT status || to_char(since AT TIME ZONE 'UTC', ' MI:SS') FROM devstatus_org.devices")
    };
    silent.wait_until("it is written", || kept() == "connected 00:01");
    // Its batch waits for somebody who holds the device; when it is done, the process stands still.
    let mut somebody = database.session();
    somebody.say("BEGIN");
    somebody.say("SELECT FROM devstatus_org.device FOR UPDATE");
    silent.wait_until("it is held", || {
        database.psql("SELECT count(*) FROM pg_locks WHERE mode = 'RowShareLock' AND relation = 'devstatus_org.device'::regclass") == "1"
    });
    tell(device.disconnect(1, 2));
    silent.wait_until("the batch waits", || sessions(&database, "wait_event_type = 'Lock'") == 1);
    silent.freeze(true);
    somebody.say("COMMIT");
    wait_until("nothing follows", || sessions(&database, "state = 'idle in transaction'") == 1);
    assert_eq!(kept(), "connected 00:01");
    let other = launch(&broker, "two", &database.url()).start();
    tell(device.connect(3));
    other.wait_until("the other has written", || kept() == "connected 00:03");
    silent.freeze(false);
    silent.wait_until("it writes again", || silent.get("/readyz").json()["store"] == "good");
    tell(device.disconnect(3, 4));
    other.wait_until("all goes on", || kept() == "disconnected 00:04");
}
