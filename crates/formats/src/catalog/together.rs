//! Which formats can be used together: no two read the same topics, and on a connection that receives messages about the clients
//! of the broker aedes, that broker takes a retained last will that it sends after one of them for a duplicate.

use super::{Decoders, FormatError, Formats, IOT_PLATFORM, Several};
use crate::iot_platform;
use crate::profile::{covers, matches};

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

impl Several {
    pub(super) fn check(&self) -> Result<(), FormatError> {
        let platform = self.reads_platform.then_some((IOT_PLATFORM, &[iot_platform::ALL_DEVICES][..]));
        let own = self.decoders.iter().map(|decoder| (&*decoder.name, decoder.filters)).chain(platform);
        let own: Vec<_> = own.collect();
        for (index, (name, filters)) in own.iter().enumerate() {
            let covered = |filter: &str| filters.iter().any(|own| covers(own, filter));
            let decoders = own[index + 1..].iter();
            let decoders =
                decoders.flat_map(|(name, filters)| filters.iter().map(|one| (*name, (*one).to_owned())));
            let profiles = self.profiles.iter();
            let profiles =
                profiles.flat_map(|one| one.status_filters().into_iter().map(|filter| (one.name(), filter)));
            if let Some((other, filter)) = decoders.chain(profiles).find(|(_, filter)| covered(filter)) {
                return Err(FormatError::Clash((*name).into(), other.into(), filter));
            }
        }
        Ok(())
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
    fn two_decoders_of_the_same_topics_are_refused() {
        let names = ["emqx", "rmqtt"].map(str::to_owned);
        let error = Formats::new(&names, &[]).unwrap_err();
        let filter = "$SYS/brokers/+/clients/#".to_owned();
        assert_eq!(error, FormatError::Clash("emqx".to_owned(), "rmqtt".to_owned(), filter));
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
