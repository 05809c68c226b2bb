//! What is held back, gathered and repeated.

use std::sync::Arc;
use std::time::Duration;

use alerts::{
    AlertState, ContactPolicy, CountThreshold, GroupBy, Kind, MaintenanceWindow, Patience, Rule, Schedule,
    Silence, Suppression, WallMillis, WallSpan,
};
use presence::query::Filter;
use presence::{Device, DeviceName, EventKind, Status};

use crate::fixture::{Scene, drop_by_type, flapping, rule, rule_set, seconds};

const NOTHING: [&str; 0] = [];

fn pumps(scene: &mut Scene, number: usize) {
    (0..number).for_each(|id| scene.observe(&id.to_string(), None, EventKind::Connect));
    scene.pass(1);
}

#[test]
fn a_group_waits_gathers_and_repeats() {
    let offline = Rule {
        group_by: GroupBy::Type,
        group_wait: seconds(30),
        group_interval: seconds(300),
        repeat_interval: Some(seconds(3_600)),
        ..rule("offline", Kind::OfflineFor, 60)
    };
    let mut scene = Scene::new(rule_set(0, vec![offline]));
    pumps(&mut scene, 80);
    (0..70).for_each(|id| scene.disconnect(&id.to_string()));
    scene.pass(89);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(2);
    let first = scene.sent[0].clone();
    assert_eq!((first.firing.len(), first.firing_total), (50, 70));
    assert_eq!(scene.lines(), ["offline pump firing 70/0"]);
    (65..75).for_each(|id| {
        if id < 70 { scene.connect(&id.to_string()) } else { scene.disconnect(&id.to_string()) }
    });
    scene.pass(298);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(2);
    assert_eq!(scene.sent[0].key, first.key);
    assert_eq!(scene.lines(), ["offline pump firing 70/5"]);
    scene.pass(3_601);
    assert_eq!(scene.lines(), ["offline pump repeated 70/0"]);
    let until = WallMillis(scene.now.wall.0 + 7_000_000);
    assert!(scene.engine.acknowledge("offline", "pump", Some(until)));
    assert!(!scene.engine.acknowledge("offline", "tank", Some(until)));
    scene.pass(7_190);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(3_590);
    assert_eq!(scene.lines(), ["offline pump repeated 70/0"]);
    (0..75).for_each(|id| scene.connect(&id.to_string()));
    scene.pass(301);
    assert_eq!(scene.lines(), ["offline pump resolved 0/70"]);
}

#[test]
fn a_drop_of_a_site_is_one_alert_and_what_is_left_of_it_is_announced_later() {
    let mut scene =
        Scene::new(rule_set(0, vec![rule("offline", Kind::OfflineFor, 600), drop_by_type(300, 50, 10)]));
    pumps(&mut scene, 30);
    (0..30).for_each(|id| scene.observe_of("tank", &id.to_string(), None, EventKind::Connect));
    scene.observe_of("tank", "3", Some(Status::Connected), EventKind::Disconnect);
    (0..25).for_each(|id| scene.disconnect(&id.to_string()));
    scene.pass(2_000);
    // Another type is no part of it.
    assert_eq!(scene.lines(), ["drop pump firing 1/0", "offline tank/3 firing 1/0"]);
    let held =
        scene.engine.alerts(scene.now).filter(|alert| alert.suppressed_by == Some(Suppression::FleetDrop));
    assert_eq!(held.count(), 25);
    (1..25).for_each(|id| scene.connect(&id.to_string()));
    scene.pass(599);
    assert_eq!(scene.lines(), ["drop pump resolved 0/1"]);
    scene.pass(2);
    assert_eq!(scene.lines(), ["offline pump/0 firing 1/0"]);
}

