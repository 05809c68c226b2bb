//! What the store keeps of alerts, as text: what was announced together with what is to be sent, and how far each endpoint is.

use std::sync::Arc;

use alerts::{AnnouncedAlert, WallMillis};
use presence::{Device, DeviceName};
use serde::{Deserialize, Serialize};
use store::DeliveryState;

use crate::outbox::{AcceptedNumbers, NotificationQueue};
use crate::silences::StoredSilence;

/// The name of the lease, and the prefix of the names of what is kept. No endpoint has a slash in its name.
pub const LEASE: &str = "alerts/engine";
pub const ANNOUNCED: &str = "alerts/announced";
pub const SILENCES: &str = "alerts/silences";
const POSITION: &str = "alerts/position/";

/// Everything that is kept.
#[derive(Default)]
pub struct StoredAlerts {
    pub announced: Vec<AnnouncedAlert>,
    pub outbox: NotificationQueue,
    pub positions: AcceptedNumbers,
    pub silences: Vec<StoredSilence>,
}

/// What is written in one step.
#[derive(Serialize, Deserialize)]
struct Announced {
    alerts: Vec<StoredAlert>,
    outbox: NotificationQueue,
}

#[derive(Serialize, Deserialize)]
struct StoredAlert {
    rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    device: Option<StoredAlertDevice>,
    group: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    since_ms: i64,
    key: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    members: Vec<StoredAlertDevice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acknowledged_until_ms: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct StoredAlertDevice {
    #[serde(rename = "type")]
    device_type: String,
    id: String,
}

impl StoredAlertDevice {
    fn of(device: &DeviceName) -> Self {
        Self { device_type: device.device_type.to_string(), id: device.id.to_string() }
    }

    fn name(&self) -> Arc<DeviceName> {
        Arc::new(DeviceName::of(Device { device_type: &self.device_type, id: &self.id }))
    }
}

impl StoredAlert {
    fn of(alert: &AnnouncedAlert) -> Self {
        Self {
            rule: alert.rule.to_string(),
            device: alert.device.as_deref().map(StoredAlertDevice::of),
            group: alert.group.to_string(),
            source: alert.source.as_deref().map(str::to_owned),
            since_ms: alert.since.0,
            key: alert.key,
            members: alert.members.iter().map(|member| StoredAlertDevice::of(member)).collect(),
            acknowledged_until_ms: alert.acknowledged_until.map(|until| until.0),
        }
    }

    fn alert(self) -> AnnouncedAlert {
        AnnouncedAlert {
            device: self.device.as_ref().map(StoredAlertDevice::name),
            members: self.members.iter().map(StoredAlertDevice::name).collect(),
            rule: self.rule.into(),
            group: self.group.into(),
            source: self.source.map(Arc::from),
            since: WallMillis(self.since_ms),
            key: self.key,
            acknowledged_until: self.acknowledged_until_ms.map(WallMillis),
        }
    }
}

impl StoredAlerts {
    /// Reads what the store has; what no version up to this one has written is left out.
    pub fn read(states: Vec<DeliveryState>) -> Self {
        let mut kept = Self::default();
        for DeliveryState { name, state } in states {
            if let Some(endpoint) = name.strip_prefix(POSITION) {
                kept.positions.insert(endpoint.into(), state.parse().unwrap_or(0));
            } else if *name == *ANNOUNCED
                && let Ok(announced) = serde_json::from_str::<Announced>(&state)
            {
                kept.announced = announced.alerts.into_iter().map(StoredAlert::alert).collect();
                kept.outbox = announced.outbox;
            } else if *name == *SILENCES {
                kept.silences = serde_json::from_str(&state).unwrap_or_default();
            }
        }
        kept
    }
}

/// What was announced and what is to be sent, as the store has it.
pub fn announced_text(alerts: &[AnnouncedAlert], outbox: &NotificationQueue) -> String {
    let announced =
        Announced { alerts: alerts.iter().map(StoredAlert::of).collect(), outbox: outbox.clone() };
    serde_json::to_string(&announced).expect("texts and numbers are JSON")
}

/// The name under which the store has the position of an endpoint.
pub fn position_name(endpoint: &str) -> String {
    format!("{POSITION}{endpoint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let device = |id: &str| Arc::new(DeviceName { device_type: "pump".into(), id: id.into() });
        let alert = |device: Option<Arc<DeviceName>>, members| AnnouncedAlert {
            rule: "offline".into(),
            device,
            group: "pump".into(),
            source: Some("one".into()),
            since: WallMillis(5),
            key: u64::MAX,
            members,
            acknowledged_until: Some(WallMillis(9)),
        };
        let alerts =
            vec![alert(Some(device("a/1")), Vec::new()), alert(None, vec![device("2"), device("3")])];
        let state = |name: &str, state: String| DeliveryState { name: name.into(), state: state.into() };
        let kept = StoredAlerts::read(vec![
            state("ops", "{}".to_owned()),
            state(ANNOUNCED, announced_text(&alerts, &NotificationQueue::default())),
            state(&position_name("ops"), "7".to_owned()),
        ]);
        assert_eq!(kept.announced, alerts);
        assert_eq!(kept.positions, [("ops".into(), 7)].into());
        assert_eq!(StoredAlerts::read(vec![state(ANNOUNCED, "?".to_owned())]).announced, []);
    }
}
