//! The alerts about the service itself: while a part of the fleet is not observed, no other alert about it can be relied on, and
//! what an output does not take, nobody reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, AlertState, Notification, NotificationStatus};
use crate::clock::{Now, WallMillis, millis};
use crate::dispatch;

/// The name of the alert, as no rule can have it.
pub const UNOBSERVED_RULE: &str = "unobserved";

/// The name of the alert about an output that takes no message, as no rule can have it.
pub const OUTPUT_RULE: &str = "output_failing";

/// A link that is back within that time is a reconnect and no outage.
pub const UNOBSERVED_AFTER: Duration = Duration::from_secs(60);

/// Outages: of the fleet, under the empty name, and of sources; or of outputs.
#[derive(Debug)]
pub(crate) struct Outages {
    rule: &'static str,
    by_part: BTreeMap<Arc<str>, Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Now,
    /// From when on the part is observed again, by ticks.
    over_since: Option<u64>,
    is_announced: bool,
}

/// An outage that was announced and whose end was not.
pub(crate) struct AnnouncedOutage {
    pub part: Arc<str>,
    pub since: WallMillis,
    pub key: u64,
}

impl Outages {
    pub fn new(rule: &'static str) -> Self {
        Self { rule, by_part: BTreeMap::new() }
    }

    /// An outage that an earlier process announced. It lasts until somebody says that it is over.
    pub fn restore(&mut self, now: Now, part: Arc<str>, since: WallMillis) {
        let since = Now { ticks: now.ticks, wall: since };
        self.by_part.insert(part, Outage { since, over_since: None, is_announced: true });
    }

    /// The outages that are announced, with their keys.
    pub fn announced(&self) -> impl Iterator<Item = AnnouncedOutage> {
        let announced = self.by_part.iter().filter(|(_, outage)| outage.is_announced);
        announced.map(|(part, outage)| {
            let since = outage.since.wall;
            AnnouncedOutage { part: part.clone(), since, key: dispatch::key(self.rule, part, since) }
        })
    }

    /// A part, the fleet under the empty name, is not observed from now on, or is again.
    pub fn set(&mut self, now: Now, part: &str, is_observed: bool) {
        if is_observed {
            if let Some(outage) = self.by_part.get_mut(part) {
                outage.over_since.get_or_insert(now.ticks);
            }
            return;
        }
        let new = Outage { since: now, over_since: None, is_announced: false };
        self.by_part.entry(part.into()).or_insert(new).over_since = None;
    }

    /// What is to be announced: an outage once it has lasted, its end once the grace is over. While the fleet is not observed,
    /// no source is announced beside it.
    pub fn advance(&mut self, now: Now, grace: Duration, webhooks: &[Arc<str>]) -> Vec<Notification> {
        let mut notifications = Vec::new();
        let rule = self.rule;
        let fleet_is_out = self.by_part.get("").is_some_and(|outage| outage.over_since.is_none());
        self.by_part.retain(|part, outage| {
            let is_new = outage.over_since.is_none()
                && !outage.is_announced
                && (part.is_empty() || !fleet_is_out)
                && now.ticks.saturating_sub(outage.since.ticks) >= millis(UNOBSERVED_AFTER);
            if is_new {
                outage.is_announced = true;
                notifications.push(notification((rule, part), outage, now, webhooks));
            }
            let is_over = outage
                .over_since
                .is_some_and(|over| !outage.is_announced || over.saturating_add(millis(grace)) <= now.ticks);
            if is_over && outage.is_announced {
                notifications.push(notification((rule, part), outage, now, webhooks));
            }
            !is_over
        });
        notifications
    }

    /// The outages that are announced.
    pub fn alerts(&self) -> impl Iterator<Item = Alert> {
        let announced = self.by_part.iter().filter(|(_, outage)| outage.is_announced);
        announced.map(|(part, outage)| alert((self.rule, part), AlertState::Firing, outage.since.wall))
    }
}

fn alert((rule, part): (&'static str, &Arc<str>), state: AlertState, since: WallMillis) -> Alert {
    Alert {
        rule: rule.into(),
        kind: rule,
        device: None,
        group: part.clone(),
        state,
        since,
        suppressed_by: None,
        acknowledged_until: None,
        further_devices: 0,
    }
}

fn notification(
    (rule, part): (&'static str, &Arc<str>),
    outage: &Outage,
    now: Now,
    webhooks: &[Arc<str>],
) -> Notification {
    let is_over = outage.over_since.is_some();
    let alert = |state| vec![alert((rule, part), state, outage.since.wall)];
    // An output that fails is of no use for the message about it.
    let webhooks = webhooks.iter().filter(|webhook| rule != OUTPUT_RULE || *webhook != part);
    let (firing, resolved) = if is_over {
        (Vec::new(), alert(AlertState::Resolved))
    } else {
        (alert(AlertState::Firing), Vec::new())
    };
    Notification {
        rule: rule.into(),
        kind: rule,
        group: part.clone(),
        status: if is_over { NotificationStatus::Resolved } else { NotificationStatus::Firing },
        key: dispatch::key(rule, part, outage.since.wall),
        at: now.wall,
        is_repeated: false,
        begun_total: firing.len(),
        firing_total: firing.len(),
        further_devices: 0,
        resolved_total: resolved.len(),
        firing,
        resolved,
        webhooks: webhooks.cloned().collect(),
    }
}
