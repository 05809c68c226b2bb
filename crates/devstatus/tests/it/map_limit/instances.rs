//! Instances that share the messages and hold few devices each: what one has heard, any other answers from the store.

use super::answers::{self, metric};
use super::site::launch;
use crate::instances::site::{INSTANCES, Site, devices, names};
use testkit::service::Service;
use testkit::status::Device;

const LIMIT: u64 = 10;

const LISTS: &[&str] = &[
    "/api/v1/devices?limit=50",
    "/api/v1/devices?limit=7&type=kind1&status=connected",
    "/api/v1/devices?limit=20&sort=-since&status=disconnected",
    "/api/v1/devices?limit=9&close_code=91&sort=-id",
    "/api/v0002/clientconnectionstates?_limit=30&deviceType=kind2",
];

/// Three that hold few, and one that hears every message itself, holds all and shares nothing with them.
fn start(flags: impl Fn(usize) -> [String; 2], devices: &[(String, String)]) -> (Site, Service) {
    let mut site = Site::start(|number| {
        flags(number).into_iter().chain(["--map-limit".to_owned(), LIMIT.to_string()]).collect()
    });
    site.happen(names(devices));
    site.launch_all();
    let all = launch(&site.broker.url(), "all", "memory:").start();
    all.wait_until_ready();
    (site, all)
}

/// Every instance that runs answers everything as the one that holds all, and holds few.
fn assert_all_say_the_same(site: &Site, all: &Service) {
    site.wait_until_all_know_the_truth();
    for few in site.running() {
        few.wait_until("all is written", || metric(few, "devstatus_store_devices_waiting") == 0);
    }
    let services: Vec<_> = std::iter::once(all).chain(site.running()).collect();
    answers::assert_every_lookup(&services, &site.truth);
    answers::assert_every_list(&services[1..], all, LISTS);
    for few in site.running() {
        answers::wait_until_it_counts_as(few, all);
        answers::wait_until_few_are_held(few, LIMIT);
        let nobody = Device { kind: "kind0", id: "nobody" };
        few.wait_for_answer(&nobody.path(), &nobody.never_connected());
    }
}

/// How many connections have ended without a word, as the broker has noticed.
fn ended(site: &Site) -> usize {
    site.broker.log().lines().filter(|line| line.contains("closed its connection")).count()
}

#[test]
fn messages_shared_by_the_broker_are_answered_by_all_that_hold_few_also_when_the_one_that_reads_dies() {
    let all_devices = devices(3, 40);
    let (mut site, all) = start(|_| ["--share".to_owned(), "fleet".to_owned()], &all_devices);
    assert_all_say_the_same(&site, &all);
    let received = |site: &Site| -> u64 {
        site.running().map(|few| metric(few, "devstatus_messages_received_total")).sum()
    };
    let before = received(&site);
    site.happen(names(&all_devices[..90]));
    assert_all_say_the_same(&site, &all);
    assert_eq!(received(&site) - before, 90, "each message comes to one of them");
    // Two hear nothing any more; what the third hears they have from the store, if they are asked.
    let readers = site.readers();
    assert_eq!(readers.len(), 1, "one of them reads what is retained");
    let deaf: Vec<_> = (0..INSTANCES).filter(|number| !readers.contains(number)).collect();
    let ended_before = ended(&site);
    deaf.iter().for_each(|number| site.brokers[*number].down());
    // Until the broker knows, it may give a message to one that hears nothing.
    site.service(readers[0])
        .wait_until("the broker has noticed", || ended(&site) == ended_before + deaf.len());
    deaf.iter().for_each(|number| site.service(*number).wait_until_not_ready());
    site.happen(names(&all_devices[30..]));
    site.wait_until_all_know_the_truth();
    deaf.iter().for_each(|number| site.brokers[*number].up());
    site.running().for_each(Service::wait_until_ready);

    // The one that reads dies, and with it what the broker has just given it.
    let died = readers[0];
    site.brokers[died].pause();
    site.happen(names(&all_devices));
    site.kill(died);
    site.brokers[died].cut();
    site.brokers[died].resume();
    let left = site.running().next().expect("two are left");
    left.wait_until("another one reads", || site.readers().iter().any(|number| *number != died));
    assert_all_say_the_same(&site, &all);
    site.launch(died);
    site.happen(names(&all_devices[..30]));
    assert_all_say_the_same(&site, &all);
}

#[test]
fn each_part_of_the_types_is_taken_by_one_that_holds_few_and_answered_by_all() {
    let all_devices = devices(7, 20);
    let part = |number| ["--partition".to_owned(), format!("{}/{INSTANCES}", number + 1)];
    let (mut site, all) = start(part, &all_devices);
    assert_all_say_the_same(&site, &all);
    for few in site.running() {
        assert_eq!(few.get("/readyz").json()["population"], "complete");
        assert!(metric(few, "devstatus_events_applied_total") > 0, "each takes some");
        assert!(metric(few, "devstatus_messages_of_others_total") > 0, "and none takes all");
    }
    site.happen(names(&all_devices[..100]));
    assert_all_say_the_same(&site, &all);
    // What it has heard is answered by the others when it is gone; what happens meanwhile, once it is back.
    site.kill(0);
    assert_all_say_the_same(&site, &all);
    site.happen(names(&all_devices[50..]));
    site.launch(0);
    assert_all_say_the_same(&site, &all);
}
