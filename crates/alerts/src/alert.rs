//! What goes out: notifications, and alerts as they are shown.

use std::sync::Arc;

use presence::DeviceName;

use crate::WallMillis;

/// Alerts of a group that a notification names; the totals count all.
pub const ALERTS_NAMED_MAX: usize = 50;

/// Alerts of one group that began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub rule: Arc<str>,
    pub kind: &'static str,
    /// What the alerts have in common, as `group_by` says; empty: the rule.
    pub group: Arc<str>,
    pub status: NotificationStatus,
    /// The same for all notifications from the first alert of a group until all are resolved.
    pub key: u64,
    pub at: WallMillis,
    /// Nothing is new: the group still fires.
    pub is_repeated: bool,
    /// Those that fire, the new ones first, at most [`ALERTS_NAMED_MAX`].
    pub firing: Vec<Alert>,
    /// How many of them are new.
    pub begun_total: usize,
    pub firing_total: usize,
    /// Devices beyond the alerts that a rule may have; an alert about the group stands for them.
    pub further_devices: usize,
    /// Those that were resolved since the last notification, at most [`ALERTS_NAMED_MAX`].
    pub resolved: Vec<Alert>,
    pub resolved_total: usize,
    /// Where it goes.
    pub webhooks: Vec<Arc<str>>,
}

/// Whether anything fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationStatus {
    Firing,
    Resolved,
}

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    pub rule: Arc<str>,
    pub kind: &'static str,
    /// `None`: it is about the group.
    pub device: Option<Arc<DeviceName>>,
    pub group: Arc<str>,
    pub state: AlertState,
    /// When what it is about began.
    pub since: WallMillis,
    /// Why it is not announced, or its clock does not run.
    pub suppressed_by: Option<Suppression>,
    /// Until then its group is not announced again because nothing has changed.
    pub acknowledged_until: Option<WallMillis>,
    /// How many devices it stands for, beyond the alerts that a rule may have.
    pub further_devices: usize,
}

/// How far an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertState {
    Pending,
    Firing,
    Resolved,
}

/// Why an alert is not announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suppression {
    /// The fleet or the source is not observed.
    Stale,
    /// Not all devices of the type are known.
    Population,
    /// The service has started, or is connected again, only now.
    Startup,
    FleetDrop,
    Flapping,
    Maintenance,
    Silence,
}

/// How many alerts of a rule were held back for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuppressedAlerts<'a> {
    pub rule: &'a Arc<str>,
    pub reason: Suppression,
    pub alerts: u64,
}

impl NotificationStatus {
    /// The type of the webhook's message.
    pub fn word(self) -> &'static str {
        match self {
            NotificationStatus::Firing => "alert.firing",
            NotificationStatus::Resolved => "alert.resolved",
        }
    }
}

impl Suppression {
    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            Suppression::Stale => "stale",
            Suppression::Population => "population",
            Suppression::Startup => "startup",
            Suppression::FleetDrop => "fleet_drop",
            Suppression::Flapping => "flapping",
            Suppression::Maintenance => "maintenance",
            Suppression::Silence => "silence",
        }
    }
}