#[test]
fn devices_that_go_one_by_one_are_no_drop() {
    let mut scene = Scene::new(rule_set(0, vec![drop_by_type(60, 50, 10)]));
    pumps(&mut scene, 30);
    for id in 0..25 {
        scene.disconnect(&id.to_string());
        scene.pass(10);
    }
    assert_eq!(scene.lines(), NOTHING);
}

#[test]
fn flapping_is_one_alert_and_the_message_that_is_owed_follows() {
    let rules = vec![rule("offline", Kind::OfflineFor, 30), rule("flapping", flapping(600, 5, 1), 0)];
    let mut scene = Scene::new(rule_set(0, rules));
    pumps(&mut scene, 1);
    for _ in 0..8 {
        scene.disconnect("0");
        scene.pass(40);
        scene.connect("0");
        scene.pass(5);
    }
    let lines = scene.lines();
    assert_eq!(lines.last().unwrap(), "flapping pump/0 firing 1/0");
    // Until it was known to flap, each was announced.
    assert_eq!(lines.len(), 9);
    scene.disconnect("0");
    scene.pass(500);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(200);
    assert_eq!(scene.lines(), ["offline pump/0 firing 1/0", "flapping pump/0 resolved 0/1"]);
}

#[test]
fn what_was_down_before_a_window_and_is_down_after_it_is_not_announced_again() {
    let from = 1_780_000_000_000 + 200_000;
    let window = MaintenanceWindow {
        name: "update".to_owned(),
        selector: Filter::default(),
        schedule: Schedule::Once(WallSpan { from: WallMillis(from), until: WallMillis(from + 600_000) }),
    };
    let mut rules = rule_set(0, vec![rule("offline", Kind::OfflineFor, 30), drop_by_type(60, 10, 2)]);
    rules.windows.push(window);
    let mut scene = Scene::new(rules);
    pumps(&mut scene, 10);
    for id in ["0", "1"] {
        scene.disconnect(id);
        scene.pass(90);
    }
    assert_eq!(scene.lines(), ["offline pump/0 firing 1/0", "offline pump/1 firing 1/0"]);
    scene.pass(60);
    // Within the window: one comes back for a while, one for good, others are away for a while or for good.
    scene.connect("0");
    scene.connect("1");
    (2..7).for_each(|id| scene.disconnect(&id.to_string()));
    scene.pass(60);
    scene.disconnect("0");
    scene.pass(60);
    let held = scene.engine.alerts(scene.now).find(|alert| alert.state == AlertState::Firing);
    assert_eq!(held.unwrap().suppressed_by, Some(Suppression::Maintenance));
    (3..7).for_each(|id| scene.connect(&id.to_string()));
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(600);
    let mut lines = scene.lines();
    lines.sort();
    assert_eq!(lines, ["offline pump/1 resolved 0/1", "offline pump/2 firing 1/0"]);
}

#[test]
fn a_silence_is_for_its_rules_and_devices_until_its_end() {
    let at = 1_780_000_000_000;
    let mut rules =
        rule_set(0, vec![rule("offline", Kind::OfflineFor, 30), rule("late", Kind::OfflineFor, 40)]);
    rules.silences.push(Silence {
        selector: Filter { ids: vec!["0".to_owned()], ..Filter::default() },
        rules: vec!["late".into()],
        span: WallSpan { from: WallMillis(at), until: WallMillis(at + 300_000) },
        author: "ops".to_owned(),
        comment: String::new(),
    });
    let mut scene = Scene::new(rules);
    pumps(&mut scene, 2);
    (0..2).for_each(|id| scene.disconnect(&id.to_string()));
    scene.pass(200);
    let mut lines = scene.lines();
    lines.sort();
    assert_eq!(lines, ["late pump/1 firing 1/0", "offline pump/0 firing 1/0", "offline pump/1 firing 1/0"]);
    scene.pass(101);
    assert_eq!(scene.lines(), ["late pump/0 firing 1/0"]);
}

