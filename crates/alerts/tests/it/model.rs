//! The engine against a model that knows no queue: second by second it goes through the whole history again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use alerts::{
    AlertState, Engine, Kind, NotificationStatus, Now, Observation, Part, Rule, UNOBSERVED_RULE, WallMillis,
};
use presence::{Device, EventKind, Status};
use proptest::prelude::*;

use crate::fixture::{SOURCE, drop_by_type, flapping, rule, rule_set, seconds};

const GRACE: u64 = 4;
const HOLD: u64 = 5;
const KEEP: u64 = 3;
const WINDOW: u64 = 12;
const START: usize = 3;
const STOP: usize = 1;
const DROP_WINDOW: u64 = 8;
const DROP_PERCENT: usize = 50;
const DROP_DEVICES: usize = 2;
const DEVICES: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Action {
    Wait,
    /// The device connects if it is not connected, and disconnects if it is.
    Toggle(usize),
    SetFleet(bool),
    SetType(bool),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => Just(Action::Wait),
        4 => (0..DEVICES).prop_map(Action::Toggle),
        1 => any::<bool>().prop_map(Action::SetFleet),
        1 => any::<bool>().prop_map(Action::SetType),
    ];
    prop::collection::vec(action, 1..120)
}

/// What fires, by the rule and the device or group.
type Firing = BTreeSet<(String, String)>;

/// One rule for one subject: a condition of each second, and what follows from it.
#[derive(Default)]
struct Phases {
    held: u64,
    over: u64,
    is_firing: bool,
}

impl Phases {
    /// `has_passed`: whether the second before was observed; `runs`: whether the clock runs now.
    fn step(
        &mut self,
        is_true: bool,
        (hold, keep): (u64, u64),
        has_passed: bool,
        runs: bool,
        restarts: bool,
    ) {
        let passed = u64::from(has_passed);
        if is_true {
            self.over = 0;
            self.held = if restarts { 0 } else { self.held + passed };
            self.is_firing |= runs && self.held >= hold;
        } else {
            self.held = 0;
            self.over = if restarts { 0 } else { self.over + passed };
            if keep == 0 || (runs && self.over >= keep) {
                self.is_firing = false;
            }
        }
    }
}

/// What fires after these actions, one in each second.
fn expected(actions: &[Action]) -> Firing {
    let (mut fleet, mut of_type) = (true, true);
    let mut observed_since = Some(0_u64);
    let mut connected = [true; DEVICES];
    // Seconds of observed time.
    let mut clock = 0_u64;
    let mut ends = vec![Vec::<u64>::new(); DEVICES];
    let mut is_flapping = [false; DEVICES];
    let mut gone_at: [Option<u64>; DEVICES] = [None; DEVICES];
    let mut is_drop = false;
    let mut phases: BTreeMap<(usize, usize), Phases> = BTreeMap::new();
    let runs_at = |since: Option<u64>, second: u64| since.is_some_and(|since| since + GRACE <= second);
    for (second, action) in (0_u64..).zip(actions) {
        // An action happens at the beginning of its second; what was observed before it counts.
        let has_passed = second > 0 && runs_at(observed_since, second - 1);
        clock += u64::from(has_passed);
        let mut toggled = None;
        match *action {
            Action::Wait => {}
            Action::SetFleet(is_observed) => fleet = is_observed,
            Action::SetType(is_observed) => of_type = is_observed,
            Action::Toggle(device) => {
                toggled = Some(device);
                connected[device] = !connected[device];
                if connected[device] {
                    gone_at[device] = None;
                } else {
                    ends[device].push(clock);
                    gone_at[device] = Some(clock);
                }
            }
        }
        match (fleet && of_type, observed_since) {
            (true, None) => observed_since = Some(second),
            (false, Some(_)) => observed_since = None,
            (true, Some(_)) | (false, None) => {}
        }
        let runs = runs_at(observed_since, second);
        for device in 0..DEVICES {
            let restarts = toggled == Some(device);
            let offline = phases.entry((0, device)).or_default();
            offline.step(!connected[device], (HOLD, KEEP), has_passed, runs, restarts);
            // What leaves a window is noticed by a clock that runs; an event is counted at once.
            let within = ends[device].iter().filter(|at| **at + WINDOW > clock).count();
            if runs || toggled == Some(device) && !connected[device] {
                is_flapping[device] = within >= START || (is_flapping[device] && within > STOP);
            }
            phases.entry((1, device)).or_default().step(is_flapping[device], (0, 0), has_passed, runs, false);
        }
        let gone = |is_drop: bool, gone_at: &[Option<u64>; DEVICES]| {
            gone_at.iter().flatten().filter(|at| is_drop || **at + DROP_WINDOW > clock).count()
        };
        if runs || toggled.is_some() {
            let online = connected.iter().filter(|is_connected| **is_connected).count();
            let factor = if is_drop { 2 } else { 1 };
            // A stopped clock leaves those in the window that would leave it.
            let gone_now = gone(is_drop, &gone_at);
            is_drop = gone_now * factor >= DROP_DEVICES
                && gone_now * 100 * factor >= (online + gone_now) * DROP_PERCENT;
            if !is_drop {
                for at in &mut gone_at {
                    *at = at.filter(|at| at + DROP_WINDOW > clock);
                }
            }
        }
        phases.entry((2, 0)).or_default().step(is_drop, (0, 0), has_passed, runs, false);
    }
    let firing = phases.iter().filter(|(_, phases)| phases.is_firing).map(|((rule, device), _)| {
        let subject = if *rule == 2 { "pump".to_owned() } else { device.to_string() };
        (["offline", "flapping", "drop"][*rule].to_owned(), subject)
    });
    firing.collect()
}

