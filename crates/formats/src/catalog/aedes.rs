//! Which formats read the topics on which the broker aedes tells of its clients. On a connection that receives one of these
//! messages, aedes takes a retained last will that it sends after it for a duplicate.

use super::{Decoders, Formats};
use crate::profile::matches;

/// What follows the id of the broker.
const CLIENT_TOPICS: [&str; 2] = ["new/clients", "disconnect/clients"];
/// What EMQX and NanoMQ have in the place of that id.
const OTHER_BROKERS: &str = "brokers";

impl Formats {
    /// A format that reads aedes' topics, and one beside it that does not.
    pub fn beside_aedes(&self) -> Option<(&str, &str)> {
        let Decoders::Several(several) = &self.0 else { return None };
        let readers: Vec<&str> = several
            .profiles
            .iter()
            .filter(|profile| profile.filters().iter().any(|filter| brings_clients(filter)))
            .map(|profile| profile.name())
            .collect();
        let other = several.names.iter().find(|name| !readers.contains(&&***name))?;
        Some((*readers.first()?, other))
    }
}

/// Whether a subscription brings messages about the clients of an aedes of any id.
fn brings_clients(filter: &str) -> bool {
    let id = filter.split('/').nth(1).filter(|level| !matches!(*level, "+" | "#" | OTHER_BROKERS));
    CLIENT_TOPICS.iter().any(|end| matches(filter, &format!("$SYS/{}/{end}", id.unwrap_or("any"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::IOT_PLATFORM;
    use crate::profile;

    fn formats(names: &[&str], further: &str) -> Formats {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Formats::new(&names, &profile::parse(further).unwrap()).unwrap()
    }

    #[test]
    fn topics_decide_and_not_names() {
        let of = |topic: &str| {
            format!(
                "[[profile]]\nname = \"own\"\ntopic = \"{topic}\"\ntype = \"mqtt\"\nconnected = [\"1\"]\n"
            )
        };
        for topic in [
            "$SYS/{id}/new/clients",
            "$SYS/{id}/disconnect/clients",
            "$SYS/0a1b-2c/{id}/clients",
            "$SYS/{id...}/state",
        ] {
            let beside =
                |names| formats(names, &of(topic)).beside_aedes().map(|(one, other)| [one, other].concat());
            assert_eq!(beside(&["tasmota", "own"]).as_deref(), Some("owntasmota"), "{topic}");
            assert_eq!(beside(&["own", IOT_PLATFORM]).as_deref(), Some("owniot-platform"), "{topic}");
            assert_eq!(beside(&["own"]), None);
        }
        for topic in [
            "$SYS/brokers/+/clients/{id...}/connected",
            "$SYS/broker/connection/client/{id}/state",
            "$SYS/{id}/new/subscribes",
            "+/{id}/new/clients",
            "plant/{id...}/disconnect/clients",
        ] {
            assert_eq!(formats(&["own", "tasmota"], &of(topic)).beside_aedes(), None, "{topic}");
        }
    }

    #[test]
    fn topics_of_built_in_sources_decide_as_well() {
        assert_eq!(formats(&["esphome", "aedes"], "").beside_aedes(), Some(("aedes", "esphome")));
        let others = ["emqx", "mosquitto-log", "nanomq", "mosquitto-plugin", "aws-iot", "tasmota"];
        assert_eq!(formats(&others, "").beside_aedes(), None);
        // A profile of that name that reads other topics is no such source.
        let own = "[[profile]]\nname = \"aedes\"\ntopic = \"a/{id}\"\ntype = \"t\"\nconnected = [\"1\"]\n";
        assert_eq!(formats(&["aedes", "tasmota"], own).beside_aedes(), None);
        assert_eq!(Formats::default().beside_aedes(), None);
    }
}
