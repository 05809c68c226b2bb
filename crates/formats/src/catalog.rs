//! Every format by its name, and the formats that are used on one broker: which topics they need, and which of them a message
//! belongs to. This is the one place that chooses a format.

mod rules;
#[cfg(test)]
mod tests;
mod together;

use crate::order::{AliveRule, ParentRule};
use crate::profile::{Message, Profile, ProfileError, ProfileTimes, Profiles, may_match, uncovered};
use presence::Device;

use crate::{
    Decoded, UnixNanos, aws_iot, builtin, chirpstack, emqx, homie5, iot_platform, mosquitto_log, nanomq,
    rmqtt, sparkplug,
};

/// The name of the IoT platform's format.
pub const IOT_PLATFORM: &str = "iot-platform";

/// A format with a decoder of its own.
#[derive(Clone, Debug)]
struct Decoder {
    name: Box<str>,
    /// As [`FormatInfo`] has it.
    device_type: &'static str,
    filters: &'static [&'static str],
    kind: DecoderKind,
}

#[derive(Clone, Debug)]
enum DecoderKind {
    MosquittoLog,
    AwsIot,
    NanoMq,
    Rmqtt,
    Sparkplug,
    /// Protobuf, or JSON by the profile.
    Chirpstack(Box<Profiles>),
    /// Events by the profile, and the nodes that run.
    Emqx(Box<Profiles>),
    /// States by the profile, and the trees of devices.
    Homie5(Box<Profiles>),
}

/// One line of the list of built-in formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatInfo {
    pub name: &'static str,
    /// The type of its devices; braces stand for a part of the topic.
    pub device_type: &'static str,
    /// Whether the broker retains the states, so that a subscription begins with all of them.
    pub is_retained: bool,
    pub description: &'static str,
}

const DECODERS: [FormatInfo; 5] = [
    FormatInfo {
        name: "mosquitto-log",
        device_type: mosquitto_log::DEVICE_TYPE,
        is_retained: false,
        description: "clients of a stock mosquitto by its log topics",
    },
    FormatInfo {
        name: "nanomq",
        device_type: nanomq::DEVICE_TYPE,
        is_retained: false,
        description: "clients of NanoMQ by its $SYS events",
    },
    FormatInfo {
        name: "rmqtt",
        device_type: rmqtt::DEVICE_TYPE,
        is_retained: false,
        description: "clients of RMQTT by its $SYS events",
    },
    FormatInfo {
        name: "aws-iot",
        device_type: aws_iot::DEVICE_TYPE,
        is_retained: false,
        description: "clients of AWS IoT Core by its lifecycle events",
    },
    FormatInfo {
        name: "sparkplug",
        device_type: "{group}",
        is_retained: false,
        description: "Sparkplug B edge nodes, their devices and hosts",
    },
];

const PLATFORM: FormatInfo = FormatInfo {
    name: IOT_PLATFORM,
    device_type: "{type}",
    is_retained: true,
    description: "devices of the IoT platform by iot-2/type/+/id/+/mon",
};

/// Why formats cannot be used together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    #[error("`{0}` is no source: `devstatus sources` lists the built-in ones")]
    Unknown(String),
    #[error("source `{0}` is named twice")]
    Twice(String),
    #[error("sources `{0}` and `{1}` read the same topics: {2}")]
    Clash(String, String, String),
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// All built-in formats, in the order in which they are listed.
pub fn infos() -> impl Iterator<Item = FormatInfo> {
    let profiles = builtin::ALL.iter().map(|builtin| FormatInfo {
        name: builtin.name,
        device_type: builtin.device_type,
        is_retained: builtin.is_retained,
        description: builtin.description,
    });
    [PLATFORM].into_iter().chain(DECODERS).chain(profiles)
}

/// How a built-in format reads messages, as text for people: its profile or its rules.
pub fn description(name: &str) -> Option<&'static str> {
    builtin::find(name).map(|builtin| builtin.toml).or_else(|| rules::of(name))
}

/// The formats that are used on one broker.
#[derive(Clone, Debug)]
pub struct Formats(Decoders);

#[derive(Clone, Debug)]
enum Decoders {
    /// Every message is the IoT platform's.
    Platform,
    Several(Box<Several>),
}

#[derive(Clone, Debug, Default)]
struct Several {
    reads_platform: bool,
    decoders: Vec<Decoder>,
    profiles: Profiles,
    /// Of the profiles that have some: so few that a hash would take longer.
    timings: Vec<(Box<str>, ProfileTimes)>,
    /// In the order in which they were named.
    names: Vec<Box<str>>,
}