/// The engine after the same actions, what it says that fires, and what was announced of it.
fn reached(rules: Vec<Rule>, actions: &[Action]) -> Vec<(Firing, Firing)> {
    let mut now = Now { ticks: 50_000, wall: WallMillis(1_780_000_000_000) };
    let mut engine = Engine::new(Arc::new(rule_set(GRACE, rules)), now);
    engine.name_all_alerts();
    engine.set_observed(now, Part::Fleet, true);
    let mut connected = [true; DEVICES];
    let observe =
        |engine: &mut Engine, now: Now, device: usize, before: Option<Status>, is_connected: bool| {
            let observation = Observation {
                device: Device { device_type: "pump", id: &device.to_string() },
                source: Some(SOURCE),
                before,
                status: Some(if is_connected { Status::Connected } else { Status::Disconnected }),
                cause: None,
                address: None,
                since: now.wall,
                event: Some(if is_connected { EventKind::Connect } else { EventKind::Disconnect }),
            };
            engine.observe(now, &observation);
        };
    (0..DEVICES).for_each(|device| observe(&mut engine, now, device, None, true));
    let mut announced = Firing::new();
    let mut all = Vec::new();
    for action in actions {
        match *action {
            Action::Wait => {}
            Action::SetFleet(is_observed) => engine.set_observed(now, Part::Fleet, is_observed),
            Action::SetType(is_observed) => engine.set_observed(now, Part::Type("pump"), is_observed),
            Action::Toggle(device) => {
                let before = if connected[device] { Status::Connected } else { Status::Disconnected };
                connected[device] = !connected[device];
                observe(&mut engine, now, device, Some(before), connected[device]);
            }
        }
        let notifications = engine.advance(now).into_iter();
        // How the service announces itself is tested elsewhere.
        for notification in notifications.filter(|one| &*one.rule != UNOBSERVED_RULE) {
            let subject = |alert: &alerts::Alert| {
                let device = alert.device.as_ref().map(|device| device.id.to_string());
                (alert.rule.to_string(), device.unwrap_or_else(|| alert.group.to_string()))
            };
            announced.extend(notification.firing.iter().map(subject));
            notification
                .resolved
                .iter()
                .map(subject)
                .for_each(|ended| assert!(announced.remove(&ended), "{ended:?}"));
            let is_resolved = notification.status == NotificationStatus::Resolved;
            assert_eq!(is_resolved, notification.firing.is_empty());
        }
        let own =
            |alert: &alerts::Alert| alert.state == AlertState::Firing && &*alert.rule != UNOBSERVED_RULE;
        let firing = engine.alerts(now).filter(own).map(|alert| {
            let device = alert.device.map(|device| device.id.to_string());
            (alert.rule.to_string(), device.unwrap_or_else(|| alert.group.to_string()))
        });
        all.push((firing.collect(), announced.clone()));
        now = now.later(Duration::from_secs(1));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_fires_follows_from_the_whole_history(actions in actions()) {
        let rules = vec![
            Rule { keep_firing_for: seconds(KEEP), ..rule("offline", Kind::OfflineFor, HOLD) },
            rule("flapping", flapping(WINDOW, START as u32, STOP as u32), 0),
            drop_by_type(DROP_WINDOW, DROP_PERCENT as u8, DROP_DEVICES as u32),
        ];
        let reached = reached(rules, &actions);
        for (second, (firing, _)) in reached.iter().enumerate() {
            prop_assert_eq!(firing, &expected(&actions[..=second]), "after second {} of {:?}", second, &actions);
        }
    }

    #[test]
    fn where_nothing_is_held_back_exactly_what_fires_is_announced(actions in actions()) {
        let rules = vec![
            Rule { keep_firing_for: seconds(KEEP), ..rule("offline", Kind::OfflineFor, HOLD) },
            rule("offline2", Kind::OfflineFor, 0),
        ];
        for (firing, announced) in reached(rules, &actions) {
            prop_assert_eq!(firing, announced);
        }
    }
}
