//! The alert about the service itself: while a part of the fleet is not observed, no other alert about it can be relied on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::alert::{Alert, AlertState, Notification, NotificationStatus};
use crate::clock::{Now, WallMillis, millis};
use crate::dispatch;

/// The name of the alert, as no rule can have it.
pub const UNOBSERVED_RULE: &str = "unobserved";

/// A link that is back within that time is a reconnect and no outage.
pub const UNOBSERVED_AFTER: Duration = Duration::from_secs(60);

/// Outages of the fleet, under the empty name, and of sources.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    by_part: BTreeMap<Arc<str>, Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Now,
    /// From when on the part is observed again, by ticks.
    over_since: Option<u64>,
    is_announced: bool,
}

impl Outages {
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
        let fleet_is_out = self.by_part.get("").is_some_and(|outage| outage.over_since.is_none());
        self.by_part.retain(|part, outage| {
            let is_new = outage.over_since.is_none()
                && !outage.is_announced
                && (part.is_empty() || !fleet_is_out)
                && now.ticks.saturating_sub(outage.since.ticks) >= millis(UNOBSERVED_AFTER);
            if is_new {
                outage.is_announced = true;
                notifications.push(notification(part, outage, now, webhooks));
            }
            let is_over = outage
                .over_since
                .is_some_and(|over| !outage.is_announced || over.saturating_add(millis(grace)) <= now.ticks);
            if is_over && outage.is_announced {
                notifications.push(notification(part, outage, now, webhooks));
            }
            !is_over
        });
        notifications
    }

    /// The outages that are announced.
    pub fn alerts(&self) -> impl Iterator<Item = Alert> {
        let announced = self.by_part.iter().filter(|(_, outage)| outage.is_announced);
        announced.map(|(part, outage)| alert(part, AlertState::Firing, outage.since.wall))
    }
}

fn alert(part: &Arc<str>, state: AlertState, since: WallMillis) -> Alert {
    Alert {
        rule: UNOBSERVED_RULE.into(),
        device: None,
        group: part.clone(),
        state,
        since,
        suppressed_by: None,
    }
}

fn notification(part: &Arc<str>, outage: &Outage, now: Now, webhooks: &[Arc<str>]) -> Notification {
    let is_over = outage.over_since.is_some();
    let alert = |state| vec![alert(part, state, outage.since.wall)];
    let (firing, resolved) = if is_over {
        (Vec::new(), alert(AlertState::Resolved))
    } else {
        (alert(AlertState::Firing), Vec::new())
    };
    Notification {
        rule: UNOBSERVED_RULE.into(),
        kind: UNOBSERVED_RULE,
        group: part.clone(),
        status: if is_over { NotificationStatus::Resolved } else { NotificationStatus::Firing },
        key: dispatch::key(UNOBSERVED_RULE, part, outage.since.wall),
        at: now.wall,
        is_repeated: false,
        begun_total: firing.len(),
        firing_total: firing.len(),
        resolved_total: resolved.len(),
        firing,
        resolved,
        webhooks: webhooks.to_vec(),
    }
}
