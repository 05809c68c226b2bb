//! What fires now, group by group, for an output that keeps no state of its own (pure).

use std::collections::BTreeMap;

use alerts::{
    ALERTS_NAMED_MAX, Alert, AlertState, AnnouncedAlert, Notification, NotificationStatus, OUTPUT_RULE, Rule,
    RuleSet, UNOBSERVED_RULE, WallMillis,
};

use crate::data;
use crate::sender::StandingGroup;

/// The groups with announced alerts, as messages that repeat them.
pub fn groups(announced: &[AnnouncedAlert], rules: &RuleSet, at: WallMillis) -> Vec<StandingGroup> {
    let mut by_key: BTreeMap<u64, Vec<&AnnouncedAlert>> = BTreeMap::new();
    for alert in announced {
        by_key.entry(alert.key).or_default().push(alert);
    }
    by_key.into_iter().filter_map(|(key, alerts)| group(key, &alerts, rules, at)).collect()
}

fn group(key: u64, alerts: &[&AnnouncedAlert], rules: &RuleSet, at: WallMillis) -> Option<StandingGroup> {
    let first = alerts.first()?;
    let rule = rules.rules.iter().find(|rule| rule.name == first.rule);
    // The alerts about the service go to all endpoints.
    let webhooks = match rule {
        Some(rule) => rule.webhooks.clone(),
        None => rules.rules.iter().flat_map(|rule| rule.webhooks.iter().cloned()).collect(),
    };
    let kind = kind(&first.rule, rule);
    let alert = |alert: &&AnnouncedAlert| Alert {
        rule: alert.rule.clone(),
        kind,
        device: alert.device.clone(),
        group: alert.group.clone(),
        state: AlertState::Firing,
        since: alert.since,
        suppressed_by: None,
        acknowledged_until: alert.acknowledged_until,
        further_devices: 0,
    };
    let notification = Notification {
        rule: first.rule.clone(),
        kind,
        group: first.group.clone(),
        status: NotificationStatus::Firing,
        key,
        at,
        is_repeated: true,
        firing: alerts.iter().take(ALERTS_NAMED_MAX).map(alert).collect(),
        begun_total: 0,
        firing_total: alerts.len(),
        further_devices: 0,
        resolved: Vec::new(),
        resolved_total: 0,
        webhooks: webhooks.clone(),
    };
    Some(StandingGroup { key, data: data::of_notification(&notification, &rules.public_url), webhooks })
}

/// The kind of an alert. Those about the service are their own kind.
pub fn kind(name: &str, rule: Option<&Rule>) -> &'static str {
    match rule {
        Some(rule) => rule.kind.word(),
        None if *name == *OUTPUT_RULE => OUTPUT_RULE,
        None => UNOBSERVED_RULE,
    }
}
