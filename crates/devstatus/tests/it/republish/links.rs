//! Other brokers, and links that are lost, slow or dead.

use std::time::Duration;

use serde_json::json;
use testkit::keys::text;
use testkit::link::Link;
use testkit::mosquitto::{Mosquitto, Setup, Transport};
use testkit::private_ca::PrivateCa;
use testkit::service::{Service, Signal, mentions};
use testkit::status::Device;

use super::{PUMP, VALVE, is_online, launch, metric, retained, statuses, text_of, wait_until_online};

/// Devices whose changes are more than a link takes at once.
const MANY: u32 = 3_000;

/// What every stop takes at most.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The state of so many devices at the second `at`; every third is disconnected.
fn fleet(at: u32) -> Vec<(String, bool)> {
    (0..MANY).map(|n| (format!("f-{n}"), !(n + at).is_multiple_of(3))).collect()
}

fn publish(broker: &Mosquitto, at: u32) {
    let fleet = fleet(at);
    let statuses: Vec<_> = fleet
        .iter()
        .map(|(id, is_connected)| {
            let device = Device { kind: "fan", id };
            let status = if *is_connected { device.connect(at) } else { device.disconnect(at - 1, at) };
            (device, status)
        })
        .collect();
    broker.retain(&statuses);
}

/// Waits until what is retained is the state at that second, as far as the fleet is concerned.
fn wait_for_fleet(service: &Service, target: &Mosquitto, at: u32) {
    let word = |is_connected| if is_connected { "connected" } else { "disconnected" };
    let expected =
        || fleet(at).into_iter().map(|(id, on)| (format!("devstatus/fan/{id}"), word(on).to_owned()));
    service.wait_until("all devices are retained as they are", || {
        statuses(target)
            .into_iter()
            .filter(|(topic, _)| topic.contains("/fan/"))
            .eq(expected_sorted(expected()))
    });
}

fn expected_sorted(
    expected: impl Iterator<Item = (String, String)>,
) -> impl Iterator<Item = (String, String)> {
    expected.collect::<std::collections::BTreeMap<_, _>>().into_iter()
}

#[test]
fn another_broker_may_want_a_certificate_or_a_password() {
    let directory = tempfile::tempdir().unwrap();
    let own = PrivateCa::issue_for_client(directory.path());
    let source = Mosquitto::start().retaining([(PUMP, PUMP.connect(1))]);
    let extra = vec![format!("cafile {}", text(&own.ca_file)), "require_certificate true".to_owned()];
    let with_certificate =
        Mosquitto::start_with(Setup { transport: Transport::Tls, extra, ..Setup::default() });
    let tls = format!(
        "ca_file = \"{}\"\ntls_client_cert = \"{}\"\ntls_client_key = \"{}\"\nmqtt_version = \"5\"",
        text(with_certificate.ca_file()),
        text(&own.certificate_file),
        text(&own.key_file)
    );
    let over_websockets = Mosquitto::start_with(Setup { transport: Transport::Ws, ..Setup::default() });
    for (target, lines) in [(&with_certificate, &*tls), (&over_websockets, "mqtt_version = \"3.1.1\"")] {
        let table = format!("broker = \"{}\"\n{lines}", target.url());
        let service = launch(&source, &table).start_ready();
        wait_until_online(&service, target);
        assert_eq!(statuses(target)["devstatus/pump/p-1"], "connected");
        assert!(retained(&source, "devstatus/#").is_empty());
        service.signal(Signal::KILL);
    }
}

#[test]
fn a_wrong_password_is_named_and_changes_nothing_else() {
    let source = Mosquitto::start().retaining([(PUMP, PUMP.connect(1))]);
    let target = Mosquitto::start_with(Setup { login: Some(("user", "sEcReT-right")), ..Setup::default() });
    let table = format!("broker = \"{}\"\nuser = \"user\"\npassword_file = \"password\"", target.url());
    let service = launch(&source, &table).file("password", "sEcReT-wrong\n").start();
    service.wait_until("/readyz names it and is ready", || {
        let ready = service.get("/readyz");
        ready.status == 200
            && mentions(ready.text(), &["not republished", "127.0.0.1", "password_file in [republish]"])
    });
    assert_eq!(metric(&service, "link_up"), 0);
    assert!(!service.log().contains("sEcReT"), "{}", service.log());
    drop(service);
    let service = launch(&source, &table).file("password", "sEcReT-right\n").start_ready();
    service.wait_until("it is connected", || metric(&service, "link_up") == 1);
    assert_eq!(service.get("/readyz").json()["missing"], json!([]));
}

