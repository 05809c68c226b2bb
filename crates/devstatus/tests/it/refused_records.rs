//! What a store does not keep: one device that it refuses, and databases and servers that are set so that they cannot keep ours.

use rusqlite::Connection;
use tempfile::TempDir;

use testkit::mosquitto::Mosquitto;
use testkit::pgbouncer::PgBouncer;
use testkit::postgres::{PostgresServer, url};
use testkit::redis::{RedisServer, Setup};
use testkit::service::{Launch, Service, mentions};
use testkit::status::Device;

const REFUSED: Device<'_> = Device { kind: "pump", id: "refused" };
const FIRST: Device<'_> = Device { kind: "pump", id: "first" };
const LAST: Device<'_> = Device { kind: "pump", id: "last" };

fn launch(broker: &Mosquitto, store: &str) -> Launch {
    Launch::to(&broker.url()).on_store(store)
}

/// With a store that refuses the device, another one is written, nothing fails, and all are answered, also after a restart.
fn assert_harms_no_other(broker: &Mosquitto, store: &str, refused: Device<'_>, refuse: impl FnOnce()) {
    let service = launch(broker, store).start();
    service.wait_until_ready();
    let mut publisher = broker.publisher();
    publisher.publish(&FIRST.topic(), FIRST.connect(1));
    publisher.flush();
    let written = |service: &Service| service.get("/metrics").text().contains("store_devices_waiting 0\n");
    service.wait_for_answer(&FIRST.path(), &FIRST.connect(1));
    service.wait_until("the first is written", || written(&service));
    refuse();
    for device in [refused, LAST] {
        publisher.publish(&device.topic(), device.connect(2));
    }
    publisher.flush();
    service.wait_until("the device is refused", || {
        service.get("/metrics").text().contains("devstatus_store_devices_refused 1\n")
    });
    service.wait_until("the other is written", || written(&service));
    let readiness = service.get("/readyz");
    assert_eq!((readiness.status, &readiness.json()["store"]), (200, &"good".into()));
    assert!(
        mentions(readiness.text(), &["refuses to keep 1 of the devices", refused.id]),
        "{}",
        readiness.text()
    );
    assert_eq!(service.log_lines(&["the store refuses a device", refused.id]).len(), 1, "{}", service.log());
    for device in [refused, LAST] {
        service.wait_for_answer(&device.path(), &device.connect(2));
    }
    let ended = service.terminate();
    assert!(ended.status.success() && !mentions(&ended.stderr, &["lost"]), "{}", ended.stderr);

    let again = launch(broker, store).start();
    again.wait_until_ready();
    again.wait_for_answer(&LAST.path(), &LAST.connect(2));
    again.wait_for_answer(&FIRST.path(), &FIRST.connect(1));
}

#[test]
fn a_device_that_a_file_refuses_harms_no_other() {
    let (broker, directory) = (Mosquitto::start(), TempDir::new().unwrap());
    let path = directory.path().join("store.db");
    assert_harms_no_other(&broker, &format!("sqlite:{}", path.display()), REFUSED, || {
        let file = Connection::open(&path).unwrap();
        file.busy_timeout(testkit::PATIENCE).unwrap();
        file.execute_batch(
            "CREATE TRIGGER refuse BEFORE INSERT ON device WHEN new.id = 'refused'
             BEGIN SELECT RAISE(ABORT, 'not this one'); END",
        )
        .unwrap();
    });
}

#[test]
fn a_device_that_a_database_refuses_harms_no_other() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    assert_harms_no_other(&broker, &database.url(), REFUSED, || {
        database.psql("ALTER TABLE devstatus_org.device ADD CHECK (id <> 'refused')");
    });
}

#[test]
fn a_device_whose_record_in_the_grid_makes_no_sense_harms_no_other() {
    let (broker, server) = (Mosquitto::start(), RedisServer::start(Setup::default()));
    let store = format!("redis://127.0.0.1:{}", server.port());
    let service = launch(&broker, &store).start();
    let mut publisher = broker.publisher();
    publisher.retain(&FIRST.topic(), FIRST.connect(1));
    publisher.flush();
    service.wait_for_answer(&FIRST.path(), &FIRST.connect(1));
    let keys = || server.ask::<Vec<String>>(&["KEYS", "*:devices"]).unwrap();
    service.wait_until("the first is written", || keys().len() == 1);
    let (key, name) =
        (keys().remove(0), server.ask::<Vec<String>>(&["HKEYS", &keys()[0]]).unwrap().remove(0));
    let _: i64 = server.ask(&["HSET", &key, &name, "x"]).unwrap();
    for device in [FIRST, LAST] {
        publisher.retain(&device.topic(), device.connect(2));
    }
    publisher.flush();
    for gauge in ["devices_refused 1\n", "devices_waiting 0\n"] {
        let gauge = format!("devstatus_store_{gauge}");
        service.wait_until(&gauge, || service.get("/metrics").text().contains(&gauge));
    }
    service.wait_for_answer(&FIRST.path(), &FIRST.connect(2));
    assert_eq!(service.get("/readyz").json()["store"], "good");
    let kept = keys().iter().map(|key| server.ask::<u64>(&["HLEN", key]).unwrap()).sum::<u64>();
    assert_eq!(kept, 2, "the other is written");
}

