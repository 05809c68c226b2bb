//! Every retained status is read from brokers that drop, close and overflow, and what is not proven is not called so.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use testkit::http::{self, Connection};
use testkit::link::Link;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::platform_broker::{Limits, Pause, PlatformBroker};
use testkit::service::{Launch, Service};
use testkit::status::Device;
use testkit::subscriber::Subscriber;

/// Messages that the stand-in keeps for one subscription.
const BUFFER: usize = 100;

const PUMP: Device<'_> = Device { kind: "pump", id: "1" };

/// Types and how many devices each has.
type Fleet<'a> = &'a [(&'a str, usize)];

const FITTING: Fleet<'_> = &[("boiler", 99), ("meter", 80), ("pump", 60), ("valve", 99)];
const ONE_TOO_LARGE: Fleet<'_> = &[("boiler", 99), ("meter", 80), ("pump", 250)];

fn limits() -> Limits {
    Limits { buffer_messages: BUFFER, ..Limits::default() }
}

/// A broker that drops the same again and again.
fn stubborn() -> Limits {
    Limits { second_subscribe_brings_all: false, ..limits() }
}

fn filled(limits: Limits, fleet: Fleet<'_>) -> PlatformBroker {
    let broker = PlatformBroker::start(limits);
    for (device, second) in devices(fleet) {
        let device = Device::new(&device.0, &device.1);
        broker.publish(&device.topic(), device.connect(second), true);
    }
    broker
}

/// Type and id of each device, and the second at which it connects.
fn devices(fleet: Fleet<'_>) -> impl Iterator<Item = ((String, String), u32)> {
    let names = fleet
        .iter()
        .flat_map(|(kind, count)| (0..*count).map(|number| ((*kind).to_owned(), format!("{number:04}"))));
    names.zip((0..3_000).cycle())
}

/// A service that takes silence for the end early, with the stand-in's limit.
fn launch(broker: &PlatformBroker, more: &[&str]) -> Launch {
    let flags = ["--quiet-interval-ms", "300", "--replay-limits", "100,5000", "--broker-counters", "false"];
    Launch::to(&broker.url()).arguments(&flags).arguments(more)
}

fn population(service: &Service) -> Value {
    service.get("/api/v1/population").json()
}

fn wait_for_state(service: &Service, state: &str) {
    service.wait_until(&format!("the population is {state}"), || population(service)["state"] == state);
}

/// Every device is answered with exactly what was published about it.
fn assert_all_right(service: &Service, fleet: Fleet<'_>) {
    let mut connection = Connection::open(service.address());
    for ((kind, id), second) in devices(fleet) {
        let device = Device::new(&kind, &id);
        connection.send(&http::request("GET", &device.path()));
        let answer = connection.receive("GET").expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, device.connect(second).as_str()), "{kind}/{id}");
    }
}

fn evidence_of(service: &Service, kind: &str) -> Value {
    let types = population(service)["types"].as_array().expect("a list").clone();
    let found = types.into_iter().find(|entry| entry["type"] == kind).expect("the type is listed");
    found["evidence"].clone()
}

#[test]
fn types_that_fit_the_buffer_are_proven_once_the_same_subscribe_again_has_shown_them() {
    let broker = filled(limits(), FITTING);
    let service = launch(&broker, &["--ready-on", "complete"]).start();
    service.wait_until_ready();
    assert_all_right(&service, FITTING);
    let population = population(&service);
    assert_eq!(population["state"], "complete");
    assert_eq!(population["evidence"], "below_limits");
    assert!(population["types"].as_array().expect("a list").iter().all(|entry| entry["proven"] == true));
    assert!(broker.dropped() > 0, "one subscription did not bring everything");
}

#[test]
fn a_broker_that_pauses_in_its_replays_is_read_to_their_ends() {
    // Twice as long as the shortest silence that ends a reading early, after more messages than the lowest limit.
    let pause = Some(Pause { after_messages: 150, lasts: Duration::from_millis(500) });
    let broker = filled(Limits { buffer_messages: 5_000, pause, ..limits() }, FITTING);
    // An instance gets nothing retained: the passes alone read all of it.
    for more in [&[][..], &["--scalable", "one"]] {
        let flags =
            ["--quiet-interval-ms", "1000", "--replay-limits", "100,5000", "--broker-counters", "false"];
        let launch = Launch::to(&broker.url()).arguments(&flags).arguments(&["--ready-on", "complete"]);
        let service = launch.arguments(more).start();
        service.wait_until_ready();
        assert_all_right(&service, FITTING);
        let brought = &population(&service)["progress"]["replayed"];
        assert_eq!(brought, &Value::from(devices(FITTING).count()));
        assert!(service.terminate().status.success());
    }
}

