//! A profile is read or refused, and one that was read takes any message without a panic; what it makes of itself as an example can
//! be encoded. Input: the profile in TOML, a zero byte, topic, line feed, payload.
#![no_main]

use formats::example::Report;
use formats::profile::{self, Message, Profiles};
use formats::{Decoded, UnixNanos};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let end = input.iter().position(|&byte| byte == 0).unwrap_or(input.len());
    let (toml, rest) = input.split_at(end);
    let Ok(toml) = std::str::from_utf8(toml) else { return };
    let Ok(parsed) = profile::parse(toml) else { return };
    let time = UnixNanos(1_767_225_600_000_000_000);
    for profile in &parsed {
        let report = Report { id: "a/b", is_connected: true, session: time, session_number: 1, time };
        let _ = profile.example(&report);
    }
    let Ok(profiles) = Profiles::new(parsed) else { return };
    let message = rest.strip_prefix(&[0]).unwrap_or(rest);
    let end = message.iter().position(|&byte| byte == b'\n').unwrap_or(message.len());
    let (topic, payload) = message.split_at(end);
    let Ok(topic) = std::str::from_utf8(topic) else { return };
    let payload = payload.strip_prefix(b"\n").unwrap_or(payload);
    let decoded = profiles.decode(Message { topic, payload, is_retained: payload.len() % 2 == 0 });
    if let Decoded::Event(event) = &decoded {
        for part in [&event.device.device_type, &event.device.id] {
            assert!(!part.is_empty() && !part.chars().any(char::is_control), "{decoded:?}");
        }
    }
});
