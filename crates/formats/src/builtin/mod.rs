//! The profiles that come with the program: one file of the profile language for each convention.

use crate::profile::{self, Profile, ProfileError};

/// A profile that comes with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Builtin {
    pub name: &'static str,
    /// One line for a list.
    pub description: &'static str,
    /// The type of its devices; braces stand for a part of the topic.
    pub device_type: &'static str,
    /// Whether the broker retains the states, so that a subscription begins with all of them.
    pub is_retained: bool,
    /// The profile in the profile language, to print and to start from.
    pub toml: &'static str,
}

impl Builtin {
    /// Reads the profile. That all can be read is tested.
    pub fn profile(&self) -> Result<Profile, ProfileError> {
        let mut profiles = profile::parse(self.toml)?;
        profiles.pop().ok_or_else(|| ProfileError {
            profile: Some(self.name.to_owned()),
            key: None,
            problem: "a [[profile]] table was expected".to_owned(),
            span: None,
        })
    }
}

/// The profile of this name.
pub fn find(name: &str) -> Option<&'static Builtin> {
    ALL.iter().find(|builtin| builtin.name == name)
}

macro_rules! builtins {
    ($($name:literal, $device_type:literal, $is_retained:literal, $description:literal;)*) => {
        &[$(Builtin {
            name: $name,
            description: $description,
            device_type: $device_type,
            is_retained: $is_retained,
            toml: include_str!(concat!($name, ".toml")),
        }),*]
    };
}

/// All of them, in the order in which they are listed.
pub const ALL: &[Builtin] = builtins! {
    "tasmota", "tasmota", true, "Tasmota devices by tele/+/LWT";
    "esphome", "esphome", true, "ESPHome nodes by +/status";
    "shelly1", "shelly", true, "Shelly devices of the first generation by shellies/+/online";
    "shelly2", "shelly", true, "Shelly devices since the second generation by +/online";
    "zigbee2mqtt", "zigbee", true, "Zigbee devices behind Zigbee2MQTT 2.0 and later";
    "zigbee2mqtt1", "zigbee", true, "Zigbee devices behind Zigbee2MQTT 1.x";
    "homie4", "homie", true, "Homie 3 and 4 devices by homie/+/$state";
    "homie5", "homie", true, "Homie 5 devices by +/5/+/$state";
    "chirpstack", "gateway", true, "LoRaWAN gateways of ChirpStack, as JSON";
    "mosquitto-plugin", "mqtt", true, "clients of mosquitto 2.1 with its connection-state plugin";
    "aedes", "mqtt", false, "clients of aedes by its $SYS events";
    "emqx", "mqtt", false, "clients of EMQX by its $SYS events";
    "valetudo", "vacuum", true, "vacuum robots with Valetudo";
    "openmqttgateway", "gateway", true, "OpenMQTTGateway and Theengs gateways by home/+/LWT";
    "ring", "{category}", false, "Ring devices behind ring-mqtt";
    "frigate", "frigate", true, "Frigate servers by +/available";
    "wled", "wled", true, "WLED lights by wled/+/status";
    "opendtu", "inverter", true, "solar inverters behind OpenDTU";
    "zwave", "zwave", true, "Z-Wave nodes behind Z-Wave JS UI";
    "smarthome", "bridge", true, "mqtt-smarthome bridges by +/connected";
    "kura", "{account}", false, "Eclipse Kura gateways";
    "owntracks", "{type}", true, "phones with OwnTracks";
    "sparkplug-host", "host", true, "host applications of Sparkplug 3.0";
    "hono", "{type}", false, "connection events of Eclipse Hono, republished on event/+/+";
};

#[cfg(test)]
mod tests;
