//! What every store promises, held against each of them: merging in any order and any split, loading what was put, paging,
//! changes, history. What stores that are shared promise besides is in `shared`; what only one of them does (files, locks,
//! damage) is in `it/keeping`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in what its functions share")]

mod contract;
mod deliveries;
mod events;
mod failover;
mod fixture;
mod forget;
mod history;
mod places;
mod postgres;
mod postgres_events;
mod redis;
mod series;
mod shared;
mod sqlite;

use contract::{CONTRACT, Promise};
use events::ORDERED_EVENTS;
use places::{Cluster, Memory, Place, Postgres, Redis, Sqlite};
use shared::SHARED;

/// Servers are started once for all promises. The name of the last one printed is that of the one that failed.
fn hold(promises: &[Promise], place: &dyn Place) {
    for (name, promise) in promises {
        println!("{name}");
        promise(place);
    }
}

#[test]
fn memory() {
    hold(CONTRACT, &Memory);
    hold(ORDERED_EVENTS, &Memory);
    deliveries::the_state_of_an_endpoint_is_kept(&Memory);
}

#[test]
fn sqlite() {
    let place = Sqlite::new();
    hold(CONTRACT, &place);
    hold(ORDERED_EVENTS, &place);
    deliveries::the_state_of_an_endpoint_is_kept(&place);
    events::a_file_that_was_restored_from_a_copy_is_recognized(&place);
    events::a_file_that_is_opened_often_remembers_a_bounded_number_of_orders(&place);
    sqlite::the_views_of_a_file_show_each_end_with_its_own_reason(&place);
}

#[test]
fn postgres() {
    let place = Postgres::start();
    deliveries::the_state_of_an_endpoint_is_kept(&place);
    deliveries::one_instance_has_the_lease_of_an_endpoint(&place);
    hold(CONTRACT, &place);
    hold(ORDERED_EVENTS, &place);
    hold(SHARED, &place);
    postgres::those_who_are_connected_are_counted_without_the_table(&place);
    postgres::instances_that_start_together_make_the_schema_once(&place);
    postgres::a_schema_of_a_newer_version_is_refused(&place);
    postgres::no_change_is_missed_between_two_cursors(&place);
    postgres::a_database_restored_from_a_backup_is_noticed(&place);
    postgres::tombstones_are_bounded(&place);
}

#[test]
fn postgres_events() {
    let place = Postgres::start();
    postgres_events::events_wait_for_running_transactions(&place);
    postgres_events::events_that_several_keep_at_once_are_all_given_once(&place);
    postgres_events::a_position_of_another_server_is_recognized(&place);
    postgres_events::events_of_a_restored_dump_do_not_come_again(&place);
    postgres_events::a_schema_of_the_first_version_is_brought_up_to_date(&place);
    postgres_events::the_newest_event_is_read_from_an_index(&place);
}

#[test]
fn redis() {
    let place = Redis::start();
    deliveries::the_state_of_an_endpoint_is_kept(&place);
    deliveries::one_instance_has_the_lease_of_an_endpoint(&place);
    hold(CONTRACT, &place);
    hold(SHARED, &place);
    redis::tombstones_are_bounded(&place);
    redis::changes_of_ones_own_do_not_come_back(&place);
}

#[test]
fn redis_cluster() {
    let place = Cluster::start();
    deliveries::the_state_of_an_endpoint_is_kept(&place);
    deliveries::one_instance_has_the_lease_of_an_endpoint(&place);
    hold(CONTRACT, &place);
    hold(SHARED, &place);
}