#[test]
fn named_types_are_read_from_a_broker_that_always_drops_the_same() {
    let broker = filled(stubborn(), FITTING);
    let flags = ["--ready-on", "complete", "--types", "boiler,meter,pump,valve"];
    let service = launch(&broker, &flags).start();
    service.wait_until_ready();
    assert_all_right(&service, FITTING);
}

#[test]
fn a_population_with_hidden_statuses_is_never_called_complete() {
    let broker = filled(stubborn(), FITTING);
    let service = launch(&broker, &["--ready-on", "complete", "--reconcile-interval", "1"]).start();
    service.wait_until("three rounds have been gone through", || {
        let text = service.get("/metrics").text().to_owned();
        metric(&text, r#"devstatus_population_rounds_total{outcome="unproven"}"#) >= 3.0
    });
    let ready = service.get("/readyz");
    assert_eq!((ready.status, &ready.json()["population"]), (503, &Value::from("unproven")));
    assert_eq!(service.get("/valve/0001").status, 503, "a device that was never seen may well exist");
    assert!(!service.get("/metrics").text().contains(r#"outcome="complete""#));
}

#[test]
fn a_type_above_the_buffer_is_complete_by_the_operators_list() {
    let listed: String = (0..250).map(|number| format!("pump/{number:04}\n")).collect();
    let broker = filled(stubborn(), ONE_TOO_LARGE);
    let flags = ["--ready-on", "complete", "--types", "boiler,meter,pump", "--devices-file", "devices"];
    let service = launch(&broker, &flags).file("devices", &listed).start();
    service.wait_until_ready();
    assert_all_right(&service, ONE_TOO_LARGE);
    assert_eq!(evidence_of(&service, "pump"), "listed_devices");
}

#[test]
fn a_list_that_a_device_is_missing_from_proves_nothing() {
    let listed: String = (1..250).map(|number| format!("pump,{number:04}\n")).collect();
    let broker = filled(stubborn(), ONE_TOO_LARGE);
    let flags = ["--types", "boiler,meter,pump", "--devices-file", "devices"];
    let service = launch(&broker, &flags).file("devices", &listed).start();
    service.wait_until_ready();
    assert_all_right(&service, ONE_TOO_LARGE);
    assert_eq!(population(&service)["state"], "unproven");
}

#[test]
fn a_type_above_the_buffer_is_asked_for_by_the_names_in_the_store() {
    let directory = TempDir::new().expect("a directory can be made");
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let listed: String = (0..250).map(|number| format!("pump/{number:04}\n")).collect();
    let broker = filled(stubborn(), ONE_TOO_LARGE);
    let types = ["--types", "boiler,meter,pump", "--store", store.as_str()];
    let first = launch(&broker, &types).arguments(&["--devices-file", "devices"]).file("devices", &listed);
    let first = first.start();
    wait_for_state(&first, "complete");
    assert!(first.terminate().status.success());

    // Everything has changed since, also what no subscription brings any more.
    for (device, _) in devices(ONE_TOO_LARGE) {
        let device = Device::new(&device.0, &device.1);
        broker.publish(&device.topic(), device.connect(3_500), true);
    }
    let second = launch(&broker, &types).start();
    second.wait_until_ready();
    let mut connection = Connection::open(second.address());
    for ((kind, id), _) in devices(ONE_TOO_LARGE) {
        let device = Device::new(&kind, &id);
        connection.send(&http::request("GET", &device.path()));
        assert_eq!(connection.receive("GET").expect("an answer").text(), device.connect(3_500));
    }
    // A device that connected for the first time meanwhile could be in no store.
    assert_eq!(population(&second)["state"], "unproven");
    assert_eq!(evidence_of(&second, "pump"), "known_devices");
}

#[test]
fn more_types_than_are_read_one_by_one_leave_the_population_unproven() {
    let kinds: Vec<String> = (0..1_001).map(|number| format!("type-{number:04}")).collect();
    let fleet: Vec<(&str, usize)> = kinds.iter().map(|kind| (kind.as_str(), 1)).collect();
    // The broker keeps all of them for one subscription, and the service cannot know that.
    let broker = filled(Limits { buffer_messages: 5_000, ..Limits::default() }, &fleet);
    let service = launch(&broker, &["--ready-on", "complete"]).start();
    wait_for_state(&service, "unproven");
    let ready = service.get("/readyz");
    assert_eq!(ready.status, 503);
    let why = "More than 1000 types are known, so they are not read one by one.";
    assert!(ready.text().contains(why), "{}", ready.text());
    let population = population(&service);
    let replayed = &population["progress"]["replayed"];
    assert_eq!((&population["types_total"], replayed), (&1_001.into(), &1_001.into()));
    assert_all_right(&service, &fleet);
}

#[test]
fn where_every_device_at_once_is_refused_the_types_are_read_and_followed() {
    let broker = filled(limits(), FITTING);
    broker.refuse_above(BUFFER);
    let flags = ["--ready-on", "complete", "--types", "boiler,meter,pump,valve"];
    let service = launch(&broker, &flags).start();
    service.wait_until_ready();
    assert_all_right(&service, FITTING);
    let device = Device::new("pump", "new");
    broker.publish(&device.topic(), device.connect(1), true);
    service.wait_for_answer(&device.path(), &device.connect(1));
}

#[test]
fn a_type_that_is_refused_is_read_by_name() {
    let broker = filled(limits(), ONE_TOO_LARGE);
    let service = launch(&broker, &["--reconcile-interval", "1"]).start();
    service.wait_until_ready();
    broker.refuse_above(BUFFER);
    // Nobody hears of it, and neither every device nor every pump can be asked for any more.
    for (device, _) in devices(ONE_TOO_LARGE) {
        let device = Device::new(&device.0, &device.1);
        broker.publish_unforwarded(&device.topic(), device.connect(3_500));
    }
    for (device, _) in devices(ONE_TOO_LARGE) {
        let device = Device::new(&device.0, &device.1);
        service.wait_for_answer(&device.path(), &device.connect(3_500));
    }
    service
        .wait_until("the type is known by its devices", || evidence_of(&service, "pump") == "known_devices");
}

#[test]
fn a_status_that_the_backlog_cannot_take_makes_the_population_incomplete() {
    let broker = filled(limits(), FITTING);
    let large = PUMP.connect(1).replace("Reason\":\"", &format!("Reason\":\"{}", "x".repeat(900_000)));
    broker.publish(&PUMP.topic(), &large, true);
    let service = launch(&broker, &["--backlog-max-bytes", "800000"]).start();
    wait_for_state(&service, "incomplete");
    assert_eq!(service.get("/readyz").status, 503);
    assert_eq!(service.get(&PUMP.path()).status, 503, "it may well be the one that was lost");
    let text = service.get("/metrics").text().to_owned();
    assert!(metric(&text, "devstatus_backlog_dropped_bytes_total") >= 900_000.0, "{text}");
    // It is read again, until it can be taken.
    broker.publish(&PUMP.topic(), PUMP.connect(2), true);
    service.wait_until_ready();
    assert_eq!(service.get(&PUMP.path()).text(), PUMP.connect(2));
}

#[test]
fn a_change_that_the_backlog_cannot_take_makes_it_incomplete_until_it_is_read_again() {
    let broker = filled(limits(), FITTING);
    let service = launch(&broker, &["--backlog-max-bytes", "800000", "--ready-on", "complete"]).start();
    service.wait_until_ready();
    let large = PUMP.connect(1).replace("Reason\":\"", &format!("Reason\":\"{}", "x".repeat(900_000)));
    broker.publish(&PUMP.topic(), &large, true);
    wait_for_state(&service, "incomplete");
    assert_eq!(service.get("/readyz").status, 503);
    broker.publish_unforwarded(&PUMP.topic(), PUMP.connect(2));
    service.wait_for_answer(&PUMP.path(), &PUMP.connect(2));
    service.wait_until_ready();
}

#[test]
fn undelivered_statuses_are_corrected_in_the_background() {
    let broker = filled(limits(), FITTING);
    let service = launch(&broker, &["--reconcile-interval", "1"]).start();
    service.wait_until_ready();
    let new = Device::new("valve", "new");
    let changed = Device::new("pump", "0000");
    broker.publish_unforwarded(&new.topic(), new.connect(5));
    broker.publish_unforwarded(&changed.topic(), changed.disconnect(258, 3_000));
    service.wait_for_answer(&new.path(), &new.connect(5));
    service.wait_for_answer(&changed.path(), &changed.disconnect(258, 3_000));
    assert_eq!(connects(&service), 1.0, "the live subscription was never lost");
}

#[test]
fn a_scalable_session_is_filled_over_standalone_connections() {
    let broker = filled(limits(), FITTING);
    let service = launch(&broker, &["--scalable", "one", "--ready-on", "complete"]).start();
    service.wait_until_ready();
    assert_all_right(&service, FITTING);
    let changed = Device::new("pump", "0000");
    broker.publish(&changed.topic(), changed.disconnect(258, 3_000), true);
    service.wait_for_answer(&changed.path(), &changed.disconnect(258, 3_000));
}

#[test]
fn a_scalable_session_proves_nothing_by_having_been_given_nothing() {
    let broker = filled(stubborn(), ONE_TOO_LARGE);
    let service = launch(&broker, &["--scalable", "", "--ready-on", "complete"]).start();
    service.wait_until("a round has been gone through", || {
        service.get("/metrics").text().contains("devstatus_population_rounds_total{")
    });
    // The replay of the live subscription is over long before that, and was empty.
    assert_eq!(population(&service)["state"], "unproven");
}

#[test]
fn two_readings_that_agree_are_shown_before_the_broker_counts_again() {
    // It counts when it starts, and the next time long after this test.
    let extra = vec!["sys_interval 3600".to_owned()];
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let mut counters = Subscriber::connect(broker.port(), "counters");
    counters.subscribe("$SYS/broker/publish/messages/dropped", 0);
    counters.messages(1);
    let fleet: Fleet<'_> = &[("pump", 250)];
    let mut publisher = broker.publisher();
    for ((kind, id), second) in devices(fleet) {
        let device = Device::new(&kind, &id);
        publisher.retain(&device.topic(), device.connect(second));
    }
    publisher.flush();
    let service = Launch::to(&broker.url()).arguments(&["--replay-limits", "100"]).start();
    service.wait_until_ready();
    let population = population(&service);
    assert_eq!((&population["state"], &population["evidence"]), (&"unproven".into(), &"repeated".into()));
    assert_all_right(&service, fleet);
    let text = service.get("/metrics").text().to_owned();
    assert!(!text.contains("devstatus_population_rounds_total{"), "the round goes on: {text}");
}

#[test]
fn a_durable_session_that_lost_the_newest_reads_every_status_again() {
    let extra = ["max_queued_messages 10", "queue_qos0_messages true"].map(str::to_owned).to_vec();
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let fleet: Fleet<'_> = &[("pump", 60)];
    let mut publisher = broker.publisher();
    for ((kind, id), second) in devices(fleet) {
        let device = Device::new(&kind, &id);
        publisher.retain(&device.topic(), device.connect(second));
    }
    publisher.flush();
    let link = Link::to(broker.port());
    let service = Launch::to(&link.url()).arguments(&["--clean-session", "false"]).start();
    service.wait_until_ready();
    link.down();
    service.wait_until_not_ready();
    for ((kind, id), second) in devices(fleet) {
        let device = Device::new(&kind, &id);
        publisher.retain(&device.topic(), device.disconnect(second, second + 60));
    }
    publisher.flush();
    link.up();
    for ((kind, id), second) in devices(fleet) {
        let device = Device::new(&kind, &id);
        service.wait_for_answer(&device.path(), &device.disconnect(second, second + 60));
    }
    service.wait_until_ready();
}

#[test]
fn a_replay_that_takes_many_keep_alives_does_not_end_the_session() {
    let extra = vec!["max_queued_messages 100000".to_owned()];
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let mut publisher = broker.publisher();
    let fleet: Fleet<'_> = &[("pump", 4_000)];
    for ((kind, id), second) in devices(fleet) {
        let device = Device::new(&kind, &id);
        publisher.retain(&device.topic(), device.connect(second));
    }
    publisher.flush();
    let link = Link::to(broker.port());
    // The replay is some 80 chunks of the link's: many times the second and a half after which a client counts as dead.
    link.delay(Duration::from_millis(100));
    let service = Launch::to(&link.url()).arguments(&["--keep-alive", "1"]).start();
    service.wait_until("every device is there", || service.get("/api/v1/summary").json()["total"] == 4_000);
    assert_eq!(connects(&service), 1.0);
    assert!(service.log_lines(&["silent"]).is_empty(), "{}", service.log());
}

/// How often the live subscription has connected.
fn connects(service: &Service) -> f64 {
    metric(service.get("/metrics").text(), "devstatus_broker_connects_total")
}

fn metric(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0.0)
}
