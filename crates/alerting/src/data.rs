//! What a message about alerts says (pure).

use alerts::{Alert, Notification, NotificationStatus, WallMillis};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct NotificationData<'a> {
    rule: &'a str,
    kind: &'a str,
    group: &'a str,
    status: &'a str,
    /// The same from the first alert of a group until all are resolved.
    key: String,
    repeated: bool,
    firing: Vec<AlertData<'a>>,
    firing_total: usize,
    new_total: usize,
    /// Beyond the alerts that a rule may have.
    further_devices: usize,
    resolved: Vec<AlertData<'a>>,
    resolved_total: usize,
    /// Where all alerts of the group are.
    list: String,
}

#[derive(Serialize)]
struct AlertData<'a> {
    device: Option<DeviceData<'a>>,
    since: String,
}

#[derive(Serialize)]
struct DeviceData<'a> {
    #[serde(rename = "type")]
    device_type: &'a str,
    id: &'a str,
}

/// The data of a notification; `public_url` is where people reach the service, if that is known.
pub fn of_notification(notification: &Notification, public_url: &str) -> Box<RawValue> {
    let Notification { rule, kind, group, status, key, is_repeated, .. } = notification;
    let data = NotificationData {
        rule,
        kind,
        group,
        status: match status {
            NotificationStatus::Firing => "firing",
            NotificationStatus::Resolved => "resolved",
        },
        key: key_text(*key),
        repeated: *is_repeated,
        firing: notification.firing.iter().map(of_alert).collect(),
        firing_total: notification.firing_total,
        new_total: notification.begun_total,
        further_devices: notification.further_devices,
        resolved: notification.resolved.iter().map(of_alert).collect(),
        resolved_total: notification.resolved_total,
        list: public_url.to_owned() + &list_path(rule, group),
    };
    serde_json::value::to_raw_value(&data).expect("texts and numbers are JSON")
}

fn of_alert(alert: &Alert) -> AlertData<'_> {
    let device = alert.device.as_ref();
    AlertData {
        device: device.map(|device| DeviceData { device_type: &device.device_type, id: &device.id }),
        since: time_text(alert.since),
    }
}

/// Where the alerts of a group are listed.
pub fn list_path(rule: &str, group: &str) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    format!("/api/v1/alerts?rule={}&group={}", encoded(rule), encoded(group))
}

/// A key as messages and answers have it.
pub fn key_text(key: u64) -> String {
    format!("{key:016x}")
}

/// A time as messages and answers have it.
pub fn time_text(at: WallMillis) -> String {
    format!("{:.3}", Timestamp::from_millisecond(at.0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alerts::AlertState;
    use presence::DeviceName;

    use super::*;

    #[test]
    fn a_message_names_the_devices_and_counts_all() {
        let device = DeviceName { device_type: "pump".into(), id: "a/1".into() };
        let alert = Alert {
            rule: "offline".into(),
            kind: "offline_for",
            device: Some(Arc::new(device)),
            group: "pump".into(),
            state: AlertState::Firing,
            since: WallMillis(1_500),
            suppressed_by: None,
            acknowledged_until: None,
            further_devices: 0,
        };
        let notification = Notification {
            rule: "offline".into(),
            kind: "offline_for",
            group: "pump & co".into(),
            status: NotificationStatus::Firing,
            key: 0xab,
            at: WallMillis(2_000),
            is_repeated: false,
            firing: vec![alert],
            begun_total: 60,
            firing_total: 70,
            further_devices: 0,
            resolved: Vec::new(),
            resolved_total: 0,
            webhooks: Vec::new(),
        };
        let with_url = of_notification(&notification, "https://devstatus.example").get().to_owned();
        let list = r#""list":"https://devstatus.example/api/v1/alerts?rule=offline"#;
        assert!(with_url.contains(list), "{with_url}");
        assert_eq!(
            of_notification(&notification, "").get(),
            concat!(
                r#"{"rule":"offline","kind":"offline_for","group":"pump & co","status":"firing","key":"00000000000000ab","repeated":false,"#,
                r#""firing":[{"device":{"type":"pump","id":"a/1"},"since":"1970-01-01T00:00:01.500Z"}],"firing_total":70,"new_total":60,"further_devices":0,"#,
                r#""resolved":[],"resolved_total":0,"list":"/api/v1/alerts?rule=offline&group=pump%20%26%20co"}"#
            )
        );
    }
}