#[test]
fn keep_firing_for_joins_what_comes_back_briefly() {
    let offline = Rule { keep_firing_for: seconds(60), ..rule("offline", Kind::OfflineFor, 30) };
    let mut scene = Scene::new(rule_set(0, vec![offline]));
    pumps(&mut scene, 1);
    scene.disconnect("0");
    scene.pass(31);
    for _ in 0..3 {
        scene.connect("0");
        scene.pass(50);
        scene.disconnect("0");
        scene.pass(10);
    }
    assert_eq!(scene.lines(), ["offline pump/0 firing 1/0"]);
    scene.connect("0");
    scene.pass(59);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(2);
    assert_eq!(scene.lines(), ["offline pump/0 resolved 0/1"]);
}

#[test]
fn sleepers_are_late_after_their_grace_and_ephemeral_devices_never() {
    let selector = |prefix: &str| Filter { id_prefixes: vec![prefix.to_owned()], ..Filter::default() };
    let mut rules = rule_set(0, vec![rule("offline", Kind::OfflineFor, 30)]);
    rules.contacts = [
        ContactPolicy {
            selector: selector("sleeper"),
            patience: Patience::Periodic { every: seconds(100), grace: seconds(20) },
        },
        ContactPolicy { selector: selector("phone"), patience: Patience::Ephemeral },
    ]
    .into();
    let mut scene = Scene::new(rules);
    for id in ["sleeper-1", "phone-1", "mains-1"] {
        scene.observe(id, None, EventKind::Connect);
        scene.disconnect(id);
    }
    scene.pass(31);
    assert_eq!(scene.lines(), ["offline pump/mains-1 firing 1/0"]);
    scene.pass(88);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(2);
    assert_eq!(scene.lines(), ["offline pump/sleeper-1 firing 1/0"]);
    scene.pass(1_000);
    assert_eq!(scene.lines(), NOTHING);
}

#[test]
fn a_listed_device_is_missing_until_it_is_seen() {
    let listed = ["0", "1"].map(|id| Arc::new(DeviceName::of(Device { device_type: "pump", id })));
    let missing = rule("missing", Kind::NeverConnected(listed.into()), 50);
    let mut scene = Scene::new(rule_set(100, vec![missing]));
    scene.observe("0", None, EventKind::Connect);
    scene.pass(49);
    assert_eq!(scene.lines(), NOTHING);
    scene.pass(2);
    assert_eq!(scene.lines(), ["missing pump/1 firing 1/0"]);
    scene.observe("1", None, EventKind::Connect);
    scene.pass(1);
    assert_eq!(scene.lines(), ["missing pump/1 resolved 0/1"]);
}

#[test]
fn refused_logins_and_two_devices_with_one_identity_are_noticed() {
    let threshold = CountThreshold { window: Duration::from_secs(600), start: 4, stop: 1 };
    let rules = vec![
        rule("refused", Kind::Refusals(threshold), 0),
        rule("doubled", Kind::DuplicateIdentity(threshold), 0),
    ];
    let mut scene = Scene::new(rule_set(0, rules));
    pumps(&mut scene, 3);
    for number in 0..4_u8 {
        scene.observe("0", Some(Status::Disconnected), EventKind::Refusal);
        for (id, address) in [("1", [192, 0, 2, number % 2]), ("2", [192, 0, 2, number])] {
            let observation = alerts::Observation {
                device: Device { device_type: "pump", id },
                source: Some(crate::fixture::SOURCE),
                before: Some(Status::Connected),
                status: Some(Status::Connected),
                cause: None,
                address: Some(address.into()),
                since: scene.now.wall,
                event: Some(EventKind::Takeover),
            };
            scene.engine.observe(scene.now, &observation);
        }
        scene.pass(10);
    }
    let mut lines = scene.lines();
    lines.sort();
    assert_eq!(lines, ["doubled pump/1 firing 1/0", "refused pump/0 firing 1/0"]);
    scene.pass(600);
    assert_eq!(scene.lines().len(), 2);
}