#[test]
fn a_database_whose_encoding_cannot_hold_every_name_is_refused_at_the_start() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    for (name, encoding, is_fit) in [("latin", "LATIN1", false), ("ascii", "SQL_ASCII", true)] {
        database.psql(&format!(
            "CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
        ));
        let store = database.url().replace("/postgres?", &format!("/{name}?"));
        if !is_fit {
            let ended = launch(&broker, &store).run();
            assert_eq!(ended.status.code(), Some(1));
            assert!(mentions(&ended.stderr, &[encoding, "encoding must be UTF8"]), "{}", ended.stderr);
            continue;
        }
        let service = launch(&broker, &store).start();
        service.wait_until_ready();
        let device = Device { kind: "pump", id: "日本" };
        let mut publisher = broker.publisher();
        publisher.publish(&device.topic(), device.connect(1));
        publisher.flush();
        service.wait_until("it is written", || {
            service.get("/metrics").text().contains("devstatus_store_devices_written_total 1\n")
        });
    }
}

#[test]
fn a_database_that_takes_no_writes_is_refused_at_the_start() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    database.psql("CREATE DATABASE fixed");
    database.psql("ALTER DATABASE fixed SET default_transaction_read_only = on");
    let store = database.url().replace("/postgres?", "/fixed?");
    let ended = launch(&broker, &store).run();
    assert_eq!(ended.status.code(), Some(1));
    assert!(
        mentions(&ended.stderr, &["default_transaction_read_only", "name another database"]),
        "{}",
        ended.stderr
    );
    assert!(!mentions(&ended.stderr, &["trying again"]), "waiting would change nothing: {}", ended.stderr);
}

#[test]
fn a_database_with_another_collation_lists_devices_in_the_same_order() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    database.psql("CREATE DATABASE words ENCODING 'UTF8' TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C'");
    let store = database.url().replace("/postgres?", "/words?");
    // Few are held, so lists come from the database.
    let service = launch(&broker, &store).arguments(&["--map-limit", "1000"]).start();
    service.wait_until_ready();
    let ids = ["B", "Z", "a", "b", "z", "ä"];
    let mut publisher = broker.publisher();
    for id in ["ä", "a", "z", "B", "b", "Z"] {
        let device = Device { kind: "pump", id };
        publisher.publish(&device.topic(), device.connect(1));
    }
    publisher.flush();
    let listed = |query: &str| -> Vec<String> {
        let list = service.get(&format!("/api/v1/devices?sort=id{query}")).json();
        let devices = list["devices"].as_array().cloned().unwrap_or_default();
        devices.iter().filter_map(|device| device["id"].as_str().map(str::to_owned)).collect()
    };
    service.wait_until("all are listed, by their bytes", || listed("") == ids);
}

#[test]
fn a_pooler_that_shares_sessions_is_refused_at_the_start_and_one_that_does_not_is_used() {
    let (broker, database) = (Mosquitto::start(), PostgresServer::start());
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(database.port(), mode);
        let ended = launch(&broker, &url(pooler.port())).run();
        assert_eq!(ended.status.code(), Some(1), "{mode}");
        assert!(mentions(&ended.stderr, &["pool_mode = session"]), "{mode}: {}", ended.stderr);
    }
    let pooler = PgBouncer::start(database.port(), "session");
    let services: Vec<_> = ["one", "two"]
        .map(|id| Launch::as_application(id, &broker.url()).on_store(&url(pooler.port())).start())
        .into();
    let mut publisher = broker.publisher();
    publisher.retain(&FIRST.topic(), FIRST.connect(1));
    publisher.flush();
    for service in &services {
        service.wait_until_ready();
        service.wait_for_answer(&FIRST.path(), &FIRST.connect(1));
    }
    services[0]
        .wait_until("it is written", || database.psql("SELECT count(*) FROM devstatus_org.device") == "1");
}

#[test]
fn a_server_that_would_drop_our_keys_is_refused_at_the_start() {
    let (broker, server) = (Mosquitto::start(), RedisServer::start(Setup::default()));
    let store = format!("redis://127.0.0.1:{}", server.port());
    let set = |name: &str, value: &str| server.ask::<String>(&["CONFIG", "SET", name, value]).unwrap();
    set("maxmemory", "100mb");
    set("maxmemory-policy", "allkeys-lru");
    let ended = launch(&broker, &store).run();
    assert_eq!(ended.status.code(), Some(1));
    assert!(mentions(&ended.stderr, &["allkeys-lru", "set maxmemory-policy noeviction"]), "{}", ended.stderr);
    set("maxmemory-policy", "noeviction");
    launch(&broker, &store).start();
}

#[test]
fn a_server_that_runs_no_scripts_or_lets_nobody_subscribe_says_so() {
    let broker = Mosquitto::start();
    let server = RedisServer::start(Setup {
        user: Some("user limited on nopass ~* &* +@all -@scripting -subscribe"),
        ..Setup::default()
    });
    let store = format!("redis://limited:x@127.0.0.1:{}", server.port());
    let ended = launch(&broker, &store).run();
    assert_eq!(ended.status.code(), Some(1));
    assert!(mentions(&ended.stderr, &["does not run our scripts"]), "{}", ended.stderr);
    let _: String = server.ask(&["ACL", "SETUSER", "limited", "+@scripting"]).unwrap();
    let service = launch(&broker, &store).start();
    service.wait_until("it is told", || !service.log_lines(&["allows no subscription"]).is_empty());
}
