//! One store that instances share or have to themselves, of each kind: a database, a grid of one server, a file.

use serde_json::json;

use super::answers::metric;
use super::site::{Site, limited};
use testkit::postgres::PostgresServer;
use testkit::redis::{self, RedisServer};
use testkit::service::Service;
use testkit::status::Device;

#[test]
fn instances_that_hold_few_devices_answer_as_one_that_holds_all_of_a_database() {
    let mut database = PostgresServer::start();
    let mut site = Site::start(&database.url(), 3, true);
    site.add(2_000);
    site.wait_until_all_are_received();
    site.wait_until_stored();
    site.wait_until_few_are_held();
    site.assert_every_body();
    site.assert_every_lookup();
    let refused = site.few[0].get("/api/v1/events");
    assert_eq!((refused.status, &refused.json()["status"]), (501, &json!(501)));
    site.assert_every_list();
    let stranger = Device { kind: "type0", id: "nobody" };
    let never = stranger.never_connected();
    site.few.iter().for_each(|few| assert_eq!(few.get(&stranger.path()).text(), never));

    for _ in 0..5 {
        let (changed, asked) = (site.some(100), site.some(100));
        site.change(&changed);
        site.few
            .iter()
            .for_each(|few| asked.iter().for_each(|(kind, id)| drop(few.get(&Device { kind, id }.path()))));
        site.few.iter().for_each(|few| site.wait_for(few, &changed));
    }
    site.wait_until_stored();
    site.assert_every_lookup();
    site.assert_every_list();
    site.wait_until_few_are_held();

    database.stop();
    let changed = site.some(50);
    site.change(&changed);
    for few in &site.few {
        // What changes is answered; what only the store knows is not, and that is said.
        changed.iter().for_each(|names| {
            few.wait_until("the change is heard", || metric(few, "devstatus_store_devices_waiting") > 0);
            let answer = few.get(&Device { kind: &names.0, id: &names.1 }.path());
            assert!(answer.status == 503 || answer.text() == site.truth[names], "{}", answer.text());
        });
        let answers: Vec<_> =
            site.truth.keys().take(150).map(|(kind, id)| few.get(&Device { kind, id }.path())).collect();
        let refused =
            answers.iter().find(|answer| answer.status == 503).expect("more are asked for than are held");
        assert_eq!(refused.json()["type"], "urn:devstatus:problem:store-unavailable");
        assert!(refused.header("retry-after").is_some());
        let list = few.get("/api/v1/devices");
        assert_eq!((list.status, &list.json()["type"]), (503, &refused.json()["type"]));
    }
    database.start_again();
    site.few.iter().for_each(|few| site.wait_for(few, &changed));
    site.wait_until_stored();
    site.assert_every_body();
    site.assert_every_lookup();
}

#[test]
fn instances_that_hold_few_devices_of_a_grid_answer_as_one_that_holds_all() {
    let server = RedisServer::start(redis::Setup::default());
    let mut site = Site::start(&format!("valkey://127.0.0.1:{}", server.port()), 2, true);
    site.add(1_000);
    site.wait_until_all_are_received();
    for _ in 0..2 {
        let changed = site.some(100);
        site.change(&changed);
        site.few.iter().for_each(|few| site.wait_for(few, &changed));
        site.wait_until_stored();
        site.assert_every_lookup();
    }
    site.assert_every_body();
    site.assert_every_list();
    site.wait_until_few_are_held();
}

#[test]
fn an_instance_that_holds_few_devices_of_a_file_answers_for_all_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("store.db").display());
    let mut site = Site::start(&store, 1, false);
    site.add(1_000);
    for _ in 0..2 {
        let changed = site.some(100);
        site.change(&changed);
        site.wait_for(&site.few[0], &changed);
        site.wait_until_stored();
        site.assert_every_lookup();
    }
    site.wait_until_few_are_held();
    drop(site.few.pop().map(Service::terminate));
    // Whatever has come from the broker by then: the store has it all.
    site.few.push(limited(&site.broker.url(), "few0", &store).start());
    site.assert_every_body();
    site.few[0].wait_until_ready();
    site.wait_until_stored();
    site.assert_every_body();
    site.wait_until_few_are_held();
}