/// What a message belongs to.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and a box would be an allocation for each message"
)]
pub enum Routed<'a> {
    /// The IoT platform's decoder reads it.
    Platform,
    /// It was read by the format of this name.
    Other(&'a str, Decoded<'a>),
    /// None of the formats.
    Nobody,
}

impl Default for Formats {
    /// The IoT platform's alone.
    fn default() -> Self {
        Self(Decoders::Platform)
    }
}

/// Equal sets read alike, but for the content of profiles of one name.
impl PartialEq for Formats {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names() && self.filters() == other.filters()
    }
}

impl Formats {
    /// The formats of these names: of the further profiles, or built in. A profile of the same name as a built-in format is
    /// used in its place.
    pub fn new(names: &[String], further: &[Profile]) -> Result<Self, FormatError> {
        if names.iter().all(|name| name == IOT_PLATFORM) && names.len() < 2 {
            return Ok(Self::default());
        }
        let mut several = Several::default();
        let mut profiles = Vec::new();
        for name in names {
            if several.names.iter().any(|known| **known == **name) {
                return Err(FormatError::Twice(name.clone()));
            }
            several.names.push(name.as_str().into());
            if let Some(profile) = further.iter().find(|profile| profile.name() == name) {
                profiles.push(profile.clone());
            } else if name == IOT_PLATFORM {
                several.reads_platform = true;
            } else if let Some(decoder) = decoder(name)? {
                several.decoders.push(decoder);
            } else if let Some(builtin) = builtin::find(name) {
                profiles.push(builtin.profile()?);
            } else {
                return Err(FormatError::Unknown(name.clone()));
            }
        }
        let timings = profiles.iter().map(|profile| (profile.name().into(), profile.timing()));
        several.timings = timings.filter(|(_, timing)| *timing != ProfileTimes::default()).collect();
        several.profiles = Profiles::new(profiles)?;
        several.check()?;
        Ok(Self(Decoders::Several(Box::new(several))))
    }

    /// The same formats of a source of this name, one of several: its devices and messages are counted under its name, of
    /// several formats as `name/format`. The IoT platform's messages keep theirs.
    #[must_use]
    pub fn of_source(self, source: &str) -> Self {
        let mut several = match self.0 {
            Decoders::Platform => Box::new(Several { reads_platform: true, ..Several::default() }),
            Decoders::Several(several) => several,
        };
        let is_one = several.names.len() == 1;
        let label = |format: &str| -> Box<str> {
            if is_one { source.into() } else { format!("{source}/{format}").into() }
        };
        several.decoders.iter_mut().for_each(|decoder| decoder.name = label(&decoder.name));
        several.profiles.rename(label);
        several.timings.iter_mut().for_each(|(name, _)| *name = label(name));
        if several.names.is_empty() {
            several.names.push(IOT_PLATFORM.into());
        }
        let is_other = |name: &&mut Box<str>| ***name != *IOT_PLATFORM;
        several.names.iter_mut().filter(is_other).for_each(|name| *name = label(name));
        Self(Decoders::Several(several))
    }

    /// Whether the IoT platform's is the only one.
    pub fn are_platform_only(&self) -> bool {
        match &self.0 {
            Decoders::Platform => true,
            Decoders::Several(_) => false,
        }
    }

    /// Whether the format of this name is among them.
    pub fn has(&self, name: &str) -> bool {
        match &self.0 {
            Decoders::Platform => name == IOT_PLATFORM,
            Decoders::Several(several) => several.names.iter().any(|known| **known == *name),
        }
    }

    pub fn names(&self) -> Vec<&str> {
        match &self.0 {
            Decoders::Platform => vec![IOT_PLATFORM],
            Decoders::Several(several) => several.names.iter().map(|name| &**name).collect(),
        }
    }

    /// What to subscribe to. No filter is covered by another one.
    pub fn filters(&self) -> Vec<String> {
        match &self.0 {
            Decoders::Platform => vec![iot_platform::ALL_DEVICES.to_owned()],
            Decoders::Several(several) => several.filters(),
        }
    }

    /// What to subscribe to for every state that a broker has retained; empty if no format's are.
    pub fn retained_filters(&self) -> Vec<String> {
        match &self.0 {
            Decoders::Platform => vec![iot_platform::ALL_DEVICES.to_owned()],
            Decoders::Several(several) => several.retained_filters(),
        }
    }

    /// What to subscribe to for the devices of one type, which only the IoT platform's topics name.
    pub fn filter_of_type(device_type: &str) -> String {
        iot_platform::devices_of(device_type)
    }

    /// The topic of one device of the IoT platform.
    pub fn topic_of(device: Device<'_>) -> String {
        iot_platform::topic(device.device_type, device.id)
    }

