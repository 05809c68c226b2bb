//! Rules and observations as tests write them.

use std::sync::Arc;
use std::time::Duration;

use alerts::{
    CountThreshold, DropThreshold, Engine, GroupBy, Kind, Notification, NotificationStatus, Now, Observation,
    Part, Rule, RuleSet, WallMillis,
};
use presence::query::Filter;
use presence::{Device, EventKind, Status};

pub const SOURCE: &str = "iot-platform";

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A rule that announces at once, each device by itself, and once.
pub fn rule(name: &str, kind: Kind, hold: u64) -> Rule {
    Rule {
        name: name.into(),
        kind,
        hold: seconds(hold),
        keep_firing_for: Duration::ZERO,
        selector: Filter::default(),
        excluded_causes: vec!["asleep".to_owned()],
        group_by: GroupBy::Device,
        group_wait: Duration::ZERO,
        group_interval: Duration::ZERO,
        repeat_interval: None,
        webhooks: vec!["ops".into()],
    }
}

pub fn flapping(window: u64, start: u32, stop: u32) -> Kind {
    Kind::Flapping(CountThreshold { window: seconds(window), start, stop })
}

pub fn drop_by_type(window: u64, min_percent: u8, min_devices: u32) -> Rule {
    let threshold = DropThreshold { window: seconds(window), min_percent, min_devices };
    Rule { group_by: GroupBy::Type, ..rule("drop", Kind::FleetDrop(threshold), 0) }
}

pub fn rule_set(grace: u64, rules: Vec<Rule>) -> RuleSet {
    RuleSet { startup_grace: seconds(grace), rules, ..RuleSet::default() }
}

/// An engine on a clock that the test moves.
pub struct Scene {
    pub engine: Engine,
    pub now: Now,
    pub sent: Vec<Notification>,
}

impl Scene {
    /// Everything is observed, and the grace is over.
    pub fn new(rules: RuleSet) -> Self {
        Self::at(rules, WallMillis(1_780_000_000_000))
    }

    pub fn at(rules: RuleSet, wall: WallMillis) -> Self {
        let grace = rules.startup_grace;
        let now = Now { ticks: 1_000_000, wall };
        let mut scene = Self { engine: Engine::new(Arc::new(rules), now), now, sent: Vec::new() };
        scene.engine.set_observed(now, Part::Fleet, true);
        scene.pass(grace.as_secs());
        scene
    }

    /// Lets seconds pass, one by one.
    pub fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now = self.now.later(Duration::from_secs(1));
            self.sent.extend(self.engine.advance(self.now));
        }
    }

    pub fn observe(&mut self, id: &str, before: Option<Status>, event: EventKind) {
        self.observe_of("pump", id, before, event);
    }

    pub fn observe_of(&mut self, device_type: &str, id: &str, before: Option<Status>, event: EventKind) {
        let status = match event {
            EventKind::Connect | EventKind::Takeover => Status::Connected,
            EventKind::FailedLogin | EventKind::Request | EventKind::Refusal | EventKind::Disconnect => {
                Status::Disconnected
            }
        };
        let observation = Observation {
            device: Device { device_type, id },
            source: Some(SOURCE),
            before,
            status: Some(status),
            cause: (status == Status::Disconnected).then_some("connection"),
            address: None,
            since: self.now.wall,
            event: Some(event),
        };
        self.engine.observe(self.now, &observation);
    }

    /// The device was forgotten while nobody looked.
    pub fn forget(&mut self, id: &str) {
        let observation = Observation {
            device: Device { device_type: "pump", id },
            source: None,
            before: None,
            status: None,
            cause: None,
            address: None,
            since: self.now.wall,
            event: None,
        };
        self.engine.observe(self.now, &observation);
    }

    pub fn connect(&mut self, id: &str) {
        self.observe(id, Some(Status::Disconnected), EventKind::Connect);
    }

    pub fn disconnect(&mut self, id: &str) {
        self.observe(id, Some(Status::Connected), EventKind::Disconnect);
    }

    /// What was sent since the last question, a line each.
    pub fn lines(&mut self) -> Vec<String> {
        self.sent.drain(..).map(|notification| line(&notification)).collect()
    }
}

pub fn line(notification: &Notification) -> String {
    let Notification { rule, group, status, firing_total, resolved_total, is_repeated, .. } = notification;
    let word = match (status, is_repeated) {
        (NotificationStatus::Firing, true) => "repeated",
        (NotificationStatus::Firing, false) => "firing",
        (NotificationStatus::Resolved, _) => "resolved",
    };
    format!("{rule} {group} {word} {firing_total}/{resolved_total}")
}
