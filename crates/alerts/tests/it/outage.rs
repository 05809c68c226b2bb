//! What is not observed makes no alert, whatever the size of the fleet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alerts::{AlertState, Engine, Kind, Part, Rule, Suppression};
use presence::query::Filter;
use presence::{EventKind, Status};

use crate::fixture::{SOURCE, Scene, drop_by_type, flapping, rule, rule_set, seconds};

const DEVICES: usize = 10_000;

fn fleet() -> Scene {
    let rules = vec![
        rule("offline", Kind::OfflineFor, 60),
        rule("flapping", flapping(3_600, 3, 1), 0),
        drop_by_type(300, 10, 10),
    ];
    let mut scene = Scene::new(rule_set(300, rules));
    (0..DEVICES).for_each(|id| scene.observe(&id.to_string(), None, EventKind::Connect));
    scene.pass(10);
    scene
}

#[test]
fn a_broker_that_is_away_for_ten_minutes_makes_one_alert_and_it_is_about_the_service() {
    let mut scene = fleet();
    scene.engine.set_observed(scene.now, Part::Fleet, false);
    scene.pass(600);
    // It comes back: it ended every session when it went down, and the devices connect again within four minutes.
    scene.engine.set_observed(scene.now, Part::Fleet, true);
    (0..DEVICES).for_each(|id| scene.disconnect(&id.to_string()));
    for second in 0..240 {
        scene.pass(1);
        (0..DEVICES).filter(|id| id % 240 == second).for_each(|id| scene.connect(&id.to_string()));
    }
    assert_eq!(scene.lines(), ["unobserved  firing 1/0"]);
    scene.pass(7_200);
    assert_eq!(scene.lines(), ["unobserved  resolved 0/1"]);
}

#[test]
fn a_device_that_stays_away_after_an_outage_is_announced_once_it_was_seen_away_for_long_enough() {
    let mut scene = fleet();
    scene.engine.set_observed(scene.now, Part::Fleet, false);
    scene.pass(30);
    scene.engine.set_observed(scene.now, Part::Fleet, true);
    scene.disconnect("7");
    scene.pass(300 + 59);
    assert_eq!(scene.lines(), Vec::<String>::new());
    scene.pass(2);
    assert_eq!(scene.lines(), ["offline pump/7 firing 1/0"]);
}

#[test]
fn pending_alerts_say_why_their_clocks_are_stopped() {
    let mut scene = fleet();
    scene.disconnect("7");
    let reason = |scene: &Scene| {
        let pending = scene.engine.alerts(scene.now).find(|alert| alert.state == AlertState::Pending);
        pending.and_then(|alert| alert.suppressed_by)
    };
    assert_eq!(reason(&scene), None);
    scene.engine.set_observed(scene.now, Part::Type("pump"), false);
    assert_eq!(reason(&scene), Some(Suppression::Population));
    scene.engine.set_observed(scene.now, Part::Type("pump"), true);
    assert_eq!(reason(&scene), Some(Suppression::Startup));
    scene.engine.set_observed(scene.now, Part::Source("iot-platform"), false);
    assert_eq!(reason(&scene), Some(Suppression::Stale));
    scene.pass(50);
    assert_eq!(scene.lines(), Vec::<String>::new());
}

#[test]
fn one_of_two_sources_that_is_away_is_named_and_holds_up_its_own_devices_alone() {
    let mut scene = fleet();
    scene.disconnect("7");
    scene.engine.set_observed(scene.now, Part::Source("other"), false);
    scene.pass(70);
    assert_eq!(scene.lines(), ["unobserved other firing 1/0", "offline pump/7 firing 1/0"]);
}

#[test]
fn a_device_that_was_forgotten_unobserved_fires_no_longer_under_a_rule_of_its_source() {
    let selector = Filter { sources: vec![SOURCE.to_owned()], ..Filter::default() };
    let mut scene = Scene::new(rule_set(0, vec![Rule { selector, ..rule("offline", Kind::OfflineFor, 5) }]));
    scene.observe("7", None, EventKind::Connect);
    scene.observe("8", None, EventKind::Connect);
    scene.disconnect("7");
    scene.pass(10);
    assert_eq!(scene.lines(), ["offline pump/7 firing 1/0"]);
    scene.disconnect("8");
    scene.forget("7");
    scene.forget("8");
    scene.pass(10);
    assert_eq!(scene.lines(), ["offline pump/7 resolved 0/1"]);
}