    /// Whether a subscription to these filters brings the messages of every device.
    pub fn covers_all<'a>(&self, mut filters: impl Iterator<Item = &'a str>) -> bool {
        !self.are_platform_only() || filters.any(|filter| filter == iot_platform::ALL_DEVICES)
    }

    /// Whether some format's states are not retained, so that a device of it is unknown until it changes.
    pub fn lack_retained(&self) -> bool {
        match &self.0 {
            Decoders::Platform => false,
            Decoders::Several(several) => {
                let unretained = |decoder: &Decoder| !decoder.is_retained();
                several.decoders.iter().any(unretained)
                    || several.profiles.iter().any(|profile| !profile.is_retained())
            }
        }
    }

    /// Whether there may be devices of this type that no message has named yet: the states of a format that has such are not
    /// retained.
    pub fn may_be_unreported(&self, device_type: &str) -> bool {
        let Decoders::Several(several) = &self.0 else { return false };
        let may_have = |fixed: Option<&str>| fixed.is_none_or(|fixed| fixed == device_type);
        let mut decoders = several.decoders.iter().filter(|decoder| !decoder.is_retained());
        let mut profiles = several.profiles.iter().filter(|profile| !profile.is_retained());
        decoders.any(|decoder| may_have(decoder.fixed_type()))
            || profiles.any(|profile| may_have(profile.fixed_type()))
    }

    /// Finds the format of a message and lets it read it, unless it is the IoT platform's.
    pub fn route<'a>(&'a self, topic: &'a [u8], payload: &'a [u8], is_retained: bool) -> Routed<'a> {
        let Decoders::Several(several) = &self.0 else { return Routed::Platform };
        several.route(topic, payload, is_retained)
    }

    /// The rule for signs of life of the format of this name, sent at a time.
    pub fn alive_rule(&self, name: &str, time: Option<UnixNanos>) -> AliveRule {
        match self.decoder_kind(name) {
            Some(DecoderKind::Sparkplug) => AliveRule::Matched(time),
            _ => AliveRule::Arrival,
        }
    }

    /// When devices of the format of this name are hidden by their parents.
    pub fn parent_rule(&self, name: &str) -> ParentRule {
        match self.decoder_kind(name) {
            Some(DecoderKind::Sparkplug) => ParentRule::SinceBirth,
            Some(DecoderKind::Homie5(_)) => ParentRule::UnlessLost,
            _ => ParentRule::WhileConnected,
        }
    }

    /// Whether the format of this name is used, and its states are not retained.
    pub fn is_unretained(&self, name: &str) -> bool {
        let Decoders::Several(several) = &self.0 else { return false };
        let is_it = |decoder: &Decoder| *decoder.name == *name && !decoder.is_retained();
        several.decoders.iter().any(is_it)
            || several.profiles.iter().any(|profile| profile.name() == name && !profile.is_retained())
    }

    /// Whether the format of this name is used, and the broker retains its states.
    pub fn is_retained(&self, name: &str) -> bool {
        self.has(name) && !self.is_unretained(name)
    }

    /// The times that the profile of this name has.
    pub fn timing(&self, name: &str) -> ProfileTimes {
        match &self.0 {
            Decoders::Platform => ProfileTimes::default(),
            Decoders::Several(several) => {
                let timing = several.timings.iter().find(|(known, _)| **known == *name);
                timing.map_or_else(ProfileTimes::default, |(_, timing)| *timing)
            }
        }
    }

    /// Whether some profile has times.
    pub fn have_timings(&self) -> bool {
        match &self.0 {
            Decoders::Platform => false,
            Decoders::Several(several) => !several.timings.is_empty(),
        }
    }

    /// Whether some format has devices that are reached through others.
    pub fn have_parents(&self) -> bool {
        match &self.0 {
            Decoders::Platform => false,
            Decoders::Several(several) => {
                let has_parents = |decoder: &Decoder| {
                    matches!(
                        decoder.kind,
                        DecoderKind::Sparkplug | DecoderKind::Emqx(_) | DecoderKind::Homie5(_)
                    )
                };
                several.decoders.iter().any(has_parents) || several.profiles.iter().any(Profile::has_parents)
            }
        }
    }

    fn decoder_kind(&self, name: &str) -> Option<&DecoderKind> {
        match &self.0 {
            Decoders::Platform => None,
            Decoders::Several(several) => {
                several.decoders.iter().find(|decoder| *decoder.name == *name).map(|decoder| &decoder.kind)
            }
        }
    }
}

impl Several {
    fn filters(&self) -> Vec<String> {
        let own = self.decoders.iter().flat_map(|decoder| decoder.filters).map(|filter| (*filter).to_owned());
        let platform = self.reads_platform.then(|| iot_platform::ALL_DEVICES.to_owned());
        uncovered(own.chain(platform).chain(self.profiles.filters()))
    }