#[test]
fn a_broker_that_has_forgotten_everything_gets_everything_again() {
    let source = Mosquitto::start().retaining([(PUMP, PUMP.connect(1)), (VALVE, VALVE.disconnect(1, 2))]);
    let mut target = Mosquitto::start();
    let service = launch(&source, &format!("broker = \"{}\"", target.url())).start_ready();
    wait_until_online(&service, &target);
    target.kill();
    service.wait_until("/readyz names the broker", || {
        service.get("/readyz").json()["missing"].as_array().is_some_and(|missing| !missing.is_empty())
    });
    assert_eq!(service.get("/readyz").status, 200);
    source.retain(&[(VALVE, VALVE.connect(3))]);
    target.start_again();
    wait_until_online(&service, &target);
    let expected =
        ["devstatus/pump/p-1", "devstatus/valve/v-2"].map(|topic| (topic.to_owned(), "connected".to_owned()));
    service.wait_until("everything is there again", || statuses(&target) == expected.clone().into());
    service.wait_until("the summary, too", || text_of(&target, "devstatus/summary").is_some());
}

#[test]
fn the_broker_says_so_when_the_service_is_killed() {
    let broker = Mosquitto::start().retaining([(PUMP, PUMP.connect(1))]);
    let service = launch(&broker, "").start_ready();
    wait_until_online(&service, &broker);
    service.signal(Signal::KILL);
    let service = testkit::poll(testkit::PATIENCE, || (!is_online(&broker)).then_some(()));
    assert!(service.is_some(), "the will is published");
    assert_eq!(text_of(&broker, "devstatus/service").as_deref(), Some("offline"));
    // What had changed meanwhile is published by the next start, before it says that it is online.
    broker.retain(&[(PUMP, PUMP.disconnect(1, 2))]);
    let service = launch(&broker, "").start();
    service.wait_until("it is read", || service.get("/api/v1/summary").json()["disconnected"] == 1);
    service.wait_until("it is published", || statuses(&broker)["devstatus/pump/p-1"] == "disconnected");
    wait_until_online(&service, &broker);
}

#[test]
fn a_link_that_is_lost_slow_or_dead_costs_no_change_and_nobody_else_anything() {
    let (source, target) = (Mosquitto::start(), Mosquitto::start());
    let link = Link::to(target.port());
    let service = launch(&source, &format!("broker = \"{}\"", link.url())).start_ready();
    wait_until_online(&service, &target);
    // Lost at any place, with much under way: the broker's answers end in the middle.
    for round in 1..=4 {
        link.stall_after(40 * round as usize);
        publish(&source, round);
        service.wait_until("some of it is under way", || metric(&service, "in_flight") > 0);
        let before = link.connections();
        link.cut();
        link.resume();
        service.wait_until("it is connected again", || {
            link.connections() > before && metric(&service, "link_up") == 1
        });
    }
    wait_for_fleet(&service, &target, 4);
    // The broker takes nothing: the service goes on, and holds no message for each change.
    link.pause();
    for at in 5..=16 {
        publish(&source, at);
    }
    service.wait_until("the last change is known", || {
        let shown = service.get("/api/v1/devices/fan/f-0").json();
        shown["since"].as_str().is_some_and(|since| since.contains(":16."))
    });
    assert!(metric(&service, "in_flight") <= 100);
    link.delay(Duration::from_millis(5));
    link.resume();
    wait_for_fleet(&service, &target, 16);
    link.delay(Duration::ZERO);
    assert!(is_online(&target));
    // Nor does a dead link hold up a stop; the broker says what the service cannot.
    link.pause();
    publish(&source, 17);
    service.wait_until("much is under way", || metric(&service, "in_flight") == 100);
    let ended = service.terminate();
    assert!(ended.status.success() && ended.elapsed < STOP_MAX, "{ended:?}");
    link.cut();
    let is_offline = testkit::poll(testkit::PATIENCE, || (!is_online(&target)).then_some(()));
    assert!(is_offline.is_some());
}
