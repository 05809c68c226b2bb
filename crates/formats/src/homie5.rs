//! Homie 5: devices by their `$state`, which is a profile, and the trees that they form by their `$description`.
//!
//! A device that is not the root of its tree names the root. Only the root has a connection to the broker, so if its will
//! says that it is lost, all devices of its tree are.

use std::borrow::Cow;

use serde::Deserialize;

use crate::name::is_valid_name;
use crate::profile::{Message, Profiles};
use crate::{Decoded, DeviceName};

/// What to subscribe to.
pub const FILTERS: &[&str] = &["+/5/+/$state", "+/5/+/$description"];

/// The type of every device of this format, as in its profile.
const DEVICE_TYPE: &str = "homie";

/// A device with thousands of properties describes itself in a few hundred kilobytes.
const DESCRIPTION_MAX_BYTES: usize = 1 << 20;

/// Decodes one message; states are decoded by the profile.
pub fn decode<'a>(states: &'a Profiles, message: Message<'a>) -> Decoded<'a> {
    if message.topic.split('/').nth(1) != Some("5") {
        return Decoded::NoMatch;
    }
    match described(message.topic) {
        Some(id) => description(id, message.payload),
        None => states.decode(message),
    }
}

/// The device that a topic describes.
fn described(topic: &str) -> Option<&str> {
    let mut levels = topic.strip_suffix("/$description")?.split('/');
    match (levels.next(), levels.next(), levels.next(), levels.next()) {
        (Some(_domain), Some("5"), Some(id), None) => Some(id),
        _ => None,
    }
}

fn description<'a>(id: &'a str, payload: &'a [u8]) -> Decoded<'a> {
    #[derive(Deserialize)]
    struct Description<'a> {
        #[serde(borrow, default)]
        root: Option<Cow<'a, str>>,
    }
    if !is_valid_name(id) {
        return Decoded::Undecodable("device_id");
    }
    let name = |id: Cow<'a, str>| DeviceName { device_type: DEVICE_TYPE.into(), id };
    let device = name(id.into());
    if payload.is_empty() {
        return Decoded::Parent { device, parent: None };
    }
    if payload.len() > DESCRIPTION_MAX_BYTES {
        return Decoded::Undecodable("payload_too_long");
    }
    let Ok(Description { root }) = serde_json::from_slice(payload) else {
        return Decoded::Undecodable("json");
    };
    // A root may name itself.
    match root.filter(|root| **root != *id) {
        Some(root) if !is_valid_name(&root) => Decoded::Undecodable("parent_id"),
        root => Decoded::Parent { device, parent: root.map(name) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn decoded(topic: &str, payload: &str) -> String {
        let profile = builtin::find("homie5").unwrap().profile().unwrap();
        let states = Profiles::new(vec![profile]).unwrap();
        let message = Message { topic, payload: payload.as_bytes(), is_retained: true };
        match decode(&states, message) {
            Decoded::Event(event) => format!("{:?} {}", event.kind, event.device.id),
            Decoded::Removed(device) => format!("removed {}", device.id),
            Decoded::Parent { device, parent } => {
                format!("{} below {}", device.id, parent.map_or("nobody".into(), |parent| parent.id))
            }
            Decoded::Undecodable(why) => why.to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn states_and_descriptions_are_read() {
        for (topic, payload, meaning) in [
            ("homie/5/light1/$state", "ready", "Connect light1"),
            ("site/5/light1/$state", "lost", "Disconnect light1"),
            ("homie/5/light1/$state", "", "removed light1"),
            (
                "homie/5/light1/$description",
                r#"{"homie":"5.0","nodes":{"n":{"properties":{}}},"root":"bridge","parent":"relay","version":7}"#,
                "light1 below bridge",
            ),
            ("homie/5/bridge/$description", r#"{"homie":"5.0","children":["relay"]}"#, "bridge below nobody"),
            ("homie/5/bridge/$description", r#"{"root":"bridge"}"#, "bridge below nobody"),
            ("homie/5/bridge/$description", "", "bridge below nobody"),
            ("homie/5/light1/$description", r#"{"root":7}"#, "json"),
            ("homie/5/light1/$description", r#"{"root":""}"#, "parent_id"),
            ("homie/5/light1/$description", "ready", "json"),
            ("homie/4/light1/$description", "{}", "NoMatch"),
        ] {
            assert_eq!(decoded(topic, payload), meaning, "{topic} {payload}");
        }
    }
}
