//! The decoders of the formats take any topic and any payload without a panic, and what they name can be a device. What
//! the messages mean is tested in each format's table. Input: topic, line feed, payload.
#![no_main]

use std::sync::LazyLock;

use formats::catalog::{Formats, Routed};
use formats::{Decoded, aws_iot, chirpstack, mosquitto_log, nanomq, rmqtt, sparkplug};
use libfuzzer_sys::fuzz_target;

/// Those that read events by a profile.
static BY_PROFILE: LazyLock<[Formats; 3]> = LazyLock::new(|| {
    ["emqx", "homie5", "chirpstack"]
        .map(|name| Formats::new(&[name.to_owned()], &[]).expect("it is built in"))
});

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (topic, rest) = input.split_at(end);
    let payload = rest.strip_prefix(b"\n").unwrap_or(rest);
    let Ok(topic) = std::str::from_utf8(topic) else { return };
    let by_profile =
        BY_PROFILE.iter().filter_map(|formats| match formats.route(topic.as_bytes(), payload, true) {
            Routed::Other(_, decoded) => Some(decoded),
            Routed::Platform | Routed::Nobody => None,
        });
    let own = [
        mosquitto_log::decode(topic, payload),
        sparkplug::decode(topic, payload),
        aws_iot::decode(topic, payload),
        nanomq::decode(topic, payload),
        rmqtt::decode(topic, payload),
        chirpstack::decode(topic, payload),
    ];
    for decoded in own.into_iter().chain(by_profile) {
        let device = match &decoded {
            Decoded::Event(event) => &event.device,
            Decoded::Alive { device, .. } | Decoded::Removed(device) | Decoded::Parent { device, .. } => {
                device
            }
            Decoded::Broker(_) | Decoded::Ignored(_) | Decoded::NoMatch | Decoded::Undecodable(_) => continue,
        };
        for part in [&device.device_type, &device.id] {
            assert!(!part.is_empty() && !part.chars().any(char::is_control), "{decoded:?}");
        }
    }
    let _ = mosquitto_log::identity(payload);
    let _ = sparkplug::identity(payload);
    let _ = aws_iot::identity(payload);
});
