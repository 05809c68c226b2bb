//! What a trial of rules found, for a person and for a program.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use alerts::{AlertState, Notification, RuleSet, Suppression};
use presence::time_text::TimeText;
use serde_json::json;
use system::counted;

use super::seconds_of;
use crate::client::plain;

/// Devices of a rule that are named, those with the most alerts first.
const DEVICES_NAMED_MAX: usize = 20;

/// What the rules would have announced.
#[derive(Debug)]
pub(super) struct TrialReport {
    from: i64,
    until: i64,
    observed_millis: i64,
    pub events: usize,
    pub devices: usize,
    rules: Vec<RuleReport>,
}

#[derive(Debug)]
struct RuleReport {
    name: Arc<str>,
    kind: &'static str,
    notifications: usize,
    alerts: usize,
    /// Alerts about what began before the time that was tried.
    began_before: usize,
    by_subject: BTreeMap<String, u64>,
    held_back: BTreeMap<Suppression, u64>,
}

impl RuleReport {
    /// What its alerts are about.
    fn subject(&self) -> &'static str {
        if self.kind == "fleet_drop" { "group" } else { "device" }
    }
}

impl TrialReport {
    pub fn new(rules: &RuleSet, (from, until): (i64, i64), observed_millis: i64) -> Self {
        let of_rule = |rule: &alerts::Rule| RuleReport {
            name: rule.name.clone(),
            kind: rule.kind.word(),
            notifications: 0,
            alerts: 0,
            began_before: 0,
            by_subject: BTreeMap::new(),
            held_back: BTreeMap::new(),
        };
        let rules = rules.rules.iter().map(of_rule).collect();
        Self { from, until, observed_millis, events: 0, devices: 0, rules }
    }

    /// The alert about the service is left out: a service that did not run announced nothing.
    pub fn add(&mut self, notification: &Notification) {
        let from = self.from;
        let Some(rule) = self.rules.iter_mut().find(|rule| rule.name == notification.rule) else { return };
        rule.notifications += 1;
        for alert in notification.firing.iter().take(notification.begun_total) {
            debug_assert_eq!(alert.state, AlertState::Firing);
            if alert.since.0 < from {
                rule.began_before += 1;
                continue;
            }
            rule.alerts += 1;
            let subject = match &alert.device {
                Some(device) => format!("{}/{}", device.device_type, device.id),
                None => alert.group.to_string(),
            };
            *rule.by_subject.entry(subject).or_default() += 1;
        }
    }

    pub fn held_back(&mut self, name: &Arc<str>, reason: Suppression, times: u64) {
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.name == *name) {
            rule.held_back.insert(reason, times);
        }
    }

    fn observed_percent(&self) -> f64 {
        let all = (self.until - self.from).max(1);
        (1_000.0 * self.observed_millis as f64 / all as f64).floor() / 10.0
    }

    pub fn text(&self) -> String {
        let mut text = format!(
            "from {} to {}: {} of {}, observed {:.1} % of the time\n",
            time(self.from),
            time(self.until),
            counted(self.events, "event"),
            counted(self.devices, "device"),
            self.observed_percent()
        );
        if self.observed_millis == 0 {
            text += "nothing of that time was observed, so no rule could fire\n";
        }
        for rule in &self.rules {
            let _ = write!(
                text,
                "{} ({}): {}, {} of {}",
                rule.name,
                rule.kind,
                counted(rule.notifications, "notification"),
                counted(rule.alerts, "alert"),
                counted(rule.by_subject.len(), rule.subject())
            );
            if rule.began_before > 0 {
                let _ = write!(text, ", {} about what began before", rule.began_before);
            }
            for (reason, times) in &rule.held_back {
                let _ = write!(text, ", {times} held back by {}", reason.word());
            }
            text.push('\n');
            let named = rule.most();
            for (subject, alerts) in named.iter().filter(|(subject, _)| !subject.is_empty()) {
                let _ = writeln!(text, "{alerts:>8}  {}", plain(subject));
            }
            if named.len() < rule.by_subject.len() {
                let _ = writeln!(text, "          and {} more", rule.by_subject.len() - named.len());
            }
        }
        text
    }

    /// One object; the devices of each rule are all there.
    pub fn json(&self) -> String {
        let rules = self.rules.iter().map(|rule| {
            let held_back: BTreeMap<_, _> =
                rule.held_back.iter().map(|(reason, times)| (reason.word(), times)).collect();
            json!({
                "name": &*rule.name,
                "kind": rule.kind,
                "notifications": rule.notifications,
                "alerts": rule.alerts,
                "began_before": rule.began_before,
                "by_subject": rule.by_subject,
                "held_back": held_back,
            })
        });
        let rules: Vec<_> = rules.collect();
        let report = json!({
            "from": time(self.from),
            "until": time(self.until),
            "observed_percent": self.observed_percent(),
            "events": self.events,
            "devices": self.devices,
            "rules": rules,
        });
        format!("{report}\n")
    }
}

impl RuleReport {
    /// The subjects with the most alerts first.
    fn most(&self) -> Vec<(&str, u64)> {
        let mut each: Vec<_> =
            self.by_subject.iter().map(|(subject, alerts)| (subject.as_str(), *alerts)).collect();
        each.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
        each.truncate(DEVICES_NAMED_MAX);
        each
    }
}

fn time(millis: i64) -> TimeText {
    seconds_of(millis).rfc3339()
}
