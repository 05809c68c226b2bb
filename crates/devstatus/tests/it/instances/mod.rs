//! Three instances of the real binary on one PostgreSQL and one broker: any of them answers for any device, in each way of
//! sharing the messages, and whatever is killed, cut off or restarted meanwhile.

pub mod site;

use self::site::{INSTANCES, Site, devices, names};
use testkit::recovery::Recovery;
use testkit::service::Service;
use testkit::status::Device;

fn metric(service: &Service, name: &str) -> u64 {
    let text = service.get("/metrics").text().to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in:\n{text}")).parse().expect("a whole number")
}

fn no_flags(_: usize) -> Vec<String> {
    Vec::new()
}

#[test]
fn any_instance_answers_for_any_device_that_a_peer_has_received() {
    let all = devices(3, 40);
    let mut site = Site::start(no_flags);
    site.happen(names(&all));
    site.launch_all();
    site.wait_until_all_know_the_truth();
    // Two of them receive nothing any more; what the third receives reaches them through the database.
    site.brokers[1].down();
    site.brokers[2].down();
    site.service(1).wait_until_not_ready();
    site.happen(names(&all[..60]));
    site.wait_until_all_know_the_truth();
    assert_eq!(site.service(1).get("/kind0/0").header("devstatus-stale"), Some("true"));
    assert!(site.service(1).get("/kind0/0").header("devstatus-stale-seconds").is_some());
    assert_eq!(site.service(0).get("/kind0/0").header("devstatus-stale"), None);
    site.wait_until_the_database_says_so();
    // One that comes later knows everything at once, and nobody's status changes because others leave.
    site.kill(0);
    site.kill(1);
    site.brokers[1].up();
    site.launch(1);
    site.wait_until_all_know_the_truth();
    assert!(metric(site.service(2), "devstatus_store_peer_updates_total") > 0);
}

#[test]
fn a_database_that_goes_away_and_comes_back_has_missed_nothing() {
    let all = devices(2, 30);
    let mut site = Site::start(no_flags);
    site.launch_all();
    site.happen(names(&all));
    site.wait_until_all_know_the_truth();
    for kill in [false, true] {
        if kill {
            site.database.kill();
        } else {
            site.database.stop();
        }
        site.happen(names(&all[..20]));
        // Answers go on, and are right: every instance hears for itself.
        site.wait_until_all_know_the_truth();
        site.service(0).wait_until("the failure is shown", || {
            site.service(0).get("/readyz").json()["store"] == "failing"
        });
        site.database.start_again();
        for service in site.running() {
            service
                .wait_until("the store is good again", || service.get("/readyz").json()["store"] == "good");
        }
        site.wait_until_the_database_says_so();
    }
    // And so has an instance that was cut off from it.
    site.stores[1].down();
    site.brokers[0].down();
    site.brokers[2].down();
    site.service(0).wait_until_not_ready();
    site.service(2).wait_until_not_ready();
    site.happen(names(&all[20..40]));
    site.stores[1].up();
    site.wait_until_all_know_the_truth();
    site.wait_until_the_database_says_so();
}

#[test]
fn each_part_of_the_types_is_taken_by_one_instance_and_answered_by_all() {
    let all = devices(7, 12);
    let mut site = Site::start(|number| vec!["--partition".into(), format!("{}/{INSTANCES}", number + 1)]);
    site.happen(names(&all));
    site.launch_all();
    site.wait_until_all_know_the_truth();
    let taken: Vec<u64> =
        site.running().map(|service| metric(service, "devstatus_events_applied_total")).collect();
    assert_eq!(taken.iter().sum::<u64>(), all.len() as u64, "each device is taken by one: {taken:?}");
    assert!(taken.iter().all(|taken| *taken > 0), "and each takes some: {taken:?}");
    for service in site.running() {
        assert_eq!(service.get("/readyz").json()["population"], "complete");
        assert!(metric(service, "devstatus_messages_of_others_total") > 0);
    }
    site.happen(names(&all));
    site.wait_until_all_know_the_truth();
    // Those of others cannot be followed without the database, and are said to be as old as that.
    site.database.stop();
    let first = site.service(0);
    first.wait_until("the answers are stale", || {
        let answer = first.get("/kind0/0");
        answer.status == 200
            && answer.header("devstatus-stale") == Some("true")
            && answer.header("devstatus-stale-seconds").is_some_and(|seconds| seconds != "0")
    });
    site.database.start_again();
    site.happen(names(&all[..20]));
    site.wait_until_all_know_the_truth();
    let first = site.service(0);
    first.wait_until("nothing is stale", || first.get("/kind0/0").header("devstatus-stale").is_none());
}