    fn retained_filters(&self) -> Vec<String> {
        let own = self.decoders.iter().filter(|decoder| decoder.is_retained());
        let own = own.flat_map(|decoder| decoder.filters).map(|filter| (*filter).to_owned());
        let platform = self.reads_platform.then(|| iot_platform::ALL_DEVICES.to_owned());
        let profiles = self.profiles.iter().filter(|profile| profile.is_retained());
        uncovered(own.chain(platform).chain(profiles.flat_map(Profile::status_filters)))
    }

    fn route<'a>(&'a self, topic: &'a [u8], payload: &'a [u8], is_retained: bool) -> Routed<'a> {
        if self.reads_platform && topic.starts_with(b"iot-2/type/") {
            return Routed::Platform;
        }
        let Ok(topic) = std::str::from_utf8(topic) else { return Routed::Nobody };
        let message = Message { topic, payload, is_retained };
        // What a decoder has no use for may still be a profile's: `spBv1.0/status`, for example.
        let mut passed_over = None;
        for decoder in self.decoders.iter().filter(|one| may_match(one.filters, topic)) {
            match decoder.decode(message) {
                Decoded::NoMatch => {}
                Decoded::Undecodable(why) if self.profiles.find(topic).is_some() => {
                    passed_over = Some((&*decoder.name, Decoded::Undecodable(why)));
                }
                decoded => return Routed::Other(&decoder.name, decoded),
            }
        }
        match self.profiles.decode_named(message).or(passed_over) {
            Some((name, decoded)) => Routed::Other(name, decoded),
            None => Routed::Nobody,
        }
    }
}

fn decoder(name: &str) -> Result<Option<Decoder>, FormatError> {
    let (filters, kind): (&'static [&'static str], _) = match name {
        "mosquitto-log" => (mosquitto_log::FILTERS, DecoderKind::MosquittoLog),
        "nanomq" => (nanomq::FILTERS, DecoderKind::NanoMq),
        "rmqtt" => (rmqtt::FILTERS, DecoderKind::Rmqtt),
        "aws-iot" => (aws_iot::FILTERS, DecoderKind::AwsIot),
        "sparkplug" => (sparkplug::FILTERS, DecoderKind::Sparkplug),
        "chirpstack" => (chirpstack::FILTERS, DecoderKind::Chirpstack(Box::new(builtin_profile(name)?))),
        "emqx" => (emqx::FILTERS, DecoderKind::Emqx(Box::new(builtin_profile(name)?))),
        "homie5" => (homie5::FILTERS, DecoderKind::Homie5(Box::new(builtin_profile(name)?))),
        _ => return Ok(None),
    };
    let known = infos().find(|info| info.name == name);
    Ok(known.map(|info| Decoder { name: info.name.into(), device_type: info.device_type, filters, kind }))
}

fn builtin_profile(name: &str) -> Result<Profiles, ProfileError> {
    let profile = builtin::find(name).map(builtin::Builtin::profile).transpose()?;
    Profiles::new(profile.into_iter().collect())
}

impl Decoder {
    fn is_retained(&self) -> bool {
        match self.kind {
            DecoderKind::Chirpstack(_) | DecoderKind::Homie5(_) => true,
            DecoderKind::MosquittoLog
            | DecoderKind::Emqx(_)
            | DecoderKind::AwsIot
            | DecoderKind::NanoMq
            | DecoderKind::Rmqtt
            | DecoderKind::Sparkplug => false,
        }
    }

    /// The type of every device, if it is the same for all.
    fn fixed_type(&self) -> Option<&'static str> {
        Some(self.device_type).filter(|device_type| !device_type.contains('{'))
    }

    fn decode<'a>(&'a self, message: Message<'a>) -> Decoded<'a> {
        let Message { topic, payload, .. } = message;
        match &self.kind {
            DecoderKind::MosquittoLog => mosquitto_log::decode(topic, payload),
            DecoderKind::AwsIot => aws_iot::decode(topic, payload),
            DecoderKind::NanoMq => nanomq::decode(topic, payload),
            DecoderKind::Rmqtt => rmqtt::decode(topic, payload),
            DecoderKind::Sparkplug => sparkplug::decode(topic, payload),
            DecoderKind::Chirpstack(_) if chirpstack::is_protobuf(payload) => {
                chirpstack::decode(topic, payload)
            }
            DecoderKind::Chirpstack(json) => json.decode(message),
            DecoderKind::Emqx(events) => emqx::decode(events, message),
            DecoderKind::Homie5(states) => homie5::decode(states, message),
        }
    }
}
