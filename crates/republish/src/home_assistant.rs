//! Discovery by Home Assistant, one message for each device:
//! <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::topics::Topics;
use presence::{Device, DeviceName};

/// Where Home Assistant looks for devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    prefix: String,
}

#[derive(Serialize)]
struct DiscoveryPayload<'a> {
    device: DeviceInfo<'a>,
    origin: DiscoveryOrigin,
    components: Components<'a>,
    availability: [Availability; 1],
    qos: u8,
}

#[derive(Serialize)]
struct DeviceInfo<'a> {
    identifiers: [&'a str; 1],
    name: &'a str,
    model: &'a str,
}

/// Who publishes it.
#[derive(Serialize)]
struct DiscoveryOrigin {
    name: &'static str,
    sw_version: &'static str,
}

#[derive(Serialize)]
struct Components<'a> {
    connectivity: BinarySensor<'a>,
}

#[derive(Serialize)]
struct BinarySensor<'a> {
    platform: &'static str,
    device_class: &'static str,
    unique_id: &'a str,
    /// `null`: the name is the device's.
    name: Option<&'static str>,
    state_topic: &'a str,
    value_template: &'static str,
    payload_on: &'static str,
    payload_off: &'static str,
    json_attributes_topic: &'a str,
}

/// Its payloads are the ones that Home Assistant expects: `online` and `offline`.
#[derive(Serialize)]
struct Availability {
    topic: String,
}

impl Discovery {
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where the message about a device is.
    pub fn topic(&self, topics: &Topics, device: Device<'_>) -> String {
        format!("{}/device/{}/config", self.prefix, object_id(topics, device))
    }

    /// The device that a message of ours is about; `None` if the topic is not one of ours.
    pub fn device_of(&self, topics: &Topics, topic: &str) -> Option<DeviceName> {
        let id = topic.strip_prefix(&self.prefix)?.strip_prefix("/device/")?.strip_suffix("/config")?;
        let mut parts = id.split('-').skip(1).map(decoded);
        let (_prefix, device_type, id) = (parts.next()??, parts.next()??, parts.next()??);
        let device = Device { device_type: &device_type, id: &id };
        (self.topic(topics, device) == topic).then(|| DeviceName::of(device))
    }

    /// A filter for all such topics.
    pub fn all_devices(&self) -> String {
        format!("{}/device/+/config", self.prefix)
    }

    pub fn payload(&self, topics: &Topics, device: Device<'_>) -> Vec<u8> {
        let (id, topic) = (object_id(topics, device), topics.device(device));
        let payload = DiscoveryPayload {
            device: DeviceInfo { identifiers: [&id], name: device.id, model: device.device_type },
            origin: DiscoveryOrigin { name: "devstatus", sw_version: env!("CARGO_PKG_VERSION") },
            components: Components {
                connectivity: BinarySensor {
                    platform: "binary_sensor",
                    device_class: "connectivity",
                    unique_id: &id,
                    name: None,
                    state_topic: &topic,
                    value_template: "{{ value_json.status }}",
                    payload_on: "connected",
                    payload_off: "disconnected",
                    json_attributes_topic: &topic,
                },
            },
            availability: [Availability { topic: topics.service() }],
            qos: 1,
        };
        serde_json::to_vec(&payload).expect("texts and numbers are JSON")
    }
}

/// The name of a device for Home Assistant, which takes letters, digits, `_` and `-`. Every other byte becomes `_` and two digits,
/// and so do `_` and `-` themselves: `-` is found only between prefix, type and id, so no two devices have the same name.
fn object_id(topics: &Topics, Device { device_type, id }: Device<'_>) -> String {
    let mut name = "devstatus".to_owned();
    for part in [topics.prefix(), device_type, id] {
        name.push('-');
        for byte in part.bytes() {
            if byte.is_ascii_alphanumeric() {
                name.push(char::from(byte));
            } else {
                let _ = write!(name, "_{byte:02X}");
            }
        }
    }
    name
}

/// A part of such a name as it was.
fn decoded(part: &str) -> Option<String> {
    percent_decode_str(&part.replace('_', "%")).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const PUMP: Device<'_> = Device { device_type: "pump", id: "p-1" };

    #[test]
    fn the_message_is_what_home_assistant_documents() {
        let (topics, discovery) = (Topics::new("site/devstatus"), Discovery::new("homeassistant"));
        let id = "devstatus-site_2Fdevstatus-pump-p_2D1";
        assert_eq!(discovery.topic(&topics, PUMP), format!("homeassistant/device/{id}/config"));
        let payload: serde_json::Value = serde_json::from_slice(&discovery.payload(&topics, PUMP)).unwrap();
        let expected = json!({
            "device": {"identifiers": [id], "name": "p-1", "model": "pump"},
            "origin": {"name": "devstatus", "sw_version": env!("CARGO_PKG_VERSION")},
            "components": {
                "connectivity": {
                    "platform": "binary_sensor",
                    "device_class": "connectivity",
                    "unique_id": id,
                    "name": null,
                    "state_topic": "site/devstatus/pump/p-1",
                    "value_template": "{{ value_json.status }}",
                    "payload_on": "connected",
                    "payload_off": "disconnected",
                    "json_attributes_topic": "site/devstatus/pump/p-1",
                },
            },
            "availability": [{"topic": "site/devstatus/service"}],
            "qos": 1,
        });
        assert_eq!(payload, expected);
    }

    #[test]
    fn messages_of_other_programs_are_not_ours() {
        let (topics, discovery) = (Topics::new("p"), Discovery::new("ha"));
        for id in
            ["", "devstatus", "devstatus-p-t", "devstatus-p-t-a-b", "devstatus-p-t-a_2", "devstatus-p-t-_61"]
        {
            assert_eq!(discovery.device_of(&topics, &format!("ha/device/{id}/config")), None, "{id}");
        }
        assert_eq!(discovery.device_of(&topics, "ha/binary_sensor/devstatus-p-t-a/config"), None);
    }

    proptest! {
        #[test]
        fn names_have_few_signs_and_no_two_devices_share_one(
            names in prop::collection::btree_set(("[a_/-]{1,3}", "[a_/\u{e9}-]{1,3}", "[a_2F-]{1,4}"), 2..50)
        ) {
            let id = |(prefix, device_type, id): &(String, String, String)| {
                object_id(&Topics::new(prefix), Device { device_type, id })
            };
            let ids: BTreeSet<String> = names.iter().map(id).collect();
            prop_assert_eq!(ids.len(), names.len());
            for (prefix, device_type, id) in &names {
                let (topics, discovery) = (Topics::new(prefix), Discovery::new("ha"));
                let device = Device { device_type, id };
                let topic = discovery.topic(&topics, device);
                prop_assert_eq!(discovery.device_of(&topics, &topic), Some(DeviceName::of(device)));
                prop_assert_eq!(discovery.device_of(&Topics::new("other"), &topic), None);
            }
            let is_taken = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            prop_assert!(ids.iter().all(|id| id.bytes().all(is_taken)));
        }
    }
}
