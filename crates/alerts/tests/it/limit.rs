//! More alerts than a rule may have: beyond them only the groups are announced.

use std::sync::Arc;

use alerts::{Engine, FIRING_MAX, GroupBy, Kind, Part, Rule, RuleSet};
use presence::{EventKind, Status};

use super::fixture::{Scene, drop_by_type, line, rule, rule_set, seconds};

fn rules(group_by: GroupBy) -> RuleSet {
    rule_set(0, vec![Rule { group_by, ..rule("offline", Kind::OfflineFor, 10) }])
}

/// In the order of their names.
fn pump(number: usize) -> String {
    format!("{number:05}")
}

/// Three pumps and two tanks more than there may be alerts are away.
fn overfull(rules: RuleSet) -> Scene {
    let mut scene = Scene::new(rules);
    (0..FIRING_MAX + 3).for_each(|number| scene.disconnect(&pump(number)));
    scene.pass(1);
    for id in ["a", "b"] {
        scene.observe_of("tank", id, Some(Status::Connected), EventKind::Disconnect);
    }
    scene.pass(12);
    scene
}

#[test]
fn beyond_ten_thousand_alerts_of_a_rule_only_the_groups_are_announced() {
    let mut scene = overfull(rules(GroupBy::Type));
    let further: Vec<_> = scene.sent.iter().map(|sent| sent.further_devices).collect();
    assert_eq!(
        (scene.lines(), further),
        (vec!["offline pump firing 10001/0".into(), "offline tank firing 1/0".into()], vec![3, 2])
    );
    let groups: Vec<_> = scene.engine.alerts(scene.now).filter(|alert| alert.device.is_none()).collect();
    assert_eq!(groups.iter().map(|alert| alert.further_devices).sum::<usize>(), 5);
    assert_eq!(scene.engine.alerts(scene.now).count(), FIRING_MAX + 2);

    let back = |scene: &mut Scene, id: &str| {
        scene.observe_of("tank", id, Some(Status::Disconnected), EventKind::Connect)
    };
    back(&mut scene, "a");
    scene.pass(2);
    assert_eq!(scene.lines(), Vec::<String>::new());
    back(&mut scene, "b");
    (0..3).for_each(|number| scene.connect(&pump(FIRING_MAX + number)));
    scene.pass(1);
    assert_eq!(scene.lines(), ["offline pump firing 10000/1", "offline tank resolved 0/1"]);
    // There is room again.
    scene.connect(&pump(0));
    scene.disconnect(&pump(FIRING_MAX + 1));
    scene.pass(11);
    assert_eq!(scene.lines(), ["offline pump firing 9999/1", "offline pump firing 10000/0"]);
}

#[test]
fn where_each_device_is_a_group_one_alert_is_about_all_others() {
    let scene = overfull(rules(GroupBy::Device));
    assert_eq!(scene.sent.len(), FIRING_MAX + 1);
    let last = scene.sent.iter().find(|sent| sent.group.is_empty()).expect("the others are announced");
    assert_eq!((line(last), last.further_devices), ("offline  firing 1/0".to_owned(), 3));
    let groups = scene.engine.alerts(scene.now).filter(|alert| alert.device.is_none());
    assert_eq!(groups.map(|alert| alert.further_devices).collect::<Vec<_>>(), [5], "two went later");
}

#[test]
fn a_later_process_resolves_a_group_once_no_device_is_beyond_and_not_before() {
    for are_back in [false, true] {
        let scene = overfull(rules(GroupBy::Type));
        let rules = Arc::new(rules(GroupBy::Type));
        let mut later = Scene { engine: Engine::new(rules, scene.now), now: scene.now, sent: Vec::new() };
        later.engine.restore(scene.now, scene.engine.announced());
        let event = if are_back { EventKind::Connect } else { EventKind::Disconnect };
        (0..FIRING_MAX + 3).for_each(|number| later.observe(&pump(number), None, event));
        for id in ["a", "b"] {
            later.observe_of("tank", id, None, EventKind::Disconnect);
        }
        later.engine.set_observed(later.now, Part::Fleet, true);
        later.pass(seconds(75).as_secs());
        let expected: &[&str] = if are_back {
            // The tanks have alerts of their own now that there is room.
            &[
                "offline pump firing 1/10000",
                "offline tank firing 3/0",
                "offline pump resolved 0/1",
                "offline tank firing 2/1",
            ]
        } else {
            &[]
        };
        assert_eq!(later.lines(), expected);
    }
}

#[test]
fn a_drop_of_more_devices_than_are_named_goes_on_in_a_later_process_until_they_are_back() {
    let rules = || rule_set(300, vec![drop_by_type(300, 20, 10)]);
    let ids: Vec<_> = (0..30_000).map(pump).collect();
    let (away, others) = ids.split_at(FIRING_MAX + 1);
    let mut scene = Scene::new(rules());
    ids.iter().for_each(|id| scene.observe(id, None, EventKind::Connect));
    away.iter().for_each(|id| scene.disconnect(id));
    scene.pass(1);
    assert_eq!(scene.lines(), ["drop pump firing 1/0"]);
    let announced = scene.engine.announced();
    assert_eq!((announced.len(), announced[0].members.len()), (1, 0));

    let mut later =
        Scene { engine: Engine::new(Arc::new(rules()), scene.now), now: scene.now, sent: Vec::new() };
    later.engine.restore(scene.now, announced);
    others.iter().for_each(|id| later.observe(id, None, EventKind::Connect));
    away.iter().for_each(|id| later.observe(id, None, EventKind::Disconnect));
    let mut last =
        Scene { engine: Engine::new(Arc::new(rules()), scene.now), now: scene.now, sent: Vec::new() };
    last.engine.restore(scene.now, later.engine.announced());
    later.engine.set_observed(later.now, Part::Fleet, true);
    later.pass(400);
    later.connect(&away[0]);
    later.pass(1);
    assert_eq!(later.lines(), Vec::<String>::new(), "most are still gone");
    away[1..].iter().for_each(|id| later.connect(id));
    later.pass(1);
    assert_eq!(later.lines(), ["drop pump resolved 0/1"]);

    // They are back before another process has begun.
    ids.iter().for_each(|id| last.observe(id, None, EventKind::Connect));
    last.engine.set_observed(last.now, Part::Fleet, true);
    last.pass(400);
    assert_eq!(last.lines(), ["drop pump resolved 0/1"]);
}