/// Instances that share the messages and know these devices.
fn sharing(devices: &[(String, String)]) -> Site {
    let mut site = Site::start(|_| vec!["--share".into(), "fleet".into()]);
    site.happen(names(devices));
    site.launch_all();
    site.wait_until_all_know_the_truth();
    site
}

#[test]
fn instances_that_share_the_messages_are_ready_where_the_broker_counts_nothing() {
    let settings = ["--share", "fleet", "--broker-counters", "false", "--replay-limits", "100,1000"];
    let mut site = Site::start(|_| settings.map(str::to_owned).to_vec());
    // More than the lowest limit, so that the number proves nothing.
    site.happen(names(&devices(2, 60)));
    site.launch_all();
    site.wait_until_all_know_the_truth();
    for service in site.running() {
        service.wait_until("it is ready", || service.get("/readyz").status == 200);
    }
}

#[test]
fn messages_shared_by_the_broker_are_answered_by_all_and_another_reads_on_when_the_one_that_reads_dies() {
    let all = devices(3, 20);
    let mut site = sharing(&all);
    let first = site.readers();
    assert_eq!(first.len(), 1, "one of them reads");
    let received = |site: &Site| -> u64 {
        site.running().map(|service| metric(service, "devstatus_messages_received_total")).sum()
    };
    let before = received(&site);
    site.happen(names(&all));
    site.wait_until_all_know_the_truth();
    assert_eq!(received(&site) - before, all.len() as u64, "each message comes to one of them");
    for service in site.running() {
        let nobody = Device { kind: "kind0", id: "nobody" };
        service.wait_for_answer(&nobody.path(), &nobody.never_connected());
    }
    // It dies, and with it what the broker has just given it.
    let died = first[0];
    site.brokers[died].pause();
    site.happen(names(&all));
    site.kill(died);
    site.brokers[died].cut();
    site.brokers[died].resume();
    site.running()
        .next()
        .expect("two are left")
        .wait_until("another one reads", || site.readers().iter().any(|number| *number != died));
    site.wait_until_all_know_the_truth();
    site.launch(died);
    site.happen(names(&all[..30]));
    site.wait_until_all_know_the_truth();
    site.wait_until_the_database_says_so();
}

#[test]
fn messages_sent_to_a_disconnected_instance_are_read_by_a_connected_one() {
    let all = devices(3, 20);
    let mut site = sharing(&all);
    let reader = site.readers()[0];
    let other = (reader + 1) % INSTANCES;
    for cut_off in [other, reader] {
        // What is on its way to it is lost, and it lives on without a link.
        site.brokers[cut_off].pause();
        site.happen(names(&all));
        site.brokers[cut_off].down();
        site.wait_until_all_know_the_truth();
        assert_eq!(site.service(cut_off).get("/readyz").json()["broker"], "lost");
        site.happen(names(&all[..20]));
        site.wait_until_all_know_the_truth();
        site.brokers[cut_off].resume();
        site.brokers[cut_off].up();
        site.service(cut_off).wait_until_ready();
    }
    site.wait_until_the_database_says_so();
}

/// A generator that any run can be repeated with.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// How many kills and cuts; with `TEST_LONG` a thousand.
fn faults() -> usize {
    if std::env::var_os("TEST_LONG").is_some() { 1_000 } else { 12 }
}

/// Random kills and cuts of instances, links and database, several at a time; after each few of them a recovery, in which every
/// instance must reach the truth.
#[test]
fn whatever_is_killed_and_cut_off_all_come_to_the_same_truth() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("SEED={seed}");
    let mut dice = Dice(seed);
    let all = devices(3, 8);
    let mut site = Site::start(no_flags);
    site.happen(names(&all));
    site.launch_all();
    let (mut done, mut recovery) = (0, Recovery::default());
    while done < faults() {
        let mut faults = Vec::new();
        for _ in 0..3 {
            let number = dice.below(INSTANCES);
            faults.push(site.fault(number, dice.below(8)));
            done += 1;
            let some: Vec<_> = (0..3).map(|_| all[dice.below(all.len())].clone()).collect();
            site.happen(names(&some));
            if site.database.is_stopped() {
                site.database.start_again();
            }
        }
        for number in 0..INSTANCES {
            site.brokers[number].up();
            site.stores[number].up();
            if site.services[number].is_none() {
                site.launch(number);
            }
        }
        recovery.lasts(&faults.join("; "), || site.wait_until_all_know_the_truth());
    }
    println!("{recovery}");
    site.wait_until_the_database_says_so();
}
