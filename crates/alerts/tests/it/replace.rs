//! Other rules while the engine runs, and what one process hands to the next.

use std::sync::Arc;

use alerts::{
    AlertState, Engine, Kind, OUTPUT_RULE, Part, RuleSet, Silence, UNOBSERVED_RULE, WallMillis, WallSpan,
};
use presence::query::Filter;
use presence::{EventKind, Status};

use crate::fixture::{Scene, flapping, rule, rule_set, seconds};

/// Ten pumps that are connected.
fn fleet(rules: RuleSet) -> Scene {
    let mut scene = Scene::new(rules);
    for id in 0..10 {
        scene.observe(&id.to_string(), None, EventKind::Connect);
    }
    scene
}

/// The next process, with what the last one announced.
fn next(scene: &Scene, rules: RuleSet, after: u64) -> Scene {
    let now = scene.now.later(seconds(after));
    let mut engine = Engine::new(Arc::new(rules), now);
    engine.restore(now, scene.engine.announced());
    Scene { engine, now, sent: Vec::new() }
}

#[test]
fn rules_that_look_for_the_same_go_on_and_others_begin_anew() {
    let (long, short) = (rule("long", Kind::OfflineFor, 600), rule("short", Kind::OfflineFor, 60));
    let mut scene = fleet(rule_set(60, vec![long.clone(), short.clone()]));
    scene.disconnect("7");
    scene.pass(500);
    assert_eq!(scene.lines(), ["short pump/7 firing 1/0"]);
    // Another order, another endpoint, a silence: nothing that would begin a clock anew.
    let silence = Silence {
        selector: Filter::default(),
        rules: vec!["short".into()],
        span: WallSpan { from: WallMillis(0), until: WallMillis(1) },
        author: String::new(),
        comment: String::new(),
    };
    let of_other_endpoint = alerts::Rule { webhooks: vec!["other".into()], ..short.clone() };
    let rules = RuleSet {
        silences: vec![silence],
        ..rule_set(60, vec![of_other_endpoint, rule("new", Kind::OfflineFor, 30), long])
    };
    assert!(scene.engine.set_rules(Arc::new(rules.clone()), scene.now), "one is new");
    assert!(!scene.engine.set_rules(Arc::new(rules), scene.now), "nothing has changed");
    scene.engine.begin_anew();
    for id in 0..10 {
        let kind = if id == 7 { EventKind::Disconnect } else { EventKind::Connect };
        let since = scene.now;
        scene.now.wall.0 -= 500_000;
        scene.observe(&id.to_string(), None, kind);
        scene.now = since;
    }
    scene.pass(100);
    assert_eq!(scene.lines(), ["new pump/7 firing 1/0", "long pump/7 firing 1/0"]);
    scene.connect("7");
    scene.pass(1);
    assert_eq!(
        scene.lines(),
        ["short pump/7 resolved 0/1", "new pump/7 resolved 0/1", "long pump/7 resolved 0/1"]
    );
}

#[test]
fn an_alert_of_a_device_that_its_rule_selects_no_longer_is_resolved() {
    let offline = rule("offline", Kind::OfflineFor, 60);
    let mut scene = fleet(rule_set(60, vec![offline.clone()]));
    scene.disconnect("7");
    scene.pass(61);
    assert_eq!(scene.lines(), ["offline pump/7 firing 1/0"]);
    let selector = Filter { types: vec!["tank".to_owned()], ..Filter::default() };
    let of_tanks = alerts::Rule { selector, ..offline };
    assert!(scene.engine.set_rules(Arc::new(rule_set(60, vec![of_tanks])), scene.now));
    scene.pass(1);
    assert_eq!(scene.lines(), ["offline pump/7 resolved 0/1"]);
}

#[test]
fn flapping_that_was_announced_ends_in_the_next_process_though_nothing_happens_any_more() {
    let rules = || rule_set(60, vec![rule("flaps", flapping(300, 3, 1), 0)]);
    let mut scene = fleet(rules());
    for _ in 0..3 {
        scene.disconnect("7");
        scene.connect("7");
    }
    scene.pass(1);
    assert_eq!(scene.lines(), ["flaps pump/7 firing 1/0"]);
    let mut scene = next(&scene, rules(), 30);
    scene.observe("7", None, EventKind::Connect);
    scene.engine.set_observed(scene.now, Part::Fleet, true);
    scene.pass(60 + 299);
    assert_eq!(scene.lines(), Vec::<String>::new());
    scene.pass(2);
    assert_eq!(scene.lines(), ["flaps pump/7 resolved 0/1"]);
}

#[test]
fn an_outage_that_was_announced_is_one_outage_through_a_restart() {
    let rules = || rule_set(300, vec![rule("offline", Kind::OfflineFor, 60)]);
    let mut scene = fleet(rules());
    scene.engine.set_observed(scene.now, Part::Fleet, false);
    scene.pass(61);
    let key = scene.sent[0].key;
    assert_eq!(scene.lines(), [format!("{UNOBSERVED_RULE}  firing 1/0")]);
    let mut scene = next(&scene, rules(), 30);
    scene.pass(600);
    assert_eq!(scene.lines(), Vec::<String>::new());
    scene.engine.set_observed(scene.now, Part::Fleet, true);
    scene.pass(300);
    assert_eq!(scene.sent[0].key, key);
    assert_eq!(scene.lines(), [format!("{UNOBSERVED_RULE}  resolved 0/1")]);
}

#[test]
fn an_output_that_fails_is_reported_to_the_others() {
    let offline = rule("offline", Kind::OfflineFor, 60);
    let rules = alerts::Rule { webhooks: vec!["ops".into(), "mail".into()], ..offline };
    let mut scene = fleet(rule_set(60, vec![rules]));
    scene.engine.set_output(scene.now, "mail", false);
    scene.pass(59);
    assert_eq!(scene.lines(), Vec::<String>::new());
    scene.pass(2);
    assert_eq!(scene.sent[0].webhooks, ["ops".into()]);
    assert_eq!(scene.lines(), [format!("{OUTPUT_RULE} mail firing 1/0")]);
    scene.engine.set_output(scene.now, "mail", true);
    scene.pass(1);
    assert_eq!(scene.lines(), [format!("{OUTPUT_RULE} mail resolved 0/1")]);
}

#[test]
fn an_acknowledgement_lasts_through_a_restart_and_can_be_taken_back() {
    let repeat_interval = Some(seconds(600));
    let rules =
        || rule_set(60, vec![alerts::Rule { repeat_interval, ..rule("offline", Kind::OfflineFor, 60) }]);
    let mut scene = fleet(rules());
    scene.disconnect("7");
    scene.pass(61);
    let until = WallMillis(scene.now.wall.0 + 3_600_000);
    assert!(scene.engine.acknowledge("offline", "pump/7", Some(until)));
    let mut scene = next(&scene, rules(), 30);
    scene.observe("7", None, EventKind::Disconnect);
    scene.engine.set_observed(scene.now, Part::Fleet, true);
    let shown: Vec<_> = scene.engine.alerts(scene.now).collect();
    assert_eq!((shown[0].state, shown[0].acknowledged_until), (AlertState::Firing, Some(until)));
    scene.pass(1_800);
    assert_eq!(scene.lines(), Vec::<String>::new());
    assert!(scene.engine.acknowledge("offline", "pump/7", None));
    scene.pass(600);
    assert_eq!(scene.lines(), ["offline pump/7 repeated 1/0"]);
    scene.observe("7", Some(Status::Disconnected), EventKind::Connect);
    scene.pass(1);
    assert_eq!(scene.lines(), ["offline pump/7 resolved 0/1"]);
}