#[test]
fn a_process_that_was_paused_has_observed_nothing_meanwhile() {
    let mut scene = fleet();
    scene.disconnect("7");
    scene.pass(10);
    scene.now = scene.now.later(Duration::from_secs(3_600));
    scene.pass(300 + 45);
    assert_eq!(scene.lines(), Vec::<String>::new());
    scene.connect("7");
    scene.pass(600);
    assert_eq!(scene.lines(), Vec::<String>::new());
}

#[test]
fn a_calendar_that_jumps_fires_nothing_and_delays_nothing() {
    for days in [-400_i64, 400] {
        let mut scene = fleet();
        scene.disconnect("7");
        scene.pass(10);
        scene.now.wall.0 += days * 86_400_000;
        scene.pass(45);
        assert_eq!(scene.lines(), Vec::<String>::new());
        scene.pass(7);
        assert_eq!(scene.lines(), ["offline pump/7 firing 1/0"]);
    }
}

#[test]
fn a_device_that_came_and_went_while_nobody_looked_is_counted_from_its_return() {
    let mut scene = fleet();
    scene.disconnect("7");
    scene.pass(50);
    // The connect between was lost.
    scene.observe("7", Some(Status::Disconnected), EventKind::Disconnect);
    scene.pass(55);
    assert_eq!(scene.lines(), Vec::<String>::new());
    scene.pass(6);
    assert_eq!(scene.lines(), ["offline pump/7 firing 1/0"]);
}

#[test]
fn a_restart_of_the_service_repeats_and_loses_nothing() {
    let rules = || vec![rule("offline", Kind::OfflineFor, 60), drop_by_type(300, 50, 5)];
    let mut scene = Scene::new(rule_set(300, rules()));
    for id in 0..10 {
        scene.observe_of("pump", &id.to_string(), None, EventKind::Connect);
        scene.observe_of("tank", &id.to_string(), None, EventKind::Connect);
    }
    scene.observe_of("pump", "1", Some(Status::Connected), EventKind::Disconnect);
    scene.pass(100);
    (0..8).for_each(|id| {
        scene.observe_of("tank", &id.to_string(), Some(Status::Connected), EventKind::Disconnect)
    });
    scene.pass(100);
    assert_eq!(scene.lines(), ["offline pump/1 firing 1/0", "drop tank firing 1/0"]);
    let announced = scene.engine.announced();
    assert_eq!(announced.len(), 2);
    let now = scene.now.later(seconds(120));
    let mut next =
        Scene { engine: Engine::new(Arc::new(rule_set(300, rules())), now), now, sent: Vec::new() };
    next.engine.restore(now, announced);
    let is_down = |device_type, id| (device_type, id) == ("pump", 1) || (device_type == "tank" && id < 8);
    let states: BTreeMap<_, _> = ["pump", "tank"]
        .into_iter()
        .flat_map(|device_type| (0..10).map(move |id| ((device_type, id), is_down(device_type, id))))
        .collect();
    for ((device_type, id), is_down) in &states {
        let kind = if *is_down { EventKind::Disconnect } else { EventKind::Connect };
        next.observe_of(device_type, &id.to_string(), None, kind);
    }
    next.engine.set_observed(now, Part::Fleet, true);
    next.pass(3_000);
    assert_eq!(next.lines(), Vec::<String>::new());
    next.observe_of("pump", "1", Some(Status::Disconnected), EventKind::Connect);
    (0..8).for_each(|id| {
        next.observe_of("tank", &id.to_string(), Some(Status::Disconnected), EventKind::Connect)
    });
    next.pass(10);
    assert_eq!(next.lines(), ["offline pump/1 resolved 0/1", "drop tank resolved 0/1"]);
}
