//! A grid of six nodes, whose masters die.

use serde_json::Value;

use super::answers;
use super::site::{Site, launch};
use testkit::closing_broker::ClosingBroker;
use testkit::redis::RedisCluster;

/// Each part of the grid has some, and few of them are held.
const DEVICES: usize = 400;

fn start(cluster: &RedisCluster, all: bool) -> Site {
    let mut site = Site::start(&store(cluster), 2, all);
    site.add(DEVICES);
    site.wait_until_all_are_received();
    site.wait_until_stored();
    site.wait_until_few_are_held();
    site
}

fn store(cluster: &RedisCluster) -> String {
    format!("valkey://{}", cluster.hosts())
}

/// Type and id of each device of a list in parts, between which others change.
fn listed_while_devices_change(site: &mut Site) -> Vec<(Value, Value)> {
    let (mut listed, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = site.few[0].get(&format!("/api/v1/devices?limit=60{cursor}"));
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        let devices = page["devices"].as_array().expect("a list");
        listed.extend(devices.iter().map(|device| (device["type"].clone(), device["id"].clone())));
        let Some(next) = page["next_cursor"].as_str() else { return listed };
        cursor = format!("&cursor={next}");
        let changed = site.some(20);
        site.change(&changed);
    }
}

#[test]
fn instances_that_hold_few_devices_of_a_cluster_answer_as_one_that_holds_all_whichever_master_dies() {
    let mut cluster = RedisCluster::start();
    let mut site = start(&cluster, true);
    let changed = site.some(100);
    site.change(&changed);
    site.few.iter().for_each(|few| site.wait_for(few, &changed));
    site.wait_until_stored();
    site.assert_every_lookup();
    let listed = listed_while_devices_change(&mut site);
    assert!(
        listed
            .iter()
            .map(|(kind, id)| (kind.as_str(), id.as_str()))
            .eq(site.truth.keys().map(|(kind, id)| (Some(kind.as_str()), Some(id.as_str()))))
    );
    site.wait_until_all_know_the_truth();
    site.wait_until_stored();
    site.assert_every_list();

    // Some of it comes before the death of a third of the grid, some while nobody serves that.
    let changed = site.some(100);
    site.change(&changed);
    cluster.nodes[0].kill();
    let changed = site.some(100);
    site.change(&changed);
    cluster.kill_master(0);
    site.wait_until_all_know_the_truth();
    site.wait_until_stored();
    site.wait_until_few_are_held();
    site.assert_every_body();
    site.assert_every_lookup();
    site.assert_every_list();
}

#[test]
fn changes_lost_with_a_master_come_from_the_broker_again() {
    let mut cluster = RedisCluster::start();
    // Nobody holds what is lost.
    let mut site = start(&cluster, false);
    cluster.wait_until_whole();
    cluster.cut_replica(1);
    let all: Vec<_> = site.truth.keys().cloned().collect();
    site.change(&all);
    site.wait_until_all_know_the_truth();
    site.wait_until_stored();
    site.wait_until_few_are_held();
    cluster.kill_master(1);
    site.wait_until_all_know_the_truth();
    site.wait_until_stored();
    site.wait_until_few_are_held();
    site.assert_every_lookup();
    // The grid has it all again: somebody who hears nothing learns it there.
    let nobody = ClosingBroker::silent();
    let late = launch(&nobody.url(), "late", &store(&cluster)).start();
    answers::assert_every_body(&[&late], &site.truth);
}
