//! The decoders of the formats take any topic and any payload without a panic, and what they name can be a device. What
//! the messages mean is tested in each format's table. Input: topic, line feed, payload.
#![no_main]

use formats::{Decoded, aws_iot, chirpstack, mosquitto_log, nanomq, sparkplug};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (topic, rest) = input.split_at(end);
    let payload = rest.strip_prefix(b"\n").unwrap_or(rest);
    let Ok(topic) = std::str::from_utf8(topic) else { return };
    for decoded in [
        mosquitto_log::decode(topic, payload),
        sparkplug::decode(topic, payload),
        aws_iot::decode(topic, payload),
        nanomq::decode(topic, payload),
        chirpstack::decode(topic, payload),
    ] {
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
