//! Brokers that drop: what an instance that holds few is not given at once, it reads until it has it, and what it cannot prove
//! it does not call complete.

use super::answers::{self, Truth};
use super::site::{LIMIT, launch, limited};
use testkit::link::Link;
use testkit::mosquitto::{Mosquitto, Setup};
use testkit::platform_broker::{Limits, PlatformBroker};
use testkit::service::{Launch, Service};
use testkit::status::Device;

const LISTS: &[&str] =
    &["/api/v1/devices?limit=1000", "/api/v1/devices?limit=1000&sort=-since&status=connected&type=pump"];

/// What devices say that connect in that second; or, in the next one, end their sessions.
fn fleet(types: &[(&str, usize)], at: u32, connected: bool) -> Truth {
    let ids = types.iter().flat_map(|(kind, count)| (0..*count).map(move |n| (*kind, format!("{n:05}"))));
    ids.map(|(kind, id)| {
        let device = Device::new(kind, &id);
        let said = if connected { device.connect(at) } else { device.disconnect(at, at + 1) };
        ((kind.to_owned(), id), said)
    })
    .collect()
}

fn topic((kind, id): &answers::Names) -> String {
    Device::new(kind, id).topic()
}

fn file(directory: &tempfile::TempDir) -> String {
    format!("sqlite:{}", directory.path().join("store.db").display())
}

fn assert_all_say_the_same(few: &Service, all: &Service, truth: &Truth) {
    few.wait_until("all is written", || answers::metric(few, "devstatus_store_devices_waiting") == 0);
    answers::wait_until_few_are_held(few, LIMIT);
    answers::assert_every_lookup(&[all, few], truth);
    answers::assert_every_list(&[few], all, LISTS);
    answers::wait_until_it_counts_as(few, all);
}

fn is_state(service: &Service, state: &str) -> bool {
    service.get("/api/v1/population").json()["state"] == state
}

#[test]
fn a_durable_session_that_lost_messages_converges_with_one_that_lost_none() {
    let extra = ["max_queued_messages 10", "queue_qos0_messages true"].map(str::to_owned).to_vec();
    let broker = Mosquitto::start_with(Setup { extra, ..Setup::default() });
    let directory = tempfile::tempdir().expect("a directory can be made");
    let types = [("pump", 200), ("valve", 200)];
    let mut publisher = broker.publisher();
    let mut retain = |truth: &Truth| {
        truth.iter().for_each(|(names, said)| publisher.retain(&topic(names), said));
        publisher.flush();
    };
    let truth = fleet(&types, 1, true);
    retain(&truth);
    let link = Link::to(broker.port());
    let few = limited(&link.url(), "few", &file(&directory)).arguments(&["--clean-session", "false"]).start();
    let all = launch(&broker.url(), "all", "memory:").start();
    few.wait_until_ready();
    all.wait_until_ready();
    answers::wait_until_right(&few, &truth);
    assert_all_say_the_same(&few, &all, &truth);
    link.down();
    few.wait_until_not_ready();
    let truth = fleet(&types, 1, false);
    retain(&truth);
    link.up();
    answers::wait_until_right(&few, &truth);
    answers::wait_until_right(&all, &truth);
    few.wait_until_ready();
    assert_all_say_the_same(&few, &all, &truth);
}

#[test]
fn types_below_the_platforms_limit_are_read_and_undelivered_statuses_are_found() {
    // Both together are more than the 5,000 that it keeps for a subscription, whichever way that is repeated.
    let types = [("pump", 2_600), ("valve", 2_500)];
    let broker = PlatformBroker::start(Limits { second_subscribe_brings_all: false, ..Limits::default() });
    let directory = tempfile::tempdir().expect("a directory can be made");
    let truth = fleet(&types, 1, true);
    truth.iter().for_each(|(names, said)| broker.publish(&topic(names), said, true));
    let flags = [
        "--types",
        "pump,valve",
        "--ready-on",
        "complete",
        "--replay-limits",
        "5000",
        "--broker-counters",
        "false",
        "--reconcile-interval",
        "1",
    ];
    let few = limited(&broker.url(), "few", &file(&directory)).arguments(&flags).start();
    let all = launch(&broker.url(), "all", "memory:").arguments(&flags).start();
    few.wait_until_ready();
    all.wait_until_ready();
    assert!(broker.dropped() > 0, "one subscription did not bring everything");
    answers::assert_every_lookup(&[&all, &few], &truth);
    // Retained, and brought to nobody: the next round finds it.
    let mut truth = truth;
    let changed: Truth = fleet(&types, 1, false).into_iter().step_by(50).collect();
    for (names, said) in &changed {
        broker.publish_unforwarded(&topic(names), said);
        truth.insert(names.clone(), said.clone());
    }
    for service in [&few, &all] {
        answers::wait_until_right(service, &changed);
    }
    assert_all_say_the_same(&few, &all, &truth);
}

#[test]
fn a_type_above_the_limit_is_read_by_the_operators_list_and_not_called_complete() {
    const BUFFER: usize = 300;
    let limits = Limits { second_subscribe_brings_all: false, buffer_messages: BUFFER, ..Limits::default() };
    let broker = PlatformBroker::start(limits);
    let directory = tempfile::tempdir().expect("a directory can be made");
    let truth = fleet(&[("pump", 700), ("valve", 200)], 1, true);
    truth.iter().for_each(|(names, said)| broker.publish(&topic(names), said, true));
    let listed: String = truth.keys().map(|(kind, id)| format!("{kind}/{id}\n")).collect();
    let start = |launch: Launch| {
        let flags = ["--types", "pump,valve", "--devices-file", "devices", "--replay-limits", "300"];
        launch.arguments(&flags).arguments(&["--broker-counters", "false"]).file("devices", &listed).start()
    };
    let few = start(limited(&broker.url(), "few", &file(&directory)));
    let all = start(launch(&broker.url(), "all", "memory:"));
    all.wait_until("every listed device is there", || is_state(&all, "complete"));
    few.wait_until("the round is over", || is_state(&few, "unproven"));
    assert_all_say_the_same(&few, &all, &truth);
    assert!(!few.get("/metrics").text().contains(r#"outcome="complete""#));
}

#[test]
fn a_type_above_the_limit_is_asked_for_by_the_names_in_the_store() {
    const BUFFER: usize = 100;
    let limits = Limits { second_subscribe_brings_all: false, buffer_messages: BUFFER, ..Limits::default() };
    let broker = PlatformBroker::start(limits);
    let directory = tempfile::tempdir().expect("a directory can be made");
    // Of valves no subscription to all devices tells.
    let types = [("pump", 350), ("valve", 80)];
    let truth = fleet(&types, 1, true);
    truth.iter().for_each(|(names, said)| broker.publish(&topic(names), said, true));
    let listed: String = truth.keys().map(|(kind, id)| format!("{kind}/{id}\n")).collect();
    let flags = ["--replay-limits", "100", "--broker-counters", "false"];
    let few = || limited(&broker.url(), "few", &file(&directory)).arguments(&flags);
    let first = few().arguments(&["--devices-file", "devices"]).file("devices", &listed).start();
    answers::wait_until_right(&first, &truth);
    assert!(first.terminate().status.success());

    // Everything has changed since, also what no subscription brings any more.
    let truth = fleet(&types, 1, false);
    truth.iter().for_each(|(names, said)| broker.publish(&topic(names), said, true));
    let second = few().start();
    second.wait_until_ready();
    answers::wait_until_right(&second, &truth);
    assert!(is_state(&second, "unproven"));
}
