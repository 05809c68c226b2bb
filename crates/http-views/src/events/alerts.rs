//! Alerts on a stream: `alert` events about the groups that are announced, and one that says that all were shown.

use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::frame;
use crate::describe::ToSchema;
use alerting::desk::{key_text, list_path, time_text};
use alerting::stream::{AlertEvent, FiringAlert, GroupAbout};
use presence::DeviceName;

/// The data of `alert`: a group of alerts that was announced, as it is now.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertGroup)]
pub struct AlertGroupView<'a> {
    rule: &'a str,
    #[schema(example = "offline_for")]
    kind: &'static str,
    group: &'a str,
    /// `firing`, or `resolved`: nothing of the group fires any more.
    #[schema(example = "firing")]
    status: &'static str,
    /// The same from the first alert of the group until all are resolved, as in notifications.
    key: String,
    /// The alerts that fire, at most 50.
    firing: Vec<FiringAlertView>,
    firing_total: usize,
    acknowledged_until: Option<String>,
    /// Where all alerts of the group are.
    list: String,
}

/// An alert that fires.
#[derive(Serialize, ToSchema)]
#[schema(as = FiringAlert)]
pub struct FiringAlertView {
    /// `null`: it is about the group.
    device: Option<AlertDevice>,
    since: String,
}

#[derive(Serialize, ToSchema)]
pub struct AlertDevice {
    #[serde(rename = "type")]
    device_type: String,
    id: String,
}

/// The data of `alerts_complete`.
#[derive(Serialize, ToSchema)]
#[schema(as = AlertsComplete)]
pub struct AlertsCompleteView {
    /// The groups that fired when the stream began.
    groups: usize,
}

/// The blocks of some events. They have no id: what fires is shown anew when a stream begins again.
pub fn blocks(events: &[AlertEvent]) -> Bytes {
    let mut all = BytesMut::new();
    for event in events {
        match event {
            AlertEvent::Firing(group) => {
                all.extend_from_slice(
                    group.shown.get_or_init(|| frame::event(None, "alert", &firing(&group.about))),
                );
            }
            AlertEvent::Resolved(group) => {
                let resolved = AlertGroupView {
                    status: "resolved",
                    firing: Vec::new(),
                    firing_total: 0,
                    acknowledged_until: None,
                    ..firing(&group.about)
                };
                all.extend_from_slice(&frame::event(None, "alert", &resolved));
            }
            AlertEvent::Complete(groups) => {
                let groups = *groups;
                all.extend_from_slice(&frame::event(None, "alerts_complete", &AlertsCompleteView { groups }));
            }
        }
    }
    all.freeze()
}

fn firing(about: &GroupAbout) -> AlertGroupView<'_> {
    AlertGroupView {
        rule: &about.rule,
        kind: about.kind,
        group: &about.group,
        status: "firing",
        key: key_text(about.key),
        firing: about.firing.iter().map(FiringAlertView::from).collect(),
        firing_total: about.firing_total,
        acknowledged_until: about.acknowledged_until.map(time_text),
        list: list_path(&about.rule, &about.group),
    }
}

impl From<&DeviceName> for AlertDevice {
    fn from(device: &DeviceName) -> Self {
        Self { device_type: device.device_type.to_string(), id: device.id.to_string() }
    }
}

impl From<&FiringAlert> for FiringAlertView {
    fn from(alert: &FiringAlert) -> Self {
        Self { device: alert.device.as_deref().map(AlertDevice::from), since: time_text(alert.since) }
    }
}
