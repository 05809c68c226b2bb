//! Several instances over one grid: any of them answers for any device, whatever dies meanwhile.

use std::time::Duration;

use testkit::closing_broker::ClosingBroker;
use testkit::link::Link;
use testkit::mosquitto::Mosquitto;
use testkit::poll;
use testkit::redis::{RedisCluster, RedisServer, Setup};
use testkit::service::{Launch, Service, Signal, mentions};
use testkit::status::Device;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// A failover takes a while, and this machine may be busy with other tests.
const FAILOVER: Duration = Duration::from_secs(60);

/// An instance of its own name.
fn instance(name: &str, broker_url: &str, store: &str) -> Launch {
    let flags = ["--store", store, "--flush-interval-ms", "50", "--quiet-interval-ms", "100"];
    Launch::to(broker_url).application(name).arguments(&flags)
}

/// Many devices, so that each part of the grid has some.
fn ids() -> Vec<String> {
    (0..200).map(|id| id.to_string()).collect()
}

fn publish(broker: &Mosquitto, ids: &[String], message: impl Fn(Device<'_>) -> String) {
    let mut publisher = broker.publisher();
    for id in ids {
        let device = Device::new("fan", id);
        publisher.retain(&device.topic(), message(device));
    }
    publisher.flush();
}

/// Waits until the service answers so for each of the devices.
fn wait_for_all(service: &Service, ids: &[String], message: impl Fn(Device<'_>) -> String) {
    let mut left: Vec<&String> = ids.iter().collect();
    let done = poll(FAILOVER, || {
        left.retain(|id| {
            let device = Device::new("fan", id);
            let answer = service.get(&device.path());
            answer.status != 200 || answer.text() != message(device)
        });
        left.is_empty().then_some(())
    });
    assert!(done.is_some(), "devices {left:?} are not answered as they should be; log:\n{}", service.log());
}

fn wait_until_stored(service: &Service) {
    service.wait_until("everything is written", || {
        let metrics = service.get("/metrics");
        metrics.text().contains("devstatus_store_devices_waiting 0")
            && service.get("/readyz").json()["store"] == "good"
    });
}

#[test]
fn any_instance_answers_for_any_device_whichever_instance_or_master_dies() {
    let (mut cluster, broker, nobody) = (RedisCluster::start(), Mosquitto::start(), ClosingBroker::silent());
    let store = format!("valkey://{}", cluster.hosts());
    let ids = ids();
    let one = instance("one", &broker.url(), &store).start();
    let two = instance("two", &broker.url(), &store).start();
    // Hears nothing itself, so what it knows it has from the others.
    let three = instance("three", &nobody.url(), &store).start();
    one.wait_until_ready();
    two.wait_until_ready();
    publish(&broker, &ids, |device| device.connect(1));
    for service in [&one, &two, &three] {
        wait_for_all(service, &ids, |device| device.connect(1));
    }

    one.signal(Signal::KILL);
    publish(&broker, &ids, |device| device.disconnect(1, 2));
    for service in [&two, &three] {
        wait_for_all(service, &ids, |device| device.disconnect(1, 2));
    }

    publish(&broker, &ids, |device| device.connect(3));
    cluster.kill_master(1);
    publish(&broker, &ids, |device| device.disconnect(3, 4));
    wait_for_all(&two, &ids, |device| device.disconnect(3, 4));
    for service in [&two, &three] {
        wait_for_all(service, &ids, |device| device.disconnect(3, 4));
    }
    // The one that was killed comes back as a replica, and so does the instance, with what happened meanwhile.
    cluster.nodes[1].start_again();
    cluster.wait_until_whole();
    wait_until_stored(&two);
    let one = instance("one", &nobody.url(), &store).start();
    wait_for_all(&one, &ids, |device| device.disconnect(3, 4));
    let summary = one.get("/api/v1/summary").json();
    assert_eq!((&summary["disconnected"], &summary["total"]), (&200.into(), &200.into()), "{summary}");
}

#[test]
fn changes_lost_with_a_master_are_written_again() {
    let (mut cluster, broker, nobody) = (RedisCluster::start(), Mosquitto::start(), ClosingBroker::silent());
    let store = format!("redis://{}", cluster.hosts());
    let ids = ids();
    let one = instance("one", &broker.url(), &store).start();
    one.wait_until_ready();
    publish(&broker, &ids, |device| device.connect(1));
    wait_for_all(&one, &ids, |device| device.connect(1));
    wait_until_stored(&one);
    cluster.wait_until_whole();

    cluster.cut_replica(2);
    publish(&broker, &ids, |device| device.disconnect(1, 2));
    wait_for_all(&one, &ids, |device| device.disconnect(1, 2));
    wait_until_stored(&one);
    cluster.kill_master(2);

    // An instance that received nothing of it learns from the grid what was lost to it.
    let gap = poll(FAILOVER, || (!one.log_lines(&["read again"]).is_empty()).then_some(()));
    assert!(gap.is_some(), "the loss is noticed; log:\n{}", one.log());
    let two = instance("two", &nobody.url(), &store).start();
    wait_for_all(&two, &ids, |device| device.disconnect(1, 2));
}

#[test]
fn an_instance_that_is_cut_off_answers_on_says_so_and_catches_up() {
    let server = RedisServer::start(Setup { persistence: true, ..Setup::default() });
    let (broker, nobody, link) = (Mosquitto::start(), ClosingBroker::silent(), Link::to(server.port()));
    let direct = format!("valkey://127.0.0.1:{}", server.port());
    let one = instance("one", &broker.url(), &direct).start();
    let far = instance("far", &nobody.url(), &format!("valkey://127.0.0.1:{}", link.port())).start();
    one.wait_until_ready();
    let publish = |message: &str| {
        let mut publisher = broker.publisher();
        publisher.retain(&PUMP.topic(), message);
        publisher.flush();
    };
    publish(&PUMP.connect(1));
    far.wait_for_answer(&PUMP.path(), &PUMP.connect(1));

    link.pause();
    publish(&PUMP.disconnect(1, 2));
    one.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
    far.wait_until("it says that it is cut off", || {
        !far.log_lines(&["other instances cannot be followed"]).is_empty()
    });
    assert_eq!(far.get(&PUMP.path()).text(), PUMP.connect(1), "what was known is answered");
    link.resume();
    far.wait_for_answer(&PUMP.path(), &PUMP.disconnect(1, 2));
}

#[test]
fn a_restarted_server_has_its_data_and_accepts_more() {
    let mut server = RedisServer::start(Setup { persistence: true, ..Setup::default() });
    let (broker, nobody) = (Mosquitto::start(), ClosingBroker::silent());
    let store = format!("valkey://127.0.0.1:{}", server.port());
    let ids = ids();
    let one = instance("one", &broker.url(), &store).start();
    one.wait_until_ready();
    publish(&broker, &ids, |device| device.connect(1));
    wait_for_all(&one, &ids, |device| device.connect(1));
    wait_until_stored(&one);
    server.kill();
    publish(&broker, &ids[..100], |device| device.disconnect(1, 2));
    wait_for_all(&one, &ids[..100], |device| device.disconnect(1, 2));
    one.wait_until("it says that the store is away", || one.get("/readyz").json()["store"] != "good");
    server.start_again();
    wait_until_stored(&one);
    let two = instance("two", &nobody.url(), &store).start();
    wait_for_all(&two, &ids[..100], |device| device.disconnect(1, 2));
    wait_for_all(&two, &ids[100..], |device| device.connect(1));
}

#[test]
fn a_cluster_is_reached_over_tls_and_with_a_password() {
    let setup = Setup { tls: true, password: Some("pass"), ..Setup::default() };
    let (cluster, broker, nobody) =
        (RedisCluster::start_with(&setup), Mosquitto::start(), ClosingBroker::silent());
    let store = format!("valkeys://:pass@{}", cluster.hosts());
    let ca_file = cluster.nodes[0].ca_file().to_string_lossy().into_owned();
    let ids = ids();
    let start = |name, broker_url: &str| {
        instance(name, broker_url, &store).arguments(&["--store-ca-file", &ca_file]).start()
    };
    let (one, two) = (start("one", &broker.url()), start("two", &nobody.url()));
    one.wait_until_ready();
    publish(&broker, &ids, |device| device.connect(1));
    wait_for_all(&two, &ids, |device| device.connect(1));
}

#[test]
fn passwords_users_with_few_rights_and_tls_are_taken() {
    const USER: &str = "user status on >s3cret ~devstatus_org:* &devstatus_org:* -@all +@connection +@read +@write \
                        +@scripting +@pubsub +info +time";
    let broker = ClosingBroker::silent();
    let plain = RedisServer::start(Setup { password: Some("pass"), user: Some(USER), ..Setup::default() });
    let secure = RedisServer::start(Setup { tls: true, ..Setup::default() });
    let ca_file = secure.ca_file().to_string_lossy().into_owned();
    let (port, tls_port) = (plain.port(), secure.port());
    for (url, trusted) in [
        (format!("valkey://:pass@127.0.0.1:{port}"), None),
        (format!("redis://status:s3cret@127.0.0.1:{port}"), None),
        (format!("valkeys://localhost:{tls_port}"), Some(&ca_file)),
        (format!("rediss://127.0.0.1:{tls_port}"), Some(&ca_file)),
    ] {
        let mut launch = instance("one", &broker.url(), &url);
        if let Some(ca_file) = trusted {
            launch = launch.arguments(&["--store-ca-file", ca_file]);
        }
        let service = launch.start();
        service.wait_until("the store is good", || service.get("/readyz").json()["store"] == "good");
        assert!(!service.log().contains("s3cret") && !service.command_line().contains("s3cret"));
    }
    for (url, words) in [
        (format!("valkey://:wrong@127.0.0.1:{port}"), &["127.0.0.1", "WRONGPASS"][..]),
        (format!("valkey://127.0.0.1:{port}"), &["NOAUTH"][..]),
        (format!("valkeys://localhost:{tls_port}"), &["certificate"][..]),
        ("valkey://127.0.0.1:1".to_owned(), &["127.0.0.1:1", "refused"][..]),
    ] {
        let ended = instance("one", &broker.url(), &url).run();
        assert_eq!(ended.status.code(), Some(1), "{url}: {ended:?}");
        assert!(mentions(&ended.stderr, words), "{words:?} in {}", ended.stderr);
        assert!(!ended.stderr.contains("wrong@"), "{}", ended.stderr);
    }
}
